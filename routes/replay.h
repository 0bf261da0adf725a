/* Replay jobs: frozen sets of logged events that go again, beside live traffic, each leg as a lane
 * of the sink it goes to. */
#ifndef BASCULE_REPLAY_H
#define BASCULE_REPLAY_H

#include "routes/outflow.h"

struct replay {
    struct replay *next;
    struct store_job job; /* owned */
    struct lane **lanes;  /* by leg; NULL once a leg's lane has ended */
    struct lane **fresh;  /* by leg, while a reload is prepared; NULL: it stays */
    double tokens;
    int64_t tokens_at_ms;
    bool dirty, urgent; /* urgent: a row of the job or its state changed, so it goes with the next
                         * transaction; else once a second */
    int64_t put_ms;
};

/* `*from` is taken over on success. `outflow_of` and the tails find a leg's sink and log. */
struct replay_world {
    struct outflow *(*outflow_of)(void *arg, uint64_t sink_id);
    /* The tail and name of the route whose log it is; NULL: no such route now. */
    struct tail *(*tail_of)(void *arg, uint64_t route_id, const char **name);
    void *arg;
};

int replay_open(struct store_job *from, const struct replay_world *world, struct replay **ret,
    struct fault *why);
void replay_free(struct replay *r);
/* That leg is not through. */
bool replay_leg_open(const struct replay *r, size_t leg);
/* Why that leg cannot move as things are configured; NULL: it can, or is through. */
const char *replay_stuck(const struct replay *r, size_t leg);
/* Ends lanes that are through, the job when all are. Returns false when the job needs no more turns
 * (done or cancelled, written): free it. A running one with a leg that is stuck is paused, and says
 * so.
 */
bool replay_turn(struct replay *r, struct store *store, int64_t now_ms, int64_t unix_ms);
/* Puts it into the filling transaction when it has to be there. */
void replay_flush(struct replay *r, struct store *store, int64_t now_ms);
/* A reload, in this order. prepare: makes lanes at the sinks that `world` has in the place of
 * others, beside theirs; the old ones have nothing in flight. Then either commit: the new ones take
 * over (the old sinks are still there, `world` has the new names), or undo, after the new sinks
 * were freed. */
int replay_prepare(struct replay *r, const struct replay_world *world, struct fault *why);
void replay_commit(struct replay *r, const struct replay_world *world);
void replay_undo(struct replay *r);
/* What is left for that sink (0: of any of that route), or of that route's log, counts as dropped.
 */
void replay_give_up(struct replay *r, uint64_t route_id, uint64_t sink_id);
int replay_do(struct replay *r, enum relay_replay_verb verb, int64_t unix_ms, struct fault *why);

#endif
