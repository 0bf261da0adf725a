/* A queue's consumer: one channel on the link's consuming connection. */
#ifndef BASCULE_SOURCE_H
#define BASCULE_SOURCE_H

#include "bridge/connector.h"

/* As bridge/connector.h says of the functions of the same name. */
int source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
struct batch *source_receive(struct source *s, size_t limit);
void source_settle(struct source *s, struct batch *batch, bool kept);
void source_pause(struct source *s, bool paused);
bool source_drain(struct source *s);
void source_status(const struct source *s, struct link_status *ret);
void source_free(struct source *s);

#endif
