/* The ordering keys that have something unfinished in one lane, by 64-bit hash. Two keys of one
 * hash are treated as one: that parks more than needed, never less. */
#ifndef BASCULE_KEYS_H
#define BASCULE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry;

struct key {
    uint64_t hash;      /* never 0 */
    struct key *chain;  /* of its bucket, or of the free ones */
    uint32_t in_flight; /* sent and without report */
    uint32_t ready;     /* in memory, to be sent */
    uint32_t again;     /* of these two and not held: whose attempt ended other than delivered */
    uint32_t held;      /* rows WAITING or FOLLOWING */
    uint64_t skipped; /* the sending pass in which one of it had to wait, so later ones wait too */
    bool barrier;     /* one failed: nothing of it is sent until in_flight is 0 */
    struct entry *first, *last; /* its held entries, lowest seq first */
};

struct keys {
    struct key **buckets;
    size_t bucket_count, n, parked; /* parked: keys with held > 0 */
    struct key *free;
    void *slabs;
};

void keys_init(struct keys *k);
void keys_done(struct keys *k);
struct key *keys_find(const struct keys *k, uint64_t hash);
/* Finds or makes; NULL when there is no memory. */
struct key *keys_get(struct keys *k, uint64_t hash);
/* Forgets it when nothing of it is unfinished. */
void keys_release(struct keys *k, struct key *key);

#endif
