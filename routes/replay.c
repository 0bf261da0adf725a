#include "routes/replay.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

static struct replay *replay_of(const struct lane *l)
{
    return (struct replay *)(void *)((char *)l->job - offsetof(struct replay, job));
}

/* Numbers between the set's ranges count as finished, so that the frontier passes them. */
static int pass_holes(struct lane *l, const struct ranges *set)
{
    for (size_t i = 1; i < set->n; i++)
        if (set->at[i].first > l->frontier &&
            ranges_add(&l->above, set->at[i - 1].last + 1, set->at[i].first - 1) != 0)
            return -1;
    if (l->above.n && l->above.at[0].first <= l->frontier) {
        l->frontier = l->above.at[0].last + 1;
        ranges_cut(&l->above, l->frontier);
    }
    return 0;
}

static int lane_for(struct replay *r, struct store_leg *leg, const struct replay_world *world,
    struct lane **ret, struct fault *why)
{
    struct outflow *o = world->outflow_of(world->arg, leg->sink_id);
    const char *route = NULL;
    struct tail *tail = world->tail_of(world->arg, leg->route_id, &route);
    struct lane *l;

    *ret = NULL;
    if (!o || !tail || leg->set.n == 0)
        return 0; /* its sink or route is gone: it stays as it is, shown as unfinished */
    l = calloc(1, sizeof *l);
    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    lane_init(l, LANE_REPLAY, o, leg->route_id, route,
        leg->frontier ? leg->frontier : leg->set.at[0].first);
    l->job = &r->job;
    l->leg = leg;
    if (ranges_copy(&leg->above, &l->above) != 0 || pass_holes(l, &leg->set) != 0) {
        lane_done(l);
        free(l);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    l->has_feed = true;
    feed_init(&l->feed, o->spec.asks, tail, leg->route_id, false, l->frontier);
    if (o->spec.careful)
        l->careful_below = l->frontier + (uint64_t)o->spec.config->window_events;
    l->next = o->replays;
    o->replays = l;
    *ret = l;
    return 0;
}

static void lane_drop(struct lane *l)
{
    struct lane **at;

    for (at = &l->o->replays; *at && *at != l; at = &(*at)->next)
        ;
    if (*at)
        *at = l->next;
    lane_done(l);
    free(l);
}

static void lane_end(struct replay *r, size_t leg)
{
    if (r->lanes[leg])
        lane_drop(r->lanes[leg]);
    r->lanes[leg] = NULL;
}

int replay_open(struct store_job *from, const struct replay_world *world, struct replay **ret,
    struct fault *why)
{
    struct replay *r = calloc(1, sizeof *r);

    if (!r)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    r->lanes = calloc(from->leg_count ? from->leg_count : 1, sizeof(struct lane *));
    r->fresh = calloc(from->leg_count ? from->leg_count : 1, sizeof(struct lane *));
    if (!r->lanes || !r->fresh) {
        free(r->lanes);
        free(r->fresh);
        free(r);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    r->job = *from;
    r->tokens = 1;
    for (size_t i = 0; i < r->job.leg_count; i++) {
        if (lane_for(r, &r->job.legs[i], world, &r->lanes[i], why) != 0) {
            r->job = (struct store_job){ .leg_count = i };
            replay_free(r);
            return -1;
        }
    }
    *from = (struct store_job){ 0 };
    *ret = r;
    return 0;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->job.leg_count; i++)
        lane_end(r, i);
    store_job_done(&r->job);
    free(r->lanes);
    free(r->fresh);
    free(r);
}

static int remember_leg(struct lane *l)
{
    struct ranges above;

    if (ranges_copy(&l->above, &above) != 0)
        return -1;
    ranges_done(&l->leg->above);
    l->leg->above = above;
    l->leg->frontier = l->frontier;
    return 0;
}

static void remember(struct replay *r)
{
    for (size_t i = 0; i < r->job.leg_count; i++)
        if (r->lanes[i])
            (void)remember_leg(r->lanes[i]);
}

/* Lets go of what a cancelled job still has; what is in flight comes back as reports first. */
static void sweep(struct lane *l)
{
    while (l->ready_first) {
        struct flight *f = l->ready_first;

        if (f->entry)
            held_unload(f);
        else
            lane_flight_done(f);
    }
    held_drop_all(l, "job cancelled");
}

static bool leg_through(struct lane *l)
{
    if (l->job->state == JOB_CANCELLED) {
        sweep(l);
        return l->in_flight == 0 && l->loading_n == 0 && l->held_count == 0;
    }
    return lane_complete(l) && l->frontier > l->leg->set.at[l->leg->set.n - 1].last;
}

bool replay_leg_open(const struct replay *r, size_t leg)
{
    const struct store_leg *l = &r->job.legs[leg];

    return r->lanes[leg] || (l->set.n && l->frontier <= l->set.at[l->set.n - 1].last);
}

const char *replay_stuck(const struct replay *r, size_t leg)
{
    const struct lane *l = r->lanes[leg];

    if (!replay_leg_open(r, leg))
        return NULL;
    if (!l)
        return "its sink or its route is not in the configuration";
    return l->o->sink ? NULL : "its sink is disabled";
}

static const char *any_stuck(const struct replay *r)
{
    const char *why = NULL;

    for (size_t i = 0; i < r->job.leg_count && !why; i++)
        why = replay_stuck(r, i);
    return why;
}

/* Better paused where a person sees it than running for ever. */
static void pause_stuck(struct replay *r, int64_t unix_ms)
{
    const char *why = r->job.state == JOB_RUNNING ? any_stuck(r) : NULL;

    if (!why)
        return;
    log_say(LOG_LEVEL_WARN, NULL, NULL, "replay %" PRIu64 " is paused: %s", r->job.number, why);
    r->job.state = JOB_PAUSED;
    r->job.changed_ms = unix_ms;
    r->urgent = true;
}

bool replay_turn(struct replay *r, struct store *store, int64_t now_ms, int64_t unix_ms)
{
    bool alive = false, missing = false;

    if (r->job.state == JOB_PLANNED && unix_ms < r->job.expires_ms)
        return true;
    if (r->job.state == JOB_PLANNED) {
        r->job.state = JOB_CANCELLED; /* nobody ran it: its pins are gone, so it must not be run */
        r->job.changed_ms = unix_ms;
    }
    for (size_t i = 0; i < r->job.leg_count; i++) {
        struct lane *l = r->lanes[i];

        if (l && leg_through(l)) {
            remember(r);
            r->urgent = true;
            lane_end(r, i);
        }
        alive = alive || r->lanes[i];
        missing = missing || (!l && replay_leg_open(r, i));
    }
    pause_stuck(r, unix_ms);
    if (alive || (missing && r->job.state != JOB_CANCELLED))
        return true;
    if (r->job.state != JOB_CANCELLED)
        r->job.state = JOB_DONE;
    r->job.changed_ms = unix_ms;
    r->urgent = true;
    replay_flush(r, store, now_ms);
    return false;
}

static bool changed(const struct replay *r)
{
    for (size_t i = 0; i < r->job.leg_count; i++)
        if (r->lanes[i] && r->lanes[i]->frontier != r->job.legs[i].frontier)
            return true;
    return r->dirty;
}

void replay_flush(struct replay *r, struct store *store, int64_t now_ms)
{
    if (!r->urgent && (now_ms - r->put_ms < 1000 || !changed(r)))
        return;
    remember(r);
    store_job_put(store, &r->job);
    r->urgent = r->dirty = false;
    r->put_ms = now_ms;
}

/* ---- reload ---- */

int replay_prepare(struct replay *r, const struct replay_world *world, struct fault *why)
{
    for (size_t i = 0; i < r->job.leg_count; i++) {
        struct lane *l = r->lanes[i];
        struct outflow *o = world->outflow_of(world->arg, r->job.legs[i].sink_id);

        if (!o || (l && l->o == o) || !replay_leg_open(r, i))
            continue;
        if (l && remember_leg(l) != 0)
            return fault_set(why, FAULT_RETRY, 0, "out of memory");
        if (lane_for(r, &r->job.legs[i], world, &r->fresh[i], why) != 0)
            return -1;
    }
    return 0;
}

void replay_commit(struct replay *r, const struct replay_world *world)
{
    for (size_t i = 0; i < r->job.leg_count; i++) {
        struct store_leg *leg = &r->job.legs[i];
        struct outflow *o = world->outflow_of(world->arg, leg->sink_id);
        const char *name = NULL;

        if (r->fresh[i] || (r->lanes[i] && r->lanes[i]->o != o))
            lane_end(r, i);
        if (r->fresh[i])
            r->lanes[i] = r->fresh[i];
        r->fresh[i] = NULL;
        if (r->lanes[i] && world->tail_of(world->arg, leg->route_id, &name))
            r->lanes[i]->route = name;
    }
    r->urgent = true;
}

void replay_undo(struct replay *r)
{
    for (size_t i = 0; i < r->job.leg_count; i++) {
        if (r->fresh[i])
            lane_drop(r->fresh[i]);
        r->fresh[i] = NULL;
    }
}

void replay_give_up(struct replay *r, uint64_t route_id, uint64_t sink_id)
{
    for (size_t i = 0; i < r->job.leg_count; i++) {
        struct store_leg *l = &r->job.legs[i];

        if (r->lanes[i] || !replay_leg_open(r, i) ||
            (sink_id ? l->sink_id != sink_id : l->route_id != route_id))
            continue;
        l->dropped = l->selected - l->delivered - l->dead;
        l->frontier = l->set.at[l->set.n - 1].last + 1;
        ranges_done(&l->above);
        r->urgent = true;
    }
}

int replay_do(struct replay *r, enum relay_replay_verb verb, int64_t unix_ms, struct fault *why)
{
    static const char *const states[] = { "unknown", "planned", "running", "paused", "done",
        "cancelled" };
    enum job_state from = r->job.state, to = JOB_NONE;

    if (verb == RELAY_REPLAY_RUN && from == JOB_PLANNED)
        to = JOB_RUNNING;
    else if (verb == RELAY_REPLAY_PAUSE && from == JOB_RUNNING)
        to = JOB_PAUSED;
    else if (verb == RELAY_REPLAY_RESUME && from == JOB_PAUSED)
        to = JOB_RUNNING;
    else if (verb == RELAY_REPLAY_CANCEL && from != JOB_DONE && from != JOB_CANCELLED)
        to = JOB_CANCELLED;
    if (to == JOB_RUNNING && any_stuck(r))
        return fault_set(why, FAULT_INPUT, 0, "replay %" PRIu64 " cannot go on: %s", r->job.number,
            any_stuck(r));
    if (to == JOB_NONE)
        return fault_set(
            why, FAULT_INPUT, 0, "replay %" PRIu64 " is %s", r->job.number, states[from]);
    r->job.state = to;
    r->job.changed_ms = unix_ms;
    r->urgent = true;
    return 0;
}

/* ---- rate, for outflow.c ---- */

size_t replay_allowance(struct lane *l, size_t n, int64_t now_ms)
{
    struct replay *r = replay_of(l);
    double burst = (double)r->job.rate / 1000.0;

    if (r->job.rate == 0)
        return n;
    if (r->tokens_at_ms)
        r->tokens += (double)(now_ms - r->tokens_at_ms) * (double)r->job.rate / 1e6;
    r->tokens_at_ms = now_ms;
    if (r->tokens > (burst > 1 ? burst : 1))
        r->tokens = burst > 1 ? burst : 1;
    if (r->tokens < 1)
        return 0;
    return (double)n > r->tokens ? (size_t)r->tokens : n;
}

void replay_spend(struct lane *l, size_t sent)
{
    struct replay *r = replay_of(l);

    if (r->job.rate)
        r->tokens -= (double)sent;
}

int64_t replay_wake_ms(const struct lane *l)
{
    const struct replay *r = replay_of(l);

    if (r->job.rate == 0 || r->job.state != JOB_RUNNING || l->ready_count == 0 || r->tokens >= 1)
        return INT64_MAX;
    return r->tokens_at_ms + (int64_t)((1 - r->tokens) * 1e6 / (double)r->job.rate) + 1;
}

void replay_touch(struct lane *l)
{
    if (l->job)
        replay_of(l)->urgent = true;
}
