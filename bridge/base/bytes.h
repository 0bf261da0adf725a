/* A lent run of bytes: pointer and length, never terminated, never owned. */
#ifndef BASCULE_BYTES_H
#define BASCULE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* `at` NULL means absent (no key, a null body); a present but empty run has `n` 0 and `at` set. */
struct bytes {
    const uint8_t *at;
    size_t n;
};

#define BYTES_NONE ((struct bytes){ NULL, 0 })

static inline struct bytes bytes_of(const void *at, size_t n)
{
    return (struct bytes){ at ? (const uint8_t *)at : (const uint8_t *)"", n };
}

/* NULL gives BYTES_NONE. */
static inline struct bytes bytes_text(const char *text)
{
    return text ? (struct bytes){ (const uint8_t *)text, strlen(text) } : BYTES_NONE;
}

static inline bool bytes_present(struct bytes b)
{
    return b.at != NULL;
}

/* Absent equals absent only. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    if (a.at == NULL || b.at == NULL)
        return a.at == b.at;
    return a.n == b.n && memcmp(a.at, b.at, a.n) == 0;
}

/* memcmp order, shorter first on a common prefix. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.at, b.at, n) : 0;

    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

/* FNV-1a, 64 bit: for tables and filters in this process and on disk, never for security. */
static inline uint64_t bytes_hash(struct bytes b)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < b.n; i++)
        h = (h ^ b.at[i]) * 1099511628211u;
    return h;
}

#endif
