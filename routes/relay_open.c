/* Opening and freeing all parts of a configuration. */
#include "routes/relay_inside.h"
#include "routes/tell.h"

#include "bridge/base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int relay_link_open(
    struct relay *r, const struct config_connection *config, struct link **ret, struct fault *why)
{
    struct link_spec spec = {
        .name = config->name,
        .options = config->options,
        .store_id = store_id(r->spec.store),
        .seed = random_next(&r->random),
        .store_was = store_was(r->spec.store),
    };

    if (config->connector->link_open(&spec, ret, why) != 0)
        return fault_prefix(why, "connection '%s'", spec.name);
    return 0;
}

static int open_links(struct relay *r, struct fault *why)
{
    const struct config *c = r->spec.config;

    for (size_t i = 0; i < c->connection_count; i++) {
        r->links[i].config = &c->connections[i];
        if (relay_link_open(r, &c->connections[i], &r->links[i].link, why) != 0)
            return -1;
    }
    return 0;
}

/* What the one that it takes the place of leaves to be looked for; without one, what an unclean end
 * of the last process does. */
static void set_careful(const struct relay_route *keep, uint64_t sink_id, struct store *store,
    struct outflow_spec *spec)
{
    spec->careful = !store_was_clean(store);
    for (size_t s = 0; keep && s < keep->config->sink_count; s++) {
        const struct outflow *old = keep->outflows[s];

        if (old->id != sink_id)
            continue;
        spec->careful = old->spec.careful || outflow_unsure(old);
        spec->careful_below = outflow_careful_below(old);
    }
}

/* A going sink gets nothing that came in after it was taken out of the files. */
static uint64_t end_seq(const struct relay_route *keep, uint64_t sink_id)
{
    for (size_t s = 0; keep && s < keep->config->sink_count; s++)
        if (keep->outflows[s]->id == sink_id && keep->outflows[s]->spec.end_seq)
            return keep->outflows[s]->spec.end_seq;
    return keep ? keep->tail.next_seq : 0;
}

static int open_sink(
    const struct relay_opening *how, struct relay_route *route, size_t i, struct fault *why)
{
    struct relay *r = route->relay;
    const struct config_sink *c = &route->config->sinks[i];
    struct relay_link *l = &how->links[c->connection];
    struct store_sink stored = { 0 };
    struct outflow_spec spec = {
        .route = route->config,
        .config = c,
        .connector = l->config->connector,
        .link = route->config->enabled && c->enabled ? l->link : NULL,
        .store = r->spec.store,
        .asks = &r->asks,
        .taps = &r->taps,
        .tail = how->keep ? &how->keep->tail : &route->tail,
        .random = &r->random,
        .tracer = r->spec.tracer,
        .lifecycle = r->lifecycle,
        .route_id = route->id,
    };
    enum store_begin begin = c->begin == CONFIG_BEGIN_OLDEST ? STORE_BEGIN_OLDEST
                             : c->begin == CONFIG_BEGIN_TIME ? STORE_BEGIN_TIME
                                                             : STORE_BEGIN_NOW;
    int result;

    if (store_sink_open(
            r->spec.store, route->id, c->name, c->was, begin, c->begin_ms, &stored, why) != 0)
        return -1;
    if (store_sink_fallback(r->spec.store, stored.id, c->fallback_only, why) != 0) {
        ranges_done(&stored.above);
        return -1;
    }
    set_careful(how->keep, stored.id, r->spec.store, &spec);
    spec.end_seq = !c->going ? 0 : c->going_end ? c->going_end : end_seq(how->keep, stored.id);
    result = outflow_open(&spec, &stored, r->now_ms, r->unix_ms, &route->outflows[i], why);
    ranges_done(&stored.above);
    return result;
}

static int open_intake(const struct relay_opening *how, struct relay_route *route,
    const struct store_route *stored, struct fault *why)
{
    struct relay *r = route->relay;
    struct relay_link *l = &how->links[route->config->connection];
    struct store_position *positions = NULL;
    size_t count = 0;
    struct intake_spec spec = {
        .config = route->config,
        .connection = l->config->name,
        .connector = l->config->connector,
        .link = route->config->enabled && !route->config->going ? l->link : NULL,
        .store = r->spec.store,
        .asks = &r->asks,
        .taps = &r->taps,
        .tail = how->keep ? &how->keep->tail : &route->tail,
        .tracer = r->spec.tracer,
        .lifecycle = r->lifecycle,
        .route_id = route->id,
        .clean_start = how->keep || store_was_clean(r->spec.store),
    };
    int result;

    if (store_positions(r->spec.store, route->id, spec.connection, &positions, &count, why) != 0)
        return -1;
    result = intake_open(&spec, stored, positions, count, &route->intake, why);
    store_positions_free(positions, count);
    return result;
}

void relay_route_retain(const struct relay_route *route, const struct config *config)
{
    const struct config_route *c = route->config;

    store_route_retain(route->relay->spec.store, route->id,
        c->retain_age_ms >= 0 ? c->retain_age_ms : config->retain_age_ms,
        c->retain_bytes >= 0 ? c->retain_bytes : config->retain_bytes);
}

static int open_parts(const struct relay_opening *how, struct relay_route *route, struct fault *why)
{
    const struct config_route *c = route->config;
    struct store_route stored;

    if (store_route_open(route->relay->spec.store, c->name, c->was, &stored, why) != 0)
        return -1;
    route->id = stored.id;
    route->first_seq = stored.first_seq;
    tail_init(&route->tail, stored.next_seq);
    route->outflows = calloc(c->sink_count ? c->sink_count : 1, sizeof(struct outflow *));
    if (!route->outflows)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    for (size_t s = 0; s < c->sink_count; s++)
        if (open_sink(how, route, s, why) != 0)
            return -1;
    for (size_t s = 0; s < c->sink_count; s++)
        if (c->sinks[s].fallback < c->sink_count)
            route->outflows[s]->fallback = route->outflows[c->sinks[s].fallback];
    return how->source_stays ? 0 : open_intake(how, route, &stored, why);
}

int relay_route_open(struct relay *r, const struct relay_opening *how, size_t i,
    struct relay_route **ret, struct fault *why)
{
    struct relay_route *route = calloc(1, sizeof *route);

    if (!route) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        return -1;
    }
    route->relay = r;
    route->config = &how->config->routes[i];
    if (open_parts(how, route, why) != 0) {
        relay_route_free(route);
        return -1;
    }
    if (route->config->going)
        route->draining = route->intake->stopped = true;
    *ret = route;
    return 0;
}

static int restore_jobs(struct relay *r, struct fault *why)
{
    struct store_job *jobs = NULL;
    size_t count = 0;
    int result = 0;

    if (store_jobs_load(r->spec.store, &jobs, &count, why) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (result == 0)
            result = relay_job_add(r, &jobs[i], why);
        store_job_done(&jobs[i]);
    }
    free(jobs);
    return result;
}

static void restore_pause(struct relay_route *route, const struct store_pause *p)
{
    if (!route || route->id != p->route_id)
        return;
    if (p->sink_id == 0) {
        route->paused = true;
        route->paused_since_ms = p->since_ms;
        memcpy(route->paused_by, p->who, sizeof route->paused_by);
    }
    for (size_t s = 0; s < route->config->sink_count; s++) {
        struct outflow *o = route->outflows[s];

        if (p->sink_id != 0 && o->id != p->sink_id)
            continue;
        o->paused = true;
        o->paused_since_ms = p->since_ms;
        memcpy(o->paused_by, p->who, sizeof o->paused_by);
    }
}

static void restore_drain(struct relay_route *route, const struct store_drain *d)
{
    if (!route || route->id != d->route_id || d->text)
        return;
    if (d->sink_id == 0)
        route->draining = route->intake->stopped = true;
    for (size_t s = 0; s < route->config->sink_count; s++)
        if (route->outflows[s]->id == d->sink_id)
            route->outflows[s]->draining = true;
}

int relay_restore_asked(struct relay *r, struct relay_route *const *fresh,
    struct relay_route *const *running, size_t n, struct fault *why)
{
    struct store_pause *pauses = NULL;
    struct store_drain *drains = NULL;
    size_t count = 0, drain_count = 0;

    if (store_pauses(r->spec.store, &pauses, &count, why) != 0 ||
        store_drains(r->spec.store, &drains, &drain_count, why) != 0) {
        free(pauses);
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        if (running && running[i])
            continue;
        for (size_t p = 0; p < count; p++)
            restore_pause(fresh[i], &pauses[p]);
        for (size_t d = 0; d < drain_count; d++)
            restore_drain(fresh[i], &drains[d]);
    }
    free(pauses);
    store_drains_free(drains, drain_count);
    return 0;
}

int relay_intake_open_again(
    const struct relay_opening *how, struct relay_route *route, struct fault *why)
{
    struct intake *old = route->intake;
    struct store_route stored = { .id = route->id,
        .first_seq = route->first_seq,
        .next_seq = old->next_seq,
        .last_received_ms = old->last_received_ms };

    if (open_intake(how, route, &stored, why) != 0) {
        route->intake = old;
        return -1;
    }
    route->intake->stopped = route->draining;
    intake_free(old);
    return 0;
}

static bool configured(const struct relay *r, const struct store_known *k)
{
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (route->id != k->route_id)
            continue;
        if (k->sink_id == 0)
            return true;
        for (size_t s = 0; s < route->config->sink_count; s++)
            if (route->outflows[s]->id == k->sink_id)
                return true;
    }
    return false;
}

/* What the store holds and nobody runs: kept, and said. */
int relay_find_orphans(struct relay *r, struct fault *why)
{
    struct store_known *known;
    size_t count = 0, n = 0;

    if (store_known(r->spec.store, &known, &count, why) != 0)
        return -1;
    free(r->orphans);
    r->orphans = known;
    for (size_t i = 0; i < count; i++)
        if (!configured(r, &r->orphans[i]))
            r->orphans[n++] = r->orphans[i];
    r->orphan_count = n;
    for (size_t i = 0; i < n; i++) {
        const struct store_known *k = &r->orphans[i];

        if (k->pending + k->held + k->dead + k->jobs)
            log_say(LOG_LEVEL_WARN, k->route, k->sink_id ? k->sink : NULL,
                "orphaned: not in the configuration, but the store holds %" PRIu64
                " pending, %" PRIu64 " held and %" PRIu64 " dead letters of it",
                k->pending, k->held, k->dead);
    }
    return 0;
}

static int open_all(struct relay *r, struct fault *why)
{
    const struct config *c = r->spec.config;
    struct relay_opening how = { .config = r->spec.config };

    r->links = calloc(c->connection_count + 1, sizeof *r->links);
    r->routes = calloc(c->route_count + 1, sizeof(struct relay_route *));
    if (!r->links || !r->routes)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (open_links(r, why) != 0)
        return -1;
    how.links = r->links;
    for (size_t i = 0; i < c->route_count; i++) {
        struct relay_route *route = NULL;

        if (relay_route_open(r, &how, i, &route, why) != 0)
            return -1;
        r->routes[r->route_count++] = route;
        relay_route_retain(route, c);
    }
    assert(r->route_count == c->route_count);
    if (restore_jobs(r, why) != 0)
        return -1;
    for (size_t i = 0; i < c->route_count; i++)
        for (size_t s = 0; s < c->routes[i].sink_count; s++)
            if (held_restore(r->routes[i]->outflows[s], why) != 0)
                return -1;
    if (relay_restore_asked(r, r->routes, NULL, r->route_count, why) != 0 ||
        relay_find_orphans(r, why) != 0)
        return -1;
    for (size_t i = 0; i < c->route_count; i++)
        tell_registered(r->routes[i], "start");
    return 0;
}

int relay_open(const struct relay_spec *spec, int64_t now_ms, int64_t unix_ms, struct relay **ret,
    struct fault *why)
{
    struct relay *r = calloc(1, sizeof *r);
    struct lifecycle_spec told = { store_id(spec->store), spec->host };

    if (!r)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    r->spec = *spec;
    r->random.state = spec->seed;
    r->now_ms = now_ms;
    r->unix_ms = unix_ms;
    r->clock_base_ms = unix_ms - now_ms;
    asks_init(&r->asks, spec->store);
    if (lifecycle_open(&told, now_ms, unix_ms, &r->lifecycle, why) != 0 ||
        relay_going_restore(r, why) != 0 || open_all(r, why) != 0) {
        relay_free(r);
        return -1;
    }
    *ret = r;
    return 0;
}

void relay_route_free(struct relay_route *route)
{
    if (!route)
        return;
    asks_forget(&route->relay->asks, route);
    intake_free(route->intake);
    for (size_t s = 0; route->outflows && s < route->config->sink_count; s++)
        outflow_free(route->outflows[s]);
    free(route->outflows);
    tail_done(&route->tail);
    free(route);
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    (void)relay_reload_forget(r);
    while (r->replays) {
        struct replay *next = r->replays->next;

        replay_free(r->replays);
        r->replays = next;
    }
    for (size_t i = 0; i < r->route_count; i++)
        relay_route_free(r->routes[i]);
    for (size_t i = 0; r->links && i < r->spec.config->connection_count; i++)
        if (r->links[i].link)
            r->links[i].config->connector->link_free(r->links[i].link);
    asks_done(&r->asks);
    lifecycle_free(r->lifecycle);
    free(r->links);
    free(r->routes);
    free(r->touched);
    free(r->orphans);
    free(r);
}

struct config *relay_config(const struct relay *r)
{
    return r->spec.config;
}

struct lifecycle *relay_lifecycle(const struct relay *r)
{
    return r->lifecycle;
}

size_t relay_pollfds(const struct relay *r, int *ret, size_t limit)
{
    size_t n = 0;
    int fd = store_pollfd(r->spec.store);

    if (fd >= 0 && n++ < limit)
        ret[n - 1] = fd;
    for (size_t i = 0; i < r->spec.config->connection_count; i++) {
        if (!r->links[i].link)
            continue;
        fd = r->links[i].config->connector->link_pollfd(r->links[i].link);
        if (fd >= 0 && n++ < limit)
            ret[n - 1] = fd;
    }
    return n;
}
