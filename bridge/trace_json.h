/* Spans as OTLP's JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding */
#ifndef BASCULE_TRACE_JSON_H
#define BASCULE_TRACE_JSON_H

#include "bridge/base/buf.h"
#include "bridge/base/span.h"

/* Who tells. */
struct trace_json_resource {
    const char *service, *store; /* service.name, and the store's id as service.instance.id */
};

/* One ExportTraceServiceRequest. */
void trace_json(
    const struct trace_json_resource *who, const struct span *spans, size_t n, struct buf *to);

#endif
