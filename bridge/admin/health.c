/* Is it alive, does every route do its work, what hinders it: for supervisors and load balancers.
 */
#include "bridge/admin/call.h"
#include "routes/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int64_t call_memory_bytes(void)
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
        if (!health_route(c->relay, i, why, sizeof why))
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

static json_t *dependencies(const struct call *c, const bool *works, bool *all_work)
{
    const struct config *config = relay_config(c->relay);
    json_t *ret = json_object();

    for (size_t i = 0; i < config->connection_count; i++) {
        const struct config_connection *at = &config->connections[i];

        *all_work = *all_work && works[i];
        if (!at->built_in)
            json_object_set_new(ret, at->name, json_string(works[i] ? "healthy" : "unhealthy"));
    }
    return ret;
}

void api_health(struct call *c)
{
    bool *works = calloc(relay_config(c->relay)->connection_count + 1, sizeof *works),
         all_work = true;
    json_t *routes, *links;
    size_t active;
    const char *status;

    if (!works) {
        call_fail(c, 503, "no_memory", "out of memory");
        return;
    }
    routes = troubled_routes(c);
    active = health_connections(c->relay, works);
    links = dependencies(c, works, &all_work);
    free(works);
    status = health_text(health_bridge(c->relay, json_object_size(routes), all_work));
    call_reply_status(c, strcmp(status, "unhealthy") == 0 ? 503 : 200,
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:{s:I, s:I, s:f}}", "service", "bascule",
            "status", status, "version", BASCULE_VERSION, "port",
            c->port ? json_integer(c->port) : json_null(), "dependencies", links, "routes", routes,
            "metrics", "uptime_seconds", (json_int_t)((c->unix_ms - call_started_ms(c)) / 1000),
            "active_connections", (json_int_t)active, "memory_usage_mb",
            (double)call_memory_bytes() / 1048576.0));
}
