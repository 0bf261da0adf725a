/* What stands before the sequences in each stored set: of which stream they are, and how far that
 * one had been read.
 *
 * A stream is known by its creation. A sequence of it names one message for ever, whichever
 * consumer hands it out, so it does not matter whether that one was made again; nor could that be
 * told: the creation time of a consumer is another by half a millisecond after its server's first
 * restart (tried with 2.9.10). */
#ifndef BASCULE_MARK_H
#define BASCULE_MARK_H

#include "bridge/links/committed.h"

#define MARK_IDS 5
#define MARK_IDS_MIN 4 /* sets of earlier versions */

struct mark {
    uint64_t stream;       /* its creation; 0: not known */
    uint64_t floor;        /* all up to this stream sequence was acknowledged */
    uint64_t seq;          /* the newest that was handed over, */
    uint64_t consumer_seq; /* and its number among the consumer's deliveries */
    uint64_t given_up;     /* messages it gave up that are recorded as a gap; from before: absent */
};

void mark_put(const struct mark *m, struct entry_id ids[MARK_IDS]);
/* False: nothing of the kind stands there. */
bool mark_get(const struct commit *c, struct mark *ret);
/* Of the set that was stored last; false: there is none. */
bool mark_last(const struct committed *c, struct mark *ret);
/* Sets of another stream of this name say nothing of this one's messages. */
void mark_drop_others(struct committed *c, uint64_t stream);

#endif
