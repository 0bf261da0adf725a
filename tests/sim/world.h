/* The world outside the bridge in a simulation: brokers that live on when the daemon dies, and
 * scripted connectors to them whose trouble comes from a seed. No thread, no clock, no socket. */
#ifndef BASCULE_WORLD_H
#define BASCULE_WORLD_H

#include "bridge/base/random.h"
#include "bridge/connector.h"

#define WORLD_EVENTS_MAX 4096
#define WORLD_FOREIGN WORLD_EVENTS_MAX /* stands for all whose body a person wrote anew */
#define WORLD_SINKS_MAX 4
#define WORLD_KEYS 7
#define WORLD_GIVEN_UP "delivered 5 times and not acknowledged"
#define WORLD_MENDED "mended" /* in the body of a dead letter that a person edited */
#define WORLD_GAPS_MAX 64
/* Places in the log that a sink's broker keeps in mind; more are not looked at. */
#define WORLD_SEQS_MAX 16384

/* One published event: number i of the source broker, key k(i), body "event i". */
struct world_event {
    int key;           /* 0: no key */
    bool acknowledged; /* the bridge settled it (kept) */
    bool lent;
    uint32_t receipts; /* times handed to the bridge */
};

/* Times of which the source's broker could tell nothing: one comes with a batch until it was kept.
 */
struct world_gap {
    int64_t start_ms;
    uint64_t count;
    bool lent, kept;
};

enum { WORLD_MAY_BE_MENDED = 1, WORLD_IS_MENDED = 2 };

/* What one sink's broker got. */
struct world_sink {
    uint32_t arrived[WORLD_EVENTS_MAX + 1];     /* times */
    uint32_t first_order[WORLD_EVENTS_MAX + 1]; /* 1-based order of its first arrival */
    uint32_t order;
    uint32_t replayed; /* arrivals flagged as replay */
    uint32_t opens;    /* times the bridge opened it */
    bool silent;       /* it takes messages and answers nothing */
    bool up, blocked, sick;
    bool ordered; /* the sink keeps the order of keys as they came */
    uint64_t session;
    uint64_t generation; /* of the token that came last; so the next ones */
    uint8_t headers[512];
    size_t header_bytes;
    char key[32];
    size_t most_in_flight;
    uint64_t charges; /* answers that may use up an attempt */
    /* By place in the log, for first deliveries: which event it names (plus 1), and whether a try
     * of it may have arrived without our word. */
    uint16_t named[WORLD_SEQS_MAX];
    bool maybe[WORLD_SEQS_MAX];
    /* Was it given to the broker; since this opening, did its last try end unsent or unsure, and so
     * goes again. The latter counted by key. */
    bool tried[WORLD_SEQS_MAX], again[WORLD_SEQS_MAX];
    uint32_t again_of_key[WORLD_KEYS + 1];
    uint8_t mended[WORLD_SEQS_MAX]; /* a person edited its dead letter */
    /* Chances per 1000 for a message: */
    int nack, unroutable, lose, broker_state, timeout, poison_every;
    int echo; /* a report that was given before comes again */
    /* Events that this broker always refuses: number % refuse_every == 3. */
    int refuse_every;
};

struct world {
    struct random random;
    struct world_event events[WORLD_EVENTS_MAX + 1];
    size_t count, next; /* published; next to hand over in this session */
    bool keep_position; /* like Kafka: goes on from a stored position */
    bool source_up;
    uint64_t source_session; /* what was lent in one before it was taken back */
    struct world_gap gaps[WORLD_GAPS_MAX];
    size_t gap_count;
    uint32_t source_opens, link_opens;
    bool refuse_sinks;    /* opening one fails: a bridge without memory */
    bool ids;             /* its publishers give ids */
    uint32_t hops;        /* that its events have behind them */
    struct bytes headers; /* of all of its events; lent */
    /* Its broker gives up these, number % give_up_every == 2: they come as refused. */
    int give_up_every;
    uint64_t reordered; /* as its link says */
    struct world_sink sinks[WORLD_SINKS_MAX];
    size_t sink_count;
};

extern struct world *world_now; /* that the scripted connector talks to */

void world_publish(struct world *w, size_t n);
/* The source's broker takes back what was not acknowledged: the daemon died or its session ended.
 */
void world_source_lost(struct world *w);
/* Its connection is lost, or is there again. */
void world_source_up(struct world *w, bool up);
void world_gap(struct world *w, int64_t unix_ms);
/* The number in a body, -1 when it is not one of ours. */
int world_number(struct bytes body);

extern const struct connector connector_scripted;

struct scripted_sink_options {
    struct option_template address;
    int64_t index;
};

#endif
