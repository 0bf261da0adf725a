/* A set of stream sequences: what this process has in hand, or has acknowledged without hearing
 * that it was understood. */
#ifndef BASCULE_SEQS_H
#define BASCULE_SEQS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seqs {
    uint64_t *at; /* open addressing; 0: free, which is no sequence */
    size_t n, places;
};

void seqs_done(struct seqs *s);
/* 1: added, 0: it was there, -1: no memory. `seq` is not 0. */
int seqs_add(struct seqs *s, uint64_t seq);
bool seqs_has(const struct seqs *s, uint64_t seq);
void seqs_remove(struct seqs *s, uint64_t seq);

#endif
