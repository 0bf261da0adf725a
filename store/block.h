/* A block: the events that one turn received for one route, encoded once, shared by the writer, the
 * in-memory tail and the sinks that are sending them. */
#ifndef BASCULE_BLOCK_H
#define BASCULE_BLOCK_H

#include "bridge/base/event.h"
#include "bridge/base/fault.h"

#include <stdatomic.h>

#define BLOCK_EVENTS_MAX 65536

/* Immutable once opened; counted references, which any thread may take and drop. */
struct block {
    atomic_uint references;
    uint64_t route_id;
    uint64_t first_seq; /* events are first_seq .. first_seq + count - 1 */
    uint32_t count;
    int64_t received_ms; /* unix ms of all its events */
    uint32_t *offsets;   /* count + 1; event i is data[offsets[i] .. offsets[i + 1] - 1] */
    uint8_t *data;       /* chunk format, see chunk.h */
    size_t bytes;
};

/* Encodes events (their seq, received_ms are ignored: the arguments count). One reference, the
 * caller's. Fails on memory and past BLOCK_EVENTS_MAX or UINT32_MAX bytes. */
int block_open(uint64_t route_id, uint64_t first_seq, int64_t received_ms,
    const struct event *events, size_t count, struct block **ret, struct fault *why);
/* One event by its index (< count); its bytes are lent from the block. */
void block_event(const struct block *b, uint32_t index, struct event *ret);
struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* NULL is allowed */

#endif
