/* What happens to routes, said where internal routes hear it: one function per kind, so that one
 * file knows what each has to say (schemas/lifecycle.json describes it). */
#ifndef BASCULE_TELL_H
#define BASCULE_TELL_H

#include "bridge/base/lifecycle.h"
#include "routes/outflow.h"

/* A state must have lasted so long before it is told: what a restart of a broker, or of ours, makes
 * flicker is no news. */
#define TELL_HEALTH_MS 3000
/* A sink that did not reach its rate limit for so long has to be told of again. */
#define TELL_RATE_QUIET_MS 10000

struct relay_route;

/* `reason`: "start", "added", "changed". */
void tell_registered(const struct relay_route *route, const char *reason);
void tell_unregistered(struct lifecycle *l, const char *route, bool drains);
void tell_paused(
    struct lifecycle *l, const char *route, const char *sink, bool paused, const char *who);
/* `by`: "failures", "probe", "person"; `why` NULL: none. */
void tell_breaker(const struct outflow *o, const char *by, const char *why);
/* Something had to wait for the sink's rate limit, now. */
void tell_rate_limit(struct outflow *o);
void tell_dead_letter(const struct flight *f, uint64_t number, enum held_reason reason, int code,
    const char *text, uint32_t attempts);
void tell_gap(
    struct lifecycle *l, const char *route, const char *connection, const struct source_gap *gap);
void tell_store(struct lifecycle *l, bool full, const struct store_usage *usage);
/* `outcome`: "done", "refused", "failed"; `hash` names the configuration that was asked for, ""
 * when it could not be read. */
void tell_reload(
    struct lifecycle *l, bool done, const char *outcome, const char *hash, const char *summary);
/* Once a second: tells of routes, connections and the whole whose health has changed. */
void tell_health(struct relay *r);

#endif
