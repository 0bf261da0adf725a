/* Redis streams and channels for the suite. */
#include "tests/conformance/fixture.h"

#include "bridge/links/redis/options.h"

#include <stdio.h>
#include <stdlib.h>

extern const struct connector connector_redis;

static const char *port(void)
{
    return getenv("BASCULE_TEST_REDIS_PORT");
}

static void link_options(void *ret)
{
    struct redis_link_options *o = ret;

    if (asprintf(&o->url, "redis://127.0.0.1:%s", port()) < 0)
        abort();
    o->db = -1;
    o->connect_timeout_ms = o->ping_interval_ms = 10000;
}

static void tls_link_options(void *ret)
{
    struct redis_link_options *o = ret;

    if (asprintf(&o->url, "rediss://app:secret@127.0.0.1:%s",
            getenv("BASCULE_TEST_REDIS_TLS_PORT")) < 0 ||
        asprintf(&o->tls.ca_file, "%s/ca.pem", getenv("BASCULE_TEST_REDIS_CERTIFICATES")) < 0)
        abort();
    o->tls.set = o->tls.verify = true;
    o->db = -1;
    o->connect_timeout_ms = o->ping_interval_ms = 10000;
}

static void source_options(const char *place, void *ret)
{
    struct redis_source_options *o = ret;

    o->stream = strdup(place);
    o->group = strdup("g");
}

static void stream_sink_options(const char *place, void *ret)
{
    struct redis_sink_options *o = ret;

    o->stream.text = strdup(place);
    o->stream.fixed = true;
}

static void channel_source_options(const char *place, void *ret)
{
    struct redis_source_options *o = ret;

    o->channels.at = calloc(1, sizeof *o->channels.at);
    if (!o->channels.at || !(o->channels.at[0] = strdup(place)))
        abort();
    o->channels.n = 1;
}

static void channel_sink_options(const char *place, void *ret)
{
    struct redis_sink_options *o = ret;

    o->channel.text = strdup(place);
    o->channel.fixed = true;
}

static const char *spoil(void *link_options, enum fixture_wrong what)
{
    struct redis_link_options *o = link_options;
    const char *tls_port = getenv("BASCULE_TEST_REDIS_TLS_PORT");

    if (what == FIXTURE_WRONG_PASSWORD) {
        fixture_text(&o->url, "rediss://app:wrong@127.0.0.1:%s", tls_port);
        return "WRONGPASS";
    }
    if (what == FIXTURE_WRONG_CA)
        fixture_text(&o->tls.ca_file, "%s/other-ca.pem", getenv("BASCULE_TEST_REDIS_CERTIFICATES"));
    else
        fixture_text(&o->url, "rediss://app:secret@" FIXTURE_OTHER_NAME ":%s", tls_port);
    return "certificate was refused";
}

static const struct fixture fixtures[] = {
    { .name = "redis_stream_tls",
        .end = "redis_stream",
        .needs = "BASCULE_TEST_REDIS_TLS_PORT",
        .connector = &connector_redis,
        .spoil = spoil,
        .slot = REDIS_SLOT_STREAM,
        .link_options = tls_link_options,
        .source_options = source_options,
        .sink_options = stream_sink_options },
    { .name = "redis_channel_tls",
        .end = "redis_channel",
        .needs = "BASCULE_TEST_REDIS_TLS_PORT",
        .connector = &connector_redis,
        .flags = FIXTURE_LOSSY,
        .spoil = spoil,
        .slot = REDIS_SLOT_CHANNEL,
        .link_options = tls_link_options,
        .source_options = channel_source_options,
        .sink_options = channel_sink_options },
    { .name = "redis_stream",
        .end = "redis_stream",
        .needs = "BASCULE_TEST_REDIS_PORT",
        .connector = &connector_redis,
        .flags = FIXTURE_OPEN,
        .slot = REDIS_SLOT_STREAM,
        .link_options = link_options,
        .source_options = source_options,
        .sink_options = stream_sink_options },
    { .name = "redis_channel",
        .end = "redis_channel",
        .needs = "BASCULE_TEST_REDIS_PORT",
        .connector = &connector_redis,
        .flags = FIXTURE_LOSSY | FIXTURE_OPEN,
        .slot = REDIS_SLOT_CHANNEL,
        .link_options = link_options,
        .source_options = channel_source_options,
        .sink_options = channel_sink_options },
};

__attribute__((constructor)) static void add(void)
{
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++)
        fixture_add(&fixtures[i]);
}
