#include "routes/spans.h"
#include "routes/tell.h"

#include <stdlib.h>

int intake_open(const struct intake_spec *spec, const struct store_route *stored,
    const struct store_position *positions, size_t position_count, struct intake **ret,
    struct fault *why)
{
    struct intake *i = calloc(1, sizeof *i);
    struct position *lent = calloc(position_count + 1, sizeof *lent);
    struct source_spec source = {
        .route = spec->config->name,
        .route_id = spec->route_id,
        .options = spec->config->source_options,
        .positions = lent,
        .position_count = position_count,
        .window_events = spec->config->window_events,
        .window_bytes = spec->config->window_bytes,
        .max_event_bytes = spec->config->max_event_bytes,
        .clean_start = spec->clean_start,
        .lifecycle = spec->lifecycle,
    };

    if (i)
        i->spec = *spec;
    if (!i || !lent) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    i->next_seq = stored->next_seq;
    i->last_received_ms = stored->last_received_ms;
    buf_init(&i->keys, SIZE_MAX / 2);
    i->batches = calloc(INTAKE_BATCHES_MAX, sizeof *i->batches);
    if (!i->batches) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    for (size_t n = 0; n < position_count; n++)
        lent[n] = (struct position){ bytes_text(positions[n].name), positions[n].value };
    if (spec->link && spec->connector->source_open(spec->link, &source, &i->source, why) != 0) {
        (void)fault_prefix(why, "route '%s'", spec->config->name);
        goto fail;
    }
    free(lent);
    *ret = i;
    return 0;
fail:
    free(lent);
    intake_free(i);
    return -1;
}

void intake_free(struct intake *i)
{
    if (!i)
        return;
    if (i->source)
        i->spec.connector->source_free(i->source);
    asks_forget(i->spec.asks, i);
    for (size_t n = 0; n < i->block_n; n++)
        block_unref(i->blocks[n].block);
    for (size_t n = 0; i->batches && n < i->batch_n; n++)
        free(i->batches[n].known);
    free(i->blocks);
    free(i->batches);
    free(i->events);
    buf_done(&i->keys);
    free(i);
}

void intake_pause(struct intake *i, bool paused)
{
    if (!i->source || i->paused == paused)
        return;
    i->paused = paused;
    i->spec.connector->source_pause(i->source, paused);
}

bool intake_waiting(const struct intake *i)
{
    return i->given < i->batch_n && !i->asking;
}

size_t intake_bytes(const struct intake *i)
{
    size_t bytes = i->waiting_bytes;

    for (size_t n = 0; n < i->block_n; n++)
        bytes += i->blocks[n].block->bytes;
    return bytes;
}

bool intake_idle(const struct intake *i)
{
    return i->batch_n == 0;
}

static bool wants_more(const struct intake *i)
{
    return i->batch_n < INTAKE_BATCHES_MAX && !i->asking &&
           i->waiting_events < (size_t)i->spec.config->window_events &&
           i->waiting_bytes < (size_t)i->spec.config->window_bytes;
}

/* ---- dedupe: redelivered ---- */

static bool must_ask(const struct intake *i, const struct event *e)
{
    return i->spec.config->dedupe_redelivered && (e->flags & EVENT_REDELIVERED) &&
           bytes_present(e->id);
}

static size_t redelivered(const struct intake *i, const struct batch *b, struct bytes *ids)
{
    size_t n = 0;

    for (size_t e = 0; e < b->count; e++) {
        if (!must_ask(i, &b->events[e]))
            continue;
        if (ids)
            ids[n] = b->events[e].id;
        n++;
    }
    return n;
}

/* Batches not given wait for the answer, so that their order stays. */
static void ids_answered(void *asker, struct store_read *read)
{
    struct intake *i = asker;
    struct intake_batch *at = &i->batches[i->batch_n - 1];
    size_t n = 0;

    i->asking = false;
    if (read->failed)
        return; /* a repeat is better than a loss */
    for (size_t e = 0; e < at->batch->count; e++)
        if (must_ask(i, &at->batch->events[e]))
            at->known[e] = read->found[n++];
}

static void ask_known(struct intake *i)
{
    struct intake_batch *at = &i->batches[i->batch_n - 1];
    size_t n = redelivered(i, at->batch, NULL);
    struct bytes *ids;
    uint64_t tag;

    if (n == 0)
        return;
    ids = calloc(n, sizeof *ids);
    at->known = calloc(at->batch->count, sizeof *at->known);
    tag = ids && at->known ? asks_add(i->spec.asks, ids_answered, i) : 0;
    if (tag) {
        (void)redelivered(i, at->batch, ids);
        i->asking = store_read_ids(i->spec.store, tag, i->spec.route_id, ids, n) == 0;
        if (!i->asking)
            asks_drop(i->spec.asks, tag); /* a repeat is better than a loss */
    }
    free(ids);
}

size_t intake_receive(struct intake *i, size_t bytes, int64_t now_ms)
{
    size_t total = 0, taken = 0;

    if (!i->source || i->paused || i->stopped)
        return 0;
    while (taken < bytes && wants_more(i)) {
        size_t limit = (size_t)i->spec.config->window_events - i->waiting_events;
        struct batch *b = i->spec.connector->source_receive(
            i->source, limit < INTAKE_RECEIVE_MAX ? limit : INTAKE_RECEIVE_MAX);

        if (!b)
            break;
        i->batches[i->batch_n++] = (struct intake_batch){ .batch = b };
        if (tracer_on(i->spec.tracer) && i->waiting_ns == 0)
            i->waiting_ns = i->spec.tracer->now_ns(i->spec.tracer);
        i->waiting_events += b->count;
        i->waiting_bytes += b->bytes;
        taken += b->bytes;
        total += b->count + 1;
        i->received += b->count;
        rate_add(&i->rate, now_ms, b->count);
        ask_known(i);
    }
    return total;
}

/* The route's own ordering key, evaluated on the event as received. */
static int order_keys(struct intake *i, size_t n, struct fault *why)
{
    const struct template *key = i->spec.config->key;
    const char *missing;
    size_t at = 0;

    if (!key)
        return 0;
    buf_clear(&i->keys);
    for (size_t e = 0; e < n; e++) {
        struct event *event = &i->events[e];
        size_t from = i->keys.n;

        event->flags |= EVENT_HAS_ORDER_KEY;
        event->order_key = BYTES_NONE;
        if (template_render(key, event, i->spec.config->name, &i->keys, &missing) != 0)
            i->keys.n = from;
        else
            event->order_key.n = i->keys.n - from, event->order_key.at = (const uint8_t *)"";
    }
    if (i->keys.failed)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    for (size_t e = 0; e < n; e++) {
        struct event *event = &i->events[e];

        if (!bytes_present(event->order_key))
            continue;
        event->order_key = bytes_of(i->keys.at + at, event->order_key.n);
        at += event->order_key.n;
    }
    return 0;
}

static int give_block(struct intake *i, size_t n, int64_t received_ms, struct fault *why)
{
    struct block *b;

    if (i->block_n == i->block_capacity) {
        size_t capacity = i->block_capacity ? i->block_capacity * 2 : 16;
        struct intake_block *blocks = realloc(i->blocks, capacity * sizeof *blocks);

        if (!blocks)
            return fault_set(why, FAULT_RETRY, 0, "out of memory");
        i->blocks = blocks;
        i->block_capacity = capacity;
    }
    if (order_keys(i, n, why) != 0 ||
        block_open(i->spec.route_id, i->next_seq, received_ms, i->events, n, &b, why) != 0)
        return -1;
    store_append(i->spec.store, b);
    i->blocks[i->block_n] =
        (struct intake_block){ .block = b, .txn = store_filling(i->spec.store) };
    if (tracer_on(i->spec.tracer)) {
        i->blocks[i->block_n].received_ns = i->waiting_ns;
        i->blocks[i->block_n].given_ns = i->spec.tracer->now_ns(i->spec.tracer);
    }
    i->block_n++;
    i->next_seq += n;
    i->accepted += n;
    return 0;
}

/* For one more of a chunk's, of which there are far fewer than may wait. */
static bool room_for(struct intake *i, size_t n)
{
    size_t capacity = i->event_capacity ? 2 * i->event_capacity : 64;
    struct event *events;

    if (n < i->event_capacity)
        return true;
    events = reallocarray(i->events, capacity, sizeof *events);
    if (!events)
        return false;
    i->events = events;
    i->event_capacity = capacity;
    return true;
}

static void give_rest(struct intake *i, const struct batch *b)
{
    for (size_t n = 0; n < b->position_count; n++)
        store_position_put(i->spec.store, i->spec.route_id, i->spec.connection,
            b->positions[n].name, b->positions[n].value);
    for (size_t n = 0; n < b->gap_count; n++) {
        const struct source_gap *g = &b->gaps[n];

        store_gap_put(i->spec.store, i->spec.route_id, i->spec.connection, g->start_ms, g->end_ms,
            g->count, g->what, g->cause);
        tell_gap(i->spec.lifecycle, i->spec.config->name, i->spec.connection, g);
        i->gaps++;
    }
}

/* Batches given .. end-1 as chunks; a chunk may span batches, and a batch chunks: all of them stand
 * in one transaction. */
static int give_events(struct intake *i, int64_t received_ms, struct fault *why)
{
    size_t n = 0, bytes = 0;

    for (size_t b = i->given; b < i->batch_n; b++) {
        const struct batch *batch = i->batches[b].batch;

        for (size_t e = 0; e < batch->count; e++) {
            if (i->batches[b].known && i->batches[b].known[e]) {
                i->duplicates++;
                continue;
            }
            if (!room_for(i, n))
                return fault_set(why, FAULT_RETRY, 0, "out of memory");
            i->events[n++] = batch->events[e];
            bytes += event_bytes(&batch->events[e]);
            if (bytes < INTAKE_CHUNK_BYTES && n < BLOCK_EVENTS_MAX)
                continue;
            if (give_block(i, n, received_ms, why) != 0)
                return -1;
            n = bytes = 0;
        }
    }
    return n ? give_block(i, n, received_ms, why) : 0;
}

int intake_flush(struct intake *i, int64_t unix_ms, struct fault *why)
{
    if (!intake_waiting(i))
        return 0;
    if (unix_ms > i->last_received_ms)
        i->last_received_ms = unix_ms;
    /* A failure half way would put events without their positions: repeats, never losses; but it
     * would number them twice, so the process ends instead. */
    if (give_events(i, i->last_received_ms, why) != 0) {
        why->kind = FAULT_BROKEN;
        return -1;
    }
    for (; i->given < i->batch_n; i->given++) {
        give_rest(i, i->batches[i->given].batch);
        if (i->spec.connector->source_copied)
            i->spec.connector->source_copied(i->source, i->batches[i->given].batch);
        /* All of it was known already: there is nothing to wait for. */
        i->batches[i->given].txn = store_filling(i->spec.store) - store_empty(i->spec.store);
    }
    i->waiting_events = i->waiting_bytes = 0;
    i->waiting_ns = 0;
    return 0;
}

static void show_blocks(struct intake *i, uint64_t done, int64_t now_ms)
{
    size_t n = 0;

    while (n < i->block_n && i->blocks[n].txn <= done) {
        if (tracer_on(i->spec.tracer))
            spans_committed(i, &i->blocks[n]);
        if (i->spec.taps->first)
            taps_received(i->spec.taps, i->spec.config->name, i->blocks[n].block, now_ms);
        tail_push(i->spec.tail, i->blocks[n++].block);
    }
    if (n)
        memmove(i->blocks, i->blocks + n, (i->block_n - n) * sizeof *i->blocks);
    i->block_n -= n;
}

size_t intake_settle(struct intake *i, int64_t now_ms)
{
    uint64_t done = store_appended(i->spec.store);
    size_t n = 0;

    show_blocks(i, done, now_ms);
    while (n < i->given && i->batches[n].txn <= done) {
        i->spec.connector->source_settle(i->source, i->batches[n].batch, true);
        free(i->batches[n++].known);
    }
    memmove(i->batches, i->batches + n, (i->batch_n - n) * sizeof *i->batches);
    i->batch_n -= n;
    i->given -= n;
    return n;
}
