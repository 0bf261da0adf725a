#include "bridge/links/rabbitmq/lot.h"

#include <stdlib.h>
#include <string.h>

void lot_free(struct lot *lot)
{
    if (!lot)
        return;
    arena_done(&lot->arena);
    free(lot->events);
    free(lot->tags);
    free(lot);
}

void lot_unref(struct lot *lot)
{
    if (--lot->refs == 0)
        lot_free(lot);
}

int lot_room(struct lot *lot, size_t count)
{
    size_t room = lot->room ? lot->room : 16;
    struct event *events;
    uint64_t *tags;

    while (room < count)
        room *= 2;
    if (room == lot->room)
        return 0;
    events = realloc(lot->events, room * sizeof *events);
    if (events)
        lot->events = events;
    tags = realloc(lot->tags, room * sizeof *tags);
    if (tags)
        lot->tags = tags;
    if (!events || !tags)
        return -1;
    lot->room = room;
    return 0;
}

/* Small lots that still wait grow together, so that a batch is what arrived and not what one
 * read of the socket held. */
bool lot_merge(struct lot *to, struct lot *from)
{
    if (to->taken > 0 || to->count + from->count > LOT_EVENTS ||
        to->bytes + from->bytes > LOT_BYTES || lot_room(to, to->count + from->count) != 0)
        return false;
    memcpy(to->events + to->count, from->events, from->count * sizeof *from->events);
    memcpy(to->tags + to->count, from->tags, from->count * sizeof *from->tags);
    to->count += from->count;
    to->bytes += from->bytes;
    arena_join(&to->arena, &from->arena);
    return true;
}
