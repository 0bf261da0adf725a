/* Memory of replies: each is one tree in a few blocks, so that a thousand entries cost no thousand
 * mallocs; blocks of full size are kept for the next replies, so that the allocator does not give
 * their pages back to the system and fetch them again. */
#ifndef BASCULE_REPLY_H
#define BASCULE_REPLY_H

#include "bridge/links/resp.h"

struct reply_pool;

struct reply_block {
    struct reply_block *older;
    size_t bytes;
    max_align_t at[];
};

struct reply {
    struct resp_value root; /* first: the tree is known by its root */
    struct reply_pool *pool;
    struct reply_block *blocks;
    size_t used; /* of the newest block */
};

/* NULL: no memory. */
struct reply_pool *reply_pool_open(void);
/* Its replies may live on. */
void reply_pool_close(struct reply_pool *p);
/* Frees what is kept. */
void reply_pool_trim(struct reply_pool *p);

/* NULL: no memory. */
struct reply *reply_new(struct reply_pool *p);
void reply_free(struct reply *y);
/* Keeps a small first block: most replies are small. */
void reply_empty(struct reply *y);
/* Makes room in a new block. */
void *reply_grow(struct reply *y, size_t n);

/* n bytes that live as long as the reply, aligned for anything; NULL: no memory. */
static inline void *reply_piece(struct reply *y, size_t n)
{
    struct reply_block *b = y->blocks;
    uint8_t *at = NULL;

    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!b || n > b->bytes - y->used)
        return reply_grow(y, n);
    at = (uint8_t *)b->at + y->used;
    y->used += n;
    return at;
}

#endif
