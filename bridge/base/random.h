/* Random numbers from a seed: the core never asks the system for one, so a seed reproduces a run.
 */
#ifndef BASCULE_RANDOM_H
#define BASCULE_RANDOM_H

#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, good enough for jitter and simulation.
 */
struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 to limit-1; 0 for limit 0. */
static inline uint64_t random_below(struct random *r, uint64_t limit)
{
    return limit ? random_next(r) % limit : 0;
}

#endif
