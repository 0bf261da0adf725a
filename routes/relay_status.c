#include "routes/relay_inside.h"

#include <stdio.h>

size_t relay_route_count(const struct relay *r)
{
    return r->route_count;
}

void relay_route_status(const struct relay *r, size_t index, struct relay_route_status *ret)
{
    const struct relay_route *route = r->routes[index];
    const struct config_route *c = route->config;
    const struct intake *i = route->intake;

    *ret = (struct relay_route_status){
        .name = c->name,
        .connection = i->spec.connection,
        .enabled = i->source != NULL,
        .paused = route->paused,
        .going = c->going,
        .paused_since_ms = route->paused_since_ms,
        .accepted = route->tail.next_seq - 1,
        .received = i->received,
        .gaps = i->gaps,
        .next_seq = route->tail.next_seq,
        .first_seq = route->first_seq,
        .last_received_ms = i->last_received_ms,
        .rate = rate_per_second(&i->rate, r->now_ms),
        .sink_count = c->sink_count,
    };
    ret->backlog_bytes = route->backlog_bytes;
    for (size_t s = 0; s < c->sink_count; s++)
        ret->backlog_bytes += route->outflows[s]->held_bytes;
    ret->max_backlog_bytes = relay_backlog_limit(route);
    (void)snprintf(ret->paused_by, sizeof ret->paused_by, "%s", route->paused_by);
    (void)snprintf(
        ret->held_back, sizeof ret->held_back, "%s", route->held_back ? route->held_back : "");
    if (c->source_options)
        i->spec.connector->source_place(c->source_options, ret->place, sizeof ret->place);
    if (i->source) {
        i->spec.connector->source_status(i->source, &ret->link);
        ret->duplicates = ret->link.duplicates + i->duplicates;
        ret->reordered = ret->link.reordered;
        (void)snprintf(ret->error, sizeof ret->error, "%s", ret->link.error);
    }
}

void relay_sink_status(
    const struct relay *r, size_t route, size_t sink, struct relay_sink_status *ret)
{
    const struct relay_route *at = r->routes[route];
    const struct config_sink *c = &at->config->sinks[sink];

    outflow_status(at->outflows[sink], ret);
    ret->connection = r->spec.config->connections[c->connection].name;
    if (ret->error[0] == 0)
        (void)snprintf(ret->error, sizeof ret->error, "%s", ret->link.error);
}

void relay_connection_status(const struct relay *r, size_t connection, struct link_status *ret)
{
    const struct relay_link *l = &r->links[connection];

    *ret = (struct link_status){ .lag = -1 };
    if (l->link)
        l->config->connector->link_status(l->link, ret);
}

size_t relay_orphans(const struct relay *r, const struct store_known **ret)
{
    *ret = r->orphans;
    return r->orphan_count;
}
