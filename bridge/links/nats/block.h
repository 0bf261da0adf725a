/* Headers of an event as a NATS header block, and back.
 *
 * A block is lines of text. Written as they are: headers of text without control characters or
 * blanks at an end, under a name of visible ASCII without colon; in order, repeated names too.
 * `message-id` is event.id and `key` the record key (both can be named otherwise), `bascule-hops`
 * event.hops, `bascule-body: null` says that the body is null and not empty. When a header is none
 * of that kind (a number, a table, bytes, a property, a name that is reserved) the whole list goes
 * in `bascule-headers` too, in our own encoding as base64, and then rules; properties of text stand
 * beside it to be read by people. What begins with `Nats-`, and `KV-Operation`, belongs to the
 * server: read as HEADER_BROKER, never sent on, but Nats-TTL when asked for. */
#ifndef BASCULE_NATS_BLOCK_H
#define BASCULE_NATS_BLOCK_H

#include "bridge/base/buf.h"
#include "bridge/connector.h"

struct block_names {
    struct bytes id, key;
    bool pass_ttl;
};

/* One line of a block. */
struct block_line {
    struct bytes name, value;
};

/* Takes the first line ("NATS/1.0 503 No Responders") off: returns the status, 0 without one, -1
 * when it is no block. `words` (NULL: not wanted) gets what follows the status. */
int block_begin(struct bytes *block, struct bytes *words);
/* The next header: 1, 0 at the end, -1 on bytes that are none. */
int block_next(struct bytes *block, struct block_line *ret);

/* Appends the encoded list to `headers`, e->headers.n tells how many bytes; where they lie is known
 * once that buffer stopped growing. Sets id, key, hops, and a null body. `block` absent: no
 * headers. -1 on bytes that are no block. */
int block_read(
    const struct block_names *names, struct bytes block, struct buf *headers, struct event *e);
/* Appends the lines, each with its end, to `to`; `scratch` is overwritten. -1 on damaged headers
 * or without room. */
int block_write(
    const struct block_names *names, const struct message *m, struct buf *scratch, struct buf *to);

#endif
