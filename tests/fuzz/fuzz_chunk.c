/* Any bytes as a chunk's frame, as its events and as ranges. */
#include "store/chunk.h"
#include "store/ranges.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use_events(uint8_t *data, size_t n, uint32_t count)
{
    struct block *b = NULL;
    struct buf filter;

    if (block_from_data(1, 1, 0, count, data, n, &b, NULL) != 0) {
        free(data);
        return;
    }
    buf_init(&filter, CHUNK_BYTES_MAX);
    chunk_filter(b, &filter);
    for (uint32_t i = 0; i < b->count; i++) {
        struct event e;

        block_event(b, i, &e);
        if (!chunk_filter_may(buf_bytes(&filter), chunk_hash_id(event_id(&e))))
            abort();
    }
    buf_done(&filter);
    block_unref(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ranges ranges = { 0 };
    uint8_t *copy;

    if (n < 3)
        return 0;
    if (ranges_decode(bytes_of(data, n), &ranges) == 0)
        ranges_done(&ranges);
    copy = malloc(n);
    if (!copy)
        return 0;
    memcpy(copy, data + 2, n - 2);
    use_events(copy, n - 2, 1u + data[0]);
    if (chunk_unframe(bytes_of(data + 2, n - 2), (size_t)data[0] << 4 | data[1],
            (struct chunk_dictionary){ 0 }, &copy, NULL) == 0)
        use_events(copy, (size_t)data[0] << 4 | data[1], 1u + data[1] % 8);
    return 0;
}
