#include "bridge/links/rabbitmq/probe.h"

#include "bridge/links/findings.h"
#include "bridge/links/rabbitmq/dial.h"

#include <stdio.h>
#include <stdlib.h>

struct probe {
    amqp_connection_state_t amqp;
    amqp_channel_t channel;
    struct findings found;
};

static void nothing(void *context, int fd)
{
    (void)context;
    (void)fd;
}

/* True when the last call went well; else the finding, and a new channel for what is asked next. */
static bool answered(struct probe *p, const char *what, const char *name)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(p->amqp);
    amqp_channel_close_ok_t ok = { 0 };
    char text[256];
    int code;

    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    dial_explain(reply, &code, text, sizeof text);
    findings_add(&p->found, true, "%s '%s': %s", what, name, text);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        (void)amqp_send_method(p->amqp, p->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        (void)amqp_channel_open(p->amqp, ++p->channel);
    }
    return false;
}

static bool argument_given(const struct option_map *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->at[i].name, name) == 0)
            return true;
    return false;
}

/* Since RabbitMQ 4 a quorum queue has one that nobody asked for. */
static bool limited_unasked(const char *peer)
{
    const char *product = strstr(peer, "RabbitMQ ");

    return product && strtol(product + strlen("RabbitMQ "), NULL, 10) >= 4;
}

/* A queue's type, arguments and policies are not for AMQP clients to see: one that we would create
 * is judged by its options, an existing one can only be asked about. */
static void probe_limits(struct probe *p, const struct options_source *o, const char *peer)
{
    bool create = options_source_declare(o) == OPTIONS_CREATE;

    if (create && o->type == OPTIONS_QUORUM &&
        (argument_given(&o->arguments, "x-delivery-limit") || limited_unasked(peer)) &&
        !argument_given(&o->arguments, "x-dead-letter-exchange"))
        findings_add(&p->found, false,
            "queue '%s' has a delivery limit and no dead-letter exchange: the broker drops a "
            "message that was given out too often",
            o->queue);
    else if (!create && limited_unasked(peer))
        findings_add(&p->found, false,
            "if queue '%s' is a quorum queue it has a delivery limit (20 unless set): see that it "
            "has a dead-letter exchange too, or the broker drops a message that was given out too "
            "often",
            o->queue);
}

/* Asks for something that is refused anyway, but only after permissions were looked at: 403 says
 * that there are none, 406 that all is well. */
static void expect_406(struct probe *p, const char *what, const char *name, bool templated)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(p->amqp);
    amqp_channel_close_ok_t ok = { 0 };
    char text[256] = "";
    int code = 0;

    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return;
    dial_explain(reply, &code, text, sizeof text);
    /* What a topic permission says of a made-up key it need not say of an event's. */
    if (code != AMQP_PRECONDITION_FAILED)
        findings_add(
            &p->found, !(templated && strstr(text, "topic")), "%s '%s': %s", what, name, text);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        (void)amqp_send_method(p->amqp, p->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        (void)amqp_channel_open(p->amqp, ++p->channel);
    }
}

/* A consumer with a priority that is no number never comes to be. */
static void probe_read(struct probe *p, const char *queue)
{
    amqp_table_entry_t wrong = { .key = amqp_cstring_bytes("x-priority"),
        .value = {
            .kind = AMQP_FIELD_KIND_UTF8, .value = { .bytes = amqp_cstring_bytes("none") } } };

    (void)amqp_basic_qos(p->amqp, p->channel, 0, 1, 0);
    (void)amqp_basic_consume(p->amqp, p->channel, amqp_cstring_bytes(queue),
        amqp_cstring_bytes("bascule.check"), 0, 0, 0, (amqp_table_t){ 1, &wrong });
    expect_406(p, "reading from queue", queue, false);
}

/* A message with an expiration that is no number goes nowhere. */
static void probe_write(struct probe *p, const struct options_sink *o)
{
    const char *exchange = o->exchange ? o->exchange : "";
    bool fixed = o->routing_key.fixed && o->routing_key.text;
    amqp_basic_properties_t wrong = { ._flags = AMQP_BASIC_EXPIRATION_FLAG,
        .expiration = amqp_cstring_bytes("none") };

    (void)amqp_basic_publish(p->amqp, p->channel, amqp_cstring_bytes(exchange),
        amqp_cstring_bytes(fixed ? o->routing_key.text : "bascule.check"), 0, 0, &wrong,
        amqp_empty_bytes);
    (void)amqp_basic_qos(p->amqp, p->channel, 0, 1, 0);
    expect_406(p, "publishing to exchange", exchange, !fixed);
}

/* Is it there? */
static bool probe_exchange(struct probe *p, const char *name)
{
    if (!name || !*name)
        return true;
    (void)amqp_exchange_declare(p->amqp, p->channel, amqp_cstring_bytes(name), amqp_empty_bytes, 1,
        0, 0, 0, amqp_empty_table);
    return answered(p, "exchange", name);
}

static void probe_source(struct probe *p, const struct options_source *o, const char *peer)
{
    const struct options_binding *b = o->bindings.at;
    bool create = options_source_declare(o) == OPTIONS_CREATE;

    (void)amqp_queue_declare(
        p->amqp, p->channel, amqp_cstring_bytes(o->queue), 1, 0, 0, 0, amqp_empty_table);
    if (create) {
        amqp_rpc_reply_t reply = amqp_get_rpc_reply(p->amqp);

        /* One that is not there yet will be made. */
        if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
            reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD &&
            ((amqp_channel_close_t *)reply.reply.decoded)->reply_code == AMQP_NOT_FOUND) {
            amqp_channel_close_ok_t ok = { 0 };

            (void)amqp_send_method(p->amqp, p->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
            (void)amqp_channel_open(p->amqp, ++p->channel);
        } else if (answered(p, "queue", o->queue)) {
            probe_read(p, o->queue);
        }
        (void)probe_exchange(p, o->exchange);
        for (size_t i = 0; i < o->bindings.n; i++)
            (void)probe_exchange(p, b[i].exchange);
    } else if (answered(p, "queue", o->queue)) {
        probe_read(p, o->queue);
    }
    probe_limits(p, o, peer);
}

size_t probe_run(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct probe p = { .channel = 1, .found = { ret, 0, limit } };
    const struct options_sink *to = sink ? sink->options : NULL;
    struct fault why = { 0 };
    struct dial_peer peer = { 0 };
    struct dial d;

    if (dial_init(&d, spec->name, spec->options, &why) != 0) {
        findings_add(&p.found, true, "%s", why.text);
        return p.found.n;
    }
    if (timeout_ms > 0 && timeout_ms < d.timeout_ms)
        d.timeout_ms = timeout_ms;
    for (size_t i = 0; i < d.count && !p.amqp; i++)
        if (dial_open(&d, i, "check", nothing, NULL, &p.amqp, &peer, &why) != 0)
            findings_add(&p.found, i + 1 == d.count, "%s", why.text);
    if (p.amqp) {
        (void)amqp_channel_open(p.amqp, p.channel);
        if (answered(&p, "connection", spec->name)) {
            if (source)
                probe_source(&p, source->options, peer.text);
            if (to && to->declare != OPTIONS_CREATE && probe_exchange(&p, to->exchange))
                probe_write(&p, to);
        }
        (void)amqp_connection_close(p.amqp, AMQP_REPLY_SUCCESS);
        (void)amqp_destroy_connection(p.amqp);
    }
    dial_done(&d);
    return p.found.n;
}

int probe_facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why)
{
    amqp_connection_state_t amqp = NULL;
    struct dial_peer peer = { 0 };
    struct dial d;

    if (dial_init(&d, spec->name, spec->options, why) != 0)
        return -1;
    if (timeout_ms > 0 && timeout_ms < d.timeout_ms)
        d.timeout_ms = timeout_ms;
    for (size_t i = 0; i < d.count && !amqp; i++)
        if (dial_open(&d, i, "doctor", nothing, NULL, &amqp, &peer, why) != 0)
            amqp = NULL;
    dial_done(&d);
    if (!amqp)
        return -1;
    *ret = (struct link_facts){ .peer_expires_ms = peer.expires_ms };
    (void)snprintf(ret->peer, sizeof ret->peer, "%.*s", (int)strcspn(peer.text, ","), peer.text);
    (void)snprintf(ret->version, sizeof ret->version, "%s", peer.product);
    (void)amqp_connection_close(amqp, AMQP_REPLY_SUCCESS);
    (void)amqp_destroy_connection(amqp);
    return 0;
}

const char *probe_library(void)
{
    static char text[48];

    (void)snprintf(text, sizeof text, "librabbitmq %s", amqp_version());
    return text;
}
