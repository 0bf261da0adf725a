/* HTTP on a Unix socket inside somebody else's loop: requests with their peer's identity in, one
 * reply each out, now or later. */
#ifndef BASCULE_HTTP_H
#define BASCULE_HTTP_H

#include "bridge/base/bytes.h"
#include "bridge/base/fault.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_BODY_MAX (24u << 20)   /* an edited 16 MiB body in base64 */
#define HTTP_BODIES_MAX (64u << 20) /* of all requests in progress together */
#define HTTP_CONNECTIONS_MAX 32
#define HTTP_TIMEOUT_S 30 /* without a byte moving */
#define HTTP_STREAM_TIMEOUT_S                                                                      \
    600 /* the same for a stream: its reader may be a person who scrolls */

struct http;
struct http_request;

/* As the kernel knew it when it connected. -1: not known (TCP). */
struct http_peer {
    int64_t uid, gid, pid;
    const uint32_t *groups; /* supplementary; lent as the request */
    size_t group_count;
};

typedef void http_handle(void *arg, struct http_request *q);

/* Whose connections may take how many of HTTP_CONNECTIONS_MAX, so that no crowd of one kind keeps
 * those after it out: a connection beyond its kind's share is closed at once. */
enum http_rank { HTTP_RANK_STRANGER = 0, HTTP_RANK_KNOWN, HTTP_RANK_FIRST };
typedef enum http_rank http_rank(void *arg, const struct http_peer *peer);
#define HTTP_STRANGERS_MAX 4
#define HTTP_KNOWN_MAX 24 /* with strangers */

struct http_spec {
    const char *path;    /* of the socket; a stale one is replaced, a living one refused, one that
                          * a service manager handed over (handed.h) taken and left there */
    const char *address; /* NULL, or in its place: a TCP address (address.h), where no request may
                          * have a body */
    const char *group;   /* that may use it; NULL or unknown here: only the owner's group */
    bool open;           /* every local user may connect: handle() looks who it is */
    http_handle *handle;
    void *arg;
    http_rank *rank; /* NULL: all are HTTP_RANK_FIRST */
};

/* FAULT_RETRY when another process listens there. */
int http_open(const struct http_spec *spec, struct http **ret, struct fault *why);
/* Requests without a reply get 503. */
void http_free(struct http *h);
int http_pollfd(const struct http *h);
/* Moves all connections; calls handle() for each whole request. Returns when to call again at the
 * latest (monotonic ms, INT64_MAX: only when the descriptor says so). */
int64_t http_step(struct http *h, int64_t now_ms);

/* What was asked; lent until its reply. The path is percent-decoded. */
const char *http_method(const struct http_request *q);
const char *http_path(const struct http_request *q);
/* A query argument, NULL when absent. */
const char *http_argument(const struct http_request *q, const char *name);
struct bytes http_body(const struct http_request *q);
struct http_peer http_peer(const struct http_request *q);

/* Exactly one per request. The body is copied. After it q is gone. */
void http_reply(struct http_request *q, unsigned status, struct bytes json);
/* The same with another content type. */
void http_reply_as(
    struct http_request *q, unsigned status, const char *content_type, struct bytes body);

/* In place of a reply: 200 and a body that comes as it becomes known. */
struct http_stream_spec {
    const char *content_type;
    /* Writes at most `limit` bytes; 0: none now. */
    size_t (*more)(void *arg, char *to, size_t limit);
    /* The client went, or the server ends: q is gone, and `more` is called no more. */
    void (*gone)(void *arg);
    void *arg;
};
void http_stream(struct http_request *q, const struct http_stream_spec *spec);
/* There is more, or with `end` there will be nothing once `more` gives 0. */
void http_stream_wake(struct http_request *q, bool end);

#endif
