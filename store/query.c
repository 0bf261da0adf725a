/* Questions about rows: dead letters, attempts, gaps, jobs, audit, sizes. Those about the log are
 * in query_log.c. */
#include "store/inside.h"
#include "store/query_log.h"
#include "store/rows.h"

#include "store/audit.h"
#include "store/chunk.h"
#include "store/schema.h"

#include <stdio.h>
#include <stdlib.h>

const char *held_reason_text(enum held_reason reason)
{
    static const char *const names[REASON_COUNT] = { "none", "refused", "unroutable", "nacked",
        "address", "timeout", "protocol", "template", "step", "expired", "oversize", "source" };

    return reason < REASON_COUNT ? names[reason] : "unknown";
}

const char *held_state_text(enum held_state state)
{
    static const char *const names[] = { "none", "waiting", "following", "dead", "retrying",
        "resolved", "dropped" };

    return state <= HELD_DROPPED ? names[state] : "unknown";
}

void query_answer_done(struct query_answer *a)
{
    rows_done(&a->rows);
    for (size_t i = 0; i < a->part_count; i++)
        ranges_done(&a->parts[i].set);
    free(a->parts);
    a->parts = NULL;
    a->part_count = 0;
}

static int reason_number(const char *text)
{
    for (int i = 1; i < REASON_COUNT; i++)
        if (strcmp(held_reason_text((enum held_reason)i), text) == 0)
            return i;
    return -1;
}

/* Rows of plain SQL whose columns are the answer's: integers, texts and blobs as they come. */
static int copy_rows(struct statement *st, struct rows *rows, size_t limit, struct fault *why)
{
    int got;

    while ((got = db_step(st, why)) == 1) {
        if (rows->row_count == limit) {
            rows->more = true;
            break;
        }
        for (size_t c = 0; c < rows->column_count; c++)
            db_copy_cell(st, (int)c, rows);
        if (!rows_end(rows)) {
            got = fault_set(why, FAULT_RETRY, 0, "the answer is too large: ask for fewer rows");
            break;
        }
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static void bind_names(struct statement *st, const struct query_spec *q)
{
    db_bind_text(st, 1, q->where.route);
    db_bind_text(st, 2, q->where.sink);
    db_bind_int(st, 3, (int64_t)q->after);
    db_bind_int(st, 4, (int64_t)q->limit + 1);
}

static const char *const dead_columns[] = { "number", "route", "sink", "seq", "id", "state",
    "reason", "code", "text", "attempts", "changed_ms", "body_bytes", "job", NULL };

static int64_t body_bytes(struct bytes encoded)
{
    struct event e;

    return chunk_event_get(&encoded, &e) == 0 ? (int64_t)e.body.n : 0;
}

static void dead_row(struct statement *st, struct rows *rows)
{
    rows_int(rows, db_int(st, 0));
    rows_text(rows, db_text(st, 1));
    rows_text(rows, db_text(st, 2));
    rows_int(rows, db_int(st, 3));
    rows_textn(rows, db_bytes(st, 4));
    rows_text(rows, held_state_text((enum held_state)db_int(st, 5)));
    rows_text(rows, held_reason_text((enum held_reason)db_int(st, 6)));
    rows_int(rows, db_int(st, 7));
    rows_text(rows, db_text(st, 8));
    rows_int(rows, db_int(st, 9));
    rows_int(rows, db_int(st, 10));
    rows_int(rows, body_bytes(db_bytes(st, 11)));
    rows_int(rows, db_int(st, 12));
}

#define DEAD_ROWS                                                                                  \
    "SELECT h.number, r.name, k.name, h.seq, h.event_id, h.state, h.reason, h.code, h.text,"       \
    " h.attempts, h.changed_ms, coalesce(h.edited, h.event), h.job"                                \
    " FROM held h LEFT JOIN route r ON r.id = h.route_id LEFT JOIN sink k ON k.id = h.sink_id"     \
    " WHERE h.number > ?3 AND (?5 OR h.state IN (3, 4)) AND (?1 IS NULL OR r.name = ?1)"           \
    " AND (?2 IS NULL OR k.name = ?2) AND (?6 IS NULL OR CAST(h.event_id AS TEXT) = ?6)"           \
    " AND (?7 = 0 OR h.reason = ?7) AND (?8 = 0 OR h.changed_ms >= ?8)"                            \
    " AND (?9 = 0 OR h.changed_ms < ?9) AND (?10 = 0 OR h.number = ?10)"                           \
    " AND (?11 = 0 OR h.seq >= ?11) AND (?12 = 0 OR h.seq <= ?12)"                                 \
    " AND (NOT ?13 OR (h.code IS ?14 AND coalesce(h.text, '') = coalesce(?15, '')))"

static int query_dead(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        q->newest ? DEAD_ROWS " ORDER BY h.number DESC LIMIT ?4"
                  : DEAD_ROWS " ORDER BY h.number LIMIT ?4",
        why);
    int got, reason = q->reason ? reason_number(q->reason) : 0;

    if (reason < 0)
        return fault_set(why, FAULT_INPUT, 0, "there is no reason '%s'", q->reason);
    if (!st)
        return -1;
    rows_init(rows, dead_columns);
    bind_names(st, q);
    db_bind_int(st, 5, q->all);
    db_bind_text(st, 6, q->where.id);
    db_bind_int(st, 7, reason);
    db_bind_int(st, 8, q->where.since_ms);
    db_bind_int(st, 9, q->where.until_ms);
    db_bind_int(st, 10, (int64_t)q->number);
    db_bind_int(st, 11, (int64_t)q->where.first_seq);
    db_bind_int(st, 12, (int64_t)q->where.last_seq);
    db_bind_int(st, 13, q->same_cause);
    db_bind_int(st, 14, q->code);
    db_bind_text(st, 15, q->text);
    while ((got = db_step(st, why)) == 1) {
        if (rows->row_count == q->limit) {
            rows->more = true;
            break;
        }
        dead_row(st, rows);
        if (!rows_end(rows)) {
            got = fault_set(why, FAULT_RETRY, 0, "the answer is too large: ask for fewer rows");
            break;
        }
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static const char *const show_columns[] = { "number", "route", "sink", "seq", "id", "state",
    "reason", "code", "text", "attempts", "changed_ms", "body_bytes", "job", "received_ms",
    "generation", "address", "key", "headers", "body", "origin", "time_ms", "edited", "edited_key",
    "edited_headers", "edited_body", NULL };

static int show_row(struct statement *st, struct rows *rows, struct fault *why)
{
    struct event e, edited = { 0 };
    struct bytes event = db_bytes(st, 15), changed = db_bytes(st, 16);
    bool is_edited = bytes_present(changed);

    if (chunk_event_get(&event, &e) != 0 || (is_edited && chunk_event_get(&changed, &edited) != 0))
        return fault_set(
            why, FAULT_BROKEN, 0, "dead letter %lld is damaged", (long long)db_int(st, 0));
    dead_row(st, rows);
    rows_int(rows, db_int(st, 13));
    rows_int(rows, db_int(st, 14));
    rows_textn(rows, e.address);
    rows_bytes(rows, e.key);
    rows_bytes(rows, e.headers.n ? e.headers : BYTES_NONE);
    rows_bytes(rows, e.body);
    rows_textn(rows, e.origin);
    rows_int(rows, e.time_ms);
    rows_int(rows, is_edited);
    rows_bytes(rows, edited.key);
    rows_bytes(rows, edited.headers.n ? edited.headers : BYTES_NONE);
    rows_bytes(rows, edited.body);
    return rows_end(rows) ? 0
                          : fault_set(why, FAULT_RETRY, 0, "the dead letter is too large to show");
}

static int query_show(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT h.number, r.name, k.name, h.seq, h.event_id, h.state, h.reason, h.code, h.text,"
        " h.attempts, h.changed_ms, coalesce(h.edited, h.event), h.job, h.received_ms, "
        "h.generation,"
        " h.event, h.edited"
        " FROM held h LEFT JOIN route r ON r.id = h.route_id LEFT JOIN sink k ON k.id = h.sink_id"
        " WHERE h.number = ?1",
        why);
    int got;

    if (!st)
        return -1;
    rows_init(rows, show_columns);
    db_bind_int(st, 1, (int64_t)q->number);
    got = db_step(st, why);
    if (got == 1 && show_row(st, rows, why) != 0)
        got = -1;
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static const char *const attempt_columns[] = { "number", "route", "sink", "seq", "job",
    "generation", "time_ms", "fate", "cause", "code", "text", NULL };

static int query_attempts(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT a.number, r.name, k.name, a.seq, a.job, a.generation, a.time_ms,"
        " CASE a.fate WHEN 1 THEN 'delivered' WHEN 2 THEN 'unsent' WHEN 3 THEN 'unsure' WHEN 4 THEN"
        " 'refused' END,"
        " CASE a.cause WHEN 1 THEN 'final' WHEN 2 THEN 'unroutable' WHEN 3 THEN 'nack' WHEN 4 THEN"
        " 'address' WHEN 5 THEN 'protocol' WHEN 6 THEN 'broker' WHEN 7 THEN 'timeout' WHEN 8 THEN "
        "'lost'"
        " WHEN 9 THEN 'drained' END, a.code, a.text"
        " FROM attempt a JOIN sink k ON k.id = a.sink_id JOIN route r ON r.id = k.route_id"
        " WHERE (?5 = 0 OR EXISTS (SELECT 1 FROM held h WHERE h.number = ?5 AND h.sink_id = "
        "a.sink_id AND"
        " h.seq = a.seq AND h.job = a.job)) AND (?5 > 0 OR (r.name = ?1 AND a.seq = ?6))"
        " AND (?2 IS NULL OR k.name = ?2) AND a.rowid > ?3 ORDER BY a.time_ms, a.rowid LIMIT ?4",
        why);

    if (!st)
        return -1;
    rows_init(rows, attempt_columns);
    bind_names(st, q);
    db_bind_int(st, 5, (int64_t)q->number);
    db_bind_int(st, 6, (int64_t)q->where.first_seq);
    return copy_rows(st, rows, q->limit, why);
}

static const char *const group_columns[] = { "route", "sink", "reason", "code", "text", "count",
    "first_ms", "last_ms", "example", NULL };

static int query_groups(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT r.name, k.name, CASE h.reason WHEN 1 THEN 'refused' WHEN 2 THEN 'unroutable' WHEN "
        "3 THEN"
        " 'nacked' WHEN 4 THEN 'address' WHEN 5 THEN 'timeout' WHEN 6 THEN 'protocol' WHEN 7 THEN"
        " 'template' WHEN 8 THEN 'step' WHEN 9 THEN 'expired' WHEN 10 THEN 'oversize' WHEN 11 THEN "
        "'source' END, h.code, "
        "h.text,"
        " count(*), min(h.changed_ms), max(h.changed_ms), min(h.number)"
        " FROM held h LEFT JOIN route r ON r.id = h.route_id LEFT JOIN sink k ON k.id = h.sink_id"
        " WHERE h.state = 3 AND (?1 IS NULL OR r.name = ?1) AND (?2 IS NULL OR k.name = ?2) AND ?3 "
        ">= 0"
        " GROUP BY 1, 2, h.reason, h.code, h.text ORDER BY count(*) DESC LIMIT ?4",
        why);

    if (!st)
        return -1;
    rows_init(rows, group_columns);
    bind_names(st, q);
    return copy_rows(st, rows, q->limit, why);
}

static const char *const gap_columns[] = { "number", "route", "connection", "what", "start_ms",
    "end_ms", "count", "cause", NULL };

static int query_gaps(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT g.id, r.name, g.connection, CAST(g.what AS TEXT), g.start_ms, g.end_ms, g.count, "
        "g.cause"
        " FROM gap g LEFT JOIN route r ON r.id = g.route_id WHERE g.id > ?3 AND (?1 IS NULL OR "
        "r.name = ?1)"
        " AND (?5 = 0 OR g.end_ms = 0 OR g.end_ms >= ?5) AND (?6 = 0 OR g.start_ms < ?6) AND ?2 IS "
        "NULL"
        " ORDER BY g.id LIMIT ?4",
        why);

    if (!st)
        return -1;
    rows_init(rows, gap_columns);
    bind_names(st, q);
    db_bind_text(st, 2, NULL);
    db_bind_int(st, 5, q->where.since_ms);
    db_bind_int(st, 6, q->where.until_ms);
    return copy_rows(st, rows, q->limit, why);
}

static const char *const job_columns[] = { "number", "state", "created_ms", "changed_ms",
    "expires_ms", "rate", "raw", "uid", "bytes", "selection", "selected", "delivered", "dead",
    "dropped", NULL };

static int job_row(struct statement *st, struct rows *rows, struct fault *why)
{
    static const char *const states[] = { "none", "planned", "running", "paused", "done",
        "cancelled" };
    struct store_job j = { 0 };
    uint64_t sum[4] = { 0 };
    int64_t state = db_int(st, 1);

    if (job_legs_decode(db_bytes(st, 10), &j) != 0) {
        store_job_done(&j);
        return fault_set(why, FAULT_BROKEN, 0, "replay %lld is damaged", (long long)db_int(st, 0));
    }
    for (size_t i = 0; i < j.leg_count; i++) {
        sum[0] += j.legs[i].selected;
        sum[1] += j.legs[i].delivered;
        sum[2] += j.legs[i].dead;
        sum[3] += j.legs[i].dropped;
    }
    store_job_done(&j);
    rows_int(rows, db_int(st, 0));
    rows_text(rows, state >= 0 && state <= JOB_CANCELLED ? states[state] : "unknown");
    for (int c = 2; c <= 8; c++)
        rows_int(rows, db_int(st, c));
    rows_text(rows, db_text(st, 9));
    for (int i = 0; i < 4; i++)
        rows_int(rows, (int64_t)sum[i]);
    return rows_end(rows) ? 0 : fault_set(why, FAULT_RETRY, 0, "the answer is too large");
}

static int query_jobs(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT number, state, created_ms, changed_ms, expires_ms, rate, raw, uid, bytes, "
        "selection, legs"
        " FROM job WHERE number > ?1 AND (?2 = 0 OR number = ?2) ORDER BY number",
        why);
    int got;

    if (!st)
        return -1;
    rows_init(rows, job_columns);
    db_bind_int(st, 1, (int64_t)q->after);
    db_bind_int(st, 2, (int64_t)q->number);
    while ((got = db_step(st, why)) == 1) {
        if (rows->row_count == q->limit) {
            rows->more = true;
            break;
        }
        if (job_row(st, rows, why) != 0) {
            got = -1;
            break;
        }
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static const char *const audit_columns[] = { "number", "time_ms", "uid", "pid", "what", "object",
    "detail", "result", NULL };

static int query_audit(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT id, time_ms, uid, pid, what, object, detail, result FROM audit WHERE id > ?3 AND "
        "?1 IS NULL"
        " AND ?2 IS NULL ORDER BY id LIMIT ?4",
        why);

    if (!st)
        return -1;
    rows_init(rows, audit_columns);
    bind_names(st, q);
    db_bind_text(st, 1, NULL);
    db_bind_text(st, 2, NULL);
    return copy_rows(st, rows, q->limit, why);
}

static const char *const stats_columns[] = { "route", "events", "chunks", "bytes", "raw_bytes",
    "first_seq", "last_seq", "first_ms", "last_ms", NULL };

static int query_stats(
    struct db *db, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT r.name, coalesce(sum(c.count), 0), count(c.id), coalesce(sum(c.stored_bytes), 0),"
        " coalesce(sum(c.raw_bytes), 0), coalesce(min(c.id) & 0xffffffffff, 0),"
        " coalesce(max(c.id + c.count - 1) & 0xffffffffff, 0), coalesce(min(c.received_ms), 0),"
        " coalesce(max(c.last_ms), 0)"
        " FROM route r LEFT JOIN chunk c ON c.id >= r.id << 40 AND c.id < (r.id + 1) << 40"
        " WHERE (?1 IS NULL OR r.name = ?1) AND ?2 IS NULL AND ?3 >= 0 GROUP BY r.id ORDER BY "
        "r.name"
        " LIMIT ?4",
        why);

    if (!st)
        return -1;
    rows_init(rows, stats_columns);
    bind_names(st, q);
    db_bind_text(st, 2, NULL);
    return copy_rows(st, rows, q->limit, why);
}

static int run(struct db *db, const struct query_spec *q, struct query_answer *a)
{
    switch (q->kind) {
    case QUERY_DEAD:
        return query_dead(db, q, &a->rows, &a->why);
    case QUERY_DEAD_SHOW:
        return query_show(db, q, &a->rows, &a->why);
    case QUERY_ATTEMPTS:
        return query_attempts(db, q, &a->rows, &a->why);
    case QUERY_DEAD_GROUPS:
        return query_groups(db, q, &a->rows, &a->why);
    case QUERY_GAPS:
        return query_gaps(db, q, &a->rows, &a->why);
    case QUERY_JOBS:
        return query_jobs(db, q, &a->rows, &a->why);
    case QUERY_AUDIT:
        return query_audit(db, q, &a->rows, &a->why);
    case QUERY_AUDIT_VERIFY:
        return audit_verify(db, q, &a->rows, &a->why);
    case QUERY_STATS:
        return query_stats(db, q, &a->rows, &a->why);
    default:
        return query_log(db, q, a);
    }
}

void query_run(struct db *db, const struct query_spec *spec, struct query_answer *ret)
{
    struct query_spec q = *spec;

    if (q.limit == 0 || q.limit > 10000)
        q.limit = 10000;
    if (run(db, &q, ret) != 0) {
        ret->failed = true;
        if (ret->why.kind == FAULT_NONE) /* small parts give up without words of their own */
            (void)fault_set(&ret->why, FAULT_RETRY, 0, "out of memory");
        rows_done(&ret->rows);
        return;
    }
    rows_finish(&ret->rows);
}

int store_query_file(
    const char *path, const struct query_spec *spec, struct query_answer *ret, struct fault *why)
{
    struct db *db;

    *ret = (struct query_answer){ 0 };
    if (db_open(path, DB_READ, NULL, &db, why) != 0)
        return -1;
    if (schema_read(db, path, NULL, why) != 0) {
        db_close(db);
        return -1;
    }
    query_run(db, spec, ret);
    db_close(db);
    if (!ret->failed)
        return 0;
    *why = ret->why;
    query_answer_done(ret); /* rows until it failed */
    return -1;
}
