/* The reader pool: all reads of the file and all decompression, off the loop. */
#include "store/inside.h"

#include "store/chunk.h"
#include "store/dictionary.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct question *question_take(struct questions *from)
{
    struct question *q = from->first;

    if (q) {
        from->first = q->next;
        if (!from->first)
            from->last = NULL;
        q->next = NULL;
    }
    return q;
}

void question_put(struct questions *to, struct question *q)
{
    q->next = NULL;
    if (to->last)
        to->last->next = q;
    else
        to->first = q;
    to->last = q;
}

void question_free(struct question *q)
{
    if (!q)
        return;
    store_read_done(&q->read);
    query_answer_done(&q->answer);
    free(q->numbers);
    free(q->ids);
    selection_done(&q->query.where);
    free((void *)(uintptr_t)q->query.reason);
    free((void *)(uintptr_t)q->query.text);
    free(q);
}

void store_read_done(struct store_read *r)
{
    for (size_t i = 0; i < r->count && r->blocks; i++)
        block_unref(r->blocks[i]);
    free(r->blocks);
    free(r->found);
    r->found = NULL;
    r->blocks = NULL;
    r->count = 0;
}

/* ---- asking: loop thread ---- */

static void ask(struct store *s, struct question *q)
{
    (void)pthread_mutex_lock(&s->mutex);
    question_put(q->for_sink ? &s->asked_by_sinks : &s->asked, q);
    (void)pthread_cond_broadcast(&s->reader_wake);
    (void)pthread_mutex_unlock(&s->mutex);
}

/* NULL: no memory. */
static struct question *question_open(enum store_read_kind kind, uint64_t tag)
{
    struct question *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    q->read.kind = kind;
    q->read.tag = tag;
    return q;
}

int store_read_blocks(struct store *s, uint64_t tag, uint64_t route_id, uint64_t from_seq,
    size_t max_bytes, bool for_sink)
{
    struct question *q = question_open(STORE_READ_BLOCKS, tag);

    if (!q)
        return -1;
    q->route_id = route_id;
    q->from_seq = from_seq;
    q->max_bytes = max_bytes;
    q->for_sink = for_sink;
    ask(s, q);
    return 0;
}

int store_read_held(struct store *s, uint64_t tag, const uint64_t *numbers, size_t count)
{
    struct question *q = question_open(STORE_READ_HELD, tag);

    if (q)
        q->numbers = calloc(count ? count : 1, sizeof *q->numbers);
    if (!q || !q->numbers) {
        question_free(q);
        return -1;
    }
    q->number_count = count;
    if (count)
        memcpy(q->numbers, numbers, count * sizeof *numbers);
    q->for_sink = true;
    ask(s, q);
    return 0;
}

int store_read_ids(
    struct store *s, uint64_t tag, uint64_t route_id, const struct bytes *ids, size_t count)
{
    struct question *q = question_open(STORE_READ_IDS, tag);
    size_t bytes = 0;
    uint8_t *to;

    for (size_t i = 0; i < count; i++)
        bytes += ids[i].n;
    if (q)
        q->ids = malloc(count * sizeof *ids + bytes + 1);
    if (!q || !q->ids) {
        question_free(q);
        return -1;
    }
    q->route_id = route_id;
    q->number_count = count;
    to = (uint8_t *)(q->ids + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(to, ids[i].at, ids[i].n);
        q->ids[i] = bytes_of(to, ids[i].n);
        to += ids[i].n;
    }
    ask(s, q);
    return 0;
}

int store_read_backlog(struct store *s, uint64_t tag, uint64_t route_id, uint64_t from_seq)
{
    struct question *q = question_open(STORE_READ_BACKLOG, tag);

    if (!q)
        return -1;
    q->route_id = route_id;
    q->from_seq = from_seq;
    ask(s, q);
    return 0;
}

static bool copy_text(const char *from, const char **to)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

int store_query(struct store *s, uint64_t tag, const struct query_spec *spec)
{
    struct question *q = question_open(STORE_READ_NONE, tag);
    bool whole;

    if (!q)
        return -1;
    q->is_query = true;
    q->answer.tag = tag;
    q->query = *spec;
    /* All of them, so that what is not there is not freed. */
    whole = selection_copy(&spec->where, &q->query.where) == 0;
    whole &= copy_text(spec->reason, &q->query.reason);
    whole &= copy_text(spec->text, &q->query.text);
    if (!whole) {
        question_free(q);
        return -1;
    }
    ask(s, q);
    return 0;
}

bool store_read_next(struct store *s, struct store_read *ret)
{
    struct question *q = question_take(&s->taken_reads);

    if (!q)
        return false;
    *ret = q->read;
    q->read = (struct store_read){ 0 };
    question_free(q);
    return true;
}

bool store_query_next(struct store *s, struct query_answer *ret)
{
    struct question *q = question_take(&s->taken_queries);

    if (!q)
        return false;
    *ret = q->answer;
    q->answer = (struct query_answer){ 0 };
    question_free(q);
    return true;
}

/* ---- reading: any thread, on its own connection ---- */

int read_chunk(struct statement *row, struct block **ret, struct fault *why)
{
    int64_t id = db_int(row, 0), count = db_int(row, 1);
    struct chunk_dictionary with = { .number = chunk_frame_dictionary(db_bytes(row, 4)) };
    size_t raw = (size_t)db_int(row, 3);
    uint8_t *data = NULL;

    if (with.number && !(with.made = dictionary_to_expand(db_of(row), with.number, why))) {
        /* Named below. */
    } else if (count < 1 || count > BLOCK_EVENTS_MAX) {
        (void)fault_set(why, FAULT_BROKEN, 0, "it says that it has %lld events", (long long)count);
    } else if (chunk_unframe(db_bytes(row, 4), raw, with, &data, why) == 0) {
        if (block_from_data(CHUNK_ROUTE(id), CHUNK_SEQ(id), db_int(row, 2), (uint32_t)count, data,
                raw, ret, why) == 0)
            return 0;
        free(data);
    }
    (void)fault_prefix(why, "chunk of route %llu from %llu on", (unsigned long long)CHUNK_ROUTE(id),
        (unsigned long long)CHUNK_SEQ(id));
    return -1;
}

static int add_block(struct store_read *r, struct block *b)
{
    struct block **blocks = realloc(r->blocks, (r->count + 1) * sizeof(struct block *));

    if (!blocks)
        return -1;
    r->blocks = blocks;
    blocks[r->count++] = b;
    return 0;
}

static int64_t first_chunk(struct db *db, uint64_t route_id, uint64_t seq, struct fault *why)
{
    struct statement *st = db_prepare(
        db, "SELECT id, count FROM chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1", why);
    int64_t id = CHUNK_ID(route_id, seq);
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, CHUNK_ID(route_id, 0));
    db_bind_int(st, 2, id);
    got = db_step(st, why);
    if (got == 1 && db_int(st, 0) + db_int(st, 1) > id)
        id = db_int(st, 0);
    db_reset(st);
    return got < 0 ? -1 : id;
}

static int work_blocks(struct db *db, struct question *q, struct fault *why)
{
    int64_t id = first_chunk(db, q->route_id, q->from_seq, why);
    struct statement *st = db_prepare(db,
        "SELECT id, count, received_ms, raw_bytes, frame FROM chunk WHERE id >= ?1 AND id < ?2 "
        "ORDER BY id",
        why);
    size_t bytes = 0;
    int got = -1;

    if (id < 0 || !st)
        return -1;
    db_bind_int(st, 1, id);
    db_bind_int(st, 2, CHUNK_ID(q->route_id + 1, 0));
    while ((bytes < q->max_bytes || q->read.count == 0) && (got = db_step(st, why)) == 1) {
        struct block *b = NULL;

        if (read_chunk(st, &b, why) != 0 || !b) {
            got = q->read.count ? 0 : -1; /* first hand over what stands before the damage */
            break;
        }
        bytes += b->bytes;
        if (add_block(&q->read, b) != 0) {
            block_unref(b);
            got = fault_set(why, FAULT_RETRY, 0, "out of memory");
            break;
        }
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int read_held_row(struct statement *st, struct block **ret, struct fault *why)
{
    struct bytes event = bytes_present(db_bytes(st, 3)) ? db_bytes(st, 3) : db_bytes(st, 2);
    uint8_t *data = malloc(event.n ? event.n : 1);

    if (!data)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    memcpy(data, event.at, event.n);
    if (block_from_data((uint64_t)db_int(st, 0), (uint64_t)db_int(st, 1), db_int(st, 4), 1, data,
            event.n, ret, why) == 0)
        return 0;
    free(data);
    return -1;
}

static int work_held(struct db *db, struct question *q, struct fault *why)
{
    struct statement *st = db_prepare(
        db, "SELECT route_id, seq, event, edited, received_ms FROM held WHERE number = ?1", why);

    if (!st)
        return -1;
    for (size_t i = 0; i < q->number_count; i++) {
        struct block *b = NULL;
        int got;

        db_bind_int(st, 1, (int64_t)q->numbers[i]);
        got = db_step(st, why);
        if (got == 1 && read_held_row(st, &b, why) != 0 && why->kind == FAULT_RETRY)
            got = -1;
        db_reset(st);
        if (got < 0 || add_block(&q->read, b) != 0) {
            block_unref(b);
            return -1;
        }
    }
    return 0;
}

static int work_backlog(struct db *db, struct question *q, struct fault *why)
{
    int64_t id = first_chunk(db, q->route_id, q->from_seq, why);
    struct statement *st = db_prepare(db,
        "SELECT (SELECT before_bytes + stored_bytes FROM chunk WHERE id < ?2 ORDER BY id DESC "
        "LIMIT 1)"
        " - (SELECT before_bytes FROM chunk WHERE id >= ?1 ORDER BY id LIMIT 1)"
        " WHERE EXISTS (SELECT 1 FROM chunk WHERE id >= ?1 AND id < ?2)",
        why);
    int got;

    if (id < 0 || !st)
        return -1;
    db_bind_int(st, 1, id);
    db_bind_int(st, 2, CHUNK_ID(q->route_id + 1, 0));
    got = db_step(st, why);
    if (got == 1)
        q->read.backlog_bytes = db_int(st, 0);
    db_reset(st);
    return got < 0 ? -1 : 0;
}

/* Marks what one chunk has; returns how many were new. */
static size_t find_ids(const struct block *b, const struct question *q)
{
    size_t n = 0;

    for (uint32_t e = 0; e < b->count; e++) {
        struct event event;

        block_event(b, e, &event);
        for (size_t i = 0; i < q->number_count && bytes_present(event.id); i++) {
            if (q->read.found[i] || !bytes_equal(event.id, q->ids[i]))
                continue;
            q->read.found[i] = true;
            n++;
        }
    }
    return n;
}

static bool may_have(const struct question *q, struct bytes filter)
{
    for (size_t i = 0; i < q->number_count; i++)
        if (!q->read.found[i] && chunk_filter_may(filter, chunk_hash_id(q->ids[i])))
            return true;
    return false;
}

static int work_ids(struct db *db, struct question *q, struct fault *why)
{
    struct statement *st = db_prepare(db,
        "SELECT id, count, received_ms, raw_bytes, frame, " CHUNK_FILTER_USABLE " FROM chunk"
        " WHERE id >= ?1 AND id < ?2 ORDER BY id DESC",
        why);
    size_t left = q->number_count;
    int got = 0;

    q->read.found = calloc(left ? left : 1, sizeof *q->read.found);
    if (!q->ids || !q->read.found)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (!st)
        return -1;
    db_bind_int(st, 1, CHUNK_ID(q->route_id, 0));
    db_bind_int(st, 2, CHUNK_ID(q->route_id + 1, 0));
    while (left && (got = db_step(st, why)) == 1) {
        struct block *b = NULL;

        if (!may_have(q, db_bytes(st, 5)))
            continue;
        if (read_chunk(st, &b, why) != 0 || !b) {
            got = -1;
            break;
        }
        left -= find_ids(b, q);
        block_unref(b);
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int64_t monotonic_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void reader_work(struct store *s, struct db *db, struct question *q)
{
    int result = 0;

    (void)s;
    if (q->is_query) {
        db_deadline(db, q->query.deadline_ms ? monotonic_ms() + q->query.deadline_ms : 0);
        query_run(db, &q->query, &q->answer);
        db_deadline(db, 0);
        return;
    }
    switch (q->read.kind) {
    case STORE_READ_BLOCKS:
        result = work_blocks(db, q, &q->read.why);
        break;
    case STORE_READ_HELD:
        result = work_held(db, q, &q->read.why);
        break;
    case STORE_READ_IDS:
        result = work_ids(db, q, &q->read.why);
        break;
    default:
        result = work_backlog(db, q, &q->read.why);
        break;
    }
    q->read.failed = result != 0;
}

static struct question *next_question(struct reader *r)
{
    struct store *s = r->store;

    for (;;) {
        struct question *q = NULL;

        if (s->stop)
            return NULL;
        if (!r->for_sinks)
            q = question_take(&s->asked);
        if (!q)
            q = question_take(&s->asked_by_sinks);
        if (q)
            return q;
        (void)pthread_cond_wait(&s->reader_wake, &s->mutex);
    }
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct store *s = r->store;
    struct question *q;

    (void)pthread_setname_np(pthread_self(), r->for_sinks ? "store-feeder" : "store-reader");
    (void)pthread_mutex_lock(&s->mutex);
    while ((q = next_question(r)) != NULL) {
        (void)pthread_mutex_unlock(&s->mutex);
        reader_work(s, r->db, q);
        (void)pthread_mutex_lock(&s->mutex);
        question_put(&s->answered, q);
        store_signal(s);
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return NULL;
}

int readers_start(struct store *s, struct fault *why)
{
    size_t n = s->spec.readers < 2 ? 2 : s->spec.readers;

    if (s->spec.inline_io)
        return 0;
    s->reader_n = n < READERS_MAX ? n : READERS_MAX;
    for (size_t i = 0; i < s->reader_n; i++) {
        struct reader *r = &s->readers[i];

        r->store = s;
        r->for_sinks = i == 0;
        if (db_open(s->path, DB_READ, s->spec.vfs, &r->db, why) != 0)
            return -1;
        if (pthread_create(&r->thread, NULL, reader_main, r) != 0)
            return fault_set(why, FAULT_RETRY, 0, "store: cannot start a reader thread");
        r->started = true;
    }
    return 0;
}

static void questions_free(struct questions *q)
{
    struct question *at;

    while ((at = question_take(q)) != NULL)
        question_free(at);
}

void readers_stop(struct store *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->stop = true;
    (void)pthread_cond_broadcast(&s->reader_wake);
    (void)pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < s->reader_n; i++) {
        if (s->readers[i].started) {
            db_interrupt(s->readers[i].db);
            (void)pthread_join(s->readers[i].thread, NULL);
        }
        db_close(s->readers[i].db);
    }
    questions_free(&s->asked);
    questions_free(&s->asked_by_sinks);
    questions_free(&s->answered);
    questions_free(&s->taken_reads);
    questions_free(&s->taken_queries);
}
