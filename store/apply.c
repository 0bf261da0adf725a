/* One op of a transaction, as SQL on the writer's connection. */
#include "store/inside.h"

#include "store/audit.h"

#include "store/chunk.h"

static int apply_append(struct store *s, const struct op *op, struct fault *why)
{
    struct known_route *route = writer_route(s, op->route_id);
    const struct block *b = op->block;
    struct statement *st;
    struct buf frame, filter;
    int result = -1;

    if (!route)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    route->busy = true;
    buf_init(&frame, CHUNK_BYTES_MAX);
    buf_init(&filter, CHUNK_BYTES_MAX);
    chunk_filter(b, &filter);
    st = db_prepare(s->db,
        "INSERT INTO chunk (id, count, received_ms, last_ms, raw_bytes, before_bytes, stored_bytes,"
        " filter, frame) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8)",
        why);
    if (st && writer_frame(s, route, b, &frame, why) == 0) {
        int64_t stored = (int64_t)(frame.n + filter.n);

        db_bind_int(st, 1, CHUNK_ID(b->route_id, b->first_seq));
        db_bind_int(st, 2, b->count);
        db_bind_int(st, 3, b->received_ms);
        db_bind_int(st, 4, (int64_t)b->bytes);
        db_bind_int(st, 5, route->stored_bytes);
        db_bind_int(st, 6, stored);
        db_bind_bytes(st, 7, buf_bytes(&filter));
        db_bind_bytes(st, 8, buf_bytes(&frame));
        result = db_run(st, why);
        if (result == 0)
            route->stored_bytes += stored;
    }
    buf_done(&frame);
    buf_done(&filter);
    return result;
}

static int apply_position(
    struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    struct bytes value = txn_bytes(t, op->source.value);
    struct statement *st =
        bytes_present(value)
            ? db_prepare(s->db,
                  "INSERT OR REPLACE INTO position (route_id, connection, name, value)"
                  " VALUES (?1, ?2, ?3, ?4)",
                  why)
            : db_prepare(s->db,
                  "DELETE FROM position WHERE route_id = ?1 AND connection = ?2 AND name = ?3",
                  why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)op->route_id);
    db_bind_text(st, 2, txn_text(t, op->source.connection));
    db_bind_bytes(st, 3, txn_bytes(t, op->source.name));
    if (bytes_present(value))
        db_bind_bytes(st, 4, value);
    return db_run(st, why);
}

static int apply_gap(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    struct bytes cause = txn_bytes(t, op->source.cause);
    char text[300] = { 0 };
    struct statement *st = db_prepare(s->db,
        "INSERT INTO gap (route_id, connection, what, start_ms, end_ms, count, cause)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        " ON CONFLICT (route_id, connection, what, start_ms) DO UPDATE SET end_ms = ?5, count = "
        "max(count, ?6), cause = ?7",
        why);

    if (!st)
        return -1;
    memcpy(text, cause.at ? cause.at : (const uint8_t *)"", cause.n < 299 ? cause.n : 299);
    db_bind_int(st, 1, (int64_t)op->route_id);
    db_bind_text(st, 2, txn_text(t, op->source.connection));
    db_bind_bytes(st, 3, txn_bytes(t, op->source.name));
    db_bind_int(st, 4, op->source.start_ms);
    db_bind_int(st, 5, op->source.end_ms);
    db_bind_int(st, 6, (int64_t)op->source.count);
    db_bind_text(st, 7, text);
    return db_run(st, why);
}

static int apply_cursor(
    struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    const struct store_counts *c = &op->cursor.counts;
    struct statement *st = db_prepare(s->db,
        "UPDATE sink SET frontier = ?2, above = ?3, accepted = ?4, delivered = ?5, held = ?6, dead "
        "= ?7,"
        " dropped_filter = ?8, dropped_loop = ?9, dropped_person = ?10, dropped_discard = ?11,"
        " diverted = ?12, reordered = ?13, retries = ?14 WHERE id = ?1",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)op->sink_id);
    db_bind_int(st, 2, (int64_t)op->cursor.frontier);
    db_bind_bytes(st, 3, txn_bytes(t, op->cursor.above));
    db_bind_int(st, 4, (int64_t)c->accepted);
    db_bind_int(st, 5, (int64_t)c->delivered);
    db_bind_int(st, 6, (int64_t)c->held);
    db_bind_int(st, 7, (int64_t)c->dead);
    db_bind_int(st, 8, (int64_t)c->dropped_filter);
    db_bind_int(st, 9, (int64_t)c->dropped_loop);
    db_bind_int(st, 10, (int64_t)c->dropped_person);
    db_bind_int(st, 11, (int64_t)c->dropped_discard);
    db_bind_int(st, 12, (int64_t)c->diverted);
    db_bind_int(st, 13, (int64_t)c->reordered);
    db_bind_int(st, 14, (int64_t)c->retries);
    if (db_run(st, why) != 0)
        return -1;
    st = db_prepare(s->db,
        "INSERT INTO mark (sink_id, minute, frontier) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (sink_id, minute) DO UPDATE SET frontier = ?3 WHERE frontier <> ?3",
        why);
    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)op->sink_id);
    db_bind_int(st, 2, t->unix_ms / 60000);
    db_bind_int(st, 3, (int64_t)op->cursor.frontier);
    return db_run(st, why);
}

static int apply_outcome(
    struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "INSERT INTO outcome (sink_id, first_seq, last_seq, what, seqs) VALUES (?1, ?2, ?3, ?4, "
        "?5)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)op->sink_id);
    db_bind_int(st, 2, (int64_t)op->outcome.first);
    db_bind_int(st, 3, (int64_t)op->outcome.last);
    db_bind_int(st, 4, (int64_t)op->outcome.what);
    db_bind_bytes(st, 5, txn_bytes(t, op->outcome.seqs));
    return db_run(st, why);
}

static void bind_held(struct statement *st, const struct txn *t, const struct op *op)
{
    const struct held *h = &op->held.row;

    db_bind_int(st, 1, (int64_t)h->number);
    db_bind_int(st, 2, (int64_t)h->state);
    db_bind_int(st, 3, (int64_t)h->reason);
    db_bind_int(st, 4, h->code);
    db_bind_text(st, 5, txn_text(t, op->held.text));
    db_bind_int(st, 6, h->attempts);
    db_bind_int(st, 7, (int64_t)h->generation);
    db_bind_int(st, 8, h->due_in_ms);
    db_bind_int(st, 9, h->expires_in_ms);
    db_bind_int(st, 10, h->first_sent_ms);
    db_bind_int(st, 11, h->unsure);
    db_bind_int(st, 12, h->changed_ms);
}

static int apply_held(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    const struct held *h = &op->held.row;
    struct statement *st;

    if (op->held.event.n == SIZE_MAX) {
        st = db_prepare(s->db,
            "UPDATE held SET state = ?2, reason = ?3, code = ?4, text = coalesce(?5, text),"
            " attempts = ?6, generation = ?7, due_in_ms = ?8, expires_in_ms = ?9, first_sent_ms = "
            "?10,"
            " unsure = ?11, changed_ms = ?12 WHERE number = ?1",
            why);
        if (!st)
            return -1;
        bind_held(st, t, op);
        return db_run(st, why);
    }
    st = db_prepare(s->db,
        "INSERT OR REPLACE INTO held (number, state, reason, code, text, attempts, generation, "
        "due_in_ms,"
        " expires_in_ms, first_sent_ms, unsure, changed_ms, route_id, sink_id, seq, job, "
        "order_key, event,"
        " event_id, received_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
        "?14, ?15,"
        " ?16, ?17, ?18, ?19, ?20)",
        why);
    if (!st)
        return -1;
    bind_held(st, t, op);
    db_bind_int(st, 13, (int64_t)h->route_id);
    db_bind_int(st, 14, (int64_t)h->sink_id);
    db_bind_int(st, 15, (int64_t)h->seq);
    db_bind_int(st, 16, (int64_t)h->job);
    db_bind_bytes(st, 17, txn_bytes(t, op->held.order_key));
    db_bind_bytes(st, 18, txn_bytes(t, op->held.event));
    db_bind_bytes(st, 19, txn_bytes(t, op->held.id));
    db_bind_int(st, 20, op->held.received_ms);
    return db_run(st, why);
}

static int apply_number(
    struct store *s, const char *sql, uint64_t number, struct bytes bytes, struct fault *why)
{
    struct statement *st = db_prepare(s->db, sql, why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)number);
    if (bytes_present(bytes))
        db_bind_bytes(st, 2, bytes);
    return db_run(st, why);
}

static int apply_attempt(
    struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    const struct attempt *a = &op->attempt.row;
    struct statement *st = db_prepare(s->db,
        "INSERT INTO attempt (sink_id, seq, job, generation, number, time_ms, fate, cause, code, "
        "text)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)a->sink_id);
    db_bind_int(st, 2, (int64_t)a->seq);
    db_bind_int(st, 3, (int64_t)a->job);
    db_bind_int(st, 4, (int64_t)a->generation);
    db_bind_int(st, 5, a->number);
    db_bind_int(st, 6, a->time_ms);
    db_bind_int(st, 7, a->fate);
    db_bind_int(st, 8, a->cause);
    db_bind_int(st, 9, a->code);
    db_bind_text(st, 10, txn_text(t, op->attempt.text));
    return db_run(st, why);
}

static int apply_pause(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    struct statement *st =
        op->pause.paused
            ? db_prepare(s->db,
                  "INSERT OR REPLACE INTO pause (route_id, sink_id, since_ms, who) VALUES (?1, ?2, "
                  "?3, ?4)",
                  why)
            : db_prepare(s->db, "DELETE FROM pause WHERE route_id = ?1 AND sink_id = ?2", why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)op->route_id);
    db_bind_int(st, 2, (int64_t)op->sink_id);
    if (op->pause.paused) {
        db_bind_int(st, 3, op->pause.unix_ms);
        db_bind_text(st, 4, txn_text(t, op->pause.who));
    }
    return db_run(st, why);
}

static int apply_audit(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    struct audit_entry e = { .unix_ms = op->audit.unix_ms,
        .uid = op->audit.uid,
        .pid = op->audit.pid,
        .what = txn_text(t, op->audit.what),
        .object = txn_text(t, op->audit.object),
        .detail = txn_text(t, op->audit.detail),
        .result = txn_text(t, op->audit.result) };

    return audit_append(s->db, s->spec.digest, &e, why);
}

static int apply_job(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    const struct store_job *j = &op->job.row;
    struct statement *st = db_prepare(s->db,
        "INSERT OR REPLACE INTO job (number, state, created_ms, changed_ms, expires_ms, "
        "generation, rate,"
        " raw, uid, digest, bytes, selection, legs) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
        "?10, ?11,"
        " ?12, ?13)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)j->number);
    db_bind_int(st, 2, (int64_t)j->state);
    db_bind_int(st, 3, j->created_ms);
    db_bind_int(st, 4, j->changed_ms);
    db_bind_int(st, 5, j->expires_ms);
    db_bind_int(st, 6, (int64_t)j->generation);
    db_bind_int(st, 7, j->rate);
    db_bind_int(st, 8, j->raw);
    db_bind_int(st, 9, j->uid);
    db_bind_int(st, 10, (int64_t)j->digest);
    db_bind_int(st, 11, j->bytes);
    db_bind_text(st, 12, txn_text(t, op->job.selection));
    db_bind_bytes(st, 13, txn_bytes(t, op->job.legs));
    return db_run(st, why);
}

int apply_op(struct store *s, const struct txn *t, const struct op *op, struct fault *why)
{
    switch (op->kind) {
    case OP_APPEND:
        return apply_append(s, op, why);
    case OP_POSITION:
        return apply_position(s, t, op, why);
    case OP_GAP:
        return apply_gap(s, t, op, why);
    case OP_CURSOR:
        return apply_cursor(s, t, op, why);
    case OP_OUTCOME:
        return apply_outcome(s, t, op, why);
    case OP_HELD:
        return apply_held(s, t, op, why);
    case OP_HELD_REMOVE:
        return apply_number(
            s, "DELETE FROM held WHERE number = ?1", op->held.row.number, BYTES_NONE, why);
    case OP_HELD_EDIT:
        return apply_number(s, "UPDATE held SET edited = ?2 WHERE number = ?1", op->held.row.number,
            txn_bytes(t, op->held.event), why);
    case OP_ATTEMPT:
        return apply_attempt(s, t, op, why);
    case OP_PAUSE:
        return apply_pause(s, t, op, why);
    case OP_DRAIN:
        return drain_apply(s, op->route_id, op->sink_id, op->pause.paused, why);
    case OP_AUDIT:
        return apply_audit(s, t, op, why);
    case OP_JOB:
        return apply_job(s, t, op, why);
    default:
        return fault_set(why, FAULT_BROKEN, 0, "store: unknown op %d", (int)op->kind);
    }
}
