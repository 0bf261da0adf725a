/* What the daemon says of its routes and sinks, in the rows and words that people get. */
#ifndef BASCULE_STATUS_VIEW_H
#define BASCULE_STATUS_VIEW_H

#include "bridge/base/buf.h"

#include <jansson.h>

/* A row for each route, and one for each of its sinks below, of the "routes" of /v1/status. Keys:
 * name ("orders", "orders/live"), route, sink ("": a route), state, paused, rate (of a route: in;
 * of a sink: out), pending, backlog_bytes, oldest_pending_ms, parked_keys, dead, breaker, trouble;
 * and for a table in which a route's line adds up its sinks: in, out, all_pending, all_oldest_ms,
 * all_parked_keys, all_dead, all_breaker. */
json_t *status_rows(const json_t *routes);
/* Is it working, in a sentence or two. */
void status_verdict(const json_t *status, const json_t *rows, struct buf *to);
/* Of that key; "" when there is none. */
const char *status_text(const json_t *object, const char *key);

#endif
