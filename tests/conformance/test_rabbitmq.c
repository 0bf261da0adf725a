#include "tests/conformance/test_rabbitmq.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "bridge/base/header.h"
#include "bridge/links/rabbitmq/options.h"
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#define CLIENT "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_client.py "
#define BROKER "/usr/bin/python3 \"$BASCULE_ROOT\"/tests/brokers/rabbitmq_broker.py "
#define WAIT_MS 20000
#define REPORTS_MAX 4096

extern const struct connector connector_rabbitmq;
static const struct connector *const k = &connector_rabbitmq;

/* A link with one source and two sinks at most. */
struct rig {
    struct options_link link_options;
    struct options_source source_options;
    struct options_sink sink_options[2];
    struct link *link;
    struct source *source;
    struct sink *sinks[2];
    struct report reports[REPORTS_MAX];
    char texts[REPORTS_MAX][160];
    size_t count;
};

static struct rig r;

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void need_broker(void)
{
    if (!getenv("BASCULE_TEST_RABBITMQ_PORT"))
        harness_skip("no RabbitMQ");
    rabbitmq_link_options(&r.link_options);
}

static void rig_link(void)
{
    struct link_spec spec = {
        .name = "rabbit", .options = &r.link_options, .store_id = "s", .seed = 7
    };
    struct fault why = { 0 };

    if (k->link_open(&spec, &r.link, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

static void rig_source(const char *queue, int64_t window, bool clean)
{
    struct source_spec spec = { .route = "orders",
        .route_id = 1,
        .options = &r.source_options,
        .window_events = window,
        .window_bytes = 64 << 20,
        .max_event_bytes = 16 << 20,
        .clean_start = clean };
    struct fault why = { 0 };

    if (queue)
        rabbitmq_source_options(queue, &r.source_options);
    if (k->source_open(r.link, &spec, &r.source, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

static void rig_sink(int i, const char *exchange, int64_t timeout_ms)
{
    struct sink_spec spec = { .route = "orders",
        .name = "out",
        .options = &r.sink_options[i],
        .sink_id = 1,
        .window_events = 2000,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = timeout_ms };
    struct fault why = { 0 };

    if (exchange)
        rabbitmq_sink_options(exchange, &r.sink_options[i]);
    if (k->sink_open(r.link, &spec, &r.sinks[i], &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

/* One step of the loop, and what it brought. */
static void turn(void)
{
    struct pollfd p = { .fd = k->link_pollfd(r.link), .events = POLLIN };
    int64_t due = k->link_step(r.link, now_ms(), 0) - now_ms();

    (void)poll(&p, 1, due > 50 ? 50 : due < 1 ? 1 : (int)due);
    (void)k->link_step(r.link, now_ms(), 0);
    for (int i = 0; i < 2; i++) {
        struct report got[64];
        size_t n = r.sinks[i] ? k->sink_collect(r.sinks[i], got, 64) : 0;

        for (size_t j = 0; j < n; j++) {
            CHECK(r.count < REPORTS_MAX);
            (void)snprintf(
                r.texts[r.count], sizeof r.texts[0], "%s", got[j].text ? got[j].text : "");
            r.reports[r.count++] = got[j];
        }
    }
}

static const char *last_error(void)
{
    static struct link_status s;

    k->link_status(r.link, &s);
    return s.error;
}

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t end_ = now_ms() + WAIT_MS;                                                         \
        while (!(condition)) {                                                                     \
            turn();                                                                                \
            if (now_ms() > end_)                                                                   \
                harness_fail(__FILE__, __LINE__, "never: %s (%s)", #condition, last_error());      \
        }                                                                                          \
    } while (0)

/* The same without a link to step. */
#define WAIT_FOR(condition)                                                                        \
    for (int64_t end_ = now_ms() + WAIT_MS; !(condition) && now_ms() < end_;)                      \
    (void)poll(NULL, 0, 1)

static enum link_state sink_state(int i)
{
    struct link_status s;

    k->sink_status(r.sinks[i], &s);
    return s.state;
}

static struct link_status source_now(void)
{
    struct link_status s;

    k->source_status(r.source, &s);
    return s;
}

static struct event event_of(const char *body)
{
    return (struct event){ .body = bytes_text(body), .origin = bytes_text(body), .hops = 1 };
}

static void publish(int i, uint64_t ref, const char *key, const struct event *e)
{
    struct message m = { .ref = ref, .event = e, .fields = { bytes_text(key) } };

    WAIT(k->sink_publish(r.sinks[i], &m, 1) == 1);
}

static const struct report *report_of(uint64_t ref)
{
    for (size_t i = 0; i < r.count; i++)
        if (r.reports[i].ref == ref)
            return &r.reports[i];
    return NULL;
}

static const char *text_of(uint64_t ref)
{
    for (size_t i = 0; i < r.count; i++)
        if (r.reports[i].ref == ref)
            return r.texts[i];
    return NULL;
}

static void check_fate(uint64_t ref, enum fate fate, enum cause cause)
{
    WAIT(report_of(ref) != NULL);
    if (report_of(ref)->fate != fate || report_of(ref)->cause != cause)
        harness_fail(__FILE__, __LINE__, "message %llu: fate %d cause %d '%s', not %d %d",
            (unsigned long long)ref, report_of(ref)->fate, report_of(ref)->cause, text_of(ref),
            fate, cause);
}

static struct batch *receive(size_t limit)
{
    struct batch *b = NULL;

    WAIT((b = k->source_receive(r.source, limit)) != NULL);
    return b;
}

__attribute__((unused)) static size_t thread_count(void)
{
    DIR *d = opendir("/proc/self/task");
    size_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n - 2; /* . and .. */
}

/* Threads end on their own after link_free(); leak checkers want to see that. */
static void rig_free(void)
{
    k->source_free(r.source);
    for (int i = 0; i < 2; i++)
        k->sink_free(r.sinks[i]);
    k->link_free(r.link);
#ifndef __SANITIZE_THREAD__ /* which has threads of its own */
    WAIT_FOR(thread_count() == 1);
#endif
    option_done(k->link_options, &r.link_options);
    option_done(k->source_options, &r.source_options);
    option_done(k->sink_options, &r.sink_options[0]);
    option_done(k->sink_options, &r.sink_options[1]);
}

/* What the queue holds for others, as the broker counts it. */
static long queue_count(const char *queue)
{
    char command[512], line[64] = "";
    FILE *f;

    (void)snprintf(command, sizeof command, CLIENT "count '%s'", queue);
    f = popen(command, "r");
    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    return strtol(line, NULL, 10);
}

TEST(rabbitmq_reads_a_queue_and_acknowledges_after_settle)
{
    need_broker();
    fixture_shell(CLIENT "delete t.read");
    fixture_shell(CLIENT "feed t.read 0 1000");
    rig_link();
    rig_source("t.read", 300, true);
    for (size_t n = 0; n < 1000;) {
        struct batch *b = receive(300);

        CHECK(b->count <= 300);
        for (size_t i = 0; i < b->count; i++, n++) {
            char want[32];

            (void)snprintf(want, sizeof want, "message %07zu", n);
            CHECK(bytes_equal(b->events[i].body, bytes_text(want)));
            CHECK(bytes_equal(b->events[i].address, bytes_text("t.read")));
            CHECK(!(b->events[i].flags & EVENT_REDELIVERED));
        }
        k->source_settle(r.source, b, true);
    }
    WAIT(k->source_drain(r.source));
    rig_free();
    CHECK_INT(queue_count("t.read"), 0);
}

TEST(rabbitmq_unsettled_deliveries_come_again_marked)
{
    struct batch *b;

    need_broker();
    fixture_shell(CLIENT "delete t.again");
    fixture_shell(CLIENT "feed t.again 0 10");
    rig_link();
    rig_source("t.again", 300, true);
    b = receive(4);
    k->source_settle(r.source, b, true);
    b = receive(1);
    CHECK_INT(b->count, 1);
    fixture_shell(BROKER "close_all_connections cut");
    WAIT(source_now().state != LINK_UP);
    k->source_settle(r.source, b, true); /* of a session that is over */
    b = receive(10);
    CHECK(b->events[0].flags & EVENT_REDELIVERED);
    k->source_settle(r.source, b, true);
    rig_free();
}

TEST(rabbitmq_a_new_session_waits_for_the_old_batches)
{
    struct batch *old;
    uint64_t session;

    need_broker();
    fixture_shell(CLIENT "delete t.wait");
    fixture_shell(CLIENT "feed t.wait 0 5");
    rig_link();
    rig_source("t.wait", 300, true);
    old = receive(5);
    session = source_now().session;
    fixture_shell(BROKER "close_all_connections cut");
    WAIT(source_now().state != LINK_UP);
    {
        struct link_status s;

        do {
            turn();
            k->link_status(r.link, &s);
        } while (s.state != LINK_UP);
    }
    turn();
    CHECK_INT(source_now().session, session);
    k->source_settle(r.source, old, false);
    WAIT(source_now().state == LINK_UP);
    CHECK(source_now().session > session);
    rig_free();
}

TEST(rabbitmq_an_unclean_start_begins_with_one_and_doubles)
{
    static const size_t most[] = { 1, 2, 4, 8 };

    need_broker();
    fixture_shell(CLIENT "delete t.ramp");
    fixture_shell(CLIENT "feed t.ramp 0 40");
    rig_link();
    rig_source("t.ramp", 300, false);
    for (size_t i = 0; i < 4; i++) {
        struct batch *b = receive(300);

        if (b->count > most[i])
            harness_fail(__FILE__, __LINE__, "batch %zu has %zu", i, b->count);
        k->source_settle(r.source, b, true);
    }
    rig_free();
}

TEST(rabbitmq_a_deleted_queue_is_said_and_made_again)
{
    need_broker();
    fixture_shell(CLIENT "delete t.gone");
    fixture_shell(CLIENT "feed t.gone 0 1");
    rig_link();
    rig_source("t.gone", 300, true);
    k->source_settle(r.source, receive(1), true);
    fixture_shell(CLIENT "delete t.gone");
    WAIT(source_now().state != LINK_UP);
    CHECK_CONTAINS(source_now().error, "t.gone");
    WAIT(source_now().state == LINK_UP);
    fixture_shell(CLIENT "feed t.gone 7 1");
    k->source_settle(r.source, receive(1), true);
    rig_free();
}

TEST(rabbitmq_a_pause_takes_nothing_new)
{
    struct batch *b;

    need_broker();
    fixture_shell(CLIENT "delete t.pause");
    rig_link();
    rig_source("t.pause", 300, true);
    WAIT(source_now().state == LINK_UP);
    k->source_pause(r.source, true);
    fixture_shell(CLIENT "feed t.pause 0 3");
    for (int i = 0; i < 5; i++)
        turn();
    CHECK(k->source_receive(r.source, 10) == NULL);
    CHECK_INT(queue_count("t.pause"), 3);
    k->source_pause(r.source, false);
    b = receive(10);
    CHECK(!(b->events[0].flags & EVENT_REDELIVERED));
    k->source_settle(r.source, b, true);
    rig_free();
}

TEST(rabbitmq_an_unroutable_message_is_refused_and_no_other)
{
    struct event e[20];
    char body[20][16];

    need_broker();
    fixture_shell(CLIENT "declare t.routed '{}' t.some 'yes'");
    rig_link();
    rig_sink(0, "t.some", 30000);
    for (uint64_t i = 0; i < 20; i++) {
        (void)snprintf(body[i], sizeof body[i], "body %d", (int)(i / 4));
        e[i] = event_of(body[i]);
        e[i].id = bytes_text("the same");
        publish(0, i, i % 3 ? "yes" : "no", &e[i]);
    }
    for (uint64_t i = 0; i < 20; i++)
        check_fate(i, i % 3 ? FATE_DELIVERED : FATE_REFUSED, i % 3 ? CAUSE_NONE : CAUSE_UNROUTABLE);
    CHECK_INT(report_of(0)->code, 312);
    rig_free();
}

TEST(rabbitmq_a_full_queue_is_a_nack)
{
    struct event e = event_of("x");

    need_broker();
    fixture_shell(
        CLIENT "declare t.full '{\"x-max-length\":1,\"x-overflow\":\"reject-publish\"}' t.fulls");
    rig_link();
    rig_sink(0, "t.fulls", 30000);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    publish(0, 2, "k", &e);
    check_fate(2, FATE_REFUSED, CAUSE_NACK);
    rig_free();
}

TEST(rabbitmq_a_missing_exchange_is_an_outage_that_neighbours_do_not_feel)
{
    struct event e = event_of("x");
    struct link_status s;

    need_broker();
    fixture_shell(CLIENT "declare t.near '{}' t.nearby");
    rig_link();
    rig_sink(0, "t.nearby", 30000);
    rabbitmq_sink_options("t.missing", &r.sink_options[1]);
    r.sink_options[1].declare = OPTIONS_PASSIVE;
    rig_sink(1, NULL, 30000);
    WAIT(sink_state(0) == LINK_UP);
    do {
        turn();
        k->sink_status(r.sinks[1], &s);
    } while (s.state != LINK_DOWN || !s.error[0]);
    CHECK_CONTAINS(s.error, "404");
    CHECK_INT(k->sink_publish(r.sinks[1], &(struct message){ .ref = 9, .event = &e }, 1), 0);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "declare t.now '{}' t.missing");
    publish(1, 2, "k", &e);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "delete_exchange t.missing");
    publish(1, 3, "k", &e);
    check_fate(3, FATE_UNSURE, CAUSE_LOST);
    CHECK_INT(report_of(3)->code, 404);
    publish(0, 4, "k", &e);
    check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

TEST(rabbitmq_what_amqp_cannot_hold_is_refused_for_good)
{
    static char big[200000];
    struct event e = event_of("x");
    struct buf h[4];

    need_broker();
    fixture_shell(CLIENT "declare t.final '{}' t.finals");
    rig_link();
    rig_sink(0, "t.finals", 30000);
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 4; i++)
        buf_init(&h[i], 1 << 20);
    header_put_text(&h[0], HEADER_PROPERTY, "user-id", bytes_text("another"));
    header_put_text(&h[1], HEADER_PROPERTY, "expiration", bytes_text("soon"));
    header_put_text(&h[2], HEADER_PROPERTY, "correlation-id", bytes_of(big, 256));
    header_put_text(&h[3], HEADER_USER, "big", bytes_of(big, sizeof big - 1));
    for (uint64_t i = 0; i < 4; i++) {
        e.headers = buf_bytes(&h[i]);
        publish(0, i, "k", &e);
        check_fate(i, FATE_REFUSED, CAUSE_FINAL);
    }
    e.headers = BYTES_NONE;
    big[256] = 0;
    publish(0, 4, big, &e);
    check_fate(4, FATE_REFUSED, CAUSE_FINAL);
    publish(0, 5, "k", &e);
    check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    for (int i = 0; i < 4; i++)
        buf_done(&h[i]);
    rig_free();
}

TEST(rabbitmq_headers_of_every_type_survive)
{
    struct batch *b;

    need_broker();
    fixture_shell(CLIENT "declare t.typed '{}'");
    fixture_shell(CLIENT "declare t.typed2 '{}' t.types");
    fixture_shell(CLIENT "publish_typed t.typed");
    rig_link();
    rabbitmq_source_options("t.typed", &r.source_options);
    r.source_options.declare = OPTIONS_PASSIVE;
    rig_source(NULL, 10, true);
    rig_sink(0, "t.types", 30000);
    b = receive(1);
    CHECK(header_valid(b->events[0].headers));
    CHECK(bytes_equal(b->events[0].id, bytes_text("the-id")));
    b->events[0].hops++;
    publish(0, 1, "typed", &b->events[0]);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    k->source_settle(r.source, b, true);
    rig_free();
    fixture_shell(CLIENT "check_typed t.typed2");
}

TEST(rabbitmq_large_and_empty_bodies_pass_byte_exact)
{
    static const size_t sizes[] = { 0, 1, 131064, 131065, 16 << 20 };
    static uint8_t body[16 << 20];

    need_broker();
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31 >> 3);
    fixture_shell(CLIENT "delete t.large");
    rig_link();
    rig_source("t.large", 10, true);
    WAIT(source_now().state == LINK_UP);
    rabbitmq_sink_options("", &r.sink_options[0]);
    r.sink_options[0].declare = OPTIONS_PASSIVE;
    rig_sink(0, NULL, 60000);
    for (uint64_t i = 0; i < 5; i++) {
        struct event e = { .body = bytes_of(body, sizes[i]), .origin = bytes_text("o"), .hops = 1 };
        struct batch *b;

        publish(0, i, "t.large", &e);
        check_fate(i, FATE_DELIVERED, CAUSE_NONE);
        b = receive(10);
        CHECK_INT(b->count, 1);
        CHECK_INT(b->events[0].body.n, sizes[i]);
        CHECK(memcmp(b->events[0].body.at, body, sizes[i]) == 0);
        CHECK_INT(b->events[0].hops, 1);
        k->source_settle(r.source, b, true);
    }
    rig_free();
}

TEST(rabbitmq_a_blocking_broker_is_waited_for)
{
    struct event e = event_of("x");
    struct link_status s;

    need_broker();
    fixture_shell(CLIENT "declare t.block '{}' t.blocks");
    rig_link();
    rig_sink(0, "t.blocks", 2000);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(BROKER "set_vm_memory_high_watermark absolute 1");
    publish(0, 2, "k", &e); /* the broker says it is blocked to who publishes */
    WAIT(sink_state(0) == LINK_BLOCKED);
    CHECK_INT(k->sink_publish(r.sinks[0], &(struct message){ .ref = 3, .event = &e }, 1), 0);
    k->sink_status(r.sinks[0], &s);
    CHECK_CONTAINS(s.error, "blocked");
    fixture_shell(BROKER "set_vm_memory_high_watermark absolute 2GB");
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    publish(0, 4, "k", &e);
    check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

TEST(rabbitmq_a_cut_in_mid_flow_leaves_every_message_one_report)
{
    struct event e = event_of("x");
    uint64_t ref = 0;

    need_broker();
    fixture_shell(CLIENT "declare t.cut '{}' t.cuts");
    rig_link();
    rig_sink(0, "t.cuts", 30000);
    for (; ref < 500; ref++)
        publish(0, ref, "k", &e);
    fixture_shell(BROKER "close_all_connections cut &");
    WAIT(sink_state(0) != LINK_UP);
    for (; ref < 1000; ref++)
        publish(0, ref, "k", &e);
    WAIT(r.count == 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK(report_of(i) != NULL);
        CHECK(report_of(i)->fate == FATE_DELIVERED || report_of(i)->cause == CAUSE_LOST);
    }
    rig_free();
}

TEST(rabbitmq_heartbeats_go_on_while_idle)
{
    struct event e = event_of("x");
    struct link_status s;
    int64_t end;

    need_broker();
    fixture_shell(CLIENT "declare t.beat '{}' t.beats");
    r.link_options.heartbeat_ms = 1000;
    rig_link();
    rig_sink(0, "t.beats", 30000);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    end = now_ms() + 4000; /* the broker hangs up after two silent seconds */
    while (now_ms() < end)
        turn();
    publish(0, 2, "k", &e);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    k->link_status(r.link, &s);
    CHECK_INT(s.reconnects, 0);
    rig_free();
}

TEST(rabbitmq_tls_with_a_client_certificate)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    const char *names[] = { "ca.pem", "client.pem", "client.key", "other-ca.pem" };
    struct event e = event_of("x");
    struct link_status s;
    char path[4][512], url[2][128];

    need_broker();
    fixture_shell(CLIENT "declare t.tls '{}' t.tlss");
    for (int i = 0; i < 4; i++)
        (void)snprintf(path[i], sizeof path[i], "%s/%s", d, names[i]);
    free(r.link_options.url);
    r.link_options.url = NULL;
    /* The first of the hosts is not there. */
    (void)snprintf(url[0], sizeof url[0], "amqps://127.0.0.1:1");
    (void)snprintf(
        url[1], sizeof url[1], "amqps://localhost:%s", getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    r.link_options.urls.at = calloc(2, sizeof(char *));
    r.link_options.urls.n = 2;
    for (int i = 0; i < 2; i++)
        r.link_options.urls.at[i] = strdup(url[i]);
    r.link_options.auth = OPTIONS_AUTH_EXTERNAL;
    r.link_options.tls = (struct options_tls){ .set = true,
        .verify = true,
        .ca_file = strdup(path[0]),
        .cert_file = strdup(path[1]),
        .key_file = strdup(path[2]) };
    rig_link();
    rig_sink(0, "t.tlss", 30000);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    k->sink_status(r.sinks[0], &s);
    CHECK_CONTAINS(s.peer, "TLS");
    rig_free();
}

TEST(rabbitmq_tls_refuses_a_broker_of_another_ca)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    struct link_status s;
    char path[512], url[128];

    need_broker();
    (void)snprintf(path, sizeof path, "%s/other-ca.pem", d);
    (void)snprintf(url, sizeof url, "amqps://app:secret@localhost:%s",
        getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    free(r.link_options.url);
    r.link_options.url = strdup(url);
    r.link_options.tls =
        (struct options_tls){ .set = true, .verify = true, .ca_file = strdup(path) };
    rig_link();
    rig_sink(0, "t.tlsx", 30000);
    do {
        turn();
        k->sink_status(r.sinks[0], &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "certificate verify failed");
    rig_free();
}

TEST(rabbitmq_probe_names_what_is_missing)
{
    struct link_spec spec = { .name = "rabbit", .options = &r.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &r.source_options };
    struct sink_spec sink = { .route = "r", .name = "s", .options = &r.sink_options[0] };
    struct finding found[8];

    need_broker();
    rabbitmq_source_options("t.nowhere", &r.source_options);
    r.source_options.declare = OPTIONS_PASSIVE;
    rabbitmq_sink_options("t.nothing", &r.sink_options[0]);
    r.sink_options[0].declare = OPTIONS_PASSIVE;
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 2);
    CHECK(found[0].is_error && found[1].is_error);
    CHECK_CONTAINS(found[0].text, "t.nowhere");
    CHECK_CONTAINS(found[1].text, "t.nothing");
    rig_free();
}

/* ---- what closes channels ---- */

static void broker_eval(const char *erlang)
{
    fixture_shell(BROKER "eval '%s'", erlang);
}

/* Stops and wakes a classic queue's process: nothing that goes there is confirmed meanwhile. */
static void queue_sleeps(const char *queue, bool sleeps)
{
    char erlang[512];

    (void)snprintf(erlang, sizeof erlang,
        "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"%s\">>)), "
        "sys:%s(amqqueue:get_pid(Q)).",
        queue, sleeps ? "suspend" : "resume");
    broker_eval(erlang);
}

static void publish_three(int i, uint64_t ref, const char *const keys[3], const struct event e[3])
{
    struct message m[3];

    for (size_t n = 0; n < 3; n++)
        m[n] =
            (struct message){ .ref = ref + n, .event = &e[n], .fields = { bytes_text(keys[n]) } };
    WAIT(sink_state(i) == LINK_UP);
    CHECK_INT(k->sink_publish(r.sinks[i], m, 3), 3);
}

static uint64_t sink_session(int i)
{
    struct link_status s;

    k->sink_status(r.sinks[i], &s);
    return s.session;
}

TEST(rabbitmq_a_message_that_closes_the_channel_is_refused_once_it_is_alone)
{
    static const char *const keys[3] = { "k", "k", "k" };
    static char big[2000];
    struct event e[3];
    uint64_t neighbour;

    need_broker();
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 3; i++)
        e[i] = event_of("small");
    e[1].body = bytes_text(big);
    fixture_shell(CLIENT "declare t.poison '{}' t.poisons");
    broker_eval("application:set_env(rabbit, max_message_size, 1000).");
    rig_link();
    rig_sink(0, "t.poisons", 30000);
    rig_sink(1, "t.poisons", 30000);
    WAIT(sink_state(0) == LINK_UP && sink_state(1) == LINK_UP);
    neighbour = sink_session(1);
    publish_three(0, 0, keys, e);
    check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    check_fate(2, FATE_UNSURE, CAUSE_PROTOCOL);
    CHECK_INT(report_of(1)->code, 406);
    CHECK(!report_of(1)->alone);
    publish(0, 4, "k", &e[1]);
    check_fate(4, FATE_REFUSED, CAUSE_PROTOCOL);
    CHECK(report_of(4)->alone);
    CHECK_CONTAINS(text_of(4), "406");
    publish(0, 5, "k", &e[2]);
    check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    publish(1, 6, "k", &e[0]);
    check_fate(6, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(sink_session(1), neighbour);
    broker_eval("application:set_env(rabbit, max_message_size, 134217728).");
    rig_free();
}

TEST(rabbitmq_an_internal_error_refuses_no_message_at_its_first_try)
{
    struct event e = event_of("x");
    struct message alone = {
        .ref = 2, .event = &e, .fields = { bytes_text("k") }, .flags = MESSAGE_ALONE
    };

    need_broker();
    fixture_shell(CLIENT "declare t.crash '{}' t.crashes");
    rig_link();
    rig_sink(0, "t.crashes", 30000);
    queue_sleeps("t.crash", true);
    publish(0, 1, "k", &e);
    turn();
    broker_eval("[exit(P, boom) || P <- rabbit_channel:list()].");
    check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    CHECK_INT(report_of(1)->code, 541);
    WAIT(k->sink_publish(r.sinks[0], &alone, 1) == 1);
    turn();
    broker_eval("[exit(P, boom) || P <- rabbit_channel:list()].");
    check_fate(2, FATE_REFUSED, CAUSE_PROTOCOL);
    queue_sleeps("t.crash", false);
    publish(0, 3, "k", &e);
    check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

TEST(rabbitmq_a_forbidden_key_is_about_its_message_and_a_forbidden_exchange_an_outage)
{
    static const char *const keys[3] = { "ok.1", "bad.1", "ok.2" };
    struct event e[3] = { event_of("a"), event_of("b"), event_of("c") };

    need_broker();
    fixture_shell(CLIENT "declare t.topical '{}' t.topics");
    fixture_shell(BROKER "set_topic_permissions app t.topics '^ok' '.*'");
    rig_link();
    rig_sink(0, "t.topics", 30000);
    rabbitmq_sink_options("t.topics", &r.sink_options[1]);
    r.sink_options[1].routing_key.fixed = true;
    rig_sink(1, NULL, 30000);
    publish_three(0, 0, keys, e);
    check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    check_fate(2, FATE_UNSURE, CAUSE_PROTOCOL);
    publish(0, 3, "bad.1", &e[1]);
    check_fate(3, FATE_REFUSED, CAUSE_ADDRESS);
    CHECK_INT(report_of(3)->code, 403);
    publish(1, 4, "bad.1", &e[1]);
    check_fate(4, FATE_UNSURE, CAUSE_LOST);
    CHECK_INT(report_of(4)->code, 403);
    fixture_shell(BROKER "clear_topic_permissions app");
    publish(0, 5, "bad.1", &e[1]);
    check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

/* ---- confirms that do not come ---- */

TEST(rabbitmq_a_late_confirm_is_unsure_and_says_whether_later_ones_came)
{
    struct event e = event_of("x");

    need_broker();
    fixture_shell(CLIENT "declare t.late '{}' t.lates late");
    fixture_shell(CLIENT "declare t.prompt '{}' t.lates prompt");
    rig_link();
    rig_sink(0, "t.lates", 1500);
    queue_sleeps("t.late", true);
    publish(0, 1, "late", &e);
    check_fate(1, FATE_UNSURE, CAUSE_TIMEOUT);
    CHECK(!report_of(1)->later_confirmed);
    publish(0, 2, "late", &e);
    publish(0, 3, "prompt", &e);
    check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    check_fate(2, FATE_UNSURE, CAUSE_TIMEOUT);
    CHECK(report_of(2)->later_confirmed);
    queue_sleeps("t.late", false);
    publish(0, 4, "late", &e);
    check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(r.count, 4);
    rig_free();
}

TEST(rabbitmq_abandoned_messages_are_reported_at_once_and_only_once)
{
    struct event e = event_of("x");
    uint64_t session;

    need_broker();
    fixture_shell(CLIENT "declare t.left '{}' t.lefts");
    rig_link();
    rig_sink(0, "t.lefts", 30000);
    queue_sleeps("t.left", true);
    for (uint64_t ref = 0; ref < 3; ref++)
        publish(0, ref, "k", &e);
    turn();
    session = sink_session(0);
    k->sink_abandon(r.sinks[0]);
    for (uint64_t ref = 0; ref < 3; ref++) {
        check_fate(ref, report_of(ref) ? report_of(ref)->fate : FATE_UNSURE, CAUSE_LOST);
        CHECK(report_of(ref)->fate == FATE_UNSURE || report_of(ref)->fate == FATE_UNSENT);
    }
    queue_sleeps("t.left", false);
    publish(0, 3, "k", &e);
    check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    CHECK(sink_session(0) > session);
    CHECK_INT(r.count, 4);
    rig_free();
}

static long dedicated_connections(void)
{
    char line[64] = "";
    FILE *f =
        popen(BROKER "list_connections user client_properties | grep -c dedicated || true", "r");

    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    return strtol(line, NULL, 10);
}

TEST(rabbitmq_a_sink_gets_a_connection_of_its_own_where_asked)
{
    struct event e = event_of("x");

    need_broker();
    fixture_shell(CLIENT "declare t.own '{}' t.owns");
    rig_link();
    rig_sink(0, "t.owns", 30000);
    rabbitmq_sink_options("t.owns", &r.sink_options[1]);
    r.sink_options[1].dedicated = OPTIONS_DEDICATED_ALWAYS;
    rig_sink(1, NULL, 30000);
    publish(0, 1, "k", &e);
    publish(1, 2, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(dedicated_connections(), 1);
    rig_free();
}

TEST(rabbitmq_a_stalled_sink_moves_to_a_connection_of_its_own)
{
    struct event e = event_of("x");
    uint64_t neighbour, session;

    need_broker();
    fixture_shell(CLIENT "declare t.stall '{}' t.stalls");
    fixture_shell(CLIENT "declare t.flow '{}' t.flows");
    rig_link();
    rig_sink(0, "t.stalls", 3000);
    rig_sink(1, "t.flows", 30000);
    WAIT(sink_state(0) == LINK_UP && sink_state(1) == LINK_UP);
    neighbour = sink_session(1);
    session = sink_session(0);
    queue_sleeps("t.stall", true);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_UNSURE, CAUSE_TIMEOUT);
    WAIT(sink_session(0) > session && sink_state(0) == LINK_UP);
    CHECK_INT(dedicated_connections(), 1);
    publish(1, 2, "k", &e);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(sink_session(1), neighbour);
    queue_sleeps("t.stall", false);
    publish(0, 3, "k", &e);
    check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

/* ---- queues and consumers ---- */

TEST(rabbitmq_a_batch_that_was_not_kept_comes_again)
{
    struct batch *b;

    need_broker();
    fixture_shell(CLIENT "delete t.back");
    fixture_shell(CLIENT "feed t.back 0 6");
    rig_link();
    rig_source("t.back", 300, true);
    b = receive(2);
    k->source_settle(r.source, b, false);
    b = receive(2); /* of the same session still, acknowledged without the first two */
    while (!(b->events[0].flags & EVENT_REDELIVERED)) {
        k->source_settle(r.source, b, true);
        b = receive(2);
    }
    CHECK(bytes_equal(b->events[0].body, bytes_text("message 0000000")));
    CHECK_INT(b->count, 2);
    k->source_settle(r.source, b, true);
    WAIT(k->source_drain(r.source));
    rig_free();
    CHECK_INT(queue_count("t.back"), 0);
}

TEST(rabbitmq_an_exclusive_consumer_keeps_others_out)
{
    struct options_source second_options = { 0 };
    struct source_spec spec = { .route = "second",
        .options = &second_options,
        .window_events = 10,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 20,
        .clean_start = true };
    struct fault why = { 0 };
    struct link_status s;
    struct source *second;

    need_broker();
    fixture_shell(CLIENT "delete t.mine");
    rig_link();
    rabbitmq_source_options("t.mine", &r.source_options);
    r.source_options.exclusive = true;
    rig_source(NULL, 10, true);
    WAIT(source_now().state == LINK_UP);
    rabbitmq_source_options("t.mine", &second_options);
    CHECK_INT(k->source_open(r.link, &spec, &second, &why), 0);
    do {
        turn();
        k->source_status(second, &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "403");
    fixture_shell(CLIENT "feed t.mine 0 1");
    k->source_settle(r.source, receive(1), true);
    k->source_free(second);
    option_done(k->source_options, &second_options);
    rig_free();
}

TEST(rabbitmq_a_quorum_queue_with_one_active_consumer_is_made)
{
    need_broker();
    fixture_shell(CLIENT "delete t.quorum");
    rig_link();
    rabbitmq_source_options("t.quorum", &r.source_options);
    r.source_options.type = OPTIONS_QUORUM;
    r.source_options.single_active = true;
    r.source_options.exchange = strdup("amq.topic");
    r.source_options.binding_keys = (struct option_list){ calloc(2, sizeof(char *)), 2 };
    r.source_options.binding_keys.at[0] = strdup("q.one.#");
    r.source_options.binding_keys.at[1] = strdup("q.two");
    rig_source(NULL, 10, true);
    WAIT(source_now().state == LINK_UP);
    fixture_shell(
        BROKER "list_queues name type arguments | grep '^t.quorum.quorum.*single-active'");
    rabbitmq_sink_options("amq.topic", &r.sink_options[0]);
    r.sink_options[0].declare = OPTIONS_PASSIVE;
    rig_sink(0, NULL, 30000);
    for (uint64_t i = 0; i < 3; i++) {
        static const char *const keys[] = { "q.one.a.b", "q.two", "q.three" };
        struct event e = event_of(keys[i]);

        publish(0, i, keys[i], &e);
        check_fate(i, i < 2 ? FATE_DELIVERED : FATE_REFUSED, i < 2 ? CAUSE_NONE : CAUSE_UNROUTABLE);
        if (i < 2) {
            struct batch *b = receive(10);

            CHECK(bytes_equal(b->events[0].address, bytes_text(keys[i])));
            k->source_settle(r.source, b, true);
        }
    }
    rig_free();
}

TEST(rabbitmq_a_queue_of_another_type_is_said_and_tried_again)
{
    struct event e = event_of("x");

    need_broker();
    fixture_shell(CLIENT "declare t.kind '{}' t.kinds");
    rig_link();
    rig_sink(0, "t.kinds", 30000);
    publish(0, 1, "k", &e);
    check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    rabbitmq_source_options("t.kind", &r.source_options);
    r.source_options.type = OPTIONS_QUORUM;
    rig_source(NULL, 10, true);
    WAIT(source_now().error[0]);
    CHECK(source_now().state != LINK_UP);
    CHECK_CONTAINS(source_now().error, "406");
    CHECK_CONTAINS(source_now().error, "t.kind");
    publish(0, 2, "k", &e);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "delete t.kind");
    WAIT(source_now().state == LINK_UP);
    CHECK_TEXT(source_now().error, "");
    rig_free();
}

TEST(rabbitmq_an_undeclared_queue_is_waited_for)
{
    need_broker();
    fixture_shell(CLIENT "delete t.unborn");
    rig_link();
    rabbitmq_source_options("t.unborn", &r.source_options);
    r.source_options.declare = OPTIONS_NONE;
    rig_source(NULL, 10, true);
    WAIT(source_now().error[0]);
    CHECK_CONTAINS(source_now().error, "404");
    fixture_shell(CLIENT "feed t.unborn 0 1");
    k->source_settle(r.source, receive(1), true);
    rig_free();
}

TEST(rabbitmq_bindings_have_arguments)
{
    struct options_binding *b;
    struct event e = event_of("picked");
    struct batch *got;
    struct buf h;

    need_broker();
    fixture_shell(CLIENT "delete t.bound");
    rig_link();
    rabbitmq_source_options("t.bound", &r.source_options);
    b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    *b = (struct options_binding){ .set = true, .exchange = strdup("amq.headers") };
    b->arguments = (struct option_map){ calloc(2, sizeof *b->arguments.at), 2 };
    b->arguments.at[0] =
        (struct option_pair){ strdup("x-match"), strdup("all"), OPTION_VALUE_TEXT };
    b->arguments.at[1] = (struct option_pair){ strdup("colour"), strdup("red"), OPTION_VALUE_TEXT };
    r.source_options.bindings = (struct option_tables){ b, 1 };
    rig_source(NULL, 10, true);
    WAIT(source_now().state == LINK_UP);
    rabbitmq_sink_options("amq.headers", &r.sink_options[0]);
    r.sink_options[0].declare = OPTIONS_PASSIVE;
    rig_sink(0, NULL, 30000);
    buf_init(&h, 1000);
    header_put_text(&h, HEADER_USER, "colour", bytes_text("red"));
    publish(0, 1, "k", &e);
    check_fate(1, FATE_REFUSED, CAUSE_UNROUTABLE);
    e.headers = buf_bytes(&h);
    publish(0, 2, "k", &e);
    check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    got = receive(10);
    CHECK_INT(got->count, 1);
    k->source_settle(r.source, got, true);
    buf_done(&h);
    rig_free();
}

/* ---- TLS ---- */

static void tls_link(const char *host, const char *ca_file, const char *server_name)
{
    char url[128];

    (void)snprintf(url, sizeof url, "amqps://app:secret@%s:%s", host,
        getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    free(r.link_options.url);
    r.link_options.url = strdup(url);
    r.link_options.tls = (struct options_tls){ .set = true,
        .verify = true,
        .ca_file = ca_file ? strdup(ca_file) : NULL,
        .server_name = server_name ? strdup(server_name) : NULL };
    rig_link();
}

TEST(rabbitmq_tls_without_a_ca_file_trusts_the_systems)
{
    char path[512];

    need_broker();
    (void)snprintf(path, sizeof path, "%s/ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    (void)setenv("SSL_CERT_FILE", path, 1); /* where OpenSSL's system CAs are, here */
    tls_link("127.0.0.1", NULL, NULL);
    rig_sink(0, "t.tlsy", 30000);
    WAIT(sink_state(0) == LINK_UP);
    rig_free();
}

TEST(rabbitmq_tls_wants_the_server_name_that_is_given)
{
    struct link_status s;
    char path[512];

    need_broker();
    (void)snprintf(path, sizeof path, "%s/ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    tls_link("127.0.0.1", path, "rabbit.example");
    rig_sink(0, "t.tlsz", 30000);
    do {
        turn();
        k->sink_status(r.sinks[0], &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "certificate verify failed");
    k->sink_free(r.sinks[0]);
    k->link_free(r.link);
    option_done(k->link_options, &r.link_options);
    option_done(k->sink_options, &r.sink_options[0]);
    memset(&r, 0, sizeof r);
    rabbitmq_link_options(&r.link_options);
    tls_link("127.0.0.1", path, "localhost");
    rig_sink(0, "t.tlsz", 30000);
    WAIT(sink_state(0) == LINK_UP);
    rig_free();
}

/* ---- silence and pressure ---- */

TEST(rabbitmq_heartbeats_go_on_while_paused_with_a_full_window)
{
    struct link_status s;
    struct batch *b;
    int64_t end;

    need_broker();
    fixture_shell(CLIENT "delete t.press");
    fixture_shell(CLIENT "feed t.press 0 500");
    r.link_options.heartbeat_ms = 1000;
    rig_link();
    rig_source("t.press", 2, true);
    b = receive(2);
    CHECK(k->source_receive(r.source, 2) == NULL);
    k->source_pause(r.source, true);
    end = now_ms() + 4000; /* the broker hangs up after two silent seconds */
    while (now_ms() < end)
        turn();
    k->source_pause(r.source, false);
    k->source_settle(r.source, b, true);
    for (size_t n = 2; n < 500; n += b->count, k->source_settle(r.source, b, true)) {
        b = receive(2);
        CHECK(!(b->events[0].flags & EVENT_REDELIVERED));
    }
    k->link_status(r.link, &s);
    CHECK_INT(s.reconnects, 0);
    WAIT(k->source_drain(r.source));
    rig_free();
    CHECK_INT(queue_count("t.press"), 0);
}

/* Other tests may have started it again since. */
static pid_t broker_pid(void)
{
    char line[64] = "";
    FILE *f = popen(BROKER "eval 'os:getpid().' | tr -dc 0-9", "r");
    long pid;

    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    pid = strtol(line, NULL, 10);
    CHECK(pid > 1);
    return (pid_t)pid;
}

TEST(rabbitmq_a_broker_that_stops_reading_is_left_and_the_loop_stays_free)
{
    static char big[1 << 16];
    struct event e = event_of("x");
    int64_t longest = 0;
    uint64_t ref = 0;
    pid_t broker;

    need_broker();
    broker = broker_pid();
    memset(big, 'x', sizeof big - 1);
    fixture_shell(CLIENT "declare t.deaf '{}' t.deafs");
    r.link_options.heartbeat_ms = 1000;
    rig_link();
    rig_sink(0, "t.deafs", 30000);
    publish(0, ref++, "k", &e);
    check_fate(0, FATE_DELIVERED, CAUSE_NONE);
    e.body = bytes_of(big, sizeof big - 1);
    CHECK_INT(kill(broker, SIGSTOP), 0);
    while (sink_state(0) == LINK_UP) {
        struct message m = { .ref = ref, .event = &e, .fields = { bytes_text("k") } };
        int64_t start = now_ms();

        if (ref < 900)
            ref += k->sink_publish(r.sinks[0], &m, 1);
        if (now_ms() - start > longest)
            longest = now_ms() - start;
        turn();
    }
    CHECK_INT(kill(broker, SIGCONT), 0);
    CHECK(longest < 1000); /* a loop that waits for the socket waits two heartbeats */
    WAIT(r.count == ref);
    for (uint64_t i = 1; i < ref; i++)
        CHECK(report_of(i) && report_of(i)->cause == CAUSE_LOST);
    e = event_of("x");
    publish(0, ref, "k", &e);
    check_fate(ref, FATE_DELIVERED, CAUSE_NONE);
    rig_free();
}

TEST(rabbitmq_a_url_that_ends_in_a_slash_means_the_default_vhost)
{
    need_broker();
    char *url = NULL;

    CHECK(asprintf(&url, "%s/", r.link_options.url) > 0);
    free(r.link_options.url);
    r.link_options.url = url;
    rig_link();
    rig_sink(0, "t.slash", 30000);
    WAIT(sink_state(0) == LINK_UP);
    rig_free();
}

TEST(rabbitmq_a_source_knows_how_much_waits)
{
    need_broker();
    fixture_shell(CLIENT "delete t.lag");
    fixture_shell(CLIENT "feed t.lag 0 30");
    rig_link();
    rabbitmq_source_options("t.lag", &r.source_options);
    r.source_options.prefetch = 10;
    rig_source(NULL, 300, true);
    CHECK_INT(source_now().lag, -1);
    WAIT(source_now().lag == 20);
    rig_free();
}

TEST(rabbitmq_probe_tells_what_is_forbidden_and_leaves_no_trace)
{
    struct link_spec spec = { .name = "rabbit", .options = &r.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &r.source_options };
    struct sink_spec sink = { .route = "r", .name = "s", .options = &r.sink_options[0] };
    struct finding found[8];

    need_broker();
    fixture_shell(CLIENT "declare t.secret '{}' t.secrets");
    fixture_shell(CLIENT "publish_typed t.secret");
    rabbitmq_source_options("t.secret", &r.source_options);
    r.source_options.declare = OPTIONS_PASSIVE;
    rabbitmq_sink_options("t.secrets", &r.sink_options[0]);
    r.sink_options[0].declare = OPTIONS_PASSIVE;
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 0);
    r.link_options.username = strdup("limited");
    r.link_options.password = strdup("secret");
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 2);
    CHECK(found[0].is_error && found[1].is_error);
    CHECK_CONTAINS(found[0].text, "reading from queue 't.secret'");
    CHECK_CONTAINS(found[0].text, "403");
    CHECK_CONTAINS(found[1].text, "publishing to exchange 't.secrets'");
    CHECK_CONTAINS(found[1].text, "403");
    CHECK_INT(queue_count("t.secret"), 1);
    rig_free();
}

TEST(rabbitmq_probe_warns_of_a_delivery_limit_without_a_dead_letter_exchange)
{
    struct link_spec spec = { .name = "rabbit", .options = &r.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &r.source_options };
    struct option_map *m = &r.source_options.arguments;
    struct finding found[8];

    need_broker();
    fixture_shell(CLIENT "delete t.limit");
    rabbitmq_source_options("t.limit", &r.source_options);
    r.source_options.type = OPTIONS_QUORUM;
    *m = (struct option_map){ calloc(1, sizeof *m->at), 1 };
    m->at[0] = (struct option_pair){ strdup("x-delivery-limit"), strdup("5"), OPTION_VALUE_INT };
    CHECK_INT(k->link_probe(&spec, &source, NULL, 10000, found, 8), 1);
    CHECK(!found[0].is_error);
    CHECK_CONTAINS(found[0].text, "t.limit");
    rig_free();
}
