#include "store/chunk.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define VARINT_MAX 10
#define FILTER_BITS 10
#define FILTER_PROBES 4
/* zstd's table of what was seen. Its own 2^14 entries do not fit a core's first cache beside the
 * data; small events find nearly all that they have in common in 2^12. */
#define SMALL_EVENT_BYTES 512
#define SMALL_HASH_LOG 12

enum has {
    HAS_KEY = 1u << 0,
    HAS_ID = 1u << 1,
    HAS_BODY = 1u << 2,
    HAS_ORDER_KEY = 1u << 3,
    HAS_TIME = 1u << 4,
    HAS_HOPS = 1u << 5,
    HAS_HEADERS = 1u << 6,
    HAS_LATER = 1u << 7, /* merged chunks: received after the first event of its block */
    FLAGS_SHIFT = 8,
};

size_t chunk_event_bytes(const struct event *e)
{
    return event_bytes(e) + 10 * VARINT_MAX;
}

static uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static uint8_t *put_bytes(uint8_t *to, struct bytes b)
{
    if (b.n)
        memcpy(to, b.at, b.n);
    return to + b.n;
}

static uint64_t flags_of(const struct event *e)
{
    uint64_t flags = (uint64_t)e->flags << FLAGS_SHIFT;

    flags |= bytes_present(e->key) ? HAS_KEY : 0;
    flags |= bytes_present(e->id) ? HAS_ID : 0;
    flags |= bytes_present(e->body) ? HAS_BODY : 0;
    flags |= bytes_present(e->order_key) ? HAS_ORDER_KEY : 0;
    flags |= e->time_ms ? HAS_TIME : 0;
    flags |= e->hops ? HAS_HOPS : 0;
    flags |= e->headers.n ? HAS_HEADERS : 0;
    return flags;
}

size_t chunk_event_put(uint8_t *to, const struct event *e, uint64_t later_ms)
{
    const uint8_t *start = to;
    uint64_t flags = flags_of(e) | (later_ms ? HAS_LATER : 0);

    to = put_varint(to, flags);
    to = put_varint(to, e->address.n);
    to = put_varint(to, e->origin.n);
    if (flags & HAS_KEY)
        to = put_varint(to, e->key.n);
    if (flags & HAS_ID)
        to = put_varint(to, e->id.n);
    if (flags & HAS_HEADERS)
        to = put_varint(to, e->headers.n);
    if (flags & HAS_BODY)
        to = put_varint(to, e->body.n);
    if (flags & HAS_ORDER_KEY)
        to = put_varint(to, e->order_key.n);
    if (flags & HAS_TIME)
        to = put_varint(to, (uint64_t)e->time_ms);
    if (flags & HAS_HOPS)
        to = put_varint(to, e->hops);
    if (flags & HAS_LATER)
        to = put_varint(to, later_ms);
    to = put_bytes(to, e->address);
    to = put_bytes(to, e->origin);
    to = put_bytes(to, e->key);
    to = put_bytes(to, e->id);
    to = put_bytes(to, e->headers);
    to = put_bytes(to, e->body);
    to = put_bytes(to, e->order_key);
    return (size_t)(to - start);
}

/* Nearly all lengths are one byte long, and there are six of them in each event. */
static inline int get_varint(struct bytes *from, uint64_t *ret)
{
    if (from->n == 0 || from->at[0] >= 0x80)
        return bytes_get_varint(from, ret);
    *ret = *from->at++;
    from->n--;
    return 0;
}

static inline int get_length(struct bytes *from, bool present, size_t *ret)
{
    uint64_t v = 0;

    if (present && get_varint(from, &v) != 0)
        return -1;
    if (v > CHUNK_BYTES_MAX)
        return -1;
    *ret = (size_t)v;
    return 0;
}

static inline int get_run(struct bytes *from, bool present, size_t n, struct bytes *ret)
{
    if (!present) {
        *ret = BYTES_NONE;
        return 0;
    }
    if (n > from->n)
        return -1;
    *ret = (struct bytes){ from->at, n };
    from->at += n;
    from->n -= n;
    return 0;
}

int chunk_event_get(struct bytes *from, struct event *ret)
{
    size_t address, origin, key, id, headers, body, order_key;
    uint64_t flags, time_ms = 0, hops = 0, later_ms = 0;

    if (get_varint(from, &flags) != 0 || get_length(from, true, &address) != 0 ||
        get_length(from, true, &origin) != 0 || get_length(from, flags & HAS_KEY, &key) != 0 ||
        get_length(from, flags & HAS_ID, &id) != 0 ||
        get_length(from, flags & HAS_HEADERS, &headers) != 0 ||
        get_length(from, flags & HAS_BODY, &body) != 0 ||
        get_length(from, flags & HAS_ORDER_KEY, &order_key) != 0 ||
        ((flags & HAS_TIME) && get_varint(from, &time_ms) != 0) ||
        ((flags & HAS_HOPS) && get_varint(from, &hops) != 0) ||
        ((flags & HAS_LATER) && get_varint(from, &later_ms) != 0))
        return -1;
    *ret = (struct event){
        .time_ms = (int64_t)time_ms,
        .received_ms = (int64_t)later_ms,
        .flags = (uint32_t)(flags >> FLAGS_SHIFT),
        .hops = (uint32_t)hops,
    };
    if (get_run(from, true, address, &ret->address) != 0 ||
        get_run(from, true, origin, &ret->origin) != 0 ||
        get_run(from, flags & HAS_KEY, key, &ret->key) != 0 ||
        get_run(from, flags & HAS_ID, id, &ret->id) != 0 ||
        get_run(from, flags & HAS_HEADERS, headers, &ret->headers) != 0 ||
        get_run(from, flags & HAS_BODY, body, &ret->body) != 0 ||
        get_run(from, flags & HAS_ORDER_KEY, order_key, &ret->order_key) != 0)
        return -1;
    return 0;
}

/* 0: what the level says. */
static int hash_log(const struct block *b, struct chunk_dictionary with)
{
    return !with.number && b->bytes / SMALL_EVENT_BYTES < b->count ? SMALL_HASH_LOG : 0;
}

int chunk_frame(void *context, const struct block *b, struct chunk_dictionary with, struct buf *to,
    struct fault *why)
{
    ZSTD_CCtx *z = context;
    size_t bound = ZSTD_compressBound(b->bytes), n;
    uint8_t *at;

    buf_put_byte(to, with.number ? CHUNK_VERSION_DICTIONARY : CHUNK_VERSION);
    if (with.number)
        buf_put_varint(to, with.number);
    at = buf_reserve(to, bound);
    if (!at)
        return fault_set(why, FAULT_RETRY, 0, "out of memory for a frame of %zu bytes", bound);
    (void)ZSTD_CCtx_refCDict(z, with.made);
    (void)ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, CHUNK_LEVEL);
    (void)ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    (void)ZSTD_CCtx_setParameter(z, ZSTD_c_hashLog, hash_log(b, with));
    n = ZSTD_compress2(z, at, bound, b->data, b->bytes);
    if (ZSTD_isError(n))
        return fault_set(why, FAULT_RETRY, 0, "zstd: %s", ZSTD_getErrorName(n));
    to->n += n;
    return 0;
}

/* What stands before the zstd frame, off *frame. */
static int get_head(struct bytes *frame, uint64_t *dictionary)
{
    uint8_t version = frame->n ? frame->at[0] : 0;

    *dictionary = 0;
    if (version != CHUNK_VERSION && version != CHUNK_VERSION_DICTIONARY)
        return -1;
    *frame = bytes_of(frame->at + 1, frame->n - 1);
    if (version == CHUNK_VERSION)
        return 0;
    return bytes_get_varint(frame, dictionary) != 0 || *dictionary == 0 ? -1 : 0;
}

uint64_t chunk_frame_dictionary(struct bytes frame)
{
    uint64_t number;

    return get_head(&frame, &number) == 0 ? number : 0;
}

/* Returns what zstd does: want of memory is an error of its own, never damage. */
static size_t expand(struct bytes frame, const void *dictionary, uint8_t *to, size_t n)
{
    ZSTD_DCtx *z;
    size_t got;

    if (!dictionary)
        return ZSTD_decompress(to, n, frame.at, frame.n);
    z = ZSTD_createDCtx();
    if (!z)
        return (size_t)-ZSTD_error_memory_allocation;
    got = ZSTD_decompress_usingDDict(z, to, n, frame.at, frame.n, dictionary);
    (void)ZSTD_freeDCtx(z);
    return got;
}

int chunk_unframe(struct bytes frame, size_t raw_bytes, struct chunk_dictionary with, uint8_t **ret,
    struct fault *why)
{
    uint64_t number;
    uint8_t *data;
    size_t n;

    if (get_head(&frame, &number) != 0)
        return fault_set(why, FAULT_BROKEN, 0, "its format version is unknown");
    if (number != with.number)
        return fault_set(
            why, FAULT_BROKEN, 0, "its dictionary %llu is missing", (unsigned long long)number);
    if (raw_bytes > CHUNK_BYTES_MAX)
        return fault_set(why, FAULT_BROKEN, 0, "its length of %zu bytes cannot be", raw_bytes);
    data = malloc(raw_bytes ? raw_bytes : 1);
    if (!data)
        return fault_set(why, FAULT_RETRY, 0, "out of memory for a chunk of %zu bytes", raw_bytes);
    n = expand(frame, with.made, data, raw_bytes);
    if (ZSTD_isError(n) || n != raw_bytes) {
        free(data);
        if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
            return fault_set(why, FAULT_RETRY, 0, "out of memory for its frame");
        return fault_set(why, FAULT_BROKEN, 0, "its frame is damaged: %s",
            ZSTD_isError(n) ? ZSTD_getErrorName(n) : "wrong length");
    }
    *ret = data;
    return 0;
}

/* ---- filter ---- */

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 29);
}

uint64_t chunk_hash_id(struct bytes id)
{
    return mix(bytes_hash(id));
}

uint64_t chunk_hash_key(struct bytes key)
{
    return mix(bytes_hash(key) ^ 0x9e3779b97f4a7c15u);
}

/* The i-th place of a hash among bit_count: the upper half of a product, as a division costs more
 * than all the rest. */
static inline size_t probe(uint64_t hash, int i, size_t bit_count)
{
    uint32_t at = (uint32_t)(hash >> 32) + (uint32_t)i * (uint32_t)(hash | 1);

    return (size_t)((uint64_t)at * bit_count >> 32);
}

static void filter_add(uint8_t *bits, size_t bit_count, uint64_t hash)
{
    for (int i = 0; i < FILTER_PROBES; i++) {
        size_t bit = probe(hash, i, bit_count);

        bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
}

static size_t key_count(const struct block *b)
{
    size_t n = 0;

    for (uint32_t i = 0; i < b->count; i++)
        n += b->data[b->offsets[i]] & HAS_KEY ? 1 : 0; /* the first byte of its flags */
    return n;
}

void chunk_filter(const struct block *b, struct buf *to)
{
    size_t bytes = ((b->count + key_count(b)) * FILTER_BITS + 7) / 8;
    uint8_t *bits = buf_reserve(to, bytes);

    if (!bits)
        return;
    memset(bits, 0, bytes);
    to->n += bytes;
    for (uint32_t i = 0; i < b->count; i++) {
        struct event e;

        block_event(b, i, &e);
        filter_add(bits, bytes * 8, chunk_hash_id(event_id(&e)));
        if (bytes_present(e.key))
            filter_add(bits, bytes * 8, chunk_hash_key(e.key));
    }
}

bool chunk_filter_may(struct bytes filter, uint64_t hash)
{
    if (filter.n == 0)
        return true;
    for (int i = 0; i < FILTER_PROBES; i++) {
        size_t bit = probe(hash, i, filter.n * 8);

        if (!(filter.at[bit / 8] & (1u << (bit % 8))))
            return false;
    }
    return true;
}
