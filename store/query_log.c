#include "store/query_log.h"

#include "store/chunk.h"
#include "store/inside.h"
#include "store/rows.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUTES_MAX 4096
#define SINKS_MAX 256
#define KEYS_EXACT 10000

struct sink_state {
    uint64_t id, begin, frontier;
    struct ranges above;
    char name[64];
    bool fallback;
};

/* A scan over the chunks of one route, oldest first, handing each event that fits to `each`. */
struct scan {
    struct db *db;
    const struct query_spec *q;
    uint64_t route_id;
    const char *route;
    struct sink_state *sinks;
    size_t sink_count;
    /* 0 go on, 1 enough, -1 fault */
    int (*each)(struct scan *s, const struct event *e);
    struct query_answer *answer;
    struct plan_part *part;
    uint64_t *keys; /* hashes seen, open addressing */
    size_t key_slots;
};

/* ---- what became of an event at a sink ---- */

static int outcome_of(struct scan *s, const struct sink_state *k, uint64_t seq)
{
    struct statement *st = db_prepare(s->db,
        "SELECT what, seqs FROM outcome WHERE sink_id = ?1 AND last_seq >= ?2 AND first_seq <= ?2",
        NULL);
    int what = OUTCOME_NONE;

    if (!st)
        return OUTCOME_NONE;
    db_bind_int(st, 1, (int64_t)k->id);
    db_bind_int(st, 2, (int64_t)seq);
    /* An event that was held first has a second outcome by its end. */
    while ((what == OUTCOME_NONE || what == OUTCOME_HELD) && db_step(st, NULL) == 1) {
        struct ranges set;

        if (ranges_decode(db_bytes(st, 1), &set) == 0 && ranges_have(&set, seq))
            what = (int)db_int(st, 0);
        ranges_done(&set);
    }
    db_reset(st);
    return what;
}

struct fate_row {
    const char *fate;
    int64_t number, attempts, by_ms;
    enum held_reason reason;
    char text[256];
};

static bool held_fate(
    struct scan *s, const struct sink_state *k, uint64_t seq, struct fate_row *ret)
{
    struct statement *st = db_prepare(s->db,
        "SELECT number, state, reason, attempts, text, changed_ms FROM held WHERE sink_id = ?1 AND "
        "seq = ?2"
        " AND job = 0",
        NULL);
    bool found = false;

    if (!st)
        return false;
    db_bind_int(st, 1, (int64_t)k->id);
    db_bind_int(st, 2, (int64_t)seq);
    if (db_step(st, NULL) == 1) {
        enum held_state state = (enum held_state)db_int(st, 1);

        found = true;
        ret->number = db_int(st, 0);
        ret->fate = state == HELD_RESOLVED ? "delivered" : held_state_text(state);
        ret->reason = (enum held_reason)db_int(st, 2);
        ret->attempts = db_int(st, 3);
        (void)snprintf(ret->text, sizeof ret->text, "%s", db_text(st, 4) ? db_text(st, 4) : "");
        ret->by_ms = state == HELD_RESOLVED ? db_int(st, 5) : 0;
    }
    db_reset(st);
    return found;
}

/* The end of the minute in which the frontier had passed it. */
static int64_t delivered_by(struct scan *s, const struct sink_state *k, uint64_t seq)
{
    struct statement *st = db_prepare(s->db,
        "SELECT minute FROM mark WHERE sink_id = ?1 AND frontier > ?2 ORDER BY minute LIMIT 1",
        NULL);
    int64_t by = 0;

    if (!st)
        return 0;
    db_bind_int(st, 1, (int64_t)k->id);
    db_bind_int(st, 2, (int64_t)seq);
    if (db_step(st, NULL) == 1)
        by = (db_int(st, 0) + 1) * 60000;
    db_reset(st);
    return by;
}

static int64_t attempts_of(struct scan *s, const struct sink_state *k, uint64_t seq)
{
    struct statement *st = db_prepare(
        s->db, "SELECT count(*) FROM attempt WHERE sink_id = ?1 AND seq = ?2 AND job = 0", NULL);
    int64_t n = 0;

    if (!st)
        return 0;
    db_bind_int(st, 1, (int64_t)k->id);
    db_bind_int(st, 2, (int64_t)seq);
    if (db_step(st, NULL) == 1)
        n = db_int(st, 0);
    db_reset(st);
    return n;
}

/* A fallback sink has no row any more of what it delivered. */
static bool was_diverted(struct scan *s, uint64_t seq)
{
    for (size_t i = 0; i < s->sink_count; i++)
        if (outcome_of(s, &s->sinks[i], seq) == OUTCOME_DIVERTED)
            return true;
    return false;
}

static void fate_of(struct scan *s, const struct sink_state *k, uint64_t seq, struct fate_row *ret)
{
    *ret = (struct fate_row){ .fate = "pending" };
    if (held_fate(s, k, seq, ret))
        return;
    if (k->fallback) {
        ret->fate = was_diverted(s, seq) ? "delivered" : "not diverted";
        return;
    }
    if (seq < k->begin) {
        ret->fate = "before the sink began";
        return;
    }
    if (seq >= k->frontier && !ranges_have(&k->above, seq))
        return;
    switch (outcome_of(s, k, seq)) {
    case OUTCOME_FILTERED:
        ret->fate = "filtered";
        return;
    case OUTCOME_LOOP:
        ret->fate = "loop";
        return;
    case OUTCOME_DIVERTED:
        ret->fate = "diverted";
        return;
    default:
        ret->fate = "delivered";
        ret->by_ms = delivered_by(s, k, seq);
        ret->attempts = attempts_of(s, k, seq);
        if (ret->attempts == 0)
            ret->attempts = 1;
        return;
    }
}

/* ---- which events fit ---- */

static bool fate_fits(struct scan *s, const struct event *e)
{
    const struct selection *w = &s->q->where;
    bool fits = !w->fate;

    for (size_t i = 0; i < s->sink_count && w->fate; i++) {
        struct fate_row f;

        if (w->sink && strcmp(w->sink, s->sinks[i].name) != 0)
            continue;
        fate_of(s, &s->sinks[i], e->seq, &f);
        fits = fits || strcmp(f.fate, w->fate) == 0;
    }
    return fits;
}

static bool fits(struct scan *s, const struct event *e)
{
    return selection_fits(&s->q->where, e) && fate_fits(s, e);
}

static bool chunk_may(const struct selection *w, struct bytes filter)
{
    return (!w->id || chunk_filter_may(filter, chunk_hash_id(bytes_text(w->id)))) &&
           (!bytes_present(w->key) || chunk_filter_may(filter, chunk_hash_key(w->key)));
}

static int scan_block(struct scan *s, const struct block *b)
{
    int got = 0;

    for (uint32_t i = 0; got == 0 && i < b->count; i++) {
        struct event e;

        block_event(b, i, &e);
        if (fits(s, &e))
            got = s->each(s, &e);
    }
    return got;
}

/* A place past the bits that a chunk's id has for it would name the next route's chunks. */
static int64_t chunk_place(const struct scan *s, uint64_t seq)
{
    uint64_t max = ((uint64_t)1 << CHUNK_SEQ_BITS) - 1;

    return CHUNK_ID(s->route_id, seq < max ? seq : max);
}

static int scan_route(struct scan *s, struct fault *why)
{
    const struct selection *w = &s->q->where;
    struct statement *st = db_prepare(s->db,
        "SELECT id, count, received_ms, raw_bytes, frame, " CHUNK_FILTER_USABLE
        " FROM chunk WHERE id >= ?1 AND id "
        "<= ?2"
        " AND (?3 = 0 OR last_ms >= ?3) AND (?4 = 0 OR received_ms < ?4) AND id + count > ?5"
        " ORDER BY id",
        why);
    /* A later page begins where the last one ended, not at the log's beginning again. */
    uint64_t from =
        s->q->kind == QUERY_EVENTS && s->q->after >= w->first_seq ? s->q->after + 1 : w->first_seq;
    uint64_t first = from > BLOCK_EVENTS_MAX ? from - BLOCK_EVENTS_MAX : 0;
    uint64_t last = w->last_seq ? w->last_seq : UINT64_MAX;
    int got, result = 0;

    if (!st)
        return -1;
    db_bind_int(st, 1, chunk_place(s, first));
    db_bind_int(st, 2, chunk_place(s, last));
    db_bind_int(st, 3, w->since_ms);
    db_bind_int(st, 4, w->until_ms);
    db_bind_int(st, 5, chunk_place(s, from));
    while (result == 0 && (got = db_step(st, why)) != 0) {
        struct block *b;

        if (got < 0) {
            result = -1;
        } else if (chunk_may(w, db_bytes(st, 5))) {
            if (read_chunk(st, &b, why) != 0) {
                result = -1;
                break;
            }
            result = scan_block(s, b);
            block_unref(b);
        }
    }
    db_reset(st);
    return result;
}

/* ---- the sinks of a route ---- */

static void sinks_done(struct scan *s)
{
    for (size_t i = 0; i < s->sink_count; i++)
        ranges_done(&s->sinks[i].above);
    free(s->sinks);
    s->sinks = NULL;
    s->sink_count = 0;
}

static int load_sinks(struct scan *s, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT id, begin_seq, frontier, above, name, fallback FROM sink WHERE route_id = ?1 ORDER "
        "BY id",
        why);
    int got = -1;

    s->sinks = calloc(SINKS_MAX, sizeof *s->sinks);
    if (!st || !s->sinks)
        return -1;
    db_bind_int(st, 1, (int64_t)s->route_id);
    while (s->sink_count < SINKS_MAX && (got = db_step(st, why)) == 1) {
        struct sink_state *k = &s->sinks[s->sink_count++];

        k->id = (uint64_t)db_int(st, 0);
        k->begin = (uint64_t)db_int(st, 1);
        k->frontier = (uint64_t)db_int(st, 2);
        (void)ranges_decode(db_bytes(st, 3), &k->above);
        (void)snprintf(k->name, sizeof k->name, "%s", db_text(st, 4));
        k->fallback = db_int(st, 5) != 0;
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

/* ---- answers ---- */

static const char *const event_columns[] = { "seq", "route", "id", "key", "address", "time_ms",
    "received_ms", "body_bytes", "origin", NULL };
static const char *const event_all_columns[] = { "seq", "route", "id", "key", "address", "time_ms",
    "received_ms", "body_bytes", "origin", "headers", "body", NULL };

static int add_event(struct scan *s, const struct event *e)
{
    struct rows *rows = &s->answer->rows;

    if (e->seq <= s->q->after)
        return 0;
    if (rows->row_count == s->q->limit) {
        rows->more = true;
        return 1;
    }
    rows_int(rows, (int64_t)e->seq);
    rows_text(rows, s->route);
    rows_textn(rows, event_id(e));
    rows_bytes(rows, e->key);
    rows_textn(rows, e->address);
    rows_int(rows, e->time_ms);
    rows_int(rows, e->received_ms);
    rows_int(rows, (int64_t)e->body.n);
    rows_textn(rows, e->origin);
    if (s->q->all) {
        rows_bytes(rows, e->headers.n ? e->headers : BYTES_NONE);
        rows_bytes(rows, e->body);
    }
    return rows_end(rows) ? 0
                          : fault_set(&s->answer->why, FAULT_RETRY, 0,
                                "the answer is too large: ask for fewer");
}

static const char *const trace_columns[] = { "route", "seq", "id", "received_ms", "origin",
    "address", "body_bytes", "sink", "fate", "reason", "text", "attempts", "delivered_by_ms",
    "dead_letter", NULL };

static int add_trace(struct scan *s, const struct event *e)
{
    struct rows *rows = &s->answer->rows;

    for (size_t i = 0; i < s->sink_count; i++) {
        struct fate_row f;

        fate_of(s, &s->sinks[i], e->seq, &f);
        rows_text(rows, s->route);
        rows_int(rows, (int64_t)e->seq);
        rows_textn(rows, event_id(e));
        rows_int(rows, e->received_ms);
        rows_textn(rows, e->origin);
        rows_textn(rows, e->address);
        rows_int(rows, (int64_t)e->body.n);
        rows_text(rows, s->sinks[i].name);
        rows_text(rows, f.fate);
        rows_text(rows, f.reason ? held_reason_text(f.reason) : NULL);
        rows_text(rows, f.text[0] ? f.text : NULL);
        rows_int(rows, f.attempts);
        if (f.by_ms)
            rows_int(rows, f.by_ms);
        else
            rows_null(rows);
        if (f.number)
            rows_int(rows, f.number);
        else
            rows_null(rows);
        if (!rows_end(rows))
            return fault_set(&s->answer->why, FAULT_RETRY, 0, "the answer is too large");
    }
    return rows->row_count >= s->q->limit;
}

static void count_key(struct scan *s, const struct event *e)
{
    uint64_t hash = chunk_hash_key(e->key) | 1;
    size_t at = hash % s->key_slots;

    if (!bytes_present(e->key) || s->part->keys >= KEYS_EXACT)
        return;
    while (s->keys[at] && s->keys[at] != hash)
        at = (at + 1) % s->key_slots;
    if (s->keys[at])
        return;
    s->keys[at] = hash;
    s->part->keys++;
}

static int add_plan(struct scan *s, const struct event *e)
{
    struct plan_part *p = s->part;
    uint64_t digest = s->answer->digest;

    if (ranges_add(&p->set, e->seq, e->seq) != 0)
        return fault_set(&s->answer->why, FAULT_RETRY, 0, "out of memory");
    p->count++;
    p->bytes += (int64_t)event_bytes(e);
    p->first_ms = p->first_ms ? p->first_ms : e->received_ms;
    p->last_ms = e->received_ms;
    count_key(s, e);
    digest = (digest ^ p->route_id) * 1099511628211u;
    digest = (digest ^ e->seq) * 1099511628211u;
    digest = (digest ^ bytes_hash(event_id(e))) * 1099511628211u;
    s->answer->digest = (digest ^ bytes_hash(e->body)) * 1099511628211u;
    return 0;
}

static int plan_route(struct scan *s)
{
    struct query_answer *a = s->answer;
    struct plan_part *parts = realloc(a->parts, (a->part_count + 1) * sizeof *parts);
    int got;

    if (!parts)
        return fault_set(&a->why, FAULT_RETRY, 0, "out of memory");
    a->parts = parts;
    s->part = &parts[a->part_count++];
    *s->part = (struct plan_part){ .route_id = s->route_id };
    (void)snprintf(s->part->route, sizeof s->part->route, "%s", s->route);
    s->key_slots = KEYS_EXACT * 2;
    s->keys = calloc(s->key_slots, sizeof *s->keys);
    if (!s->keys)
        return fault_set(&a->why, FAULT_RETRY, 0, "out of memory");
    got = scan_route(s, &a->why);
    free(s->keys);
    s->keys = NULL;
    if (got >= 0 && s->part->count == 0)
        a->part_count--;
    return got;
}

static int scan_one(struct db *db, const struct query_spec *q, struct query_answer *a, uint64_t id,
    const char *name)
{
    struct scan s = { .db = db, .q = q, .route_id = id, .route = name, .answer = a };
    int got = load_sinks(&s, &a->why);

    s.each = q->kind == QUERY_EVENTS ? add_event : q->kind == QUERY_TRACE ? add_trace : add_plan;
    if (got == 0)
        got = q->kind == QUERY_PLAN ? plan_route(&s) : scan_route(&s, &a->why);
    sinks_done(&s);
    return got;
}

int query_log(struct db *db, const struct query_spec *q, struct query_answer *a)
{
    struct statement *st =
        db_prepare(db, "SELECT id, name FROM route WHERE ?1 IS NULL OR name = ?1", &a->why);
    uint64_t ids[ROUTES_MAX];
    char(*names)[64] = calloc(ROUTES_MAX, sizeof *names);
    size_t n = 0;
    int got = 0;

    if (!st || !names) {
        free(names);
        return -1;
    }
    rows_init(&a->rows, q->kind == QUERY_TRACE ? trace_columns
                        : q->all               ? event_all_columns
                                               : event_columns);
    a->digest = 14695981039346656037u;
    db_bind_text(st, 1, q->where.route);
    while (n < ROUTES_MAX && db_step(st, &a->why) == 1) {
        ids[n] = (uint64_t)db_int(st, 0);
        (void)snprintf(names[n++], 64, "%s", db_text(st, 1));
    }
    db_reset(st);
    if (n == 0 && q->where.route)
        got = fault_set(&a->why, FAULT_INPUT, 0, "the store knows no route '%s'", q->where.route);
    for (size_t i = 0; got == 0 && i < n; i++)
        got = scan_one(db, q, a, ids[i], names[i]);
    free(names);
    return got < 0 ? -1 : 0;
}
