#include "routes/tell.h"
#include "routes/health.h"
#include "routes/relay_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void put_truth(struct buf *to, const char *name, bool value)
{
    lifecycle_put_name(to, name);
    buf_put_text(to, value ? "true" : "false");
}

static void put_null(struct buf *to, const char *name)
{
    lifecycle_put(to, name, NULL);
}

/* ---- routes come and go ---- */

static void put_end(struct buf *to, const struct config *c, size_t connection, const char *place)
{
    const struct config_connection *at = &c->connections[connection];

    lifecycle_put(to, "type", at->connector->type);
    lifecycle_put(to, "connection", at->built_in ? NULL : at->name);
    lifecycle_put(to, "place", place);
}

static void put_source(struct buf *to, const struct relay_route *route)
{
    const struct config_route *c = route->config;
    char place[128] = "";

    if (c->source_options)
        route->intake->spec.connector->source_place(c->source_options, place, sizeof place);
    lifecycle_put_name(to, "source");
    buf_put_byte(to, '{');
    put_end(to, route->relay->spec.config, c->connection, place);
    buf_put_byte(to, '}');
}

static void put_sink(struct buf *to, const struct relay_route *route, size_t i)
{
    const struct config_sink *c = &route->config->sinks[i];
    char place[128] = "";

    if (c->options)
        route->outflows[i]->spec.connector->sink_place(c->options, place, sizeof place);
    buf_put_text(to, i ? ",{" : "{");
    lifecycle_put(to, "name", c->name);
    put_end(to, route->relay->spec.config, c->connection, place);
    put_truth(to, "enabled", c->enabled);
    buf_put_byte(to, '}');
}

void tell_registered(const struct relay_route *route, const char *reason)
{
    struct lifecycle *l = route->relay->lifecycle;
    struct lifecycle_note note = { .kind = LIFECYCLE_REGISTERED, .route = route->config->name };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    lifecycle_put(to, "reason", reason);
    put_truth(to, "enabled", route->config->enabled);
    put_source(to, route);
    lifecycle_put_name(to, "sinks");
    buf_put_byte(to, '[');
    for (size_t i = 0; i < route->config->sink_count; i++)
        put_sink(to, route, i);
    buf_put_byte(to, ']');
    lifecycle_end(l);
}

void tell_unregistered(struct lifecycle *l, const char *route, bool drains)
{
    struct lifecycle_note note = { .kind = LIFECYCLE_UNREGISTERED, .route = route };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    put_truth(to, "drains", drains);
    lifecycle_end(l);
}

void tell_paused(
    struct lifecycle *l, const char *route, const char *sink, bool paused, const char *who)
{
    struct lifecycle_note note = {
        .kind = paused ? LIFECYCLE_PAUSED : LIFECYCLE_RESUMED, .route = route, .sink = sink
    };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    lifecycle_put(to, "by", who);
    lifecycle_end(l);
}

/* ---- sinks ---- */

static struct lifecycle_note sink_note(const struct outflow *o, enum lifecycle_kind kind)
{
    return (struct lifecycle_note){
        .kind = kind, .route = o->spec.route->name, .sink = o->spec.config->name
    };
}

void tell_breaker(const struct outflow *o, const char *by, const char *why)
{
    bool open = o->breaker.state == RELAY_BREAKER_OPEN;
    struct lifecycle_note note =
        sink_note(o, open ? LIFECYCLE_BREAKER_OPENED : LIFECYCLE_BREAKER_CLOSED);
    struct buf *to = lifecycle_begin(o->spec.lifecycle, &note);

    if (!to)
        return;
    lifecycle_put(to, "by", by);
    if (open)
        lifecycle_put(to, "reason", why);
    if (open && o->breaker.until_ms == INT64_MAX)
        put_null(to, "open_for_ms");
    else if (open)
        lifecycle_put_number(to, "open_for_ms", o->breaker.open_for_ms);
    lifecycle_put_number(to, "failure_threshold", o->breaker.failure_threshold);
    lifecycle_put_number(to, "pending", (int64_t)outflow_pending(o));
    lifecycle_end(o->spec.lifecycle);
}

void tell_rate_limit(struct outflow *o)
{
    bool again = o->limited_ms && o->now_ms - o->limited_ms < TELL_RATE_QUIET_MS;
    struct lifecycle_note note = sink_note(o, LIFECYCLE_RATE_LIMIT);
    struct buf *to;

    o->limited_ms = o->now_ms;
    to = again ? NULL : lifecycle_begin(o->spec.lifecycle, &note);
    if (!to)
        return;
    lifecycle_put_name(to, "limit_per_second");
    buf_put_format(to, "%.15g", (double)o->spec.config->rate_limit / 1000);
    lifecycle_put_number(to, "pending", (int64_t)outflow_pending(o));
    lifecycle_end(o->spec.lifecycle);
}

void tell_dead_letter(const struct flight *f, uint64_t number, enum held_reason reason, int code,
    const char *text, uint32_t attempts)
{
    const struct outflow *o = f->lane->o;
    uint64_t job = f->entry ? f->entry->job : f->lane->job ? f->lane->job->number : 0;
    struct lifecycle_note note = sink_note(o, LIFECYCLE_DEAD_LETTER);
    struct buf *to;
    char name[160];

    note.hops = f->in.hops;
    to = lifecycle_begin(o->spec.lifecycle, &note);
    if (!to)
        return;
    (void)snprintf(name, sizeof name, "%s@%" PRIu64, f->lane->route, f->seq);
    lifecycle_put_number(to, "dead_letter", (int64_t)number);
    lifecycle_put(to, "event", name);
    lifecycle_put(to, "reason", held_reason_text(reason));
    lifecycle_put_number(to, "code", code);
    lifecycle_put(to, "text", text);
    lifecycle_put_number(to, "attempts", attempts);
    if (job)
        lifecycle_put_number(to, "replay", (int64_t)job);
    else
        put_null(to, "replay");
    lifecycle_put_number(to, "open", (int64_t)o->counts.dead);
    lifecycle_end(o->spec.lifecycle);
}

/* ---- sources and the store ---- */

static void put_bytes(struct buf *to, const char *name, struct bytes text)
{
    char copy[512];

    (void)snprintf(copy, sizeof copy, "%.*s", (int)(text.n < 511 ? text.n : 511),
        text.n ? (const char *)text.at : "");
    lifecycle_put(to, name, copy);
}

void tell_gap(
    struct lifecycle *l, const char *route, const char *connection, const struct source_gap *gap)
{
    struct lifecycle_note note = {
        .kind = LIFECYCLE_GAP, .route = route, .connection = connection
    };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    lifecycle_put_time(to, "from", gap->start_ms);
    if (gap->end_ms)
        lifecycle_put_time(to, "until", gap->end_ms);
    else
        put_null(to, "until");
    if (gap->count)
        lifecycle_put_number(to, "events", (int64_t)gap->count);
    else
        put_null(to, "events");
    put_bytes(to, "what", gap->what);
    put_bytes(to, "cause", gap->cause);
    lifecycle_end(l);
}

void tell_store(struct lifecycle *l, bool full, const struct store_usage *usage)
{
    struct lifecycle_note note = { .kind = full ? LIFECYCLE_STORE_FULL : LIFECYCLE_STORE_RESUMED };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    lifecycle_put_number(to, "used_bytes", usage->used_bytes);
    lifecycle_put_number(to, "max_bytes", usage->max_bytes);
    lifecycle_end(l);
}

void tell_reload(
    struct lifecycle *l, bool done, const char *outcome, const char *hash, const char *summary)
{
    struct lifecycle_note note = { .kind = done ? LIFECYCLE_RELOADED : LIFECYCLE_RELOAD_REFUSED };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return;
    lifecycle_put(to, "outcome", outcome);
    lifecycle_put(to, "config", hash[0] ? hash : NULL);
    lifecycle_put(to, "summary", summary);
    lifecycle_end(l);
}

/* ---- health ---- */

/* Whether the state is to be told now. */
static bool settled(struct health_watch *w, enum health now, int64_t now_ms)
{
    if (now != w->seen) {
        w->seen = now;
        w->since_ms = now_ms;
    }
    return now != w->told && now_ms - w->since_ms >= TELL_HEALTH_MS;
}

static void say_health(struct relay *r, struct health_watch *w, struct lifecycle_note note,
    const char *scope, const char *why)
{
    struct buf *to;

    note.kind = LIFECYCLE_HEALTH_CHECK;
    to = lifecycle_begin(r->lifecycle, &note);
    if (to) {
        lifecycle_put(to, "scope", scope);
        lifecycle_put(to, "status", health_text(w->seen));
        lifecycle_put(to, "previous", w->told == HEALTH_NONE ? NULL : health_text(w->told));
        lifecycle_put(to, "reason", why);
        lifecycle_end(r->lifecycle);
    }
    w->told = w->seen;
}

/* Returns how many are not healthy. */
static size_t watch_routes(struct relay *r)
{
    size_t troubled = 0;

    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];
        struct lifecycle_note note = { .route = route->config->name };
        char why[512] = "";
        enum health now = health_route(r, i, why, sizeof why) ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;

        troubled += now != HEALTH_HEALTHY;
        if (settled(&route->health, now, r->now_ms))
            say_health(r, &route->health, note, "route", why[0] ? why : NULL);
    }
    return troubled;
}

static const char *trouble_of(const struct relay *r, size_t connection, char *ret, size_t n)
{
    struct link_status status;

    relay_connection_status(r, connection, &status);
    (void)snprintf(ret, n, "%s", status.error[0] ? status.error : "a source or sink on it");
    return ret;
}

/* Returns whether all work. */
static bool watch_connections(struct relay *r, const bool *works)
{
    bool all = true;

    for (size_t i = 0; i < r->spec.config->connection_count; i++) {
        const struct config_connection *c = &r->spec.config->connections[i];
        struct lifecycle_note note = { .connection = c->name };
        char why[256];

        all = all && works[i];
        if (!c->built_in &&
            settled(&r->links[i].health, works[i] ? HEALTH_HEALTHY : HEALTH_UNHEALTHY, r->now_ms))
            say_health(r, &r->links[i].health, note, "connection",
                works[i] ? NULL : trouble_of(r, i, why, sizeof why));
    }
    return all;
}

/* What nobody has heard of is told from the beginning to the next who listens. */
static void forget_health(struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++)
        r->routes[i]->health = (struct health_watch){ 0 };
    for (size_t i = 0; i < r->spec.config->connection_count; i++)
        r->links[i].health = (struct health_watch){ 0 };
    r->health = (struct health_watch){ 0 };
    r->health_heard = false;
}

void tell_health(struct relay *r)
{
    struct lifecycle_note note = { 0 };
    char why[128];
    size_t troubled;
    bool *works, all;

    if (!lifecycle_wanted(r->lifecycle, LIFECYCLE_HEALTH_CHECK)) {
        if (r->health_heard)
            forget_health(r);
        return;
    }
    works = calloc(r->spec.config->connection_count + 1, sizeof *works);
    if (!works)
        return; /* in a second there may be memory */
    r->health_heard = true;
    troubled = watch_routes(r);
    (void)health_connections(r, works);
    all = watch_connections(r, works);
    free(works);
    if (!settled(&r->health, health_bridge(r, troubled, all), r->now_ms))
        return;
    (void)snprintf(why, sizeof why, "%s%zu of %zu routes are not ready",
        store_full(r->spec.store) ? "the store is full; " : "", troubled, r->route_count);
    say_health(r, &r->health, note, "bridge", r->health.seen == HEALTH_HEALTHY ? NULL : why);
}
