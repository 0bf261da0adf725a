/* NATS subjects and JetStream streams for the suite. */
#include "tests/conformance/fixture.h"

#include "bridge/links/nats/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct connector connector_nats;

static void times(struct nats_link_options *o)
{
    o->connect_timeout_ms = 5000;
    o->ping_interval_ms = 10000;
}

static void link_options(void *ret)
{
    struct nats_link_options *o = ret;

    if (asprintf(&o->url, "nats://app:secret@127.0.0.1:%s", getenv("BASCULE_TEST_NATS_LINE")) < 0)
        abort();
    times(o);
}

static void tls_link_options(void *ret)
{
    struct nats_link_options *o = ret;

    if (asprintf(&o->url, "tls://app:secret@127.0.0.1:%s", getenv("BASCULE_TEST_NATS_TLS_PORT")) <
            0 ||
        asprintf(&o->tls.ca_file, "%s/ca.pem", getenv("BASCULE_TEST_NATS_CERTIFICATES")) < 0)
        abort();
    o->tls.set = o->tls.verify = true;
    times(o);
}

static const char *spoil(void *link_options, enum fixture_wrong what)
{
    struct nats_link_options *o = link_options;
    const char *tls_port = getenv("BASCULE_TEST_NATS_TLS_PORT");

    if (what == FIXTURE_WRONG_PASSWORD) {
        fixture_text(&o->url, "tls://app:wrong@127.0.0.1:%s", tls_port);
        return "Authorization Violation";
    }
    if (what == FIXTURE_WRONG_CA)
        fixture_text(&o->tls.ca_file, "%s/other-ca.pem", getenv("BASCULE_TEST_NATS_CERTIFICATES"));
    else
        fixture_text(&o->url, "tls://app:secret@" FIXTURE_OTHER_NAME ":%s", tls_port);
    return "SSL handshake error";
}

/* A name without the place's dots. */
static char *stream_of(const char *place)
{
    char *name = strdup(place);

    for (char *c = name; c && *c; c++)
        *c = *c == '.' ? '_' : *c;
    return name;
}

static void source_options(const char *place, void *ret)
{
    struct nats_source_options *o = ret;

    o->stream = stream_of(place);
    o->durable = strdup("g");
    o->ack_wait_ms = 30000;
}

static void stream_sink_options(const char *place, void *ret)
{
    struct nats_sink_options *o = ret;

    o->subject.text = strdup(place);
    o->subject.fixed = true;
    o->stream = stream_of(place);
}

static void subject_source_options(const char *place, void *ret)
{
    struct nats_source_options *o = ret;

    o->subjects.at = calloc(1, sizeof *o->subjects.at);
    if (!o->subjects.at || !(o->subjects.at[0] = strdup(place)))
        abort();
    o->subjects.n = 1;
}

static void subject_sink_options(const char *place, void *ret)
{
    struct nats_sink_options *o = ret;

    o->subject.text = strdup(place);
    o->subject.fixed = true;
}

static const struct fixture fixtures[] = {
    { .name = "nats_stream_tls",
        .end = "nats_stream_tls",
        .needs = "BASCULE_TEST_NATS_TLS_PORT",
        .connector = &connector_nats,
        .spoil = spoil,
        .slot = NATS_SLOT_SUBJECT,
        .link_options = tls_link_options,
        .source_options = source_options,
        .sink_options = stream_sink_options },
    { .name = "nats_stream",
        .end = "nats_stream",
        .needs = "BASCULE_TEST_NATS_LINE",
        .connector = &connector_nats,
        .flags = FIXTURE_OPEN,
        .slot = NATS_SLOT_SUBJECT,
        .link_options = link_options,
        .source_options = source_options,
        .sink_options = stream_sink_options },
    { .name = "nats_subject",
        .end = "nats_subject",
        .needs = "BASCULE_TEST_NATS_LINE",
        .connector = &connector_nats,
        .flags = FIXTURE_LOSSY | FIXTURE_OPEN,
        .slot = NATS_SLOT_SUBJECT,
        .link_options = link_options,
        .source_options = subject_source_options,
        .sink_options = subject_sink_options },
};

__attribute__((constructor)) static void add(void)
{
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++)
        fixture_add(&fixtures[i]);
}
