/* Who a NATS server is. The client library keeps its version and its certificate to itself, so the
 * server's first line is read from a socket of our own, and the handshake that follows is made.
 * https://docs.nats.io/reference/reference-protocols/nats-protocol */
#include "bridge/links/findings.h"
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/probe.h"
#include "bridge/links/tls.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_BYTES_MAX 65536
#define PORT_DEFAULT "4222"

struct dial {
    int fd;
    int64_t end_ms;
    char host[256], port[8];
    struct buf line;
};

/* "tls://user:secret@[::1]:4222" */
static void split(const char *url, struct dial *d)
{
    const char *host = strstr(url, "://") ? strstr(url, "://") + 3 : url, *end, *colon;

    host = strrchr(host, '@') ? strrchr(host, '@') + 1 : host;
    if (*host == '[' && (end = strchr(host, ']')) != NULL) {
        host++;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strrchr(host, ':');
        end = colon ? colon : host + strlen(host);
    }
    (void)snprintf(d->host, sizeof d->host, "%.*s", (int)(end - host), host);
    (void)snprintf(d->port, sizeof d->port, "%.7s", colon ? colon + 1 : PORT_DEFAULT);
}

/* Until the socket can be read or written; -1 when the time is over. */
static int await(const struct dial *d, short events, struct fault *why)
{
    struct pollfd p = { d->fd, events, 0 };
    int64_t left = d->end_ms - findings_clock_ms();

    if (left > 0 && poll(&p, 1, (int)left) == 1)
        return 0;
    return fault_set(why, FAULT_RETRY, 0, "%s:%s: no answer in time", d->host, d->port);
}

static int reach(struct dial *d, const struct addrinfo *a, struct fault *why)
{
    socklen_t n = sizeof(int);
    int error = 0;

    d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0)
        return fault_set(why, FAULT_RETRY, errno, "socket: %s", strerror(errno));
    if (connect(d->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        error = errno;
    else if (await(d, POLLOUT, why) != 0)
        return -1;
    else if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    return error == 0
               ? 0
               : fault_set(why, FAULT_RETRY, error, "%s:%s: %s", d->host, d->port, strerror(error));
}

static int dial(struct dial *d, struct fault *why)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int e = getaddrinfo(d->host, d->port, &want, &found), result = -1;

    if (e != 0)
        return fault_set(why, FAULT_RETRY, 0, "%s: %s", d->host, gai_strerror(e));
    for (const struct addrinfo *a = found; result != 0 && a; a = a->ai_next) {
        if (d->fd >= 0)
            (void)close(d->fd);
        result = reach(d, a, why);
    }
    freeaddrinfo(found);
    return result;
}

/* "INFO {...}\r\n". What follows it is the handshake's: so it is read byte by byte. */
static int read_info(struct dial *d, struct fault *why)
{
    uint8_t byte = 0;

    while (byte != '\n') {
        ssize_t n = recv(d->fd, &byte, 1, 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (await(d, POLLIN, why) != 0)
                return -1;
            continue;
        }
        if (n <= 0)
            return fault_set(why, FAULT_RETRY, 0, "%s:%s: the connection ended", d->host, d->port);
        buf_put_byte(&d->line, byte);
        if (d->line.failed)
            break;
    }
    if (d->line.failed || d->line.n < 5 || memcmp(d->line.at, "INFO ", 5) != 0)
        return fault_set(why, FAULT_RETRY, 0, "%s:%s: no NATS server", d->host, d->port);
    return 0;
}

static int move(struct dial *d, struct tls *t, struct fault *why)
{
    struct buf *out = tls_out(t);
    uint8_t part[4096];
    ssize_t n;

    while (out->n) {
        n = send(d->fd, out->at, out->n, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (await(d, POLLOUT, why) != 0)
                return -1;
        } else if (n <= 0) {
            return fault_set(why, FAULT_RETRY, errno, "TLS: the connection ended");
        } else {
            buf_drop(out, (size_t)n);
        }
    }
    if (tls_ready(t))
        return 0;
    if (await(d, POLLIN, why) != 0)
        return -1;
    n = recv(d->fd, part, sizeof part, 0);
    if (n <= 0)
        return fault_set(why, FAULT_RETRY, 0, "TLS: the server closed the connection");
    return tls_feed(t, part, (size_t)n, why);
}

static int handshake(
    struct dial *d, const struct nats_tls_options *o, struct link_facts *ret, struct fault *why)
{
    struct tls_spec spec = { .ca_file = o->ca_file,
        .cert_file = o->cert_file,
        .key_file = o->key_file,
        .server_name = o->server_name ? o->server_name : d->host,
        .no_verify = !o->verify };
    struct tls *t = NULL;
    char nothing;
    int result = tls_open(&spec, &t, why);

    while (result == 0 && !tls_ready(t)) {
        result = tls_read(t, &nothing, 1, why) < 0 ? -1 : 0;
        if (result == 0)
            result = move(d, t, why);
    }
    if (result == 0)
        ret->peer_expires_ms = tls_peer_expires_ms(t);
    tls_free(t);
    return result;
}

static int ask(struct dial *d, const struct nats_link_options *o, const char *url,
    struct link_facts *ret, struct fault *why)
{
    bool tls = o->tls.set || strncmp(url, "tls://", 6) == 0;
    struct nats_tls_options system = { .verify = true };
    char version[40];

    if (dial(d, why) != 0 || read_info(d, why) != 0)
        return -1;
    *ret = (struct link_facts){ .has_clock = false };
    (void)snprintf(ret->peer, sizeof ret->peer, "%.100s:%s", d->host, d->port);
    answer_text(bytes_of(d->line.at + 5, d->line.n - 5), "version", version, sizeof version);
    if (*version)
        (void)snprintf(ret->version, sizeof ret->version, "NATS %s", version);
    return tls ? handshake(d, o->tls.set ? &o->tls : &system, ret, why) : 0;
}

int nats_probe_facts(const struct nats_link_options *o, int64_t timeout_ms, struct link_facts *ret,
    struct fault *why)
{
    int64_t end_ms = findings_clock_ms() + timeout_ms;
    int result = -1;

    for (size_t i = 0; result != 0 && i < nats_url_count(o); i++) {
        struct dial d = { .fd = -1, .end_ms = end_ms };

        buf_init(&d.line, LINE_BYTES_MAX);
        split(nats_url_at(o, i), &d);
        result = ask(&d, o, nats_url_at(o, i), ret, why);
        if (d.fd >= 0)
            (void)close(d.fd);
        buf_done(&d.line);
    }
    return result;
}
