/* Places by number for what a sink has in flight: as many as are in use, never a whole window that
 * an idle sink does not need. */
#ifndef BASCULE_RING_H
#define BASCULE_RING_H

#include <stddef.h>
#include <stdint.h>

/* All zero but `bytes` when made; never smaller again. */
struct ring {
    uint8_t *at;
    size_t bytes, capacity; /* of one place; places, a power of two or 0 */
};

/* The place of a number; one that ring_room() has made room for. New places are all zero. */
static inline void *ring_at(const struct ring *r, uint64_t number)
{
    return r->at + (number & (r->capacity - 1)) * r->bytes;
}

/* Makes at least n places; those of first..end-1 keep what they hold, elsewhere in memory. Returns
 * 0, or -1 without memory: then nothing has changed. */
int ring_room(struct ring *r, uint64_t first, uint64_t end, size_t n);
void ring_done(struct ring *r);

#endif
