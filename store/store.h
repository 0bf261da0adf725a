/* The store: one SQLite file holding every route's log, cursors, held events and dead letters,
 * replay jobs, positions, gaps, pauses and audit rows.
 *
 * Loop thread only, unless said. Nothing here blocks the loop but the calls named "blocking"
 * (start, reload). Writes are collected into the filling transaction and handed to the writer
 * thread by store_submit(); reads go to the reader pool; both come back through
 * store_pollfd()/store_collect(). With spec.inline_io there are no threads: store_step() does what
 * is queued, on the caller's thread (simulation). */
#ifndef BASCULE_STORE_H
#define BASCULE_STORE_H

#include "bridge/base/buf.h"
#include "bridge/base/event.h"
#include "bridge/base/fault.h"
#include "bridge/base/histogram.h"
#include "store/block.h"
#include "store/ranges.h"

struct store;

/* SHA-256, which no library of this layer has. Returns 0, -1 without memory. Any thread. */
#define STORE_DIGEST_BYTES 32
typedef int store_digest(struct bytes of, uint8_t ret[STORE_DIGEST_BYTES]);

struct store_spec {
    const char *path;
    int64_t max_size;     /* bytes: used pages and WAL */
    size_t readers;       /* threads, 2 or more: one is kept for sinks */
    bool inline_io;       /* no threads (simulation) */
    const char *vfs;      /* SQLite VFS name, NULL: the default one */
    uint64_t seed;        /* for a new store's id */
    store_digest *digest; /* for the chain of the audit rows */
};

/* Blocking. Takes the lock file (a held one: FAULT_INPUT naming the holder's pid), creates or
 * upgrades, checkpoints the WAL fully and syncs, loads. A damaged file: FAULT_BROKEN saying what is
 * damaged. One of a newer version, or no room for the copy before an upgrade: FAULT_INPUT. */
int store_open(
    const struct store_spec *spec, int64_t unix_ms, struct store **ret, struct fault *why);
/* Blocking. Ends the threads. What was not submitted and committed is gone. `clean`: everything was
 * drained, so the next start need not be careful. */
void store_free(struct store *s, bool clean);
const char *store_id(const struct store *s); /* 16 hex digits */
/* The library that keeps it, as it names itself: "SQLite 3.40.1". */
const char *store_library(void);
/* The schema version that this program keeps. */
int store_version(void);
/* The schema version of a file that no store in this process has open. 0: there is no file. -1 with
 * FAULT_INPUT: no store of ours, or it cannot be read. */
int store_file_version(const char *path, struct fault *why);
/* The ids that it had before it was restored or salvaged, ended by NULL; lent. */
const char *const *store_was(const struct store *s);
/* The copy that was made of the file before it was brought from schema version *from to *to by this
 * open; NULL: it was today's already. */
const char *store_upgraded(const struct store *s, int *from, int *to);
bool store_was_clean(const struct store *s); /* the last process ended with clean = true */

/* ---- names: blocking, at start and reload ---- */

struct store_route {
    uint64_t id;
    uint64_t first_seq;       /* oldest kept */
    uint64_t next_seq;        /* the next event's */
    int64_t last_received_ms; /* unix ms, 0 when none; times of receipt never go below */
};

enum store_begin { STORE_BEGIN_NOW = 1, STORE_BEGIN_OLDEST, STORE_BEGIN_TIME };

/* Absolute numbers over first deliveries; replay jobs have their own (struct store_leg). */
struct store_counts {
    uint64_t accepted; /* fallback sinks: diverted to it; others: 0, it is next_seq - begin_seq */
    uint64_t delivered;
    uint64_t held; /* rows WAITING or FOLLOWING */
    uint64_t dead; /* rows DEAD or RETRYING */
    uint64_t dropped_filter, dropped_loop, dropped_person, dropped_discard;
    uint64_t diverted;  /* handed to its fallback */
    uint64_t reordered; /* a nacked event's followers that were confirmed before it */
    uint64_t retries;   /* attempts beyond the first */
};

struct store_sink {
    uint64_t id;
    uint64_t begin_seq;  /* first event that counts for it */
    uint64_t frontier;   /* all below is finished */
    struct ranges above; /* finished at or above the frontier; owned by the caller */
    struct store_counts counts;
    int64_t held_bytes; /* bodies and headers in rows WAITING or FOLLOWING */
};

/* Finds or makes. `was` (NULL: none) renames what stood under that name. */
int store_route_open(
    struct store *s, const char *name, const char *was, struct store_route *ret, struct fault *why);
int store_sink_open(struct store *s, uint64_t route_id, const char *name, const char *was,
    enum store_begin begin, int64_t begin_ms, struct store_sink *ret, struct fault *why);
/* True for an `only: fallback` sink: it lives on held rows, so its frontier holds nothing back from
 * retention and nothing of the log is pending for it. */
int store_sink_fallback(struct store *s, uint64_t sink_id, bool fallback, struct fault *why);
/* Another max_size. */
void store_limit(struct store *s, int64_t max_size);
/* For retention; ages and sizes below 0: no limit. */
void store_route_retain(struct store *s, uint64_t route_id, int64_t age_ms, int64_t bytes);

/* Everything known by name, for comparing with the configuration. */
struct store_known {
    uint64_t route_id, sink_id;         /* sink_id 0: the route itself */
    char route[65], sink[65];           /* names have 64 characters at most */
    uint64_t pending, held, dead, jobs; /* what would be lost with it */
};
/* Blocking. *ret is an array of *count, to be freed by free(). */
int store_known(struct store *s, struct store_known **ret, size_t *count, struct fault *why);
/* Blocking. Gives up what is pending, held and dead (as dropped: discard) and forgets the name.
 * sink_id 0: the route with all its sinks; its log goes in small steps afterwards. */
int store_discard(struct store *s, uint64_t route_id, uint64_t sink_id, struct fault *why);

/* Blocking. What the calls above (and those that load) do between begin and commit or undo is one
 * transaction. No other transaction is written meanwhile: end it within the same turn. */
int store_change_begin(struct store *s, struct fault *why);
int store_change_commit(struct store *s, struct fault *why);
void store_change_undo(struct store *s);

/* ---- positions ---- */

struct store_position {
    char *name;
    struct bytes value; /* owned */
};
/* Blocking. All of (route, connection); to be freed by store_positions_free(). */
int store_positions(struct store *s, uint64_t route_id, const char *connection,
    struct store_position **ret, size_t *count, struct fault *why);
void store_positions_free(struct store_position *at, size_t count);

/* ---- held events and dead letters ---- */

enum held_state {
    HELD_NONE = 0,
    HELD_WAITING,   /* charged with an attempt, tried again at due */
    HELD_FOLLOWING, /* waits behind an unfinished one of its key */
    HELD_DEAD,
    HELD_RETRYING, /* dead, a person's retry is on its way; counted dead until confirmed */
    HELD_RESOLVED, /* a retry was confirmed; kept with `retain` */
    HELD_DROPPED,  /* a person dropped it */
};

/* Reason classes of dead letters; on-disk numbers, add at the end. */
enum held_reason {
    REASON_NONE = 0,
    REASON_REFUSED, /* final refusal by the broker */
    REASON_UNROUTABLE,
    REASON_NACKED,
    REASON_ADDRESS,  /* exchange, topic or stream from a template unknown or forbidden */
    REASON_TIMEOUT,  /* confirm timeouts charged max_attempts times */
    REASON_PROTOCOL, /* the one that makes the broker close the channel */
    REASON_TEMPLATE,
    REASON_STEP, /* a validate or transform step failed */
    REASON_EXPIRED,
    REASON_OVERSIZE,
    REASON_SOURCE, /* the source's broker gave it up; it was not sent */
    REASON_COUNT
};
/* "refused", "unroutable", …; "none" for REASON_NONE. */
const char *held_reason_text(enum held_reason reason);
const char *held_state_text(enum held_state state);

struct held {
    uint64_t number; /* its own, never used again; see store_next_held() */
    uint64_t route_id, sink_id;
    uint64_t seq;
    uint64_t job; /* 0: first delivery, else the replay job it belongs to */
    enum held_state state;
    enum held_reason reason;
    int32_t code;     /* the broker's */
    const char *text; /* the broker's words or ours; lent */
    uint32_t attempts;
    uint64_t generation;    /* of its token */
    int64_t due_in_ms;      /* remaining time at this write; loaded clamped to 0..1 h */
    int64_t expires_in_ms;  /* likewise, -1: never */
    int64_t first_sent_ms;  /* unix ms, 0: not yet tried */
    bool unsure;            /* an earlier try may have arrived */
    int64_t changed_ms;     /* unix ms of this write */
    struct bytes order_key; /* at its sink; absent: none */
};

struct attempt {
    uint64_t sink_id, seq, job, generation;
    uint32_t number;     /* from 1 */
    int64_t time_ms;     /* unix ms of the answer */
    uint8_t fate, cause; /* enum fate, enum cause (bridge/connector.h) as numbers */
    int32_t code;
    const char *text; /* lent; NULL: none */
};

/* The next unused numbers; the caller hands them out and the store keeps the highest it saw in a
 * committed transaction. */
uint64_t store_next_held(struct store *s);
uint64_t store_next_generation(struct store *s);

/* Blocking, at start: calls `each` for every row WAITING, FOLLOWING or RETRYING of the sink in
 * (job, seq) order. */
int store_held_load(struct store *s, uint64_t sink_id,
    void (*each)(void *arg, const struct held *h, size_t bytes), void *arg, struct fault *why);

/* ---- the filling transaction ---- */

/* Numbers of transactions. Everything put between two submits belongs to store_filling(). */
uint64_t store_filling(const struct store *s);
/* All up to this one are on disk. On a full disk, appends with their positions and gaps wait in the
 * writer, in order, while the rest of their transaction is committed from the reserve: then
 * store_appended() stays behind store_committed() until there is space. */
uint64_t store_committed(const struct store *s);
uint64_t store_appended(const struct store *s);
bool store_full(const struct store *s);  /* appends are waiting for space */
bool store_empty(const struct store *s); /* nothing was put since the last submit */

/* Takes a reference to b, whose first_seq must be the route's next. */
void store_append(struct store *s, struct block *b);
/* `value` absent: forget. */
void store_position_put(struct store *s, uint64_t route_id, const char *connection,
    struct bytes name, struct bytes value);
/* end_ms 0: still open; a put with the same start and what closes it. */
void store_gap_put(struct store *s, uint64_t route_id, const char *connection, int64_t start_ms,
    int64_t end_ms, uint64_t count, struct bytes what, struct bytes cause);
/* Where a sink is now, with its counts; the last put of a transaction counts. */
void store_cursor_put(struct store *s, uint64_t sink_id, uint64_t frontier,
    const struct ranges *above, const struct store_counts *counts);

/* What became of events that the cursor passed without delivery. On-disk numbers. */
enum outcome {
    OUTCOME_NONE = 0,
    OUTCOME_HELD, /* it got a row in held */
    OUTCOME_FILTERED,
    OUTCOME_LOOP,
    OUTCOME_DIVERTED, /* handed to the fallback */
};
void store_outcome_put(
    struct store *s, uint64_t sink_id, enum outcome what, const uint64_t *seqs, size_t count);

/* Inserts, or replaces all but the event (event NULL: keep the stored one). */
void store_held_put(struct store *s, const struct held *h, const struct event *event);
/* Delivered at last: the row goes, attempts stay. */
void store_held_remove(struct store *s, uint64_t number);
/* A person's edit: the event as it shall be sent; the received one is kept beside it. */
void store_held_edit(struct store *s, uint64_t number, const struct event *edited);
void store_attempt_put(struct store *s, const struct attempt *a);

/* Route (sink_id 0) or sink. `who`: "uid 1000 (ann), bascule pause". */
void store_pause_put(struct store *s, uint64_t route_id, uint64_t sink_id, bool paused,
    const char *who, int64_t unix_ms);
struct store_pause {
    uint64_t route_id, sink_id;
    int64_t since_ms;
    char who[128];
};
/* Blocking; array to be freed by free(). */
int store_pauses(struct store *s, struct store_pause **ret, size_t *count, struct fault *why);

/* A person wants the route (sink_id 0) or sink to take nothing new, until told otherwise. */
void store_drain_put(struct store *s, uint64_t route_id, uint64_t sink_id, bool drains);
/* It is gone from the files and finishes what it has, which for a sink ends before
 * end_seq. `text` is its route as YAML; NULL: it has come back. */
int store_gone_put(struct store *s, uint64_t route_id, uint64_t sink_id, uint64_t end_seq,
    const char *text, struct fault *why);
struct store_drain {
    uint64_t route_id, sink_id; /* sink_id 0: the route */
    char *route, *sink;         /* as the store names them; sink NULL: the route */
    char *text;                 /* as of store_gone_put(); NULL: a person's wish */
    uint64_t end_seq;
};
/* Blocking; to be freed by store_drains_free(). */
int store_drains(struct store *s, struct store_drain **ret, size_t *count, struct fault *why);
void store_drains_free(struct store_drain *at, size_t count);

/* Something happened that is worth a record: a change by a person, a breaker opening. `what` is one
 * word ("pause", "breaker_open"), `detail` a sentence or JSON. uid -1: the daemon itself. */
void store_audit_put(struct store *s, int64_t unix_ms, int64_t uid, int64_t pid, const char *what,
    const char *object, const char *detail, const char *result);

/* ---- replay jobs ---- */

enum job_state { JOB_NONE = 0, JOB_PLANNED, JOB_RUNNING, JOB_PAUSED, JOB_DONE, JOB_CANCELLED };

/* What one job sends to one sink. */
struct store_leg {
    uint64_t route_id;   /* whose log */
    uint64_t sink_id;    /* to which sink (of any route) */
    struct ranges set;   /* frozen seqs of that route */
    uint64_t frontier;   /* all of the set below is finished */
    struct ranges above; /* finished ones at or above */
    uint64_t selected, delivered, dead,
        dropped; /* selected = delivered + dead + dropped + pending */
};

struct store_job {
    uint64_t number;
    enum job_state state;
    int64_t created_ms, changed_ms; /* unix ms */
    int64_t expires_ms;             /* JOB_PLANNED: unix ms until which its set is pinned */
    uint64_t generation;            /* of its tokens */
    int64_t rate;                   /* events per 1000 s, 0: no limit */
    bool raw;
    int64_t uid;
    uint64_t digest; /* over route ids, seqs, ids and bodies of the set */
    int64_t bytes;
    char *selection;        /* as asked, one line; owned */
    struct store_leg *legs; /* owned */
    size_t leg_count;
};
void store_job_done(struct store_job *j); /* frees what it owns */
uint64_t store_next_job(struct store *s);
void store_job_put(struct store *s, const struct store_job *j);
/* Blocking; the unfinished ones (planned, running, paused). Array freed by the caller after
 * store_job_done() on each. */
int store_jobs_load(struct store *s, struct store_job **ret, size_t *count, struct fault *why);

/* ---- submit, collect ---- */

/* Hands the filling transaction to the writer when that is idle. False when one is in progress: it
 * goes on filling. An empty one is not submitted: true. */
bool store_submit(struct store *s, int64_t unix_ms);
bool store_busy(const struct store *s); /* a transaction is in progress */
/* Readable when store_collect() has something. -1 with inline_io. */
int store_pollfd(const struct store *s);
/* inline_io: does the queued transaction and the queued reads and queries. */
void store_step(struct store *s);
/* Takes in what the threads finished, so that store_committed(), store_appended() and the reads
 * move on. -1 with FAULT_BROKEN after a failed write or sync: the process must end (non-zero) and
 * take nothing more. */
int store_collect(struct store *s, struct fault *why);

/* Retention, merging, WAL care and minute marks, in small steps on the writer; call about once a
 * second. `clock_ok` false: wall and monotonic clocks disagree, retention by age waits. */
void store_housekeep(struct store *s, int64_t unix_ms, bool clock_ok);

struct store_usage {
    int64_t used_bytes, max_bytes, wal_bytes;
    int64_t events_appended; /* since start */
    uint64_t commits;
    int64_t commit_us_last, commit_us_max;
    struct histogram commit_times;
};
void store_usage(const struct store *s, struct store_usage *ret);

/* ---- reads: answered through store_collect(), taken by store_read_next() ---- */

enum store_read_kind {
    STORE_READ_NONE = 0,
    STORE_READ_BLOCKS,
    STORE_READ_HELD,
    STORE_READ_BACKLOG,
    STORE_READ_IDS,
};

struct store_read {
    enum store_read_kind kind;
    uint64_t tag;          /* the asker's */
    struct block **blocks; /* owned by the taker, with a reference each; in seq order. BLOCKS:
                            * neighbours from the chunk that holds from_seq on; the first may begin
                            * below it. HELD: one block of one event per number asked, NULL where
                            * there is no such row; the edited event where there is one */
    size_t count;
    int64_t backlog_bytes; /* BACKLOG: stored bytes from that seq on */
    bool *found; /* IDS: per id asked, whether the route's log has it; owned by the taker */
    bool failed;
    struct fault why; /* FAULT_BROKEN: a damaged chunk, named */
};

/* Each returns 0, or -1 when there is no memory to ask: then no answer comes. */

/* Whole chunks from the one with from_seq on, at least one where there is one, until max_bytes
 * (decoded). for_sink: on the reader that is kept for sinks. */
int store_read_blocks(struct store *s, uint64_t tag, uint64_t route_id, uint64_t from_seq,
    size_t max_bytes, bool for_sink);
int store_read_held(struct store *s, uint64_t tag, const uint64_t *numbers, size_t count);
/* Which of these ids (the publishers' own) stand in the route's log; newest chunks are read first.
 */
int store_read_ids(
    struct store *s, uint64_t tag, uint64_t route_id, const struct bytes *ids, size_t count);
int store_read_backlog(struct store *s, uint64_t tag, uint64_t route_id, uint64_t from_seq);
/* The next answer; false when there is none. store_read_done() frees what it holds. */
bool store_read_next(struct store *s, struct store_read *ret);
void store_read_done(struct store_read *r);

#endif
