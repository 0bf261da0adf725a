/* The receiving side of one route: takes batches from its source, hands their events to the store,
 * and settles them once they are on disk. */
#ifndef BASCULE_INTAKE_H
#define BASCULE_INTAKE_H

#include "bridge/base/span.h"
#include "routes/asks.h"
#include "routes/config.h"
#include "routes/rate.h"
#include "routes/tail.h"
#include "routes/tap.h"

/* Batches received and not yet settled. */
#define INTAKE_BATCHES_MAX 256
/* Events taken from a source at once: it makes room for as many. */
#define INTAKE_RECEIVE_MAX 4096
/* Bytes of one chunk, before compression: a larger turn makes several. */
#define INTAKE_CHUNK_BYTES (512 << 10)

struct intake_spec {
    const struct config_route *config;
    const char *connection; /* its name: positions belong to (route, connection) */
    const struct connector *connector;
    struct link *link;
    struct store *store;
    struct asks *asks;
    struct tail *tail;
    struct tracer *tracer; /* NULL: none */
    struct taps *taps;
    struct lifecycle *lifecycle;
    uint64_t route_id;
    bool clean_start;
};

struct intake_batch {
    struct batch *batch;
    uint64_t txn; /* that holds it; 0: not yet given to the store */
    bool *known;  /* `dedupe: redelivered`: per event, the log has its id; NULL: none was asked */
};

struct intake_block {
    struct block *block;
    uint64_t txn;
    int64_t received_ns, given_ns; /* while tracing is on; else 0 */
};

struct intake {
    struct intake_spec spec; /* all kept */
    struct source *source;   /* NULL: disabled */
    uint64_t next_seq;       /* of the next event given to the store */
    int64_t last_received_ms;
    struct intake_batch *batches; /* oldest first: given ones, then waiting ones */
    size_t batch_n, given;
    size_t waiting_events, waiting_bytes;
    int64_t waiting_ns;          /* since when, while tracing is on; else 0 */
    struct intake_block *blocks; /* given, not yet on disk; oldest first */
    size_t block_n, block_capacity;
    bool paused;  /* as the source was told */
    bool stopped; /* draining: takes nothing more */
    bool asking;  /* about the newest batch: whether the log knows its redelivered ids */
    uint64_t received, accepted, gaps, duplicates;
    struct rate rate;
    struct event *events; /* room for one chunk's */
    size_t event_capacity;
    struct buf keys; /* rendered ordering keys of one chunk */
};

int intake_open(const struct intake_spec *spec, const struct store_route *stored,
    const struct store_position *positions, size_t position_count, struct intake **ret,
    struct fault *why);
void intake_free(struct intake *i);

void intake_pause(struct intake *i, bool paused);
/* Receives what is there, within its limits and about `bytes`. Returns events and other entries
 * received. */
size_t intake_receive(struct intake *i, size_t bytes, int64_t now_ms);
/* Puts all that was received into the filling transaction. -1: no memory now; nothing was put of
 * the rest. */
int intake_flush(struct intake *i, int64_t unix_ms, struct fault *why);
/* Settles what is on disk and shows its events to the sinks. Returns batches settled. */
size_t intake_settle(struct intake *i, int64_t now_ms);
bool intake_waiting(const struct intake *i); /* received, not yet given to the store */
/* Bytes received and not yet on disk. */
size_t intake_bytes(const struct intake *i);
bool intake_idle(const struct intake *i); /* nothing received and unsettled */

#endif
