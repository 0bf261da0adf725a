/* Dictionaries for small chunks. One that holds a few events compresses badly alone; what the
 * events of its route have in common stands in a dictionary, once, in the database. A route gets
 * one when merging has brought enough of its events together, and a new one when that has become
 * better. */
#ifndef BASCULE_DICTIONARY_H
#define BASCULE_DICTIONARY_H

#include "store/block.h"
#include "store/db.h"

/* Chunks of more bytes gain nothing: measured on 256 B of JSON, frames of 1, 4, 16 and 64 events
 * went from 266, 148, 110 and 99.7 B an event to 139, 113, 106 and 99.8 (tests/bench/README.md). */
#define DICTIONARY_CHUNK_BYTES 4096

/* What a route's writer knows of it. */
struct dictionary_state {
    bool loaded;
    uint64_t number; /* the newest; 0: none */
    int64_t made_ms;
};

/* The newest of the route, once. -1: it could not be read. */
int dictionary_load(
    struct db *d, uint64_t route_id, struct dictionary_state *state, struct fault *why);
/* The ZSTD_CDict or ZSTD_DDict of that number, kept by the connection and lent until the next call
 * for one. NULL with *why: no memory, or there is none (FAULT_BROKEN). */
const void *dictionary_to_compress(struct db *d, uint64_t number, struct fault *why);
const void *dictionary_to_expand(struct db *d, uint64_t number, struct fault *why);
/* Makes one of the events of `b` where the route has none, or where its own is a day old and a new
 * one makes them a tenth smaller; one transaction. Up to 1 ms. */
int dictionary_learn(struct db *d, const struct block *b, uint64_t next_seq, int64_t unix_ms,
    struct dictionary_state *state, struct fault *why);
/* Forgets those that no chunk from first_seq on can have. */
int dictionary_forget(struct db *d, uint64_t route_id, uint64_t first_seq, struct fault *why);

#endif
