#include "tests/conformance/fixture.h"

#include <unistd.h>

#include "bridge/links/rabbitmq/options.h"
#include "tests/conformance/test_rabbitmq.h"
#include "tests/harness.h"

#define CLIENT "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_client.py"
#define BROKER "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_broker.py"

/* Tests run in directories of their own; what they run stands in the tree that they started from.
 */
__attribute__((constructor)) static void remember_root(void)
{
    char root[4096];

    if (getcwd(root, sizeof root))
        (void)setenv("BASCULE_ROOT", root, 0);
}

void rabbitmq_link_options(void *ret)
{
    struct options_link *o = ret;
    char url[128];

    (void)snprintf(
        url, sizeof url, "amqp://app:secret@127.0.0.1:%s", getenv("BASCULE_TEST_RABBITMQ_PORT"));
    o->url = strdup(url);
    o->heartbeat_ms = 10000;
    o->connect_timeout_ms = 10000;
}

void rabbitmq_source_options(const char *place, void *ret)
{
    struct options_source *o = ret;

    o->queue = strdup(place);
    o->declare = OPTIONS_CREATE;
    o->type = OPTIONS_CLASSIC;
    o->durable = true;
    o->prefetch = 500;
}

void rabbitmq_sink_options(const char *place, void *ret)
{
    struct options_sink *o = ret;

    o->exchange = strdup(place);
    o->routing_key.text = strdup("${address}");
    o->declare = OPTIONS_CREATE;
    o->mandatory = o->persistent = true;
}

static void feed(const char *place, size_t from, size_t n)
{
    fixture_shell(CLIENT " feed '%s' %zu %zu", place, from, n);
}

struct listener {
    FILE *to, *from;
};

static void *listen_at(const char *place)
{
    struct listener *l = calloc(1, sizeof *l);
    char command[512], line[64] = "";

    /* Its answers come through a pipe of our own, since popen() gives one direction. */
    int answers[2];

    if (!l || pipe(answers) != 0)
        harness_fail(__FILE__, __LINE__, "no pipe");
    (void)snprintf(command, sizeof command, "exec " CLIENT " listen '%s' >&%d", place, answers[1]);
    l->to = popen(command, "w");
    (void)close(answers[1]);
    l->from = fdopen(answers[0], "r");
    CHECK(l->to && l->from && fgets(line, sizeof line, l->from));
    CHECK_TEXT(line, "ready\n");
    return l;
}

static size_t heard(void *listener, size_t want, const char *file)
{
    struct listener *l = listener;
    char line[64] = "";
    size_t n;

    (void)fprintf(l->to, "%zu %s\n", want, file);
    (void)fflush(l->to);
    CHECK(fgets(line, sizeof line, l->from) != NULL);
    n = strtoul(line, NULL, 10);
    (void)pclose(l->to);
    (void)fclose(l->from);
    free(l);
    return n;
}

static void cut(void)
{
    fixture_shell(BROKER " close_all_connections cut");
}

static void stop(void)
{
    fixture_shell(BROKER " stop");
}

static void start(void)
{
    fixture_shell(BROKER " start");
}

extern const struct connector connector_rabbitmq;

static const struct fixture fixture_rabbitmq = {
    .name = "rabbitmq",
    .needs = "BASCULE_TEST_RABBITMQ_PORT",
    .connector = &connector_rabbitmq,
    .link_options = rabbitmq_link_options,
    .source_options = rabbitmq_source_options,
    .sink_options = rabbitmq_sink_options,
    .feed = feed,
    .listen = listen_at,
    .heard = heard,
    .cut = cut,
    .stop = stop,
    .start = start,
};

__attribute__((constructor)) static void add(void)
{
    fixture_add(&fixture_rabbitmq);
}
