#include "bridge/links/rabbitmq/options.h"

#include <stdio.h>

#define AT(type, member) offsetof(struct type, member)

static const struct option tls_table[] = {
    { .name = "ca_file",
        .type = OPTION_TEXT,
        .offset = AT(options_tls, ca_file),
        .flags = OPTION_FILE,
        .help = "CAs that may have signed the broker's certificate; else the system's." },
    { .name = "cert_file",
        .type = OPTION_TEXT,
        .offset = AT(options_tls, cert_file),
        .flags = OPTION_FILE,
        .help = "Our certificate and its chain, PEM." },
    { .name = "key_file",
        .type = OPTION_TEXT,
        .offset = AT(options_tls, key_file),
        .flags = OPTION_FILE,
        .help = "Key of our certificate, PEM." },
    { .name = "server_name",
        .type = OPTION_TEXT,
        .offset = AT(options_tls, server_name),
        .help = "Name that the broker's certificate must have; else the host of the URL." },
    { .name = "verify",
        .type = OPTION_BOOL,
        .offset = AT(options_tls, verify),
        .default_text = "true",
        .help = "Check the broker's certificate and name." },
    { 0 },
};

static const char *const auth_names[] = { "plain", "external", NULL };

const struct option options_link[] = {
    { .name = "url",
        .type = OPTION_TEXT,
        .offset = AT(options_link, url),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "Short for one of urls." },
    { .name = "urls",
        .type = OPTION_TEXT_LIST,
        .offset = AT(options_link, urls),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "amqp:// or amqps://USER@HOST:PORT/VHOST, tried in turn." },
    { .name = "username",
        .type = OPTION_TEXT,
        .offset = AT(options_link, username),
        .help = "Login; else the URL's." },
    { .name = "password",
        .type = OPTION_TEXT,
        .offset = AT(options_link, password),
        .flags = OPTION_SECRET,
        .help = "Password; else the URL's." },
    { .name = "vhost",
        .type = OPTION_TEXT,
        .offset = AT(options_link, vhost),
        .help = "Virtual host; else the URL's." },
    { .name = "auth",
        .type = OPTION_ENUM,
        .offset = AT(options_link, auth),
        .default_text = "plain",
        .choices = auth_names,
        .help = "external: the client certificate is the login." },
    { .name = "tls",
        .type = OPTION_TABLE,
        .offset = AT(options_link, tls),
        .table = tls_table,
        .help = "TLS for amqps URLs." },
    { .name = "heartbeat",
        .type = OPTION_DURATION,
        .offset = AT(options_link, heartbeat_ms),
        .default_text = "10s",
        .min = 1000,
        .max = 600000,
        .help = "A peer silent for twice this long is gone." },
    { .name = "connect_timeout",
        .type = OPTION_DURATION,
        .offset = AT(options_link, connect_timeout_ms),
        .default_text = "10s",
        .min = 100,
        .max = 300000,
        .help = "For reaching a host, and again for logging in." },
    { 0 },
};

static const char *const declare_names[] = { "auto", "create", "passive", "none", NULL };
static const char *const queue_types[] = { "quorum", "classic", NULL };
static const char *const oversize_names[] = { "stop", "reject", NULL };

static const struct option binding_table[] = {
    { .name = "exchange",
        .type = OPTION_TEXT,
        .offset = AT(options_binding, exchange),
        .flags = OPTION_REQUIRED,
        .help = "Exchange to bind to." },
    { .name = "keys",
        .type = OPTION_TEXT_LIST,
        .offset = AT(options_binding, keys),
        .help = "Binding keys; none: one empty key." },
    { .name = "arguments",
        .type = OPTION_VALUE_MAP,
        .offset = AT(options_binding, arguments),
        .help = "Binding arguments (headers exchanges)." },
    { 0 },
};

const struct option options_source[] = {
    { .name = "queue",
        .type = OPTION_TEXT,
        .offset = AT(options_source, queue),
        .flags = OPTION_REQUIRED,
        .help = "Queue to read; alone: an existing one." },
    { .name = "declare",
        .type = OPTION_ENUM,
        .offset = AT(options_source, declare),
        .choices = declare_names,
        .default_text = "auto",
        .help =
            "create: declare queue and bindings; passive: see that the queue is there; none: just "
            "consume; auto: create where an exchange or bindings are given, else passive." },
    { .name = "type",
        .type = OPTION_ENUM,
        .offset = AT(options_source, type),
        .default_text = "quorum",
        .choices = queue_types,
        .help = "Type of a queue that is created." },
    { .name = "exchange",
        .type = OPTION_TEXT,
        .offset = AT(options_source, exchange),
        .help = "With binding_keys short for one of bindings." },
    { .name = "binding_keys",
        .type = OPTION_TEXT_LIST,
        .offset = AT(options_source, binding_keys),
        .help = "Binding keys on exchange." },
    { .name = "bindings",
        .type = OPTION_TABLE_LIST,
        .offset = AT(options_source, bindings),
        .table = binding_table,
        .item_bytes = sizeof(struct options_binding),
        .help = "Bindings of a queue that is created." },
    { .name = "arguments",
        .type = OPTION_VALUE_MAP,
        .offset = AT(options_source, arguments),
        .help = "Arguments of a queue that is created (x-max-length, …)." },
    { .name = "consumer_arguments",
        .type = OPTION_VALUE_MAP,
        .offset = AT(options_source, consumer_arguments),
        .help = "Arguments of the consumer (x-priority, …)." },
    { .name = "durable",
        .type = OPTION_BOOL,
        .offset = AT(options_source, durable),
        .default_text = "true",
        .help = "A classic queue that is created survives the broker." },
    { .name = "exclusive",
        .type = OPTION_BOOL,
        .offset = AT(options_source, exclusive),
        .help = "No other consumer may read the queue while we do." },
    { .name = "single_active",
        .type = OPTION_BOOL,
        .offset = AT(options_source, single_active),
        .help = "A queue that is created gives to one consumer at a time." },
    { .name = "prefetch",
        .type = OPTION_INT,
        .offset = AT(options_source, prefetch),
        .default_text = "2000",
        .min = 1,
        .max = 65535,
        .help = "Most deliveries that are received and not yet acknowledged." },
    { .name = "consumer_tag",
        .type = OPTION_TEXT,
        .offset = AT(options_source, consumer_tag),
        .help = "Name that the broker shows for us; else bascule.ROUTE." },
    { .name = "oversize",
        .type = OPTION_ENUM,
        .offset = AT(options_source, oversize),
        .default_text = "stop",
        .choices = oversize_names,
        .help = "A body that cannot be logged: stop the source, or reject it to the queue's "
                "dead-letter "
                "exchange (without one the broker drops it)." },
    { 0 },
};

static const char *const dedicated_names[] = { "auto", "always", "never", NULL };
static const char *const exchange_types[] = { "topic", "direct", "fanout", "headers", NULL };

const struct option options_sink[] = {
    { .name = "exchange",
        .type = OPTION_TEXT,
        .offset = AT(options_sink, exchange),
        .help = "Exchange to publish to; none: the default exchange." },
    { .name = "routing_key",
        .type = OPTION_TEMPLATE,
        .offset = AT(options_sink, routing_key),
        .default_text = "${address}",
        .help = "Routing key." },
    { .name = "declare",
        .type = OPTION_ENUM,
        .offset = AT(options_sink, declare),
        .default_text = "auto",
        .choices = declare_names,
        .help = "passive, auto: see that the exchange is there; create: declare it; none: just "
                "publish." },
    { .name = "exchange_type",
        .type = OPTION_ENUM,
        .offset = AT(options_sink, exchange_type),
        .default_text = "topic",
        .choices = exchange_types,
        .help = "Type of an exchange that is created." },
    { .name = "arguments",
        .type = OPTION_VALUE_MAP,
        .offset = AT(options_sink, arguments),
        .help = "Arguments of an exchange that is created." },
    { .name = "mandatory",
        .type = OPTION_BOOL,
        .offset = AT(options_sink, mandatory),
        .default_text = "true",
        .help = "A message that no queue takes is refused, not confirmed." },
    { .name = "persistent",
        .type = OPTION_BOOL,
        .offset = AT(options_sink, persistent),
        .default_text = "true",
        .help = "Publish persistent; false: as the event's delivery-mode." },
    { .name = "token_header",
        .type = OPTION_BOOL,
        .offset = AT(options_sink, token_header),
        .help = "Add header bascule-token, the same for every try of one event." },
    { .name = "dedicated",
        .type = OPTION_ENUM,
        .offset = AT(options_sink, dedicated),
        .default_text = "auto",
        .choices = dedicated_names,
        .help = "A connection of its own: auto: once its confirms stall; always; never." },
    { 0 },
};

int options_link_check(const void *options, const char **key, struct fault *why)
{
    const struct options_link *o = options;

    *key = "urls";
    if (!o->url == (o->urls.n == 0))
        return fault_set(why, FAULT_INPUT, 0, "give one of url and urls");
    for (size_t i = 0; i < o->urls.n || (i == 0 && o->url); i++) {
        const char *url = o->url ? o->url : o->urls.at[i];
        bool tls = strncmp(url, "amqps://", 8) == 0;

        if (o->url)
            *key = "url";
        if (!tls && strncmp(url, "amqp://", 7) != 0)
            return fault_set(why, FAULT_INPUT, 0, "a RabbitMQ URL starts amqp:// or amqps://");
        if (!tls && o->tls.set)
            return fault_set(why, FAULT_INPUT, 0, "tls: is given, but a URL starts amqp://");
    }
    *key = "auth";
    if (o->auth == OPTIONS_AUTH_EXTERNAL && !o->tls.cert_file)
        return fault_set(why, FAULT_INPUT, 0, "auth: external needs tls: cert_file and key_file");
    *key = "tls";
    if (!o->tls.cert_file != !o->tls.key_file)
        return fault_set(why, FAULT_INPUT, 0, "cert_file and key_file come together");
    return 0;
}

enum options_declare options_source_declare(const struct options_source *o)
{
    if (o->declare != OPTIONS_AUTO)
        return (enum options_declare)o->declare;
    return o->exchange || o->bindings.n ? OPTIONS_CREATE : OPTIONS_PASSIVE;
}

int options_source_check(const void *options, const char **key, struct fault *why)
{
    const struct options_source *o = options;

    *key = "queue";
    if (!o->queue || !*o->queue || strlen(o->queue) > 255)
        return fault_set(why, FAULT_INPUT, 0, "queue needs a name of 1 to 255 bytes");
    *key = "exchange";
    if (o->exchange && o->bindings.n)
        return fault_set(
            why, FAULT_INPUT, 0, "give exchange with binding_keys, or bindings, not both");
    *key = "binding_keys";
    if (o->binding_keys.n && !o->exchange)
        return fault_set(why, FAULT_INPUT, 0, "binding_keys needs exchange");
    *key = "single_active";
    if (o->single_active && options_source_declare(o) != OPTIONS_CREATE)
        return fault_set(why, FAULT_INPUT, 0, "single_active belongs to a queue that is created");
    *key = "durable";
    if (!o->durable && o->type != OPTIONS_CLASSIC)
        return fault_set(why, FAULT_INPUT, 0, "only a queue of type classic can be not durable");
    return 0;
}

int options_sink_check(const void *options, const char **key, struct fault *why)
{
    const struct options_sink *o = options;

    *key = "exchange";
    if (o->exchange && strlen(o->exchange) > 255)
        return fault_set(why, FAULT_INPUT, 0, "an exchange's name has at most 255 bytes");
    *key = "declare";
    if ((!o->exchange || !*o->exchange) && o->declare == OPTIONS_CREATE)
        return fault_set(why, FAULT_INPUT, 0, "the default exchange cannot be created");
    return 0;
}

struct traits options_source_traits(const void *options)
{
    (void)options;
    return (struct traits){ TRAIT_KEEPS | TRAIT_READS_HEADERS,
        "RabbitMQ names no message: after a redelivery one without message-id has a new id" };
}

struct traits options_sink_traits(const void *options)
{
    const struct options_sink *o = options;

    return (struct traits){ TRAIT_CONFIRMS | TRAIT_CARRIES_ID | TRAIT_CARRIES_HEADERS |
                                TRAIT_ORDERS_CHANNEL,
        o->mandatory ? NULL : "mandatory: false: what no queue takes is confirmed and gone" };
}

void options_source_place(const void *options, char *ret, size_t n)
{
    const struct options_source *o = options;

    (void)snprintf(ret, n, "queue %s", o->queue ? o->queue : "");
}

void options_sink_place(const void *options, char *ret, size_t n)
{
    const struct options_sink *o = options;

    (void)snprintf(ret, n, "exchange %s", o->exchange && *o->exchange ? o->exchange : "(default)");
}

static void put_bindings(
    const char *queue, const char *exchange, const struct option_list *keys, struct buf *to)
{
    for (size_t i = 0; i < keys->n || (i == 0 && keys->n == 0); i++)
        buf_put_format(to, "binding of queue %s to exchange %s, key '%s'\n", queue, exchange,
            keys->n ? keys->at[i] : "");
}

void options_source_declares(const void *options, struct buf *to)
{
    const struct options_source *o = options;
    const struct options_binding *bindings = o->bindings.at;

    if (options_source_declare(o) != OPTIONS_CREATE)
        return;
    buf_put_format(to, "queue %s (%s)\n", o->queue, queue_types[o->type]);
    if (o->exchange)
        put_bindings(o->queue, o->exchange, &o->binding_keys, to);
    for (size_t i = 0; i < o->bindings.n; i++)
        put_bindings(o->queue, bindings[i].exchange, &bindings[i].keys, to);
}

void options_sink_declares(const void *options, struct buf *to)
{
    const struct options_sink *o = options;

    if (o->declare == OPTIONS_CREATE)
        buf_put_format(to, "exchange %s (%s)\n", o->exchange, exchange_types[o->exchange_type]);
}
