/* Headers of an event as Kafka record headers, and back.
 *
 * Kafka header values are bytes or null. A value that is UTF-8 without NUL reads as text, else as
 * bytes. `message-id` is event.id, `content-type` the property of that name, `bascule-hops`
 * event.hops. Written: scalars as their text, nested tables and arrays as encoded by base/header.h,
 * properties under `amqp-NAME`. When that alone would not give the same types back,
 * `bascule-header-types` (first of all) holds one letter for each header after it, in order; upper
 * case: a property. A types header that does not fit the headers after it is taken for a header
 * like any other. */
#ifndef BASCULE_KAFKA_CODEC_H
#define BASCULE_KAFKA_CODEC_H

#include "bridge/base/event.h"
#include "bridge/base/header.h"

struct codec_field {
    struct bytes name, value; /* value absent: null */
};

#define CODEC_FIELDS_MAX 4096

/* Appends the encoded list to *headers, sets id and hops of *event. `fields` stay lent. */
void kafka_codec_read(
    const struct codec_field *fields, size_t n, struct buf *headers, struct event *event);

/* One call per header to be written, in order; names have no NUL at their end. */
typedef void codec_put(void *to, struct bytes name, struct bytes value);

/* Returns 0, or -1 when the headers are damaged or `scratch` found no room. */
int kafka_codec_write(
    const struct event *event, bool replay, struct buf *scratch, codec_put *put, void *to);

#endif
