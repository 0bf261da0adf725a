/* Is it alive, does every route do its work, what hinders it: for supervisors and load balancers.
 */
#include "bridge/admin/call.h"
#include "routes/health.h"

#include <stdio.h>
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

void api_health(struct call *c)
{
    json_t *routes = troubled_routes(c), *dependencies = json_object();
    size_t active = 0;
    bool all_work = true;
    const char *status;

    for (size_t i = 0; i < c->config->connection_count; i++) {
        bool works = health_connection(c->relay, i, &active);

        all_work = all_work && works;
        json_object_set_new(dependencies, c->config->connections[i].name,
            json_string(works ? "healthy" : "unhealthy"));
    }
    status = health_text(health_bridge(c->relay, json_object_size(routes), all_work));
    call_reply_status(c, strcmp(status, "unhealthy") == 0 ? 503 : 200,
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:{s:I, s:I, s:f}}", "service", "bascule",
            "status", status, "version", BASCULE_VERSION, "port",
            c->port ? json_integer(c->port) : json_null(), "dependencies", dependencies, "routes",
            routes, "metrics", "uptime_seconds",
            (json_int_t)((c->unix_ms - call_started_ms(c)) / 1000), "active_connections",
            (json_int_t)active, "memory_usage_mb", (double)call_memory_bytes() / 1048576.0));
}
