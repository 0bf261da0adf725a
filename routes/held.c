/* Held events: charged with an attempt, or waiting behind such a one of their key. */
#include "routes/outflow.h"

#include "bridge/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define UNREAD_MS 2 /* until it is asked again whether the log was read so far */

/* ---- the heap of due ones: the first of each key, and all without a key ---- */

static bool earlier(const struct entry *a, const struct entry *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

static void heap_set(struct lane *l, size_t i, struct entry *e)
{
    l->heap[i] = e;
    e->heap = i + 1;
}

static void heap_up(struct lane *l, size_t i)
{
    struct entry *e = l->heap[i];

    while (i > 0 && earlier(e, l->heap[(i - 1) / 2])) {
        heap_set(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(l, i, e);
}

static void heap_down(struct lane *l, size_t i)
{
    struct entry *e = l->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= l->heap_n)
            break;
        if (child + 1 < l->heap_n && earlier(l->heap[child + 1], l->heap[child]))
            child++;
        if (!earlier(l->heap[child], e))
            break;
        heap_set(l, i, l->heap[child]);
        i = child;
    }
    heap_set(l, i, e);
}

/* Room for every held entry is made when it is added, so this cannot fail. */
static void heap_add(struct lane *l, struct entry *e)
{
    if (e->heap)
        return;
    assert(l->heap_n < l->heap_capacity);
    l->heap_n++;
    heap_set(l, l->heap_n - 1, e);
    heap_up(l, l->heap_n - 1);
}

static void heap_remove(struct lane *l, struct entry *e)
{
    size_t i = e->heap - 1;
    struct entry *last;

    if (!e->heap)
        return;
    e->heap = 0;
    last = l->heap[--l->heap_n];
    if (last == e)
        return;
    heap_set(l, i, last);
    heap_up(l, i);
    heap_down(l, last->heap - 1);
}

static bool heap_room(struct lane *l)
{
    size_t capacity = l->heap_capacity ? l->heap_capacity * 2 : 64;
    struct entry **heap;

    if (l->held_count < l->heap_capacity)
        return true;
    heap = realloc(l->heap, capacity * sizeof(struct entry *));
    if (!heap)
        return false;
    l->heap = heap;
    l->heap_capacity = capacity;
    return true;
}

/* ---- entries ---- */

static struct key *key_of(struct lane *l, const struct entry *e)
{
    return e->key ? keys_find(&l->keys, e->key) : NULL;
}

static void link_by_seq(struct key *k, struct entry *e)
{
    struct entry *after = k->last;

    while (after && after->seq > e->seq)
        after = after->previous;
    e->previous = after;
    e->next = after ? after->next : k->first;
    if (e->next)
        e->next->previous = e;
    else
        k->last = e;
    if (after)
        after->next = e;
    else
        k->first = e;
}

static void link_keyless(struct lane *l, struct entry *e)
{
    e->previous = NULL;
    e->next = l->keyless;
    if (e->next)
        e->next->previous = e;
    l->keyless = e;
}

/* Puts a filled entry into the lane. -1: no memory. */
static int entry_add(struct lane *l, struct entry *e)
{
    struct key *k = e->key ? keys_get(&l->keys, e->key) : NULL;

    if ((e->key && !k) || !heap_room(l)) {
        if (k)
            keys_release(&l->keys, k);
        return -1;
    }
    l->held_count++;
    l->following += e->state == HELD_FOLLOWING;
    if (!k) {
        link_keyless(l, e);
        return 0;
    }
    if (k->first && k->first->heap && k->first->seq > e->seq)
        heap_remove(l, k->first);
    link_by_seq(k, e);
    if (k->held++ == 0)
        l->keys.parked++;
    return 0;
}

static void row_of(const struct lane *l, const struct entry *e, const char *text, struct held *ret)
{
    const struct outflow *o = l->o;

    *ret = (struct held){
        .number = e->number,
        .route_id = l->route_id,
        .sink_id = o->id,
        .seq = e->seq,
        .job = e->job,
        .state = e->state,
        .reason = e->reason,
        .code = e->code,
        .text = text,
        .attempts = e->attempts,
        .generation = e->generation,
        .due_in_ms = e->due_ms > o->now_ms ? e->due_ms - o->now_ms : 0,
        .expires_in_ms = e->expires_ms ? e->expires_ms - o->unix_ms : -1,
        .first_sent_ms = e->first_sent_ms,
        .unsure = e->unsure,
        .changed_ms = o->unix_ms,
    };
    if (ret->expires_in_ms < -1)
        ret->expires_in_ms = 0;
}

struct entry *held_add(struct lane *l, uint64_t seq, uint64_t key_hash, enum held_state state,
    enum held_reason reason, int code, const char *text, uint32_t attempts, int64_t due_in_ms,
    const struct flight *from, const struct event *event)
{
    struct outflow *o = l->o;
    struct entry *e = calloc(1, sizeof *e);
    struct bytes key_bytes = BYTES_NONE;
    struct buf scratch;
    struct held row;

    if (!e)
        return NULL;
    *e = (struct entry){
        .number = store_next_held(o->spec.store),
        .seq = seq,
        .key = key_hash,
        .job = lane_job(l),
        .generation = lane_generation(l),
        .txn = store_filling(o->spec.store),
        .due_ms = o->now_ms + due_in_ms,
        .bytes = event_bytes(event),
        .state = state,
        .reason = reason,
        .code = code,
        .attempts = attempts,
        .unsure = from ? from->unsure : seq < l->careful_below,
        .failed = from && from->again,
        .first_sent_ms = from ? from->first_sent_ms : 0,
    };
    if (l->kind == LANE_LIVE && o->spec.config->expire_after_ms)
        e->expires_ms = event->received_ms + o->spec.config->expire_after_ms;
    if (entry_add(l, e) != 0) {
        free(e);
        return NULL;
    }
    if (l->kind == LANE_LIVE) {
        o->counts.held++;
        o->held_bytes += (int64_t)e->bytes;
    }
    buf_init(&scratch, 1 << 20);
    if (key_hash)
        (void)outflow_key(o, event, &scratch, &key_bytes);
    row_of(l, e, text, &row);
    row.order_key = key_bytes;
    store_held_put(o->spec.store, &row, event);
    buf_done(&scratch);
    outflow_dirty(o);
    replay_touch(l);
    return e;
}

void held_write(struct lane *l, struct entry *e, const char *text)
{
    struct held row;

    row_of(l, e, text, &row);
    e->txn = store_filling(l->o->spec.store);
    store_held_put(l->o->spec.store, &row, NULL);
    outflow_dirty(l->o);
    replay_touch(l);
}

void held_remove(struct lane *l, const struct entry *e)
{
    store_held_remove(l->o->spec.store, e->number);
    outflow_dirty(l->o);
    /* Without its row a job knows of the event by its counts alone. */
    replay_touch(l);
}

void held_forget(struct lane *l, struct entry *e)
{
    struct key *k = key_of(l, e);

    heap_remove(l, e);
    l->held_count--;
    l->following -= e->state == HELD_FOLLOWING;
    if (e->previous)
        e->previous->next = e->next;
    else if (k)
        k->first = e->next;
    else
        l->keyless = e->next;
    if (e->next)
        e->next->previous = e->previous;
    else if (k)
        k->last = e->previous;
    if (k && --k->held == 0)
        l->keys.parked--;
    if (k && k->first)
        held_key_free(l, k);
    else if (k)
        keys_release(&l->keys, k);
    free(e);
}

void held_due(struct lane *l, struct entry *e, int64_t due_in_ms)
{
    struct key *k = key_of(l, e);

    heap_remove(l, e);
    e->due_ms = l->o->now_ms + due_in_ms;
    if (!e->busy && (!k || k->first == e))
        heap_add(l, e);
}

void held_key_free(struct lane *l, struct key *key)
{
    if (key->first && !key->first->busy)
        heap_add(l, key->first);
}

/* ---- loading bodies ---- */

static void loaded(void *asker, struct store_read *read)
{
    struct lane *l = asker;
    size_t n = l->loading_n;

    l->loading_n = 0;
    for (size_t i = 0; i < n; i++) {
        struct entry *e = l->loading[i];
        struct block *b = !read->failed && i < read->count ? read->blocks[i] : NULL;
        struct event event;

        if (b) {
            block_event(b, 0, &event);
            event.seq = e->seq;
            if (lane_ready(l, b, &event, e->key, e))
                continue;
        } else if (!read->failed || read->why.kind == FAULT_BROKEN) {
            (void)snprintf(l->o->error, sizeof l->o->error, "held event %llu cannot be read: %s",
                (unsigned long long)e->number, read->failed ? read->why.text : "its row is gone");
            log_say(LOG_LEVEL_ERROR, l->o->spec.route->name, l->o->spec.config->name, "%s",
                l->o->error);
        }
        e->busy = false;
        held_due(l, e, 1000);
    }
}

static void take_for_loading(struct lane *l, struct entry *e)
{
    heap_remove(l, e);
    e->busy = true;
    l->loading[l->loading_n++] = e;
}

static bool on_disk(const struct lane *l, const struct entry *e)
{
    return e->txn <= store_committed(l->o->spec.store);
}

/* After a start those that were held are known at once, and what is unfinished of the log below
 * them is still to be read: an elder of the same key may be among it. */
static bool elders_unread(const struct lane *l, const struct entry *e)
{
    return l->has_feed && e->key && e->seq >= l->feed.next;
}

/* The first one of a key that has failed before goes alone; behind one that never failed, its
 * followers go together. */
static void take_key(struct lane *l, struct entry *e)
{
    take_for_loading(l, e);
    if (!e->key || e->attempts > e->attempts_before)
        return;
    for (e = e->next; e && l->loading_n < OUTFLOW_LOAD_MAX; e = e->next) {
        if (e->busy || e->attempts > e->attempts_before || !on_disk(l, e) || elders_unread(l, e))
            return;
        take_for_loading(l, e);
    }
}

void held_load(struct lane *l)
{
    struct outflow *o = l->o;
    uint64_t numbers[OUTFLOW_LOAD_MAX];
    uint64_t tag;

    if (l->loading_n || l->ready_count >= OUTFLOW_BATCH)
        return;
    while (l->heap_n && l->loading_n < OUTFLOW_LOAD_MAX) {
        struct entry *e = l->heap[0];
        struct key *k = key_of(l, e);

        if (e->due_ms > o->now_ms || !on_disk(l, e))
            break;
        if (k && (k->ready || k->in_flight))
            heap_remove(l, e); /* comes back when these are through: lane.c key_less() */
        else if (elders_unread(l, e))
            held_due(l, e, UNREAD_MS);
        else
            take_key(l, e);
    }
    if (l->loading_n == 0)
        return;
    for (size_t i = 0; i < l->loading_n; i++)
        numbers[i] = l->loading[i]->number;
    tag = asks_add(o->spec.asks, loaded, l);
    if (tag && store_read_held(o->spec.store, tag, numbers, l->loading_n) == 0)
        return;
    asks_drop(o->spec.asks, tag);
    for (size_t i = 0; i < l->loading_n; i++) {
        l->loading[i]->busy = false;
        held_due(l, l->loading[i], 1000);
    }
    l->loading_n = 0;
}

void held_unload(struct flight *f)
{
    struct lane *l = f->lane;
    struct entry *e = f->entry;

    e->first_sent_ms = f->first_sent_ms;
    if (f->unsure && !e->unsure) {
        e->unsure = true;
        held_write(l, e, NULL); /* an orderly end forgets what only memory knows */
    }
    lane_flight_done(f);
    held_due(l, e, 0);
}

/* ---- start ---- */

struct restore {
    struct outflow *o;
    bool failed;
};

static struct lane *lane_of(struct outflow *o, const struct held *h)
{
    if (h->state == HELD_RETRYING)
        return &o->retry;
    if (h->job == 0)
        return &o->live;
    for (struct lane *l = o->replays; l; l = l->next)
        if (lane_job(l) == h->job)
            return l;
    return NULL; /* its job has ended or was cancelled: nobody waits for it */
}

static void restore_one(void *arg, const struct held *h, size_t bytes)
{
    struct restore *r = arg;
    struct outflow *o = r->o;
    struct lane *l = lane_of(o, h);
    struct entry *e = l ? calloc(1, sizeof *e) : NULL;

    if (!l)
        return;
    if (!e) {
        r->failed = true;
        return;
    }
    *e = (struct entry){
        .number = h->number,
        .seq = h->seq,
        .job = h->job,
        .generation = h->generation,
        .due_ms = o->now_ms + h->due_in_ms,
        .expires_ms = h->expires_in_ms >= 0 ? o->unix_ms + h->expires_in_ms : 0,
        .first_sent_ms = h->first_sent_ms,
        .bytes = bytes,
        .state = h->state,
        .reason = h->reason,
        .code = h->code,
        .attempts = h->attempts,
        .attempts_before = h->state == HELD_RETRYING ? h->attempts : 0,
        /* What was in flight at an unclean end may have arrived. */
        .unsure = h->unsure || o->spec.careful,
    };
    if (l->kind != LANE_RETRY && bytes_present(h->order_key))
        e->key = outflow_hash(o, h->order_key);
    if (entry_add(l, e) != 0) {
        free(e);
        r->failed = true;
        return;
    }
    if (h->seq > l->held_high)
        l->held_high = h->seq;
    if (l == &o->live)
        o->held_bytes += (int64_t)bytes;
    held_due(l, e, h->due_in_ms);
}

int held_restore(struct outflow *o, struct fault *why)
{
    struct restore r = { .o = o };

    if (store_held_load(o->spec.store, o->id, restore_one, &r, why) != 0)
        return -1;
    if (r.failed)
        return fault_set(why, FAULT_RETRY, 0, "out of memory for held events of sink '%s'",
            o->spec.config->name);
    return 0;
}

int held_retry(struct lane *l, const struct relay_dead *d, struct fault *why)
{
    struct outflow *o = l->o;
    struct entry *e = calloc(1, sizeof *e);

    if (!e)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    *e = (struct entry){
        .number = d->number,
        .seq = d->seq,
        .job = d->job,
        .generation = store_next_generation(o->spec.store),
        .due_ms = o->now_ms,
        .state = HELD_RETRYING,
        .reason = d->reason,
        .code = d->code,
        .attempts = d->attempts,
        .attempts_before = d->attempts,
    };
    if (entry_add(l, e) != 0) {
        free(e);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    held_write(l, e, d->text);
    held_due(l, e, 0);
    return 0;
}

void held_drop_all(struct lane *l, const char *text)
{
    for (size_t i = 0; i < l->heap_n;) {
        struct entry *e = l->heap[i];

        l->following -= e->state == HELD_FOLLOWING;
        e->state = HELD_DROPPED;
        held_write(l, e, text);
        if (l->leg)
            l->leg->dropped++;
        held_forget(l, e); /* takes it off the heap, and brings the next one of its key */
        i = 0;
    }
}
