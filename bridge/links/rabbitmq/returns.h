/* Messages that the broker returns as unroutable, tied to what was sent. */
#ifndef BASCULE_RETURNS_H
#define BASCULE_RETURNS_H

#include "bridge/links/rabbitmq/publisher.h"

/* All [io]; -1: the connection failed. */
int returns_begin(struct sink *s, const amqp_basic_return_t *r);
int returns_head(struct sink *s, const amqp_frame_t *f);
int returns_body(struct sink *s, amqp_bytes_t part);

#endif
