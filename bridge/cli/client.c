#include "bridge/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (512u << 20)
#define REQUEST_MAX (64u << 20)
#define SILENCE_S 60 /* the daemon answers queries within 20 s */
#define LINE_MAX_BYTES (4u << 20)

void client_put_encoded(struct buf *to, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
            strchr("-_.~", *c))
            buf_put_byte(to, *c);
        else
            buf_put_format(to, "%%%02X", *c);
    }
}

static int dial(const char *path, int flags, int *ret, struct fault *why)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    struct timeval silence = { .tv_sec = SILENCE_S };
    int fd;

    if (strlen(path) >= sizeof where.sun_path)
        return fault_set(why, FAULT_INPUT, 0, "socket path '%s' is too long", path);
    memcpy(where.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where) != 0) {
        fault_set(
            why, FAULT_RETRY, errno, "cannot reach the daemon at %s: %s", path, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
    *ret = fd;
    return 0;
}

static int send_all(int fd, struct bytes b, struct fault *why)
{
    while (b.n) {
        ssize_t n = send(fd, b.at, b.n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fault_set(
                why, FAULT_BROKEN, errno, "cannot send to the daemon: %s", strerror(errno));
        b.at += n;
        b.n -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, struct buf *to, struct fault *why)
{
    for (;;) {
        uint8_t part[65536];
        ssize_t n = recv(fd, part, sizeof part, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fault_set(
                why, FAULT_BROKEN, errno, "no answer from the daemon: %s", strerror(errno));
        if (n == 0)
            return 0;
        buf_put(to, part, (size_t)n);
        if (to->failed)
            return fault_set(why, FAULT_BROKEN, 0, "the daemon's answer is too large");
    }
}

static int parse(struct buf *answer, struct client_answer *ret, struct fault *why)
{
    const char *text = buf_text(answer), *body = strstr(text, "\r\n\r\n");
    json_error_t error;
    size_t head;

    if (sscanf(text, "HTTP/1.%*d %d", &ret->status) != 1 || !body)
        return fault_set(why, FAULT_BROKEN, 0, "the daemon's answer is not HTTP");
    head = (size_t)(body + 4 - text);
    ret->json = json_loadb(body + 4, answer->n - head, JSON_ALLOW_NUL, &error);
    if (!ret->json)
        return fault_set(why, FAULT_BROKEN, 0, "the daemon's answer is not JSON: %s", error.text);
    return 0;
}

/* Dials and asks. The answer ends where the connection does, never in chunks: HTTP/1.0. */
static int request(const char *socket_path, const char *method, const char *path, json_t *body,
    int flags, int *ret, struct fault *why)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct buf request;
    int result = -1;

    *ret = -1;
    buf_init(&request, REQUEST_MAX);
    buf_put_format(&request, "%s %s HTTP/1.0\r\nHost: bascule\r\n", method, path);
    if (text)
        buf_put_format(
            &request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(text));
    buf_put_text(&request, "\r\n");
    if (text)
        buf_put_text(&request, text);
    if (request.failed)
        fault_set(why, FAULT_INPUT, 0, "the request is too large");
    else if (dial(socket_path, flags, ret, why) == 0)
        result = send_all(*ret, buf_bytes(&request), why);
    buf_done(&request);
    free(text);
    return result;
}

int client_ask(const char *socket_path, const char *method, const char *path, json_t *body,
    struct client_answer *ret, struct fault *why)
{
    struct buf answer;
    int fd, result = -1;

    buf_init(&answer, ANSWER_MAX);
    if (request(socket_path, method, path, body, 0, &fd, why) == 0 &&
        read_all(fd, &answer, why) == 0)
        result = parse(&answer, ret, why);
    if (fd >= 0)
        (void)close(fd);
    buf_done(&answer);
    return result;
}

void client_fetch_init(struct client_fetch *f)
{
    f->fd = -1;
    buf_init(&f->answer, ANSWER_MAX);
}

void client_fetch_done(struct client_fetch *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    buf_done(&f->answer);
    client_fetch_init(f);
}

int client_fetch_begin(struct client_fetch *f, const char *socket_path, const char *method,
    const char *path, json_t *body, struct fault *why)
{
    client_fetch_done(f);
    if (request(socket_path, method, path, body, SOCK_NONBLOCK, &f->fd, why) == 0)
        return 0;
    client_fetch_done(f);
    return -1;
}

int client_fetch_step(struct client_fetch *f, struct client_answer *ret, struct fault *why)
{
    int result = read_all(f->fd, &f->answer, why);

    if (result != 0 && why->code == EAGAIN)
        return 0;
    if (result == 0)
        result = parse(&f->answer, ret, why);
    client_fetch_done(f);
    return result == 0 ? 1 : -1;
}

/* Hands over whole lines from `at` on; false when the reader has enough. */
static bool hand_over(struct buf *b, size_t *at, client_line *line, void *arg)
{
    uint8_t *end;

    while (*at < b->n && (end = memchr(b->at + *at, '\n', b->n - *at)) != NULL) {
        size_t n = (size_t)(end - (b->at + *at));
        const char *text = (const char *)b->at + *at;

        *at += n + 1;
        if (!line(arg, text, n))
            return false;
    }
    buf_drop(b, *at);
    *at = 0;
    return true;
}

/* 1: a stream, *at behind its head. 0: not yet all of the head, or a refusal, which is read whole.
 */
static int head_end(struct buf *b, size_t *at, int *status)
{
    const char *text = buf_text(b), *body = strstr(text, "\r\n\r\n");

    if (!body || sscanf(text, "HTTP/1.%*d %d", status) != 1 || *status != 200)
        return 0;
    *at = (size_t)(body + 4 - text);
    return 1;
}

static int read_lines(int fd, client_line *line, void *arg, struct buf *b, int *status,
    bool *streams, struct fault *why)
{
    size_t at = 0;

    for (;;) {
        uint8_t part[65536];
        ssize_t n = recv(fd, part, sizeof part, 0);

        if (n < 0 && errno == EINTR) {
            if (!line(arg, NULL, 0))
                return 0;
            continue;
        }
        if (n < 0)
            return fault_set(
                why, FAULT_BROKEN, errno, "no word from the daemon: %s", strerror(errno));
        if (n == 0)
            return 0;
        buf_put(b, part, (size_t)n);
        if (b->failed)
            return fault_set(why, FAULT_BROKEN, 0, "the daemon's line is too long");
        *streams = *streams || head_end(b, &at, status);
        if (*streams && !hand_over(b, &at, line, arg))
            return 0;
    }
}

int client_lines(const char *socket_path, const char *path, client_line *line, void *arg,
    struct client_answer *ret, struct fault *why)
{
    struct buf answer;
    bool streams = false;
    int fd, result = -1;

    *ret = (struct client_answer){ 0 };
    buf_init(&answer, LINE_MAX_BYTES);
    if (request(socket_path, "GET", path, NULL, 0, &fd, why) == 0)
        result = read_lines(fd, line, arg, &answer, &ret->status, &streams, why);
    if (result == 0 && !streams)
        result = parse(&answer, ret, why);
    if (fd >= 0)
        (void)close(fd);
    buf_done(&answer);
    return result;
}
