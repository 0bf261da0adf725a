/* The filling transaction: what the loop puts, kept as plain ops until the writer does them. */
#include "store/inside.h"

#include "store/chunk.h"

#include <stdlib.h>

struct txn *txn_open(void)
{
    struct txn *t = calloc(1, sizeof *t);

    if (t)
        buf_init(&t->bytes, SIZE_MAX / 2);
    return t;
}

void txn_free(struct txn *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->ops[i].kind == OP_APPEND)
            block_unref(t->ops[i].block);
    free(t->ops);
    buf_done(&t->bytes);
    free(t);
}

struct bytes txn_bytes(const struct txn *t, struct run r)
{
    return r.n == SIZE_MAX ? BYTES_NONE : bytes_of(t->bytes.at + r.at, r.n);
}

const char *txn_text(const struct txn *t, struct run r)
{
    return r.n == SIZE_MAX ? NULL : (const char *)t->bytes.at + r.at;
}

static struct run put_run(struct txn *t, struct bytes b)
{
    struct run r = { t->bytes.n, bytes_present(b) ? b.n : SIZE_MAX };

    buf_put_bytes(&t->bytes, b);
    t->failed = t->failed || t->bytes.failed;
    return r;
}

static struct run put_text(struct txn *t, const char *text)
{
    struct run r = put_run(t, bytes_text(text));

    if (text)
        buf_put_byte(&t->bytes, 0);
    t->failed = t->failed || t->bytes.failed;
    return r;
}

static struct op *put_op(struct store *s, enum op_kind kind, uint64_t route_id, uint64_t sink_id)
{
    static struct op nowhere; /* without memory the transaction fails as a whole at submit */
    struct txn *t = s->filling;

    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 64;
        struct op *ops = realloc(t->ops, capacity * sizeof *ops);

        if (!ops) {
            t->failed = true;
            return &nowhere;
        }
        t->ops = ops;
        t->capacity = capacity;
    }
    t->ops[t->n] = (struct op){ .kind = kind, .route_id = route_id, .sink_id = sink_id };
    t->appends += kind == OP_APPEND || kind == OP_POSITION || kind == OP_GAP;
    return &t->ops[t->n++];
}

void store_append(struct store *s, struct block *b)
{
    put_op(s, OP_APPEND, b->route_id, 0)->block = block_ref(b);
    s->usage.events_appended += b->count;
}

void store_position_put(struct store *s, uint64_t route_id, const char *connection,
    struct bytes name, struct bytes value)
{
    struct op *op = put_op(s, OP_POSITION, route_id, 0);

    op->source.connection = put_text(s->filling, connection);
    op->source.name = put_run(s->filling, name);
    op->source.value = put_run(s->filling, value);
}

void store_gap_put(struct store *s, uint64_t route_id, const char *connection, int64_t start_ms,
    int64_t end_ms, uint64_t count, struct bytes what, struct bytes cause)
{
    struct op *op = put_op(s, OP_GAP, route_id, 0);

    op->source.connection = put_text(s->filling, connection);
    op->source.name = put_run(s->filling, what);
    op->source.cause = put_run(s->filling, cause);
    op->source.start_ms = start_ms;
    op->source.end_ms = end_ms;
    op->source.count = count;
}

void store_cursor_put(struct store *s, uint64_t sink_id, uint64_t frontier,
    const struct ranges *above, const struct store_counts *counts)
{
    struct op *op = put_op(s, OP_CURSOR, 0, sink_id);
    struct txn *t = s->filling;
    size_t at = t->bytes.n;

    ranges_encode(above, &t->bytes);
    t->failed = t->failed || t->bytes.failed;
    op->cursor.above = (struct run){ at, t->bytes.n - at };
    op->cursor.frontier = frontier;
    op->cursor.counts = *counts;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

void store_outcome_put(
    struct store *s, uint64_t sink_id, enum outcome what, const uint64_t *seqs, size_t count)
{
    struct op *op = put_op(s, OP_OUTCOME, 0, sink_id);
    struct txn *t = s->filling;
    struct ranges set = { 0 };
    uint64_t *sorted = malloc((count ? count : 1) * sizeof *sorted);
    size_t at = t->bytes.n;

    if (!sorted) {
        t->failed = true;
        return;
    }
    memcpy(sorted, seqs, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    for (size_t i = 0; i < count; i++)
        if (ranges_add(&set, sorted[i], sorted[i]) != 0)
            t->failed = true;
    ranges_encode(&set, &t->bytes);
    t->failed = t->failed || t->bytes.failed;
    op->outcome.what = what;
    op->outcome.first = count ? sorted[0] : 0;
    op->outcome.last = count ? sorted[count - 1] : 0;
    op->outcome.seqs = (struct run){ at, t->bytes.n - at };
    ranges_done(&set);
    free(sorted);
}

/* One event, as a chunk of one without compression. */
static struct run put_event(struct txn *t, const struct event *e)
{
    struct run r = { t->bytes.n, SIZE_MAX };
    uint8_t *at;

    if (!e)
        return r;
    at = buf_reserve(&t->bytes, chunk_event_bytes(e));
    if (!at) {
        t->failed = true;
        return r;
    }
    r.n = chunk_event_put(at, e, 0);
    t->bytes.n += r.n;
    return r;
}

void store_held_put(struct store *s, const struct held *h, const struct event *event)
{
    struct op *op = put_op(s, OP_HELD, h->route_id, h->sink_id);
    struct txn *t = s->filling;

    op->held.row = *h;
    op->held.text = put_text(t, h->text);
    op->held.order_key = put_run(t, h->order_key);
    op->held.event = put_event(t, event);
    op->held.id = put_run(t, event ? event_id(event) : BYTES_NONE);
    op->held.received_ms = event ? event->received_ms : 0;
}

void store_held_remove(struct store *s, uint64_t number)
{
    put_op(s, OP_HELD_REMOVE, 0, 0)->held.row.number = number;
}

void store_held_edit(struct store *s, uint64_t number, const struct event *edited)
{
    struct op *op = put_op(s, OP_HELD_EDIT, 0, 0);

    op->held.row.number = number;
    op->held.event = put_event(s->filling, edited);
}

void store_attempt_put(struct store *s, const struct attempt *a)
{
    struct op *op = put_op(s, OP_ATTEMPT, 0, a->sink_id);

    op->attempt.row = *a;
    op->attempt.text = put_text(s->filling, a->text);
}

void store_pause_put(struct store *s, uint64_t route_id, uint64_t sink_id, bool paused,
    const char *who, int64_t unix_ms)
{
    struct op *op = put_op(s, OP_PAUSE, route_id, sink_id);

    op->pause.paused = paused;
    op->pause.unix_ms = unix_ms;
    op->pause.who = put_text(s->filling, who);
}

void store_drain_put(struct store *s, uint64_t route_id, uint64_t sink_id, bool drains)
{
    put_op(s, OP_DRAIN, route_id, sink_id)->pause.paused = drains;
}

void store_audit_put(struct store *s, int64_t unix_ms, int64_t uid, int64_t pid, const char *what,
    const char *object, const char *detail, const char *result)
{
    struct op *op = put_op(s, OP_AUDIT, 0, 0);

    op->audit.unix_ms = unix_ms;
    op->audit.uid = uid;
    op->audit.pid = pid;
    op->audit.what = put_text(s->filling, what);
    op->audit.object = put_text(s->filling, object);
    op->audit.detail = put_text(s->filling, detail);
    op->audit.result = put_text(s->filling, result);
}

static void put_leg(struct buf *to, const struct store_leg *l)
{
    struct buf part;

    buf_put_varint(to, l->route_id);
    buf_put_varint(to, l->sink_id);
    buf_put_varint(to, l->frontier);
    buf_put_varint(to, l->selected);
    buf_put_varint(to, l->delivered);
    buf_put_varint(to, l->dead);
    buf_put_varint(to, l->dropped);
    buf_init(&part, SIZE_MAX / 2);
    ranges_encode(&l->set, &part);
    buf_put_varint(to, part.n);
    buf_put_bytes(to, buf_bytes(&part));
    buf_clear(&part);
    ranges_encode(&l->above, &part);
    buf_put_varint(to, part.n);
    buf_put_bytes(to, buf_bytes(&part));
    to->failed = to->failed || part.failed;
    buf_done(&part);
}

void store_job_put(struct store *s, const struct store_job *j)
{
    struct op *op = put_op(s, OP_JOB, 0, 0);
    struct txn *t = s->filling;
    size_t at;

    op->job.row = *j;
    op->job.selection = put_text(t, j->selection ? j->selection : "");
    at = t->bytes.n;
    buf_put_varint(&t->bytes, j->leg_count);
    for (size_t i = 0; i < j->leg_count; i++)
        put_leg(&t->bytes, &j->legs[i]);
    op->job.legs = (struct run){ at, t->bytes.n - at };
    t->failed = t->failed || t->bytes.failed;
}
