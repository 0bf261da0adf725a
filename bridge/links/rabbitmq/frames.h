/* Publishes as the bytes of their frames, many of them to one write. The client library writes
 * each of the three frames of a message by itself. */
#ifndef BASCULE_FRAMES_H
#define BASCULE_FRAMES_H

#include "bridge/base/buf.h"

#include <amqp.h>

/* Appends the frames of one message, none longer than frame_max. 0; -1: no room, or what AMQP
 * cannot hold, then nothing was appended. */
int frames_publish(struct buf *to, uint16_t channel, size_t frame_max,
    amqp_basic_publish_t *publish, amqp_basic_properties_t *properties, amqp_bytes_t body);
/* Writes all of it, and waits where the socket takes nothing, as the client library does. -1: the
 * connection failed. */
int frames_send(int fd, struct bytes bytes);

#endif
