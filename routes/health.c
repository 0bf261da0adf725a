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

bool health_connection(const struct relay *r, size_t connection, size_t *active)
{
    const char *name = r->spec.config->connections[connection].name;
    struct link_status own;
    bool works;

    relay_connection_status(r, connection, &own);
    works = own.state != LINK_DOWN && own.state != LINK_STOPPED;
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route_status at;

        relay_route_status(r, i, &at);
        if (at.enabled && strcmp(at.connection, name) == 0) {
            works = works && link_works(&at.link);
            *active += link_works(&at.link);
        }
        for (size_t j = 0; j < at.sink_count; j++) {
            struct relay_sink_status s;

            relay_sink_status(r, i, j, &s);
            if (!s.enabled || strcmp(s.connection, name) != 0)
                continue;
            works = works && link_works(&s.link);
            *active += link_works(&s.link);
        }
    }
    return works;
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
