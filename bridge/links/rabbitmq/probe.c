#include "bridge/links/rabbitmq/probe.h"

#include <stdarg.h>
#include <stdio.h>

#include "bridge/links/rabbitmq/dial.h"

struct probe {
    amqp_connection_state_t amqp;
    amqp_channel_t channel;
    struct finding *ret;
    size_t limit, count;
};

static void __attribute__((format(printf, 3, 4)))
found(struct probe *p, bool is_error, const char *format, ...)
{
    va_list ap;

    if (p->count == p->limit)
        return;
    p->ret[p->count].is_error = is_error;
    va_start(ap, format);
    (void)vsnprintf(p->ret[p->count].text, sizeof p->ret->text, format, ap);
    va_end(ap);
    p->count++;
}

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
    found(p, true, "%s '%s': %s", what, name, text);
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

/* An existing queue's type and policy are not for AMQP clients to see, so a queue that we would
 * create is judged by its options, and an existing one by trying to declare it as quorum: no. */
static void probe_limits(struct probe *p, const struct options_source *o)
{
    if (options_source_declare(o) == OPTIONS_CREATE && o->type == OPTIONS_QUORUM &&
        argument_given(&o->arguments, "x-delivery-limit") &&
        !argument_given(&o->arguments, "x-dead-letter-exchange"))
        found(p, false,
            "queue '%s' has a delivery limit and no dead-letter exchange: the broker drops a "
            "message "
            "that was given out too often",
            o->queue);
}

static void probe_exchange(struct probe *p, const char *name)
{
    if (!name || !*name)
        return;
    (void)amqp_exchange_declare(p->amqp, p->channel, amqp_cstring_bytes(name), amqp_empty_bytes, 1,
        0, 0, 0, amqp_empty_table);
    (void)answered(p, "exchange", name);
}

static void probe_source(struct probe *p, const struct options_source *o)
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
        } else {
            (void)answered(p, "queue", o->queue);
        }
        probe_exchange(p, o->exchange);
        for (size_t i = 0; i < o->bindings.n; i++)
            probe_exchange(p, b[i].exchange);
    } else if (answered(p, "queue", o->queue)) {
        /* Reading is asked for by taking nothing: get on a channel that is closed right after gives
         * what it took back, so consume with a prefetch of 0 is not used. */
        (void)amqp_basic_qos(p->amqp, p->channel, 0, 1, 0);
    }
    probe_limits(p, o);
}

size_t probe_run(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct probe p = { .channel = 1, .ret = ret, .limit = limit };
    const struct options_sink *to = sink ? sink->options : NULL;
    struct fault why = { 0 };
    char peer[128];
    struct dial d;

    if (dial_init(&d, spec->name, spec->options, &why) != 0) {
        found(&p, true, "%s", why.text);
        return p.count;
    }
    if (timeout_ms > 0 && timeout_ms < d.timeout_ms)
        d.timeout_ms = timeout_ms;
    for (size_t i = 0; i < d.count && !p.amqp; i++)
        if (dial_open(&d, i, "check", nothing, NULL, &p.amqp, peer, &why) != 0)
            found(&p, i + 1 == d.count, "%s", why.text);
    if (p.amqp) {
        (void)amqp_channel_open(p.amqp, p.channel);
        if (answered(&p, "connection", spec->name)) {
            if (source)
                probe_source(&p, source->options);
            if (to && to->declare != OPTIONS_CREATE && to->declare != OPTIONS_NONE)
                probe_exchange(&p, to->exchange);
        }
        (void)amqp_connection_close(p.amqp, AMQP_REPLY_SUCCESS);
        (void)amqp_destroy_connection(p.amqp);
    }
    dial_done(&d);
    return p.count;
}
