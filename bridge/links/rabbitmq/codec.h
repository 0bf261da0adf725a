/* AMQP properties and tables to encoded headers and back. Pure. */
#ifndef BASCULE_CODEC_H
#define BASCULE_CODEC_H

#include "bridge/base/header.h"
#include "bridge/connector.h"
#include "bridge/links/rabbitmq/arena.h"

#include <amqp.h>

#define CODEC_SHORT_MAX 255 /* bytes in a short string, and in a table's key */

/* What properties say that has a place of its own in an event; lent from them. */
struct codec_read {
    struct bytes id;
    int64_t time_ms;
    uint32_t hops;
};

/* Appends everything else to *headers. FAULT_INPUT when it nests deeper than HEADER_DEPTH_MAX or
 * the buffer is full. */
int codec_read(const amqp_basic_properties_t *from, struct bytes exchange, struct buf *headers,
    struct codec_read *ret, struct fault *why);

struct codec_rules {
    bool persistent;   /* else as the event says */
    const char *login; /* what user-id must be; NULL: not checked (EXTERNAL) */
    bool token_header;
    size_t header_bytes; /* most that properties may take, encoded */
};

/* Fills *ret with properties that live in *arena and lend from nothing else. FAULT_INPUT when the
 * message can never be sent this way. */
int codec_write(const struct message *m, const struct codec_rules *rules, struct arena *arena,
    amqp_basic_properties_t *ret, struct fault *why);

/* Encoded as the broker returns it, for comparing. -1 when it does not fit. */
int codec_raw(const amqp_basic_properties_t *from, struct buf *to);

/* YAML values as a table of arguments. FAULT_INPUT when a value or name cannot be one. */
int codec_arguments(
    const struct option_map *from, struct arena *arena, amqp_table_t *ret, struct fault *why);

#endif
