/* The Kafka link against a real broker: kafka_broker.py build/tests/conformance.bin kafka. */
#include "tests/harness.h"

#include "bridge/base/header.h"
#include "bridge/connector.h"
#include "bridge/links/kafka/options.h"

#include <poll.h>
#include <time.h>

extern const struct connector connector_kafka;

static struct rig {
    struct kafka_link_options link;
    struct kafka_source_options from;
    struct kafka_sink_options to;
    char address[40], *brokers[1], *topics[1];
    struct link *l;
    struct source *source;
    struct sink *sink;
} g;

static void rig_open(void)
{
    const char *port = getenv("BASCULE_TEST_KAFKA_PORT");
    struct link_spec spec = { "kafka", &g.link, "store", 1, NULL };

    if (!port)
        harness_skip("no Kafka: BASCULE_TEST_KAFKA_PORT is not set");
    (void)snprintf(g.address, sizeof g.address, "127.0.0.1:%s", port);
    g.brokers[0] = g.address;
    g.topics[0] = "bascule-test";
    g.link.brokers = (struct option_list){ g.brokers, 1 };
    g.from = (struct kafka_source_options){ .topics = { g.topics, 1 }, .start = "earliest" };
    g.to = (struct kafka_sink_options){ .topic = { "bascule-test", true } };
    CHECK_INT(connector_kafka.link_open(&spec, &g.l, NULL), 0);
}

static void turn(void)
{
    struct pollfd p = { connector_kafka.link_pollfd(g.l), POLLIN, 0 };
    struct timespec t;

    (void)poll(&p, 1, 50);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    (void)connector_kafka.link_step(g.l, t.tv_sec * 1000 + t.tv_nsec / 1000000, 1000);
}

static void sink_open(const char *topic)
{
    struct sink_spec spec = { .route = "r",
        .name = "s",
        .options = &g.to,
        .window_events = 100,
        .window_bytes = 1 << 26,
        .confirm_timeout_ms = 30000 };

    g.to.topic.text = (char *)(uintptr_t)topic;
    CHECK_INT(connector_kafka.sink_open(g.l, &spec, &g.sink, NULL), 0);
}

static struct report publish(const struct event *e)
{
    struct message m = { .ref = 7, .event = e, .key = e->key };
    struct report r;

    while (connector_kafka.sink_publish(g.sink, &m, 1) == 0)
        turn();
    while (connector_kafka.sink_collect(g.sink, &r, 1) == 0)
        turn();
    return r;
}

static void source_open(char *group, const struct position *positions, size_t n)
{
    struct source_spec spec = { .route = "r",
        .route_id = 3,
        .options = &g.from,
        .positions = positions,
        .position_count = n,
        .window_events = 1000,
        .window_bytes = 1 << 26,
        .max_event_bytes = 1 << 24,
        .clean_start = true };

    g.from.group = group;
    CHECK_INT(connector_kafka.source_open(g.l, &spec, &g.source, NULL), 0);
}

static struct batch *receive(void)
{
    struct batch *b;

    while (!(b = connector_kafka.source_receive(g.source, 100)))
        turn();
    return b;
}

static void rig_close(void)
{
    connector_kafka.sink_free(g.sink);
    connector_kafka.source_free(g.source);
    connector_kafka.link_free(g.l);
}

TEST(kafka_carries_null_and_empty_bodies_keys_and_header_types)
{
    struct buf headers;
    struct event e = { .key = bytes_text("k1"), .id = bytes_text("null-body") };
    struct header h;
    int seen = 0;

    rig_open();
    buf_init(&headers, 4096);
    header_put(&headers, HEADER_USER, bytes_text("n"),
        &(struct header_value){ .type = HEADER_I32, .i = -5 });
    e.headers = buf_bytes(&headers);
    sink_open("bascule-test");
    CHECK_INT(publish(&e).fate, FATE_DELIVERED);
    e.id = bytes_text("empty-body");
    e.body = bytes_text("");
    CHECK_INT(publish(&e).fate, FATE_DELIVERED);

    source_open("carries", NULL, 0);
    while (seen < 2) {
        struct batch *b = receive();

        for (size_t i = 0; i < b->count; i++) {
            const struct event *got = &b->events[i];

            if (!bytes_equal(got->key, bytes_text("k1")))
                continue;
            CHECK(bytes_present(got->body) == bytes_equal(got->id, bytes_text("empty-body")));
            CHECK(header_find(got->headers, bytes_text("n"), &h));
            CHECK_INT(h.value.type, HEADER_I32);
            CHECK_INT(h.value.i, -5);
            seen++;
        }
        connector_kafka.source_settle(g.source, b, true);
    }
    buf_done(&headers);
    rig_close();
}

TEST(kafka_first_stores_the_start_offset_and_only_then_reads)
{
    struct batch *b;

    rig_open();
    source_open("starts", NULL, 0);
    b = receive();
    CHECK_INT(b->count, 0);
    CHECK_INT(b->position_count, 2);
    connector_kafka.source_settle(g.source, b, true);
    rig_close();
}

TEST(kafka_unknown_fixed_topic_is_an_outage)
{
    struct link_status status = { 0 };

    rig_open();
    sink_open("no-such-topic");
    while (status.state != LINK_DOWN) {
        turn();
        connector_kafka.sink_status(g.sink, &status);
    }
    CHECK_CONTAINS(status.error, "no-such-topic");
    rig_close();
}

TEST(kafka_oversize_body_is_refused_for_good)
{
    size_t n = 2u << 20;
    char *body = calloc(1, n);
    struct event e = { .body = bytes_of(body, n), .id = bytes_text("big") };
    struct report r;

    rig_open();
    sink_open("bascule-test");
    r = publish(&e);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_FINAL);
    free(body);
    rig_close();
}

TEST(kafka_stored_positions_resume_without_repeats)
{
    struct event e = { .body = bytes_text("one"), .id = bytes_text("resume-1") };
    char names[2][64], values[2][64];
    struct position stored[2] = { 0 };
    bool found = false;
    struct batch *b;

    rig_open();
    sink_open("bascule-test");
    CHECK_INT(publish(&e).fate, FATE_DELIVERED);
    source_open("resumes", NULL, 0);
    while (!found) {
        b = receive();
        for (size_t i = 0; i < b->position_count; i++) {
            size_t k = (size_t)(b->positions[i].name.at[b->positions[i].name.n - 1] - '0');

            (void)snprintf(
                names[k], 64, "%.*s", (int)b->positions[i].name.n, b->positions[i].name.at);
            (void)snprintf(
                values[k], 64, "%.*s", (int)b->positions[i].value.n, b->positions[i].value.at);
            stored[k] = (struct position){ bytes_text(names[k]), bytes_text(values[k]) };
        }
        for (size_t i = 0; i < b->count; i++)
            found |= bytes_equal(b->events[i].id, bytes_text("resume-1"));
        connector_kafka.source_settle(g.source, b, true);
    }
    while (!connector_kafka.source_drain(g.source))
        turn();
    connector_kafka.source_free(g.source);

    source_open("resumes", stored, 2);
    e.id = bytes_text("resume-2");
    CHECK_INT(publish(&e).fate, FATE_DELIVERED);
    /* The other partition may still hold what earlier tests left there. */
    for (found = false; !found;) {
        b = receive();
        for (size_t i = 0; i < b->count; i++) {
            CHECK(!bytes_equal(b->events[i].id, bytes_text("resume-1")));
            found |= bytes_equal(b->events[i].id, bytes_text("resume-2"));
        }
        connector_kafka.source_settle(g.source, b, true);
    }
    rig_close();
}

TEST(kafka_position_beyond_the_broker_stops_the_route)
{
    struct position stored[2] = { { bytes_text("bascule-test/0"), bytes_text("999999 5") },
        { bytes_text("bascule-test/1"), bytes_text("999999 5") } };
    struct link_status status = { 0 };

    rig_open();
    source_open("beyond", stored, 2);
    while (status.state != LINK_STOPPED) {
        turn();
        CHECK(!connector_kafka.source_receive(g.source, 10));
        connector_kafka.source_status(g.source, &status);
    }
    CHECK_CONTAINS(status.error, "outside of what the broker has");
    rig_close();
}
