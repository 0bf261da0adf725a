/* RabbitMQ's sink against a real broker: confirms, returns, and what closes channels. */
#include "tests/conformance/rabbit.h"

#include "bridge/base/header.h"

#include <math.h>

static const struct connector *const k = &connector_rabbitmq;

TEST(rabbitmq_an_unroutable_message_is_refused_and_no_other)
{
    struct event e[20];
    char body[20][16];

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.routed '{}' t.some 'yes'");
    rabbit_link();
    rabbit_sink(0, "t.some", 30000);
    for (uint64_t i = 0; i < 20; i++) {
        (void)snprintf(body[i], sizeof body[i], "body %d", (int)(i / 4));
        e[i] = rabbit_event(body[i]);
        e[i].id = bytes_text("the same");
        rabbit_publish(0, i, i % 3 ? "yes" : "no", &e[i]);
    }
    for (uint64_t i = 0; i < 20; i++)
        rabbit_check_fate(
            i, i % 3 ? FATE_DELIVERED : FATE_REFUSED, i % 3 ? CAUSE_NONE : CAUSE_UNROUTABLE);
    CHECK_INT(rabbit_report_of(0)->code, 312);
    rabbit_free();
}

TEST(rabbitmq_a_full_queue_is_a_nack)
{
    struct event e = rabbit_event("x");

    rabbit_need_broker();
    fixture_shell(
        CLIENT "declare t.full '{\"x-max-length\":1,\"x-overflow\":\"reject-publish\"}' t.fulls");
    rabbit_link();
    rabbit_sink(0, "t.fulls", 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    rabbit_publish(0, 2, "k", &e);
    rabbit_check_fate(2, FATE_REFUSED, CAUSE_NACK);
    rabbit_free();
}

TEST(rabbitmq_a_missing_exchange_is_an_outage_that_neighbours_do_not_feel)
{
    struct event e = rabbit_event("x");
    struct link_status s;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.near '{}' t.nearby");
    rabbit_link();
    rabbit_sink(0, "t.nearby", 30000);
    rabbit_sink_options("t.missing", &rabbit.sink_options[1]);
    rabbit.sink_options[1].declare = OPTIONS_PASSIVE;
    rabbit_sink(1, NULL, 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP);
    do {
        rabbit_turn();
        k->sink_status(rabbit.sinks[1], &s);
    } while (s.state != LINK_DOWN || !s.error[0]);
    CHECK_CONTAINS(s.error, "404");
    CHECK_INT(k->sink_publish(rabbit.sinks[1], &(struct message){ .ref = 9, .event = &e }, 1), 0);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "declare t.now '{}' t.missing");
    rabbit_publish(1, 2, "k", &e);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "delete_exchange t.missing");
    rabbit_publish(1, 3, "k", &e);
    rabbit_check_fate(3, FATE_UNSURE, CAUSE_LOST);
    CHECK_INT(rabbit_report_of(3)->code, 404);
    rabbit_publish(0, 4, "k", &e);
    rabbit_check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_what_amqp_cannot_hold_is_refused_for_good)
{
    static char big[200000];
    struct event e = rabbit_event("x");
    struct buf h[4];

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.final '{}' t.finals");
    rabbit_link();
    rabbit_sink(0, "t.finals", 30000);
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 4; i++)
        buf_init(&h[i], 1 << 20);
    header_put_text(&h[0], HEADER_PROPERTY, "user-id", bytes_text("another"));
    header_put_text(&h[1], HEADER_PROPERTY, "expiration", bytes_text("soon"));
    header_put_text(&h[2], HEADER_PROPERTY, "correlation-id", bytes_of(big, 256));
    header_put_text(&h[3], HEADER_USER, "big", bytes_of(big, sizeof big - 1));
    for (uint64_t i = 0; i < 4; i++) {
        e.headers = buf_bytes(&h[i]);
        rabbit_publish(0, i, "k", &e);
        rabbit_check_fate(i, FATE_REFUSED, CAUSE_FINAL);
    }
    e.headers = BYTES_NONE;
    big[256] = 0;
    rabbit_publish(0, 4, big, &e);
    rabbit_check_fate(4, FATE_REFUSED, CAUSE_FINAL);
    rabbit_publish(0, 5, "k", &e);
    rabbit_check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    for (int i = 0; i < 4; i++)
        buf_done(&h[i]);
    rabbit_free();
}

TEST(rabbitmq_headers_of_every_type_survive)
{
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.typed '{}'");
    fixture_shell(CLIENT "declare t.typed2 '{}' t.types");
    fixture_shell(CLIENT "publish_typed t.typed");
    rabbit_link();
    rabbit_source_options("t.typed", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
    rabbit_source(NULL, 10, true);
    rabbit_sink(0, "t.types", 30000);
    b = rabbit_receive(1);
    CHECK(header_valid(b->events[0].headers));
    CHECK(bytes_equal(b->events[0].id, bytes_text("the-id")));
    b->events[0].hops++;
    rabbit_publish(0, 1, "typed", &b->events[0]);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    k->source_settle(rabbit.source, b, true);
    rabbit_free();
    fixture_shell(CLIENT "check_typed t.typed2");
}

TEST(rabbitmq_header_tables_come_over_byte_for_byte)
{
    const size_t count = 100;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.raw '{}'");
    fixture_shell(CLIENT "declare t.raw2 '{}' t.raws");
    fixture_shell(RAW "publish t.raw %zu", count);
    rabbit_link();
    rabbit_source_options("t.raw", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
    rabbit_source(NULL, 1000, true);
    rabbit_sink(0, "t.raws", 30000);
    for (uint64_t n = 0; n < count;) {
        struct batch *b = rabbit_receive(100);
        uint64_t first = n;

        for (size_t i = 0; i < b->count; i++) {
            CHECK(header_valid(b->events[i].headers));
            b->events[i].hops++;
            rabbit_publish(0, n++, "raw", &b->events[i]);
        }
        while (first < n)
            rabbit_check_fate(first++, FATE_DELIVERED, CAUSE_NONE);
        k->source_settle(rabbit.source, b, true);
    }
    rabbit_free();
    fixture_shell(RAW "check t.raw2 %zu", count);
}

TEST(rabbitmq_a_number_that_the_broker_cannot_read_goes_as_text)
{
    static const struct header_value values[] = { { .type = HEADER_F64, .f = (double)INFINITY },
        { .type = HEADER_F32, .f = (double)-INFINITY }, { .type = HEADER_F64, .f = (double)NAN },
        { .type = HEADER_U64, .u = UINT64_MAX } };
    static const char *const texts[] = { "inf", "-inf", "nan", "18446744073709551615" };
    struct event e = rabbit_event("x");
    uint64_t session;
    struct header h;
    struct batch *b;
    struct buf put;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.number '{}' t.numbers");
    rabbit_link();
    rabbit_source_options("t.number", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
    rabbit_source(NULL, 10, true);
    rabbit_sink(0, "t.numbers", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP);
    session = rabbit_sink_session(0);
    buf_init(&put, 1000);
    for (size_t i = 0; i < 4; i++)
        header_put(&put, HEADER_USER, bytes_text(texts[i]), &values[i]);
    e.headers = buf_bytes(&put);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(rabbit_sink_session(0), session);
    b = rabbit_receive(1);
    for (size_t i = 0; i < 4; i++) {
        CHECK(header_find(b->events[0].headers, bytes_text(texts[i]), &h));
        CHECK_INT(h.value.type, HEADER_TEXT);
        CHECK(bytes_equal(h.value.bytes, bytes_text(texts[i])));
    }
    k->source_settle(rabbit.source, b, true);
    buf_done(&put);
    rabbit_free();
}

TEST(rabbitmq_large_and_empty_bodies_pass_byte_exact)
{
    static const size_t sizes[] = { 0, 1, 131064, 131065, 16 << 20 };
    static uint8_t body[16 << 20];

    rabbit_need_broker();
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31 >> 3);
    fixture_shell(CLIENT "delete t.large");
    rabbit_link();
    rabbit_source("t.large", 10, true);
    WAIT(rabbit_source_now().state == LINK_UP);
    rabbit_sink_options("", &rabbit.sink_options[0]);
    rabbit.sink_options[0].declare = OPTIONS_PASSIVE;
    rabbit_sink(0, NULL, 60000);
    for (uint64_t i = 0; i < 5; i++) {
        struct event e = { .body = bytes_of(body, sizes[i]), .origin = bytes_text("o"), .hops = 1 };
        struct batch *b;

        rabbit_publish(0, i, "t.large", &e);
        rabbit_check_fate(i, FATE_DELIVERED, CAUSE_NONE);
        b = rabbit_receive(10);
        CHECK_INT(b->count, 1);
        CHECK_INT(b->events[0].body.n, sizes[i]);
        CHECK(memcmp(b->events[0].body.at, body, sizes[i]) == 0);
        CHECK_INT(b->events[0].hops, 1);
        k->source_settle(rabbit.source, b, true);
    }
    rabbit_free();
}

TEST(rabbitmq_a_blocking_broker_is_waited_for)
{
    struct event e = rabbit_event("x");
    struct link_status s;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.block '{}' t.blocks");
    rabbit_link();
    rabbit_sink(0, "t.blocks", 2000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    fixture_idle = rabbit_turn;
    fixture_shell(BROKER "set_vm_memory_high_watermark absolute 1");
    rabbit_publish(0, 2, "k", &e); /* the broker says it is blocked to who publishes */
    WAIT(rabbit_sink_state(0) == LINK_BLOCKED);
    CHECK_INT(k->sink_publish(rabbit.sinks[0], &(struct message){ .ref = 3, .event = &e }, 1), 0);
    k->sink_status(rabbit.sinks[0], &s);
    CHECK_CONTAINS(s.error, "blocked");
    fixture_shell(BROKER "set_vm_memory_high_watermark absolute 2GB");
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    rabbit_publish(0, 4, "k", &e);
    rabbit_check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_a_full_disk_of_the_broker_stops_sinks_and_no_source)
{
    struct event e = rabbit_event("x");
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.disk '{}' t.disks");
    fixture_shell(CLIENT "delete t.read_on");
    fixture_shell(CLIENT "feed t.read_on 0 6");
    rabbit_link();
    rabbit_source_options("t.read_on", &rabbit.source_options);
    rabbit.source_options.prefetch = 2;
    rabbit_source(NULL, 2, true);
    rabbit_sink(0, "t.disks", 1000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    fixture_idle = rabbit_turn;
    fixture_shell(BROKER "set_disk_free_limit 900000GB");
    rabbit_publish(0, 2, "k", &e);
    WAIT(rabbit_sink_state(0) == LINK_BLOCKED);
    for (size_t n = 0; n < 6; n += b->count, k->source_settle(rabbit.source, b, true))
        b = rabbit_receive(2);
    CHECK(!rabbit_report_of(2)); /* its time for a confirm does not run */
    fixture_shell(BROKER "set_disk_free_limit 1MB");
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.read_on"), 0);
}

TEST(rabbitmq_a_cut_in_mid_flow_leaves_every_message_one_report)
{
    struct event e = rabbit_event("x");
    uint64_t ref = 0;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.cut '{}' t.cuts");
    rabbit_link();
    rabbit_sink(0, "t.cuts", 30000);
    for (; ref < 500; ref++)
        rabbit_publish(0, ref, "k", &e);
    fixture_shell(BROKER "close_all_connections cut &");
    WAIT(rabbit_sink_state(0) != LINK_UP);
    for (; ref < 1000; ref++)
        rabbit_publish(0, ref, "k", &e);
    WAIT(rabbit.count == 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK(rabbit_report_of(i) != NULL);
        CHECK(rabbit_report_of(i)->fate == FATE_DELIVERED ||
              rabbit_report_of(i)->cause == CAUSE_LOST);
    }
    rabbit_free();
}

TEST(rabbitmq_a_message_that_closes_the_channel_is_refused_once_it_is_alone)
{
    static const char *const keys[3] = { "k", "k", "k" };
    static char big[2000];
    struct event e[3];
    uint64_t neighbour;

    rabbit_need_broker();
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 3; i++)
        e[i] = rabbit_event("small");
    e[1].body = bytes_text(big);
    fixture_shell(CLIENT "declare t.poison '{}' t.poisons");
    rabbit_broker_eval("application:set_env(rabbit, max_message_size, 1000).");
    rabbit_link();
    rabbit_sink(0, "t.poisons", 30000);
    rabbit_sink(1, "t.poisons", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP && rabbit_sink_state(1) == LINK_UP);
    neighbour = rabbit_sink_session(1);
    rabbit_publish_three(0, 0, keys, e);
    rabbit_check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    rabbit_check_fate(2, FATE_UNSURE, CAUSE_PROTOCOL);
    CHECK_INT(rabbit_report_of(1)->code, 406);
    CHECK(!rabbit_report_of(1)->alone);
    rabbit_publish(0, 4, "k", &e[1]);
    rabbit_check_fate(4, FATE_REFUSED, CAUSE_PROTOCOL);
    CHECK(rabbit_report_of(4)->alone);
    CHECK_CONTAINS(rabbit_text_of(4), "406");
    rabbit_publish(0, 5, "k", &e[2]);
    rabbit_check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    rabbit_publish(1, 6, "k", &e[0]);
    rabbit_check_fate(6, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(rabbit_sink_session(1), neighbour);
    rabbit_broker_eval("application:set_env(rabbit, max_message_size, 134217728).");
    rabbit_free();
}

TEST(rabbitmq_an_internal_error_refuses_no_message_at_its_first_try)
{
    struct event e = rabbit_event("x");
    struct message alone = {
        .ref = 2, .event = &e, .fields = { bytes_text("k") }, .flags = MESSAGE_ALONE
    };

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.crash '{}' t.crashes");
    rabbit_link();
    rabbit_sink(0, "t.crashes", 30000);
    rabbit_queue_sleeps("t.crash", true);
    rabbit_publish(0, 1, "k", &e);
    rabbit_turn();
    rabbit_broker_eval("[exit(P, boom) || P <- rabbit_channel:list()].");
    rabbit_check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    CHECK_INT(rabbit_report_of(1)->code, 541);
    WAIT(k->sink_publish(rabbit.sinks[0], &alone, 1) == 1);
    rabbit_turn();
    rabbit_broker_eval("[exit(P, boom) || P <- rabbit_channel:list()].");
    rabbit_check_fate(2, FATE_REFUSED, CAUSE_PROTOCOL);
    rabbit_queue_sleeps("t.crash", false);
    rabbit_publish(0, 3, "k", &e);
    rabbit_check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_a_forbidden_key_is_about_its_message_and_a_forbidden_exchange_an_outage)
{
    static const char *const keys[3] = { "ok.1", "bad.1", "ok.2" };
    struct event e[3] = { rabbit_event("a"), rabbit_event("b"), rabbit_event("c") };

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.topical '{}' t.topics");
    fixture_shell(BROKER "set_topic_permissions app t.topics '^ok' '.*'");
    rabbit_link();
    rabbit_sink(0, "t.topics", 30000);
    rabbit_sink_options("t.topics", &rabbit.sink_options[1]);
    rabbit.sink_options[1].routing_key.fixed = true;
    rabbit_sink(1, NULL, 30000);
    rabbit_publish_three(0, 0, keys, e);
    rabbit_check_fate(1, FATE_UNSURE, CAUSE_PROTOCOL);
    rabbit_check_fate(2, FATE_UNSURE, CAUSE_PROTOCOL);
    rabbit_publish(0, 3, "bad.1", &e[1]);
    rabbit_check_fate(3, FATE_REFUSED, CAUSE_ADDRESS);
    CHECK_INT(rabbit_report_of(3)->code, 403);
    rabbit_publish(1, 4, "bad.1", &e[1]);
    rabbit_check_fate(4, FATE_UNSURE, CAUSE_LOST);
    CHECK_INT(rabbit_report_of(4)->code, 403);
    fixture_shell(BROKER "clear_topic_permissions app");
    rabbit_publish(0, 5, "bad.1", &e[1]);
    rabbit_check_fate(5, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_a_late_confirm_is_unsure_and_says_whether_later_ones_came)
{
    struct event e = rabbit_event("x");

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.late '{}' t.lates late");
    fixture_shell(CLIENT "declare t.prompt '{}' t.lates prompt");
    rabbit_link();
    rabbit_sink(0, "t.lates", 1500);
    fixture_idle = rabbit_turn;
    rabbit_queue_sleeps("t.late", true);
    rabbit_publish(0, 1, "late", &e);
    rabbit_check_fate(1, FATE_UNSURE, CAUSE_TIMEOUT);
    CHECK(!rabbit_report_of(1)->later_confirmed);
    rabbit_publish(0, 2, "late", &e);
    rabbit_publish(0, 3, "prompt", &e);
    rabbit_check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    rabbit_check_fate(2, FATE_UNSURE, CAUSE_TIMEOUT);
    CHECK(rabbit_report_of(2)->later_confirmed);
    rabbit_queue_sleeps("t.late", false);
    rabbit_publish(0, 4, "late", &e);
    rabbit_check_fate(4, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(rabbit.count, 4);
    rabbit_free();
}

TEST(rabbitmq_abandoned_messages_are_reported_at_once_and_only_once)
{
    struct event e = rabbit_event("x");
    uint64_t session;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.left '{}' t.lefts");
    rabbit_link();
    rabbit_sink(0, "t.lefts", 30000);
    rabbit_queue_sleeps("t.left", true);
    for (uint64_t ref = 0; ref < 3; ref++)
        rabbit_publish(0, ref, "k", &e);
    rabbit_turn();
    session = rabbit_sink_session(0);
    k->sink_abandon(rabbit.sinks[0]);
    for (uint64_t ref = 0; ref < 3; ref++) {
        rabbit_check_fate(
            ref, rabbit_report_of(ref) ? rabbit_report_of(ref)->fate : FATE_UNSURE, CAUSE_LOST);
        CHECK(rabbit_report_of(ref)->fate == FATE_UNSURE ||
              rabbit_report_of(ref)->fate == FATE_UNSENT);
    }
    rabbit_queue_sleeps("t.left", false);
    rabbit_publish(0, 3, "k", &e);
    rabbit_check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    CHECK(rabbit_sink_session(0) > session);
    CHECK_INT(rabbit.count, 4);
    rabbit_free();
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
    struct event e = rabbit_event("x");

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.own '{}' t.owns");
    rabbit_link();
    rabbit_sink(0, "t.owns", 30000);
    rabbit_sink_options("t.owns", &rabbit.sink_options[1]);
    rabbit.sink_options[1].dedicated = OPTIONS_DEDICATED_ALWAYS;
    rabbit_sink(1, NULL, 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_publish(1, 2, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(dedicated_connections(), 1);
    rabbit_free();
}

TEST(rabbitmq_a_stalled_sink_moves_to_a_connection_of_its_own)
{
    struct event e = rabbit_event("x");
    uint64_t neighbour, session;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.stall '{}' t.stalls");
    fixture_shell(CLIENT "declare t.flow '{}' t.flows");
    rabbit_link();
    rabbit_sink(0, "t.stalls", 3000);
    rabbit_sink(1, "t.flows", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP && rabbit_sink_state(1) == LINK_UP);
    neighbour = rabbit_sink_session(1);
    session = rabbit_sink_session(0);
    fixture_idle = rabbit_turn;
    rabbit_queue_sleeps("t.stall", true);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_UNSURE, CAUSE_TIMEOUT);
    WAIT(rabbit_sink_session(0) > session && rabbit_sink_state(0) == LINK_UP);
    CHECK_INT(dedicated_connections(), 1);
    rabbit_publish(1, 2, "k", &e);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    CHECK_INT(rabbit_sink_session(1), neighbour);
    rabbit_queue_sleeps("t.stall", false);
    rabbit_publish(0, 3, "k", &e);
    rabbit_check_fate(3, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}
