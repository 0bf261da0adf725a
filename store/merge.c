/* Neighbouring small chunks of slow routes become large ones, so that a slow route costs neither
 * many rows nor bad compression. */
#include "store/inside.h"

#include "store/chunk.h"

#include <stdlib.h>

/* By then the in-memory tail has let go of a chunk, and so have most sinks. */
#define MERGE_AGE_MS 60000
#define SMALL_BYTES 65536   /* a chunk of more stays as it is */
#define TARGET_BYTES 262144 /* raw bytes of a joined one */
#define CHUNKS_MAX 256      /* in one step */
#define CHUNKS_MIN 16 /* fewer wait for more neighbours, or each would be written many times */

struct part {
    int64_t id;
    struct block *block;
};

struct merge {
    struct part parts[CHUNKS_MAX];
    size_t n;
    size_t bytes, events;
    int64_t before_bytes, last_ms, end_bytes;
    bool closed; /* nothing more can be joined to it: a large one follows, or a hole */
};

static void merge_done(struct merge *m)
{
    for (size_t i = 0; i < m->n; i++)
        block_unref(m->parts[i].block);
    free(m);
}

static bool belongs(const struct merge *m, int64_t id, size_t bytes, size_t events)
{
    if (m->n == 0)
        return true;
    return m->n < CHUNKS_MAX && m->bytes + bytes <= TARGET_BYTES &&
           m->events + events <= BLOCK_EVENTS_MAX && id == m->parts[0].id + (int64_t)m->events;
}

static void add_part(struct merge *m, struct statement *row, struct block *b)
{
    if (m->n == 0)
        m->before_bytes = db_int(row, 5);
    m->parts[m->n++] = (struct part){ db_int(row, 0), b };
    m->bytes += b->bytes;
    m->events += b->count;
    m->last_ms = db_int(row, 6);
    m->end_bytes = db_int(row, 5) + db_int(row, 7);
}

/* The first run of small chunks from r->merge_from on. What cannot be joined is passed for good. */
static int find_run(
    struct store *s, struct known_route *r, int64_t older_ms, struct merge *m, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT id, count, received_ms, raw_bytes, frame, before_bytes, last_ms, stored_bytes"
        " FROM chunk WHERE id >= ?1 AND id < ?2 AND last_ms < ?3 ORDER BY id LIMIT ?4",
        why);
    int got;

    if (!st)
        return -1;
    if (r->merge_from == 0)
        r->merge_from = CHUNK_ID(r->id, 0);
    db_bind_int(st, 1, r->merge_from);
    db_bind_int(st, 2, CHUNK_ID(r->id + 1, 0));
    db_bind_int(st, 3, older_ms);
    db_bind_int(st, 4, CHUNKS_MAX + 1);
    while ((got = db_step(st, why)) == 1 && !m->closed) {
        int64_t id = db_int(st, 0), count = db_int(st, 1), raw = db_int(st, 3);
        struct fault damage;
        struct block *b;

        /* A damaged chunk stays where it is: whoever reads it is told. */
        if (raw < SMALL_BYTES && belongs(m, id, (size_t)raw, (size_t)count) &&
            read_chunk(st, &b, &damage) == 0)
            add_part(m, st, b);
        else if (m->n > 0)
            m->closed = true;
        else
            r->merge_from = id + count;
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int join(const struct merge *m, struct block **ret, struct fault *why)
{
    const struct block *first = m->parts[0].block;
    size_t bytes = 0, at = 0, room = m->bytes + m->events * 10;
    uint8_t *data = malloc(room);

    if (!data) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory for a chunk of %zu bytes", room);
        return -1;
    }
    for (size_t i = 0; i < m->n; i++) {
        const struct block *b = m->parts[i].block;

        for (uint32_t k = 0; k < b->count; k++, at++) {
            struct event e;

            block_event(b, k, &e);
            bytes +=
                chunk_event_put(data + bytes, &e, (uint64_t)(e.received_ms - first->received_ms));
        }
    }
    if (block_from_data(first->route_id, first->first_seq, first->received_ms, (uint32_t)at, data,
            bytes, ret, why) == 0)
        return 0;
    free(data);
    return -1;
}

static int put_joined(struct store *s, struct known_route *r, const struct merge *m,
    const struct block *b, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "INSERT INTO chunk (id, count, received_ms, last_ms, raw_bytes, before_bytes, stored_bytes,"
        " filter, frame) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        why);
    struct buf frame, filter;
    int result = -1;

    buf_init(&frame, CHUNK_BYTES_MAX);
    buf_init(&filter, CHUNK_BYTES_MAX);
    chunk_filter(b, &filter);
    if (st && writer_frame(s, r, b, &frame, why) == 0) {
        db_bind_int(st, 1, m->parts[0].id);
        db_bind_int(st, 2, b->count);
        db_bind_int(st, 3, b->received_ms);
        db_bind_int(st, 4, m->last_ms);
        db_bind_int(st, 5, (int64_t)b->bytes);
        /* Moved up, so that the chunks after it keep their sums: what was saved counts as gone. */
        db_bind_int(st, 6, m->end_bytes - (int64_t)(frame.n + filter.n));
        db_bind_int(st, 7, (int64_t)(frame.n + filter.n));
        db_bind_bytes(st, 8, buf_bytes(&filter));
        db_bind_bytes(st, 9, buf_bytes(&frame));
        result = db_run(st, why);
    }
    buf_done(&frame);
    buf_done(&filter);
    return result;
}

static int replace(struct store *s, struct known_route *r, const struct merge *m,
    const struct block *b, struct fault *why)
{
    struct statement *st = db_prepare(s->db, "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2", why);

    if (!st || db_exec(s->db, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    db_bind_int(st, 1, m->parts[0].id);
    db_bind_int(st, 2, m->parts[m->n - 1].id);
    if (db_run(st, why) == 0 && put_joined(s, r, m, b, why) == 0 &&
        db_exec(s->db, "COMMIT", why) == 0)
        return 0;
    (void)db_exec(s->db, "ROLLBACK", NULL);
    return -1;
}

/* Where chunks begin that can have what is learnt now. Without it, those after all others. */
static uint64_t next_seq(struct store *s, uint64_t route_id)
{
    struct statement *st = db_prepare(
        s->db, "SELECT id, count FROM chunk WHERE id < ?1 ORDER BY id DESC LIMIT 1", NULL);
    uint64_t next = ((uint64_t)1 << CHUNK_SEQ_BITS) - 1;

    if (!st)
        return next;
    db_bind_int(st, 1, CHUNK_ID(route_id + 1, 0));
    if (db_step(st, NULL) == 1 && CHUNK_ROUTE(db_int(st, 0)) == route_id)
        next = CHUNK_SEQ(db_int(st, 0)) + (uint64_t)db_int(st, 1);
    db_reset(st);
    return next;
}

int merge_step(struct store *s, struct known_route *r, int64_t unix_ms, struct fault *why)
{
    struct merge *m = calloc(1, sizeof *m);
    struct block *b = NULL;
    bool joins;
    int result;

    if (!m)
        return 0; /* another time */
    result = find_run(s, r, unix_ms - MERGE_AGE_MS, m, why);
    joins = result == 0 && m->n > 1 && (m->closed || m->n >= CHUNKS_MIN);
    if (joins) {
        result = join(m, &b, why);
        if (result == 0)
            result = replace(s, r, m, b, why);
        if (result == 0)
            result = dictionary_learn(s->db, b, next_seq(s, r->id), unix_ms, &r->dictionary, why);
    }
    /* A run that may grow is begun with again; the joined one may be its first part. */
    if (result == 0 && m->closed)
        r->merge_from = m->parts[0].id + (int64_t)m->events;
    if (result == 0 && joins && m->closed)
        result = 1;
    block_unref(b);
    merge_done(m);
    return result;
}
