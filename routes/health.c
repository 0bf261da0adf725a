#include "routes/health.h"
#include "routes/relay_inside.h"

#include <stdarg.h>
#include <stdio.h>

/* So long something may be unfinished without anything getting finished: longer than a broker's
 * restart or a rebalance commonly takes. */
#define HEALTH_STALL_MS 30000

static bool no(char *why, size_t limit, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool no(char *why, size_t limit, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(why, limit, format, ap);
    va_end(ap);
    return false;
}

static bool link_works(const struct link_status *s)
{
    return s->state == LINK_UP || s->state == LINK_BLOCKED;
}

/* A source that nobody can ask is not known to have nothing. */
static bool source_ready(
    const struct relay *r, const struct relay_route_status *s, char *why, size_t limit)
{
    if (!s->enabled || s->going)
        return true;
    if (s->paused)
        return no(why, limit, "paused by %s", s->paused_by);
    if (s->link.state == LINK_STOPPED)
        return no(why, limit, "its source needs a person: %s", s->error);
    if (s->last_received_ms && r->unix_ms - s->last_received_ms < HEALTH_STALL_MS)
        return true;
    if (s->held_back[0])
        return no(why, limit, "its source is not read: %s", s->held_back);
    if (!link_works(&s->link))
        return no(why, limit, "its source is not connected: %s", s->error);
    return true;
}

static bool sink_ready(
    const struct relay *r, const struct relay_sink_status *s, char *why, size_t limit)
{
    if (!s->enabled || s->pending == 0)
        return true;
    if (s->paused)
        return no(why, limit, "sink '%s' is paused by %s with %llu events pending", s->name,
            s->paused_by, (unsigned long long)s->pending);
    if (r->now_ms - s->progress_ms < HEALTH_STALL_MS)
        return true;
    return no(why, limit, "sink '%s' has %llu events pending and finished none for %lld s: %s",
        s->name, (unsigned long long)s->pending, (long long)(r->now_ms - s->progress_ms) / 1000,
        s->error[0] ? s->error : "no error is known");
}

bool health_route(const struct relay *r, size_t route, char *why, size_t limit)
{
    struct relay_route_status at;

    relay_route_status(r, route, &at);
    if (!source_ready(r, &at, why, limit))
        return false;
    for (size_t i = 0; i < at.sink_count; i++) {
        struct relay_sink_status s;

        relay_sink_status(r, route, i, &s);
        if (!sink_ready(r, &s, why, limit))
            return false;
    }
    return true;
}

static void count_end(const struct link_status *s, bool *works, size_t *active)
{
    *works = *works && link_works(s);
    *active += link_works(s);
}

static void count_route(const struct relay_route *route, bool *works, size_t *active)
{
    const struct config_route *c = route->config;
    const struct intake *in = route->intake;
    struct link_status status;

    if (in->source) {
        in->spec.connector->source_status(in->source, &status);
        count_end(&status, &works[c->connection], active);
    }
    for (size_t s = 0; s < c->sink_count; s++) {
        const struct outflow *o = route->outflows[s];

        if (!o->sink)
            continue;
        o->spec.connector->sink_status(o->sink, &status);
        count_end(&status, &works[c->sinks[s].connection], active);
    }
}

size_t health_connections(const struct relay *r, bool *works)
{
    size_t active = 0;

    for (size_t i = 0; i < r->spec.config->connection_count; i++) {
        struct link_status own;

        relay_connection_status(r, i, &own);
        works[i] = own.state != LINK_DOWN && own.state != LINK_STOPPED;
    }
    for (size_t i = 0; i < r->route_count; i++)
        count_route(r->routes[i], works, &active);
    return active;
}

enum health health_bridge(const struct relay *r, size_t troubled, bool connected)
{
    if (store_full(r->spec.store) || (troubled && troubled == r->route_count))
        return HEALTH_UNHEALTHY;
    return troubled || !connected ? HEALTH_DEGRADED : HEALTH_HEALTHY;
}

const char *health_text(enum health health)
{
    static const char *const names[] = { "none", "healthy", "degraded", "unhealthy" };

    return names[health];
}
