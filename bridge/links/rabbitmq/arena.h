/* Memory that is given out in pieces and freed as a whole. */
#ifndef BASCULE_ARENA_H
#define BASCULE_ARENA_H

#include "bridge/base/bytes.h"

struct arena_block;

/* Zeroed is empty and ready. */
struct arena {
    struct arena_block *blocks;
    size_t used, room; /* of the newest block */
};

/* Aligned for anything, valid until arena_done(). NULL when there is no memory. */
void *arena_get(struct arena *a, size_t n);
/* A copy of n bytes, present even for n 0. NULL when there is no memory. */
uint8_t *arena_copy(struct arena *a, const void *at, size_t n);
/* Moves all of *from into *a; pointers stay valid. */
void arena_join(struct arena *a, struct arena *from);
void arena_done(struct arena *a);

#endif
