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
/* GET of an answer that comes line by line. `line` gets each without its end, or NULL when a signal
 * came; false ends it. 0: the connection has ended by either side; for a refusal ret->json is
 * filled, else NULL. */
typedef bool client_line(void *arg, const char *line, size_t n);
int client_lines(const char *socket, const char *path, client_line *line, void *arg,
    struct client_answer *ret, struct fault *why);
/* Appends text percent-encoded. */
void client_put_encoded(struct buf *to, const char *text);

#endif
