/* What arrived, against what was made: each event once, its body to the letter, its key, and the
 * events of a key in the order in which they were made. */
#ifndef BASCULE_BENCH_TALLY_H
#define BASCULE_BENCH_TALLY_H

#include "tests/bench/body.h"

#include <stdbool.h>
#include <stdlib.h>

struct tally {
    uint64_t events, distinct, keyed, repeated, altered, reordered;
    bool *seen;
    uint64_t *next; /* of each of BODY_KEYS keys: one more than the last event */
};

/* False: out of memory. */
static inline bool tally_open(struct tally *t, uint64_t events)
{
    *t = (struct tally){ .events = events,
        .seen = calloc(events, sizeof *t->seen),
        .next = calloc(BODY_KEYS, sizeof *t->next) };
    return t->seen && t->next;
}

static inline void tally_free(struct tally *t)
{
    free(t->seen);
    free(t->next);
}

/* The number that such a body says it has; events: none. */
static inline uint64_t tally_number(const struct tally *t, const char *body, size_t body_bytes)
{
    static const char before[] = "{\"order\":";
    char want[BODY_BYTES + 1];
    uint64_t n;

    if (body_bytes != BODY_BYTES || memcmp(body, before, sizeof before - 1) != 0)
        return t->events;
    n = strtoull(body + sizeof before - 1, NULL, 10);
    if (n >= t->events)
        return t->events;
    body_put(want, n);
    return memcmp(want, body, BODY_BYTES) == 0 ? n : t->events;
}

static inline void tally_add(
    struct tally *t, const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    uint64_t n = tally_number(t, body, body_bytes), *next;
    char want[32];

    if (n == t->events) {
        t->altered++;
        return;
    }
    t->keyed += key_bytes == (size_t)body_key(want, n) && memcmp(want, key, key_bytes) == 0;
    if (t->seen[n]) {
        t->repeated++;
        return;
    }
    t->seen[n] = true;
    t->distinct++;
    next = &t->next[body_mix(n) % BODY_KEYS];
    if (n < *next)
        t->reordered++;
    else
        *next = n + 1;
}

static inline void tally_print(const struct tally *t)
{
    (void)printf("{\"events\":%llu,\"missing\":%llu,\"repeated\":%llu,\"altered\":%llu,"
                 "\"reordered\":%llu,\"keyed\":%llu}\n",
        (unsigned long long)t->events, (unsigned long long)(t->events - t->distinct),
        (unsigned long long)t->repeated, (unsigned long long)t->altered,
        (unsigned long long)t->reordered, (unsigned long long)t->keyed);
}

#endif
