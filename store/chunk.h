/* The chunk format: events as bytes, many of them as one compressed frame, and a small filter that
 * tells which ids and keys a chunk cannot hold. Pure functions; what they read may be damaged. */
#ifndef BASCULE_CHUNK_H
#define BASCULE_CHUNK_H

#include "store/block.h"

#include "bridge/base/buf.h"

/* One event: varint of flags, varint lengths of address, key, id, origin, headers, body and order
 * key (those that are present), varints of time, hops and later_ms where there are any, then the
 * bytes in that order. The version stands in the frame's first byte, before the zstd frame: 1, or 2
 * where a varint follows that names the dictionary it was compressed with. */
#define CHUNK_VERSION 1
#define CHUNK_VERSION_DICTIONARY 2
#define CHUNK_LEVEL 1 /* of zstd */
/* Decoded bytes of one frame that are believed: a larger number is damage. */
#define CHUNK_BYTES_MAX ((size_t)1 << 30)

/* An upper bound of what chunk_event_put() writes. */
size_t chunk_event_bytes(const struct event *e);
/* Returns the bytes written. seq and received_ms are the block's, not written; `later_ms` is how
 * much later than the block's time it was received (merged chunks). */
size_t chunk_event_put(uint8_t *to, const struct event *e, uint64_t later_ms);
/* The next event off *from; its bytes are lent from there, its received_ms counts from the block's.
 * -1: damaged. */
int chunk_event_get(struct bytes *from, struct event *ret);

/* A ZSTD_CDict or ZSTD_DDict and its number; 0 and NULL: none. */
struct chunk_dictionary {
    uint64_t number;
    const void *made;
};
/* Compresses; -1 when there is no memory. `context` is a ZSTD_CCtx kept by the caller. */
int chunk_frame(void *context, const struct block *b, struct chunk_dictionary with, struct buf *to,
    struct fault *why);
/* The number of the dictionary that a frame needs; 0: none, or no frame. */
uint64_t chunk_frame_dictionary(struct bytes frame);
/* Verifies the checksum. `with` is what chunk_frame_dictionary() named. *ret is malloced.
 * FAULT_BROKEN: damaged. */
int chunk_unframe(struct bytes frame, size_t raw_bytes, struct chunk_dictionary with, uint8_t **ret,
    struct fault *why);

/* A Bloom filter over event ids and keys (10 bits each, 4 probes: about 1 % false positives). How
 * bits are chosen is format 1, the column's default; readers take another one as absent. */
#define CHUNK_FILTER_USABLE "iif(filter_format = 1, filter, NULL)"
void chunk_filter(const struct block *b, struct buf *to);
/* False: no event in it has that id or key. An absent filter says true. */
bool chunk_filter_may(struct bytes filter, uint64_t hash);
uint64_t chunk_hash_id(struct bytes id);
uint64_t chunk_hash_key(struct bytes key);

/* block.c: takes over `data` (malloced) on success. */
int block_from_data(uint64_t route_id, uint64_t first_seq, int64_t received_ms, uint32_t count,
    uint8_t *data, size_t bytes, struct block **ret, struct fault *why);

#endif
