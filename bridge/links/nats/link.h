/* The NATS link's own structs, shared by its files. */
#ifndef BASCULE_NATS_LINK_H
#define BASCULE_NATS_LINK_H

#include "bridge/links/nats/wire.h"

struct link {
    struct link_spec spec;
    const struct nats_link_options *options;
    int poll_fd;
    int64_t now_ms, unix_ms;
    uint64_t wires;      /* opened so far, for their seeds */
    struct wire *shared; /* of all that uses JetStream */
    struct source *sources;
    struct sink *sinks;
};

/* A connection of its own, for what would hold up others or be cut off with them. */
struct wire *nats_link_wire(struct link *l, struct fault *why);

int nats_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
struct batch *nats_source_receive(struct source *s, size_t limit);
void nats_source_settle(struct source *s, struct batch *batch, bool kept);
void nats_source_pause(struct source *s, bool paused);
bool nats_source_drain(struct source *s);
void nats_source_status(const struct source *s, struct link_status *ret);
void nats_source_free(struct source *s);
/* Steps all sources of the link; returns the earliest wake time. */
int64_t nats_sources_step(struct link *l);

int nats_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why);
size_t nats_sink_publish(struct sink *s, const struct message *messages, size_t n);
size_t nats_sink_collect(struct sink *s, struct report *ret, size_t limit);
void nats_sink_abandon(struct sink *s);
void nats_sink_status(const struct sink *s, struct link_status *ret);
void nats_sink_free(struct sink *s);
int64_t nats_sinks_step(struct link *l);

#endif
