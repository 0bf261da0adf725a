#include "bridge/links/rabbitmq/publisher.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bridge/links/rabbitmq/jobs.h"
#include "bridge/links/rabbitmq/returns.h"
#include "bridge/links/rabbitmq/frames.h"

#define JOBS_PER_TURN 128
#define OUT_BYTES 65536 /* in one write, and then what the next message has */
#define STALL_MS 2000   /* confirms this late, while others share the connection */

void publisher_lock(const struct sink *s)
{
    pthread_mutex_lock(&s->c.io->link->lock);
}

void publisher_unlock(const struct sink *s)
{
    pthread_mutex_unlock(&s->c.io->link->lock);
}

/* ---- I/O thread ---- */

static int setup(struct channel *c, int step)
{
    struct sink *s = (struct sink *)c;
    amqp_confirm_select_t select = { 0 };
    amqp_exchange_declare_t declare = { .exchange = amqp_cstring_bytes(s->exchange),
        .type = amqp_cstring_bytes(s->exchange_type),
        .passive = s->declare != OPTIONS_CREATE,
        .durable = 1,
        .arguments = s->arguments };

    if (step == 0)
        return io_send(c, AMQP_CONFIRM_SELECT_METHOD, &select) == 0 ? 1 : -1;
    if (step == 1 && *s->exchange && s->declare != OPTIONS_NONE)
        return io_send(c, AMQP_EXCHANGE_DECLARE_METHOD, &declare) == 0 ? 1 : -1;
    return 0;
}

/* [lock] Moves up to n jobs from the queue to the ring; they are then ours to send. */
static size_t jobs_take(struct sink *s, struct job **ret, size_t n)
{
    size_t count = 0;

    if (s->c.io->blocked)
        return 0;
    while (count < n && s->queue) {
        struct job *j = s->queue;

        if (s->next - s->oldest >= s->ring_room && jobs_grow(s) != 0)
            break;
        s->queue = j->next;
        if (!s->queue)
            s->queue_end = &s->queue;
        s->queue_count--;
        jobs_put(s, j);
        ret[count++] = j;
    }
    return count;
}

static void cork(struct sink *s, int on)
{
    (void)setsockopt(amqp_get_sockfd(s->c.io->amqp), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static int publish_one(struct sink *s, struct job *j)
{
    return amqp_basic_publish(s->c.io->amqp, s->c.number, amqp_cstring_bytes(s->exchange), j->key,
               s->mandatory, 0, &j->properties, j->body) == AMQP_STATUS_OK
               ? 0
               : -1;
}

static int write_singly(struct sink *s, struct job **jobs, size_t n)
{
    size_t i = 0;

    if (n > 1)
        cork(s, 1);
    while (i < n && publish_one(s, jobs[i]) == 0)
        i++;
    if (n > 1)
        cork(s, 0);
    return i < n ? -1 : 0;
}

static int write_out(struct io *io)
{
    int failed = frames_send(amqp_get_sockfd(io->amqp), buf_bytes(&io->out));

    buf_clear(&io->out);
    return failed;
}

/* Three small writes a message took a third of all CPU between two queues. The library's own writes
 * are whole frames when they return, so ours fall between them. */
static int write_together(struct sink *s, struct job **jobs, size_t n)
{
    struct io *io = s->c.io;
    size_t frame_max = (size_t)amqp_get_frame_max(io->amqp);

    for (size_t i = 0; i < n; i++) {
        struct job *j = jobs[i];
        amqp_basic_publish_t publish = { .exchange = amqp_cstring_bytes(s->exchange),
            .routing_key = j->key,
            .mandatory = s->mandatory };

        if (io->out.n > OUT_BYTES && write_out(io) != 0)
            return -1;
        if (j->body.len <= OUT_BYTES && frames_publish(&io->out, s->c.number, frame_max, &publish,
                                            &j->properties, j->body) == 0)
            continue;
        /* A large body is not copied once more. */
        if (write_out(io) != 0 || publish_one(s, j) != 0)
            return -1;
    }
    return write_out(io);
}

static int work(struct channel *c)
{
    struct sink *s = (struct sink *)c;
    struct job *jobs[JOBS_PER_TURN];
    size_t n;
    bool more;
    int failed;

    publisher_lock(s);
    n = jobs_take(s, jobs, JOBS_PER_TURN);
    c->io->sending = n > 0;
    c->io->sends += n > 0;
    more = s->queue != NULL && n > 0;
    publisher_unlock(s);
    if (n == 0)
        return 0;
    failed = c->io->plain ? write_together(s, jobs, n) : write_singly(s, jobs, n);
    publisher_lock(s);
    c->io->sending = false;
    publisher_unlock(s);
    return failed ? -1 : more;
}

static int frame(struct channel *c, const amqp_frame_t *f)
{
    struct sink *s = (struct sink *)c;

    if (f->frame_type == AMQP_FRAME_HEADER)
        return returns_head(s, f);
    if (f->frame_type == AMQP_FRAME_BODY)
        return returns_body(s, f->payload.body_fragment);
    switch (f->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *a = f->payload.method.decoded;

        return jobs_confirm(s, a->delivery_tag, a->multiple, true);
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *a = f->payload.method.decoded;

        return jobs_confirm(s, a->delivery_tag, a->multiple, false);
    }
    case AMQP_BASIC_RETURN_METHOD:
        return returns_begin(s, f->payload.method.decoded);
    default:
        return 0;
    }
}

static void flush(struct channel *c)
{
    (void)c;
}

/* What the end of a session makes of a message that was sent and not confirmed. 404 and 403 are
 * about the address: a fixed exchange is an outage; a routing key that each message brings may be
 * what was forbidden. 406 and 5xx are about one of the messages; but 541 may be the broker's own
 * trouble, so that one is held against a message only when it happens to it again. */
static void sent_end(struct sink *s, struct job *j, const struct io_end *end)
{
    bool address = end->code == AMQP_NOT_FOUND || end->code == AMQP_ACCESS_REFUSED;
    bool message = end->code == AMQP_PRECONDITION_FAILED || end->code >= 500;

    if (!end->closed || (!address && !message) || (address && !s->key_varies) ||
        end->code == AMQP_NOT_FOUND)
        jobs_tell(s, j, FATE_UNSURE, CAUSE_LOST, end->code, false, end->text);
    else if (!end->alone || (end->code == AMQP_INTERNAL_ERROR && !j->again))
        jobs_tell(s, j, FATE_UNSURE, CAUSE_PROTOCOL, end->code, false, end->text);
    else
        jobs_tell(s, j, FATE_REFUSED, address ? CAUSE_ADDRESS : CAUSE_PROTOCOL, end->code, true,
            end->text);
}

void publisher_unqueue(struct sink *s, int code, const char *text)
{
    struct job *j;

    while ((j = s->queue) != NULL) {
        s->queue = j->next;
        jobs_tell(s, j, FATE_UNSENT, CAUSE_LOST, code, false, text);
        jobs_free(j);
    }
    s->queue_end = &s->queue;
    s->queue_count = 0;
}

static void ended(struct channel *c, const struct io_end *end)
{
    struct sink *s = (struct sink *)c;

    for (uint64_t tag = s->oldest; tag < s->next; tag++) {
        struct job *j = *jobs_at(s, tag);

        if (!j)
            continue;
        *jobs_at(s, tag) = NULL;
        sent_end(s, j, end);
        jobs_free(j);
    }
    publisher_unqueue(s, end->code, end->text);
    s->oldest = s->next = s->timeout_at = 1;
    s->confirmed = 0;
    s->unreported = 0;
    s->in.announced = s->in.open = false;
}

static size_t unconfirmed(const struct channel *c)
{
    const struct sink *s = (const struct sink *)c;
    size_t n = 0;

    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        n += *jobs_at(s, tag) != NULL;
    return n;
}

void publisher_texts_free(struct sink *s)
{
    for (size_t i = 0; i < s->lent_count; i++)
        free(*(char **)ring_at(&s->lent, i));
    s->lent_count = 0;
}

void publisher_free(struct sink *s)
{
    struct job *j;

    while ((j = s->queue) != NULL) {
        s->queue = j->next;
        jobs_free(j);
    }
    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        jobs_free(*jobs_at(s, tag));
    for (; s->told_first < s->told_end; s->told_first++)
        free(((struct told *)ring_at(&s->told, s->told_first))->text);
    ring_done(&s->told);
    free(s->ring);
    publisher_texts_free(s);
    ring_done(&s->lent);
    buf_done(&s->in.raw);
    buf_done(&s->in.body);
    arena_done(&s->own);
    free(s);
}

static void release(struct channel *c)
{
    publisher_free((struct sink *)c);
}

/* ---- loop ---- */

/* Confirms that are due and did not come. Returns when the next one is due. */
static int64_t timeouts(struct sink *s, int64_t now_ms)
{
    for (; s->timeout_at < s->next; s->timeout_at++) {
        struct job *j = *jobs_at(s, s->timeout_at);
        int64_t from_ms, due_ms;

        if (!j || j->reported)
            continue;
        from_ms = j->taken_ms > s->grace_ms ? j->taken_ms : s->grace_ms;
        due_ms = from_ms + s->confirm_timeout_ms;
        if (due_ms > now_ms)
            return due_ms;
        jobs_tell(s, j, FATE_UNSURE, CAUSE_TIMEOUT, 0, false, "no confirm in time");
    }
    return INT64_MAX;
}

static bool stalled(const struct sink *s, int64_t now_ms)
{
    struct job *j = s->oldest < s->next ? *jobs_at(s, s->oldest) : NULL;
    const struct channel *first = s->c.io->channels;

    return j && first && first->next && now_ms - j->taken_ms >= STALL_MS &&
           now_ms - s->grace_ms >= STALL_MS;
}

/* To a connection of its own: nothing may be in flight, or later ones could overtake. */
static void move(struct sink *s)
{
    struct link *l = s->c.io->link;

    if (!s->c.left) {
        if (s->unreported > 0 || s->queue)
            return;
        s->c.wanted = false;
        s->c.hold = true;
        s->c.leave = true;
        io_wake(s->c.io);
        return;
    }
    pthread_mutex_unlock(&l->lock);
    if (!s->own_io)
        s->own_io = io_open(l, "publish, dedicated", NULL);
    if (s->own_io)
        io_attach(s->own_io, &s->c);
    pthread_mutex_lock(&l->lock);
    if (!s->own_io)
        return; /* tried again with the next step */
    s->moving = s->c.hold = false;
    s->c.retry_ms = 0;
}

static int64_t step(struct channel *c, int64_t now_ms)
{
    struct sink *s = (struct sink *)c;
    int64_t due_ms;

    if (c->io->blocked)
        s->grace_ms = now_ms;
    due_ms = timeouts(s, now_ms);
    if (s->next - s->oldest > 2 * s->window_events) /* the broker has stopped confirming */
        c->wanted = false;
    if (s->dedicated == OPTIONS_DEDICATED_AUTO && !s->own_io && !s->moving)
        s->moving = stalled(s, now_ms);
    if (s->moving)
        move(s);
    c->crowded = s->moving && s->unreported > 0;
    if (s->dedicated == OPTIONS_DEDICATED_AUTO && !s->own_io && s->unreported > 0)
        due_ms = due_ms < now_ms + STALL_MS / 2 ? due_ms : now_ms + STALL_MS / 2;
    return due_ms;
}

const struct channel_ops publisher_ops = { .setup = setup,
    .work = work,
    .frame = frame,
    .flush = flush,
    .ended = ended,
    .unconfirmed = unconfirmed,
    .release = release,
    .step = step };
