/* Who a Kafka cluster is. librdkafka does not tell a broker's version; what its configuration says
 * of the protocol comes nearest, where we may ask and a broker still has it (before 4.0). */
#include "bridge/links/kafka/link.h"
#include "bridge/links/tls.h"

#include <stdatomic.h>
#include <time.h>

#define SLICE_MS 500 /* between two looks at what brokers refuse */
#define VERSION_KEY "inter.broker.protocol.version"

static int seen(rd_kafka_t *rk, const char *name, int32_t broker, int *error, int depth,
    const char *at, size_t n, char *why, size_t why_bytes, void *opaque)
{
    atomic_llong *expires_ms = opaque;

    (void)rk, (void)name, (void)broker;
    if (depth == 0)
        *expires_ms = tls_der_expires_ms(at, n);
    return kafka_peer_verdict(error, depth == 0 && *expires_ms == 0, why, why_bytes);
}

static void read_version(rd_kafka_event_t *event, struct link_facts *ret)
{
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    size_t n = 0, m = 0;
    const rd_kafka_ConfigResource_t **all =
        result ? rd_kafka_DescribeConfigs_result_resources(result, &n) : NULL;
    const rd_kafka_ConfigEntry_t **entries = n ? rd_kafka_ConfigResource_configs(all[0], &m) : NULL;

    for (size_t i = 0; i < m; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);

        if (value && strcmp(rd_kafka_ConfigEntry_name(entries[i]), VERSION_KEY) == 0)
            (void)snprintf(
                ret->version, sizeof ret->version, "Kafka %.*s", (int)strcspn(value, "-"), value);
    }
}

static void ask_version(rd_kafka_t *rk, int broker, int timeout_ms, struct link_facts *ret)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_ConfigResource_t *resource;
    rd_kafka_event_t *event;
    char number[16], text[64];

    (void)snprintf(number, sizeof number, "%d", broker);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof text);
    resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, number);
    rd_kafka_DescribeConfigs(rk, &resource, 1, options, queue);
    event = rd_kafka_queue_poll(queue, timeout_ms);
    if (event)
        read_version(event, ret);
    rd_kafka_event_destroy(event);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
}

/* What brokers say of themselves is more than that nobody answered in time. Returns whether waiting
 * is of no use. */
static bool hear_errors(rd_kafka_queue_t *queue, struct fault *why)
{
    rd_kafka_event_t *event;
    bool over = false;

    while ((event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        rd_kafka_resp_err_t e = rd_kafka_event_error(event);

        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
            over = over || e == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
                   e == RD_KAFKA_RESP_ERR__AUTHENTICATION;
            if (e != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
                (void)fault_set(
                    why, FAULT_RETRY, (int)e, "kafka: %s", rd_kafka_event_error_string(event));
        }
        rd_kafka_event_destroy(event);
    }
    return over;
}

/* 0 with *ret, or -1 with *why. */
static int read_cluster(
    rd_kafka_t *rk, int64_t timeout_ms, const struct rd_kafka_metadata **ret, struct fault *why)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool over = false;

    *why = (struct fault){ 0 };
    for (; e != 0 && !over && timeout_ms > 0; timeout_ms -= SLICE_MS) {
        e = rd_kafka_metadata(rk, 0, NULL, ret, SLICE_MS);
        over = hear_errors(queue, why);
    }
    rd_kafka_queue_destroy(queue);
    if (e == 0)
        return 0;
    return why->kind ? -1 : fault_set(why, FAULT_RETRY, (int)e, "kafka: %s", rd_kafka_err2str(e));
}

int kafka_link_facts(
    const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret, struct fault *why)
{
    rd_kafka_conf_t *conf = kafka_conf_open(spec->options, false, why);
    const struct rd_kafka_metadata *found = NULL;
    atomic_llong expires_ms = 0;
    rd_kafka_t *rk;
    int result;

    if (!conf)
        return -1;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR);
    rd_kafka_conf_set_opaque(conf, &expires_ms);
    (void)rd_kafka_conf_set_ssl_cert_verify_cb(conf, seen);
    rk = kafka_conf_start(conf, false, why);
    if (!rk)
        return -1;
    result = read_cluster(rk, timeout_ms, &found, why);
    *ret = (struct link_facts){ .has_clock = false };
    if (result == 0 && found->broker_cnt > 0) {
        (void)snprintf(ret->peer, sizeof ret->peer, "%.100s:%d", found->brokers[0].host,
            found->brokers[0].port);
        ask_version(rk, found->brokers[0].id, (int)timeout_ms, ret);
    }
    if (result == 0)
        rd_kafka_metadata_destroy(found);
    rd_kafka_destroy(rk); /* its threads are gone after this: the answer is complete */
    ret->peer_expires_ms = expires_ms;
    return result;
}

const char *kafka_link_library(void)
{
    static char text[48];

    (void)snprintf(text, sizeof text, "librdkafka %s", rd_kafka_version_str());
    return text;
}
