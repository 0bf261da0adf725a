/* An event as it travels from a source through the log to its sinks. */
#ifndef BASCULE_EVENT_H
#define BASCULE_EVENT_H

#include "bridge/base/bytes.h"

enum event_flag {
    EVENT_REDELIVERED = 1u << 0,   /* the source's broker said that it may have been seen before */
    EVENT_HAS_ORDER_KEY = 1u << 1, /* the route has a key: of its own; order_key holds its value */
    EVENT_REFUSED = 1u << 2, /* the source's broker gave it up: a dead letter of reason `source` at
                              * every sink, header_refusal() says why */
};

/* All bytes are lent by whoever filled the event: the batch until it is settled, the block until
 * its last reference goes. Absent and empty differ (bytes.h). */
struct event {
    struct bytes address; /* routing key, topic, channel or stream */
    struct bytes key;     /* the source's record key; absent: none */
    struct bytes id;      /* the publisher's own id; absent: the name is `origin` */
    struct bytes origin;  /* the source's own position, as text ("orders-3-1207") */
    struct bytes headers; /* encoded list (header.h); n 0: none */
    struct bytes body;    /* absent: a null body (Kafka tombstone) */
    struct bytes
        order_key;       /* ordering key as received, with EVENT_HAS_ORDER_KEY; absent: unordered */
    int64_t time_ms;     /* the publisher's or broker's own time, unix ms; 0: none */
    int64_t received_ms; /* when this process received it, unix ms; set by the log */
    uint64_t seq;        /* place in its route's log, dense from 1; 0 until appended */
    uint32_t flags;      /* enum event_flag */
    uint32_t hops;       /* bridges it has passed before this one */
};

/* What the rest of the world calls it: the publisher's id, else the origin. */
static inline struct bytes event_id(const struct event *e)
{
    return bytes_present(e->id) ? e->id : e->origin;
}

/* The ordering key: the route's own where it has one, else the record key. */
static inline struct bytes event_order_key(const struct event *e)
{
    return e->flags & EVENT_HAS_ORDER_KEY ? e->order_key : e->key;
}

/* Bytes it holds, for windows and limits. */
static inline size_t event_bytes(const struct event *e)
{
    return e->address.n + e->key.n + e->id.n + e->origin.n + e->headers.n + e->body.n +
           e->order_key.n;
}

#endif
