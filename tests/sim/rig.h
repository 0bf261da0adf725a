/* A whole bridge in one process on a fake clock: one route from the world's source to up to four
 * sinks, with the real store underneath. */
#ifndef BASCULE_RIG_H
#define BASCULE_RIG_H

#include "routes/relay.h"
#include "tests/sim/world.h"

struct rig {
    struct world world;
    struct config config;
    struct config_connection connection;
    struct config_connection *connections; /* NULL: `connection` alone */
    size_t connection_count;
    struct config_route route;
    struct config_route *routes; /* NULL: `route` alone */
    size_t route_count;
    struct config_sink sinks[WORLD_SINKS_MAX];
    struct scripted_sink_options options[WORLD_SINKS_MAX];
    struct config *running, *next;    /* copies of `config`: the relay's; the one it goes over to */
    enum relay_reload_state reloaded; /* how the last reload ended; RUNNING until then */
    struct fault reload_why;
    struct store *store;
    struct relay *relay;
    struct tracer *tracer; /* the relay's; NULL: none */
    int64_t now_ms, unix_ms;
    uint64_t crashes, turns;
    int64_t max_size;
    const char *vfs; /* of the store; NULL: the default one */
};

/* Fills the configuration with defaults for `sinks` sinks; change it before rig_start(). */
void rig_init(struct rig *g, uint64_t seed, size_t sinks);
/* Opens store and relay in the current directory. */
void rig_start(struct rig *g);
/* The same, where it may fail: then nothing is open. */
int rig_try_start(struct rig *g, struct fault *why);
/* Begins to go over to the configuration as it stands in the rig now. Returns what relay_plan()
 * said (0 or -1, its first problem in reload_why); turns do the rest. ask NULL: nothing. */
int rig_reload(struct rig *g, const struct relay_reload_ask *ask);
/* Reloads and turns until that has ended. */
void rig_reload_now(struct rig *g, const struct relay_reload_ask *ask);
/* One turn; the store does its queued work first, unless `store_stuck`. The clock moves by 1 to 10
 * ms. */
void rig_turn(struct rig *g, bool store_stuck);
/* A turn that may fail, as it does when the process must end: crash it then. */
int rig_try_turn(struct rig *g, bool store_stuck, struct fault *why);
/* As kill -9: nothing is finished in order. */
void rig_crash(struct rig *g);
/* As SIGTERM: drains and closes, in as many turns at most. Returns whether it had drained. */
bool rig_end(struct rig *g, size_t turns);
/* The same, and fails the test unless it had. */
void rig_stop(struct rig *g);
/* Turns until every event is finished at every sink, at most `turns`. Returns whether it came to
 * that. */
bool rig_settle(struct rig *g, size_t turns);
/* Says on stderr what is not finished yet. */
void rig_tell(const struct rig *g);
void rig_done(struct rig *g);

/* Runs a query on the live store, turning it until the answer is there. */
void rig_query(struct rig *g, const struct query_spec *spec, struct query_answer *ret);
const struct cell *rig_cell(const struct query_answer *a, size_t row, const char *column);
/* The first open dead letter of a sink; text[0] gets the word of its reason, text[1] is what it
 * refers to. */
bool rig_dead(struct rig *g, size_t sink, char text[2][64], struct relay_dead *ret);
struct relay_sink_status rig_sink(const struct rig *g, size_t sink);

/* Fails the test unless: everything acknowledged arrived at the sink or its fallback or has a dead
 * letter there, a source with positions was logged once and no more, the sums hold, attempts were
 * counted for charged answers alone, first arrivals of each key came in order (when `ordered`). */
void rig_check(struct rig *g, bool ordered);

#endif
