/* One link to a real Redis with at most one source and one sink, for the tests of its own rules.
 *
 * BASCULE_TEST_REDIS_PORT names the port of a server that is the tests' alone; redis-cli is at
 * hand. A test that must break its server starts another one, which ends with the test. */
#ifndef BASCULE_REDIS_RIG_H
#define BASCULE_REDIS_RIG_H

#include "bridge/connector.h"
#include "bridge/links/redis/options.h"
#include "tests/harness.h"

#include <sys/types.h>
#include <time.h>

extern const struct connector connector_redis;

extern struct redis_rig {
    struct redis_link_options link;
    struct redis_source_options from;
    struct redis_sink_options to;
    struct source_spec source_spec;
    struct sink_spec sink_spec;
    char url[80], port[8], *channels[2];
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t wake;
} redis_rig;

/* ---- the server ---- */

/* A server of the test's own, in the directory NAME below the test's. */
struct redis_rig_server {
    pid_t pid; /* 0: does not run */
    char name[16], port[8];
};

/* `config`: lines of redis.conf beside port and directory. Waits until it accepts connections,
 * which is before it has loaded its data. */
void redis_rig_server_start(struct redis_rig_server *s, const char *name, const char *config);
/* SIGKILL. redis_rig_server_again() starts it on the same port and data. */
void redis_rig_server_kill(struct redis_rig_server *s);
void redis_rig_server_again(struct redis_rig_server *s);
/* From here on redis_rig_cli(), redis_rig_ask() and a link without url of its own go there. */
void redis_rig_use(const struct redis_rig_server *s);

/* A loopback port that nobody listens on now, as text. */
void redis_rig_free_port(char ret[8]);

/* Skips the test when there is no server. */
const char *redis_rig_port(void);
void redis_rig_cli(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first line that redis-cli answers; lent until the next call. */
const char *redis_rig_ask(const char *command);

/* ---- the link ---- */

int64_t redis_rig_clock(clockid_t id);
/* g->from and g->to: a stream "in" with group "g"; a stream "out"; channels "news" and "al*". */
void redis_rig_from_stream(void);
void redis_rig_to_stream(bool fixed);
void redis_rig_from_channels(void);
/* Without a url in g->link: the server that is used, emptied before. */
void redis_rig_open(void);
void redis_rig_source(const struct position *positions, size_t n);
void redis_rig_sink(void);
void redis_rig_close(void);
void redis_rig_turn(void);
/* Turns the link until there is a batch; only its caller settles it. */
struct batch *redis_rig_receive(void);
/* Takes and keeps `want` events; returns how many gaps came with them. */
size_t redis_rig_take(size_t want);
/* Settles the empty batch that tells of the subscription. */
void redis_rig_subscribed(void);
/* "hello", to that place. */
struct message redis_rig_message(struct event *e, const char *place);
/* Publishes it alone, waits for its report. */
struct report redis_rig_publish(struct message *m);
struct link_status redis_rig_source_status(void);
struct link_status redis_rig_sink_status(void);

#define REDIS_RIG_PATIENCE_MS 120000

#define UNTIL(condition)                                                                           \
    for (int64_t end_ = redis_rig_clock(CLOCK_MONOTONIC) + REDIS_RIG_PATIENCE_MS; !(condition);    \
         redis_rig_turn())                                                                         \
    CHECK(redis_rig_clock(CLOCK_MONOTONIC) < end_)

#endif
