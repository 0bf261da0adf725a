/* The events of the benchmarks: 256 B of JSON, and its key. */
#ifndef BASCULE_BENCH_BODY_H
#define BASCULE_BENCH_BODY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BODY_BYTES 256
#define BODY_KEYS 10007

static inline uint64_t body_mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

/* Fills exactly BODY_BYTES of `to`, the n-th event's: numbers differ, names repeat, as in life. */
static inline void body_put(char to[BODY_BYTES + 1], uint64_t n)
{
    uint64_t r = body_mix(n);
    int at = snprintf(to, BODY_BYTES + 1,
        "{\"order\":%llu,\"customer\":\"customer-%llu\",\"amount\":%llu.%02llu,\"currency\":"
        "\"EUR\","
        "\"placed_at\":\"2024-05-%02lluT%02llu:%02llu:%02lluZ\",\"items\":[{\"sku\":\"%08llx\","
        "\"count\":%llu}],\"note\":\"",
        (unsigned long long)n, (unsigned long long)(r % BODY_KEYS),
        (unsigned long long)(r >> 8 & 1023), (unsigned long long)(r >> 20 & 63),
        (unsigned long long)(1 + (n / 86400) % 28), (unsigned long long)(n / 3600 % 24),
        (unsigned long long)(n / 60 % 60), (unsigned long long)(n % 60),
        (unsigned long long)(r >> 32), (unsigned long long)(1 + (r >> 60)));

    for (uint64_t v = r; at < BODY_BYTES - 2;
         at++, v = v * 6364136223846793005u + 1442695040888963407u)
        to[at] = (char)('a' + (v >> 33) % 26);
    to[BODY_BYTES - 2] = '"';
    to[BODY_BYTES - 1] = '}';
    to[BODY_BYTES] = 0;
}

/* Returns its length. */
static inline int body_key(char to[32], uint64_t n)
{
    return snprintf(to, 32, "customer-%llu", (unsigned long long)(body_mix(n) % BODY_KEYS));
}

#endif
