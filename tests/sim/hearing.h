/* A route that reads the bridge itself, beside the rig's own, and a sink that keeps what it hears.
 */
#ifndef BASCULE_HEARING_H
#define BASCULE_HEARING_H

#include "tests/sim/rig.h"

#include <jansson.h>

#define HEARD_MAX 4096
#define HEARING_ROUTES 3

struct heard {
    char address[64], key[64], id[128];
    bool has_key, json;
    uint32_t hops;
    json_t *body;
};

struct hearing {
    struct rig rig; /* its routes: the rig's own first, then those that hear */
    struct config_connection connections[3];
    struct config_route routes[1 + HEARING_ROUTES];
    struct config_sink sinks[HEARING_ROUTES];
    struct option_template address;
    struct {
        struct option_list kinds, routes;
    } options[HEARING_ROUTES];
    char *patterns[HEARING_ROUTES][4];
    struct heard heard[HEARD_MAX];
    size_t count;
    bool deaf;    /* the sink is not connected */
    bool refuses; /* it refuses everything for good */
    bool nacks;
};

/* `routes` of them, each with a sink; they hear "*". Change it before rig_start(). */
void hearing_init(struct hearing *h, uint64_t seed, size_t sinks, size_t routes);
/* What route i hears, and about which routes (NULL: all). */
void hearing_of(struct hearing *h, size_t i, const char *kind, const char *route);
void hearing_done(struct hearing *h);
void hearing_turns(struct hearing *h, int64_t ms);
/* What was heard of that type; how many, in `count` fields summed up; the last one. */
size_t hearing_count(const struct hearing *h, const char *type);
int64_t hearing_sum(const struct hearing *h, const char *type);
const struct heard *hearing_last(const struct hearing *h, const char *type);
/* A member of the body, or of its details. Fails the test when it is no text, or not there. */
const char *heard_text(const struct heard *e, const char *name);
int64_t heard_number(const struct heard *e, const char *name);
bool heard_null(const struct heard *e, const char *name);

#endif
