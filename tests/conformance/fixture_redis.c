/* Redis streams for the suite, fed by redis-cli. */
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

static void source_options(const char *place, void *ret)
{
    struct redis_source_options *o = ret;

    o->stream = strdup(place);
    o->group = strdup("g");
}

static void sink_options(const char *place, void *ret)
{
    struct redis_sink_options *o = ret;

    o->stream.text = strdup(place);
    o->stream.fixed = true;
}

static void feed(const char *place, size_t from, size_t n)
{
    fixture_shell(
        "i=%zu; while [ $i -lt %zu ]; do printf 'XADD %s * body \"message %%07d\" key k%%d "
        "n %%d\\n' $i $((i %% 5)) $i; i=$((i + 1)); done | redis-cli -p %s >/dev/null",
        from, from + n, place, port());
}

static const struct fixture stream = {
    .name = "redis_stream",
    .needs = "BASCULE_TEST_REDIS_PORT",
    .connector = &connector_redis,
    .link_options = link_options,
    .source_options = source_options,
    .sink_options = sink_options,
    .feed = feed,
};

__attribute__((constructor)) static void add(void)
{
    fixture_add(&stream);
}
