/* Entries of a stream that are on disk here and whose acknowledgement is not confirmed: such a one,
 * found pending again, is acknowledged and never handed over a second time. */
#ifndef BASCULE_COMMITTED_H
#define BASCULE_COMMITTED_H

#include "bridge/base/buf.h"
#include "bridge/connector.h"

struct entry_id {
    uint64_t ms, seq;
};

struct commit {
    struct commit *next;
    uint64_t number;         /* of its batch */
    uint64_t forgotten_with; /* number of the batch whose positions forget it; 0: none yet */
    bool old;                /* from before the reading of pending entries that is under way */
    bool stored, confirmed;  /* committed with its batch; acknowledged at the server */
    size_t n;
    struct entry_id ids[];
};

struct committed {
    struct commit *all;      /* by number */
    uint64_t last;           /* number given last */
    struct entry_id *sorted; /* for look-ups while pending entries are read */
    size_t sorted_n;
};

int entry_id_parse(struct bytes text, struct entry_id *ret);

/* From the stored positions of this stream; what cannot be read is skipped and will be forgotten.
 */
int committed_load(struct committed *c, const char *stream, const struct position *positions,
    size_t n, struct fault *why);
void committed_done(struct committed *c);
/* A new batch of these entries; its positions (own one, then those to forget) go to *positions and
 * *count, texts to `text`. Returns its number, 0 when there is no memory. */
uint64_t committed_add(struct committed *c, const char *stream, const struct entry_id *ids,
    size_t n, struct position **positions, size_t *count, struct buf *text);
void committed_settle(struct committed *c, uint64_t number, bool kept);
void committed_confirm(struct committed *c, uint64_t number);
/* A complete reading of pending entries begins / has ended with all its acknowledgements. */
int committed_sort(struct committed *c); /* what committed_has knows is as of now */
int committed_read_begin(struct committed *c);
void committed_read_end(struct committed *c);
bool committed_has(const struct committed *c, const struct entry_id *id);

#endif
