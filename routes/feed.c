#include "routes/feed.h"

#include <stdlib.h>
#include <string.h>

/* Blocks left of a reading when the next one is asked for. */
#define FEED_AHEAD_BLOCKS 1

void feed_init(struct feed *f, struct asks *asks, struct tail *tail, uint64_t route_id, bool live,
    uint64_t next)
{
    *f = (struct feed){
        .asks = asks, .tail = tail, .route_id = route_id, .live = live, .next = next
    };
}

static void forget_ahead(struct feed *f)
{
    for (size_t i = f->ahead_i; i < f->ahead_n; i++)
        block_unref(f->ahead[i]);
    free(f->ahead);
    f->ahead = NULL;
    f->ahead_n = f->ahead_i = 0;
}

void feed_done(struct feed *f)
{
    asks_forget(f->asks, f);
    forget_ahead(f);
    block_unref(f->current);
    f->current = NULL;
}

void feed_skip(struct feed *f, uint64_t seq)
{
    if (seq > f->next)
        f->next = seq;
}

/* The blocks of an answer behind those that are left of the one before. */
static void put_ahead(struct feed *f, struct store_read *read)
{
    size_t left = f->ahead_n - f->ahead_i;
    struct block **all;

    if (left == 0) {
        forget_ahead(f);
        f->ahead = read->blocks;
        f->ahead_n = read->count;
    } else {
        all = calloc(left + read->count, sizeof(struct block *));
        if (!all)
            return; /* read again when they are wanted */
        memcpy(all, f->ahead + f->ahead_i, left * sizeof(struct block *));
        if (read->count)
            memcpy(all + left, read->blocks, read->count * sizeof(struct block *));
        free(f->ahead);
        free(read->blocks);
        f->ahead = all;
        f->ahead_i = 0;
        f->ahead_n = left + read->count;
    }
    read->blocks = NULL;
    read->count = 0;
}

static void answered(void *asker, struct store_read *read)
{
    struct feed *f = asker;

    f->asked = false;
    if (read->failed && read->why.kind == FAULT_BROKEN) {
        /* What was read before the damage goes first; asked again there, it fails again. */
        f->failed = f->ahead_i == f->ahead_n;
        f->why = read->why;
    }
    if (read->failed)
        return; /* a passing trouble is asked again */
    put_ahead(f, read);
}

static bool holds(const struct block *b, uint64_t seq)
{
    return b && seq >= b->first_seq && seq < b->first_seq + b->count;
}

static bool take_ahead(struct feed *f)
{
    while (f->ahead_i < f->ahead_n) {
        struct block *b = f->ahead[f->ahead_i++];

        if (holds(b, f->next)) {
            block_unref(f->current);
            f->current = b;
            return true;
        }
        if (b->first_seq > f->next) {
            /* Retention removed what stood between; nothing below is unfinished. */
            f->next = b->first_seq;
            f->ahead_i--;
            continue;
        }
        block_unref(b);
    }
    forget_ahead(f);
    return false;
}

static void ask(struct feed *f, uint64_t from)
{
    uint64_t tag;

    if (f->asked)
        return;
    tag = asks_add(f->asks, answered, f);
    if (tag == 0)
        return;
    f->asked =
        store_read_blocks(f->asks->store, tag, f->route_id, from, FEED_READ_BYTES, f->live) == 0;
    if (!f->asked)
        asks_drop(f->asks, tag);
}

/* While the last blocks of one reading are sent, the next one is on its way. */
static void ask_ahead(struct feed *f)
{
    const struct block *last;
    uint64_t end;

    if (f->asked || f->ahead_n - f->ahead_i != FEED_AHEAD_BLOCKS)
        return;
    last = f->ahead[f->ahead_n - 1];
    end = last->first_seq + last->count;
    if (end < f->tail->next_seq && !tail_find(f->tail, end))
        ask(f, end);
}

static bool find_block(struct feed *f)
{
    struct block *b;

    if (holds(f->current, f->next))
        return true;
    b = tail_find(f->tail, f->next);
    if (b) {
        block_unref(f->current);
        f->current = block_ref(b);
        return true;
    }
    if (take_ahead(f)) {
        ask_ahead(f);
        return true;
    }
    if (f->next < f->tail->next_seq)
        ask(f, f->next);
    return false;
}

int feed_next(struct feed *f, struct event *ret, struct block **block)
{
    if (f->failed)
        return -1;
    if (f->next >= f->tail->next_seq || !find_block(f)) {
        if (f->next >= f->tail->next_seq && f->current) {
            block_unref(f->current);
            f->current = NULL;
        }
        return 0;
    }
    block_event(f->current, (uint32_t)(f->next - f->current->first_seq), ret);
    *block = f->current;
    f->next++;
    return 1;
}
