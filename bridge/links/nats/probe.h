/* `bascule check --connect` for NATS. */
#ifndef BASCULE_NATS_PROBE_H
#define BASCULE_NATS_PROBE_H

#include "bridge/links/nats/link.h"

/* On a link of its own, beside no loop; may take timeout_ms. */
size_t nats_probe_run(struct link *l, const struct nats_source_options *source, int64_t window,
    const struct nats_sink_options *sink, int64_t timeout_ms, struct finding *ret, size_t limit);
/* Would a message to this subject go to one of the stream's (JSON list)? */
bool nats_probe_taken(const char *subject, struct bytes stream_subjects);

/* As connector.link_facts, without a login. */
int nats_probe_facts(const struct nats_link_options *o, int64_t timeout_ms, struct link_facts *ret,
    struct fault *why);

#endif
