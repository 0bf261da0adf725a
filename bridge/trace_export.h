/* Traces: takes spans from the loop and sends them to a collector (OTLP over HTTP) on a thread of
 * its own. Whatever the collector does, the loop never waits: spans that find no room are dropped
 * and counted. */
#ifndef BASCULE_TRACE_EXPORT_H
#define BASCULE_TRACE_EXPORT_H

#include "bridge/base/span.h"
#include "routes/config.h"

/* Spans that wait, and as many again on their way. */
#define TRACE_QUEUE_MAX 2048
/* So many wait for nothing more; fewer go after this time. */
#define TRACE_BATCH 512
#define TRACE_WAIT_MS 1000
/* A batch that the collector could not take is tried so often, with this wait before the second
 * try, doubled each time. */
#define TRACE_TRIES 4
#define TRACE_RETRY_MS 500

struct trace_export;

struct trace_status {
    bool on;
    uint64_t sent;    /* spans that the collector took */
    uint64_t crowded; /* dropped: no room, because it was too slow or away */
    uint64_t refused; /* dropped: it would not have them, or not in TRACE_TRIES tries */
    char error[200];  /* its last trouble; "" since it is well */
};

/* Everything on the loop thread. `store` is the store's id. */
int trace_export_open(const char *store, struct trace_export **ret, struct fault *why);
/* Says what is still there, for at most wait_ms, then ends. NULL is allowed. */
void trace_export_free(struct trace_export *t, int64_t wait_ms);
/* Goes over to these settings (copied); without an endpoint nothing is traced any more. */
int trace_export_set(
    struct trace_export *t, const struct config_trace *settings, struct fault *why);
/* Lent as long as the export is open. */
struct tracer *trace_export_tracer(struct trace_export *t);
void trace_export_status(struct trace_export *t, struct trace_status *ret);

#endif
