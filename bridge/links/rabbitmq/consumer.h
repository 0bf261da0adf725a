/* A queue's consumer from inside: what the source's two threads share. The loop's side is source.c;
 * the connection's thread sets up, consumes and acknowledges (consumer.c) and makes events of
 * frames (delivery.c). */
#ifndef BASCULE_CONSUMER_H
#define BASCULE_CONSUMER_H

#include "bridge/base/buf.h"
#include "bridge/links/rabbitmq/io.h"
#include "bridge/links/rabbitmq/lot.h"
#include "bridge/links/rabbitmq/options.h"

enum consumer {
    CONSUMER_OFF = 1,
    CONSUMER_LIMITING,
    CONSUMER_STARTING,
    CONSUMER_ON,
    CONSUMER_ENDING
};

/* [io] The delivery that is being put together. */
struct incoming {
    bool announced, open;
    uint64_t tag;
    struct event event;
    uint8_t *body;
    size_t body_bytes, body_got;
    char exchange[256];
};

struct binding {
    char *exchange, *key;
    amqp_table_t arguments;
};

struct source {
    struct channel c;
    /* Read only, own copies, since the thread may outlive the options. */
    struct arena own;
    char *queue, *tag;
    enum options_declare declare;
    amqp_table_t queue_arguments, consumer_arguments;
    struct binding *bindings;
    size_t binding_count;
    bool durable, exclusive, reject_oversize;
    size_t target, max_event_bytes, window_events, window_bytes;
    /* [lock] */
    struct lot *ready, *newest; /* first and last of a list */
    size_t ready_bytes;
    size_t lent_batches; /* the loop changes it */
    bool choked;         /* the consumer ended because ready_bytes fill the window */
    uint64_t session_hex;
    uint64_t ack_tag;      /* acknowledge all up to it; 0: none */
    uint64_t *single_tags; /* or these, one by one */
    size_t single_count, single_room;
    uint64_t acks_wanted; /* counts settled batches of this session */
    uint64_t acks_out;    /* as acks_wanted, of what was sent and answered for */
    bool paused, draining, consuming, off, stopped, lag_wanted;
    size_t prefetch;
    int64_t lag;
    /* [loop] */
    int64_t lag_due_ms;
    size_t lent_events, lent_bytes;
    bool forgotten; /* deliveries of this session will never be acknowledged */
    /* [io] */
    enum consumer consumer;
    size_t prefetch_set;
    uint64_t barrier; /* acks_wanted when the barrier was sent; answered: acks_out */
    bool barrier_sent;
    struct incoming in;
    struct lot *filling;
    struct buf scratch;
};

extern const struct channel_ops consumer_ops;

void consumer_lock(const struct source *s);
void consumer_unlock(const struct source *s);
/* One that ended for the window begins again below this. */
size_t consumer_resume_bytes(const struct source *s);
/* Frees it; for one that was opened ops->release() does. */
void consumer_free(struct source *s);

#endif
