#include "store/ranges.h"

#include <stdlib.h>

#define RANGES_VERSION 1
#define RANGES_MAX ((uint64_t)1 << 26)

void ranges_done(struct ranges *r)
{
    free(r->at);
    *r = (struct ranges){ 0 };
}

/* Index of the first range that ends at or after seq - 1, so that it overlaps or touches. */
static size_t lower(const struct ranges *r, uint64_t seq)
{
    size_t low = 0, high = r->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->at[middle].last != UINT64_MAX && r->at[middle].last + 1 < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool room(struct ranges *r)
{
    size_t capacity = r->capacity ? r->capacity * 2 : 8;
    struct range *at;

    if (r->n < r->capacity)
        return true;
    at = realloc(r->at, capacity * sizeof *at);
    if (!at)
        return false;
    r->at = at;
    r->capacity = capacity;
    return true;
}

int ranges_add(struct ranges *r, uint64_t first, uint64_t last)
{
    size_t i = lower(r, first), end = i;

    if (first > last)
        return 0;
    while (end < r->n && (last == UINT64_MAX || r->at[end].first <= last + 1))
        end++;
    if (i == end) {
        if (!room(r))
            return -1;
        memmove(r->at + i + 1, r->at + i, (r->n - i) * sizeof *r->at);
        r->at[i] = (struct range){ first, last };
        r->n++;
        return 0;
    }
    if (first < r->at[i].first)
        r->at[i].first = first;
    if (r->at[end - 1].last > last)
        last = r->at[end - 1].last;
    r->at[i].last = last;
    memmove(r->at + i + 1, r->at + end, (r->n - end) * sizeof *r->at);
    r->n -= end - i - 1;
    return 0;
}

bool ranges_have(const struct ranges *r, uint64_t seq)
{
    size_t i = lower(r, seq);

    if (i < r->n && r->at[i].last < seq)
        i++;
    return i < r->n && r->at[i].first <= seq && seq <= r->at[i].last;
}

uint64_t ranges_count(const struct ranges *r)
{
    uint64_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->at[i].last - r->at[i].first + 1;
    return n;
}

void ranges_cut(struct ranges *r, uint64_t seq)
{
    size_t i = 0;

    while (i < r->n && r->at[i].last < seq)
        i++;
    memmove(r->at, r->at + i, (r->n - i) * sizeof *r->at);
    r->n -= i;
    if (r->n && r->at[0].first < seq)
        r->at[0].first = seq;
}

int ranges_copy(const struct ranges *from, struct ranges *ret)
{
    *ret = (struct ranges){ 0 };
    if (from->n == 0)
        return 0;
    ret->at = malloc(from->n * sizeof *ret->at);
    if (!ret->at)
        return -1;
    memcpy(ret->at, from->at, from->n * sizeof *ret->at);
    ret->n = ret->capacity = from->n;
    return 0;
}

void ranges_encode(const struct ranges *r, struct buf *to)
{
    uint64_t at = 0;

    buf_put_byte(to, RANGES_VERSION);
    buf_put_varint(to, r->n);
    for (size_t i = 0; i < r->n; i++) {
        buf_put_varint(to, r->at[i].first - at);
        buf_put_varint(to, r->at[i].last - r->at[i].first);
        at = r->at[i].last;
    }
}

int ranges_decode(struct bytes from, struct ranges *ret)
{
    struct bytes version;
    uint64_t n, at = 0;

    *ret = (struct ranges){ 0 };
    if (from.n == 0)
        return 0;
    if (bytes_get(&from, 1, &version) != 0 || version.at[0] != RANGES_VERSION ||
        bytes_get_varint(&from, &n) != 0 || n > RANGES_MAX || n > from.n)
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t gap, length;

        if (bytes_get_varint(&from, &gap) != 0 || bytes_get_varint(&from, &length) != 0 ||
            gap > UINT64_MAX - at || length > UINT64_MAX - at - gap || (i > 0 && gap < 2) ||
            ranges_add(ret, at + gap, at + gap + length) != 0) {
            ranges_done(ret);
            return -1;
        }
        at = at + gap + length;
    }
    if (from.n == 0)
        return 0;
    ranges_done(ret);
    return -1;
}
