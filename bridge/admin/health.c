/* Is it alive, does every route do its work, what hinders it: for supervisors and load balancers.
 */
#include "bridge/admin/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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
    const struct call *c, const struct relay_route_status *s, char *why, size_t limit)
{
    if (!s->enabled || s->going)
        return true;
    if (s->paused)
        return no(why, limit, "paused by %s", s->paused_by);
    if (s->link.state == LINK_STOPPED)
        return no(why, limit, "its source needs a person: %s", s->error);
    if (s->last_received_ms && c->unix_ms - s->last_received_ms < HEALTH_STALL_MS)
        return true;
    if (s->held_back[0])
        return no(why, limit, "its source is not read: %s", s->held_back);
    if (!link_works(&s->link))
        return no(why, limit, "its source is not connected: %s", s->error);
    return true;
}

static bool sink_ready(
    const struct call *c, const struct relay_sink_status *s, char *why, size_t limit)
{
    if (!s->enabled || s->pending == 0)
        return true;
    if (s->paused)
        return no(why, limit, "sink '%s' is paused by %s with %llu events pending", s->name,
            s->paused_by, (unsigned long long)s->pending);
    if (c->now_ms - s->progress_ms < HEALTH_STALL_MS)
        return true;
    return no(why, limit, "sink '%s' has %llu events pending and finished none for %lld s: %s",
        s->name, (unsigned long long)s->pending, (long long)(c->now_ms - s->progress_ms) / 1000,
        s->error[0] ? s->error : "no error is known");
}

bool health_route(const struct call *c, size_t route, char *why, size_t limit)
{
    struct relay_route_status r;

    relay_route_status(c->relay, route, &r);
    if (!source_ready(c, &r, why, limit))
        return false;
    for (size_t i = 0; i < r.sink_count; i++) {
        struct relay_sink_status s;

        relay_sink_status(c->relay, route, i, &s);
        if (!sink_ready(c, &s, why, limit))
            return false;
    }
    return true;
}

int64_t health_memory_bytes(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    if (f)
        (void)fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

void api_live(struct call *c)
{
    call_reply(c, json_pack("{s:s}", "status", "healthy"));
}

/* Routes that are not ready by name, with the reason. */
static json_t *troubled_routes(const struct call *c)
{
    json_t *ret = json_object();

    for (size_t i = 0; i < relay_route_count(c->relay); i++) {
        struct relay_route_status s;
        char why[512];

        relay_route_status(c->relay, i, &s);
        if (!health_route(c, i, why, sizeof why))
            json_object_set_new(ret, s.name, view_bytes(bytes_text(why)));
    }
    return ret;
}

void api_ready(struct call *c)
{
    json_t *routes = troubled_routes(c);
    bool ready = json_object_size(routes) == 0;

    call_reply_status(c, ready ? 200 : 503,
        json_pack("{s:s, s:o}", "status", ready ? "healthy" : "unhealthy", "routes", routes));
}

/* A connection is as healthy as every source and sink on it. */
static bool connection_works(const struct call *c, size_t connection, size_t *active)
{
    const char *name = c->config->connections[connection].name;
    struct link_status own;
    bool works;

    relay_connection_status(c->relay, connection, &own);
    works = own.state != LINK_DOWN && own.state != LINK_STOPPED;
    for (size_t i = 0; i < relay_route_count(c->relay); i++) {
        struct relay_route_status r;

        relay_route_status(c->relay, i, &r);
        if (r.enabled && strcmp(r.connection, name) == 0) {
            works = works && link_works(&r.link);
            *active += link_works(&r.link);
        }
        for (size_t j = 0; j < r.sink_count; j++) {
            struct relay_sink_status s;

            relay_sink_status(c->relay, i, j, &s);
            if (!s.enabled || strcmp(s.connection, name) != 0)
                continue;
            works = works && link_works(&s.link);
            *active += link_works(&s.link);
        }
    }
    return works;
}

/* Unhealthy: the log takes nothing, or no route does its work. Degraded: some do. */
static const char *verdict(const struct call *c, size_t troubled, bool all_work)
{
    if (store_full(c->store) || (troubled && troubled == relay_route_count(c->relay)))
        return "unhealthy";
    return troubled || !all_work ? "degraded" : "healthy";
}

void api_health(struct call *c)
{
    json_t *routes = troubled_routes(c), *dependencies = json_object();
    size_t active = 0;
    bool all_work = true;
    const char *status;

    for (size_t i = 0; i < c->config->connection_count; i++) {
        bool works = connection_works(c, i, &active);

        all_work = all_work && works;
        json_object_set_new(dependencies, c->config->connections[i].name,
            json_string(works ? "healthy" : "unhealthy"));
    }
    status = verdict(c, json_object_size(routes), all_work);
    call_reply_status(c, strcmp(status, "unhealthy") == 0 ? 503 : 200,
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:{s:I, s:I, s:f}}", "service", "bascule",
            "status", status, "version", BASCULE_VERSION, "port",
            c->port ? json_integer(c->port) : json_null(), "dependencies", dependencies, "routes",
            routes, "metrics", "uptime_seconds",
            (json_int_t)((c->unix_ms - call_started_ms(c)) / 1000), "active_connections",
            (json_int_t)active, "memory_usage_mb", (double)health_memory_bytes() / 1048576.0));
}
