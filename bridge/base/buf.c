#include "bridge/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
    free(b->at);
    *b = (struct buf){ .max = b->max };
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
    size_t capacity = b->capacity ? b->capacity : 64;
    uint8_t *at;

    if (b->failed || n > b->max || b->n > b->max - n) {
        b->failed = true;
        return NULL;
    }
    if (b->at && b->n + n <= b->capacity)
        return b->at + b->n;
    while (capacity < b->n + n)
        capacity = capacity > b->max / 2 ? b->max : capacity * 2;
    if (capacity > b->max) /* what buf_reserve() finds free must be free to use */
        capacity = b->max;
    at = realloc(b->at, capacity);
    if (!at) {
        b->failed = true;
        return NULL;
    }
    b->at = at;
    b->capacity = capacity;
    return at + b->n;
}

void buf_put(struct buf *b, const void *at, size_t n)
{
    uint8_t *to = buf_reserve(b, n);

    if (!to)
        return;
    if (n)
        memcpy(to, at, n);
    b->n += n;
}

void buf_put_unsigned(struct buf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;

    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_put(b, digits + at, sizeof digits - at);
}

void buf_put_bytes(struct buf *b, struct bytes bytes)
{
    buf_put(b, bytes.at, bytes.n);
}

void buf_put_text(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

void buf_put_byte(struct buf *b, uint8_t byte)
{
    buf_put(b, &byte, 1);
}

void buf_put_format(struct buf *b, const char *format, ...)
{
    va_list ap;
    uint8_t *to;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    to = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
    if (!to)
        return;
    va_start(ap, format);
    (void)vsnprintf((char *)to, (size_t)n + 1, format, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_put_varint(struct buf *b, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;

    while (value >= 0x80) {
        bytes[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (uint8_t)value;
    buf_put(b, bytes, n);
}

static void put_fixed(struct buf *b, uint64_t value, size_t n)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buf_put(b, bytes, n);
}

void buf_put_u16(struct buf *b, uint16_t value)
{
    put_fixed(b, value, 2);
}

void buf_put_u32(struct buf *b, uint32_t value)
{
    put_fixed(b, value, 4);
}

void buf_put_u64(struct buf *b, uint64_t value)
{
    put_fixed(b, value, 8);
}

void buf_drop(struct buf *b, size_t n)
{
    b->n -= n;
    if (n && b->n)
        memmove(b->at, b->at + n, b->n);
}

const char *buf_text(struct buf *b)
{
    uint8_t *end = buf_reserve(b, 1);

    if (!end)
        return "";
    *end = 0;
    return (const char *)b->at;
}

int bytes_get_varint(struct bytes *from, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < from->n && i < 10; i++) {
        uint8_t byte = from->at[i];

        if (i == 9 && byte > 1)
            return -1;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            from->at += i + 1;
            from->n -= i + 1;
            *ret = value;
            return 0;
        }
    }
    return -1;
}

static int get_fixed(struct bytes *from, size_t n, uint64_t *ret)
{
    uint64_t value = 0;

    if (from->n < n)
        return -1;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)from->at[i] << (8 * i);
    from->at += n;
    from->n -= n;
    *ret = value;
    return 0;
}

int bytes_get_u16(struct bytes *from, uint16_t *ret)
{
    uint64_t value;

    if (get_fixed(from, 2, &value) != 0)
        return -1;
    *ret = (uint16_t)value;
    return 0;
}

int bytes_get_u32(struct bytes *from, uint32_t *ret)
{
    uint64_t value;

    if (get_fixed(from, 4, &value) != 0)
        return -1;
    *ret = (uint32_t)value;
    return 0;
}

int bytes_get_u64(struct bytes *from, uint64_t *ret)
{
    return get_fixed(from, 8, ret);
}

int bytes_get(struct bytes *from, size_t n, struct bytes *ret)
{
    if (from->n < n)
        return -1;
    *ret = bytes_of(from->at, n);
    from->at += n;
    from->n -= n;
    return 0;
}
