#include "bridge/links/kafka/link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

void kafka_state_set(struct link_status *status, enum link_state state, int64_t now_ms)
{
    if (status->state == state)
        return;
    status->state = state;
    status->since_ms = now_ms;
}

static int link_check(const void *options, const char **key, struct fault *why)
{
    return kafka_conf_check(options, key, why);
}

static int source_check(const void *options, const char **key, struct fault *why)
{
    const struct kafka_source_options *o = options;
    int64_t start;

    *key = NULL;
    if (o->topics.n == 0) {
        *key = "topics";
        return fault_set(why, FAULT_INPUT, 0, "give at least one topic");
    }
    if (kafka_start_parse(o->start, &start) != 0) {
        *key = "start";
        return fault_set(why, FAULT_INPUT, 0,
            "'%s' is neither earliest, latest, a time like 2026-01-31T12:00:00Z nor unix ms",
            o->start);
    }
    return 0;
}

static int sink_check(const void *options, const char **key, struct fault *why)
{
    const struct kafka_sink_options *o = options;

    *key = NULL;
    if (o->topic.text && o->topic.text[0] && (!o->topic.fixed || strlen(o->topic.text) <= 249))
        return 0;
    *key = "topic";
    return fault_set(why, FAULT_INPUT, 0, "a topic's name has 1 to 249 bytes");
}

static int sink_fits(
    const void *link_options, const struct sink_spec *sink, const char **key, struct fault *why)
{
    *key = "confirm_timeout";
    return kafka_conf_sink_fits(link_options, sink->options, sink->confirm_timeout_ms, why);
}

static struct traits source_traits(const void *options)
{
    (void)options;
    return (struct traits){ TRAIT_KEEPS | TRAIT_SETTLES_POSITION | TRAIT_IDS | TRAIT_READS_HEADERS,
        NULL };
}

static struct traits sink_traits(const void *options)
{
    (void)options;
    return (struct traits){
        TRAIT_CONFIRMS | TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS | TRAIT_ORDERS_CHANNEL, NULL
    };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct kafka_source_options *o = options;

    (void)snprintf(ret, n, "topic %s%s", o->topics.n ? o->topics.at[0] : "",
        o->topics.n > 1 ? " and more" : "");
}

static void sink_place(const void *options, char *ret, size_t n)
{
    const struct kafka_sink_options *o = options;

    (void)snprintf(ret, n, "topic %s", o->topic.text ? o->topic.text : "");
}

static void source_declares(const void *options, struct buf *to)
{
    const struct kafka_source_options *o = options;

    if (o->group)
        buf_put_format(to, "consumer group %s\n", o->group);
}

static int link_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    struct link *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->spec = *spec;
    l->options = spec->options;
    l->random.state = spec->seed;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        free(l);
        return fault_set(
            why, FAULT_RETRY, errno, "kafka '%s': eventfd: %s", spec->name, strerror(errno));
    }
    *ret = l;
    return 0;
}

static void link_free(struct link *l)
{
    if (!l)
        return;
    (void)close(l->wake_fd);
    free(l);
}

static int link_pollfd(const struct link *l)
{
    return l->wake_fd;
}

static int64_t link_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    int64_t next = INT64_MAX, at;
    uint64_t count;

    (void)!read(l->wake_fd, &count, sizeof count);
    l->now_ms = now_ms;
    l->unix_ms = unix_ms;
    for (struct source *s = l->sources; s; s = kafka_source_next(s)) {
        at = kafka_source_step(s);
        next = at < next ? at : next;
    }
    for (struct sink *s = l->sinks; s; s = kafka_sink_next(s)) {
        at = kafka_sink_step(s);
        next = at < next ? at : next;
    }
    return next;
}

static void link_status(const struct link *l, struct link_status *ret)
{
    *ret = (struct link_status){ .state = LINK_CONNECTING, .lag = -1 };
    if (l->sources)
        kafka_source_status(l->sources, ret);
    else if (l->sinks)
        kafka_sink_status(l->sinks, ret);
}

const struct connector connector_kafka = {
    .type = "kafka",
    .link_options = kafka_link_table,
    .source_options = kafka_source_table,
    .sink_options = kafka_sink_table,
    .link_options_bytes = sizeof(struct kafka_link_options),
    .source_options_bytes = sizeof(struct kafka_source_options),
    .sink_options_bytes = sizeof(struct kafka_sink_options),
    .link_check = link_check,
    .source_check = source_check,
    .sink_check = sink_check,
    .sink_fits = sink_fits,
    .source_traits = source_traits,
    .sink_traits = sink_traits,
    .source_place = source_place,
    .sink_place = sink_place,
    .link_same = kafka_link_same,
    .feeds = kafka_feeds,
    .source_declares = source_declares,
    .link_open = link_open,
    .link_free = link_free,
    .link_pollfd = link_pollfd,
    .link_step = link_step,
    .link_status = link_status,
    .link_probe = kafka_link_probe,
    .link_facts = kafka_link_facts,
    .library = kafka_link_library,
    .source_open = kafka_source_open,
    .source_receive = kafka_source_receive,
    .source_copied = kafka_source_copied,
    .source_settle = kafka_source_settle,
    .source_pause = kafka_source_pause,
    .source_drain = kafka_source_drain,
    .source_status = kafka_source_status,
    .source_free = kafka_source_free,
    .sink_open = kafka_sink_open,
    .sink_publish = kafka_sink_publish,
    .sink_collect = kafka_sink_collect,
    .sink_abandon = kafka_sink_abandon,
    .sink_status = kafka_sink_status,
    .sink_free = kafka_sink_free,
};
