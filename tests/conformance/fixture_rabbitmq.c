#include "tests/conformance/rabbit.h"

#include <unistd.h>

/* Tests run in directories of their own; what they run stands in the tree that they started from.
 */
__attribute__((constructor)) static void remember_root(void)
{
    char root[4096];

    if (getcwd(root, sizeof root))
        (void)setenv("BASCULE_ROOT", root, 0);
}

void rabbit_link_options(void *ret)
{
    struct options_link *o = ret;
    char url[128];

    (void)snprintf(
        url, sizeof url, "amqp://app:secret@127.0.0.1:%s", getenv("BASCULE_TEST_RABBITMQ_PORT"));
    o->url = strdup(url);
    o->heartbeat_ms = 10000;
    o->connect_timeout_ms = 10000;
}

void rabbit_source_options(const char *place, void *ret)
{
    struct options_source *o = ret;

    o->queue = strdup(place);
    o->declare = OPTIONS_CREATE;
    o->type = OPTIONS_CLASSIC;
    o->durable = true;
    o->prefetch = 500;
}

void rabbit_sink_options(const char *place, void *ret)
{
    struct options_sink *o = ret;

    o->exchange = strdup(place);
    o->routing_key.text = strdup("${address}");
    o->declare = OPTIONS_CREATE;
    o->mandatory = o->persistent = true;
}

static void tls_link_options(void *ret)
{
    struct options_link *o = ret;
    const char *certificates = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");

    /* EXTERNAL: the user is the name in the certificate. */
    if (asprintf(&o->url, "amqps://127.0.0.1:%s", getenv("BASCULE_TEST_RABBITMQ_TLS_PORT")) < 0 ||
        asprintf(&o->tls.ca_file, "%s/ca.pem", certificates) < 0 ||
        asprintf(&o->tls.cert_file, "%s/client.pem", certificates) < 0 ||
        asprintf(&o->tls.key_file, "%s/client.key", certificates) < 0)
        abort();
    o->tls.set = o->tls.verify = true;
    o->auth = OPTIONS_AUTH_EXTERNAL;
    o->heartbeat_ms = o->connect_timeout_ms = 10000;
}

static const char *spoil(void *link_options, enum fixture_wrong what)
{
    struct options_link *o = link_options;
    const char *port = getenv("BASCULE_TEST_RABBITMQ_TLS_PORT");

    if (what == FIXTURE_WRONG_PASSWORD) {
        o->auth = OPTIONS_AUTH_PLAIN;
        fixture_text(&o->url, "amqps://app:wrong@127.0.0.1:%s", port);
        return "ACCESS_REFUSED";
    }
    if (what == FIXTURE_WRONG_CA)
        fixture_text(
            &o->tls.ca_file, "%s/other-ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    else
        fixture_text(&o->url, "amqps://" FIXTURE_OTHER_NAME ":%s", port);
    return "certificate verify failed";
}

static const struct fixture fixtures[] = {
    { .name = "rabbitmq",
        .end = "rabbitmq",
        .needs = "BASCULE_TEST_RABBITMQ_PORT",
        .connector = &connector_rabbitmq,
        .flags = FIXTURE_OPEN,
        .link_options = rabbit_link_options,
        .source_options = rabbit_source_options,
        .sink_options = rabbit_sink_options },
    { .name = "rabbitmq_tls",
        .end = "rabbitmq",
        .needs = "BASCULE_TEST_RABBITMQ_TLS_PORT",
        .connector = &connector_rabbitmq,
        .spoil = spoil,
        .link_options = tls_link_options,
        .source_options = rabbit_source_options,
        .sink_options = rabbit_sink_options },
};

__attribute__((constructor)) static void add(void)
{
    fixture_add(&fixtures[0]);
    fixture_add(&fixtures[1]);
}
