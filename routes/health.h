/* Does every part do its work, as far as it can know, and what hinders it. */
#ifndef BASCULE_HEALTH_H
#define BASCULE_HEALTH_H

#include "routes/relay.h"

enum health { HEALTH_NONE = 0, HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_UNHEALTHY };

/* Whether the route makes progress or has nothing to do. false: `why` says in what not. */
bool health_route(const struct relay *r, size_t route, char *why, size_t limit);
/* A connection is as healthy as every source and sink on it; *active is raised by those of them
 * that are connected. */
bool health_connection(const struct relay *r, size_t connection, size_t *active);
/* Unhealthy: the log takes nothing, or no route does its work. Degraded: some do. `troubled`:
 * routes that health_route() finds fault with; `connected`: health_connection() finds none. */
enum health health_bridge(const struct relay *r, size_t troubled, bool connected);
const char *health_text(enum health health); /* "healthy" */

#endif
