/* One librdkafka handle with a thread for the calls that block. */
#ifndef BASCULE_KAFKA_HANDLE_H
#define BASCULE_KAFKA_HANDLE_H

#include "bridge/connector.h"
#include "bridge/links/kafka/options.h"

#include <librdkafka/rdkafka.h>

/* Work for the handle's thread. `run` may block; what it fills in is read again on the loop thread
 * after kafka_handle_done() gave the job back, by a producer's `done`. Owned by the handle in
 * between; freed with `free_job` when the handle ends first. */
struct kafka_job {
    void (*run)(struct kafka_job *j, rd_kafka_t *rk);
    void (*done)(struct link *l, const struct kafka_job *j);
    void (*free_job)(struct kafka_job *j);
    struct kafka_job *next;
};

struct kafka_handle;

/* Each fills one property; the first error stays in *why. */
int kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct fault *why);
/* Brokers, login, TLS and the user's own properties. `consumer` leaves out what is for the other
 * kind. */
rd_kafka_conf_t *kafka_conf_open(
    const struct kafka_link_options *o, bool consumer, struct fault *why);
/* The same for a sink's and a source's handle, whole. */
rd_kafka_conf_t *kafka_conf_producer(
    const struct kafka_link_options *o, int compression, int64_t timeout_ms, struct fault *why);
rd_kafka_conf_t *kafka_conf_consumer(const struct kafka_link_options *o, const char *group,
    const char *member, int isolation, struct fault *why);
/* A librdkafka handle; takes conf in any case. NULL with *why. */
rd_kafka_t *kafka_conf_start(rd_kafka_conf_t *conf, bool consumer, struct fault *why);
/* What librdkafka is answered at each certificate of a broker's: OpenSSL's own verdict, and its
 * words; one whose end cannot be read (`endless`) is refused too. */
int kafka_peer_verdict(int *error, bool endless, char *why, size_t n);
int kafka_conf_check(const struct kafka_link_options *o, const char **key, struct fault *why);
/* Whether the connection's properties go with the sink's confirm_timeout. */
int kafka_conf_sink_fits(const struct kafka_link_options *o, const struct kafka_sink_options *sink,
    int64_t timeout_ms, struct fault *why);

/* Takes conf in any case. `wake_fd` (kept) becomes readable when a job or an event is there. */
int kafka_handle_open(rd_kafka_conf_t *conf, bool consumer, int wake_fd, struct kafka_handle **ret,
    struct fault *why);
/* Returns at once: its thread ends the librdkafka handle, for which the process's end waits a
 * moment. */
void kafka_handle_free(struct kafka_handle *h);
rd_kafka_t *kafka_handle_rk(const struct kafka_handle *h);
/* Events: rebalances, commits, errors, delivery reports. */
rd_kafka_queue_t *kafka_handle_events(const struct kafka_handle *h);
void kafka_handle_post(struct kafka_handle *h, struct kafka_job *j);
struct kafka_job *kafka_handle_done(struct kafka_handle *h);
/* Counts what brokers have answered to its questions about watermarks. */
uint64_t kafka_handle_answers(const struct kafka_handle *h);
void kafka_handle_wake(int fd);
/* Earliest end of the certificates that its brokers showed last, unix ms; 0: none was seen (no TLS,
 * or certificates are not checked). */
int64_t kafka_handle_peer_expires(struct kafka_handle *h);

/* Keeps the fetchers of the listed partitions awake while `busy`, and their watermarks fresh
 * (design, section 6). The list is copied. */
void kafka_handle_watch(struct kafka_handle *h, const rd_kafka_topic_partition_list_t *list);
void kafka_handle_busy(struct kafka_handle *h, bool busy);
/* Wakes the fetcher of one of them, each time of the next. */
void kafka_handle_nudge(struct kafka_handle *h);
/* The last known high watermark of list entry i, -1 unknown. */
int64_t kafka_handle_high(struct kafka_handle *h, const char *topic, int32_t partition);

#endif
