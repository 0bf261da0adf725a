/* The relay: all routes of one configuration moving events between links and one store. It is
 * driven by turns, on the loop thread, on a clock it is given; a whole one runs in a test on a fake
 * clock. */
#ifndef BASCULE_RELAY_H
#define BASCULE_RELAY_H

#include "bridge/base/histogram.h"
#include "bridge/base/span.h"
#include "routes/config.h"
#include "routes/tap.h"
#include "store/query.h"
#include "store/store.h"

struct relay;

struct relay_spec {
    struct config *config; /* kept; a reload moves what stays from it into the next one */
    struct store *store;   /* kept; the relay is the only one to put and submit */
    struct tracer *tracer; /* kept; NULL: none */
    uint64_t seed;
    const char *host; /* this machine's name, for what is told of it; copied */
};

/* Opens links, sources and sinks (no I/O but the store's). Fails on what the store refuses and on
 * options that can never work. Routes and sinks that the store knows and the configuration does not
 * stay in the store as orphaned. */
int relay_open(const struct relay_spec *spec, int64_t now_ms, int64_t unix_ms, struct relay **ret,
    struct fault *why);
void relay_free(struct relay *r);

/* The one that runs. */
struct config *relay_config(const struct relay *r);
/* Where what happens to the bridge is said. */
struct lifecycle *relay_lifecycle(const struct relay *r);

/* Descriptors to poll: at most `limit` are written, the number of all is returned. They stay the
 * same until a reload is done. */
size_t relay_pollfds(const struct relay *r, int *ret, size_t limit);
/* One turn (design, section 3). Returns when to call it again at the latest (monotonic ms; now_ms
 * when there is more to do), or -1 with FAULT_BROKEN: the process must end. */
int64_t relay_turn(struct relay *r, int64_t now_ms, int64_t unix_ms, struct fault *why);

/* Takes nothing new, finishes what is in flight. relay_drained(): nothing is in flight, all
 * acknowledgements are out, cursors are on disk. Go on with turns until then or a deadline. */
void relay_drain(struct relay *r);
bool relay_drained(const struct relay *r);
/* Something unfinished may have arrived at its broker: not a clean end (store_free()). */
bool relay_unsure(const struct relay *r);

/* ---- status ---- */

enum relay_breaker {
    RELAY_BREAKER_NONE = 0,
    RELAY_BREAKER_CLOSED,
    RELAY_BREAKER_OPEN,
    RELAY_BREAKER_HALF_OPEN
};

/* Answers of a sink's broker since it was opened, those to replays and retries too. */
struct relay_attempts {
    struct histogram delivered, failed; /* from sending to the answer */
    uint64_t refused, unsure, unsent;   /* the kinds of `failed` */
};

struct relay_sink_status {
    const char *name, *connection; /* lent from the config */
    char place[128];               /* "topic orders" */
    struct link_status link;
    bool enabled, paused, draining, fallback_only;
    bool going;              /* gone from the configuration: it finishes what it has and goes */
    int64_t paused_since_ms; /* unix ms */
    char paused_by[128];
    enum relay_breaker breaker;
    int64_t breaker_until_ms; /* monotonic; open until */
    struct store_counts counts;
    uint64_t begin_seq, frontier;
    uint64_t pending; /* not finished, held ones too */
    uint64_t parked;  /* of these: rows FOLLOWING */
    uint64_t parked_keys;
    uint64_t in_flight;
    int64_t oldest_pending_ms; /* unix ms of receipt of the oldest unfinished one; 0 none */
    int64_t
        progress_ms; /* monotonic: it last finished an event, or (within half a second) had none */
    struct relay_attempts attempts;
    double rate;     /* delivered per second, over the last 10 s */
    bool balanced;   /* the conservation sum holds */
    char error[256]; /* last trouble in plain words, "" when all is well */
};

struct relay_route_status {
    const char *name, *connection;
    char place[128];
    struct link_status link;
    bool enabled, paused, going; /* going: as of a sink */
    int64_t paused_since_ms;
    char paused_by[128];
    char held_back[128]; /* why the source is not read though not paused by a person:
                          * "store is full", "backlog over its share"; "" */
    uint64_t accepted;   /* since the route began */
    uint64_t received;   /* taken from the source since it was opened, refused ones too */
    uint64_t duplicates; /* refused redeliveries */
    uint64_t reordered;  /* late first arrivals, as the source's link counts them */
    uint64_t gaps;       /* recorded since start */
    uint64_t next_seq, first_seq;
    int64_t backlog_bytes, max_backlog_bytes;
    int64_t last_received_ms; /* unix ms */
    double rate;              /* accepted per second, over the last 10 s */
    size_t sink_count;
    char error[256];
};

size_t relay_route_count(const struct relay *r);
void relay_route_status(const struct relay *r, size_t route, struct relay_route_status *ret);
void relay_sink_status(
    const struct relay *r, size_t route, size_t sink, struct relay_sink_status *ret);
void relay_connection_status(const struct relay *r, size_t connection, struct link_status *ret);
/* What the store holds under names that the configuration does not have. */
size_t relay_orphans(const struct relay *r, const struct store_known **ret);

/* ---- another configuration while it runs ---- */

enum relay_change_of {
    RELAY_CHANGE_OF_NONE = 0,
    RELAY_CONNECTION,
    RELAY_ROUTE,
    RELAY_SINK,
    RELAY_DAEMON, /* what belongs to none of them: store, log */
};
enum relay_change_kind {
    RELAY_CHANGE_NONE = 0,
    RELAY_ADDED,
    RELAY_REMOVED,
    RELAY_CHANGED,  /* its parts are opened anew */
    RELAY_SETTINGS, /* changed in what it takes over while it runs */
    RELAY_ORPHANED, /* gone since before: only asked for by name */
};

/* One thing that differs, and what the store holds of it. */
struct relay_change {
    enum relay_change_of of;
    enum relay_change_kind kind;
    char name[136]; /* "orders", "orders/live" */
    char was[136];  /* another name that it has until now, else "" */
    char *keys;     /* that differ, one a line; "" none; owned */
    char *declares; /* what it makes at its brokers where that is missing, as keys; NULL: none */
    uint64_t route_id, sink_id; /* 0: not yet known */
    uint64_t pending, held, dead, jobs;
    bool discard, drain; /* asked for */
};

struct relay_plan {
    struct relay_change *at; /* owned */
    size_t n;
};
void relay_plan_done(struct relay_plan *p);

/* What may be lost (discard) or shall be finished before it goes (drain): "ROUTE", "ROUTE/SINK". */
struct relay_reload_ask {
    const char *const *discard, *const *drain;
    size_t discard_count, drain_count;
};

/* What relay_reload() would do. Blocking, as a start is. Returns 0, or -1 when it would be refused:
 * every reason is added to *problems; *ret is filled either way. */
int relay_plan(struct relay *r, const struct config *next, const struct relay_reload_ask *ask,
    struct relay_plan *ret, struct config_problems *problems);
/* Begins to go over to `next`, which relay_plan() has allowed in this turn. What did not change
 * never notices; what did stops reading, waits for its broker's answers a bounded time, then lets
 * go of them, and goes on from the log. -1: nothing was begun. */
int relay_reload(
    struct relay *r, struct config *next, const struct relay_reload_ask *ask, struct fault *why);

enum relay_reload_state {
    RELAY_RELOAD_NONE = 0,
    RELAY_RELOAD_RUNNING,
    RELAY_RELOAD_DONE,   /* said once; *ret is the configuration from before, the caller's again */
    RELAY_RELOAD_FAILED, /* said once; *ret is `next`, and everything is as before */
};
enum relay_reload_state relay_reload_state(struct relay *r, struct config **ret, struct fault *why);
/* The relay is about to be freed: undoes what is in progress. Returns the configuration that is the
 * caller's then (as relay_reload_state() would), NULL when there is none. */
struct config *relay_reload_forget(struct relay *r);

/* ---- what a person asks for; `sink` NULL: the whole route. All take effect with the next commits.
 * FAULT_INPUT names what is not there. ---- */

int relay_pause(struct relay *r, const char *route, const char *sink, bool paused, const char *who,
    int64_t unix_ms, struct fault *why);
/* Stops taking new events for the route (or feeding the sink), goes on until nothing is in flight.
 */
int relay_drain_one(struct relay *r, const char *route, const char *sink, struct fault *why);
/* open = true opens it by hand, false closes it. */
int relay_breaker_set(
    struct relay *r, const char *route, const char *sink, bool open, struct fault *why);

/* Looks on at a route's source, or at a sink; spec's numbers are filled in. A reload that keeps the
 * sink keeps the tap. Close it before relay_free(). */
int relay_tap_open(struct relay *r, const char *route, const char *sink, struct tap_spec *spec,
    struct tap **ret, struct fault *why);
void relay_tap_close(struct relay *r, struct tap *t); /* NULL is allowed */
/* What it looks at is still there. */
bool relay_tap_stands(const struct relay *r, const struct tap_spec *spec);

/* One dead letter as a query row names it. */
struct relay_dead {
    uint64_t number, seq;
    uint64_t job; /* 0: of a first delivery */
    const char *route, *sink;
    enum held_reason reason;
    int32_t code;
    const char *text;
    uint32_t attempts;
};
/* DEAD → RETRYING; the row goes on being counted dead until the broker confirmed it. FAULT_RETRY
 * when too many are on their way (try again later). */
int relay_dead_retry(
    struct relay *r, const struct relay_dead *d, int64_t unix_ms, struct fault *why);
int relay_dead_drop(
    struct relay *r, const struct relay_dead *d, int64_t unix_ms, struct fault *why);
/* The edited event is stored beside the received one; a retry sends it. */
int relay_dead_edit(struct relay *r, const struct relay_dead *d, const struct event *edited,
    int64_t unix_ms, struct fault *why);

/* Freezes a set: one leg per part and sink it goes to (parts' route's own sinks, or `sink` of them,
 * or to_route/to_sink). Leaves out what is still pending at a leg's own sink. *ret is the job's
 * number; it is stored as JOB_PLANNED, pinned for an hour. */
struct relay_replay {
    const struct query_answer *plan;
    const char *sink;               /* NULL: all sinks of the part's route */
    const char *to_route, *to_sink; /* NULL: the original sinks */
    const char *selection;          /* as asked, one line */
    int64_t rate;                   /* events per 1000 s, 0: none */
    bool raw;
    int64_t uid;
};
int relay_replay_plan(struct relay *r, const struct relay_replay *ask, int64_t unix_ms,
    uint64_t *ret, uint64_t *left_out, struct fault *why);
enum relay_replay_verb {
    RELAY_REPLAY_NONE = 0,
    RELAY_REPLAY_RUN,
    RELAY_REPLAY_PAUSE,
    RELAY_REPLAY_RESUME,
    RELAY_REPLAY_CANCEL
};
int relay_replay_do(struct relay *r, uint64_t number, enum relay_replay_verb verb, int64_t unix_ms,
    struct fault *why);
/* NULL when it is neither planned nor unfinished (then the store's query has it). */
const struct store_job *relay_replay_find(const struct relay *r, uint64_t number);
/* Why that leg of it cannot move as things are configured; NULL: nothing hinders it. */
const char *relay_replay_trouble(const struct relay *r, uint64_t number, size_t leg);

#endif
