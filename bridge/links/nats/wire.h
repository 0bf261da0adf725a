/* One connection to NATS, dialled again by itself, behind which the client library's threads stay:
 * what they bring waits in bounded mailboxes for the loop, what goes out is handed to one thread
 * that may block.
 *
 * The library's own reconnecting is off. A connection that ended is over, and with it everything
 * that was not confirmed: there is no buffer in which a publish could look as if it had been sent.
 */
#ifndef BASCULE_WIRE_H
#define BASCULE_WIRE_H

#include "bridge/base/buf.h"
#include "bridge/connector.h"
#include "bridge/links/nats/options.h"

struct wire;
/* A subscription that lasts over all connections. */
struct wire_port;

/* One message, owned by who took it, until wire_message_free(). */
struct wire_message {
    struct wire_message *next;
    uint64_t session;            /* of the connection that brought it */
    const char *subject, *reply; /* reply NULL: none */
    struct bytes headers; /* the block as it came, "NATS/1.0 ..." to the empty line; absent: none */
    struct bytes body;
    void *held; /* the library's */
    void *made; /* headers that had to be put together; NULL: they lie in what the library holds */
};

struct wire_spec {
    const struct nats_link_options *options; /* kept */
    const char *name;                        /* shown at the server; kept */
    uint64_t seed;
    int poll_fd; /* an epoll set that gets the descriptor */
};

struct wire_publish {
    const char *subject, *reply; /* reply NULL: none */
    const char *headers;         /* "A: b\r\nC: d", no line end at its end; NULL: none */
    struct bytes body;
};

int wire_open(const struct wire_spec *spec, struct wire **ret, struct fault *why);
/* Closes its ports too. What was published still goes out if the server takes it; nobody waits. */
void wire_free(struct wire *w);
/* Returns when to call it again at the latest. */
int64_t wire_step(struct wire *w, int64_t now_ms, int64_t unix_ms);
const struct link_status *wire_status(const struct wire *w);
/* Connected, and not asked to leave by the server. */
bool wire_ready(const struct wire *w);
/* Largest headers and body together that the server takes; 0 until connected. */
size_t wire_max_payload(const struct wire *w);
/* A name that no other has: "_INBOX.XXXXXXXX", for replies to this wire. */
const char *wire_inbox(const struct wire *w);
/* The connection is of no use: ends it and dials again after a wait, with these words. */
void wire_fail(struct wire *w, const char *text);

/* Copies it and hands it on; number it gets, from 1, or 0 when the wire is not ready or full. */
uint64_t wire_publish(struct wire *w, const struct wire_publish *p);
/* What is published from here on is handed over at once by wire_uncork(): each hand-over costs a
 * lock, and may wake a thread. */
void wire_cork(struct wire *w);
void wire_uncork(struct wire *w);
/* Number of the last that reached the library. Those behind it were not sent if the connection is
 * over. */
uint64_t wire_handed(const struct wire *w);
/* Asks the server to answer once it has everything published so far. */
void wire_flush(struct wire *w);
/* How many flushes were answered. */
uint64_t wire_flushes(const struct wire *w);
/* Number of the last message of this session that such an answer covers. */
uint64_t wire_flushed(const struct wire *w);
/* The server's words on the last subject that it forbade to publish to, as of the last flush; "".
 */
const char *wire_denied(const struct wire *w);
/* Takes one error that the server sent without closing the connection ("Permissions Violation for
 * Publish to \"x\""); false when there is none. */
bool wire_take_error(struct wire *w, char *ret, size_t n);
/* Why the last session ended, when the server said it before it closed; else "". */
const char *wire_last_words(const struct wire *w);

/* Listens to a subject. `queue` NULL: no group. At most `limit` messages wait here and
 * `limit_bytes` in the library, the rest is dropped and counted; 0: no limit, where what comes is
 * bounded by what was asked for. NULL: no memory. */
struct wire_port *wire_port_open(
    struct wire *w, const char *subject, const char *queue, int limit, int limit_bytes);
void wire_port_close(struct wire *w, struct wire_port *p);
/* The oldest that waits, NULL when there is none. */
struct wire_message *wire_port_take(struct wire *w, struct wire_port *p);
/* How many the library dropped so far because too many waited, over all connections. */
uint64_t wire_port_dropped(struct wire *w, const struct wire_port *p);
void wire_message_free(struct wire_message *m);

/* "cnats 3.4.1" */
const char *wire_library(void);

#endif
