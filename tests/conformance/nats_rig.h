/* One link to a real NATS with at most one source and one sink, for the tests of its own rules.
 *
 * BASCULE_TEST_NATS_PORT names the port of a server that is the tests' alone,
 * BASCULE_TEST_NATS_LINE that of the line to it that can be cut. */
#ifndef BASCULE_NATS_RIG_H
#define BASCULE_NATS_RIG_H

#include "bridge/connector.h"
#include "bridge/links/nats/options.h"
#include "tests/harness.h"

#include <time.h>

#define NATS_RIG_PATIENCE_MS 120000
#define NATS_RIG_POSITIONS_MAX 64

extern const struct connector connector_nats;

extern struct nats_rig {
    struct nats_link_options link;
    struct nats_source_options from;
    struct nats_sink_options to;
    struct source_spec source_spec;
    struct sink_spec sink_spec;
    char url[80], *subjects[2];
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t wake;
    /* what batches carried, as the store would keep it */
    struct position kept[NATS_RIG_POSITIONS_MAX];
    size_t kept_n, gaps;
    uint64_t gap_count;
    char gap_cause[200];
    int64_t gap_end_ms;
} nats_rig;

/* ---- the server ---- */

/* Skips the test when there is none. */
const char *nats_rig_port(void);
/* Python with a client `c`, which must succeed. */
void nats_rig_client(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool nats_rig_client_says(const char *expression);
/* Messages with the numbers from first on as bodies, into a stream. */
void nats_rig_feed(const char *subject, int first, int n);

/* ---- the link ---- */

int64_t nats_rig_clock(clockid_t id);
char *nats_rig_text(const char *t); /* for options, which are not const */
void nats_rig_open(void);
void nats_rig_close(void);
void nats_rig_turn(void);
/* Of the source, where there is one. */
struct link_status nats_rig_status(void);

/* ---- a sink ---- */

extern struct report nats_rig_last;
extern char nats_rig_last_text[200];

void nats_rig_sink(const char *subject, const char *stream);
/* A report came: it is the last one now. */
bool nats_rig_collected(void);
/* Publishes one and waits for its report. */
enum fate nats_rig_publish(const char *subject, const char *token, struct event *e);
enum fate nats_rig_publish_text(const char *subject, const char *token);

/* ---- a source ---- */

void nats_rig_from_stream(const char *stream);
void nats_rig_source(void);
/* The next batch, committed but not settled. */
struct batch *nats_rig_receive(void);
/* The next one with events. */
struct batch *nats_rig_receive_events(void);
/* Takes n events, settled as kept; the last one's body. */
const char *nats_rig_take(size_t n);
/* n events, committed but never settled. */
void nats_rig_hold(size_t n);
/* Until a gap was told; batches with events fail. */
void nats_rig_take_gap(void);

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int64_t end_ = nats_rig_clock(CLOCK_MONOTONIC) + NATS_RIG_PATIENCE_MS;                     \
        while (!(condition)) {                                                                     \
            if (nats_rig_clock(CLOCK_MONOTONIC) > end_)                                            \
                harness_fail(                                                                      \
                    __FILE__, __LINE__, "never: %s (%s)", #condition, nats_rig_status().error);    \
            nats_rig_turn();                                                                       \
        }                                                                                          \
    } while (0)

#endif
