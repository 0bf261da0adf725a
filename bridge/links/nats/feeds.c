/* What of a configuration's subjects, streams and buckets comes back to its sources. */
#include "bridge/links/nats/options.h"
#include "bridge/links/overlap.h"
#include "bridge/links/servers.h"

#include <stddef.h>
#include <string.h>

bool nats_link_same(const void *a, const void *b)
{
    const struct nats_link_options *x = a, *y = b;

    return servers_meet(
        (struct servers){ x->url, &x->urls }, (struct servers){ y->url, &y->urls }, 4222, 0);
}

static bool equal(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* A stream without subjects of its own here is one that stands at the server: it is only known to
 * get what a sink writes to it by name. */
bool nats_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source)
{
    const struct nats_sink_options *to = sink;
    const struct nats_source_options *from = source;

    (void)sink_link, (void)source_link;
    if (to->bucket || from->bucket)
        return equal(to->bucket, from->bucket);
    if (from->stream && to->stream && !equal(from->stream, to->stream))
        return false;
    if (from->subjects.n == 0)
        return equal(from->stream, to->stream);
    for (size_t i = 0; to->subject.text && i < from->subjects.n; i++)
        if (overlap(OVERLAP_TEMPLATE, to->subject.text, OVERLAP_NATS, from->subjects.at[i]))
            return true;
    return false;
}

/* Where one of them names subjects they are the other's too; where both do, each takes its own. */
bool nats_source_shares(const void *a_link, const void *a, const void *b_link, const void *b)
{
    const struct nats_source_options *x = a, *y = b;

    (void)a_link, (void)b_link;
    return equal(x->stream, y->stream) && (x->subjects.n == 0 || y->subjects.n == 0);
}
