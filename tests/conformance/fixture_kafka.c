/* Kafka topics for the suite, plain and behind TLS and a SCRAM login. */
#include "tests/conformance/fixture.h"

#include "bridge/links/kafka/options.h"

#include <stdio.h>
#include <stdlib.h>

extern const struct connector connector_kafka;

static void add_text(struct option_list *to, const char *text)
{
    to->at = calloc(1, sizeof *to->at);
    if (!to->at)
        abort();
    to->at[to->n++] = strdup(text);
}

static void add_broker(struct kafka_link_options *o, const char *port)
{
    char address[64];

    (void)snprintf(address, sizeof address, "127.0.0.1:%s", port);
    add_text(&o->brokers, address);
}

static void link_options(void *ret)
{
    add_broker(ret, getenv("BASCULE_TEST_KAFKA_PORT"));
}

static void tls_link_options(void *ret)
{
    struct kafka_link_options *o = ret;

    add_broker(o, getenv("BASCULE_TEST_KAFKA_TLS_PORT"));
    o->sasl.set = o->tls.set = o->tls.verify = true;
    o->sasl.mechanism = KAFKA_SCRAM_256;
    o->sasl.username = strdup("app");
    o->sasl.password = strdup("secret");
    if (asprintf(&o->tls.ca_file, "%s/ca.pem", getenv("BASCULE_TEST_KAFKA_CERTIFICATES")) < 0)
        abort();
}

static void source_options(const char *place, void *ret)
{
    struct kafka_source_options *o = ret;

    add_text(&o->topics, place);
    o->group = strdup(place);
    o->start = strdup("earliest");
}

static void sink_options(const char *place, void *ret)
{
    struct kafka_sink_options *o = ret;

    o->topic.text = strdup(place);
    o->topic.fixed = true;
}

static const char *spoil(void *link_options, enum fixture_wrong what)
{
    struct kafka_link_options *o = link_options;

    if (what == FIXTURE_WRONG_PASSWORD) {
        fixture_text(&o->sasl.password, "wrong");
        return "Authentication failed";
    }
    if (what == FIXTURE_WRONG_CA)
        fixture_text(&o->tls.ca_file, "%s/other-ca.pem", getenv("BASCULE_TEST_KAFKA_CERTIFICATES"));
    else
        fixture_text(
            &o->brokers.at[0], FIXTURE_OTHER_NAME ":%s", getenv("BASCULE_TEST_KAFKA_TLS_PORT"));
    return "certificate verify failed";
}

static const struct fixture fixtures[] = {
    { .name = "kafka",
        .end = "kafka",
        .needs = "BASCULE_TEST_KAFKA_PORT",
        .connector = &connector_kafka,
        .flags = FIXTURE_NO_CUT | FIXTURE_OPEN,
        .link_options = link_options,
        .source_options = source_options,
        .sink_options = sink_options },
    { .name = "kafka_tls",
        .end = "kafka",
        .needs = "BASCULE_TEST_KAFKA_TLS_PORT",
        .connector = &connector_kafka,
        .flags = FIXTURE_NO_CUT,
        .spoil = spoil,
        .link_options = tls_link_options,
        .source_options = source_options,
        .sink_options = sink_options },
};

__attribute__((constructor)) static void add(void)
{
    fixture_add(&fixtures[0]);
    fixture_add(&fixtures[1]);
}
