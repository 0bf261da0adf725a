/* Saves what can be read of a damaged store into a new one, and says what cannot. */
#include "store/inside.h"

#include "store/audit.h"
#include "store/schema.h"
#include "store/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct salvage {
    struct db *from, *to;
    store_digest *digest;
    bool hashless; /* of a version whose audit rows have no hashes */
    store_say *say;
    void *arg;
    int damages;
};

static void lost(struct salvage *v, const char *what)
{
    v->damages++;
    v->say(v->arg, 2, what);
}

/* One row by its SQL, or the reason why not. */
static int copy_row(struct salvage *v, struct statement *row, const char *into, int columns)
{
    struct statement *put = db_prepare(v->to, into, NULL);

    if (!put)
        return -1;
    for (int c = 0; c < columns; c++)
        db_copy_value(row, c, put, c + 1);
    return db_run(put, NULL);
}

static void copy_table(
    struct salvage *v, const char *name, const char *select, const char *into, int columns)
{
    struct fault why = { 0 };
    struct statement *st = db_prepare(v->from, select, &why);
    char line[700];
    uint64_t rows = 0;
    int got = -1;

    while (st && (got = db_step(st, &why)) == 1)
        if (copy_row(v, st, into, columns) == 0)
            rows++;
    if (st)
        db_reset(st);
    (void)snprintf(line, sizeof line, "%s: %" PRIu64 " rows saved%s%s", name, rows,
        got < 0 ? ", then: " : "", got < 0 ? why.text : "");
    if (got < 0)
        lost(v, line);
    else
        v->say(v->arg, 0, line);
}

/* The id of the next chunk behind this one, whether or not the rest of it can be read; INT64_MAX:
 * there is none. False: it cannot be found. A damaged page may have its rows in any order, and what
 * is not behind is not found. */
static bool next_chunk(struct salvage *v, int64_t after, int64_t *ret)
{
    struct statement *st =
        db_prepare(v->from, "SELECT id FROM chunk WHERE id > ?1 ORDER BY id LIMIT 1", NULL);
    int got = -1;

    if (st) {
        db_bind_int(st, 1, after);
        got = db_step(st, NULL);
        *ret = got == 1 ? db_int(st, 0) : INT64_MAX;
        db_reset(st);
    }
    return got >= 0 && *ret > after;
}

/* The nearest place behind a damaged page from where it goes on: found by doubling, then halving.
 * INT64_MAX: nowhere. Chunks of the next page may lie far behind it, those of the next route do. */
static int64_t behind_damage(struct salvage *v, int64_t lost_at)
{
    int64_t low = lost_at, high = lost_at, step = 1, next;

    do {
        low = high;
        if (high > INT64_MAX - step)
            return INT64_MAX;
        high += step;
        step *= step <= INT64_MAX / 2 ? 2 : 1;
    } while (!next_chunk(v, high, &next));
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (next_chunk(v, middle, &next))
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* Chunk by chunk, so that a damaged page costs its own chunks only. */
static void copy_chunks(struct salvage *v)
{
    struct fault why = { 0 };
    int64_t after = 0, next;
    uint64_t saved = 0, gone = 0;
    char line[700];

    while (after < INT64_MAX) {
        struct statement *st = db_prepare(v->from,
            "SELECT id, count, received_ms, raw_bytes, frame, before_bytes, stored_bytes, filter, "
            "last_ms, filter_format"
            " FROM chunk WHERE id > ?1 ORDER BY id LIMIT 1",
            &why);
        struct block *b = NULL;
        int got;

        if (!st)
            break;
        db_bind_int(st, 1, after);
        got = db_step(st, &why);
        if (got == 0) {
            db_reset(st);
            break;
        }
        /* A damaged page may have its rows in any order: going back would never end. */
        if (got == 1 && db_int(st, 0) <= after)
            got = fault_set(&why, FAULT_BROKEN, 0, "chunks are not in their order");
        else if (got == 1)
            after = db_int(st, 0);
        if (got == 1 && read_chunk(st, &b, &why) == 0 &&
            copy_row(v, st,
                "INSERT INTO chunk (id, count, received_ms, raw_bytes, frame, before_bytes, "
                "stored_bytes,"
                " filter, last_ms, filter_format) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                10) == 0) {
            saved += b->count;
        } else {
            (void)snprintf(line, sizeof line, "lost: %s", why.text);
            lost(v, line);
            gone++;
        }
        block_unref(b);
        db_reset(st);
        /* Its row alone, or its page. Each turn passes a row that is there, so it ends. */
        if (got != 1)
            after = next_chunk(v, after, &next) ? next : behind_damage(v, after);
    }
    (void)snprintf(
        line, sizeof line, "log: %" PRIu64 " events saved, %" PRIu64 " chunks lost", saved, gone);
    v->say(v->arg, gone ? 1 : 0, line);
}

static int copy_all(struct salvage *v, struct fault *why)
{
    if (schema_make(v->to, "", why) != 0 || db_exec(v->to, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    copy_table(v, "meta", "SELECT name, value FROM meta",
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", 2);
    copy_table(v, "routes", "SELECT id, name, retain_age_ms, retain_bytes FROM route",
        "INSERT INTO route (id, name, retain_age_ms, retain_bytes) VALUES (?1, ?2, ?3, ?4)", 4);
    copy_table(v, "sinks",
        "SELECT id, route_id, name, fallback, begin_seq, frontier, above, accepted, delivered, "
        "held, dead,"
        " dropped_filter, dropped_loop, dropped_person, dropped_discard, diverted, reordered, "
        "retries"
        " FROM sink",
        "INSERT INTO sink (id, route_id, name, fallback, begin_seq, frontier, above, accepted, "
        "delivered,"
        " held, dead, dropped_filter, dropped_loop, dropped_person, dropped_discard, diverted, "
        "reordered,"
        " retries) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, "
        "?17, ?18)",
        18);
    copy_table(v, "dictionaries",
        "SELECT number, route_id, first_seq, made_ms, bytes FROM dictionary",
        "INSERT INTO dictionary (number, route_id, first_seq, made_ms, bytes)"
        " VALUES (?1, ?2, ?3, ?4, ?5)",
        5);
    copy_chunks(v);
    copy_table(v, "positions", "SELECT route_id, connection, name, value FROM position",
        "INSERT INTO position (route_id, connection, name, value) VALUES (?1, ?2, ?3, ?4)", 4);
    copy_table(v, "gaps",
        "SELECT id, route_id, connection, what, start_ms, end_ms, count, cause FROM gap",
        "INSERT INTO gap (id, route_id, connection, what, start_ms, end_ms, count, cause)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        8);
    copy_table(v, "held events and dead letters",
        "SELECT number, route_id, sink_id, seq, job, state, reason, code, text, attempts, "
        "generation,"
        " due_in_ms, expires_in_ms, first_sent_ms, unsure, changed_ms, order_key, received_ms, "
        "event_id,"
        " event, edited FROM held",
        "INSERT INTO held (number, route_id, sink_id, seq, job, state, reason, code, text, "
        "attempts,"
        " generation, due_in_ms, expires_in_ms, first_sent_ms, unsure, changed_ms, order_key, "
        "received_ms,"
        " event_id, event, edited) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
        "?14,"
        " ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        21);
    copy_table(v, "attempts",
        "SELECT sink_id, seq, job, generation, number, time_ms, fate, cause, code, text FROM "
        "attempt",
        "INSERT INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", 10);
    copy_table(v, "outcomes", "SELECT sink_id, first_seq, last_seq, what, seqs FROM outcome",
        "INSERT INTO outcome VALUES (?1, ?2, ?3, ?4, ?5)", 5);
    copy_table(v, "marks", "SELECT sink_id, minute, frontier FROM mark",
        "INSERT INTO mark VALUES (?1, ?2, ?3)", 3);
    copy_table(v, "pauses", "SELECT route_id, sink_id, since_ms, who FROM pause",
        "INSERT INTO pause VALUES (?1, ?2, ?3, ?4)", 4);
    copy_table(v, "audit",
        "SELECT id, time_ms, uid, pid, what, object, detail, result, hash FROM audit",
        "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", 9);
    copy_table(v, "replays",
        "SELECT number, state, created_ms, changed_ms, expires_ms, generation, rate, raw, uid, "
        "digest,"
        " bytes, selection, legs FROM job",
        "INSERT INTO job VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)", 13);
    if ((v->hashless && audit_begin(v->to, v->digest, why) != 0) || identity_renew(v->to, why) != 0)
        return -1;
    return db_exec(v->to, "COMMIT", why);
}

static bool has_our_tables(struct salvage *v)
{
    int64_t n = 0;

    return db_read_int(v->from,
               "SELECT count(*) FROM sqlite_schema WHERE name IN ('chunk', 'position', 'outcome')",
               &n, NULL) == 0 &&
           n == 3;
}

/* A version that cannot be read, or the mark that it is ours, is part of the damage; a version that
 * is too new is not. */
static int read_version(struct salvage *v, const char *path, struct fault *why)
{
    if (schema_read(v->from, path, &v->hashless, why) == 0)
        return 0;
    if (why->kind == FAULT_INPUT && !(why->code == SCHEMA_FOREIGN && has_our_tables(v)))
        return -1;
    lost(v, why->text);
    return 0;
}

int store_salvage_file(const char *path, const char *new_path, store_digest *digest, store_say *say,
    void *arg, struct fault *why)
{
    struct salvage v = { .digest = digest, .say = say, .arg = arg };
    bool whole, foreign = false;
    char line[2 * PATH_MAX + 100];
    int result = -1;

    if (access(new_path, F_OK) == 0)
        return fault_set(why, FAULT_INPUT, EEXIST, "%s is there already", new_path);
    if (check_wal(path, why) != 0) {
        lost(&v, why->text);
        foreign = why->code == WAL_FOREIGN;
    }
    if (db_open(path, foreign ? DB_DAMAGED_ALONE : DB_DAMAGED, NULL, &v.from, why) == 0 &&
        read_version(&v, path, why) == 0 && db_open(new_path, DB_WRITE, NULL, &v.to, why) == 0 &&
        copy_all(&v, why) == 0 && db_checkpoint(v.to, &whole, why) == 0 &&
        schema_sync_directory(new_path, why) == 0 && restore_give(new_path, new_path, why) == 0) {
        db_last_close(v.to);
        (void)snprintf(line, sizeof line,
            "to go on with it, put it in the place of %s, and delete %s-wal if it is there", path,
            path);
        say(arg, 0, line);
        result = v.damages;
    }
    db_close(v.from);
    db_close(v.to);
    return result;
}
