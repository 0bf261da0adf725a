/* Redis streams in and out, and channels out, behind the connector's table. */
#include "bridge/links/redis/link.h"
#include "bridge/links/redis/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static int link_check(const void *options, const char **key, struct fault *why)
{
    const struct redis_link_options *o = options;
    struct redis_url url;
    bool tls = false;

    *key = o->url ? "url" : "urls";
    if (o->url && o->urls.n)
        return fault_set(why, FAULT_INPUT, 0, "give url or urls, not both");
    if (redis_url_count(o) == 0)
        return fault_set(why, FAULT_INPUT, 0, "give the server's url");
    for (size_t i = 0; i < redis_url_count(o); i++) {
        if (redis_url_parse(redis_url_at(o, i), &url, why) != 0)
            return -1;
        tls = tls || url.tls;
    }
    *key = "tls";
    if (o->tls.set && !tls)
        return fault_set(why, FAULT_INPUT, 0, "tls: is given, but no url begins with rediss://");
    if (!o->tls.cert_file != !o->tls.key_file)
        return fault_set(why, FAULT_INPUT, 0, "give cert_file and key_file together");
    return 0;
}

static int source_check(const void *options, const char **key, struct fault *why)
{
    const struct redis_source_options *o = options;
    bool channels = o->channels.n + o->sharded_channels.n > 0;

    *key = o->stream ? "stream" : NULL;
    if (!o->stream == !channels)
        return fault_set(why, FAULT_INPUT, 0, "give channels or stream, one of them");
    if (o->stream && !o->group)
        return fault_set(why, FAULT_INPUT, 0, "a stream is read by a group: give group");
    *key = "group";
    if (channels && (o->group || o->consumer || o->claim_idle_ms || o->remove))
        return fault_set(why, FAULT_INPUT, 0,
            "group, consumer, claim_idle and delete are of streams, not of channels");
    *key = "claim_idle";
    if (o->claim_idle_ms > 0 && o->claim_idle_ms < 1000)
        return fault_set(why, FAULT_INPUT, 0,
            "below 1s, entries would be taken from consumers that are working on them");
    return 0;
}

static int sink_check(const void *options, const char **key, struct fault *why)
{
    const struct redis_sink_options *o = options;

    *key = NULL;
    if (!!o->channel.text + !!o->stream.text + !!o->sharded_channel.text != 1)
        return fault_set(
            why, FAULT_INPUT, 0, "give channel, sharded_channel or stream, one of them");
    *key = "envelope";
    if (o->stream.text && o->envelope != REDIS_ENVELOPE_NONE)
        return fault_set(why, FAULT_INPUT, 0, "streams have fields and need no envelope");
    *key = "wait";
    if (!o->stream.text && o->wait.set)
        return fault_set(why, FAULT_INPUT, 0, "wait is for streams: channels are not replicated");
    *key = "require_receiver";
    if (o->stream.text && o->require_receiver)
        return fault_set(why, FAULT_INPUT, 0, "require_receiver is for channels");
    return 0;
}

static struct traits source_traits(const void *options)
{
    const struct redis_source_options *o = options;

    if (!o->stream)
        return (struct traits){ 0, "Redis pub/sub does not keep messages" };
    return (struct traits){ TRAIT_KEEPS | TRAIT_SETTLES_POSITION | TRAIT_IDS | TRAIT_READS_HEADERS,
        NULL };
}

static struct traits sink_traits(const void *options)
{
    const struct redis_sink_options *o = options;
    unsigned set = TRAIT_CONFIRMS | TRAIT_ORDERS_CHANNEL;
    bool token = !o->token_field || *o->token_field;

    if (!o->stream.text && o->envelope == REDIS_ENVELOPE_JSON)
        return (struct traits){ set | TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS,
            "Redis pub/sub does not keep messages" };
    if (!o->stream.text)
        return (struct traits){ set, "Redis pub/sub does not keep messages" };
    set |= TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS;
    if (o->wait.set)
        return (struct traits){ set, "an entry that too few replicas confirm is added again" };
    if (token)
        return (struct traits){ set | TRAIT_DEDUPES, "the primary alone confirms" };
    return (struct traits){ set,
        "the primary alone confirms, and without a token an unsure entry may be added twice" };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct redis_source_options *o = options;
    const struct option_list *list = o->channels.n ? &o->channels : &o->sharded_channels;

    if (o->stream)
        (void)snprintf(ret, n, "stream %s", o->stream);
    else
        (void)snprintf(
            ret, n, "channel %s%s", list->n ? list->at[0] : "", list->n > 1 ? ",..." : "");
}

static void sink_place(const void *options, char *ret, size_t n)
{
    const struct redis_sink_options *o = options;

    (void)snprintf(ret, n, "%s %s", o->stream.text ? "stream" : "channel",
        o->stream.text    ? o->stream.text
        : o->channel.text ? o->channel.text
                          : o->sharded_channel.text);
}

static void source_declares(const void *options, struct buf *to)
{
    const struct redis_source_options *o = options;

    if (o->stream && o->group)
        buf_put_format(to, "group %s of stream %s\n", o->group, o->stream);
}

static int redis_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    struct link *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->spec = *spec;
    l->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->poll_fd < 0) {
        free(l);
        return fault_set(why, FAULT_RETRY, 0, "epoll_create1 failed");
    }
    client_init(&l->commands, spec->options, spec->seed, l->poll_fd);
    *ret = l;
    return 0;
}

static void redis_free(struct link *l)
{
    if (!l)
        return;
    client_done(&l->commands);
    (void)close(l->poll_fd);
    free(l);
}

static int redis_pollfd(const struct link *l)
{
    return l->poll_fd;
}

static int64_t redis_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    int64_t wake = 0, other = 0;

    l->now_ms = now_ms;
    l->unix_ms = unix_ms;
    client_poll(l->poll_fd);
    wake = client_step(&l->commands, now_ms, unix_ms);
    other = redis_sources_step(l);
    wake = other < wake ? other : wake;
    other = redis_sinks_step(l);
    return other < wake ? other : wake;
}

static void redis_status(const struct link *l, struct link_status *ret)
{
    *ret = l->commands.status;
}

static size_t redis_probe(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct link *l = NULL;
    struct fault why = { 0 };
    size_t n = 0;

    if (redis_open(spec, &l, &why) == 0) {
        n = trial_run(l, source ? source->options : NULL, sink ? sink->options : NULL, timeout_ms,
            ret, limit);
    } else if (limit > 0) {
        ret[n].is_error = true;
        (void)snprintf(ret[n++].text, sizeof ret->text, "%.399s", why.text);
    }
    redis_free(l);
    return n;
}

static int redis_facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why)
{
    struct link *l = NULL;
    int result = redis_open(spec, &l, why);

    if (result == 0)
        result = trial_facts(l, timeout_ms, ret, why);
    redis_free(l);
    return result;
}

extern const struct connector connector_redis;
const struct connector connector_redis = {
    .type = "redis",
    .link_options = redis_link_table,
    .source_options = redis_source_table,
    .sink_options = redis_sink_table,
    .link_options_bytes = sizeof(struct redis_link_options),
    .source_options_bytes = sizeof(struct redis_source_options),
    .sink_options_bytes = sizeof(struct redis_sink_options),
    .link_check = link_check,
    .source_check = source_check,
    .sink_check = sink_check,
    .source_traits = source_traits,
    .sink_traits = sink_traits,
    .source_place = source_place,
    .sink_place = sink_place,
    .link_same = redis_link_same,
    .feeds = redis_feeds,
    .source_declares = source_declares,
    .link_open = redis_open,
    .link_free = redis_free,
    .link_pollfd = redis_pollfd,
    .link_step = redis_step,
    .link_status = redis_status,
    .link_probe = redis_probe,
    .link_facts = redis_facts,
    .library = resp_library,
    .source_open = redis_source_open,
    .source_receive = redis_source_receive,
    .source_settle = redis_source_settle,
    .source_pause = redis_source_pause,
    .source_drain = redis_source_drain,
    .source_status = redis_source_status,
    .source_free = redis_source_free,
    .sink_open = redis_sink_open,
    .sink_publish = redis_sink_publish,
    .sink_collect = redis_sink_collect,
    .sink_abandon = redis_sink_abandon,
    .sink_status = redis_sink_status,
    .sink_free = redis_sink_free,
};
