/* Kafka sources and sinks as members of one group on a real broker, with librdkafka as the other
 * client: what operators and other members do to us. */
#ifndef BASCULE_MEMBER_H
#define BASCULE_MEMBER_H

#include "bridge/connector.h"
#include "bridge/links/kafka/options.h"
#include "tests/harness.h"

#include <librdkafka/rdkafka.h>

#define MEMBER_EVENT_BYTES_MAX (1 << 16)

extern const struct connector connector_kafka;

/* A route's ends in a process of their own. */
struct member {
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t skip_ms; /* how far its clock is ahead */
};

/* One of it, since each test is a process. */
struct member_rig {
    const char *const *was; /* ids that the members' stores had before; NULL: none */
    rd_kafka_t *other;
    struct kafka_link_options link;
    struct kafka_source_options from;
    struct kafka_sink_options to;
    char address[40], *brokers[1], topic[64], *topics[1];
};
extern struct member_rig member_rig;

/* A topic of its own, and options for it; skips the test where there is no broker. */
void member_begin(const char *topic, int partitions);
/* Members of one group are different installations: a store and route are one member by name. */
void member_of(struct member *m, const char *store);
void member_open(struct member *m);
void member_free(struct member *m);
int64_t member_now_ms(void);
void member_turn(struct member *m);
void member_source(struct member *m, const struct position *positions, size_t n);
void member_sink(struct member *m);
struct report member_publish(struct member *m, const char *key, const char *id);
/* Settles until `want` events came from one batch on; the first one's id goes to ret. */
size_t member_take(struct member *m, size_t want, char *ret);
uint64_t member_session(const struct member *m);
struct report member_publish_at(struct member *m, const char *key, const char *id, int64_t time_ms);

/* ---- what others do and see ---- */

/* As kafka-consumer-groups --reset-offsets does. */
void member_moved(int64_t offset);
/* As one whose commits bring metadata. Partition 0. */
void member_moved_with(int64_t offset, const char *metadata);
int64_t member_committed(int32_t partition);
/* The commit's metadata, "" without any. */
void member_metadata(int32_t partition, char *ret, size_t n);
int64_t member_high(int32_t partition);
bool member_both_joined(void);
/* A record with the id (NULL: none); acknowledged on return. */
void member_produce(int32_t partition, const char *id, int64_t time_ms);
void member_produce_many(int32_t partition, size_t n, size_t body_bytes);
/* One record in a transaction. */
void member_transaction(const char *id, bool commit);
void member_delete_before(int64_t offset);
void member_more_partitions(size_t total);

#endif
