/* A sorted set of disjoint ranges of sequence numbers: what is finished above a cursor's frontier.
 */
#ifndef BASCULE_RANGES_H
#define BASCULE_RANGES_H

#include "bridge/base/buf.h"

struct range {
    uint64_t first, last; /* both inside */
};

struct ranges {
    struct range *at; /* owned; sorted, neither overlapping nor touching */
    size_t n, capacity;
};

void ranges_done(struct ranges *r);
/* Adds first..last, joining neighbours; what is already there stays. -1 when there is no memory. */
int ranges_add(struct ranges *r, uint64_t first, uint64_t last);
bool ranges_have(const struct ranges *r, uint64_t seq);
/* Numbers in the set. */
uint64_t ranges_count(const struct ranges *r);
/* Removes everything below `seq`. */
void ranges_cut(struct ranges *r, uint64_t seq);
int ranges_copy(const struct ranges *from, struct ranges *ret);
/* Varint gaps and lengths; versioned. Decoding checks order and limits: -1 on rubbish. */
void ranges_encode(const struct ranges *r, struct buf *to);
int ranges_decode(struct bytes from, struct ranges *ret);

#endif
