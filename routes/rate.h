/* Events per second over the last ten whole seconds, for people to look at. */
#ifndef BASCULE_RATE_H
#define BASCULE_RATE_H

#include <stdint.h>
#include <string.h>

#define RATE_SECONDS 10

struct rate {
    uint64_t counts[RATE_SECONDS];
    int64_t second; /* that counts[second % RATE_SECONDS] is for */
};

static inline void rate_move(struct rate *r, int64_t now_ms)
{
    int64_t second = now_ms / 1000;

    if (second - r->second >= RATE_SECONDS) {
        memset(r->counts, 0, sizeof r->counts);
        r->second = second;
    }
    while (r->second < second)
        r->counts[++r->second % RATE_SECONDS] = 0;
}

static inline void rate_add(struct rate *r, int64_t now_ms, uint64_t n)
{
    rate_move(r, now_ms);
    r->counts[r->second % RATE_SECONDS] += n;
}

/* The running second is left out. */
static inline double rate_per_second(const struct rate *r, int64_t now_ms)
{
    struct rate copy = *r;
    uint64_t sum = 0;

    rate_move(&copy, now_ms);
    for (int64_t i = 1; i < RATE_SECONDS; i++)
        sum += copy.counts[(copy.second + i) % RATE_SECONDS];
    return (double)sum / (RATE_SECONDS - 1);
}

#endif
