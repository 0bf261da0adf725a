/* The events of the benchmarks: 256 B of JSON, and its key.
 *
 * No encoding of body_put() can be smaller than about 66 B an event, 0.26 of the body: of 98
 * letters each is one of 26 (4.70 bits: 57.5 B), the rest is 32 bits of a sku, 13.3 of a customer,
 * 16 of an amount, 4 of a count: 8.2 B. (All of them follow from one 64-bit number, which no
 * compressor can know.) body_put_order() has about 20 B of its own. */
#ifndef BASCULE_BENCH_BODY_H
#define BASCULE_BENCH_BODY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BODY_BYTES 256
#define BODY_KEYS 10007
#define BODY_ORDER_MAX 400 /* room for the longest */

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

/* An order as a service writes it: a random uuid (122 bits), a time within 16 ms of its turn
 * (4), one of 10,007 customers (13.3) with the same name each time, one or two (1) of 500
 * articles (9 each) with the same price each time, a count of each (2), and a sum that follows:
 * about 20 B that nothing can shrink. Returns its length, 251 B on average. */
static inline int body_put_order(char to[BODY_ORDER_MAX + 1], uint64_t n)
{
    static const char *const first[] = { "Ada", "Bela", "Chidi", "Dana", "Emil", "Farah", "Goran",
        "Hana", "Ines", "Jonas", "Kaja", "Liam", "Mira", "Noor", "Olga", "Pavel" };
    static const char *const last[] = { "Alvarez", "Brandt", "Costa", "Dvorak", "Eriksen",
        "Fischer", "Garcia", "Haddad", "Ivanova", "Jansen", "Kowalski", "Laurent", "Moretti",
        "Novak", "Okafor", "Peeters" };
    uint64_t r = body_mix(n), u = body_mix(r), w = body_mix(u), c = body_mix(r % BODY_KEYS);
    uint64_t ms = n * 16 + (r >> 60), s = ms / 1000, total = 0;
    int at = snprintf(to, BODY_ORDER_MAX + 1,
        "{\"id\":\"%08llx-%04llx-4%03llx-a%03llx-%012llx\",\"type\":\"order.placed\",\"time\":"
        "\"2024-05-%02lluT%02llu:%02llu:%02llu.%03lluZ\",\"customer\":{\"id\":%llu,\"name\":\"%s "
        "%s\"},\"lines\":[",
        (unsigned long long)(u >> 32), (unsigned long long)(u >> 16 & 0xffff),
        (unsigned long long)(u & 0xfff), (unsigned long long)(w >> 48 & 0xfff),
        (unsigned long long)(w & 0xffffffffffff), (unsigned long long)(1 + s / 86400 % 28),
        (unsigned long long)(s / 3600 % 24), (unsigned long long)(s / 60 % 60),
        (unsigned long long)(s % 60), (unsigned long long)(ms % 1000),
        (unsigned long long)(r % BODY_KEYS), first[c % 16], last[c >> 8 & 15]);

    for (uint64_t i = 0; i <= (r >> 59 & 1); i++) {
        uint64_t line = r >> (20 + 16 * i), sku = line % 500, count = 1 + (line >> 12 & 3);
        uint64_t price = 100 + body_mix(sku) % 4900;

        total += price * count;
        at += snprintf(to + at, (size_t)(BODY_ORDER_MAX + 1 - at),
            "%s{\"sku\":\"SKU-%04llu\",\"count\":%llu,\"price\":%llu.%02llu}", i ? "," : "",
            (unsigned long long)(1000 + sku), (unsigned long long)count,
            (unsigned long long)(price / 100), (unsigned long long)(price % 100));
    }
    at += snprintf(to + at, (size_t)(BODY_ORDER_MAX + 1 - at),
        "],\"total\":%llu.%02llu,\"currency\":\"EUR\"}", (unsigned long long)(total / 100),
        (unsigned long long)(total % 100));
    return at;
}

/* Returns its length. */
static inline int body_key(char to[32], uint64_t n)
{
    return snprintf(to, 32, "customer-%llu", (unsigned long long)(body_mix(n) % BODY_KEYS));
}

#endif
