#include "bridge/links/reply.h"

#include <stdlib.h>

#define BLOCK_BYTES_MIN (16u << 10)
#define BLOCK_BYTES_MAX (256u << 10)
/* Blocks of full size that are kept. */
#define POOL_BLOCKS_MAX 16

/* Outlives its owner as long as a reply that was taken does. */
struct reply_pool {
    unsigned refs;
    struct reply_block *spare;
    size_t n;
    bool closed;
};

struct reply_pool *reply_pool_open(void)
{
    struct reply_pool *p = calloc(1, sizeof *p);

    if (p)
        p->refs = 1;
    return p;
}

void reply_pool_trim(struct reply_pool *p)
{
    while (p->spare) {
        struct reply_block *b = p->spare;
        p->spare = b->older;
        free(b);
    }
    p->n = 0;
}

static void drop(struct reply_pool *p)
{
    if (--p->refs == 0)
        free(p);
}

void reply_pool_close(struct reply_pool *p)
{
    if (!p)
        return;
    p->closed = true;
    reply_pool_trim(p);
    drop(p);
}

static void block_free(struct reply_pool *p, struct reply_block *b)
{
    if (b->bytes != BLOCK_BYTES_MAX || p->closed || p->n == POOL_BLOCKS_MAX) {
        free(b);
        return;
    }
    b->older = p->spare;
    p->spare = b;
    p->n++;
}

struct reply *reply_new(struct reply_pool *p)
{
    struct reply *y = calloc(1, sizeof *y);

    if (y) {
        y->pool = p;
        p->refs++;
    }
    return y;
}

void reply_free(struct reply *y)
{
    if (!y)
        return;
    while (y->blocks) {
        struct reply_block *b = y->blocks;
        y->blocks = b->older;
        block_free(y->pool, b);
    }
    drop(y->pool);
    free(y);
}

void reply_empty(struct reply *y)
{
    while (y->blocks && (y->blocks->older || y->blocks->bytes > BLOCK_BYTES_MIN)) {
        struct reply_block *b = y->blocks;
        y->blocks = b->older;
        block_free(y->pool, b);
    }
    y->used = 0;
}

/* A reply that outgrows its first block is a large one: then blocks of full size. */
static struct reply_block *block_new(struct reply *y, size_t n)
{
    struct reply_pool *p = y->pool;
    size_t bytes = y->blocks ? BLOCK_BYTES_MAX : BLOCK_BYTES_MIN;
    struct reply_block *b = p->spare;

    if (bytes == BLOCK_BYTES_MAX && n <= bytes && b) {
        p->spare = b->older;
        p->n--;
        return b;
    }
    bytes = bytes > n ? bytes : n;
    b = malloc(sizeof *b + bytes);
    if (b)
        b->bytes = bytes;
    return b;
}

void *reply_grow(struct reply *y, size_t n)
{
    struct reply_block *b = block_new(y, n);

    if (!b)
        return NULL;
    b->older = y->blocks;
    y->blocks = b;
    y->used = n;
    return b->at;
}
