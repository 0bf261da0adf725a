/* The link's loop side: its connections and channels, stepped by the clock. */
#ifndef BASCULE_LINK_H
#define BASCULE_LINK_H

#include "bridge/links/rabbitmq/io.h"

/* Loop thread. The channel is freed by its ops->release() some time after link_remove(). */
void link_add(struct link *l, struct channel *c, struct io *io);
void link_remove(struct channel *c);
/* [lock] State, times, session, trouble and peer as the channel and its connection tell. */
void link_channel_status(const struct channel *c, struct link_status *ret);

#endif
