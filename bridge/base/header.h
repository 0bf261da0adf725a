/* Typed headers as one encoded list, reversible for every type that a broker can carry. */
#ifndef BASCULE_HEADER_H
#define BASCULE_HEADER_H

#include "bridge/base/buf.h"

/* Deepest nesting of tables and arrays that is read or written. */
#define HEADER_DEPTH_MAX 64

/* Where a header stood at its source. */
enum header_scope {
    HEADER_NONE = 0,
    HEADER_USER,     /* among the message's headers or fields */
    HEADER_PROPERTY, /* a property of the broker's own frame, by its AMQP name: content-type,
                      * content-encoding, correlation-id, reply-to, expiration, type, user-id,
                      * app-id, cluster-id, priority (U8), delivery-mode (U8), exchange; message-id
                      * is event.id, timestamp is event.time_ms */
    HEADER_BROKER,   /* owned by the broker (x-death, CC, BCC): kept in the log, not re-published */
};

/* On-disk numbers: add at the end, never renumber. */
enum header_type {
    HEADER_UNSET = 0,
    HEADER_NULL,
    HEADER_BOOL, /* i */
    HEADER_I8,   /* i, as the next ones */
    HEADER_U8,
    HEADER_I16,
    HEADER_U16,
    HEADER_I32,
    HEADER_U32,
    HEADER_I64,
    HEADER_U64, /* u */
    HEADER_F32, /* f; stored with its own 32 bits */
    HEADER_F64,
    HEADER_DECIMAL, /* i is the unscaled value (32 bit), scale the number of decimals */
    HEADER_TEXT,    /* bytes, UTF-8 by the sender's word, not checked */
    HEADER_BYTES,
    HEADER_TIME,  /* i, seconds since 1970 */
    HEADER_ARRAY, /* bytes: encoded values without names (header_put_item) */
    HEADER_TABLE, /* bytes: an encoded list */
};

struct header_value {
    enum header_type type;
    uint8_t scale;
    union {
        int64_t i;
        uint64_t u;
        double f;
        struct bytes bytes;
    };
};

struct header {
    enum header_scope scope;
    struct bytes name;
    struct header_value value;
};

/* Names may repeat and order is kept. */
void header_put(
    struct buf *to, enum header_scope scope, struct bytes name, const struct header_value *value);
void header_put_text(struct buf *to, enum header_scope scope, const char *name, struct bytes text);
/* An item of an array. */
void header_put_item(struct buf *to, const struct header_value *value);

/* Take the next one off *from. Return 1, 0 at the end, -1 on bytes that are no such list. What they
 * return is lent from *from. */
int header_next(struct bytes *from, struct header *ret);
int header_next_item(struct bytes *from, struct header_value *ret);

/* The first header of that name in USER scope, else in PROPERTY scope; false when there is none. */
bool header_find(struct bytes headers, struct bytes name, struct header *ret);
/* The same, whether its letters are large or small: clients write Traceparent too. */
bool header_find_any_case(struct bytes headers, struct bytes name, struct header *ret);

/* Why the source's broker gave the event up (EVENT_REFUSED), as a header that is not re-published.
 * `code` is the broker's number, 0: none. */
void header_put_refusal(struct buf *to, int32_t code, const char *text);
/* False when there is none; *text is lent from there, without a NUL. */
bool header_refusal(struct bytes headers, int32_t *code, struct bytes *text);

/* True when the whole list, nested ones too, can be read and is at most HEADER_DEPTH_MAX deep. */
bool header_valid(struct bytes headers);

/* A scalar as text, the way templates show it ("true", "12", "1.50", text as it is; bytes as they
 * are). Null, arrays and tables have no text: -1. */
int header_value_text(const struct header_value *value, struct buf *to);

#endif
