/* Spans: what a collector of traces is told of one step of an event, in OpenTelemetry's terms; and
 * which events are told of. */
#ifndef BASCULE_SPAN_H
#define BASCULE_SPAN_H

#include "bridge/base/event.h"

#include <stdatomic.h>

enum span_kind {
    SPAN_NONE = 0,
    SPAN_RECEIVE, /* from the source's hands until it is acknowledged */
    SPAN_COMMIT,  /* given to the writer until it is on disk */
    SPAN_DELIVER, /* one attempt: given to the sink until its answer */
};

struct span {
    enum span_kind kind;
    uint8_t trace_id[16], id[8], parent[8]; /* parent all zero: none */
    int64_t start_ns, end_ns;               /* since 1970 */
    uint64_t seq;
    char route[64], sink[64]; /* sink "": not at one */
    char log[64];             /* the route whose log holds it: LOG@SEQ */
    char system[16];          /* "kafka" */
    char place[96];           /* where it came from, or went: topic, queue's routing key, stream */
    char event_id[96];
    char tracestate[256];
    char fate[16];   /* of a delivery */
    char error[160]; /* why it was not delivered; "": it was */
};

/* Whom spans are given to; on the loop thread, and never waits. */
struct tracer {
    bool on;
    double ratio;     /* of the events that come without a traceparent */
    uint64_t seed;    /* of this store: made-up ids are its own */
    atomic_bool full; /* a span would find no room: it need not be made */
    int64_t (*now_ns)(struct tracer *t);
    void (*put)(struct tracer *t, const struct span *s); /* NULL: one that was not made */
};

/* All that the way of an event costs while tracing is off. */
static inline bool tracer_on(const struct tracer *t)
{
    return t && t->on;
}

/* A traceparent (https://www.w3.org/TR/trace-context/), false when it is none. */
bool span_parse(struct bytes traceparent, struct span *ret, bool *sampled);

/* Fills trace_id, parent and tracestate for the event of that route's log. An event with a
 * traceparent is its sender's to sample; of the others, `ratio` are, with ids made from their
 * place in the log: whoever asks again, after a restart too, is told the same. False: this event is
 * not told of. */
bool span_begin(const struct tracer *t, uint64_t route_id, const struct event *e, struct span *ret);
/* The id of a step of it; `number` tells apart what happens more than once. */
void span_id(const struct tracer *t, uint64_t route_id, uint64_t seq, enum span_kind kind,
    uint64_t number, uint8_t ret[8]);

#endif
