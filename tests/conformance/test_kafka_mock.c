/* The Kafka link's answers to trouble, on librdkafka's cluster in this process and our own clock.
 */
#include "tests/harness.h"

#include "bridge/connector.h"
#include "bridge/links/kafka/options.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <time.h>

#define PRODUCE 0 /* request numbers of Kafka's protocol */
#define OFFSET_COMMIT 8
#define OFFSET_FETCH 9
#define INIT_PRODUCER_ID 22
#define FETCH_TRIES 70

extern const struct connector connector_kafka;
static const struct connector *const k = &connector_kafka;

static struct rig {
    rd_kafka_t *rk; /* the cluster's owner */
    rd_kafka_mock_cluster_t *cluster;
    struct kafka_link_options link;
    struct kafka_source_options from;
    struct kafka_sink_options to[2];
    char *brokers[1], *topics[1];
    int broker_count; /* 0: one */
    struct link *l;
    struct source *source;
    struct sink *sinks[2];
    int64_t skip_ms;  /* how far the link's clock is ahead */
    int64_t stand_ms; /* where it stands still; 0: it goes */
} g;

static void rig_open(void)
{
    struct link_spec spec = { "kafka", &g.link, "store", 1, NULL };
    char text[200];

    g.rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    g.cluster = rd_kafka_mock_cluster_new(g.rk, g.broker_count ? g.broker_count : 1);
    CHECK(g.cluster);
    g.brokers[0] = (char *)(uintptr_t)rd_kafka_mock_cluster_bootstraps(g.cluster);
    g.topics[0] = (char *)(uintptr_t) "in";
    g.link.brokers = (struct option_list){ g.brokers, 1 };
    g.from = (struct kafka_source_options){ .topics = { g.topics, 1 }, .start = NULL };
    g.from.group = (char *)(uintptr_t) "group";
    CHECK_INT(rd_kafka_mock_topic_create(g.cluster, "in", 1, 1), 0);
    CHECK_INT(k->link_open(&spec, &g.l, NULL), 0);
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turn(void)
{
    struct pollfd p = { k->link_pollfd(g.l), POLLIN, 0 };

    (void)poll(&p, 1, 20);
    (void)k->link_step(g.l, g.stand_ms ? g.stand_ms : now_ms() + g.skip_ms, 1000);
}

static void sink_open(int i, const char *topic, int64_t timeout_ms)
{
    struct sink_spec spec = { .route = "r",
        .name = topic,
        .options = &g.to[i],
        .window_events = 100,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = timeout_ms };

    if (strcmp(topic, "in") != 0)
        CHECK_INT(rd_kafka_mock_topic_create(g.cluster, topic, 1, 1), 0);
    g.to[i].topic = (struct option_template){ (char *)(uintptr_t)topic, true };
    CHECK_INT(k->sink_open(g.l, &spec, &g.sinks[i], NULL), 0);
}

static void publish(int i)
{
    struct event e = { .body = bytes_text("body"), .id = bytes_text("id") };
    struct message m = { .ref = 7, .event = &e };

    while (k->sink_publish(g.sinks[i], &m, 1) == 0)
        turn();
}

static struct report collect(int i)
{
    struct report r;

    while (k->sink_collect(g.sinks[i], &r, 1) == 0)
        turn();
    return r;
}

static void source_open(void)
{
    struct source_spec spec = { .route = "r",
        .route_id = 3,
        .options = &g.from,
        .window_events = 1000,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 16,
        .clean_start = true };

    CHECK_INT(k->source_open(g.l, &spec, &g.source, NULL), 0);
}

static void rig_close(void)
{
    k->sink_free(g.sinks[0]);
    k->sink_free(g.sinks[1]);
    k->source_free(g.source);
    k->link_free(g.l);
    rd_kafka_mock_cluster_destroy(g.cluster);
    rd_kafka_destroy(g.rk);
}

static struct link_status source_status(void)
{
    struct link_status status;

    k->source_status(g.source, &status);
    return status;
}

/* Settles what comes until n events came. */
static void take(size_t n)
{
    while (n > 0) {
        struct batch *b = k->source_receive(g.source, 100);

        if (b) {
            CHECK(b->count <= n);
            n -= b->count;
            k->source_settle(g.source, b, true);
        }
        turn();
    }
}

TEST(kafka_a_broker_away_is_an_outage_with_words_that_pass)
{
    rig_open();
    sink_open(0, "in", 30000);
    source_open();
    publish(0);
    take(1);
    CHECK_INT(source_status().state, LINK_UP);
    CHECK(source_status().since_ms > 0);

    CHECK_INT(rd_kafka_mock_broker_set_down(g.cluster, 1), 0);
    while (source_status().state != LINK_DOWN)
        turn();
    CHECK(source_status().error[0] != '\0');

    CHECK_INT(rd_kafka_mock_broker_set_up(g.cluster, 1), 0);
    while (source_status().state != LINK_UP)
        turn();
    CHECK_TEXT(source_status().error, "");
    publish(0);
    take(1);
    rig_close();
}

TEST(kafka_a_link_is_freed_without_waiting_for_its_broker)
{
    struct link_status status = { 0 };
    struct timespec start, end;

    rig_open();
    CHECK_INT(rd_kafka_mock_broker_set_down(g.cluster, 1), 0);
    sink_open(0, "in", 30000); /* asks for its topic, for which it waits 5 s */
    while (status.state != LINK_CONNECTING) {
        turn();
        k->sink_status(g.sinks[0], &status);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    k->sink_free(g.sinks[0]);
    k->link_free(g.l);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK(end.tv_sec - start.tv_sec < 2);
    rd_kafka_mock_cluster_destroy(g.cluster);
    rd_kafka_destroy(g.rk);
}

TEST(kafka_group_offsets_are_asked_for_as_long_as_it_takes)
{
    rd_kafka_resp_err_t errors[FETCH_TRIES];
    bool down = false;

    for (size_t i = 0; i < FETCH_TRIES; i++)
        errors[i] = RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    rig_open();
    rd_kafka_mock_push_request_errors_array(g.cluster, OFFSET_FETCH, FETCH_TRIES, errors);
    source_open();
    while (source_status().state != LINK_UP) {
        struct batch *b = k->source_receive(g.source, 100);

        if (b)
            k->source_settle(g.source, b, true);
        CHECK(source_status().state != LINK_STOPPED);
        down |= source_status().state == LINK_DOWN;
        if (down)
            g.skip_ms += 30000;
        turn();
    }
    CHECK(down);
    CHECK_TEXT(source_status().error, "");
    rig_close();
}

TEST(kafka_an_adopted_offset_is_committed_again_until_the_group_has_it)
{
    struct batch *b;
    bool down = false;

    rig_open();
    sink_open(0, "in", 30000);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    source_open();
    while (!(b = k->source_receive(g.source, 100)))
        turn();
    CHECK_INT(b->count, 0);
    rd_kafka_mock_push_request_errors(g.cluster, OFFSET_COMMIT, 2,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    k->source_settle(g.source, b, true);
    while (source_status().state != LINK_UP) {
        CHECK(!k->source_receive(g.source, 100));
        down |= source_status().state == LINK_DOWN;
        turn();
    }
    CHECK(down);
    take(1);
    rig_close();
}

TEST(kafka_no_confirmation_in_time_is_unsure)
{
    struct report r;

    rig_open();
    sink_open(0, "slow", 1500);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    CHECK_INT(rd_kafka_mock_broker_set_rtt(g.cluster, 1, 20000), 0);
    publish(0);
    r = collect(0);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_TIMEOUT);
    rig_close();
}

static void flows(int i, int count)
{
    for (int n = 0; n < count; n++) {
        publish(i);
        CHECK_INT(collect(i).fate, FATE_DELIVERED);
    }
}

TEST(kafka_a_stalled_sink_leaves_the_producer_to_its_neighbour)
{
    struct link_status stalled, well;

    rig_open();
    sink_open(0, "stalled", 600000);
    sink_open(1, "well", 600000);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    CHECK_INT(rd_kafka_mock_partition_set_leader(g.cluster, "stalled", 0, -1), 0);
    publish(0);
    turn();
    flows(1, 100); /* by the same producer */
    g.skip_ms += 6000;
    flows(1, 100);
    turn();
    CHECK_INT(rd_kafka_mock_partition_set_leader(g.cluster, "stalled", 0, 1), 0);
    (void)collect(0);
    do {
        turn();
        k->sink_status(g.sinks[0], &stalled);
    } while (stalled.state != LINK_UP || stalled.session < 2);
    k->sink_status(g.sinks[1], &well);
    CHECK_INT(well.session, 1);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

/* ---- errors of a sink's broker, by their meaning ---- */

static struct link_status sink_status(int i)
{
    struct link_status status;

    k->sink_status(g.sinks[i], &status);
    return status;
}

TEST(kafka_a_fatal_error_gives_the_sink_a_new_producer)
{
    struct report r;

    rig_open();
    sink_open(0, "fatal", 30000);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rd_kafka_mock_push_request_errors(
        g.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    publish(0);
    r = collect(0);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_LOST);
    while (sink_status(0).state != LINK_UP)
        turn();
    CHECK_INT(sink_status(0).session, 2);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

TEST(kafka_a_producer_that_fails_for_good_is_not_made_anew_without_pause)
{
    const rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    size_t left = 3;

    rig_open();
    rd_kafka_mock_broker_push_request_error_rtts(
        g.cluster, 1, INIT_PRODUCER_ID, left, e, 0, e, 0, e, 0);
    sink_open(0, "never", 30000);
    while (sink_status(0).state != LINK_DOWN)
        turn();
    CHECK_CONTAINS(sink_status(0).error, "uthorization");
    g.stand_ms = now_ms() + g.skip_ms;
    for (int i = 0; i < 25; i++) /* half a second, in which the link's clock stands still */
        turn();
    g.stand_ms = 0;
    CHECK_INT(rd_kafka_mock_broker_error_stack_cnt(g.cluster, 1, INIT_PRODUCER_ID, &left), 0);
    CHECK_INT(left, 2);
    do /* the next two fail as well */
        publish(0);
    while (collect(0).fate != FATE_DELIVERED);
    rig_close();
}

TEST(kafka_too_few_replicas_are_waited_for_and_charge_nothing)
{
    rd_kafka_resp_err_t
        errors[60]; /* a try each 100 ms; librdkafka looks at timeouts once a second */
    struct report r;

    for (size_t i = 0; i < 60; i++)
        errors[i] = RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    rig_open();
    sink_open(0, "replicas", 1500);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rd_kafka_mock_push_request_errors_array(g.cluster, PRODUCE, 2, errors);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rd_kafka_mock_push_request_errors_array(g.cluster, PRODUCE, 60, errors);
    publish(0);
    r = collect(0);
    CHECK_INT(r.fate, FATE_UNSENT); /* which uses no attempt */
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "replicas");
    CHECK_INT(sink_status(0).state, LINK_UP);
    rd_kafka_mock_clear_request_errors(g.cluster, PRODUCE);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

TEST(kafka_too_few_replicas_after_the_leader_wrote_it_is_unsure_and_charges_nothing)
{
    const rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    struct option_pair once = { .name = (char *)(uintptr_t) "retries",
        .value = (char *)(uintptr_t) "1" };
    struct report r;

    g.link.properties = (struct option_map){ &once, 1 };
    rig_open();
    sink_open(0, "replicas", 30000);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rd_kafka_mock_push_request_errors(g.cluster, PRODUCE, 2, e, e);
    publish(0);
    r = collect(0);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_BROKER);
    while (sink_status(0).state != LINK_UP) /* a gap in its numbers gives it a new producer */
        turn();
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

TEST(kafka_a_broker_away_charges_nothing_and_is_no_state_of_the_broker)
{
    struct report r;

    rig_open();
    sink_open(0, "away", 1500);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    CHECK_INT(rd_kafka_mock_broker_set_down(g.cluster, 1), 0);
    if (sink_status(0).state == LINK_UP) {
        publish(0);
        r = collect(0);
        CHECK(r.fate == FATE_UNSENT || r.fate == FATE_UNSURE);
        CHECK_INT(r.cause, CAUSE_LOST);
    }
    rig_close();
}

TEST(kafka_a_change_of_leader_loses_and_repeats_nothing)
{
    g.broker_count = 2;
    rig_open();
    CHECK_INT(rd_kafka_mock_partition_set_leader(g.cluster, "in", 0, 1), 0);
    sink_open(0, "in", 30000);
    source_open();
    for (int i = 0; i < 60; i++) {
        if (i % 20 == 10)
            CHECK_INT(rd_kafka_mock_partition_set_leader(g.cluster, "in", 0, 1 + i / 20 % 2), 0);
        publish(0);
    }
    for (int i = 0; i < 60; i++)
        CHECK_INT(collect(0).fate, FATE_DELIVERED);
    take(60);
    publish(0);
    take(1);
    rig_close();
}

TEST(kafka_a_refusal_is_judged_by_its_meaning)
{
    static const struct {
        rd_kafka_resp_err_t error;
        enum fate fate;
        enum cause cause;
    } judged[] = {
        { RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, FATE_REFUSED, CAUSE_FINAL },
        { RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, FATE_REFUSED, CAUSE_FINAL },
        { RD_KAFKA_RESP_ERR_INVALID_RECORD, FATE_REFUSED, CAUSE_FINAL },
        { RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, FATE_REFUSED, CAUSE_FINAL },
        { RD_KAFKA_RESP_ERR_POLICY_VIOLATION, FATE_REFUSED, CAUSE_FINAL },
        /* The topic is fixed: an outage. */
        { RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, FATE_UNSENT, CAUSE_LOST },
    };

    rig_open();
    sink_open(0, "judged", 30000);
    for (size_t i = 0; i < sizeof judged / sizeof judged[0]; i++) {
        struct report r;

        publish(0);
        CHECK_INT(collect(0).fate, FATE_DELIVERED);
        rd_kafka_mock_push_request_errors(g.cluster, PRODUCE, 1, judged[i].error);
        publish(0);
        r = collect(0);
        if (r.fate != judged[i].fate || r.cause != judged[i].cause)
            harness_fail(__FILE__, __LINE__, "%s: fate %d cause %d, not %d %d",
                rd_kafka_err2name(judged[i].error), r.fate, r.cause, judged[i].fate,
                judged[i].cause);
    }
    CHECK_CONTAINS(sink_status(0).error, "uthorization");
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

TEST(kafka_a_sink_that_can_never_work_says_so_when_it_is_opened)
{
    static const struct {
        const char *name, *value, *part;
    } wrong[] = { { "batch.size", "large", "batch.size" },
        { "no.such.thing", "1", "no.such.thing" },
        { "ssl.ca.location", "/nonexistent/ca.pem", "ca.location" },
        { "debug", "everything", "debug" } };
    struct option_pair pair;
    struct sink_spec spec = { .route = "r",
        .name = "s",
        .options = &g.to[0],
        .window_events = 10,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = 1000 };

    rig_open();
    g.to[0].topic = (struct option_template){ (char *)(uintptr_t) "in", true };
    g.link.tls.set = true; /* or librdkafka does not look at its files */
    g.link.properties = (struct option_map){ &pair, 1 };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct sink *none = NULL;
        struct fault why = { 0 };

        pair = (struct option_pair){ (char *)(uintptr_t)wrong[i].name,
            (char *)(uintptr_t)wrong[i].value, OPTION_VALUE_TEXT };
        CHECK_INT(k->sink_open(g.l, &spec, &none, &why), -1);
        CHECK(!none);
        CHECK_INT(why.kind, FAULT_INPUT);
        CHECK_CONTAINS(why.text, wrong[i].part);
    }
    g.link.properties.n = 0;
    g.link.tls.set = false;
    sink_open(0, "in", 30000);
    publish(0);
    CHECK_INT(collect(0).fate, FATE_DELIVERED);
    rig_close();
}

TEST(kafka_a_property_that_is_ours_is_refused_and_not_overruled)
{
    static const char *const ours[] = { "enable.auto.commit", "max.poll.interval.ms",
        "group.instance.id", "compression.type", "acks", "sasl.oauthbearer.method" };
    struct option_pair pair = { .value = (char *)(uintptr_t) "1" };
    const char *key = NULL;
    struct fault why;

    g.brokers[0] = (char *)(uintptr_t) "localhost:1";
    g.link.brokers = (struct option_list){ g.brokers, 1 };
    g.link.properties = (struct option_map){ &pair, 1 };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        pair.name = (char *)(uintptr_t)ours[i];
        CHECK_INT(k->link_check(&g.link, &key, &why), -1);
        CHECK_TEXT(key, "properties");
        CHECK_CONTAINS(why.text, ours[i]);
        CHECK_CONTAINS(why.text, "is ours");
    }
    pair = (struct option_pair){ .name = (char *)(uintptr_t) "linger.ms", .value = pair.value };
    CHECK_INT(k->link_check(&g.link, &key, &why), 0);
}

static size_t commits_left(void)
{
    size_t left = 0;

    CHECK_INT(rd_kafka_mock_broker_error_stack_cnt(g.cluster, 1, OFFSET_COMMIT, &left), 0);
    return left;
}

TEST(kafka_positions_are_committed_once_a_second_at_most_however_much_comes)
{
    rig_open();
    sink_open(0, "in", 30000);
    source_open();
    publish(0);
    take(1);
    for (int i = 0; i < 50; i++) /* each commit takes one answer off the stack */
        (void)rd_kafka_mock_broker_push_request_error_rtts(
            g.cluster, 1, OFFSET_COMMIT, 1, RD_KAFKA_RESP_ERR_NO_ERROR, 0);
    for (size_t second = 0; second < 3; second++) {
        size_t before = commits_left();

        g.stand_ms += second ? 1000 - 30 * 30 : now_ms() + 100000;
        for (int i = 0; i < 30; i++) {
            g.stand_ms += 30;
            publish(0);
            take(1);
        }
        CHECK(before - commits_left() <= 1);
    }
    while (50 - commits_left() < 3) { /* and that often they are */
        g.stand_ms += 10;
        turn();
    }
    rig_close();
}
