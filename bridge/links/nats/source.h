/* What the kinds of NATS sources have in common. */
#ifndef BASCULE_NATS_SOURCE_H
#define BASCULE_NATS_SOURCE_H

#include "bridge/links/batches.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/nats/link.h"

struct source_kind {
    int (*open)(
        struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
    int64_t (*step)(struct source *s);
    struct batch *(*receive)(struct source *s, size_t limit);
    void (*settle)(struct source *s, struct piece *p, bool kept);
    bool (*drained)(struct source *s);
    void (*done)(struct source *s);
};

/* First member of a kind's own struct. */
struct source {
    const struct source_kind *kind;
    struct link *link;
    struct source *next;
    struct source_spec spec;
    const struct nats_source_options *options;
    struct block_names names;
    struct bytes bucket; /* "$KV.NAME." before each key; n 0: no bucket is read */
    struct wire *wire;
    struct batches batches;
    bool paused, draining;
    char stopped[240]; /* why it needs a person; "" when it does not */
    char trouble[240]; /* what it waits for; "" for nothing */
    int64_t retry_ms;
    int64_t lag;
    uint64_t duplicates, reordered;
};

/* The messages that one pack's events lie in, by event. */
struct message_list {
    size_t n;
    struct wire_message *at[];
};

extern const struct source_kind nats_stream_source, nats_subject_source;

/* Fills the common part; the kind's open has made it. */
void source_common(struct source *s, const struct source_kind *kind, struct link *l,
    const struct source_spec *spec);
/* A pack for up to n events and its list, NULL without memory. */
struct pack *source_pack(size_t n);
/* Puts the message and its event, with `origin` as text, at the pack's end. 0, or -1 when it cannot
 * be read or there is no memory: then the message is still the caller's. */
int source_put(
    struct source *s, struct pack *p, struct wire_message *m, int64_t time_ms, const char *origin);
/* Bytes that source_put reserved find their place; call once before the pack is lent. */
void source_close_pack(struct pack *p);
struct wire_message *source_message(const struct pack *p, const struct event *e);
/* Records a time without messages, or messages that are lost. */
void source_note(struct source *s, const char *what, int64_t start_ms, int64_t end_ms,
    uint64_t count, const char *cause);

#endif
