/* Redis streams in and out, and channels out, behind the connector's table. */
#include "bridge/links/redis/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static int link_check(const void *options, const char **key, struct fault *why)
{
    const struct redis_link_options *o = options;
    struct redis_url url;

    *key = "url";
    return redis_url_parse(o->url, &url, why);
}

static int source_check(const void *options, const char **key, struct fault *why)
{
    (void)options;
    (void)why;
    *key = NULL;
    return 0;
}

static int sink_check(const void *options, const char **key, struct fault *why)
{
    const struct redis_sink_options *o = options;

    *key = NULL;
    if (!o->channel.text == !o->stream.text)
        return fault_set(why, FAULT_INPUT, 0, "give channel or stream, one of them");
    return 0;
}

static struct traits source_traits(const void *options)
{
    (void)options;
    return (struct traits){ TRAIT_KEEPS | TRAIT_IDS, NULL };
}

static struct traits sink_traits(const void *options)
{
    const struct redis_sink_options *o = options;

    if (o->stream.text)
        return (struct traits){ TRAIT_CONFIRMS | TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS |
                                    TRAIT_ORDERS_CHANNEL,
            "the primary alone confirms, and an unsure entry may be added twice" };
    return (struct traits){ TRAIT_CONFIRMS | TRAIT_ORDERS_CHANNEL,
        "Redis pub/sub does not keep messages" };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct redis_source_options *o = options;

    (void)snprintf(ret, n, "stream %s", o->stream);
}

static void sink_place(const void *options, char *ret, size_t n)
{
    const struct redis_sink_options *o = options;

    (void)snprintf(ret, n, "%s %s", o->stream.text ? "stream" : "channel",
        o->stream.text ? o->stream.text : o->channel.text);
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
    wake = client_step(&l->commands, now_ms);
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
    struct epoll_event event;
    size_t n = 0;

    (void)source;
    (void)sink;
    if (redis_open(spec, &l, &why) == 0) {
        /* Time here is only counted turns of 10 ms: the probe has no clock. */
        for (int64_t t = 0; t < timeout_ms && !l->commands.ready && !l->commands.tries; t += 10) {
            (void)redis_step(l, t, 0);
            if (!l->commands.ready)
                (void)epoll_wait(l->poll_fd, &event, 1, 10);
        }
        if (!l->commands.ready)
            (void)fault_set(&why, FAULT_RETRY, 0, "%s",
                l->commands.status.error[0] ? l->commands.status.error : "no answer in time");
    }
    if (why.kind && limit > 0) {
        ret[n].is_error = true;
        (void)snprintf(ret[n++].text, sizeof ret->text, "%.399s", why.text);
    }
    redis_free(l);
    return n;
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
    .link_open = redis_open,
    .link_free = redis_free,
    .link_pollfd = redis_pollfd,
    .link_step = redis_step,
    .link_status = redis_status,
    .link_probe = redis_probe,
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
