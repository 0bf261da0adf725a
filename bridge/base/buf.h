/* A growing byte buffer with a mandatory maximum. */
#ifndef BASCULE_BUF_H
#define BASCULE_BUF_H

#include "bridge/base/bytes.h"
#include "bridge/base/fault.h"

/* Owned by whoever declared it. A put that would pass `max`, or finds no memory, sets `failed` and
 * changes nothing; later puts then do nothing too, so a writer may check `failed` once at its end.
 */
struct buf {
    uint8_t *at;
    size_t n, capacity, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);
/* Empties, keeps the memory, clears `failed`. */
void buf_clear(struct buf *b);
uint8_t *buf_grow(struct buf *b, size_t n); /* the rare half of buf_reserve() */

/* Makes room for n more bytes. Returns where they go, NULL when they do not fit. */
static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
    return !b->failed && n < b->capacity - b->n ? b->at + b->n : buf_grow(b, n);
}

void buf_put(struct buf *b, const void *at, size_t n);
void buf_put_bytes(struct buf *b, struct bytes bytes);
/* In decimal digits; a tenth of what buf_put_format() costs. */
void buf_put_unsigned(struct buf *b, uint64_t n);
void buf_put_text(struct buf *b, const char *text);
void buf_put_byte(struct buf *b, uint8_t byte);
void buf_put_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Unsigned LEB128, 1 to 10 bytes. */
void buf_put_varint(struct buf *b, uint64_t value);
/* Fixed width, little-endian. */
void buf_put_u16(struct buf *b, uint16_t value);
void buf_put_u32(struct buf *b, uint32_t value);
void buf_put_u64(struct buf *b, uint64_t value);
/* Removes the first n bytes (n <= b->n). */
void buf_drop(struct buf *b, size_t n);
/* A NUL after the last byte, not counted. Returns the text, "" when it failed. */
const char *buf_text(struct buf *b);

static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->at, b->n);
}

/* Reading: a cursor over bytes. Each get returns 0 and moves on, or -1 and moves nothing. */
int bytes_get_varint(struct bytes *from, uint64_t *ret);
int bytes_get_u16(struct bytes *from, uint16_t *ret);
int bytes_get_u32(struct bytes *from, uint32_t *ret);
int bytes_get_u64(struct bytes *from, uint64_t *ret);
int bytes_get(struct bytes *from, size_t n, struct bytes *ret);

#endif
