/* `check --connect`: is what a Redis source or sink needs there, and allowed? */
#ifndef BASCULE_TRIAL_H
#define BASCULE_TRIAL_H

#include "bridge/links/redis/link.h"

/* As connector.link_probe, on a link of its own that nothing else uses. Waits. */
size_t trial_run(struct link *l, const struct redis_source_options *source,
    const struct redis_sink_options *sink, int64_t timeout_ms, struct finding *ret, size_t limit);

/* As connector.link_facts, in the same way. */
int trial_facts(struct link *l, int64_t timeout_ms, struct link_facts *ret, struct fault *why);

#endif
