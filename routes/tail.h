/* The newest committed blocks of one route, kept in memory so that sinks that keep up never read
 * the disk. */
#ifndef BASCULE_TAIL_H
#define BASCULE_TAIL_H

#include "store/block.h"

#define TAIL_BYTES_MAX (8 << 20)
#define TAIL_BLOCKS_MAX 256
/* While all that read are further behind: enough to meet one that comes from the log. */
#define TAIL_UNREAD_BYTES (2 << 20)

struct tail {
    struct block *at[TAIL_BLOCKS_MAX]; /* oldest first, from `head`, wrapping; one reference each */
    size_t head, n, bytes;
    uint64_t next_seq; /* committed events are below it */
};

void tail_init(struct tail *t, uint64_t next_seq);
void tail_done(struct tail *t);
/* Takes over the caller's reference; b follows what is there. Old blocks go when the limits say so.
 */
void tail_push(struct tail *t, struct block *b);
/* Lets go of blocks that end below `seq`: nobody reads them any more. */
void tail_trim(struct tail *t, uint64_t seq);
/* `seq`: the newest that somebody reads next. When that is older than all blocks, few are kept. */
void tail_unread(struct tail *t, uint64_t seq);
/* Bytes of the blocks from the one that holds seq on; SIZE_MAX when they are not all here. */
size_t tail_bytes_from(const struct tail *t, uint64_t seq);
/* The block that holds seq, lent until the next push or trim; NULL: it is only in the log. */
struct block *tail_find(const struct tail *t, uint64_t seq);

#endif
