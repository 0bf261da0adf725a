/* A source and a sink behind the contract of connector.h: a link that breaks it fails the test. */
#ifndef BASCULE_CHECKED_H
#define BASCULE_CHECKED_H

#include "bridge/connector.h"

#define CHECKED_REFS_MAX 4096
#define CHECKED_BATCHES_MAX 64

struct checked {
    const struct connector *c;
    struct source *source;
    struct sink *sink;
    int64_t source_window, sink_window;
    struct batch *lent[CHECKED_BATCHES_MAX]; /* unsettled, oldest first */
    size_t lent_count, lent_events;
    size_t gaps, lost;            /* told so far, and events in them */
    bool taken[CHECKED_REFS_MAX]; /* by ref: in flight */
    size_t in_flight;
};

/* As the connector's functions, and: at most limit and window, events usable, batches settled once
 * and in order. */
struct batch *checked_receive(struct checked *k, size_t limit);
void checked_settle(struct checked *k, struct batch *b, bool kept);
/* Refs are below CHECKED_REFS_MAX; one whose report came may be published again. */
size_t checked_publish(struct checked *k, const struct message *messages, size_t n);
/* Each report belongs to one message in flight, has a fate, and a cause that fits it. */
size_t checked_collect(struct checked *k, struct report *ret, size_t limit);

#endif
