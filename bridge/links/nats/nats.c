/* NATS subjects and JetStream streams in and out, behind the connector's table. */
#include "bridge/links/nats/link.h"
#include "bridge/links/nats/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct traits source_traits(const void *options)
{
    const struct nats_source_options *o = options;

    if (o->stream || o->bucket)
        return (struct traits){
            TRAIT_KEEPS | TRAIT_SETTLES_POSITION | TRAIT_IDS | TRAIT_READS_HEADERS, NULL
        };
    return (struct traits){ TRAIT_READS_HEADERS,
        "core NATS keeps no messages: what comes while we do not listen is lost, and recorded as a "
        "gap" };
}

static struct traits sink_traits(const void *options)
{
    const struct nats_sink_options *o = options;
    unsigned set = TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS | TRAIT_ORDERS_CHANNEL;

    if (o->stream || o->bucket)
        return (struct traits){ set | TRAIT_CONFIRMS | TRAIT_DEDUPES,
            "a repeat is refused within the stream's duplicate_window only (2 minutes unless it "
            "says otherwise)" };
    if (o->require_reply)
        return (struct traits){ set | TRAIT_CONFIRMS,
            "an answer says that one subscriber has it, whatever that one does with it" };
    return (struct traits){ set, "core NATS confirms nothing: a flush proves that the server has a "
                                 "message, not that anybody "
                                 "received it" };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct nats_source_options *o = options;

    if (o->stream)
        (void)snprintf(ret, n, "stream %s", o->stream);
    else if (o->bucket)
        (void)snprintf(ret, n, "bucket %s", o->bucket);
    else
        (void)snprintf(ret, n, "subject %s%s", o->subjects.n ? o->subjects.at[0] : "",
            o->subjects.n > 1 ? ",..." : "");
}

static void source_declares(const void *options, struct buf *to)
{
    const struct nats_source_options *o = options;

    if (!o->stream || o->declare != NATS_DECLARE_CREATE)
        return;
    buf_put_format(to, "stream %s\n", o->stream);
    if (o->durable)
        buf_put_format(to, "consumer %s of stream %s\n", o->durable, o->stream);
}

static void sink_place(const void *options, char *ret, size_t n)
{
    const struct nats_sink_options *o = options;

    if (o->stream)
        (void)snprintf(ret, n, "stream %s", o->stream);
    else if (o->bucket)
        (void)snprintf(ret, n, "bucket %s", o->bucket);
    else
        (void)snprintf(ret, n, "subject %s", o->subject.text);
}

struct wire *nats_link_wire(struct link *l, struct fault *why)
{
    struct wire_spec spec = { .options = l->options,
        .name = l->spec.name ? l->spec.name : "",
        .seed = l->spec.seed + 0x9e3779b97f4a7c15u * ++l->wires,
        .poll_fd = l->poll_fd };
    struct wire *w = NULL;

    return wire_open(&spec, &w, why) == 0 ? w : NULL;
}

static void nats_free(struct link *l)
{
    if (!l)
        return;
    wire_free(l->shared);
    if (l->poll_fd >= 0)
        (void)close(l->poll_fd);
    free(l);
}

static int nats_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    struct link *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->spec = *spec;
    l->options = spec->options;
    l->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->poll_fd < 0)
        (void)fault_set(why, FAULT_RETRY, 0, "epoll_create1 failed");
    else
        l->shared = nats_link_wire(l, why);
    if (!l->shared) {
        nats_free(l);
        return -1;
    }
    *ret = l;
    return 0;
}

static int nats_pollfd(const struct link *l)
{
    return l->poll_fd;
}

static int64_t nats_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    int64_t wake = 0, other = 0;

    l->now_ms = now_ms;
    l->unix_ms = unix_ms;
    wake = wire_step(l->shared, now_ms, unix_ms);
    other = nats_sources_step(l);
    wake = other < wake ? other : wake;
    other = nats_sinks_step(l);
    return other < wake ? other : wake;
}

static void nats_status(const struct link *l, struct link_status *ret)
{
    *ret = *wire_status(l->shared);
}

static size_t nats_probe(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct link *l = NULL;
    struct fault why = { 0 };
    size_t n = 0;

    if (nats_open(spec, &l, &why) == 0) {
        n = nats_probe_run(l, source ? source->options : NULL, source ? source->window_events : 0,
            sink ? sink->options : NULL, timeout_ms, ret, limit);
    } else if (limit > 0) {
        ret[n].is_error = true;
        (void)snprintf(ret[n++].text, sizeof ret->text, "%.399s", why.text);
    }
    nats_free(l);
    return n;
}

static int facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why)
{
    return nats_probe_facts(spec->options, timeout_ms, ret, why);
}

extern const struct connector connector_nats;
const struct connector connector_nats = {
    .type = "nats",
    .link_options = nats_link_table,
    .source_options = nats_source_table,
    .sink_options = nats_sink_table,
    .link_options_bytes = sizeof(struct nats_link_options),
    .source_options_bytes = sizeof(struct nats_source_options),
    .sink_options_bytes = sizeof(struct nats_sink_options),
    .link_check = nats_link_check,
    .source_check = nats_source_check,
    .sink_check = nats_sink_check,
    .source_traits = source_traits,
    .sink_traits = sink_traits,
    .source_place = source_place,
    .sink_place = sink_place,
    .link_same = nats_link_same,
    .feeds = nats_feeds,
    .source_shares = nats_source_shares,
    .source_declares = source_declares,
    .link_open = nats_open,
    .link_free = nats_free,
    .link_pollfd = nats_pollfd,
    .link_step = nats_step,
    .link_status = nats_status,
    .link_probe = nats_probe,
    .link_facts = facts,
    .library = wire_library,
    .source_open = nats_source_open,
    .source_receive = nats_source_receive,
    .source_settle = nats_source_settle,
    .source_pause = nats_source_pause,
    .source_drain = nats_source_drain,
    .source_status = nats_source_status,
    .source_free = nats_source_free,
    .sink_open = nats_sink_open,
    .sink_publish = nats_sink_publish,
    .sink_collect = nats_sink_collect,
    .sink_abandon = nats_sink_abandon,
    .sink_status = nats_sink_status,
    .sink_free = nats_sink_free,
};
