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
/* Appends text percent-encoded. */
void client_put_encoded(struct buf *to, const char *text);

#endif
