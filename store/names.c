/* Routes and sinks by name, and what is loaded for them at start: blocking, on the writer's
 * connection while it is idle. */
#include "store/inside.h"

#include "store/chunk.h"

#include <stdio.h>
#include <stdlib.h>

/* The id under `name`, or under `was` after renaming it; 0 none, -1 fault. owner 0: a route. */
static int64_t find_name(
    struct store *s, uint64_t owner, const char *name, const char *was, struct fault *why)
{
    const char *const names[] = { name, was };

    for (int i = 0; i < 2 && names[i]; i++) {
        struct statement *st =
            owner ? db_prepare(s->db, "SELECT id FROM sink WHERE name = ?1 AND route_id = ?2", why)
                  : db_prepare(s->db, "SELECT id FROM route WHERE name = ?1", why);
        int64_t id = 0;
        int got;

        if (!st)
            return -1;
        db_bind_text(st, 1, names[i]);
        if (owner)
            db_bind_int(st, 2, (int64_t)owner);
        got = db_step(st, why);
        if (got == 1)
            id = db_int(st, 0);
        db_reset(st);
        if (got < 0)
            return -1;
        if (id == 0)
            continue;
        if (i == 0)
            return id;
        st = owner ? db_prepare(s->db, "UPDATE sink SET name = ?1 WHERE id = ?2", why)
                   : db_prepare(s->db, "UPDATE route SET name = ?1 WHERE id = ?2", why);
        if (!st)
            return -1;
        db_bind_text(st, 1, name);
        db_bind_int(st, 2, id);
        return db_run(st, why) == 0 ? id : -1;
    }
    return 0;
}

int store_route_seqs(struct store *s, struct store_route *r, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT (SELECT id FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1), id, count,"
        " last_ms FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
        why);
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, CHUNK_ID(r->id, 0));
    db_bind_int(st, 2, CHUNK_ID(r->id + 1, 0));
    got = db_step(st, why);
    if (got == 1) {
        r->first_seq = CHUNK_SEQ(db_int(st, 0));
        r->next_seq = CHUNK_SEQ(db_int(st, 1)) + (uint64_t)db_int(st, 2);
        r->last_received_ms = db_int(st, 3);
    }
    db_reset(st);
    if (got != 0)
        return got < 0 ? -1 : 0;
    /* No chunk is left of it: the place of the next event stands with the route. */
    st = db_prepare(s->db,
        "SELECT value, (SELECT value FROM meta WHERE name = 'last_ms.' || ?1) FROM meta"
        " WHERE name = 'next_seq.' || ?1",
        why);
    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)r->id);
    got = db_step(st, why);
    r->next_seq = got == 1 ? (uint64_t)db_int(st, 0) : 1;
    r->last_received_ms = got == 1 ? db_int(st, 1) : 0;
    r->first_seq = r->next_seq;
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int open_route(
    struct store *s, const char *name, const char *was, struct store_route *ret, struct fault *why)
{
    int64_t id = find_name(s, 0, name, was, why);
    struct statement *st;

    *ret = (struct store_route){ 0 };
    if (id < 0)
        return -1;
    if (id == 0) {
        st = db_prepare(s->db, "INSERT INTO route (name) VALUES (?1)", why);
        if (!st)
            return -1;
        db_bind_text(st, 1, name);
        if (db_run(st, why) != 0)
            return -1;
        id = db_last_id(s->db);
    }
    ret->id = (uint64_t)id;
    return store_route_seqs(s, ret, why);
}

int store_route_open(
    struct store *s, const char *name, const char *was, struct store_route *ret, struct fault *why)
{
    int result;

    store_db_lock(s);
    result = open_route(s, name, was, ret, why);
    store_db_unlock(s);
    return result;
}

static int begin_seq(struct store *s, uint64_t route_id, enum store_begin begin, int64_t begin_ms,
    uint64_t *ret, struct fault *why)
{
    struct store_route route = { .id = route_id };
    struct block *b = NULL;
    struct statement *st;
    int got;

    if (store_route_seqs(s, &route, why) != 0)
        return -1;
    *ret = begin == STORE_BEGIN_OLDEST ? route.first_seq : route.next_seq;
    if (begin != STORE_BEGIN_TIME)
        return 0;
    st = db_prepare(s->db,
        "SELECT id, count, received_ms, raw_bytes, frame FROM chunk WHERE id >= ?1 AND id < ?2 AND"
        " last_ms >= ?3 ORDER BY id LIMIT 1",
        why);
    if (!st)
        return -1;
    db_bind_int(st, 1, CHUNK_ID(route_id, 0));
    db_bind_int(st, 2, CHUNK_ID(route_id + 1, 0));
    db_bind_int(st, 3, begin_ms);
    got = db_step(st, why);
    if (got == 1 && read_chunk(st, &b, why) != 0)
        got = -1;
    db_reset(st);
    for (uint32_t i = 0; b && i < b->count; i++) {
        struct event e;

        block_event(b, i, &e);
        *ret = e.seq;
        if (e.received_ms >= begin_ms)
            break;
    }
    block_unref(b);
    return got < 0 ? -1 : 0;
}

static int make_sink(
    struct store *s, uint64_t route_id, const char *name, uint64_t begin, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "INSERT INTO sink (route_id, name, begin_seq, frontier) VALUES (?1, ?2, ?3, ?3)", why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_text(st, 2, name);
    db_bind_int(st, 3, (int64_t)begin);
    return db_run(st, why);
}

static int load_sink(struct store *s, int64_t id, struct store_sink *ret, struct fault *why)
{
    struct store_counts *c = &ret->counts;
    struct statement *st = db_prepare(s->db,
        "SELECT begin_seq, frontier, above, accepted, delivered, held, dead, dropped_filter, "
        "dropped_loop,"
        " dropped_person, dropped_discard, diverted, reordered, retries,"
        " (SELECT coalesce(sum(length(event)), 0) FROM held WHERE sink_id = ?1 AND state IN (1, 2))"
        " FROM sink WHERE id = ?1",
        why);
    int result = 0;

    if (!st)
        return -1;
    db_bind_int(st, 1, id);
    if (db_step(st, why) != 1)
        return -1;
    ret->id = (uint64_t)id;
    ret->begin_seq = (uint64_t)db_int(st, 0);
    ret->frontier = (uint64_t)db_int(st, 1);
    if (ranges_decode(db_bytes(st, 2), &ret->above) != 0)
        result = fault_set(
            why, FAULT_BROKEN, 0, "store: the cursor of sink %lld is damaged", (long long)id);
    c->accepted = (uint64_t)db_int(st, 3);
    c->delivered = (uint64_t)db_int(st, 4);
    c->held = (uint64_t)db_int(st, 5);
    c->dead = (uint64_t)db_int(st, 6);
    c->dropped_filter = (uint64_t)db_int(st, 7);
    c->dropped_loop = (uint64_t)db_int(st, 8);
    c->dropped_person = (uint64_t)db_int(st, 9);
    c->dropped_discard = (uint64_t)db_int(st, 10);
    c->diverted = (uint64_t)db_int(st, 11);
    c->reordered = (uint64_t)db_int(st, 12);
    c->retries = (uint64_t)db_int(st, 13);
    ret->held_bytes = db_int(st, 14);
    db_reset(st);
    return result;
}

static int open_sink(struct store *s, uint64_t route_id, const char *name, const char *was,
    enum store_begin begin, int64_t begin_ms, struct store_sink *ret, struct fault *why)
{
    int64_t id = find_name(s, route_id, name, was, why);
    uint64_t from;

    *ret = (struct store_sink){ 0 };
    if (id < 0)
        return -1;
    if (id == 0) {
        if (begin_seq(s, route_id, begin, begin_ms, &from, why) != 0 ||
            make_sink(s, route_id, name, from, why) != 0)
            return -1;
        id = db_last_id(s->db);
    }
    return load_sink(s, id, ret, why);
}

int store_sink_open(struct store *s, uint64_t route_id, const char *name, const char *was,
    enum store_begin begin, int64_t begin_ms, struct store_sink *ret, struct fault *why)
{
    int result;

    store_db_lock(s);
    result = open_sink(s, route_id, name, was, begin, begin_ms, ret, why);
    store_db_unlock(s);
    return result;
}

int store_sink_fallback(struct store *s, uint64_t sink_id, bool fallback, struct fault *why)
{
    struct statement *st;
    int result = -1;

    store_db_lock(s);
    st = db_prepare(s->db, "UPDATE sink SET fallback = ?2 WHERE id = ?1 AND fallback <> ?2", why);
    if (st) {
        db_bind_int(st, 1, (int64_t)sink_id);
        db_bind_int(st, 2, fallback);
        result = db_run(st, why);
    }
    store_db_unlock(s);
    return result;
}

void store_route_retain(struct store *s, uint64_t route_id, int64_t age_ms, int64_t bytes)
{
    struct known_route *r;

    store_db_lock(s);
    r = writer_route(s, route_id);
    if (r) {
        r->retain_age_ms = age_ms;
        r->retain_bytes = bytes;
    }
    store_db_unlock(s);
}

/* ---- positions ---- */

void store_positions_free(struct store_position *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(at[i].name);
        free((void *)(uintptr_t)at[i].value.at);
    }
    free(at);
}

static int copy_position(struct statement *st, struct store_position *p)
{
    struct bytes name = db_bytes(st, 0), value = db_bytes(st, 1);
    uint8_t *copy = malloc(value.n + 1);

    p->name = strndup((const char *)name.at, name.n);
    if (copy)
        memcpy(copy, value.at, value.n);
    p->value = copy ? bytes_of(copy, value.n) : BYTES_NONE;
    return p->name && copy ? 0 : -1;
}

int store_positions(struct store *s, uint64_t route_id, const char *connection,
    struct store_position **ret, size_t *count, struct fault *why)
{
    struct statement *st;
    int got = -1;

    *ret = NULL;
    *count = 0;
    store_db_lock(s);
    st = db_prepare(s->db,
        "SELECT name, value FROM position WHERE route_id = ?1 AND connection = ?2 ORDER BY name",
        why);
    if (st) {
        db_bind_int(st, 1, (int64_t)route_id);
        db_bind_text(st, 2, connection);
        while ((got = db_step(st, why)) == 1) {
            struct store_position *at = realloc(*ret, (*count + 1) * sizeof *at);

            if (at)
                *ret = at;
            if (!at || copy_position(st, &at[(*count)++]) != 0) {
                got = fault_set(why, FAULT_RETRY, 0, "out of memory");
                break;
            }
        }
        db_reset(st);
    }
    store_db_unlock(s);
    return got < 0 ? -1 : 0;
}

/* ---- held, pauses, jobs ---- */

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

int store_held_load(struct store *s, uint64_t sink_id,
    void (*each)(void *arg, const struct held *h, size_t bytes), void *arg, struct fault *why)
{
    struct statement *st;
    int got = -1;

    store_db_lock(s);
    st = db_prepare(s->db,
        "SELECT number, route_id, seq, job, state, reason, code, text, attempts, generation, "
        "due_in_ms,"
        " expires_in_ms, first_sent_ms, unsure, changed_ms, order_key, length(event) FROM held"
        " WHERE sink_id = ?1 AND state IN (1, 2, 4) ORDER BY job, seq",
        why);
    if (st) {
        db_bind_int(st, 1, (int64_t)sink_id);
        while ((got = db_step(st, why)) == 1) {
            struct held h = {
                .number = (uint64_t)db_int(st, 0),
                .route_id = (uint64_t)db_int(st, 1),
                .sink_id = sink_id,
                .seq = (uint64_t)db_int(st, 2),
                .job = (uint64_t)db_int(st, 3),
                .state = (enum held_state)db_int(st, 4),
                .reason = (enum held_reason)db_int(st, 5),
                .code = (int32_t)db_int(st, 6),
                .text = db_text(st, 7),
                .attempts = (uint32_t)db_int(st, 8),
                .generation = (uint64_t)db_int(st, 9),
                .due_in_ms = clamp(db_int(st, 10), 0, 3600000),
                .expires_in_ms = db_int(st, 11),
                .first_sent_ms = db_int(st, 12),
                .unsure = db_int(st, 13) != 0,
                .changed_ms = db_int(st, 14),
                .order_key = db_bytes(st, 15),
            };

            each(arg, &h, (size_t)db_int(st, 16));
        }
        db_reset(st);
    }
    store_db_unlock(s);
    return got < 0 ? -1 : 0;
}

int store_pauses(struct store *s, struct store_pause **ret, size_t *count, struct fault *why)
{
    struct statement *st;
    int got = -1;

    *ret = NULL;
    *count = 0;
    store_db_lock(s);
    st = db_prepare(s->db, "SELECT route_id, sink_id, since_ms, who FROM pause ORDER BY 1, 2", why);
    while (st && (got = db_step(st, why)) == 1) {
        struct store_pause *at = realloc(*ret, (*count + 1) * sizeof *at);

        if (!at) {
            got = fault_set(why, FAULT_RETRY, 0, "out of memory");
            break;
        }
        *ret = at;
        at = &at[(*count)++];
        *at = (struct store_pause){ (uint64_t)db_int(st, 0), (uint64_t)db_int(st, 1), db_int(st, 2),
            "" };
        (void)snprintf(at->who, sizeof at->who, "%s", db_text(st, 3));
    }
    if (st)
        db_reset(st);
    store_db_unlock(s);
    return got < 0 ? -1 : 0;
}

void store_job_done(struct store_job *j)
{
    for (size_t i = 0; i < j->leg_count; i++) {
        ranges_done(&j->legs[i].set);
        ranges_done(&j->legs[i].above);
    }
    free(j->legs);
    free(j->selection);
    *j = (struct store_job){ 0 };
}

static int get_ranges(struct bytes *from, struct ranges *ret)
{
    struct bytes part;
    uint64_t n;

    if (bytes_get_varint(from, &n) != 0 || n > from->n || bytes_get(from, (size_t)n, &part) != 0)
        return -1;
    return ranges_decode(part, ret);
}

int job_legs_decode(struct bytes from, struct store_job *j)
{
    uint64_t count;

    if (bytes_get_varint(&from, &count) != 0 || count > from.n)
        return -1;
    j->legs = calloc(count ? (size_t)count : 1, sizeof *j->legs);
    if (!j->legs)
        return -1;
    for (; j->leg_count < count; j->leg_count++) {
        struct store_leg *l = &j->legs[j->leg_count];

        if (bytes_get_varint(&from, &l->route_id) != 0 ||
            bytes_get_varint(&from, &l->sink_id) != 0 ||
            bytes_get_varint(&from, &l->frontier) != 0 ||
            bytes_get_varint(&from, &l->selected) != 0 ||
            bytes_get_varint(&from, &l->delivered) != 0 || bytes_get_varint(&from, &l->dead) != 0 ||
            bytes_get_varint(&from, &l->dropped) != 0 || get_ranges(&from, &l->set) != 0 ||
            get_ranges(&from, &l->above) != 0)
            return -1;
    }
    return 0;
}

static int load_job(struct statement *st, struct store_job *j, struct fault *why)
{
    *j = (struct store_job){
        .number = (uint64_t)db_int(st, 0),
        .state = (enum job_state)db_int(st, 1),
        .created_ms = db_int(st, 2),
        .changed_ms = db_int(st, 3),
        .expires_ms = db_int(st, 4),
        .generation = (uint64_t)db_int(st, 5),
        .rate = db_int(st, 6),
        .raw = db_int(st, 7) != 0,
        .uid = db_int(st, 8),
        .digest = (uint64_t)db_int(st, 9),
        .bytes = db_int(st, 10),
        .selection = strdup(db_text(st, 11) ? db_text(st, 11) : ""),
    };
    if (j->selection && job_legs_decode(db_bytes(st, 12), j) == 0)
        return 0;
    (void)fault_set(
        why, FAULT_BROKEN, 0, "store: replay %llu is damaged", (unsigned long long)j->number);
    store_job_done(j);
    return -1;
}

int jobs_load(struct db *db, struct store_job **ret, size_t *count, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT number, state, created_ms, changed_ms, expires_ms, generation, rate, raw, uid, "
        "digest,"
        " bytes, selection, legs FROM job WHERE state IN (1, 2, 3) ORDER BY number",
        why);
    int got = -1;

    *ret = NULL;
    *count = 0;
    while (st && (got = db_step(st, why)) == 1) {
        struct store_job *at = realloc(*ret, (*count + 1) * sizeof *at);

        if (!at) {
            got = fault_set(why, FAULT_RETRY, 0, "out of memory");
            break;
        }
        *ret = at;
        if (load_job(st, &at[*count], why) != 0) {
            got = -1;
            break;
        }
        ++*count;
    }
    if (st)
        db_reset(st);
    return got < 0 ? -1 : 0;
}

int store_jobs_load(struct store *s, struct store_job **ret, size_t *count, struct fault *why)
{
    int result;

    store_db_lock(s);
    result = jobs_load(s->db, ret, count, why);
    store_db_unlock(s);
    return result;
}
