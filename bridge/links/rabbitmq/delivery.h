/* Frames of a queue's deliveries, put together to events in lots. */
#ifndef BASCULE_DELIVERY_H
#define BASCULE_DELIVERY_H

#include "bridge/links/rabbitmq/consumer.h"

/* All [io]; -1: the connection failed. */
int delivery_begin(struct source *s, const amqp_basic_deliver_t *d);
int delivery_head(struct source *s, const amqp_frame_t *f);
int delivery_body(struct source *s, amqp_bytes_t part);
/* Hands what is complete to the loop. */
void delivery_push(struct source *s);
/* [io], [lock] Forgets what the loop did not take yet. */
void delivery_drop(struct source *s);

#endif
