/* What the files of the store share. */
#ifndef BASCULE_STORE_INSIDE_H
#define BASCULE_STORE_INSIDE_H

#include "store/db.h"
#include "store/dictionary.h"
#include "store/query.h"
#include "store/store.h"

#include <limits.h>
#include <pthread.h>

/* seq fits 40 bits: 10^12 events a route. */
#define CHUNK_SEQ_BITS 40
#define CHUNK_ID(route, seq) ((int64_t)((route) << CHUNK_SEQ_BITS | (seq)))
#define CHUNK_SEQ(id) ((uint64_t)(id) & (((uint64_t)1 << CHUNK_SEQ_BITS) - 1))
#define CHUNK_ROUTE(id) ((uint64_t)(id) >> CHUNK_SEQ_BITS)

enum op_kind {
    OP_NONE = 0,
    OP_APPEND, /* the first three wait when the disk is full */
    OP_POSITION,
    OP_GAP,
    OP_CURSOR,
    OP_OUTCOME,
    OP_HELD,
    OP_HELD_REMOVE,
    OP_HELD_EDIT,
    OP_ATTEMPT,
    OP_PAUSE,
    OP_DRAIN,
    OP_AUDIT,
    OP_JOB,
};

/* A run of the transaction's bytes. Absent: n SIZE_MAX. */
struct run {
    size_t at, n;
};

struct op {
    enum op_kind kind;
    uint64_t route_id, sink_id;
    union {
        struct block *block; /* a reference */
        struct {
            struct run connection, name, value, cause;
            int64_t start_ms, end_ms;
            uint64_t count;
        } source; /* positions and gaps */
        struct {
            uint64_t frontier;
            struct run above;
            struct store_counts counts;
        } cursor;
        struct {
            enum outcome what;
            uint64_t first, last;
            struct run seqs;
        } outcome;
        struct {
            struct held row;
            struct run text, order_key, event, id;
            int64_t received_ms;
        } held;
        struct {
            struct attempt row;
            struct run text;
        } attempt;
        struct {
            bool paused;
            int64_t unix_ms;
            struct run who;
        } pause;
        struct {
            int64_t unix_ms, uid, pid;
            struct run what, object, detail, result;
        } audit;
        struct {
            struct store_job row; /* without legs and selection */
            struct run selection, legs;
        } job;
    };
};

struct store;
/* drains.c */
int drain_apply(
    struct store *s, uint64_t route_id, uint64_t sink_id, bool drains, struct fault *why);

struct txn {
    uint64_t number;
    int64_t unix_ms;
    struct op *ops;
    size_t n, capacity;
    struct buf bytes;
    size_t appends; /* ops that wait on a full disk */
    bool failed;    /* no memory while it was filled */
};

/* What is asked of a reader, and what it answers. */
struct question {
    struct question *next;
    struct store_read read; /* kind and tag filled by the asker */
    uint64_t route_id, from_seq;
    size_t max_bytes;
    uint64_t *numbers;
    size_t number_count;
    struct bytes *ids; /* their bytes stand behind them */
    bool for_sink, is_query;
    struct query_spec query; /* owns its strings */
    struct query_answer answer;
};

struct questions {
    struct question *first, *last;
};

struct reader {
    struct store *store;
    struct db *db;
    pthread_t thread;
    bool started, for_sinks;
};

#define READERS_MAX 8

struct known_route {
    uint64_t id;
    int64_t retain_age_ms, retain_bytes;
    int64_t stored_bytes; /* of all chunks ever, for before_bytes */
    int64_t merge_from;   /* id of the first chunk that may still be joined */
    bool busy;            /* had an append, or housekeeping found more to do than a step does */
    int64_t busy_end_ms;  /* unix; housekeeping looks at it every time until then */
    struct dictionary_state dictionary;
};

struct store {
    struct store_spec spec;
    char *path;
    char id[17];
    char **was; /* ids of before, ended by NULL */
    int lock_fd, event_fd;
    bool was_clean, stop;
    bool claimed;      /* the database says which WAL it needs */
    int upgraded_from; /* schema version; 0: it was today's */
    char upgrade_copy[PATH_MAX];
    struct db *db; /* the writer's; other threads only while it is idle, under db_mutex */
    pthread_mutex_t db_mutex;
    bool changing; /* loop thread: it holds db_mutex, a transaction is open */
    void *zstd;

    /* Loop side. */
    struct txn *filling, *running;
    uint64_t committed, appended;
    uint64_t next_held, next_generation, next_job;
    bool full;
    struct store_usage usage;

    /* Between the threads, under `mutex`. */
    pthread_mutex_t mutex;
    pthread_cond_t writer_wake, reader_wake;
    pthread_t writer;
    bool writer_started;
    struct txn *queued; /* for the writer */
    struct txn *done;   /* from the writer */
    bool broken;
    struct fault broken_why;
    uint64_t done_number;  /* the last transaction that was committed */
    uint64_t appended_now; /* all appends up to this transaction are on disk */
    bool full_now, housekeep, clock_ok;
    int64_t housekeep_ms;
    struct store_usage usage_now;
    struct questions asked, asked_by_sinks, answered;

    /* Writer's own. */
    struct txn *stuck;    /* on a full disk: not even finishing fits */
    struct txn **waiting; /* on a full disk: transactions whose appends are to be done, in order */
    size_t waiting_n;
    struct known_route *routes;
    size_t route_n;
    int64_t commit_us;     /* how long the last one took */
    uint64_t discarded_at; /* the route that is looked at next for having been discarded */
    size_t house_at;       /* the route whose housekeeping is next */
    size_t house_idle;     /* the idle route that is looked at first, of a few in each step */
    bool reserve_given;    /* to a full disk; taken again when there is room */
    struct db_copy *copy;
    char copy_path[PATH_MAX];
    bool copying; /* under mutex, as the next two */
    int copy_progress;
    struct fault copy_why;
    int64_t last_minute;

    struct reader readers[READERS_MAX];
    size_t reader_n;
    struct questions taken_reads, taken_queries; /* loop: answers to hand out */
};

/* writer.c: compresses a chunk of the route, with its dictionary where that helps */
int writer_frame(struct store *s, struct known_route *r, const struct block *b, struct buf *to,
    struct fault *why);
/* txn.c */
struct txn *txn_open(void);
void txn_free(struct txn *t);
struct bytes txn_bytes(const struct txn *t, struct run r);
const char *txn_text(const struct txn *t, struct run r); /* NULL when absent */
/* writer.c */
int writer_start(struct store *s, struct fault *why);
void writer_stop(struct store *s);
/* The queued transaction and what waits, on this thread. */
void writer_work(struct store *s);
struct known_route *writer_route(struct store *s, uint64_t route_id);
void store_signal(struct store *s);
/* Gives what is kept for a full disk back to it; false: there was none. */
bool writer_give_reserve(struct store *s);
/* apply.c: one op on the writer's connection */
int apply_op(struct store *s, const struct txn *t, const struct op *op, struct fault *why);
/* merge.c: joins one run of neighbouring small chunks of the route that are old enough; a
 * transaction of its own. 1: it did, and there may be more to join. */
int merge_step(struct store *s, struct known_route *r, int64_t unix_ms, struct fault *why);
/* retain.c: one step for one route */
/* 1: it removed something, so there may be more. */
int retain_step(struct store *s, const struct known_route *r, int64_t unix_ms, bool clock_ok,
    struct fault *why);
/* age.c: rows that go by their own age; as above, and once for the store */
int age_step_route(
    struct store *s, const struct known_route *r, int64_t unix_ms, struct fault *why);
int age_step_audit(struct store *s, int64_t unix_ms, struct fault *why);
/* Looks at one route that has chunks, another one each time; what a discarded one left goes. */
int age_step_discarded(struct store *s, int64_t unix_ms, struct fault *why);
/* reader.c */
int readers_start(struct store *s, struct fault *why);
void readers_stop(struct store *s);
void reader_work(struct store *s, struct db *db, struct question *q);
struct question *question_take(struct questions *from);
void question_put(struct questions *to, struct question *q);
void question_free(struct question *q);
/* The block of a chunk row: id, count, received_ms, raw_bytes, frame in columns 0-4. */
int read_chunk(struct statement *row, struct block **ret, struct fault *why);
/* change.c: takes and gives back the writer's connection */
void store_db_lock(struct store *s);
void store_db_unlock(struct store *s);
/* names.c: where the route's log begins and ends */
int store_route_seqs(struct store *s, struct store_route *r, struct fault *why);
/* names.c: unfinished jobs with their legs */
int job_legs_decode(struct bytes from, struct store_job *j);
int jobs_load(struct db *db, struct store_job **ret, size_t *count, struct fault *why);
/* store.c */
int store_lock_file(const char *path, int *ret, struct fault *why);
/* restore.c: another id, which remembers the one that it had; no number is handed out twice */
int identity_renew(struct db *d, struct fault *why);
/* When root works for the daemon's user: the file shall belong to whom new_path's directory does */
int restore_give(const char *file, const char *new_path, struct fault *why);
/* check.c: wal_judge() on a file that nobody has open; 0 also when somebody has */
int check_wal(const char *path, struct fault *why);
/* query.c */
void query_run(struct db *db, const struct query_spec *spec, struct query_answer *ret);

#endif
