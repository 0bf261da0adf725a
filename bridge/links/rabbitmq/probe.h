/* `check --connect`: dials and looks whether what a source and a sink need is there and allowed. */
#ifndef BASCULE_PROBE_H
#define BASCULE_PROBE_H

#include "bridge/connector.h"

/* As bridge/connector.h says of link_probe. */
size_t probe_run(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit);

int probe_facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why);
const char *probe_library(void);

#endif
