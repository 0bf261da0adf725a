/* An exchange's publisher: one channel in confirm mode. */
#ifndef BASCULE_SINK_H
#define BASCULE_SINK_H

#include "bridge/connector.h"

/* As bridge/connector.h says of the functions of the same name. */
int sink_open(struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why);
size_t sink_publish(struct sink *s, const struct message *messages, size_t n);
size_t sink_collect(struct sink *s, struct report *ret, size_t limit);
void sink_abandon(struct sink *s);
void sink_status(const struct sink *s, struct link_status *ret);
void sink_free(struct sink *s);

#endif
