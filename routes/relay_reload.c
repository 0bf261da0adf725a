/* Going over to another configuration while events move.
 *
 * What changes or goes is `leaving`: it takes and sends nothing any more, and its sinks' answers
 * are awaited, for a bounded time. Then what is still in flight is let go as unsure, and when all
 * of that is on disk, everything is opened anew from the log, in one transaction of names. Until
 * that has been committed each step can be taken back. */
#include "routes/relay_inside.h"
#include "routes/tell.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* For answers on what is in flight; then for acknowledgements to be out; together the longest that
 * a changed route stands still because of a broker. A healthy one answers within milliseconds. */
#define ANSWERS_MS 2000
#define ACKS_MS 1000
#define ACKS_LOOK_MS 10 /* a link's own threads may have got them out without a word */
/* For what does not end by itself, a full store or a replay at a sink that is sick; past it the
 * reload fails. */
#define STUCK_MS 10000
/* For what came in to be on disk, on one that takes seconds for a sync; less than a command waits
 * for its answer (SILENCE_S, bridge/cli/client.c). */
#define DISK_MS 45000

enum phase { PHASE_NONE = 0, PHASE_ANSWERS, PHASE_DISK, PHASE_ACKS };

struct relay_reload {
    struct config *next;
    struct relay_plan plan;
    enum phase phase;
    enum relay_reload_state state;
    struct fault why;
    int64_t began_ms, acks_ms;
    uint64_t barrier;         /* the transaction that holds the last of what leaves */
    bool abandoned, stopped;  /* stopped: sources that leave were told to stop for good */
    struct relay_link *links; /* by next's connections */
    bool *opened;             /* by next's connections: the link is new */
    struct relay_route **routes, **fresh; /* by next's routes */
};

/* ---- begin ---- */

static void reload_free(struct relay_reload *l)
{
    relay_plan_done(&l->plan);
    free(l->links);
    free(l->opened);
    free((void *)l->routes);
    free((void *)l->fresh);
    free(l);
}

static void close_links(struct relay_reload *l)
{
    for (size_t i = 0; l->opened && i < l->next->connection_count; i++)
        if (l->opened[i])
            l->links[i].config->connector->link_free(l->links[i].link);
}

static int open_links(struct relay *r, struct relay_reload *l, struct fault *why)
{
    for (size_t i = 0; i < l->next->connection_count; i++) {
        struct config_connection *c = &l->next->connections[i];

        if (relay_connection_stays(r, l->next, i)) {
            /* What is opened on it takes its name from the one that will stay. */
            l->links[i] = r->links[relay_match_connection(r->spec.config, c->name)];
            continue;
        }
        l->links[i].config = c;
        if (relay_link_open(r, c, &l->links[i].link, why) != 0)
            return -1;
        l->opened[i] = true;
    }
    return 0;
}

static bool goes(const struct relay_route *route, const struct relay_reload *l)
{
    size_t i = relay_match_new(route, l->next);

    return i == SIZE_MAX ? !relay_drains(&l->plan, route->id, 0)
                         : relay_must_swap(route, l->next, i);
}

static bool reads(const struct replay *j, uint64_t route_id)
{
    for (size_t i = 0; i < j->job.leg_count; i++)
        if (replay_leg_open(j, i) && j->job.legs[i].route_id == route_id)
            return true;
    return false;
}

/* A route that goes over with its source as it is: only its sinks are opened anew. */
static bool source_stays(const struct relay_route *route, const struct relay_reload *l)
{
    size_t i = relay_match_new(route, l->next);

    return i != SIZE_MAX && relay_source_stays(route, l->next, i);
}

/* A replay that reads the log of a route that goes must be through with it first. */
static void cancel_jobs(struct relay *r, const struct relay_plan *plan)
{
    struct fault why;

    for (size_t i = 0; i < plan->n; i++) {
        const struct relay_change *c = &plan->at[i];

        if (c->of != RELAY_ROUTE || !c->discard)
            continue;
        for (struct replay *j = r->replays; j; j = j->next)
            if (reads(j, c->route_id))
                (void)replay_do(j, RELAY_REPLAY_CANCEL, r->unix_ms, &why);
    }
}

int relay_reload(
    struct relay *r, struct config *next, const struct relay_reload_ask *ask, struct fault *why)
{
    size_t connections = next->connection_count + r->spec.config->connection_count;
    struct config_problems problems = { 0 };
    struct relay_reload *l;
    int result;

    if (r->reload || r->draining)
        return fault_set(why, FAULT_RETRY, 0, "%s",
            r->reload ? "another reload is in progress" : "the daemon is about to end");
    l = calloc(1, sizeof *l);
    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->next = next;
    l->phase = PHASE_ANSWERS;
    l->state = RELAY_RELOAD_RUNNING;
    l->began_ms = r->now_ms;
    l->links = calloc(connections + 1, sizeof *l->links);
    l->opened = calloc(connections + 1, sizeof *l->opened);
    l->routes = calloc(next->route_count + r->route_count + 1, sizeof(struct relay_route *));
    l->fresh = calloc(next->route_count + 1, sizeof(struct relay_route *));
    if (!l->links || !l->opened || !l->routes || !l->fresh) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    result = relay_plan(r, next, ask, &l->plan, &problems);
    if (result != 0)
        (void)fault_set(why, FAULT_INPUT, 0, "%s", problems.n ? problems.at[0].text : "refused");
    config_problems_done(&problems);
    if (result != 0 || relay_going_reserve(r, next, why) != 0 || open_links(r, l, why) != 0)
        goto fail;
    for (size_t i = 0; i < r->route_count; i++)
        r->routes[i]->leaving = goes(r->routes[i], l);
    cancel_jobs(r, &l->plan);
    /* What came in to a changed route must get to disk first, and may wait for this very room. */
    if (next->store_max_size > r->spec.config->store_max_size)
        store_limit(r->spec.store, next->store_max_size);
    r->reload = l;
    return 0;
fail:
    close_links(l);
    reload_free(l);
    return -1;
}

/* ---- waiting ---- */

static bool answered(const struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        for (size_t s = 0; route->leaving && s < route->config->sink_count; s++)
            if (!outflow_idle(route->outflows[s]))
                return false;
    }
    return true;
}

static bool received(const struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++)
        if (r->routes[i]->leaving && !intake_idle(r->routes[i]->intake))
            return false;
    return true;
}

/* No lane of a staying sink reads the log of a route that goes. */
static bool unread(const struct relay *r, const struct relay_reload *l)
{
    for (const struct replay *j = r->replays; j; j = j->next)
        for (size_t i = 0; i < j->job.leg_count; i++)
            for (size_t k = 0; k < r->route_count; k++)
                if (j->lanes[i] && r->routes[k]->id == j->job.legs[i].route_id &&
                    relay_match_new(r->routes[k], l->next) == SIZE_MAX && j->lanes[i]->in_flight)
                    return false;
    return true;
}

static void abandon(struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];

        for (size_t s = 0; route->leaving && s < route->config->sink_count; s++) {
            struct outflow *o = route->outflows[s];

            if (!o->sink || o->in_flight == 0)
                continue;
            log_say(LOG_LEVEL_WARN, route->config->name, o->spec.config->name,
                "reload: %zu events without an answer go again", o->in_flight);
            o->spec.connector->sink_abandon(o->sink);
        }
    }
}

static bool stop_sources(struct relay *r, const struct relay_reload *l)
{
    bool all = true;

    for (size_t i = 0; i < r->route_count; i++) {
        struct intake *in = r->routes[i]->intake;

        if (r->routes[i]->leaving && in->source && !source_stays(r->routes[i], l) &&
            !in->spec.connector->source_drain(in->source))
            all = false;
    }
    return all;
}

/* ---- opening ---- */

/* What replays find while old and new sinks are there: the new one where there is one, else the old
 * one if it stays. */
static struct outflow *fresh_outflow(void *arg, uint64_t sink_id)
{
    struct relay *r = arg;
    const struct relay_reload *l = r->reload;

    for (size_t i = 0; i < l->next->route_count; i++) {
        struct relay_route *route = l->fresh[i] ? l->fresh[i] : l->routes[i];

        for (size_t s = 0; route && s < route->config->sink_count; s++)
            if (route->outflows[s]->id == sink_id)
                return route->outflows[s];
    }
    for (size_t i = 0; i < r->route_count; i++)
        for (size_t s = 0; !r->routes[i]->leaving && s < r->routes[i]->config->sink_count; s++)
            if (r->routes[i]->outflows[s]->id == sink_id)
                return r->routes[i]->outflows[s];
    return NULL;
}

static struct tail *fresh_tail(void *arg, uint64_t route_id, const char **name)
{
    struct relay *r = arg;
    const struct relay_reload *l = r->reload;

    for (size_t i = 0; i < l->next->route_count; i++) {
        struct relay_route *now = l->fresh[i] ? l->fresh[i] : l->routes[i];

        if (!now || now->id != route_id)
            continue;
        *name = now->config->name;
        return l->routes[i] ? &l->routes[i]->tail : &now->tail;
    }
    for (size_t i = 0; i < r->route_count; i++)
        if (!r->routes[i]->leaving && r->routes[i]->id == route_id) {
            *name = r->routes[i]->config->name;
            return &r->routes[i]->tail;
        }
    return NULL;
}

static int discard(struct relay *r, const struct relay_plan *plan, struct fault *why)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct relay_change *c = &plan->at[i];

        if (c->discard && store_discard(r->spec.store, c->route_id, c->sink_id, why) != 0)
            return -1;
    }
    return 0;
}

/* Fills fresh[] with what is opened anew and routes[] with what is there and stays (its place at
 * least). */
static int open_fresh(struct relay *r, struct relay_reload *l, struct fault *why)
{
    struct replay_world world = { fresh_outflow, fresh_tail, r };

    relay_going_sinks(r, &l->plan, l->next, l->links);
    for (size_t i = 0; i < l->next->route_count; i++) {
        size_t old = relay_match_old(r, &l->next->routes[i]);
        struct relay_opening how = { l->next, l->links, old == SIZE_MAX ? NULL : r->routes[old],
            false };

        l->routes[i] = how.keep;
        if (how.keep && !how.keep->leaving)
            continue;
        how.source_stays = how.keep && source_stays(how.keep, l);
        if (relay_route_open(r, &how, i, &l->fresh[i], why) != 0)
            return -1;
        if (how.keep && how.keep->id != l->fresh[i]->id)
            return fault_set(why, FAULT_INPUT, 0,
                "route '%s': the store knows another one of that name", l->next->routes[i].name);
    }
    for (struct replay *j = r->replays; j; j = j->next)
        if (replay_prepare(j, &world, why) != 0)
            return -1;
    for (size_t i = 0; i < l->next->route_count; i++)
        for (size_t s = 0; l->fresh[i] && s < l->fresh[i]->config->sink_count; s++)
            if (held_restore(l->fresh[i]->outflows[s], why) != 0)
                return -1;
    return discard(r, &l->plan, why);
}

/* A source that was told to stop for good does not begin again: it is opened once more. */
static int restart_sources(struct relay *r, struct fault *why)
{
    struct relay_opening how = { r->spec.config, r->links, NULL, false };

    for (size_t i = 0; i < r->route_count; i++) {
        how.keep = r->routes[i];
        if (how.keep->leaving && how.keep->intake->source && !source_stays(how.keep, r->reload) &&
            relay_intake_open_again(&how, how.keep, why) != 0)
            return -1;
    }
    return 0;
}

/* Everything is as before. -1: not even that could be done. */
static int take_back(struct relay *r, struct fault *why)
{
    struct relay_reload *l = r->reload;
    int result = 0;

    for (struct replay *j = r->replays; j; j = j->next)
        replay_undo(j);
    for (size_t i = 0; i < l->next->route_count; i++) {
        relay_route_free(l->fresh[i]);
        l->fresh[i] = NULL;
    }
    relay_going_sinks_undo(l->next);
    close_links(l);
    if (l->stopped)
        result = restart_sources(r, why);
    for (size_t i = 0; i < r->route_count; i++)
        r->routes[i]->leaving = false;
    store_limit(r->spec.store, r->spec.config->store_max_size);
    l->state = RELAY_RELOAD_FAILED;
    return result;
}

/* ---- going over: nothing here can fail ---- */

static void swap(void *a, void *b, size_t n)
{
    uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        uint8_t kept = x[i];

        x[i] = y[i];
        y[i] = kept;
    }
}

#define SWAP(a, b) swap(&(a), &(b), sizeof(a))

/* What runs was opened with the old one's values, which are the same: the new configuration takes
 * them over, and the old one goes with the copies. */
static void adopt_connection(struct config_connection *old, struct config_connection *new)
{
    SWAP(old->name, new->name);
    SWAP(old->options, new->options);
}

static void adopt_route(struct config_route *old, struct config_route *new)
{
    SWAP(*old, *new);
    SWAP(old->place, new->place);
    SWAP(old->connection, new->connection);
    SWAP(old->text, new->text);
    SWAP(old->max_backlog, new->max_backlog);
    SWAP(old->retain_age_ms, new->retain_age_ms);
    SWAP(old->retain_bytes, new->retain_bytes);
    for (size_t s = 0; s < new->sink_count; s++) {
        SWAP(old->sinks[s].place, new->sinks[s].place);
        SWAP(old->sinks[s].connection, new->sinks[s].connection);
    }
}

static void stay(struct relay_route *route, struct config_route *new)
{
    adopt_route(route->config, new);
    route->config = new;
    route->intake->spec.config = new;
    for (size_t s = 0; s < new->sink_count; s++)
        route->outflows[s]->spec.route = new;
}

/* What people set on a sink stays with it. */
static void keep_asked(const struct outflow *old, struct outflow *new)
{
    new->paused = old->paused;
    new->draining = old->draining;
    new->paused_since_ms = old->paused_since_ms;
    memcpy(new->paused_by, old->paused_by, sizeof new->paused_by);
    new->delivered_rate = old->delivered_rate;
    new->balanced = old->balanced;
}

/* What its source was opened with is the same: the new configuration takes it over. */
static void keep_source(struct relay_route *route, struct config_route *new)
{
    SWAP(route->config->name, new->name);
    SWAP(route->config->source_options, new->source_options);
    route->intake->spec.config = new;
}

static void renew_source(struct relay_route *route, struct relay_route *fresh)
{
    fresh->intake->rate = route->intake->rate;
    fresh->intake->gaps = route->intake->gaps;
    fresh->intake->duplicates = route->intake->duplicates;
    if (route->config->going)
        route->draining = false;
    fresh->intake->stopped = route->draining;
    SWAP(route->intake, fresh->intake);
    route->drained = false;
    route->link_state = LINK_NONE;
}

/* The place stays, with its tail and what is known of it; the sinks are new ones, and the source
 * where it was opened anew. */
static void replace(struct relay_route *route, struct relay_route *fresh)
{
    for (size_t s = 0; s < fresh->config->sink_count; s++)
        for (size_t o = 0; o < route->config->sink_count; o++)
            if (route->outflows[o]->id == fresh->outflows[s]->id)
                keep_asked(route->outflows[o], fresh->outflows[s]);
    if (fresh->intake)
        renew_source(route, fresh);
    else
        keep_source(route, fresh->config);
    SWAP(route->config, fresh->config);
    SWAP(route->outflows, fresh->outflows);
    route->first_seq = fresh->first_seq;
    route->leaving = false;
}

static void free_old(struct relay *r, struct relay_reload *l)
{
    size_t left = 0;

    for (size_t i = 0; i < r->route_count; i++) {
        bool stays = false;

        for (size_t n = 0; n < l->next->route_count; n++)
            stays = stays || l->routes[n] == r->routes[i];
        if (!stays && r->routes[i]->leaving)
            relay_route_free(r->routes[i]);
        else
            r->routes[left++] = r->routes[i];
    }
    r->route_count = left;
    /* These hold what was replaced. */
    for (size_t i = 0; i < l->next->route_count; i++)
        relay_route_free(l->fresh[i]);
}

static void close_old_links(struct relay *r, const struct relay_reload *l)
{
    for (size_t i = 0; i < r->spec.config->connection_count; i++) {
        bool stays = false;

        for (size_t n = 0; n < l->next->connection_count; n++)
            stays = stays || l->links[n].link == r->links[i].link;
        if (!stays)
            r->links[i].config->connector->link_free(r->links[i].link);
    }
}

static void go_over(struct relay *r)
{
    struct relay_reload *l = r->reload;
    struct config *old = r->spec.config, *next = l->next;
    struct replay_world world = { fresh_outflow, fresh_tail, r };

    for (struct replay *j = r->replays; j; j = j->next)
        replay_commit(j, &world);
    for (size_t i = 0; i < l->plan.n; i++)
        for (struct replay *j = r->replays; j && l->plan.at[i].discard; j = j->next)
            replay_give_up(j, l->plan.at[i].route_id, l->plan.at[i].sink_id);
    for (size_t i = 0; i < next->route_count; i++) {
        struct relay_route *fresh = l->fresh[i];

        if (!fresh) {
            stay(l->routes[i], &next->routes[i]);
        } else if (l->routes[i]) {
            replace(l->routes[i], fresh);
        } else {
            l->routes[i] = fresh;
            l->fresh[i] = NULL;
        }
    }
    free_old(r, l);
    for (size_t i = 0; i < next->connection_count; i++)
        if (!l->opened[i] && !next->connections[i].going) {
            adopt_connection(
                &old->connections[relay_match_connection(old, next->connections[i].name)],
                &next->connections[i]);
            l->links[i].config = &next->connections[i];
        }
    relay_going_adopt(r, next, l->links, l->routes);
    close_old_links(r, l);
    free((void *)r->routes);
    free(r->links);
    r->routes = l->routes;
    r->route_count = next->route_count;
    r->links = l->links;
    l->routes = NULL;
    l->links = NULL;
    r->spec.config = next;
    l->next = old;
    l->state = RELAY_RELOAD_DONE;
}

static void tell_changes(struct relay *r)
{
    const struct relay_plan *plan = &r->reload->plan;

    for (size_t i = 0; i < plan->n; i++) {
        const struct relay_change *c = &plan->at[i];

        if (c->of != RELAY_ROUTE)
            continue;
        if (c->kind == RELAY_REMOVED)
            tell_unregistered(r->lifecycle, c->name, c->drain);
        for (size_t k = 0; k < r->route_count && c->kind != RELAY_REMOVED; k++)
            if (strcmp(r->routes[k]->config->name, c->name) == 0)
                tell_registered(r->routes[k], c->kind == RELAY_ADDED ? "added" : "changed");
    }
}

/* Pauses of routes that have come back, retention, names that are left over. Troubles here do not
 * undo the reload. */
static void settle_in(struct relay *r)
{
    struct config *c = r->spec.config;
    struct fault why;

    store_limit(r->spec.store, c->store_max_size);
    tell_changes(r);
    for (size_t i = 0; i < r->route_count; i++)
        relay_route_retain(r->routes[i], c);
    if (relay_find_orphans(r, &why) != 0)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "reload: %s", why.text);
}

static int go(struct relay *r, struct fault *why)
{
    struct relay_reload *l = r->reload;
    struct fault again;

    if (store_change_begin(r->spec.store, &l->why) != 0)
        goto back;
    if (open_fresh(r, l, &l->why) != 0 ||
        relay_restore_asked(r, l->fresh, l->routes, l->next->route_count, &l->why) != 0 ||
        relay_going_keep(r, &l->plan, &l->why) != 0) {
        store_change_undo(r->spec.store);
        goto back;
    }
    if (store_change_commit(r->spec.store, &l->why) != 0)
        goto back;
    go_over(r);
    settle_in(r);
    return 0;
back:
    if (take_back(r, &again) == 0 && l->why.kind != FAULT_BROKEN)
        return 0;
    *why = l->why.kind == FAULT_BROKEN ? l->why : again;
    why->kind = FAULT_BROKEN;
    return -1;
}

/* ---- every turn ---- */

static int fail(struct relay *r, struct fault *why, const char *text)
{
    (void)fault_set(&r->reload->why, FAULT_RETRY, 0, "%s", text);
    return take_back(r, why);
}

/* Why it has waited long enough; NULL: a slow disk is waited for. */
static const char *stuck(const struct relay *r, const struct relay_reload *l, int64_t waited)
{
    if (store_full(r->spec.store))
        return "the store is full: what a changed route received is not on disk yet";
    if (!unread(r, l))
        return "a replay of a route that goes has no answer yet";
    return waited >= DISK_MS ? "what a changed route received is not on disk yet" : NULL;
}

int relay_reload_turn(struct relay *r, struct fault *why)
{
    struct relay_reload *l = r->reload;
    const char *text;
    int64_t waited;

    if (!l || l->state != RELAY_RELOAD_RUNNING)
        return 0;
    waited = r->now_ms - l->began_ms;
    if (l->phase != PHASE_ACKS && waited >= STUCK_MS && (text = stuck(r, l, waited)) != NULL)
        return fail(r, why, text);
    if (l->phase == PHASE_ANSWERS && waited >= ANSWERS_MS && !l->abandoned) {
        l->abandoned = true;
        abandon(r);
    }
    if (l->phase == PHASE_ANSWERS && answered(r) && received(r) && unread(r, l)) {
        l->barrier = store_filling(r->spec.store) - store_empty(r->spec.store);
        l->phase = PHASE_DISK;
    }
    if (l->phase == PHASE_DISK && store_committed(r->spec.store) >= l->barrier) {
        l->phase = PHASE_ACKS;
        l->stopped = true;
        l->acks_ms = r->now_ms;
    }
    if (l->phase == PHASE_ACKS && (stop_sources(r, l) || r->now_ms - l->acks_ms >= ACKS_MS))
        return go(r, why);
    return 0;
}

int64_t relay_reload_wake(const struct relay *r)
{
    const struct relay_reload *l = r->reload;

    if (!l)
        return INT64_MAX;
    if (l->state != RELAY_RELOAD_RUNNING)
        return r->now_ms;
    if (l->phase == PHASE_ACKS)
        return r->now_ms + ACKS_LOOK_MS;
    if (!l->abandoned && l->phase != PHASE_DISK)
        return l->began_ms + ANSWERS_MS;
    return l->began_ms + (r->now_ms - l->began_ms < STUCK_MS ? STUCK_MS : DISK_MS);
}

enum relay_reload_state relay_reload_state(struct relay *r, struct config **ret, struct fault *why)
{
    struct relay_reload *l = r->reload;
    enum relay_reload_state state = l ? l->state : RELAY_RELOAD_NONE;

    if (state == RELAY_RELOAD_NONE || state == RELAY_RELOAD_RUNNING)
        return state;
    *ret = l->next;
    *why = l->why;
    reload_free(l);
    r->reload = NULL;
    return state;
}

/* The process ends, or a reload cannot go on: what was begun is undone. */
void relay_reload_drop(struct relay *r)
{
    struct fault why;

    if (r->reload && r->reload->state == RELAY_RELOAD_RUNNING) {
        r->reload->stopped = false;
        (void)fault_set(&r->reload->why, FAULT_RETRY, 0, "the daemon is about to end");
        (void)take_back(r, &why);
    }
}

struct config *relay_reload_forget(struct relay *r)
{
    struct config *ret = NULL;

    relay_reload_drop(r);
    if (r->reload) {
        ret = r->reload->next;
        reload_free(r->reload);
    }
    r->reload = NULL;
    return ret;
}
