#include "bridge/links/rabbitmq/arena.h"

#include <stdlib.h>

/* The first block is small, as each message in flight has an arena; then they grow. */
#define BLOCK_BYTES_FIRST 512
#define BLOCK_BYTES 16384

struct arena_block {
    struct arena_block *older;
    max_align_t at[];
};

static uint8_t *block_add(struct arena *a, size_t n)
{
    struct arena_block *b;

    if (n > SIZE_MAX - sizeof *b)
        return NULL;
    b = malloc(sizeof *b + n);
    if (!b)
        return NULL;
    b->older = a->blocks;
    a->blocks = b;
    return (uint8_t *)b->at;
}

void *arena_get(struct arena *a, size_t n)
{
    struct arena_block *newest = a->blocks;
    uint8_t *at;
    size_t size;

    if (n > SIZE_MAX - sizeof(max_align_t))
        return NULL;
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (n <= a->room - a->used) {
        at = (uint8_t *)newest->at + a->used;
        a->used += n;
        return at;
    }
    size = a->room < BLOCK_BYTES_FIRST ? BLOCK_BYTES_FIRST : a->room * 4;
    size = size < BLOCK_BYTES ? size : BLOCK_BYTES;
    if (n < size / 4) {
        at = block_add(a, size);
        if (!at)
            return NULL;
        a->room = size;
        a->used = n;
        return at;
    }
    /* A large piece gets a block of its own, behind the one that still has room. */
    at = block_add(a, n);
    if (!at)
        return NULL;
    if (newest) {
        struct arena_block *own = a->blocks;

        own->older = newest->older;
        newest->older = own;
        a->blocks = newest;
    } else {
        a->room = a->used = n;
    }
    return at;
}

uint8_t *arena_copy(struct arena *a, const void *at, size_t n)
{
    uint8_t *to = arena_get(a, n ? n : 1);

    if (to && n)
        memcpy(to, at, n);
    return to;
}

void arena_done(struct arena *a)
{
    struct arena_block *b = a->blocks;

    while (b) {
        struct arena_block *older = b->older;

        free(b);
        b = older;
    }
    *a = (struct arena){ 0 };
}

void arena_join(struct arena *a, struct arena *from)
{
    struct arena_block *b = from->blocks, *oldest = b;

    if (!b)
        return;
    while (oldest->older)
        oldest = oldest->older;
    oldest->older = a->blocks;
    *a = *from;
    *from = (struct arena){ 0 };
}
