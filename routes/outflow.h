/* One sink of one route: reads its events, sends them within a window and in order, and decides by
 * each report what comes next. The cursor moves only on the broker's confirmation.
 *
 * Inside, work comes in lanes: an ordering domain with its own cursor, keys and held events. The
 * live lane is the sink's first deliveries; the retry lane is dead letters that a person sent
 * again; each leg of a replay job is a lane of its own. Files: outflow.c is the sink's life, send.c
 * sends, fates.c takes reports, held.c keeps what was charged with an attempt or waits behind it,
 * lane.c holds flights and keys, render.c turns an event into a message, replay.c runs jobs. */
#ifndef BASCULE_OUTFLOW_H
#define BASCULE_OUTFLOW_H

#include "bridge/base/histogram.h"
#include "bridge/base/span.h"
#include "routes/breaker.h"
#include "routes/feed.h"
#include "routes/keys.h"
#include "routes/rate.h"
#include "routes/step.h"
#include "routes/tap.h"

/* Held events one sink keeps track of in memory; past that it stops reading until some are
 * finished. */
#define OUTFLOW_HELD_MAX 100000
/* Bridges that an event may pass before it counts as going round in a loop. */
#define OUTFLOW_HOPS_MAX 16
/* Messages given to a link at once, events made ready ahead of sending, held bodies read at once.
 */
#define OUTFLOW_BATCH 512
#define OUTFLOW_LOAD_MAX 64
#define OUTFLOW_STEPS_MAX 8
/* A sink whose last report is older than this does not move. */
#define OUTFLOW_MOVES_MS 100
/* How exactly a sink knows since when it has had something to do. */
#define OUTFLOW_PROGRESS_MS 500
/* Person's retries on their way at a time. */
#define OUTFLOW_RETRIES_MAX 10000

struct outflow;
struct lane;

/* A held row, without its body. */
struct entry {
    uint64_t number, seq, key; /* key: hash, 0 none */
    uint64_t job, generation;
    uint64_t txn;       /* its last write; nothing is sent before that is on disk */
    int64_t due_ms;     /* monotonic */
    int64_t expires_ms; /* unix ms, 0 never */
    int64_t first_sent_ms;
    size_t bytes, heap; /* heap: 1-based place among the due ones, 0: not there */
    enum held_state state;
    enum held_reason reason;
    int32_t code;
    uint32_t attempts, attempts_before; /* before: at the time of a person's retry */
    bool unsure, busy;                  /* busy: its body is being read, or it is a flight */
    bool failed;                        /* an attempt ended unsent or unsure since it is held */
    struct entry *next, *previous;      /* of its key, by seq; keyless: of the lane's keyless */
};

/* One event on its way. */
struct flight {
    struct flight *next, *previous; /* in the lane's ready list, by seq */
    struct lane *lane;
    struct entry *entry; /* NULL: straight from the log */
    struct key *key;     /* NULL: not ordered */
    struct block *block; /* a reference */
    uint32_t slot; /* its ref, with `round`, so that a late report of an earlier use is known */
    uint32_t round;
    uint64_t seq;
    int64_t first_sent_ms, sent_ms; /* unix ms; monotonic, this time */
    int64_t sent_ns;                /* the same for the tracer; 0: it is off */
    bool sent, again, unsure, suspect, probe, rendered;
    size_t bytes;
    struct event in, out; /* as received; as sent, after the steps */
    struct bytes fields[CONNECTOR_FIELDS_MAX], send_key;
    struct buf scratch;
    char token[96];
};

enum lane_kind { LANE_NONE = 0, LANE_LIVE, LANE_RETRY, LANE_REPLAY };

struct lane {
    enum lane_kind kind;
    struct outflow *o;
    struct lane *next; /* of the outflow's replay lanes */
    bool has_feed;     /* a fallback sink's live lane and the retry lane live on held rows alone */
    struct feed feed;
    uint64_t route_id;                /* whose log its events are in */
    const char *route;                /* its name */
    uint64_t frontier, careful_below; /* below: an unclean start may have sent it before */
    struct ranges above;
    struct keys keys;
    struct flight *ready_first, *ready_last;
    size_t ready_count, in_flight;
    struct entry **heap; /* due ones, earliest first */
    size_t heap_n, heap_capacity;
    struct entry *keyless; /* held ones without a key, unsorted */
    size_t held_count, following;
    uint64_t held_high; /* the highest seq of those that a start found held */
    struct entry *loading[OUTFLOW_LOAD_MAX];
    size_t loading_n;
    struct store_job *job; /* LANE_REPLAY: lent from replay.c */
    struct store_leg *leg;
    size_t set_i; /* the set's range that the feed is in */
};

#define OUTFLOW_OUTCOMES 5

struct seqs {
    uint64_t *at;
    size_t n, capacity;
};

struct outflow_spec {
    const struct config_route *route;
    const struct config_sink *config;
    const struct connector *connector;
    struct link *link; /* NULL: disabled */
    struct store *store;
    struct asks *asks;
    struct tail *tail;
    struct taps *taps;
    struct random *random;
    struct tracer *tracer; /* NULL: none */
    struct lifecycle *lifecycle;
    uint64_t route_id;
    bool careful;           /* what is not finished may have been sent before */
    uint64_t careful_below; /* with careful: at least below this seq */
    uint64_t end_seq;       /* it gets nothing from this one on; 0: no end */
};

struct outflow {
    struct outflow_spec spec; /* all kept */
    struct sink *sink;        /* NULL: disabled */
    uint64_t id, begin_seq;
    struct outflow *fallback; /* of the same route, or NULL */
    struct lane live, retry;
    struct lane *replays;
    struct store_counts counts;
    int64_t held_bytes;
    bool dirty; /* cursor or counts changed since the last put */
    int64_t dirty_since_ms;
    struct seqs outcomes[OUTFLOW_OUTCOMES];
    struct breaker breaker;
    struct flight **slots; /* by slot */
    size_t slot_count, slot_capacity;
    struct flight *free;
    uint64_t pass; /* number of the sending pass */
    size_t in_flight, in_flight_bytes, suspects;
    struct buf fixed; /* texts of templates that name no event value */
    struct bytes fixed_fields[CONNECTOR_FIELDS_MAX];
    char token_head[48]; /* "STORE/ROUTE/" of the live lane */
    struct step *steps[OUTFLOW_STEPS_MAX];
    size_t step_count;
    double rate_tokens;
    int64_t rate_at_ms;
    int64_t limited_ms;  /* when something last had to wait for the rate limit; 0: never */
    int64_t moved_ms;    /* when a report came last; 0: never */
    int64_t progress_ms; /* when it last finished an event or, about, had none */
    struct relay_attempts attempts;
    int64_t quiet_until_ms; /* the broker's state made it wait */
    uint32_t quiet_tries;
    bool paused, draining;
    int64_t paused_since_ms;
    char paused_by[128];
    struct rate delivered_rate;
    bool balanced;
    enum link_state link_state; /* as last said in the log */
    char error[600];
    int64_t now_ms, unix_ms; /* of this turn */
    int64_t clock_base_ms; /* unix minus monotonic when it was opened: ages follow this one, so that
                            * a clock that is stepped expires nothing */
    bool said_full;
};

/* `stored` is what store_sink_open() gave; its ranges are taken over. */
int outflow_open(const struct outflow_spec *spec, struct store_sink *stored, int64_t now_ms,
    int64_t unix_ms, struct outflow **ret, struct fault *why);
void outflow_free(struct outflow *o);

/* Takes reports. Returns how many. */
size_t outflow_collect(struct outflow *o, int64_t now_ms, int64_t unix_ms);
/* Sends what may be sent. Returns how many the link took. */
size_t outflow_send(struct outflow *o, int64_t now_ms, int64_t unix_ms);
/* Puts cursor, counts and outcomes into the filling transaction. */
void outflow_flush(struct outflow *o);
/* The next monotonic time at which something is due by itself; INT64_MAX none. */
int64_t outflow_wake_ms(const struct outflow *o);
/* Something that was promised to the store is not there yet, or messages are in flight. */
bool outflow_idle(const struct outflow *o);
/* Something that is not finished may have arrived: the next start must be careful. */
bool outflow_unsure(const struct outflow *o);
/* Below it first deliveries may have arrived without anybody having heard of it. */
uint64_t outflow_careful_below(const struct outflow *o);
/* Finished or held: the live lane reads on from here. */
uint64_t outflow_needs(const struct outflow *o);
/* Bytes that it has not read yet, while it moves and reads from memory alone; else SIZE_MAX. */
size_t outflow_unread(const struct outflow *o);
uint64_t outflow_pending(const struct outflow *o);
/* A going one that has nothing left, not even dead letters. */
bool outflow_gone(const struct outflow *o);
/* Compares the two independent sides of the conservation sum. */
bool outflow_balanced(const struct outflow *o);
void outflow_status(const struct outflow *o, struct relay_sink_status *ret);

/* ---- people ---- */
int outflow_dead_retry(struct outflow *o, const struct relay_dead *d, struct fault *why);
void outflow_dead_drop(struct outflow *o, const struct relay_dead *d);
void outflow_breaker_set(struct outflow *o, bool open);

/* ---- between the files of an outflow ---- */

/* lane.c */
void lane_init(struct lane *l, enum lane_kind kind, struct outflow *o, uint64_t route_id,
    const char *route, uint64_t frontier);
void lane_done(struct lane *l);
/* A flight in the ready list; takes a reference to block. NULL: no memory. key_hash 0: not ordered.
 */
struct flight *lane_ready(struct lane *l, struct block *block, const struct event *event,
    uint64_t key_hash, struct entry *entry);
/* sent or not, back into the ready list. */
void lane_again(struct flight *f);
/* Out of the ready list, given to the link; and back, when the link did not take it. */
void lane_sent(struct flight *f);
void lane_not_taken(struct flight *f);
/* Its way ends: reference, key and slot are given back. The entry stays. */
void lane_flight_done(struct flight *f);
/* The event is finished or has a row of its own: moves the cursor. */
void lane_finish(struct lane *l, uint64_t seq);
/* Of a replay lane; 0 of others. */
uint64_t lane_job(const struct lane *l);
uint64_t lane_generation(const struct lane *l);
/* Everything in the lane's set is finished. */
bool lane_complete(const struct lane *l);

/* send.c: where the log ends for its first deliveries. */
uint64_t outflow_end(const struct outflow *o);

/* held.c */
/* Makes a row of a flight's event and keeps track of it; the flight stays. NULL: no memory. */
struct entry *held_add(struct lane *l, uint64_t seq, uint64_t key_hash, enum held_state state,
    enum held_reason reason, int code, const char *text, uint32_t attempts, int64_t due_in_ms,
    const struct flight *from, const struct event *event);
/* Writes the row again after its fields changed. */
void held_write(struct lane *l, struct entry *e, const char *text);
/* Takes the row away; what became of the event is in its counts by now. */
void held_remove(struct lane *l, const struct entry *e);
/* Forgets it in memory; the row is the caller's. */
void held_forget(struct lane *l, struct entry *e);
/* Due again in that time. */
void held_due(struct lane *l, struct entry *e, int64_t due_in_ms);
/* Nothing of the key is in memory any more: its first held one may go. */
void held_key_free(struct lane *l, struct key *key);
/* Reads the bodies of what is due; they become flights when the answer comes. */
void held_load(struct lane *l);
/* A flight of a held event goes back to being a row only. */
void held_unload(struct flight *f);
/* Loads the sink's unfinished rows; after the lanes of its unfinished jobs are there. */
int held_restore(struct outflow *o, struct fault *why);
/* What waits in the lane, and is not in flight, becomes rows DROPPED. */
void held_drop_all(struct lane *l, const char *text);
/* A dead letter goes again, on its own, with a new generation. */
int held_retry(struct lane *l, const struct relay_dead *d, struct fault *why);

/* fates.c */
void fate_delivered(struct flight *f);
void fate_dead(struct flight *f, enum held_reason reason, int code, const char *text);
void fate_dropped(struct flight *f, enum outcome outcome);
/* One attempt more; due again, or dead when they are used up. */
void fate_charged(
    struct flight *f, enum held_reason reason, enum cause cause, int code, const char *text);
void fate_report(struct outflow *o, const struct report *r);
/* Somebody looks on at what becomes of events; then it is told to outflow_tap(). */
static inline bool outflow_tapped(const struct outflow *o)
{
    return o->spec.taps->first != NULL;
}
void outflow_tap(
    const struct flight *f, enum tap_what what, int code, const char *text, int64_t took_ms);
void outflow_mark(struct outflow *o, enum outcome outcome, uint64_t seq);
void outflow_dirty(struct outflow *o);
/* The ordering key of an event at this sink: its hash, 0 for none; *ret its bytes (in *scratch). */
uint64_t outflow_key(
    struct outflow *o, const struct event *e, struct buf *scratch, struct bytes *ret);
/* The hash of ordering key bytes at this sink. */
uint64_t outflow_hash(const struct outflow *o, struct bytes key);

/* render.c: runs the steps and renders the templates of a flight, once. STEP_FAIL: *reason and why.
 */
enum step_result render_flight(struct flight *f, enum held_reason *reason, struct fault *why);
int render_open(struct outflow *o, struct fault *why);

/* replay.c: how many of n a job's rate lets go now; called again after choosing. */
size_t replay_allowance(struct lane *l, size_t n, int64_t now_ms);
void replay_spend(struct lane *l, size_t sent);
/* A row or count of the job changed that its stored state must not miss. */
void replay_touch(struct lane *l);
int64_t replay_wake_ms(const struct lane *l);

#endif
