#include "bridge/links/resp.h"

#include "bridge/links/reply.h"
#include "bridge/links/resolve.h"
#include "bridge/links/tls.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define READS_A_STEP 32
#define ITEMS_MAX (4u << 20)
/* Encrypted bytes that may wait for the socket. */
#define WIRE_BYTES_MAX (256u << 10)

struct waiting {
    resp_reply_fn *fn;
    void *owner;
    uint64_t arg, start; /* place of its first byte in all that was ever put out */
};

struct resp {
    int fd;
    bool connected, taken, held;
    struct fault broken; /* found by resp_flush(), told by the next step */
    unsigned socket_number;
    struct resolve *resolve;
    const struct addrinfo *address; /* the one tried now; NULL: not known yet */
    struct tls *tls;
    struct buf out;
    uint64_t gone, received; /* bytes written to and read from the socket so far */
    struct waiting *waiting;
    size_t head, count, capacity; /* ring; capacity is a power of two */
    resp_reply_fn *push;
    void *push_owner;
    redisReader *reader;
    struct reply_pool *pool;
    struct reply *building, *spare;
};

void resp_value_free(void *root)
{
    reply_free(root);
}

/* It serves the next reply, when none does yet. */
static void reply_over(struct resp *r, struct reply *y)
{
    if (r->spare) {
        reply_free(y);
        return;
    }
    reply_empty(y);
    r->spare = y;
}

/* Where the next value goes, all of it empty but the type. */
static inline struct resp_value *place(const redisReadTask *task, enum resp_type type)
{
    struct resp *r = task->privdata;
    struct resp_value *v = NULL;

    if (task->parent) {
        struct resp_value *parent = task->parent->obj;
        v = &parent->items[task->idx];
    } else {
        r->building = r->spare ? r->spare : reply_new(r->pool);
        r->spare = NULL;
        if (!r->building)
            return NULL;
        v = &r->building->root;
    }
    *v = (struct resp_value){ .type = type };
    return v;
}

static void *create_string(const redisReadTask *task, char *text, size_t n)
{
    struct resp *r = task->privdata;
    struct resp_value *v = place(task, task->type == REDIS_REPLY_STRING  ? RESP_TEXT
                                       : task->type == REDIS_REPLY_ERROR ? RESP_ERROR
                                                                         : RESP_STATUS);
    uint8_t *to = v ? reply_piece(r->building, n + 1) : NULL;

    if (!to) {
        if (v && !task->parent)
            reply_free(r->building);
        return NULL;
    }
    if (n)
        memcpy(to, text, n);
    to[n] = 0;
    v->text = (struct bytes){ to, n };
    return v;
}

static void *create_array(const redisReadTask *task, int n)
{
    struct resp *r = task->privdata;
    struct resp_value *v = NULL;

    if (n < 0 || (unsigned)n > ITEMS_MAX)
        return NULL;
    v = place(task, RESP_ARRAY);
    if (!v)
        return NULL;
    v->items = reply_piece(r->building, (size_t)n * sizeof *v->items + 1);
    if (!v->items) {
        if (!task->parent)
            reply_free(r->building);
        return NULL;
    }
    v->n = (size_t)n;
    return v;
}

static void *create_integer(const redisReadTask *task, long long i)
{
    struct resp_value *v = place(task, RESP_INT);

    if (v)
        v->i = i;
    return v;
}

static void *create_nil(const redisReadTask *task)
{
    return place(task, RESP_NIL);
}

static redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = resp_value_free,
};

/* Tries the addresses from this one on until a connect is under way. */
static int dial(struct resp *r, const struct addrinfo *from, int error, struct fault *why)
{
    int one = 1;

    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
    for (r->address = from; r->address; r->address = r->address->ai_next) {
        const struct addrinfo *a = r->address;
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            error = errno;
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS) {
            r->fd = fd;
            r->socket_number++;
            return 0;
        }
        error = errno;
        (void)close(fd);
    }
    return fault_set(why, FAULT_RETRY, error, "connect: %s", strerror(error));
}

struct resp *resp_open(const struct resp_spec *spec, struct fault *why)
{
    struct resp *r = calloc(1, sizeof *r);

    if (!r) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        return NULL;
    }
    r->fd = -1;
    buf_init(&r->out, spec->max_out_bytes);
    r->reader = redisReaderCreateWithFunctions(&functions);
    r->pool = reply_pool_open();
    if (!r->reader || !r->pool) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        resp_free(r);
        return NULL;
    }
    r->reader->privdata = r;
    /* Keeps its buffer between replies. */
    r->reader->maxbuf = 0;
    if ((spec->tls && tls_open(spec->tls, &r->tls, why) != 0) ||
        !(r->resolve = resolve_open(spec->host, spec->port, why))) {
        resp_free(r);
        return NULL;
    }
    return r;
}

static struct waiting waiting_take(struct resp *r)
{
    struct waiting w = r->waiting[r->head & (r->capacity - 1)];

    r->head++;
    r->count--;
    return w;
}

void resp_wipe(struct resp *r)
{
    if (r->out.at)
        explicit_bzero(r->out.at + r->out.n, r->out.capacity - r->out.n);
}

void resp_free(struct resp *r)
{
    if (!r)
        return;
    while (r->count) {
        struct waiting w = waiting_take(r);
        if (w.fn)
            w.fn(w.owner, w.arg, NULL, w.start < r->gone);
    }
    if (r->reader)
        redisReaderFree(r->reader);
    reply_free(r->spare);
    reply_pool_close(r->pool);
    tls_free(r->tls);
    resolve_free(r->resolve);
    if (r->fd >= 0)
        (void)close(r->fd);
    r->out.n = 0;
    resp_wipe(r);
    buf_done(&r->out);
    free(r->waiting);
    free(r);
}

int resp_fd(const struct resp *r)
{
    return r->fd;
}

unsigned resp_socket_number(const struct resp *r)
{
    return r->socket_number;
}

bool resp_connected(const struct resp *r)
{
    return r->connected;
}

bool resp_wants_write(const struct resp *r)
{
    if (!r->connected || r->broken.kind)
        return true;
    if (r->tls)
        return tls_out(r->tls)->n > 0 || (tls_ready(r->tls) && r->out.n > 0);
    return r->out.n > 0;
}

uint64_t resp_received(const struct resp *r)
{
    return r->received;
}

const char *resp_tls_version(const struct resp *r)
{
    return r->tls ? tls_version(r->tls) : "";
}

int64_t resp_peer_expires_ms(const struct resp *r)
{
    return r->tls ? tls_peer_expires_ms(r->tls) : 0;
}

void resp_hold(struct resp *r, bool held)
{
    r->held = held;
}

static int waiting_grow(struct resp *r)
{
    size_t capacity = r->capacity ? r->capacity * 2 : 64;
    struct waiting *at = calloc(capacity, sizeof *at);

    if (!at)
        return -1;
    for (size_t i = 0; i < r->count; i++)
        at[i] = r->waiting[(r->head + i) & (r->capacity - 1)];
    free(r->waiting);
    r->waiting = at;
    r->head = 0;
    r->capacity = capacity;
    return 0;
}

/* Most that "PREFIX number CR LF" takes. */
#define NUMBER_BYTES 24

/* Without printf: this is done for every argument of every event. Returns where it ends. */
static uint8_t *put_number(uint8_t *to, char prefix, uint64_t n)
{
    size_t digits = 1;

    for (uint64_t k = n; k >= 10; k /= 10)
        digits++;
    *to = (uint8_t)prefix;
    for (size_t i = digits; i > 0; i--, n /= 10)
        to[i] = (uint8_t)('0' + n % 10);
    to += 1 + digits;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

int resp_command(struct resp *r, size_t n, resp_reply_fn *fn, void *owner, uint64_t arg)
{
    uint8_t *to = NULL;

    if (r->out.failed || (fn && r->count == r->capacity && waiting_grow(r) != 0))
        return -1;
    if (fn)
        r->waiting[(r->head + r->count++) & (r->capacity - 1)] =
            (struct waiting){ fn, owner, arg, r->gone + r->out.n };
    to = buf_reserve(&r->out, NUMBER_BYTES);
    if (to)
        r->out.n += (size_t)(put_number(to, '*', n) - to);
    return 0;
}

/* "$N CR LF first second CR LF" behind `before`; in one go, as this too is done so often. */
static inline void put_argument(
    struct buf *b, struct bytes before, struct bytes first, struct bytes second)
{
    size_t n = first.n + second.n;
    uint8_t *to = buf_reserve(b, before.n + NUMBER_BYTES + n + 2);

    if (!to)
        return;
    if (before.n)
        memcpy(to, before.at, before.n);
    to = put_number(to + before.n, '$', n);
    if (first.n)
        memcpy(to, first.at, first.n);
    if (second.n)
        memcpy(to + first.n, second.at, second.n);
    to += n;
    *to++ = '\r';
    *to++ = '\n';
    b->n = (size_t)(to - b->at);
}

void resp_arg(struct resp *r, struct bytes arg)
{
    put_argument(&r->out, BYTES_NONE, arg, BYTES_NONE);
}

void resp_arg_joined(struct resp *r, struct bytes first, struct bytes second)
{
    put_argument(&r->out, BYTES_NONE, first, second);
}

void resp_format(struct buf *to, struct bytes arg)
{
    put_argument(to, BYTES_NONE, arg, BYTES_NONE);
}

void resp_pair(struct resp *r, struct bytes formatted, struct bytes arg)
{
    put_argument(&r->out, formatted, arg, BYTES_NONE);
}

void resp_formatted(struct resp *r, struct bytes formatted)
{
    buf_put_bytes(&r->out, formatted);
}

void resp_arg_text(struct resp *r, const char *arg)
{
    resp_arg(r, bytes_text(arg));
}

void resp_arg_int(struct resp *r, int64_t arg)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)arg);

    resp_arg(r, bytes_of(text, (size_t)n));
}

void resp_push(struct resp *r, resp_reply_fn *fn, void *owner)
{
    r->push = fn;
    r->push_owner = owner;
}

void resp_take(struct resp *r)
{
    r->taken = true;
}

void resp_trim(struct resp *r)
{
    reply_pool_trim(r->pool);
}

void resp_forget(struct resp *r, const void *owner)
{
    for (size_t i = 0; i < r->count; i++) {
        struct waiting *w = &r->waiting[(r->head + i) & (r->capacity - 1)];
        if (w->owner == owner)
            w->fn = NULL;
    }
    if (r->push_owner == owner)
        r->push = NULL;
}

/* Look-up, then connect; each address in turn. */
static int move_connect(struct resp *r, struct fault *why)
{
    const struct addrinfo *all = NULL;
    struct sockaddr_storage peer;
    socklen_t n = sizeof(int), peer_n = sizeof peer;
    int error = 0;

    if (!r->address) {
        if (!resolve_done(r->resolve, &all, why))
            return 0;
        if (!all || dial(r, all, 0, why) != 0)
            return -1;
    }
    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    if (error)
        return dial(r, r->address->ai_next, error, why);
    r->connected = getpeername(r->fd, (struct sockaddr *)&peer, &peer_n) == 0;
    return 0;
}

static int send_some(struct resp *r, struct buf *from, size_t *sent, struct fault *why)
{
    size_t done = 0;

    while (done < from->n) {
        ssize_t k = send(r->fd, from->at + done, from->n - done, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            return fault_set(why, FAULT_RETRY, errno, "write: %s", strerror(errno));
        if (k < 0)
            break;
        done += (size_t)k;
    }
    if (done)
        buf_drop(from, done);
    *sent = done;
    return 0;
}

static int encrypt(struct resp *r, struct fault *why)
{
    struct buf *wire = tls_out(r->tls);
    size_t done = 0, sent = 0;

    for (;;) {
        int n = (int)(r->out.n - done < READ_BYTES ? r->out.n - done : READ_BYTES);
        int k = wire->n < WIRE_BYTES_MAX && n ? tls_write(r->tls, r->out.at + done, n, why) : 0;

        if (k < 0 || send_some(r, wire, &sent, why) != 0)
            return -1;
        if (k == 0)
            break;
        done += (size_t)k;
    }
    if (done)
        buf_drop(&r->out, done);
    r->gone += done;
    return 0;
}

static int write_out(struct resp *r, struct fault *why)
{
    size_t sent = 0;

    if (r->out.failed)
        return fault_set(why, FAULT_RETRY, 0, "more than %zu bytes wait to be sent", r->out.max);
    if (r->tls)
        return encrypt(r, why);
    if (send_some(r, &r->out, &sent, why) != 0)
        return -1;
    r->gone += sent;
    return 0;
}

static int hand_over(struct resp *r, struct fault *why)
{
    void *at = NULL;

    for (;;) {
        if (redisReaderGetReply(r->reader, &at) != REDIS_OK)
            return fault_set(why, FAULT_RETRY, 0, "malformed reply: %s", r->reader->errstr);
        if (!at)
            return 0;
        r->taken = false;
        if (r->push) {
            r->push(r->push_owner, 0, at, true);
        } else if (r->count) {
            struct waiting w = waiting_take(r);
            if (w.fn)
                w.fn(w.owner, w.arg, at, true);
        } else {
            const struct resp_value *v = at;
            (void)fault_set(why, FAULT_RETRY, 0, "a reply to nothing: %.*s",
                (int)(v->text.n < 200 ? v->text.n : 200),
                v->text.at ? (const char *)v->text.at : "");
            resp_value_free(at);
            return -1;
        }
        if (!r->taken)
            reply_over(r, at);
    }
}

static int parse(struct resp *r, const char *at, size_t n, struct fault *why)
{
    if (redisReaderFeed(r->reader, at, n) != REDIS_OK)
        return fault_set(why, FAULT_RETRY, 0, "reading: %s", r->reader->errstr);
    return hand_over(r, why);
}

static int decrypt(struct resp *r, const char *at, size_t n, struct fault *why)
{
    char plain[READ_BYTES];
    int k = 0;

    if (tls_feed(r->tls, at, n, why) != 0)
        return -1;
    while ((k = tls_read(r->tls, plain, sizeof plain, why)) > 0)
        if (parse(r, plain, (size_t)k, why) != 0)
            return -1;
    return k;
}

static int read_in(struct resp *r, struct fault *why)
{
    char chunk[READ_BYTES];

    for (int i = 0; i < READS_A_STEP && !r->held; i++) {
        ssize_t k = recv(r->fd, chunk, sizeof chunk, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            return 0;
        if (k < 0)
            return fault_set(why, FAULT_RETRY, errno, "read: %s", strerror(errno));
        if (k == 0)
            return fault_set(why, FAULT_RETRY, 0, "the server closed the connection");
        r->received += (uint64_t)k;
        if ((r->tls ? decrypt(r, chunk, (size_t)k, why) : parse(r, chunk, (size_t)k, why)) != 0)
            return -1;
        if ((size_t)k < sizeof chunk)
            return 0; /* that was all; whoever waits on the descriptor hears of more */
    }
    return 0;
}

void resp_flush(struct resp *r)
{
    if (r->connected && !r->broken.kind && (!r->tls || tls_ready(r->tls)))
        (void)write_out(r, &r->broken);
}

int resp_step(struct resp *r, struct fault *why)
{
    if (r->broken.kind) {
        *why = r->broken;
        return -1;
    }
    if (!r->connected && move_connect(r, why) != 0)
        return -1;
    if (!r->connected)
        return 0;
    /* The client speaks first. */
    if (r->tls && !tls_ready(r->tls) && tls_read(r->tls, (char[1]){ 0 }, 1, why) < 0)
        return -1;
    if (write_out(r, why) != 0 || read_in(r, why) != 0)
        return -1;
    return write_out(r, why);
}

const char *resp_library(void)
{
    static char text[48];

    (void)snprintf(
        text, sizeof text, "hiredis %d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    return text;
}
