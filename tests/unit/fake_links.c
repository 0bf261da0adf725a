/* Connectors with option tables like the real ones and no code behind: configuration tests need no
 * broker library. Both symbols stand here, so that the archive's link table is not pulled in. */
#include "bridge/connector.h"

#include <stdio.h>

struct fake_link {
    struct option_list urls;
    char *url, *password;
    struct option_map properties;
    struct {
        bool set;
        char *ca_file;
    } tls;
};

struct fake_end {
    char *queue, *topic, *stream, *group;
    struct option_list names;
    int64_t prefetch;
    struct option_template address, other;
};

#define LINK(m) offsetof(struct fake_link, m)
#define END(m) offsetof(struct fake_end, m)

static const struct option tls_table[] = {
    { .name = "ca_file",
        .type = OPTION_TEXT,
        .offset = LINK(tls.ca_file) - LINK(tls),
        .flags = OPTION_FILE },
    { 0 },
};

static const struct option link_table[] = {
    { .name = "urls",
        .type = OPTION_TEXT_LIST,
        .offset = LINK(urls),
        .flags = OPTION_CREDENTIAL_URL },
    { .name = "brokers", .type = OPTION_TEXT_LIST, .offset = LINK(urls) },
    { .name = "url", .type = OPTION_TEXT, .offset = LINK(url), .flags = OPTION_CREDENTIAL_URL },
    { .name = "password", .type = OPTION_TEXT, .offset = LINK(password), .flags = OPTION_SECRET },
    { .name = "properties", .type = OPTION_TEXT_MAP, .offset = LINK(properties) },
    { .name = "tls", .type = OPTION_TABLE, .offset = LINK(tls), .table = tls_table },
    { 0 },
};

static const struct option rabbit_source[] = {
    { .name = "queue", .type = OPTION_TEXT, .offset = END(queue), .flags = OPTION_REQUIRED },
    { .name = "exchange", .type = OPTION_TEXT, .offset = END(topic) },
    { .name = "binding_keys", .type = OPTION_TEXT_LIST, .offset = END(names) },
    { .name = "prefetch",
        .type = OPTION_INT,
        .offset = END(prefetch),
        .default_text = "1000",
        .min = 1,
        .max = 65535 },
    { 0 },
};

static const struct option rabbit_sink[] = {
    { .name = "exchange", .type = OPTION_TEMPLATE, .offset = END(address) },
    { .name = "routing_key", .type = OPTION_TEMPLATE, .offset = END(other) },
    { 0 },
};

static const struct option kafka_source[] = {
    { .name = "topics", .type = OPTION_TEXT_LIST, .offset = END(names) },
    { .name = "group", .type = OPTION_TEXT, .offset = END(group) },
    { .name = "start", .type = OPTION_TEXT, .offset = END(topic) },
    { 0 },
};

static const struct option kafka_sink[] = {
    { .name = "topic", .type = OPTION_TEMPLATE, .offset = END(address), .flags = OPTION_REQUIRED },
    { 0 },
};

static const struct option redis_source[] = {
    { .name = "channels", .type = OPTION_TEXT_LIST, .offset = END(names) },
    { .name = "stream", .type = OPTION_TEXT, .offset = END(stream) },
    { .name = "group", .type = OPTION_TEXT, .offset = END(group) },
    { 0 },
};

static const struct option redis_sink[] = {
    { .name = "channel", .type = OPTION_TEMPLATE, .offset = END(address) },
    { .name = "stream", .type = OPTION_TEMPLATE, .offset = END(other) },
    { .name = "maxlen", .type = OPTION_INT, .offset = END(prefetch) },
    { 0 },
};

static int redis_source_check(const void *options, const char **key, struct fault *why)
{
    const struct fake_end *e = options;

    if (!e->stream || e->names.n == 0)
        return 0;
    *key = "stream";
    return fault_set(why, FAULT_INPUT, 0, "give channels or stream, not both");
}

static struct traits keeps(const void *options)
{
    (void)options;
    return (struct traits){ TRAIT_KEEPS, NULL };
}

static struct traits redis_source_traits(const void *options)
{
    const struct fake_end *e = options;

    if (e->stream)
        return (struct traits){ TRAIT_KEEPS | TRAIT_IDS, NULL };
    return (struct traits){ 0, "Redis pub/sub does not keep messages" };
}

static struct traits confirms(const void *options)
{
    (void)options;
    return (struct traits){ TRAIT_CONFIRMS | TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS, NULL };
}

static struct traits redis_sink_traits(const void *options)
{
    const struct fake_end *e = options;

    if (e->other.text)
        return (struct traits){ TRAIT_CONFIRMS | TRAIT_CARRIES_HEADERS | TRAIT_DEDUPES, NULL };
    return (struct traits){ 0, "PUBLISH reaches who listens now" };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct fake_end *e = options;

    (void)snprintf(ret, n, "%s", e->queue ? e->queue : e->names.n ? e->names.at[0] : "");
}

static void sink_place(const void *options, char *ret, size_t n)
{
    const struct fake_end *e = options;

    (void)snprintf(ret, n, "%s", e->address.text ? e->address.text : "");
}

#define FAKE(name, source, sink)                                                                   \
    .type = name, .link_options = link_table, .source_options = source, .sink_options = sink,      \
    .link_options_bytes = sizeof(struct fake_link),                                                \
    .source_options_bytes = sizeof(struct fake_end),                                               \
    .sink_options_bytes = sizeof(struct fake_end), .source_place = source_place,                   \
    .sink_place = sink_place

static const struct connector rabbit = { FAKE("rabbitmq", rabbit_source, rabbit_sink),
    .source_traits = keeps, .sink_traits = confirms };
static const struct connector kafka = { FAKE("kafka", kafka_source, kafka_sink),
    .source_traits = keeps, .sink_traits = confirms };
static const struct connector redis = { FAKE("redis", redis_source, redis_sink),
    .source_traits = redis_source_traits, .sink_traits = redis_sink_traits,
    .source_check = redis_source_check };

const struct connector *const connector_all[] = { &rabbit, &kafka, &redis, NULL };

const struct connector *connector_find(const char *type)
{
    for (size_t i = 0; connector_all[i]; i++) {
        if (strcmp(connector_all[i]->type, type) == 0)
            return connector_all[i];
    }
    return NULL;
}
