/* Events that came from a queue in one go. */
#ifndef BASCULE_LOT_H
#define BASCULE_LOT_H

#include <stdbool.h>

#include "bridge/base/event.h"
#include "bridge/links/rabbitmq/arena.h"

/* Full when it has one of these. */
#define LOT_EVENTS 1024
#define LOT_BYTES (1 << 20)

/* In memory of their own; slices of it are lent as batches. */
struct lot {
    struct lot *next;
    struct arena arena;
    struct event *events;
    uint64_t *tags;
    size_t count, room, taken, bytes;
    int refs; /* under the link's lock: slices that are lent, and one while it is in a list */
};

void lot_free(struct lot *lot);
void lot_unref(struct lot *lot);
/* Room for count events. -1: no memory. */
int lot_room(struct lot *lot, size_t count);
/* Appends all of *from, which is left to be freed, where *to is not begun and stays within bounds.
 */
bool lot_merge(struct lot *to, struct lot *from);

#endif
