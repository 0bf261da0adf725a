#include "routes/tail.h"

#include <assert.h>

void tail_init(struct tail *t, uint64_t next_seq)
{
    *t = (struct tail){ .next_seq = next_seq };
}

static struct block *nth(const struct tail *t, size_t i)
{
    return t->at[(t->head + i) % TAIL_BLOCKS_MAX];
}

static void drop_oldest(struct tail *t)
{
    struct block *b = nth(t, 0);

    t->bytes -= b->bytes;
    t->head = (t->head + 1) % TAIL_BLOCKS_MAX;
    t->n--;
    block_unref(b);
}

void tail_done(struct tail *t)
{
    while (t->n)
        drop_oldest(t);
}

void tail_push(struct tail *t, struct block *b)
{
    assert(b->first_seq == t->next_seq);
    while (t->n && (t->n == TAIL_BLOCKS_MAX || t->bytes + b->bytes > TAIL_BYTES_MAX))
        drop_oldest(t);
    t->at[(t->head + t->n) % TAIL_BLOCKS_MAX] = b;
    t->n++;
    t->bytes += b->bytes;
    t->next_seq = b->first_seq + b->count;
}

void tail_trim(struct tail *t, uint64_t seq)
{
    while (t->n && nth(t, 0)->first_seq + nth(t, 0)->count <= seq)
        drop_oldest(t);
}

void tail_unread(struct tail *t, uint64_t seq)
{
    while (t->n > 1 && seq < nth(t, 0)->first_seq && t->bytes > TAIL_UNREAD_BYTES)
        drop_oldest(t);
}

size_t tail_bytes_from(const struct tail *t, uint64_t seq)
{
    size_t bytes = 0;

    if (seq >= t->next_seq)
        return 0;
    if (t->n == 0 || seq < nth(t, 0)->first_seq)
        return SIZE_MAX;
    for (size_t i = t->n; i > 0; i--) {
        bytes += nth(t, i - 1)->bytes;
        if (nth(t, i - 1)->first_seq <= seq)
            break;
    }
    return bytes;
}

struct block *tail_find(const struct tail *t, uint64_t seq)
{
    size_t low = 0, high = t->n;

    if (t->n == 0 || seq < nth(t, 0)->first_seq || seq >= t->next_seq)
        return NULL;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (nth(t, middle)->first_seq <= seq)
            low = middle;
        else
            high = middle;
    }
    return nth(t, low);
}
