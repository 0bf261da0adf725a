/* A Kafka sink from inside: what it has in flight, and its producer (producer.c). */
#ifndef BASCULE_KAFKA_SINK_H
#define BASCULE_KAFKA_SINK_H

#include "bridge/base/buf.h"
#include "bridge/links/kafka/linger.h"
#include "bridge/links/kafka/link.h"
#include "bridge/links/ring.h"

struct flight {
    struct sink *sink; /* NULL: nobody waits for it any more */
    struct flights *home;
    uint64_t ref, order;
    size_t bytes;
    struct flight *next_free;
};

/* Outlives its sink until the last report is in, or the producer's handle ended. */
struct flights {
    struct flights *next;
    struct flight *free;
    size_t out, n, used; /* places that were ever taken: the others are memory not touched yet */
    bool orphan;
    struct flight at[];
};

/* One librdkafka producer; shared by the sinks with equal settings. */
struct kafka_producer {
    struct link *link;
    struct kafka_producer *next;
    struct kafka_handle *handle; /* NULL between a fatal error and its replacement */
    struct flights *flights;
    struct kafka_linger linger;
    size_t out, out_bytes; /* of all its sinks, those that are gone among them */
    int compression;
    int64_t timeout_ms;
    int users;
    bool dedicated, fatal;
    int64_t error_ms; /* when a broker was last found away, or anything else wrong */
    int64_t dial_ms;  /* without a handle: when to make one */
    uint32_t tries;   /* handles since the last confirmation */
    char error[256];  /* the last one with a reason since a topic was found; "" */
};

struct sink {
    struct sink *next;
    struct link *link;
    struct sink_spec spec;
    const struct kafka_sink_options *options;
    struct kafka_producer *producer;
    struct flights *flights;
    rd_kafka_topic_t *topic; /* of a fixed address */
    rd_kafka_headers_t *headers;
    struct ring reports; /* of struct report: has room for all that is out and not collected */
    uint64_t report_first, report_end;
    size_t out, out_bytes;
    uint64_t order, order_confirmed;
    struct buf scratch;
    struct link_status status;
    uint32_t tries;
    int64_t progress_ms; /* its last report, or when it began to wait for one */
    int64_t confirmed_ms;
    bool checking, ready;
    bool moving; /* to a producer of its own, once nothing is in flight: order stays */
};

/* ---- sink.c ---- */

/* Not now: says why, waits, then asks again. */
void kafka_sink_down(struct sink *s, const char *text);
/* Takes the answer of a job that asked for a sink's topic. */
void kafka_sink_checked(struct link *l, const struct kafka_job *j);
void kafka_sink_report(struct sink *s, const struct report *r);

/* ---- producer.c ---- */

/* A shared one with the settings that the sink wants, or a new one. Given back with
 * kafka_producer_leave(). */
int kafka_producer_find(struct link *l, const struct kafka_sink_options *o, int64_t timeout_ms,
    struct kafka_producer **ret, struct fault *why);
int kafka_producer_open(struct link *l, const struct kafka_sink_options *o, int64_t timeout_ms,
    bool dedicated, struct kafka_producer **ret, struct fault *why);
void kafka_producer_leave(struct kafka_producer *p);
/* Whether it has a handle; makes one when it is time. */
bool kafka_producer_ready(struct kafka_producer *p);
/* Delivery reports, errors and answers, to all of its sinks. Returns when it wants its next step.
 */
int64_t kafka_producer_step(struct kafka_producer *p);
/* What an error makes of a message. */
void kafka_producer_meaning(const struct sink *s, const struct flight *f, rd_kafka_resp_err_t e,
    bool maybe_written, struct report *r);
/* NULL: out of memory. */
struct flights *kafka_flights_open(struct kafka_producer *p, size_t n);
/* A free place, which stays the first of `free`; NULL: none. */
struct flight *kafka_flights_free(struct flights *f);
/* Those in flight have nobody that waits for them any more; goes with the last report. */
void kafka_flights_orphan(struct kafka_producer *p, struct flights *f);

#endif
