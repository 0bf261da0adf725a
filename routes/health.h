/* Does every part do its work, as far as it can know, and what hinders it. */
#ifndef BASCULE_HEALTH_H
#define BASCULE_HEALTH_H

#include "routes/relay.h"

enum health { HEALTH_NONE = 0, HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_UNHEALTHY };

/* Of one part: what was told of it last, and since when it is otherwise. */
struct health_watch {
    enum health told, seen;
    int64_t since_ms; /* monotonic; of `seen` */
};

/* Whether the route makes progress or has nothing to do. false: `why` says in what not. */
bool health_route(const struct relay *r, size_t route, char *why, size_t limit);
/* A connection works as far as it does itself, and every source and sink on it. Fills works[] by
 * the configuration's connections; returns how many of those ends are connected. */
size_t health_connections(const struct relay *r, bool *works);
/* Unhealthy: the log takes nothing, or no route does its work. Degraded: some do. `troubled`:
 * routes that health_route() finds fault with; `connected`: all connections work. */
enum health health_bridge(const struct relay *r, size_t troubled, bool connected);
const char *health_text(enum health health); /* "healthy" */

#endif
