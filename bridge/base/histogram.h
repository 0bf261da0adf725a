/* Durations counted by size, for metrics: the buckets are fixed, so adding is a few comparisons. */
#ifndef BASCULE_HISTOGRAM_H
#define BASCULE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 12

/* Upper ends, inclusive, in microseconds; what is longer counts in `count` alone. */
static const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS] = { 1000, 2500, 5000, 10000, 25000,
    50000, 100000, 250000, 500000, 1000000, 5000000, 30000000 };

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS]; /* each alone, not summed up */
    uint64_t count;
    int64_t sum_us;
};

static inline void histogram_add(struct histogram *h, int64_t us)
{
    size_t i = 0;

    while (i < HISTOGRAM_BUCKETS && us > histogram_bounds_us[i])
        i++;
    if (i < HISTOGRAM_BUCKETS)
        h->buckets[i]++;
    h->count++;
    h->sum_us += us;
}

/* Adds what another one counted. */
static inline void histogram_join(struct histogram *h, const struct histogram *other)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->buckets[i] += other->buckets[i];
    h->count += other->count;
    h->sum_us += other->sum_us;
}

#endif
