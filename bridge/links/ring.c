#include "bridge/links/ring.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 16

int ring_room(struct ring *r, uint64_t first, uint64_t end, size_t n)
{
    struct ring more = { .bytes = r->bytes, .capacity = r->capacity };

    if (n <= r->capacity)
        return 0;
    if (!more.capacity)
        more.capacity = CAPACITY_FIRST;
    while (more.capacity < n)
        more.capacity *= 2;
    more.at = calloc(more.capacity, more.bytes);
    if (!more.at)
        return -1;
    for (uint64_t i = first; i < end; i++)
        memcpy(ring_at(&more, i), ring_at(r, i), r->bytes);
    free(r->at);
    *r = more;
    return 0;
}

void ring_done(struct ring *r)
{
    free(r->at);
    r->at = NULL;
    r->capacity = 0;
}
