#include "bridge/links/nats/seqs.h"

#include <stdlib.h>

#define PLACES_FIRST 256

void seqs_done(struct seqs *s)
{
    free(s->at);
    *s = (struct seqs){ 0 };
}

/* Sequences come one after the other: multiplied, so that they do not lie in one run. */
static size_t place_of(const struct seqs *s, uint64_t seq)
{
    return (size_t)((seq * 0x9e3779b97f4a7c15u) >> 20) & (s->places - 1);
}

/* Where it is, or would go. */
static size_t find(const struct seqs *s, uint64_t seq)
{
    size_t i = place_of(s, seq);

    while (s->at[i] && s->at[i] != seq)
        i = (i + 1) & (s->places - 1);
    return i;
}

static int grow(struct seqs *s)
{
    struct seqs more = { .places = s->places ? s->places * 2 : PLACES_FIRST };

    more.at = calloc(more.places, sizeof *more.at);
    if (!more.at)
        return -1;
    for (size_t i = 0; i < s->places; i++)
        if (s->at[i])
            more.at[find(&more, s->at[i])] = s->at[i];
    more.n = s->n;
    free(s->at);
    *s = more;
    return 0;
}

int seqs_add(struct seqs *s, uint64_t seq)
{
    size_t i = 0;

    if (s->n * 2 >= s->places && grow(s) != 0)
        return -1;
    i = find(s, seq);
    if (s->at[i])
        return 0;
    s->at[i] = seq;
    s->n++;
    return 1;
}

bool seqs_has(const struct seqs *s, uint64_t seq)
{
    return s->places && s->at[find(s, seq)] == seq;
}

void seqs_remove(struct seqs *s, uint64_t seq)
{
    size_t hole = s->places ? find(s, seq) : 0, i = hole;

    if (!s->places || s->at[hole] != seq)
        return;
    /* What was pushed past the hole moves back into it. */
    for (;;) {
        size_t home = 0;
        i = (i + 1) & (s->places - 1);
        if (!s->at[i])
            break;
        home = place_of(s, s->at[i]);
        if (((i - home) & (s->places - 1)) >= ((i - hole) & (s->places - 1))) {
            s->at[hole] = s->at[i];
            hole = i;
        }
    }
    s->at[hole] = 0;
    s->n--;
}
