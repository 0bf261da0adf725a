/* When a producer sends what has gathered. librdkafka 2.0.2 polls without sleeping while a message
 * that is older than linger.ms waits behind the one request of its partition: its idempotent
 * producer holds the messages in flight against a limit of five requests
 * (rd_kafka_toppar_producer_serve). Under load that took a quarter of our CPU. So it gets a long
 * linger.ms, and is told to send by short calls of rd_kafka_flush() on the handle's thread. */
#ifndef BASCULE_KAFKA_LINGER_H
#define BASCULE_KAFKA_LINGER_H

#include "bridge/links/kafka/handle.h"

struct kafka_linger {
    int64_t every_ms; /* what comes within it goes together; 0: librdkafka sees to it */
    bool telling;     /* a job is under way */
    unsigned unheard; /* times that it was told since the last report */
    int64_t told_ms;
};

/* Fills linger.ms; `timeout_ms` is the sink's confirm_timeout, which must be longer. */
int kafka_linger_conf(rd_kafka_conf_t *conf, const struct kafka_link_options *o, int64_t timeout_ms,
    struct fault *why);
/* What the properties say of it, else ours. 0: they want so long a time that librdkafka sees to it.
 */
int64_t kafka_linger_every_ms(const struct kafka_link_options *o);
/* A report came. */
void kafka_linger_reported(struct kafka_linger *l);
/* When to tell it next; INT64_MAX: not before the next message or report. `out`, `out_bytes`: what
 * the handle has and has not reported. */
int64_t kafka_linger_due(const struct kafka_linger *l, size_t out, size_t out_bytes);
/* Tells it when that is due. Returns when it is due next. */
int64_t kafka_linger_step(
    struct kafka_linger *l, struct kafka_handle *h, int64_t now_ms, size_t out, size_t out_bytes);

#endif
