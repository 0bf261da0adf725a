/* A request to the daemon over its Unix socket. */
#ifndef BASCULE_CLIENT_H
#define BASCULE_CLIENT_H

#include "bridge/base/buf.h"

#include <jansson.h>

struct client_answer {
    int status;   /* of HTTP */
    json_t *json; /* owned by the caller */
};

/* path: percent-encoded, with its query. body NULL: none. FAULT_RETRY: nobody listens there (code
 * is errno), FAULT_BROKEN: no understandable answer. */
int client_ask(const char *socket, const char *method, const char *path, json_t *body,
    struct client_answer *ret, struct fault *why);
/* A question whose answer is waited for elsewhere. One at a time. */
struct client_fetch {
    int fd; /* -1: none is under way */
    struct buf answer;
};
void client_fetch_init(struct client_fetch *f);
void client_fetch_done(struct client_fetch *f); /* lets go of what is under way */
int client_fetch_begin(struct client_fetch *f, const char *socket, const char *method,
    const char *path, json_t *body, struct fault *why);
/* When the descriptor is readable. 1: *ret is filled; 0: not yet; -1: it failed. */
int client_fetch_step(struct client_fetch *f, struct client_answer *ret, struct fault *why);

/* GET of an answer that comes line by line. `line` gets each without its end, or NULL when a signal
 * came; false ends it. 0: the connection has ended by either side; for a refusal ret->json is
 * filled, else NULL. */
typedef bool client_line(void *arg, const char *line, size_t n);
int client_lines(const char *socket, const char *path, client_line *line, void *arg,
    struct client_answer *ret, struct fault *why);
/* Appends text percent-encoded. */
void client_put_encoded(struct buf *to, const char *text);

#endif
