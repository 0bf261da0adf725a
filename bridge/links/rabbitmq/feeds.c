/* What of a configuration's exchanges comes to its queues. */
#include "bridge/links/overlap.h"
#include "bridge/links/rabbitmq/options.h"
#include "bridge/links/servers.h"

#include <amqp.h>
#include <stdio.h>
#include <stdlib.h>

/* Of the first URL: all of a list are one cluster. */
static void vhost_of(const struct options_link *o, char *ret, size_t n)
{
    char *url = o->vhost ? NULL : strdup(o->url ? o->url : o->urls.n ? o->urls.at[0] : "");
    struct amqp_connection_info info;
    bool named = url && amqp_parse_url(url, &info) == AMQP_STATUS_OK && *info.vhost;

    (void)snprintf(ret, n, "%s", o->vhost ? o->vhost : named ? info.vhost : "/");
    free(url);
}

bool options_link_same(const void *a, const void *b)
{
    const struct options_link *x = a, *y = b;
    char one[256], other[256];

    if (!servers_meet((struct servers){ x->url, &x->urls }, (struct servers){ y->url, &y->urls },
            AMQP_PROTOCOL_PORT, 5671))
        return false;
    vhost_of(x, one, sizeof one);
    vhost_of(y, other, sizeof other);
    return strcmp(one, other) == 0;
}

/* The exchange's type is known where it is the broker's own, or where the sink declares it. */
static bool key_passes(const struct options_sink *sink, const char *binding_key)
{
    bool made = sink->declare == OPTIONS_CREATE;
    const char *name = sink->exchange, *key = sink->routing_key.text;

    if (strcmp(name, "amq.fanout") == 0 || strcmp(name, "amq.headers") == 0 ||
        strcmp(name, "amq.match") == 0 ||
        (made && (sink->exchange_type == OPTIONS_FANOUT || sink->exchange_type == OPTIONS_HEADERS)))
        return true;
    if (strcmp(name, "amq.direct") == 0 || (made && sink->exchange_type == OPTIONS_DIRECT))
        return overlap(OVERLAP_TEMPLATE, key ? key : "", OVERLAP_NAME, binding_key);
    return overlap(OVERLAP_TEMPLATE, key ? key : "", OVERLAP_AMQP, binding_key);
}

/* Bound without a key means everything, unless it is a topic or direct exchange; those bind with
 * keys. */
static bool binding_takes(
    const struct options_sink *sink, const char *exchange, const struct option_list *keys)
{
    if (!exchange || strcmp(exchange, sink->exchange) != 0)
        return false;
    for (size_t i = 0; i < keys->n; i++)
        if (key_passes(sink, keys->at[i]))
            return true;
    return keys->n == 0;
}

bool options_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source)
{
    const struct options_sink *to = sink;
    const struct options_source *from = source;
    const struct options_binding *bindings = from->bindings.at;

    (void)sink_link, (void)source_link;
    if (!to->exchange || !*to->exchange)
        return overlap(OVERLAP_TEMPLATE, to->routing_key.text ? to->routing_key.text : "",
            OVERLAP_NAME, from->queue);
    if (binding_takes(to, from->exchange, &from->binding_keys))
        return true;
    for (size_t i = 0; i < from->bindings.n; i++)
        if (binding_takes(to, bindings[i].exchange, &bindings[i].keys))
            return true;
    return false;
}

bool options_source_shares(const void *a_link, const void *a, const void *b_link, const void *b)
{
    const struct options_source *x = a, *y = b;

    (void)a_link, (void)b_link;
    return strcmp(x->queue, y->queue) == 0;
}
