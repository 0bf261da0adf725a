#include "bridge/links/resp.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/read.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define READS_A_STEP 32

struct waiting {
    resp_reply_fn *fn;
    void *owner;
    uint64_t arg, start; /* place of its first byte in all that was ever put out */
};

struct resp {
    int fd;
    bool connected, taken;
    struct buf out;
    uint64_t gone; /* bytes written to the socket so far */
    struct waiting *waiting;
    size_t head, count, capacity; /* ring; capacity is a power of two */
    resp_reply_fn *push;
    void *push_owner;
    redisReader *reader;
};

void resp_value_free(void *at)
{
    struct resp_value *v = at;

    if (!v)
        return;
    for (size_t i = 0; i < v->n; i++)
        resp_value_free(v->items[i]);
    free(v->items);
    free(v);
}

static void *value_place(const redisReadTask *task, struct resp_value *v)
{
    if (v && task->parent) {
        struct resp_value *parent = task->parent->obj;
        parent->items[task->idx] = v;
    }
    return v;
}

static void *create_string(const redisReadTask *task, char *text, size_t n)
{
    struct resp_value *v = calloc(1, sizeof *v + n + 1);

    if (!v)
        return NULL;
    if (n)
        memcpy(v + 1, text, n);
    v->text = bytes_of(v + 1, n);
    v->type = task->type == REDIS_REPLY_ERROR    ? RESP_ERROR
              : task->type == REDIS_REPLY_STATUS ? RESP_STATUS
                                                 : RESP_TEXT;
    return value_place(task, v);
}

static void *create_array(const redisReadTask *task, int n)
{
    struct resp_value *v = calloc(1, sizeof *v);

    if (!v)
        return NULL;
    v->type = RESP_ARRAY;
    v->items = calloc(n > 0 ? (size_t)n : 1, sizeof *v->items);
    if (!v->items) {
        free(v);
        return NULL;
    }
    v->n = n > 0 ? (size_t)n : 0;
    return value_place(task, v);
}

static void *create_integer(const redisReadTask *task, long long i)
{
    struct resp_value *v = calloc(1, sizeof *v);

    if (v) {
        v->type = RESP_INT;
        v->i = i;
    }
    return value_place(task, v);
}

static void *create_nil(const redisReadTask *task)
{
    struct resp_value *v = calloc(1, sizeof *v);

    if (v)
        v->type = RESP_NIL;
    return value_place(task, v);
}

static redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = resp_value_free,
};

static int dial(const char *host, int port, bool *connected, struct fault *why)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = NULL;
    char service[16];
    int fd = -1, error = 0, one = 1;

    (void)snprintf(service, sizeof service, "%d", port);
    error = getaddrinfo(host, service, &hints, &all);
    if (error)
        return fault_set(why, FAULT_RETRY, error, "redis %s: %s", host, gai_strerror(error));
    for (struct addrinfo *a = all; a; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            error = errno;
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *connected = connect(fd, a->ai_addr, a->ai_addrlen) == 0;
        if (*connected || errno == EINPROGRESS)
            break;
        error = errno;
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(all);
    if (fd < 0)
        return fault_set(why, FAULT_RETRY, error, "redis %s:%d: %s", host, port, strerror(error));
    return fd;
}

struct resp *resp_open(const char *host, int port, size_t max_out_bytes, struct fault *why)
{
    struct resp *r = calloc(1, sizeof *r);

    if (!r) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        return NULL;
    }
    buf_init(&r->out, max_out_bytes);
    r->fd = -1;
    r->reader = redisReaderCreateWithFunctions(&functions);
    if (!r->reader)
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
    else
        r->fd = dial(host, port, &r->connected, why);
    if (r->fd >= 0)
        return r;
    resp_free(r);
    return NULL;
}

static struct waiting waiting_take(struct resp *r)
{
    struct waiting w = r->waiting[r->head & (r->capacity - 1)];

    r->head++;
    r->count--;
    return w;
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
    if (r->fd >= 0)
        (void)close(r->fd);
    buf_done(&r->out);
    free(r->waiting);
    free(r);
}

int resp_fd(const struct resp *r)
{
    return r->fd;
}

bool resp_connected(const struct resp *r)
{
    return r->connected;
}

bool resp_wants_write(const struct resp *r)
{
    return !r->connected || r->out.n > 0;
}

size_t resp_unanswered(const struct resp *r)
{
    return r->count;
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

int resp_command(struct resp *r, size_t n, resp_reply_fn *fn, void *owner, uint64_t arg)
{
    if (r->out.failed || (r->count == r->capacity && waiting_grow(r) != 0))
        return -1;
    r->waiting[(r->head + r->count++) & (r->capacity - 1)] =
        (struct waiting){ fn, owner, arg, r->gone + r->out.n };
    buf_put_format(&r->out, "*%zu\r\n", n);
    return 0;
}

void resp_arg(struct resp *r, struct bytes arg)
{
    buf_put_format(&r->out, "$%zu\r\n", arg.n);
    buf_put(&r->out, arg.at, arg.n);
    buf_put(&r->out, "\r\n", 2);
}

void resp_arg_text(struct resp *r, const char *arg)
{
    resp_arg(r, bytes_text(arg));
}

void resp_arg_int(struct resp *r, int64_t arg)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)arg);
    resp_arg_text(r, text);
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

static int finish_connect(struct resp *r, struct fault *why)
{
    int error = 0;
    socklen_t n = sizeof error;
    struct sockaddr_storage peer;
    socklen_t peer_n = sizeof peer;

    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    if (error)
        return fault_set(why, FAULT_RETRY, error, "connect: %s", strerror(error));
    r->connected = getpeername(r->fd, (struct sockaddr *)&peer, &peer_n) == 0;
    return 0;
}

static int write_out(struct resp *r, struct fault *why)
{
    size_t done = 0;

    if (r->out.failed)
        return fault_set(why, FAULT_RETRY, 0, "more than %zu bytes wait to be sent", r->out.max);
    while (done < r->out.n) {
        ssize_t k = send(r->fd, r->out.at + done, r->out.n - done, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            return fault_set(why, FAULT_RETRY, errno, "write: %s", strerror(errno));
        if (k < 0)
            break;
        done += (size_t)k;
    }
    buf_drop(&r->out, done);
    r->gone += done;
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
            resp_value_free(at);
    }
}

static int read_in(struct resp *r, struct fault *why)
{
    char chunk[READ_BYTES];

    for (int i = 0; i < READS_A_STEP; i++) {
        ssize_t k = recv(r->fd, chunk, sizeof chunk, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            return 0;
        if (k < 0)
            return fault_set(why, FAULT_RETRY, errno, "read: %s", strerror(errno));
        if (k == 0)
            return fault_set(why, FAULT_RETRY, 0, "the server closed the connection");
        if (redisReaderFeed(r->reader, chunk, (size_t)k) != REDIS_OK)
            return fault_set(why, FAULT_RETRY, 0, "reading: %s", r->reader->errstr);
        if (hand_over(r, why) != 0)
            return -1;
    }
    return 0;
}

int resp_step(struct resp *r, struct fault *why)
{
    if (!r->connected && finish_connect(r, why) != 0)
        return -1;
    if (!r->connected)
        return 0;
    if (write_out(r, why) != 0 || read_in(r, why) != 0)
        return -1;
    return write_out(r, why);
}
