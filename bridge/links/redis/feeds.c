/* What of a configuration's streams and channels comes back to its sources. */
#include "bridge/links/overlap.h"
#include "bridge/links/redis/options.h"
#include "bridge/links/servers.h"

#include <stddef.h>

bool redis_link_same(const void *a, const void *b)
{
    const struct redis_link_options *x = a, *y = b;

    return servers_meet(
        (struct servers){ x->url, &x->urls }, (struct servers){ y->url, &y->urls }, 6379, 0);
}

static int64_t db_of(const struct redis_link_options *o)
{
    struct redis_url url;
    struct fault why;

    if (o->db >= 0)
        return o->db;
    if (redis_url_count(o) == 0 || redis_url_parse(redis_url_at(o, 0), &url, &why) != 0)
        return 0;
    return url.db >= 0 ? url.db : 0;
}

static bool any(const struct option_list *names, const char *written, enum overlap_kind kind)
{
    for (size_t i = 0; written && i < names->n; i++)
        if (overlap(OVERLAP_TEMPLATE, written, kind, names->at[i]))
            return true;
    return false;
}

/* Channels belong to the server, streams to one of its databases. */
bool redis_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source)
{
    const struct redis_sink_options *to = sink;
    const struct redis_source_options *from = source;

    if (from->stream)
        return to->stream.text &&
               overlap(OVERLAP_TEMPLATE, to->stream.text, OVERLAP_NAME, from->stream) &&
               db_of(sink_link) == db_of(source_link);
    return any(&from->channels, to->channel.text, OVERLAP_GLOB) ||
           any(&from->sharded_channels, to->sharded_channel.text, OVERLAP_NAME);
}
