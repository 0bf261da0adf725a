/* The Redis link's own structs, shared by its files. */
#ifndef BASCULE_REDIS_LINK_H
#define BASCULE_REDIS_LINK_H

#include "bridge/links/redis/client.h"

struct link {
    struct link_spec spec;
    int poll_fd;
    int64_t now_ms, unix_ms;
    struct client commands; /* XADD, PUBLISH, XACK of all its sources and sinks */
    struct source *sources;
    struct sink *sinks;
};

int redis_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
struct batch *redis_source_receive(struct source *s, size_t limit);
void redis_source_settle(struct source *s, struct batch *batch, bool kept);
void redis_source_pause(struct source *s, bool paused);
bool redis_source_drain(struct source *s);
void redis_source_status(const struct source *s, struct link_status *ret);
void redis_source_free(struct source *s);
/* Steps all sources of the link; returns the earliest wake time. */
int64_t redis_sources_step(struct link *l);

int redis_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why);
size_t redis_sink_publish(struct sink *s, const struct message *messages, size_t n);
size_t redis_sink_collect(struct sink *s, struct report *ret, size_t limit);
void redis_sink_abandon(struct sink *s);
void redis_sink_status(const struct sink *s, struct link_status *ret);
void redis_sink_free(struct sink *s);
int64_t redis_sinks_step(struct link *l);

#endif
