/* The Kafka link from inside: what its sources and sinks share. */
#ifndef BASCULE_KAFKA_LINK_H
#define BASCULE_KAFKA_LINK_H

#include "bridge/base/backoff.h"
#include "bridge/links/kafka/handle.h"

struct kafka_producer;

struct link {
    struct link_spec spec;
    const struct kafka_link_options *options; /* kept */
    int wake_fd;                              /* every handle's events and jobs make it readable */
    int64_t now_ms, unix_ms;
    struct random random;
    struct source *sources;
    struct sink *sinks;
    struct kafka_producer *producers;
};

int64_t kafka_source_step(struct source *s);
int64_t kafka_sink_step(struct sink *s);
struct source *kafka_source_next(const struct source *s);
struct sink *kafka_sink_next(const struct sink *s);

int kafka_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
struct batch *kafka_source_receive(struct source *s, size_t limit);
void kafka_source_copied(struct source *s, struct batch *batch);
void kafka_source_settle(struct source *s, struct batch *batch, bool kept);
void kafka_source_pause(struct source *s, bool paused);
bool kafka_source_drain(struct source *s);
void kafka_source_status(const struct source *s, struct link_status *ret);
void kafka_source_free(struct source *s);

int kafka_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why);
size_t kafka_sink_publish(struct sink *s, const struct message *messages, size_t n);
size_t kafka_sink_collect(struct sink *s, struct report *ret, size_t limit);
void kafka_sink_abandon(struct sink *s);
void kafka_sink_status(const struct sink *s, struct link_status *ret);
void kafka_sink_free(struct sink *s);

size_t kafka_link_probe(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit);

int kafka_link_facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why);
const char *kafka_link_library(void);

void kafka_state_set(struct link_status *status, enum link_state state, int64_t now_ms);

#endif
