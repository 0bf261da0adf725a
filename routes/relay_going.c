/* What is gone from the files and shall finish first: it runs on from the old configuration's own
 * values, which move into the new one, until nothing of it is left. */
#include "routes/relay_inside.h"

#include "bridge/base/log.h"

#include <stdlib.h>

bool relay_drains(const struct relay_plan *plan, uint64_t route_id, uint64_t sink_id)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct relay_change *c = &plan->at[i];

        if (c->drain && c->kind == RELAY_REMOVED && c->route_id == route_id &&
            c->sink_id == sink_id)
            return true;
    }
    return false;
}

static int reserve(void *array, size_t count, size_t size, struct fault *why)
{
    void *at = *(void **)array, *more = realloc(at, (count ? count : 1) * size);

    if (!more)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    memcpy(array, &more, sizeof more);
    return 0;
}

int relay_going_reserve(const struct relay *r, struct config *next, struct fault *why)
{
    const struct config *now = r->spec.config;

    if (reserve(&next->connections, next->connection_count + now->connection_count,
            sizeof *next->connections, why) != 0 ||
        reserve(&next->routes, next->route_count + now->route_count, sizeof *next->routes, why) !=
            0)
        return -1;
    for (size_t i = 0; i < next->route_count; i++) {
        size_t old = relay_match_old(r, &next->routes[i]);
        struct config_route *c = &next->routes[i];

        if (old != SIZE_MAX &&
            reserve(&c->sinks, c->sink_count + r->routes[old]->config->sink_count, sizeof *c->sinks,
                why) != 0)
            return -1;
    }
    return 0;
}

/* The place of an old connection in `next`; one that is gone there is put behind the others, with
 * its link, once. */
static size_t connection_in(
    struct relay *r, struct config *next, struct relay_link *links, size_t old)
{
    struct config_connection *from = &r->spec.config->connections[old];
    size_t i = relay_match_connection(next, from->name);

    if (i != SIZE_MAX)
        return i;
    i = next->connection_count++;
    next->connections[i] = *from;
    next->connections[i].place = (struct config_place){ 0 };
    next->connections[i].going = true;
    links[i] = r->links[old];
    links[i].config = &next->connections[i];
    return i;
}

void relay_going_sinks(
    struct relay *r, const struct relay_plan *plan, struct config *next, struct relay_link *links)
{
    for (size_t i = 0; i < next->route_count; i++) {
        size_t old = relay_match_old(r, &next->routes[i]);
        struct config_route *c = &next->routes[i];
        struct relay_route *route = old == SIZE_MAX ? NULL : r->routes[old];

        for (size_t s = 0; route && s < route->config->sink_count; s++) {
            struct config_sink *to = &c->sinks[c->sink_count];

            if (!relay_drains(plan, route->id, route->outflows[s]->id))
                continue;
            *to = route->config->sinks[s];
            to->place = (struct config_place){ 0 };
            to->going = true;
            to->fallback = SIZE_MAX;
            to->connection = connection_in(r, next, links, to->connection);
            c->sink_count++;
        }
    }
}

void relay_going_sinks_undo(struct config *next)
{
    for (size_t i = 0; i < next->route_count; i++)
        while (next->routes[i].sink_count &&
               next->routes[i].sinks[next->routes[i].sink_count - 1].going)
            next->routes[i].sink_count--;
    while (next->connection_count && next->connections[next->connection_count - 1].going)
        next->connection_count--;
}

/* The old configuration is freed: it must not hold what has moved. A connection's type stays, by
 * which what else used it is freed. */
static void forget_connection(struct config *old, const struct config_connection *moved)
{
    size_t i = relay_match_connection(old, moved->name);

    if (i != SIZE_MAX)
        old->connections[i] =
            (struct config_connection){ .connector = old->connections[i].connector };
}

static void forget_sink(struct config *old, const struct config_sink *moved)
{
    for (size_t i = 0; i < old->route_count; i++)
        for (size_t s = 0; s < old->routes[i].sink_count; s++)
            if (old->routes[i].sinks[s].options == moved->options)
                old->routes[i].sinks[s] = (struct config_sink){ 0 };
}

static void adopt(
    struct relay *r, struct relay_route *route, struct config *next, struct relay_link *links)
{
    struct config_route *to = &next->routes[next->route_count++];

    *to = *route->config;
    *route->config = (struct config_route){ 0 };
    to->place = (struct config_place){ 0 };
    to->going = true;
    to->connection = connection_in(r, next, links, to->connection);
    for (size_t s = 0; s < to->sink_count; s++) {
        to->sinks[s].place = (struct config_place){ 0 };
        to->sinks[s].connection = connection_in(r, next, links, to->sinks[s].connection);
        to->sinks[s].going = true;
        route->outflows[s]->spec.route = to;
    }
    route->config = to;
    route->intake->spec.config = to;
    route->intake->stopped = true;
    route->draining = true;
    log_say(LOG_LEVEL_INFO, to->name, NULL,
        "gone from the configuration: it finishes what it has and goes");
}

void relay_going_adopt(
    struct relay *r, struct config *next, struct relay_link *links, struct relay_route **routes)
{
    for (size_t n = 0; n < next->route_count; n++)
        for (size_t s = 0; s < next->routes[n].sink_count; s++)
            if (next->routes[n].sinks[s].going)
                forget_sink(r->spec.config, &next->routes[n].sinks[s]);
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];
        bool stays = false;

        for (size_t n = 0; n < next->route_count; n++)
            stays = stays || routes[n] == route;
        if (stays)
            continue;
        routes[next->route_count] = route;
        adopt(r, route, next, links);
    }
    for (size_t n = 0; n < next->connection_count; n++)
        if (next->connections[n].going)
            forget_connection(r->spec.config, &next->connections[n]);
}

/* ---- over the daemon's end ---- */

static void warn_hidden(const struct relay *r, const struct config_route *c, const char *sink)
{
    const struct config *now = r->spec.config;

    for (size_t s = 0; s < c->sink_count; s++) {
        const struct config_connection *at = &now->connections[c->sinks[s].connection];

        if (!at->text && (!sink || strcmp(sink, c->sinks[s].name) == 0))
            log_say(LOG_LEVEL_WARN, c->name, c->sinks[s].name,
                "it drains until the daemon ends, and no further unless connection '%s' stays in "
                "the files: it holds its secret literally, which the store must not keep",
                at->name);
    }
}

/* One part that was told to drain just now. */
static int keep_one(struct relay *r, const struct relay_change *c, struct fault *why)
{
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];
        const char *sink = NULL;
        char *text;
        int result;

        if (route->id != c->route_id || route->config->going || !route->config->text)
            continue;
        for (size_t s = 0; s < route->config->sink_count; s++)
            if (route->outflows[s]->id == c->sink_id) {
                if (route->config->sinks[s].going)
                    return 0;
                sink = route->config->sinks[s].name;
            }
        text = config_going_text(r->spec.config, (size_t)(route->config - r->spec.config->routes));
        if (!text)
            return fault_set(why, FAULT_RETRY, 0, "out of memory");
        warn_hidden(r, route->config, sink);
        result =
            store_gone_put(r->spec.store, route->id, c->sink_id, route->tail.next_seq, text, why);
        free(text);
        return result;
    }
    return 0;
}

int relay_going_keep(struct relay *r, const struct relay_plan *plan, struct fault *why)
{
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (route->config->going && !relay_drains(plan, route->id, 0) &&
            store_gone_put(r->spec.store, route->id, 0, 0, NULL, why) != 0)
            return -1;
        for (size_t s = 0; s < route->config->sink_count; s++)
            if (route->config->sinks[s].going &&
                !relay_drains(plan, route->id, route->outflows[s]->id) &&
                store_gone_put(r->spec.store, route->id, route->outflows[s]->id, 0, NULL, why) != 0)
                return -1;
    }
    for (size_t i = 0; i < plan->n; i++)
        if (plan->at[i].drain && plan->at[i].kind == RELAY_REMOVED &&
            keep_one(r, &plan->at[i], why) != 0)
            return -1;
    return 0;
}

static const struct config_route *configured_route(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->route_count; i++)
        if (!c->routes[i].going && (strcmp(c->routes[i].name, name) == 0 ||
                                       (c->routes[i].was && strcmp(c->routes[i].was, name) == 0)))
            return &c->routes[i];
    return NULL;
}

static bool configured_sink(const struct config_route *r, const char *name)
{
    for (size_t s = 0; s < r->sink_count; s++)
        if (strcmp(r->sinks[s].name, name) == 0 ||
            (r->sinks[s].was && strcmp(r->sinks[s].was, name) == 0))
            return true;
    return false;
}

static int restore_one(struct relay *r, const struct store_drain *d, struct fault *why)
{
    const struct config_route *route = configured_route(r->spec.config, d->route);

    if (d->sink ? !route : route != NULL) {
        /* Either its route is gone as well, or it is back. */
        return d->sink ? 0 : store_gone_put(r->spec.store, d->route_id, 0, 0, NULL, why);
    }
    if (d->sink && configured_sink(route, d->sink))
        return store_gone_put(r->spec.store, d->route_id, d->sink_id, 0, NULL, why);
    if (config_add_going(
            r->spec.config, d->text, d->sink, route ? route->name : NULL, d->end_seq, why) != 0) {
        if (why->kind != FAULT_INPUT)
            return -1;
        log_say(LOG_LEVEL_WARN, d->route, d->sink, "it cannot go on draining: %s", why->text);
        return 0;
    }
    log_say(LOG_LEVEL_INFO, d->route, d->sink,
        "gone from the configuration: it goes on finishing what it has");
    return 0;
}

int relay_going_restore(struct relay *r, struct fault *why)
{
    struct store_drain *drains;
    size_t count;
    int result = 0;

    if (store_drains(r->spec.store, &drains, &count, why) != 0)
        return -1;
    for (size_t i = 0; i < count && result == 0; i++)
        if (drains[i].text)
            result = restore_one(r, &drains[i], why);
    store_drains_free(drains, count);
    return result;
}

/* ---- the end ---- */

static void sink_leaves(struct relay *r, struct relay_route *route, size_t s)
{
    struct config_route *c = route->config;
    struct outflow *o = route->outflows[s];
    struct config_sink gone = c->sinks[s];
    struct fault why;
    size_t last = c->sink_count - 1;

    gone.left = o->spec.connector;
    log_say(LOG_LEVEL_INFO, c->name, gone.name, "it has finished and is gone");
    if (store_discard(r->spec.store, route->id, o->id, &why) != 0)
        log_say(LOG_LEVEL_WARN, c->name, gone.name, "%s", why.text);
    outflow_free(o);
    /* Those behind it are going ones too. */
    if (s != last) {
        c->sinks[s] = c->sinks[last];
        route->outflows[s] = route->outflows[last];
        route->outflows[s]->spec.config = &c->sinks[s];
    }
    c->sinks[last] = gone;
    c->sink_count--;
    c->gone_count++;
}

static bool route_gone(const struct relay_route *route)
{
    for (size_t s = 0; s < route->config->sink_count; s++)
        if (!outflow_gone(route->outflows[s]))
            return false;
    return route->drained;
}

void relay_going_leave(struct relay *r)
{
    struct fault why;

    if (r->reload || r->draining)
        return;
    for (size_t i = r->route_count; i-- > 0;) {
        struct relay_route *route = r->routes[i];

        if (route->config->going) {
            if (!route_gone(route))
                continue;
            log_say(LOG_LEVEL_INFO, route->config->name, NULL, "it has finished and is gone");
            if (store_gone_put(r->spec.store, route->id, 0, 0, NULL, &why) != 0)
                log_say(LOG_LEVEL_WARN, route->config->name, NULL, "%s", why.text);
            relay_route_free(route);
            r->routes[i] = r->routes[--r->route_count];
            continue;
        }
        for (size_t s = route->config->sink_count; s-- > 0;)
            if (outflow_gone(route->outflows[s]))
                sink_leaves(r, route, s);
    }
}
