/* What the RabbitMQ tests share: a link on the private broker with one source and two sinks at
 * most, and options for it (fixture_rabbitmq.c). One of it, since each test is a process. */
#ifndef BASCULE_RABBIT_H
#define BASCULE_RABBIT_H

#include "bridge/links/rabbitmq/options.h"
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include <poll.h>

#define CLIENT "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_client.py "
#define RAW "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/amqp_raw.py "
#define BROKER "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_broker.py "
#define WAIT_MS 120000 /* a hang must end; a slow machine may take its time */
#define REPORTS_MAX 4096

extern const struct connector connector_rabbitmq;

struct rabbit {
    struct options_link link_options;
    struct options_source source_options;
    struct options_sink sink_options[2];
    struct link *link;
    struct source *source;
    struct sink *sinks[2];
    struct report reports[REPORTS_MAX];
    char texts[REPORTS_MAX][160];
    size_t count;
};

extern struct rabbit rabbit;

/* Options for the broker that the environment names, and for a queue or exchange of that name. */
void rabbit_link_options(void *ret);
void rabbit_source_options(const char *place, void *ret);
void rabbit_sink_options(const char *place, void *ret);

/* Skips the test where there is no broker; fills the link's options. */
void rabbit_need_broker(void);
void rabbit_link(void);
/* NULL: the options are filled. */
void rabbit_source(const char *queue, int64_t window, bool clean);
/* With filled options, and a small limit on bodies. */
void rabbit_source_limited(int64_t max_event_bytes);
void rabbit_sink(int i, const char *exchange, int64_t timeout_ms);
/* Threads end on their own after link_free(); leak checkers want to see that. */
void rabbit_free(void);

int64_t rabbit_now_ms(void);
/* One step of the loop, and what it brought. */
void rabbit_turn(void);
const char *rabbit_last_error(void);
enum link_state rabbit_sink_state(int i);
uint64_t rabbit_sink_session(int i);
struct link_status rabbit_source_now(void);

struct event rabbit_event(const char *body);
void rabbit_publish(int i, uint64_t ref, const char *key, const struct event *e);
void rabbit_publish_three(int i, uint64_t ref, const char *const keys[3], const struct event e[3]);
/* NULL: none yet. */
const struct report *rabbit_report_of(uint64_t ref);
const char *rabbit_text_of(uint64_t ref);
/* Waits for the report. */
void rabbit_check_fate(uint64_t ref, enum fate fate, enum cause cause);
struct batch *rabbit_receive(size_t limit);

/* What the queue holds for others, as the broker counts it. */
long rabbit_queue_count(const char *queue);
void rabbit_broker_eval(const char *erlang);
/* Stops and wakes a classic queue's process: nothing that goes there is confirmed meanwhile. */
void rabbit_queue_sleeps(const char *queue, bool sleeps);

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t end_ = rabbit_now_ms() + WAIT_MS;                                                  \
        while (!(condition)) {                                                                     \
            rabbit_turn();                                                                         \
            if (rabbit_now_ms() > end_)                                                            \
                harness_fail(                                                                      \
                    __FILE__, __LINE__, "never: %s (%s)", #condition, rabbit_last_error());        \
        }                                                                                          \
    } while (0)

/* The same without a link to step. */
#define WAIT_FOR(condition)                                                                        \
    for (int64_t end_ = rabbit_now_ms() + WAIT_MS; !(condition) && rabbit_now_ms() < end_;)        \
    (void)poll(NULL, 0, 1)

#endif
