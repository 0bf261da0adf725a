#include "routes/relay_inside.h"
#include "routes/tell.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct outflow *relay_outflow_by_id(void *arg, uint64_t sink_id)
{
    struct relay *r = arg;

    for (size_t i = 0; i < r->route_count; i++)
        for (size_t s = 0; s < r->routes[i]->config->sink_count; s++)
            if (r->routes[i]->outflows[s]->id == sink_id)
                return r->routes[i]->outflows[s];
    return NULL;
}

struct tail *relay_tail_by_id(void *arg, uint64_t route_id, const char **name)
{
    struct relay *r = arg;

    for (size_t i = 0; i < r->route_count; i++) {
        if (r->routes[i]->id != route_id)
            continue;
        *name = r->routes[i]->config->name;
        return &r->routes[i]->tail;
    }
    return NULL;
}

int relay_find(struct relay *r, const char *route, const char *sink, struct relay_route **ret_route,
    struct outflow **ret_sink, struct fault *why)
{
    *ret_sink = NULL;
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *at = r->routes[i];

        if (strcmp(at->config->name, route) != 0)
            continue;
        *ret_route = at;
        /* What is put now would not be seen by what takes its place. */
        if (at->leaving)
            return fault_set(why, FAULT_RETRY, 0, "route '%s' is just being changed", route);
        if (!sink)
            return 0;
        for (size_t s = 0; s < at->config->sink_count; s++) {
            if (strcmp(at->config->sinks[s].name, sink) != 0)
                continue;
            *ret_sink = at->outflows[s];
            return 0;
        }
        return fault_set(why, FAULT_INPUT, 0, "route '%s' has no sink '%s'", route, sink);
    }
    (void)fault_set(why, FAULT_INPUT, 0, "there is no route '%s'", route);
    return -1;
}

static void pause_sink(
    struct relay_route *route, struct outflow *o, bool paused, const char *who, int64_t unix_ms)
{
    o->paused = paused;
    if (!paused)
        o->draining = route->draining && !route->config->going;
    o->paused_since_ms = paused ? unix_ms : 0;
    (void)snprintf(o->paused_by, sizeof o->paused_by, "%s", paused ? who : "");
}

/* A source that was told to stop for good does not begin again: it is opened once more. */
static int end_drain(struct relay *r, struct relay_route *route, struct fault *why)
{
    struct relay_opening how = { r->spec.config, r->links, route, false };

    if (!route->draining || route->config->going)
        return 0;
    route->draining = route->drained = route->intake->stopped = false;
    if (!route->intake->source || !intake_idle(route->intake))
        return 0;
    if (relay_intake_open_again(&how, route, why) == 0)
        return 0;
    route->draining = true;
    return -1;
}

int relay_pause(struct relay *r, const char *name, const char *sink, bool paused, const char *who,
    int64_t unix_ms, struct fault *why)
{
    struct relay_route *route;
    struct outflow *o;

    if (relay_find(r, name, sink, &route, &o, why) != 0)
        return -1;
    tell_paused(r->lifecycle, name, sink, paused, who);
    if (o) {
        pause_sink(route, o, paused, who, unix_ms);
        store_pause_put(r->spec.store, route->id, o->id, paused, who, unix_ms);
        if (!paused)
            store_drain_put(r->spec.store, route->id, o->id, false);
        return 0;
    }
    if (!paused && end_drain(r, route, why) != 0)
        return -1;
    route->paused = paused;
    route->paused_since_ms = paused ? unix_ms : 0;
    (void)snprintf(route->paused_by, sizeof route->paused_by, "%s", paused ? who : "");
    for (size_t s = 0; s < route->config->sink_count; s++) {
        pause_sink(route, route->outflows[s], paused, who, unix_ms);
        if (!paused) {
            store_pause_put(r->spec.store, route->id, route->outflows[s]->id, false, who, unix_ms);
            store_drain_put(r->spec.store, route->id, route->outflows[s]->id, false);
        }
    }
    if (!paused)
        store_drain_put(r->spec.store, route->id, 0, false);
    store_pause_put(r->spec.store, route->id, 0, paused, who, unix_ms);
    return 0;
}

int relay_drain_one(struct relay *r, const char *name, const char *sink, struct fault *why)
{
    struct relay_route *route;
    struct outflow *o;

    if (relay_find(r, name, sink, &route, &o, why) != 0)
        return -1;
    if (o)
        o->draining = true;
    else
        route->draining = true;
    store_drain_put(r->spec.store, route->id, o ? o->id : 0, true);
    return 0;
}

int relay_breaker_set(
    struct relay *r, const char *name, const char *sink, bool open, struct fault *why)
{
    struct relay_route *route;
    struct outflow *o;

    if (relay_find(r, name, sink, &route, &o, why) != 0)
        return -1;
    if (!o)
        return fault_set(why, FAULT_INPUT, 0, "name a sink: %s/SINK", name);
    outflow_breaker_set(o, open);
    return 0;
}

static int dead_sink(struct relay *r, const struct relay_dead *d, int64_t unix_ms,
    struct outflow **ret, struct fault *why)
{
    struct relay_route *route;

    *ret = NULL;
    if (!d->route || !d->sink)
        return fault_set(why, FAULT_INPUT, 0, "dead letter %" PRIu64 " names no sink", d->number);
    if (relay_find(r, d->route, d->sink, &route, ret, why) != 0)
        return -1;
    (*ret)->now_ms = r->now_ms;
    (*ret)->unix_ms = unix_ms;
    return 0;
}

/* The asker read the row before it knew of what is not yet on disk: one deed at a time for each. */
static int touch(struct relay *r, uint64_t number, struct fault *why)
{
    uint64_t done = store_committed(r->spec.store);
    struct relay_touched *touched;
    size_t n = 0;

    for (size_t i = 0; i < r->touched_n; i++)
        if (r->touched[i].txn > done)
            r->touched[n++] = r->touched[i];
    r->touched_n = n;
    for (size_t i = 0; i < n; i++)
        if (r->touched[i].number == number)
            return fault_set(why, FAULT_RETRY, 0,
                "something else was asked for dead letter %" PRIu64 " just now", number);
    touched = n < OUTFLOW_RETRIES_MAX ? realloc(r->touched, (n + 1) * sizeof *touched) : NULL;
    if (!touched)
        return fault_set(why, FAULT_RETRY, 0, "too much is asked at once");
    r->touched = touched;
    touched[r->touched_n++] = (struct relay_touched){ number, store_filling(r->spec.store) };
    return 0;
}

int relay_dead_retry(
    struct relay *r, const struct relay_dead *d, int64_t unix_ms, struct fault *why)
{
    struct outflow *o;

    if (dead_sink(r, d, unix_ms, &o, why) != 0 || touch(r, d->number, why) != 0)
        return -1;
    return outflow_dead_retry(o, d, why);
}

int relay_dead_drop(struct relay *r, const struct relay_dead *d, int64_t unix_ms, struct fault *why)
{
    struct outflow *o;

    if (dead_sink(r, d, unix_ms, &o, why) != 0 || touch(r, d->number, why) != 0)
        return -1;
    outflow_dead_drop(o, d);
    return 0;
}

int relay_dead_edit(struct relay *r, const struct relay_dead *d, const struct event *edited,
    int64_t unix_ms, struct fault *why)
{
    struct outflow *o;

    if (dead_sink(r, d, unix_ms, &o, why) != 0)
        return -1;
    store_held_edit(r->spec.store, d->number, edited);
    return 0;
}

/* ---- replay ---- */

int relay_job_add(struct relay *r, struct store_job *job, struct fault *why)
{
    struct replay_world world = { relay_outflow_by_id, relay_tail_by_id, r };
    struct replay *j;

    if (replay_open(job, &world, &j, why) != 0)
        return -1;
    j->next = r->replays;
    r->replays = j;
    return 0;
}

static uint64_t ranges_cut_out(struct ranges *from, uint64_t first, uint64_t last)
{
    struct ranges kept = { 0 };
    uint64_t before = ranges_count(from);

    for (size_t i = 0; i < from->n; i++) {
        struct range x = from->at[i];

        if (x.last < first || x.first > last) {
            (void)ranges_add(&kept, x.first, x.last);
            continue;
        }
        if (x.first < first)
            (void)ranges_add(&kept, x.first, first - 1);
        if (x.last > last)
            (void)ranges_add(&kept, last + 1, x.last);
    }
    ranges_done(from);
    *from = kept;
    return before - ranges_count(from);
}

/* What its own sink has not finished yet goes there anyway: a replay leaves it out. */
static uint64_t leave_out_pending(struct ranges *set, const struct outflow *o)
{
    uint64_t from = o->live.frontier, left = 0;

    for (size_t i = 0; i < o->live.above.n; i++) {
        if (o->live.above.at[i].first > from)
            left += ranges_cut_out(set, from, o->live.above.at[i].first - 1);
        from = o->live.above.at[i].last + 1;
    }
    left += ranges_cut_out(set, from, UINT64_MAX);
    for (size_t i = 0; i < o->live.heap_n; i++)
        left += ranges_cut_out(set, o->live.heap[i]->seq, o->live.heap[i]->seq);
    return left;
}

static int add_leg(struct store_job *job, const struct plan_part *part, const struct outflow *o,
    bool own, uint64_t *left_out, struct fault *why)
{
    struct store_leg *legs = realloc(job->legs, (job->leg_count + 1) * sizeof *legs);
    struct store_leg *leg;

    if (!legs)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    job->legs = legs;
    leg = &legs[job->leg_count];
    *leg = (struct store_leg){ .route_id = part->route_id, .sink_id = o->id };
    if (ranges_copy(&part->set, &leg->set) != 0)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    job->leg_count++;
    if (own)
        *left_out += leave_out_pending(&leg->set, o);
    leg->selected = ranges_count(&leg->set);
    leg->frontier = leg->set.n ? leg->set.at[0].first : 1;
    return 0;
}

static int add_part(struct relay *r, struct store_job *job, const struct relay_replay *ask,
    const struct plan_part *part, uint64_t *left_out, struct fault *why)
{
    struct relay_route *route = NULL;
    struct outflow *o;
    size_t before = job->leg_count;

    if (ask->to_route) {
        if (relay_find(r, ask->to_route, ask->to_sink, &route, &o, why) != 0)
            return -1;
        if (!o)
            return fault_set(why, FAULT_INPUT, 0, "name a sink: --to-sink %s/SINK", ask->to_route);
        if (!o->spec.config->enabled)
            return fault_set(
                why, FAULT_INPUT, 0, "sink '%s/%s' is not enabled", ask->to_route, ask->to_sink);
        return add_leg(job, part, o, false, left_out, why);
    }
    if (relay_find(r, part->route, NULL, &route, &o, why) != 0 || !route)
        return -1;
    for (size_t s = 0; s < route->config->sink_count; s++) {
        const struct config_sink *c = &route->config->sinks[s];

        if (ask->sink ? strcmp(c->name, ask->sink) != 0 : c->fallback_only)
            continue;
        if (!c->enabled && ask->sink)
            return fault_set(
                why, FAULT_INPUT, 0, "sink '%s/%s' is not enabled", part->route, c->name);
        if (!c->enabled)
            continue; /* its leg would never end */
        if (add_leg(job, part, route->outflows[s], !c->fallback_only, left_out, why) != 0)
            return -1;
    }
    if (ask->sink && job->leg_count == before)
        return fault_set(
            why, FAULT_INPUT, 0, "route '%s' has no sink '%s'", part->route, ask->sink);
    return 0;
}

int relay_replay_plan(struct relay *r, const struct relay_replay *ask, int64_t unix_ms,
    uint64_t *ret, uint64_t *left_out, struct fault *why)
{
    struct store_job job = {
        .state = JOB_PLANNED,
        .created_ms = unix_ms,
        .changed_ms = unix_ms,
        .expires_ms = unix_ms + 3600 * 1000,
        .rate = ask->rate,
        .raw = ask->raw,
        .uid = ask->uid,
        .digest = ask->plan->digest,
        .selection = strdup(ask->selection ? ask->selection : ""),
    };
    int result = job.selection ? 0 : fault_set(why, FAULT_RETRY, 0, "out of memory");

    *left_out = 0;
    for (size_t i = 0; result == 0 && i < ask->plan->part_count; i++) {
        result = add_part(r, &job, ask, &ask->plan->parts[i], left_out, why);
        job.bytes += ask->plan->parts[i].bytes;
    }
    if (result == 0) {
        job.number = store_next_job(r->spec.store);
        job.generation = store_next_generation(r->spec.store);
        *ret = job.number;
        store_job_put(r->spec.store, &job);
        result = relay_job_add(r, &job, why);
    }
    store_job_done(&job);
    return result;
}

static struct replay *job_find(const struct relay *r, uint64_t number)
{
    struct replay *j = r->replays;

    while (j && j->job.number != number)
        j = j->next;
    return j;
}

int relay_replay_do(struct relay *r, uint64_t number, enum relay_replay_verb verb, int64_t unix_ms,
    struct fault *why)
{
    struct replay *j = job_find(r, number);

    if (!j)
        return fault_set(why, FAULT_INPUT, 0,
            "there is no replay %" PRIu64 " that is planned or unfinished", number);
    return replay_do(j, verb, unix_ms, why);
}

const struct store_job *relay_replay_find(const struct relay *r, uint64_t number)
{
    const struct replay *j = job_find(r, number);

    return j ? &j->job : NULL;
}

const char *relay_replay_trouble(const struct relay *r, uint64_t number, size_t leg)
{
    const struct replay *j = job_find(r, number);

    return j && leg < j->job.leg_count ? replay_stuck(j, leg) : NULL;
}

/* ---- looking on ---- */

int relay_tap_open(struct relay *r, const char *route, const char *sink, struct tap_spec *spec,
    struct tap **ret, struct fault *why)
{
    struct relay_route *at;
    struct outflow *o;

    if (relay_find(r, route, sink, &at, &o, why) != 0)
        return -1;
    spec->route_id = at->id;
    spec->sink_id = o ? o->id : 0;
    return tap_open(&r->taps, spec, ret, why);
}

void relay_tap_close(struct relay *r, struct tap *t)
{
    tap_close(&r->taps, t);
}

bool relay_tap_stands(const struct relay *r, const struct tap_spec *spec)
{
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (route->id != spec->route_id)
            continue;
        for (size_t s = 0; spec->sink_id && s < route->config->sink_count; s++)
            if (route->outflows[s]->id == spec->sink_id)
                return true;
        return spec->sink_id == 0;
    }
    return false;
}
