/* A whole bridge with its admin socket: real store, real relay, real HTTP; scripted brokers and a
 * fake clock underneath. */
#ifndef BASCULE_DESK_H
#define BASCULE_DESK_H

#include "bridge/admin/api.h"
#include "tests/sim/rig.h"

#include <jansson.h>

struct desk {
    struct rig rig;
    struct api *api;
    struct http *http;
    char *path;
    const struct config_members *roles; /* CONFIG_ROLE_COUNT of them; NULL: no roles */
    int64_t unix_ms;                    /* what the api takes for now; 0: the rig's time */
    uint32_t ask_as;                    /* the user who asks; 0: who runs the test */
    bool stuck;                         /* nothing gets onto the disk */
};

/* After rig_init(). */
void desk_open(struct desk *d);
void desk_close(struct desk *d);
/* As the daemon does it. */
void desk_turn(struct desk *d);
/* Asks from a thread of its own, while the bridge turns; fails the test unless the answer has that
 * status. The body is taken. */
json_t *desk_ask(struct desk *d, const char *method, const char *path, json_t *body, int status);
/* The same with any status, which it returns. */
int desk_try(struct desk *d, const char *method, const char *path, json_t *body, json_t **ret);
json_t *desk_get(struct desk *d, const char *path); /* 200 */
json_t *desk_post(struct desk *d, const char *path, json_t *body);
/* A whole answer as it came, head and body; lent until the next one. */
char *desk_text(struct desk *d, const char *path);

#endif
