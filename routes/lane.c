#include "routes/outflow.h"

#include <assert.h>
#include <stdlib.h>

void lane_init(struct lane *l, enum lane_kind kind, struct outflow *o, uint64_t route_id,
    const char *route, uint64_t frontier)
{
    *l = (struct lane){
        .kind = kind, .o = o, .route_id = route_id, .route = route, .frontier = frontier
    };
    keys_init(&l->keys);
}

static void entries_free(struct entry *e)
{
    while (e) {
        struct entry *next = e->next;

        free(e);
        e = next;
    }
}

void lane_done(struct lane *l)
{
    if (!l->o)
        return;
    asks_forget(l->o->spec.asks, l);
    for (size_t i = 0; i < l->keys.bucket_count; i++)
        for (struct key *k = l->keys.buckets[i]; k; k = k->chain)
            entries_free(k->first);
    entries_free(l->keyless);
    keys_done(&l->keys);
    ranges_done(&l->above);
    if (l->has_feed)
        feed_done(&l->feed);
    free(l->heap);
    *l = (struct lane){ 0 };
}

/* ---- flights ---- */

static struct flight *slot_take(struct outflow *o)
{
    struct flight *f = o->free;

    if (f) {
        o->free = f->next;
        return f;
    }
    if (o->slot_count == o->slot_capacity) {
        size_t capacity = o->slot_capacity ? o->slot_capacity * 2 : 256;
        struct flight **slots = realloc(o->slots, capacity * sizeof(struct flight *));

        if (!slots)
            return NULL;
        o->slots = slots;
        o->slot_capacity = capacity;
    }
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    buf_init(&f->scratch, SIZE_MAX / 2);
    f->slot = (uint32_t)o->slot_count;
    o->slots[o->slot_count++] = f;
    return f;
}

/* By seq; almost always at the end. */
static void ready_insert(struct lane *l, struct flight *f)
{
    struct flight *after = l->ready_last;

    while (after && after->seq > f->seq)
        after = after->previous;
    f->previous = after;
    f->next = after ? after->next : l->ready_first;
    if (f->next)
        f->next->previous = f;
    else
        l->ready_last = f;
    if (after)
        after->next = f;
    else
        l->ready_first = f;
    l->ready_count++;
    if (f->key)
        f->key->ready++;
}

static void ready_remove(struct flight *f)
{
    struct lane *l = f->lane;

    if (f->previous)
        f->previous->next = f->next;
    else
        l->ready_first = f->next;
    if (f->next)
        f->next->previous = f->previous;
    else
        l->ready_last = f->previous;
    f->next = f->previous = NULL;
    l->ready_count--;
    if (f->key)
        f->key->ready--;
}

struct flight *lane_ready(struct lane *l, struct block *block, const struct event *event,
    uint64_t key_hash, struct entry *entry)
{
    struct key *key = key_hash ? keys_get(&l->keys, key_hash) : NULL;
    struct flight *f;

    if (key_hash && !key)
        return NULL;
    f = slot_take(l->o);
    if (!f) {
        if (key)
            keys_release(&l->keys, key);
        return NULL;
    }
    f->next = f->previous = NULL;
    f->lane = l;
    f->entry = entry;
    f->key = key;
    f->block = block_ref(block);
    f->seq = event->seq;
    f->first_sent_ms = entry ? entry->first_sent_ms : 0;
    f->unsure = entry ? entry->unsure : event->seq < l->careful_below;
    f->sent = f->again = f->suspect = f->probe = f->rendered = false;
    f->sent_ns = 0;
    f->bytes = event_bytes(event);
    f->in = *event;
    ready_insert(l, f);
    return f;
}

/* What follows from a key having one less in memory or in flight. */
static void key_less(struct lane *l, struct key *key)
{
    if (key->in_flight == 0)
        key->barrier = false;
    if (key->in_flight == 0 && key->ready == 0 && key->first)
        held_key_free(l, key);
    else
        keys_release(&l->keys, key);
}

static void unsend(struct flight *f)
{
    struct outflow *o = f->lane->o;

    f->sent = false;
    f->lane->in_flight--;
    o->in_flight--;
    o->in_flight_bytes -= f->bytes;
    if (f->key)
        f->key->in_flight--;
}

void lane_again(struct flight *f)
{
    assert(f->sent);
    unsend(f);
    if (f->key && f->key->in_flight > 0)
        f->key->barrier = true;
    else if (f->key)
        f->key->barrier = false;
    if (f->entry) {
        f->entry->failed = true;
    } else if (f->key && !f->again) {
        f->again = true;
        f->key->again++;
    }
    ready_insert(f->lane, f);
}

void lane_sent(struct flight *f)
{
    struct outflow *o = f->lane->o;

    assert(!f->sent);
    ready_remove(f);
    f->sent = true;
    f->sent_ms = o->now_ms;
    f->lane->in_flight++;
    o->in_flight++;
    o->in_flight_bytes += f->bytes;
    if (f->key)
        f->key->in_flight++;
}

void lane_not_taken(struct flight *f)
{
    unsend(f);
    ready_insert(f->lane, f);
}

void lane_flight_done(struct flight *f)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct key *key = f->key;

    if (f->sent)
        unsend(f);
    else
        ready_remove(f);
    if (f->suspect)
        o->suspects--;
    if (key && f->again)
        key->again--;
    if (f->entry)
        f->entry->busy = false;
    block_unref(f->block);
    f->block = NULL;
    f->entry = NULL;
    f->key = NULL;
    f->lane = NULL;
    f->round++;
    f->next = o->free;
    o->free = f;
    if (key)
        key_less(l, key);
}

/* ---- cursor ---- */

void lane_finish(struct lane *l, uint64_t seq)
{
    assert(seq >= l->frontier);
    if (l->kind == LANE_LIVE)
        l->o->progress_ms = l->o->now_ms;
    if (seq == l->frontier) {
        l->frontier++;
        if (l->above.n && l->above.at[0].first == l->frontier) {
            l->frontier = l->above.at[0].last + 1;
            ranges_cut(&l->above, l->frontier);
        }
    } else if (ranges_add(&l->above, seq, seq) != 0) {
        /* No memory to remember it: the event counts as unfinished and goes again after a restart.
         */
        return;
    }
    outflow_dirty(l->o);
}

bool lane_complete(const struct lane *l)
{
    return l->ready_count == 0 && l->in_flight == 0 && l->held_count == 0 &&
           (!l->leg || l->set_i >= l->leg->set.n);
}

uint64_t lane_job(const struct lane *l)
{
    return l->job ? l->job->number : 0;
}

uint64_t lane_generation(const struct lane *l)
{
    return l->job ? l->job->generation : 0;
}
