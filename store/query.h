/* Questions of people to the store: what is dead, what became of one event, what the log holds.
 * They run on reader threads with a deadline and come back as rows of named columns, which the
 * admin socket turns into JSON and the command line into tables. They also run on a file without a
 * daemon. */
#ifndef BASCULE_QUERY_H
#define BASCULE_QUERY_H

#include "store/selection.h"
#include "store/store.h"

enum cell_type { CELL_NULL = 0, CELL_INT, CELL_TEXT, CELL_BYTES };

struct cell {
    enum cell_type type;
    int64_t i;
    struct bytes bytes; /* owned by the rows */
};

struct rows {
    const char *const *columns; /* static; names as in the JSON. Ends of names tell how to show it:
                                 * _ms unix time or duration, _bytes a size; "body", "headers"
                                 * (encoded list, header.h) and "key" are bytes */
    size_t column_count;
    struct cell *cells; /* row by row */
    size_t row_count, cell_capacity;
    bool more;         /* the limit cut it; ask again after the last row's first column */
    struct buf memory; /* holds the bytes */
    int filling;       /* cells of the row that is being added (rows.h) */
};
void rows_done(struct rows *r);

enum query_kind {
    QUERY_NONE = 0,
    QUERY_DEAD,      /* dead letters (all held states with all=true): number route sink seq id state
                      * reason code text attempts changed_ms body_bytes; filter: route, sink, id, seqs
                      * and times of the selection, reason, cause */
    QUERY_DEAD_SHOW, /* number: one with address, key, headers, body, origin, edited body… */
    QUERY_ATTEMPTS,  /* number, or route + seq */
    QUERY_DEAD_GROUPS, /* route sink reason code text count first_ms last_ms example */
    QUERY_EVENTS, /* selection: seq route id key address time_ms received_ms body_bytes, and with
                   * `all` headers and body */
    QUERY_TRACE,  /* id, or route + seq: one row per event and sink: route seq id received_ms
                   * origin sink fate reason text attempts delivered_by_ms */
    QUERY_GAPS,
    QUERY_JOBS,
    QUERY_AUDIT,
    QUERY_AUDIT_VERIFY, /* digest, text (NULL, or a head of before in hex): a row for each finding
                         * (number finding), then one of the whole: number of the newest row, rows,
                         * first, head (its hash in hex), expected (the row that `text` names) */
    QUERY_STATS, /* per route: events chunks bytes raw_bytes first_seq last_seq first_ms last_ms */
    QUERY_PLAN,  /* selection → struct plan */
};

struct query_spec {
    enum query_kind kind;
    struct selection where;
    uint64_t number; /* dead letter or job */
    const char *reason;
    bool
        same_cause; /* QUERY_DEAD: of exactly this code and text, as QUERY_DEAD_GROUPS tells them */
    int32_t code;
    const char *text;
    store_digest *digest; /* QUERY_AUDIT_VERIFY */
    bool all;
    bool newest;         /* QUERY_DEAD: the last ones first; there are no further pages then */
    uint64_t after;      /* paging: rows whose first column is beyond this */
    size_t limit;        /* 1..10,000 */
    int64_t deadline_ms; /* for the whole query; it then ends with FAULT_RETRY saying so */
};

/* QUERY_PLAN: the frozen set of one route. */
struct plan_part {
    uint64_t route_id;
    char route[64];
    struct ranges set;
    uint64_t count;
    uint64_t keys; /* different ones, estimated above 10,000 */
    int64_t bytes, first_ms, last_ms;
};

struct query_answer {
    uint64_t tag;
    bool failed;
    struct fault why;
    struct rows rows;
    struct plan_part *parts; /* QUERY_PLAN; owned */
    size_t part_count;
    uint64_t digest;
};
void query_answer_done(struct query_answer *a);

/* Copies what it needs of spec. The answer comes through store_collect(). */
int store_query(struct store *s, uint64_t tag, const struct query_spec *spec);
bool store_query_next(struct store *s, struct query_answer *ret);

/* ---- maintenance, blocking, on any thread: the command line calls them on a file, the daemon's
 * admin from a worker thread on its own live store ---- */

/* Called with lines for people; severity 0 info, 1 warning, 2 damage. */
typedef void store_say(void *arg, int severity, const char *line);

/* Chunk checksums, contiguity, cursors, the conservation sum of every sink. Returns the number of
 * damages, -1 when it could not be done. Reads only. */
int store_check_file(const char *path, store_say *say, void *arg, struct fault *why);
/* Copies everything that can be read into new_path, with a new store id that remembers the old one;
 * says what is lost. Returns damages, -1. */
int store_salvage_file(const char *path, const char *new_path, store_digest *digest, store_say *say,
    void *arg, struct fault *why);
/* Puts a backup in the place of a store: copies it, whole and sound or not at all, to new_path,
 * which must not be there, with a new store id that remembers the old one, brought to today's
 * version. uid: who does it, for its audit. Blocking, O(file). FAULT_BROKEN: the backup is damaged.
 */
struct store_restored {
    char was[17], id[17];
};
int store_restore_file(const char *path, const char *new_path, store_digest *digest,
    int64_t unix_ms, int64_t uid, struct store_restored *ret, struct fault *why);
/* Online copy, stepped on the writer between commits; poll store_backup_progress until done. */
int store_backup_start(struct store *s, const char *new_path, struct fault *why);
/* 0..1000 while running, 1001 done, -1 failed. Loop thread. */
int store_backup_progress(struct store *s, struct fault *why);
/* Runs a query on a file that no daemon has open. */
int store_query_file(
    const char *path, const struct query_spec *spec, struct query_answer *ret, struct fault *why);

#endif
