/* Any bytes from a Redis server, as replies and then as pushes, and as entries of a stream where
 * they have that form. The last byte tells where the answer is cut in two. */
#include "bridge/base/header.h"
#include "bridge/links/redis/fields.h"
#include "bridge/links/resp.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMANDS 4
#define STEPS_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned replies;

static bool all_texts(const struct resp_value *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->items[i].type != RESP_TEXT)
            return false;
    return v->type == RESP_ARRAY;
}

static void use(const struct resp_value *v)
{
    struct fields names = fields_of(NULL, NULL, NULL, NULL, NULL);
    struct event e = { 0 };
    struct buf headers;

    if (v->type == RESP_ARRAY)
        for (size_t i = 0; i < v->n; i++)
            use(&v->items[i]);
    if (!all_texts(v) || v->n % 2)
        return;
    buf_init(&headers, 1 << 20);
    fields_read(&names, v, &headers, &e);
    if (!header_valid(buf_bytes(&headers)))
        abort();
    buf_done(&headers);
}

static void replied(void *owner, uint64_t arg, const struct resp_value *value, bool sent)
{
    (void)owner, (void)sent;
    replies += arg == 1;
    if (value)
        use(value);
}

static int listener_at(in_port_t *port)
{
    static struct sockaddr_in at = { .sin_family = AF_INET };
    static int fd = -1;
    socklen_t n = sizeof at;

    if (fd < 0) {
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 8) != 0 ||
            getsockname(fd, (struct sockaddr *)&at, &n) != 0)
            abort();
    }
    *port = ntohs(at.sin_port);
    return fd;
}

/* Until the peer's end is seen; false when it never is. */
static bool read_all(struct resp *r)
{
    struct fault why;

    for (int i = 0; i < STEPS_MAX; i++) {
        struct pollfd p = { .fd = resp_fd(r), .events = POLLIN };

        if (resp_step(r, &why) != 0)
            return true;
        (void)poll(&p, 1, 1000);
    }
    return false;
}

static void send_all(int fd, const uint8_t *data, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        data += sent;
        n -= (size_t)sent;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct linger at_once = { 1, 0 }; /* or the ports run out */
    struct fault why;
    struct resp *r;
    in_port_t port;
    int listener = listener_at(&port), peer;
    size_t cut = n ? data[n - 1] % n : 0;

    if (n > 1 << 16) /* the socket's own buffer holds it */
        return 0;
    r = resp_open(&(struct resp_spec){ "127.0.0.1", port, 1 << 20, NULL }, &why);
    if (!r)
        return 0;
    while (!resp_connected(r))
        if (resp_step(r, &why) != 0)
            abort();
    peer = accept(listener, NULL, NULL);
    replies = 0;
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (resp_command(r, 1, replied, NULL, 1) == 0)
            resp_arg_text(r, "PING");
    }
    send_all(peer, data, cut);
    if (resp_step(r, &why) == 0) {
        send_all(peer, data + cut, n - cut);
        (void)shutdown(peer, SHUT_WR);
        if (!read_all(r))
            abort();
    }
    (void)setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    (void)close(peer);
    resp_free(r);
    if (replies != COMMANDS)
        abort(); /* each command has exactly one */
    return 0;
}
