#include "bridge/links/kafka/linger.h"
#include "bridge/links/kafka/token.h"

#include <stdlib.h>

#define TIMEOUT_MAX_MS INT32_MAX /* of message.timeout.ms */

/* Those that our guarantees rest on, and why. */
static const struct owned {
    const char *name, *why;
} owned[] = {
    { "group.id", "set `group` on the source" },
    { "bootstrap.servers", "set `brokers`" },
    { "metadata.broker.list", "set `brokers`" },
    { "enable.auto.commit", "offsets are committed after the log" },
    { "enable.auto.offset.store", "offsets are committed after the log" },
    { "auto.offset.reset", "an offset out of range must stop the route; see `start`" },
    { "partition.assignment.strategy",
        "revoking waits for what is in the log; it needs cooperative" },
    { "max.poll.interval.ms", "a paused route stays in its group" },
    { "group.instance.id", "a member is named by its store and route" },
    { "isolation.level", "set `isolation` on the source" },
    { "enable.idempotence", "without it order and confirmations are lost" },
    { "acks", "a sink confirms only what all replicas in sync have" },
    { "request.required.acks", "a sink confirms only what all replicas in sync have" },
    { "partitioner", "keys must land where other clients put them" },
    { "compression.codec", "set `compression` on the sink" },
    { "compression.type", "set `compression` on the sink" },
    { "message.timeout.ms", "set `confirm_timeout` on the sink" },
    { "delivery.timeout.ms", "set `confirm_timeout` on the sink" },
    { "enabled_events", "the bridge needs its own" },
    { "sasl.oauthbearer.config", "set `sasl` with token_url" },
    { "sasl.oauthbearer.method", "set `sasl` with token_url" },
    { "transactional.id", "the bridge does not use transactions" },
    { NULL, NULL },
};

int kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct fault *why)
{
    char text[300];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return 0;
    return fault_set(why, FAULT_INPUT, 0, "kafka: %s", text);
}

static int set_if(rd_kafka_conf_t *conf, const char *name, const char *value, struct fault *why)
{
    return value ? kafka_conf_set(conf, name, value, why) : 0;
}

static int set_brokers(rd_kafka_conf_t *conf, const struct option_list *brokers, struct fault *why)
{
    size_t n = 1;
    char *text;
    int got;

    for (size_t i = 0; i < brokers->n; i++)
        n += strlen(brokers->at[i]) + 1;
    text = calloc(1, n);
    if (!text)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    for (size_t i = 0, at = 0; i < brokers->n; i++)
        at += (size_t)snprintf(text + at, n - at, "%s%s", i ? "," : "", brokers->at[i]);
    got = kafka_conf_set(conf, "bootstrap.servers", text, why);
    free(text);
    return got;
}

static int set_sasl(rd_kafka_conf_t *conf, const struct kafka_sasl *s, struct fault *why)
{
    if (!s->set)
        return 0;
    if (kafka_conf_set(conf, "sasl.mechanisms", kafka_mechanisms[s->mechanism], why) != 0)
        return -1;
    if (s->mechanism != KAFKA_OAUTHBEARER)
        return set_if(conf, "sasl.username", s->username, why) != 0 ||
                       set_if(conf, "sasl.password", s->password, why) != 0
                   ? -1
                   : 0;
    return kafka_token_conf(conf, s, why);
}

static int set_tls(rd_kafka_conf_t *conf, const struct kafka_tls *t, struct fault *why)
{
    if (!t->set)
        return 0;
    if (set_if(conf, "ssl.ca.location", t->ca_file, why) != 0 ||
        set_if(conf, "ssl.certificate.location", t->cert_file, why) != 0 ||
        set_if(conf, "ssl.key.location", t->key_file, why) != 0 ||
        set_if(conf, "ssl.key.password", t->key_password, why) != 0)
        return -1;
    if (kafka_conf_set(
            conf, "enable.ssl.certificate.verification", t->verify ? "true" : "false", why) != 0)
        return -1;
    return kafka_conf_set(
        conf, "ssl.endpoint.identification.algorithm", t->verify ? "https" : "none", why);
}

static const char *protocol(const struct kafka_link_options *o)
{
    if (o->sasl.set)
        return o->tls.set ? "SASL_SSL" : "SASL_PLAINTEXT";
    return o->tls.set ? "SSL" : "PLAINTEXT";
}

static void log_nothing(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk, (void)level, (void)facility, (void)text; /* faults come as events and reports */
}

rd_kafka_conf_t *kafka_conf_open(
    const struct kafka_link_options *o, bool consumer, struct fault *why)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_log_cb(conf, log_nothing);
    if (kafka_conf_set(conf, "client.id", "bascule", why) != 0 ||
        kafka_conf_set(conf, "security.protocol", protocol(o), why) != 0 ||
        set_brokers(conf, &o->brokers, why) != 0 || set_sasl(conf, &o->sasl, why) != 0 ||
        set_tls(conf, &o->tls, why) != 0)
        goto fail;
    if (consumer && kafka_conf_set(conf, "queued.max.messages.kbytes", "2048", why) != 0)
        goto fail;
    /* Windows limit what is queued, not the library. A topic that is not there must be known to be
     * missing before its first message times out. */
    if (!consumer &&
        (kafka_conf_set(conf, "queue.buffering.max.messages", "10000000", why) != 0 ||
            kafka_conf_set(conf, "topic.metadata.propagation.max.ms", "5000", why) != 0))
        goto fail;
    for (size_t i = 0; i < o->properties.n; i++)
        if (kafka_conf_set(conf, o->properties.at[i].name, o->properties.at[i].value, why) != 0)
            goto fail;
    return conf;
fail:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static bool set_all(rd_kafka_conf_t *conf, const char *const (*pairs)[2], struct fault *why)
{
    for (; (*pairs)[0]; pairs++)
        if (kafka_conf_set(conf, (*pairs)[0], (*pairs)[1], why) != 0)
            return false;
    return true;
}

rd_kafka_conf_t *kafka_conf_producer(
    const struct kafka_link_options *o, int compression, int64_t timeout_ms, struct fault *why)
{
    rd_kafka_conf_t *conf = kafka_conf_open(o, false, why);
    char timeout[24];
    const char *const pairs[][2] = { { "enable.idempotence", "true" }, { "acks", "all" },
        { "partitioner", "murmur2_random" },
        { "compression.codec", kafka_compressions[compression] }, { "message.timeout.ms", timeout },
        { NULL, NULL } };

    (void)snprintf(timeout, sizeof timeout, "%lld", (long long)timeout_ms);
    if (conf && (!set_all(conf, pairs, why) || kafka_linger_conf(conf, o, timeout_ms, why) != 0)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    if (conf)
        rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    return conf;
}

/* A paused route, or a full disk, may take hours and must not lose its membership; a process that
 * died is still noticed by its missing heartbeats. */
rd_kafka_conf_t *kafka_conf_consumer(const struct kafka_link_options *o, const char *group,
    const char *member, int isolation, struct fault *why)
{
    rd_kafka_conf_t *conf = kafka_conf_open(o, true, why);
    const char *const pairs[][2] = { { "group.id", group }, { "group.instance.id", member },
        { "max.poll.interval.ms", "86400000" }, { "enable.auto.commit", "false" },
        { "enable.auto.offset.store", "false" }, { "auto.offset.reset", "error" },
        { "partition.assignment.strategy", "cooperative-sticky" },
        { "isolation.level", kafka_isolations[isolation] }, { NULL, NULL } };

    if (conf && !set_all(conf, pairs, why)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    if (conf)
        rd_kafka_conf_set_events(
            conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR);
    return conf;
}

rd_kafka_t *kafka_conf_start(rd_kafka_conf_t *conf, bool consumer, struct fault *why)
{
    char text[256];
    rd_kafka_t *rk =
        rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, text, sizeof text);

    if (!rk) {
        rd_kafka_conf_destroy(conf);
        (void)fault_set(why, FAULT_INPUT, 0, "kafka: %s", text);
        return NULL;
    }
    kafka_token_enable(rk);
    return rk;
}

/* Some of what librdkafka refuses it says only when a handle is made: properties that exclude each
 * other, a key that is not the certificate's. Without brokers a handle connects nowhere. Takes conf
 * in any case. */
static int try_handle(rd_kafka_conf_t *conf, bool consumer, struct fault *why)
{
    char text[256];
    rd_kafka_t *rk;

    if (!conf)
        return -1;
    if (kafka_conf_set(conf, "bootstrap.servers", "", why) != 0) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    rk = rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return fault_set(why, FAULT_INPUT, 0, "kafka: %s", text);
    }
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return 0;
}

int kafka_conf_sink_fits(const struct kafka_link_options *o, const struct kafka_sink_options *sink,
    int64_t timeout_ms, struct fault *why)
{
    if (kafka_linger_every_ms(o) > 0)
        return 0;
    return try_handle(kafka_conf_producer(o, sink->compression, timeout_ms, why), false, why);
}

int kafka_conf_check(const struct kafka_link_options *o, const char **key, struct fault *why)
{
    *key = NULL;
    if (o->sasl.set && o->sasl.mechanism == KAFKA_OAUTHBEARER &&
        (!o->sasl.token_url || !o->sasl.client_id || !o->sasl.client_secret)) {
        *key = "sasl";
        return fault_set(
            why, FAULT_INPUT, 0, "OAUTHBEARER needs token_url, client_id and client_secret");
    }
    if (o->sasl.set && o->sasl.mechanism != KAFKA_OAUTHBEARER &&
        (!o->sasl.username || !o->sasl.password)) {
        *key = "sasl";
        return fault_set(why, FAULT_INPUT, 0, "%s needs username and password",
            kafka_mechanisms[o->sasl.mechanism]);
    }
    for (size_t i = 0; i < o->properties.n; i++)
        for (const struct owned *w = owned; w->name; w++)
            if (strcmp(w->name, o->properties.at[i].name) == 0) {
                *key = "properties";
                return fault_set(why, FAULT_INPUT, 0, "property '%s' is ours: %s", w->name, w->why);
            }
    *key = o->properties.n ? "properties" : o->tls.set ? "tls" : NULL;
    if (try_handle(kafka_conf_consumer(o, "check", "check", 0, why), true, why) != 0)
        return -1;
    /* A sink's own timeout is seen by kafka_conf_sink_fits. */
    return try_handle(kafka_conf_producer(o, 0, TIMEOUT_MAX_MS, why), false, why);
}
