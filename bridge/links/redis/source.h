/* What the two kinds of Redis sources have in common. */
#ifndef BASCULE_SOURCE_H
#define BASCULE_SOURCE_H

#include "bridge/links/batches.h"
#include "bridge/links/redis/link.h"

struct source_kind {
    int (*open)(
        struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
    void (*step)(struct source *s);
    struct batch *(*receive)(struct source *s, size_t limit);
    void (*settle)(struct source *s, struct piece *p, bool kept);
    int64_t (*lag)(const struct source *s); /* NULL: never known */
    bool (*drained)(struct source *s);
    void (*done)(struct source *s);
};

/* First member of a kind's own struct. */
struct source {
    const struct source_kind *kind;
    struct link *link;
    struct source *next;
    struct source_spec spec;
    const struct redis_source_options *options;
    struct client reader; /* its own connection */
    struct batches batches;
    bool paused, draining;
    char stopped[240]; /* why it needs a person; "" when it does not */
    uint64_t duplicates, reordered;
};

extern const struct source_kind stream_source, channel_source;

/* Fills the common part; the kind's open has made it. */
void source_init(struct source *s, const struct source_kind *kind, struct link *l,
    const struct source_spec *spec);

#endif
