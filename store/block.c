#include "store/block.h"

#include "bridge/base/buf.h"
#include "store/chunk.h"

#include <stdlib.h>

static struct block *block_alloc(uint32_t count, size_t bytes)
{
    struct block *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->offsets = malloc(((size_t)count + 1) * sizeof *b->offsets);
    b->data = malloc(bytes ? bytes : 1);
    atomic_init(&b->references, 1);
    b->count = count;
    if (!b->offsets || !b->data) {
        block_unref(b);
        return NULL;
    }
    return b;
}

/* What was reserved is a bound, a third above what small events need, and blocks are kept for long.
 */
static void give_back(struct block *b)
{
    uint8_t *data = realloc(b->data, b->bytes ? b->bytes : 1);

    if (data)
        b->data = data;
}

int block_open(uint64_t route_id, uint64_t first_seq, int64_t received_ms,
    const struct event *events, size_t count, struct block **ret, struct fault *why)
{
    size_t bytes = 0;
    struct block *b;

    if (count > BLOCK_EVENTS_MAX)
        return fault_set(why, FAULT_INPUT, 0, "%zu events are too many for one block", count);
    for (size_t i = 0; i < count; i++)
        bytes += chunk_event_bytes(&events[i]);
    if (bytes > UINT32_MAX)
        return fault_set(why, FAULT_INPUT, 0, "%zu bytes are too many for one block", bytes);
    b = block_alloc((uint32_t)count, bytes);
    if (!b)
        return fault_set(why, FAULT_RETRY, 0, "out of memory for a block of %zu bytes", bytes);
    b->route_id = route_id;
    b->first_seq = first_seq;
    b->received_ms = received_ms;
    for (size_t i = 0; i < count; i++) {
        b->offsets[i] = (uint32_t)b->bytes;
        b->bytes += chunk_event_put(b->data + b->bytes, &events[i], 0);
    }
    b->offsets[count] = (uint32_t)b->bytes;
    give_back(b);
    *ret = b;
    return 0;
}

int block_from_data(uint64_t route_id, uint64_t first_seq, int64_t received_ms, uint32_t count,
    uint8_t *data, size_t bytes, struct block **ret, struct fault *why)
{
    struct bytes from = bytes_of(data, bytes);
    struct block *b = calloc(1, sizeof *b);
    struct event event;

    if (b)
        b->offsets = malloc(((size_t)count + 1) * sizeof *b->offsets);
    if (!b || !b->offsets) {
        free(b);
        return fault_set(why, FAULT_RETRY, 0, "out of memory for a block of %zu bytes", bytes);
    }
    atomic_init(&b->references, 1);
    b->route_id = route_id;
    b->first_seq = first_seq;
    b->received_ms = received_ms;
    b->count = count;
    b->bytes = bytes;
    for (uint32_t i = 0; i < count; i++) {
        b->offsets[i] = (uint32_t)(bytes - from.n);
        if (chunk_event_get(&from, &event) != 0)
            goto damaged;
    }
    b->offsets[count] = (uint32_t)bytes;
    if (from.n != 0)
        goto damaged;
    b->data = data;
    *ret = b;
    return 0;
damaged:
    free(b->offsets);
    free(b);
    return fault_set(why, FAULT_BROKEN, 0, "its events cannot be read");
}

void block_event(const struct block *b, uint32_t index, struct event *ret)
{
    struct bytes from =
        bytes_of(b->data + b->offsets[index], b->offsets[index + 1] - b->offsets[index]);

    (void)chunk_event_get(&from, ret); /* was read once already: block_open(), block_from_data() */
    ret->seq = b->first_seq + index;
    ret->received_ms = (int64_t)((uint64_t)ret->received_ms + (uint64_t)b->received_ms);
}

struct block *block_ref(struct block *b)
{
    (void)atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

void block_unref(struct block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1)
        return;
    free(b->offsets);
    free(b->data);
    free(b);
}
