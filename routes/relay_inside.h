/* What the files of the relay share: relay_open.c opens, relay.c turns, relay_status.c tells,
 * relay_ask.c does what people ask for, relay_plan.c compares with another configuration and
 * relay_reload.c changes to it. */
#ifndef BASCULE_RELAY_INSIDE_H
#define BASCULE_RELAY_INSIDE_H

#include "routes/health.h"
#include "routes/intake.h"
#include "routes/outflow.h"
#include "routes/relay.h"
#include "routes/replay.h"

/* Cursor moves wait this long for a transaction to go with (guarantee 4). */
#define RELAY_CURSOR_MS 50
#define RELAY_SECOND_MS 1000
/* A route, or the store, that was over its limit goes on below this share of it, in percent. */
#define RELAY_RESUME_PERCENT 90
#define RELAY_FULL_PERCENT 97

/* Received and not yet read by the fastest sink of a route, in memory: past this its source waits.
 */
#define RELAY_AHEAD_BYTES (6 << 20)

struct relay_link {
    const struct config_connection *config;
    struct link *link; /* NULL: no enabled route uses it */
    int64_t wake_ms;
    struct health_watch health;
};

struct relay_route {
    struct relay *relay;
    struct config_route *config;
    uint64_t id, first_seq;
    struct tail tail;
    struct intake *intake;
    struct outflow **outflows; /* by the config's order */
    bool paused, draining;
    int64_t paused_since_ms;
    char paused_by[128];
    const char *held_back; /* NULL: read; else why not */
    int64_t backlog_bytes;
    int64_t unmeasured_bytes; /* received since the backlog was last measured, before compression */
    bool backlog_asked, drained;
    enum link_state link_state; /* of its source, as last said in the log */
    bool ahead;                 /* its source waits for its fastest sink */
    struct health_watch health;
    bool leaving; /* a reload replaces or removes it: it takes and sends nothing any more */
};

struct relay_touched {
    uint64_t number, txn;
};

struct relay {
    struct relay_spec spec;
    struct asks asks;
    struct taps taps;
    struct random random;
    struct lifecycle *lifecycle;
    struct relay_link *links;    /* by the config's connections */
    struct relay_route **routes; /* by the config's routes; each stays where it is, sinks and
                                  * replays point at its tail */
    size_t route_count;
    struct replay *replays;
    struct relay_reload *reload;   /* NULL: none is in progress */
    struct relay_touched *touched; /* what people did to dead letters and is not on disk yet */
    size_t touched_n;
    struct store_known *orphans;
    size_t orphan_count;
    struct health_watch health; /* of the whole */
    bool health_heard;          /* somebody listens to it */
    bool draining, store_was_full;
    int64_t seen_events, trimmed_events; /* appended when unused memory was given back last */
    int64_t second_ms;     /* monotonic: the last time the once-a-second work was done */
    int64_t clock_base_ms; /* unix minus monotonic when it was last believed */
    int64_t now_ms, unix_ms;
};

/* relay_open.c. `keep`: the route whose place it takes; its tail goes on. */
struct relay_opening {
    struct config *config;
    struct relay_link *links; /* by its connections */
    struct relay_route *keep;
    bool source_stays; /* of `keep`: no other one is opened */
};
int relay_link_open(
    struct relay *r, const struct config_connection *config, struct link **ret, struct fault *why);
/* Route i of the configuration. */
int relay_route_open(struct relay *r, const struct relay_opening *how, size_t i,
    struct relay_route **ret, struct fault *why);
/* Another intake in the place of the one it has, from where the store says. */
int relay_intake_open_again(
    const struct relay_opening *how, struct relay_route *route, struct fault *why);
/* What people paused or drain, for those of `fresh` that take no place of a running one. */
int relay_restore_asked(struct relay *r, struct relay_route *const *fresh,
    struct relay_route *const *running, size_t count, struct fault *why);
void relay_route_retain(const struct relay_route *route, const struct config *config);
void relay_route_free(struct relay_route *route);
/* Fills r->orphans anew. */
int relay_find_orphans(struct relay *r, struct fault *why);

/* relay_plan.c: by name, else by `was`; SIZE_MAX when it is not there. */
/* A connection that has moved to another configuration has no name. */
size_t relay_match_connection(const struct config *in, const char *name);
/* Which of the configuration's routes the running one becomes, and the other way. */
size_t relay_match_new(const struct relay_route *route, const struct config *next);
size_t relay_match_old(const struct relay *r, const struct config_route *c);
/* It has to be opened anew for the configuration's route. */
bool relay_must_swap(const struct relay_route *route, const struct config *next, size_t i);
/* Opened anew, it may keep its source. */
bool relay_source_stays(const struct relay_route *route, const struct config *next, size_t i);
bool relay_connection_stays(const struct relay *r, const struct config *next, size_t i);

/* relay_going.c: what is gone from the files and finishes first (--drain). */
/* Room in `next` for all that may have to be kept. */
int relay_going_reserve(const struct relay *r, struct config *next, struct fault *why);
/* The sinks behind those of their routes, to be opened with them; and back. */
void relay_going_sinks(
    struct relay *r, const struct relay_plan *plan, struct config *next, struct relay_link *links);
void relay_going_sinks_undo(struct config *next);
/* What they are made of moves into `next`, with the routes that nothing of `routes` is and that
 * were not freed. After the old sinks are freed; the arrays have room. */
void relay_going_adopt(
    struct relay *r, struct config *next, struct relay_link *links, struct relay_route **routes);
/* Writes what drains from now on, and what does not any more, within the store's change. */
int relay_going_keep(struct relay *r, const struct relay_plan *plan, struct fault *why);
/* Puts what drained when the last process ended behind what is configured. */
int relay_going_restore(struct relay *r, struct fault *why);
/* Once a second: those that are through go. */
void relay_going_leave(struct relay *r);
bool relay_drains(const struct relay_plan *plan, uint64_t route_id, uint64_t sink_id);

/* relay_reload.c. -1: FAULT_BROKEN. */
int relay_reload_turn(struct relay *r, struct fault *why);
int64_t relay_reload_wake(const struct relay *r);
void relay_reload_drop(struct relay *r);

struct outflow *relay_outflow_by_id(void *relay, uint64_t sink_id);
struct tail *relay_tail_by_id(void *relay, uint64_t route_id, const char **name);
/* FAULT_INPUT when there is no such route or sink. sink NULL: *ret_sink becomes NULL. */
int relay_find(struct relay *r, const char *route, const char *sink, struct relay_route **ret_route,
    struct outflow **ret_sink, struct fault *why);
int64_t relay_backlog_limit(const struct relay_route *route);
int relay_job_add(struct relay *r, struct store_job *job, struct fault *why);

#endif
