#include "bridge/links/rabbitmq/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define FRAMES_PER_TURN 512
#define FRAME_SPARE 64 /* around properties in their frame */
#define OUT_MAX (1u << 20)

static void lock(struct io *io)
{
    pthread_mutex_lock(&io->link->lock);
}

static void unlock(struct io *io)
{
    pthread_mutex_unlock(&io->link->lock);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof one); /* full is as good as written */
}

void io_ring(struct link *l)
{
    if (l->rung)
        return;
    l->rung = true;
    signal_fd(l->bell);
}

void io_wake(struct io *io)
{
    if (io->woken)
        return;
    io->woken = true;
    signal_fd(io->wake);
}

int io_send(struct channel *c, amqp_method_number_t id, void *method)
{
    return amqp_send_method(c->io->amqp, c->number, id, method) == AMQP_STATUS_OK ? 0 : -1;
}

/* ---- channels ---- */

static struct channel *channel_at(const struct io *io, uint16_t number)
{
    return number < io->number_count ? io->numbers[number] : NULL;
}

/* The lowest free number; 0 when there is none. */
static uint16_t number_take(struct io *io, struct channel *c)
{
    size_t n = 1, max = (size_t)amqp_get_channel_max(io->amqp);

    while (n < io->number_count && io->numbers[n])
        n++;
    if (n > UINT16_MAX - 1 || (max > 0 && n > max))
        return 0;
    if (n >= io->number_count) {
        struct channel **more = realloc(io->numbers, (n + 8) * sizeof *more);

        if (!more)
            return 0;
        memset(more + io->number_count, 0, (n + 8 - io->number_count) * sizeof *more);
        io->numbers = more;
        io->number_count = n + 8;
    }
    io->numbers[n] = c;
    return (uint16_t)n;
}

static void state_set(struct channel *c, enum channel_state state)
{
    lock(c->io);
    c->state = state;
    io_ring(c->io->link);
    unlock(c->io);
}

/* [lock] The session ends; what it was for is decided by the channel's own kind. */
static void channel_end(struct channel *c, const struct io_end *end, enum channel_state state)
{
    bool open = c->state == CHANNEL_UP || c->state == CHANNEL_OPENING;

    c->state = state;
    if (!open)
        return;
    if (c->wanted) {
        c->failures++;
        (void)snprintf(c->error, sizeof c->error, "%s", end->text);
    }
    c->wanted = false;
    c->ops->ended(c, end);
    io_ring(c->io->link);
}

static int send_close(struct channel *c)
{
    amqp_channel_close_t close = { .reply_code = AMQP_REPLY_SUCCESS,
        .reply_text = amqp_cstring_bytes("done") };

    return io_send(c, AMQP_CHANNEL_CLOSE_METHOD, &close);
}

int io_close_channel(struct channel *c, const char *format, ...)
{
    char text[256];
    struct io_end end = { .text = text };
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    lock(c->io);
    channel_end(c, &end, CHANNEL_CLOSING);
    unlock(c->io);
    return send_close(c);
}

static void number_give(struct io *io, struct channel *c)
{
    if (c->number)
        io->numbers[c->number] = NULL;
    c->number = 0;
}

static int channel_open(struct channel *c)
{
    amqp_channel_open_t open = { .out_of_band = amqp_empty_bytes };

    c->number = number_take(c->io, c);
    if (c->number == 0) {
        struct io_end end = { .text = "the broker allows no more channels on this connection" };

        lock(c->io);
        c->state = CHANNEL_OPENING;
        channel_end(c, &end, CHANNEL_DOWN);
        unlock(c->io);
        return 0;
    }
    c->step = 0;
    state_set(c, CHANNEL_OPENING);
    return io_send(c, AMQP_CHANNEL_OPEN_METHOD, &open);
}

/* A reply came while opening: the next request, or up. */
static int channel_advance(struct channel *c)
{
    int sent = c->ops->setup(c, c->step++);

    if (sent != 0)
        return sent < 0 ? -1 : 0;
    lock(c->io);
    c->state = CHANNEL_UP;
    c->error[0] = 0;
    io_ring(c->io->link);
    unlock(c->io);
    return 0;
}

/* What the loop wants of one channel. 1: more to do, 0, -1: the connection failed. */
static int channel_turn(struct channel *c)
{
    bool wanted;

    lock(c->io);
    wanted = c->wanted && !c->gone;
    unlock(c->io);
    if (c->state == CHANNEL_DOWN)
        return wanted ? channel_open(c) : 0;
    if (c->state == CHANNEL_CLOSING)
        return 0;
    if (!wanted && c->state == CHANNEL_UP && c->ops->last && c->ops->last(c) != 0)
        return -1;
    if (!wanted)
        return io_close_channel(c, "closed");
    return c->state == CHANNEL_UP ? c->ops->work(c) : 0;
}

/* Takes off the io what has gone or leaves. Runs with and without a connection. */
static void channels_reap(struct io *io)
{
    struct channel *freed = NULL, *c;

    lock(io);
    for (struct channel **at = &io->channels; (c = *at) != NULL;) {
        if (c->state != CHANNEL_DOWN || !(c->gone || c->leave)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        if (c->gone) {
            c->next = freed;
            freed = c;
        } else {
            c->leave = false;
            c->left = true;
            io_ring(io->link);
        }
    }
    unlock(io);
    while ((c = freed) != NULL) {
        freed = c->next;
        c->ops->release(c);
    }
}

static int channel_closed(struct channel *c, const amqp_channel_close_t *close)
{
    char text[256];
    struct io_end end = { .code = close->reply_code, .closed = true, .text = text };
    amqp_channel_close_ok_t ok = { 0 };
    int sent;

    (void)snprintf(text, sizeof text, "%.*s (%d)", (int)close->reply_text.len,
        (const char *)close->reply_text.bytes, close->reply_code);
    sent = io_send(c, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    lock(c->io);
    end.alone = c->ops->unconfirmed(c) <= 1;
    channel_end(c, &end, CHANNEL_DOWN);
    unlock(c->io);
    number_give(c->io, c);
    return sent;
}

/* ---- frames ---- */

static int connection_frame(
    struct io *io, const amqp_frame_t *f, struct io_end *end, char text[256])
{
    if (f->frame_type != AMQP_FRAME_METHOD)
        return 0;
    if (f->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *close = f->payload.method.decoded;
        amqp_connection_close_ok_t ok = { 0 };

        (void)snprintf(text, 256, "%.*s (%d)", (int)close->reply_text.len,
            (const char *)close->reply_text.bytes, close->reply_code);
        end->code = close->reply_code;
        end->closed = true;
        (void)amqp_send_method(io->amqp, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        return -1;
    }
    if (f->payload.method.id == AMQP_CONNECTION_BLOCKED_METHOD ||
        f->payload.method.id == AMQP_CONNECTION_UNBLOCKED_METHOD) {
        const amqp_connection_blocked_t *b = f->payload.method.decoded;

        lock(io);
        io->blocked = f->payload.method.id == AMQP_CONNECTION_BLOCKED_METHOD;
        io->error[0] = 0;
        if (io->blocked)
            (void)snprintf(io->error, sizeof io->error, "blocked by the broker: %.*s",
                (int)b->reason.len, (const char *)b->reason.bytes);
        io_ring(io->link);
        unlock(io);
    }
    return 0;
}

/* A frame with an unknown channel belongs to one that we closed: nobody waits for it. */
static int channel_frame(struct io *io, const amqp_frame_t *f)
{
    struct channel *c = channel_at(io, f->channel);
    amqp_method_number_t id = f->frame_type == AMQP_FRAME_METHOD ? f->payload.method.id : 0;

    if (!c)
        return 0;
    if (id == AMQP_CHANNEL_CLOSE_METHOD)
        return channel_closed(c, f->payload.method.decoded);
    if (id == AMQP_CHANNEL_CLOSE_OK_METHOD && c->state == CHANNEL_CLOSING) {
        number_give(io, c);
        state_set(c, CHANNEL_DOWN);
        return 0;
    }
    if (c->state == CHANNEL_UP)
        return c->ops->frame(c, f);
    return c->state == CHANNEL_OPENING && id ? channel_advance(c) : 0;
}

/* Takes what has arrived, up to a bound. Returns the number of frames, -1 when the connection
 * ended. */
static int frames_take(struct io *io, struct io_end *end, char text[256])
{
    static const struct timeval now = { 0, 0 };
    int n;

    for (n = 0; n < FRAMES_PER_TURN; n++) {
        amqp_frame_t f;
        int status = amqp_simple_wait_frame_noblock(io->amqp, &f, &now);
        int went;

        if (status == AMQP_STATUS_TIMEOUT)
            break;
        if (status != AMQP_STATUS_OK) {
            (void)snprintf(text, 256, "connection lost: %s", amqp_error_string2(status));
            return -1;
        }
        went = f.channel == 0 ? connection_frame(io, &f, end, text) : channel_frame(io, &f);
        if (went < 0)
            return -1;
        amqp_maybe_release_buffers_on_channel(io->amqp, f.channel);
    }
    return n;
}

/* ---- the thread ---- */

static void wait_for(struct io *io, int fd, int timeout_ms)
{
    struct pollfd p[2] = { { .fd = io->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    uint64_t count;

    (void)poll(p, fd >= 0 ? 2 : 1, timeout_ms);
    lock(io);
    if (io->woken && read(io->wake, &count, sizeof count) > 0)
        io->woken = false;
    unlock(io);
}

static bool stopped(struct io *io)
{
    bool stop;

    lock(io);
    stop = io->stop;
    unlock(io);
    return stop;
}

static struct channel *first_channel(struct io *io)
{
    struct channel *c;

    lock(io);
    c = io->channels;
    unlock(io);
    return c;
}

/* What arrived first, so that the channels answer to all of it in this round and what comes next
 * wakes the thread. 1: call again at once, 0: wait first, -1: ended. */
static int turn(struct io *io, struct io_end *end, char text[256])
{
    int frames = frames_take(io, end, text);
    bool more = frames == FRAMES_PER_TURN;

    for (struct channel *c = first_channel(io); c; c = c->next)
        if (c->state == CHANNEL_UP)
            c->ops->flush(c);
    if (frames < 0)
        return -1;
    channels_reap(io);
    for (struct channel *c = first_channel(io); c; c = c->next) {
        int did = channel_turn(c);

        if (did < 0) {
            /* The broker may have said why before it hung up. */
            if (frames_take(io, end, text) >= 0)
                (void)snprintf(text, 256, "connection lost while sending");
            return -1;
        }
        more = more || did > 0;
    }
    /* The library may read while it sends. */
    return more || amqp_frames_enqueued(io->amqp);
}

static void lost(struct io *io, struct io_end *end)
{
    size_t unconfirmed = 0;

    lock(io);
    io->fd = -1;
    io->state = IO_IDLE;
    io->blocked = false;
    if (!io->stop)
        io->failures++;
    (void)snprintf(io->error, sizeof io->error, "%s", end->text);
    for (struct channel *c = io->channels; c; c = c->next)
        unconfirmed += c->ops->unconfirmed(c);
    end->alone = unconfirmed <= 1;
    for (struct channel *c = io->channels; c; c = c->next) {
        channel_end(c, end, CHANNEL_DOWN);
        c->number = 0;
    }
    io_ring(io->link);
    unlock(io);
    if (io->number_count)
        memset(io->numbers, 0, io->number_count * sizeof *io->numbers);
}

static void hang_up(struct io *io, bool orderly)
{
    struct timeval second = { 1, 0 };

    if (orderly) {
        (void)amqp_set_rpc_timeout(io->amqp, &second);
        (void)amqp_connection_close(io->amqp, AMQP_REPLY_SUCCESS);
    }
    (void)amqp_destroy_connection(io->amqp);
    io->amqp = NULL;
}

static void serve(struct io *io)
{
    char text[256] = "closed";
    struct io_end end = { .text = text };
    int fd = amqp_get_sockfd(io->amqp);
    int bound_ms = amqp_get_heartbeat(io->amqp) > 0 ? amqp_get_heartbeat(io->amqp) * 250 : 1000;
    int did = 0;

    while (!stopped(io) && (did = turn(io, &end, text)) >= 0)
        if (did == 0)
            wait_for(io, fd, bound_ms < 1000 ? bound_ms : 1000);
    lost(io, &end);
    hang_up(io, did >= 0);
}

static void reached(void *context, int fd)
{
    struct io *io = context;

    lock(io);
    io->fd = fd;
    if (fd >= 0 && io->stop)
        (void)shutdown(fd, SHUT_RDWR);
    unlock(io);
}

static void connect_once(struct io *io)
{
    struct fault why = { 0 };
    struct dial_peer peer = { 0 };
    int failed;

    io->plain = !io->link->dial.hosts[io->host % io->link->dial.count].tls;
    failed = dial_open(&io->link->dial, io->host, io->purpose, reached, io, &io->amqp, &peer, &why);

    lock(io);
    if (failed) {
        io->host++;
        io->fd = -1;
        io->failures++;
        io->state = IO_IDLE;
        memcpy(io->error, why.text, sizeof io->error - 1);
    } else {
        io->connects++;
        io->state = IO_UP;
        io->error[0] = 0;
        io->header_bytes = (size_t)amqp_get_frame_max(io->amqp) - FRAME_SPARE;
        io->peer = peer;
    }
    io_ring(io->link);
    unlock(io);
    if (!failed)
        serve(io);
}

static bool dial_due(struct io *io)
{
    bool due;

    lock(io);
    due = io->dial_wanted && !io->stop;
    if (due) {
        io->dial_wanted = false;
        io->state = IO_CONNECTING;
    }
    unlock(io);
    return due;
}

static void *io_main(void *arg)
{
    struct io *io = arg;
    sigset_t all;

    (void)pthread_setname_np(pthread_self(), "rabbitmq-io");
    (void)sigfillset(&all);
    (void)pthread_sigmask(
        SIG_BLOCK, &all, NULL); /* signals are the loop's; and no SIGPIPE from TLS */
    while (!stopped(io)) {
        channels_reap(io);
        if (dial_due(io))
            connect_once(io);
        else
            wait_for(io, -1, -1);
    }
    channels_reap(io);
    link_unref(io->link);
    return NULL;
}

/* ---- loop ---- */

struct io *io_open(struct link *l, const char *purpose, struct fault *why)
{
    struct io *io = calloc(1, sizeof *io);
    pthread_attr_t detached;
    pthread_t thread;
    int failed;

    if (!io) {
        fault_set(why, FAULT_RETRY, 0, "out of memory");
        return NULL;
    }
    *io = (struct io){ .link = l,
        .purpose = purpose,
        .state = IO_IDLE,
        .fd = -1,
        .state_seen = IO_IDLE,
        .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    buf_init(&io->out, OUT_MAX);
    /* Nobody joins it: it may hang in a name look-up when the link is freed. It holds a reference.
     */
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&l->lock);
    failed = io->wake < 0 || pthread_create(&thread, &detached, io_main, io) != 0;
    if (!failed)
        l->refs++;
    pthread_mutex_unlock(&l->lock);
    (void)pthread_attr_destroy(&detached);
    if (failed) {
        fault_set(why, FAULT_RETRY, errno, "cannot start a connection's thread");
        if (io->wake >= 0)
            (void)close(io->wake);
        free(io);
        return NULL;
    }
    io->next = l->ios;
    l->ios = io;
    return io;
}

void io_attach(struct io *io, struct channel *c)
{
    lock(io);
    c->io = io;
    c->left = false;
    c->next = io->channels;
    io->channels = c;
    io_wake(io);
    unlock(io);
}

void io_stop(struct io *io)
{
    lock(io);
    io->stop = true;
    io_wake(io);
    if ((io->state == IO_CONNECTING || io->sending) && io->fd >= 0)
        (void)shutdown(io->fd, SHUT_RDWR);
    unlock(io);
}

void link_unref(struct link *l)
{
    struct io *io;
    int left;

    pthread_mutex_lock(&l->lock);
    left = --l->refs;
    pthread_mutex_unlock(&l->lock);
    if (left > 0)
        return;
    while ((io = l->ios) != NULL) {
        l->ios = io->next;
        (void)close(io->wake);
        free(io->numbers);
        buf_done(&io->out);
        free(io);
    }
    (void)close(l->bell);
    dial_done(&l->dial);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}
