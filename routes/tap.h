/* Taps: people look on at what passes a route or a sink. A tap is shown what fits its selection, by
 * sample and rate, while the relay turns; it keeps nothing, holds nothing back, and spends a
 * bounded time in each second. */
#ifndef BASCULE_TAP_H
#define BASCULE_TAP_H

#include "bridge/connector.h"
#include "store/block.h"
#include "store/selection.h"

/* At a time; each may cost what follows. */
#define TAPS_MAX 4
#define TAP_RATE_MAX 1000 /* events shown a second */
#define TAP_RATE_DEFAULT 100
#define TAP_SAMPLE_MAX 1000000
/* Bytes looked at and written in a second, an event being TAP_EVENT_COST more; what comes past it
 * is not looked at. With 345,000 events of 256 B a second passing a filter by key, id, header or
 * text took 0.4 to 0.9 % of a core, none 0.04 %. */
#define TAP_COST_MAX (16 << 20)
#define TAP_EVENT_COST 64
#define TAP_SHOWN_COST 8 /* for each byte of a body that is shown: it is written as JSON */
#define TAP_BODY_MAX (64 << 10)

enum tap_what {
    TAP_NONE = 0,
    TAP_RECEIVED, /* is in the log */
    TAP_SENT,     /* given to the sink's broker */
    TAP_DELIVERED,
    TAP_REFUSED, /* these three: this attempt, not yet the event */
    TAP_UNSURE,
    TAP_UNSENT,
    TAP_DEAD,
    TAP_FILTERED,
    TAP_LOOP,
    TAP_DIVERTED,
};

enum tap_lane { TAP_LIVE = 1, TAP_RETRY, TAP_REPLAY };

/* One thing that happened; all is lent until show() returns. */
struct tap_seen {
    enum tap_what what;
    enum tap_lane lane;        /* at a sink */
    const char *route;         /* whose log the event is in */
    uint64_t seq;              /* its place there */
    const struct event *event; /* as received; at a sink as sent, once its steps have run */
    int code;                  /* of an answer */
    const char *text;          /* the broker's words, or why it is a dead letter; NULL: none */
    int64_t took_ms;           /* from sending to the answer; -1: no answer */
    int64_t unix_ms;
};

struct tap;

/* Called while the relay turns: it must not call the relay. */
typedef void tap_show(void *arg, const struct tap_seen *seen);

struct tap_spec {
    uint64_t route_id, sink_id; /* sink_id 0: the route's source */
    struct selection where;     /* copied; route, sink, seqs, times and fate do not count */
    uint32_t sample;            /* one event of so many, always the same ones; 1: all */
    uint32_t rate;              /* 1..TAP_RATE_MAX */
    bool sent;                  /* TAP_SENT too */
    bool bodies;                /* it will show bodies */
    tap_show *show;
    void *arg;
};

/* What fitted, or could have, and was not shown, since tap_open(). */
struct tap_missed {
    uint64_t rate; /* more than `rate` a second */
    uint64_t busy; /* not looked at: TAP_COST_MAX */
};

/* Those of one relay. */
struct taps {
    struct tap *first; /* NULL: nobody looks on, which is all that a route asks in passing */
    size_t count;
};

/* FAULT_RETRY when there are TAPS_MAX. */
int tap_open(struct taps *taps, const struct tap_spec *spec, struct tap **ret, struct fault *why);
void tap_close(struct taps *taps, struct tap *t);
struct tap_missed tap_missed(const struct tap *t);

/* ---- where events pass ---- */

/* Events of a block that is on disk. */
void taps_received(struct taps *taps, const char *route, const struct block *b, int64_t now_ms);
/* One at a sink. */
void taps_seen(struct taps *taps, uint64_t route_id, uint64_t sink_id, const struct tap_seen *seen,
    int64_t now_ms);

#endif
