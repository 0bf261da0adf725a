/* Reads one route's events in seq order, from the tail where it has them, else from the log, a few
 * chunks ahead. */
#ifndef BASCULE_FEED_H
#define BASCULE_FEED_H

#include "routes/asks.h"
#include "routes/tail.h"

/* Decoded bytes asked for at once: what a sink that is behind holds in memory beside its window. */
#define FEED_READ_BYTES (1 << 20)

struct feed {
    struct asks *asks; /* kept */
    struct tail *tail; /* kept */
    uint64_t route_id;
    bool live;            /* reads on the reader that is kept for sinks */
    uint64_t next;        /* seq to give next */
    struct block **ahead; /* from the log, in order; one reference each */
    size_t ahead_n, ahead_i;
    bool asked;
    struct block *current; /* a reference; holds `next` when not NULL and in its range */
    bool failed;
    struct fault why; /* the log could not be read: names the chunk */
};

void feed_init(struct feed *f, struct asks *asks, struct tail *tail, uint64_t route_id, bool live,
    uint64_t next);
void feed_done(struct feed *f);
/* Goes on at `seq` (forward). */
void feed_skip(struct feed *f, uint64_t seq);
/* Fills *ret with event `next` and its block (lent; take a reference to keep it) and moves on: 1.
 * 0: none now (the end, or a read is on its way). -1: failed. */
int feed_next(struct feed *f, struct event *ret, struct block **block);

#endif
