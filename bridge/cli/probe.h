/* Dialling every broker that a configuration names, without a daemon. */
#ifndef BASCULE_PROBE_H
#define BASCULE_PROBE_H

#include "routes/config.h"

#define PROBE_FINDINGS_MAX 16

/* What one end of a route (its source, or a sink) finds at its broker. */
struct probe_end {
    const struct config_route *route;
    const struct config_sink *sink; /* NULL: the source */
    struct finding findings[PROBE_FINDINGS_MAX];
    size_t count;
};

/* What a connection's broker tells of itself. */
struct probe_broker {
    const struct config_connection *connection;
    bool asked; /* its link can ask */
    int result; /* 0, or -1 with why */
    struct link_facts facts;
    struct fault why;
};

struct probes {
    struct probe_end *ends;
    size_t end_count;
    struct probe_broker *brokers; /* one a connection */
    size_t broker_count;
};

/* Several at a time, 10 s each at most. With `brokers` they are asked who they are, too. -1: no
 * memory. The caller frees them with probes_done(). */
int probes_run(const struct config *config, bool brokers, struct probes *ret);
void probes_done(struct probes *p);
/* Prints what all ends find, a line each. Returns the number of errors among them. */
size_t probe_all(const struct config *config);

#endif
