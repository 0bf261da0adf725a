/* RabbitMQ's source against a real broker. */
#include "tests/conformance/rabbit.h"

#include "bridge/base/header.h"

#define OVERSIZE_BYTES 1000

static const struct connector *const k = &connector_rabbitmq;

TEST(rabbitmq_reads_a_queue_and_acknowledges_after_settle)
{
    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.read");
    fixture_shell(CLIENT "feed t.read 0 1000");
    rabbit_link();
    rabbit_source("t.read", 300, true);
    for (size_t n = 0; n < 1000;) {
        struct batch *b = rabbit_receive(300);

        CHECK(b->count <= 300);
        for (size_t i = 0; i < b->count; i++, n++) {
            char want[32];

            (void)snprintf(want, sizeof want, "message %07zu", n);
            CHECK(bytes_equal(b->events[i].body, bytes_text(want)));
            CHECK(bytes_equal(b->events[i].address, bytes_text("t.read")));
            CHECK(!(b->events[i].flags & EVENT_REDELIVERED));
        }
        k->source_settle(rabbit.source, b, true);
    }
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.read"), 0);
}

TEST(rabbitmq_unsettled_deliveries_come_again_marked)
{
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.again");
    fixture_shell(CLIENT "feed t.again 0 10");
    rabbit_link();
    rabbit_source("t.again", 300, true);
    b = rabbit_receive(4);
    k->source_settle(rabbit.source, b, true);
    b = rabbit_receive(1);
    CHECK_INT(b->count, 1);
    fixture_shell(BROKER "close_all_connections cut");
    WAIT(rabbit_source_now().state != LINK_UP);
    k->source_settle(rabbit.source, b, true); /* of a session that is over */
    b = rabbit_receive(10);
    CHECK(b->events[0].flags & EVENT_REDELIVERED);
    k->source_settle(rabbit.source, b, true);
    rabbit_free();
}

TEST(rabbitmq_a_new_session_waits_for_the_old_batches)
{
    struct batch *old;
    uint64_t session;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.wait");
    fixture_shell(CLIENT "feed t.wait 0 5");
    rabbit_link();
    rabbit_source("t.wait", 300, true);
    old = rabbit_receive(5);
    session = rabbit_source_now().session;
    fixture_shell(BROKER "close_all_connections cut");
    WAIT(rabbit_source_now().state != LINK_UP);
    {
        struct link_status s;

        do {
            rabbit_turn();
            k->link_status(rabbit.link, &s);
        } while (s.state != LINK_UP);
    }
    rabbit_turn();
    CHECK_INT(rabbit_source_now().session, session);
    k->source_settle(rabbit.source, old, false);
    WAIT(rabbit_source_now().state == LINK_UP);
    CHECK(rabbit_source_now().session > session);
    rabbit_free();
}

TEST(rabbitmq_an_unclean_start_begins_with_one_and_doubles)
{
    static const size_t most[] = { 1, 2, 4, 8 };

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.ramp");
    fixture_shell(CLIENT "feed t.ramp 0 40");
    rabbit_link();
    rabbit_source("t.ramp", 300, false);
    for (size_t i = 0; i < 4; i++) {
        struct batch *b = rabbit_receive(300);

        if (b->count > most[i])
            harness_fail(__FILE__, __LINE__, "batch %zu has %zu", i, b->count);
        k->source_settle(rabbit.source, b, true);
    }
    rabbit_free();
}

TEST(rabbitmq_a_deleted_queue_is_said_and_made_again)
{
    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.gone");
    fixture_shell(CLIENT "feed t.gone 0 1");
    rabbit_link();
    rabbit_source("t.gone", 300, true);
    k->source_settle(rabbit.source, rabbit_receive(1), true);
    fixture_shell(CLIENT "delete t.gone");
    WAIT(rabbit_source_now().state != LINK_UP);
    CHECK_CONTAINS(rabbit_source_now().error, "t.gone");
    WAIT(rabbit_source_now().state == LINK_UP);
    fixture_shell(CLIENT "feed t.gone 7 1");
    k->source_settle(rabbit.source, rabbit_receive(1), true);
    rabbit_free();
}

TEST(rabbitmq_a_pause_takes_nothing_new)
{
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.pause");
    rabbit_link();
    rabbit_source("t.pause", 300, true);
    WAIT(rabbit_source_now().state == LINK_UP);
    k->source_pause(rabbit.source, true);
    fixture_shell(CLIENT "feed t.pause 0 3");
    for (int i = 0; i < 5; i++)
        rabbit_turn();
    CHECK(k->source_receive(rabbit.source, 10) == NULL);
    CHECK_INT(rabbit_queue_count("t.pause"), 3);
    k->source_pause(rabbit.source, false);
    b = rabbit_receive(10);
    CHECK(!(b->events[0].flags & EVENT_REDELIVERED));
    k->source_settle(rabbit.source, b, true);
    rabbit_free();
}

TEST(rabbitmq_a_batch_that_was_not_kept_comes_again)
{
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.back");
    fixture_shell(CLIENT "feed t.back 0 6");
    rabbit_link();
    rabbit_source("t.back", 300, true);
    b = rabbit_receive(2);
    k->source_settle(rabbit.source, b, false);
    b = rabbit_receive(2); /* of the same session still, acknowledged without the first two */
    while (!(b->events[0].flags & EVENT_REDELIVERED)) {
        k->source_settle(rabbit.source, b, true);
        b = rabbit_receive(2);
    }
    CHECK(bytes_equal(b->events[0].body, bytes_text("message 0000000")));
    CHECK_INT(b->count, 2);
    k->source_settle(rabbit.source, b, true);
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.back"), 0);
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

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.mine");
    rabbit_link();
    rabbit_source_options("t.mine", &rabbit.source_options);
    rabbit.source_options.exclusive = true;
    rabbit_source(NULL, 10, true);
    WAIT(rabbit_source_now().state == LINK_UP);
    rabbit_source_options("t.mine", &second_options);
    CHECK_INT(k->source_open(rabbit.link, &spec, &second, &why), 0);
    do {
        rabbit_turn();
        k->source_status(second, &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "403");
    fixture_shell(CLIENT "feed t.mine 0 1");
    k->source_settle(rabbit.source, rabbit_receive(1), true);
    k->source_free(second);
    option_done(k->source_options, &second_options);
    rabbit_free();
}

TEST(rabbitmq_a_quorum_queue_with_one_active_consumer_is_made)
{
    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.quorum");
    rabbit_link();
    rabbit_source_options("t.quorum", &rabbit.source_options);
    rabbit.source_options.type = OPTIONS_QUORUM;
    rabbit.source_options.single_active = true;
    rabbit.source_options.exchange = strdup("amq.topic");
    rabbit.source_options.binding_keys = (struct option_list){ calloc(2, sizeof(char *)), 2 };
    rabbit.source_options.binding_keys.at[0] = strdup("q.one.#");
    rabbit.source_options.binding_keys.at[1] = strdup("q.two");
    rabbit_source(NULL, 10, true);
    WAIT(rabbit_source_now().state == LINK_UP);
    fixture_shell(
        BROKER "list_queues name type arguments | grep '^t.quorum.quorum.*single-active'");
    rabbit_sink_options("amq.topic", &rabbit.sink_options[0]);
    rabbit.sink_options[0].declare = OPTIONS_PASSIVE;
    rabbit_sink(0, NULL, 30000);
    for (uint64_t i = 0; i < 3; i++) {
        static const char *const keys[] = { "q.one.a.b", "q.two", "q.three" };
        struct event e = rabbit_event(keys[i]);

        rabbit_publish(0, i, keys[i], &e);
        rabbit_check_fate(
            i, i < 2 ? FATE_DELIVERED : FATE_REFUSED, i < 2 ? CAUSE_NONE : CAUSE_UNROUTABLE);
        if (i < 2) {
            struct batch *b = rabbit_receive(10);

            CHECK(bytes_equal(b->events[0].address, bytes_text(keys[i])));
            k->source_settle(rabbit.source, b, true);
        }
    }
    rabbit_free();
}

TEST(rabbitmq_a_queue_of_another_type_is_said_and_tried_again)
{
    struct event e = rabbit_event("x");

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.kind '{}' t.kinds");
    rabbit_link();
    rabbit_sink(0, "t.kinds", 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    rabbit_source_options("t.kind", &rabbit.source_options);
    rabbit.source_options.type = OPTIONS_QUORUM;
    rabbit_source(NULL, 10, true);
    WAIT(rabbit_source_now().error[0]);
    CHECK(rabbit_source_now().state != LINK_UP);
    CHECK_CONTAINS(rabbit_source_now().error, "406");
    CHECK_CONTAINS(rabbit_source_now().error, "t.kind");
    rabbit_publish(0, 2, "k", &e);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    fixture_shell(CLIENT "delete t.kind");
    WAIT(rabbit_source_now().state == LINK_UP);
    CHECK_TEXT(rabbit_source_now().error, "");
    rabbit_free();
}

TEST(rabbitmq_an_undeclared_queue_is_waited_for)
{
    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.unborn");
    rabbit_link();
    rabbit_source_options("t.unborn", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_NONE;
    rabbit_source(NULL, 10, true);
    WAIT(rabbit_source_now().error[0]);
    CHECK_CONTAINS(rabbit_source_now().error, "404");
    fixture_shell(CLIENT "feed t.unborn 0 1");
    k->source_settle(rabbit.source, rabbit_receive(1), true);
    rabbit_free();
}

TEST(rabbitmq_bindings_have_arguments)
{
    struct options_binding *b;
    struct event e = rabbit_event("picked");
    struct batch *got;
    struct buf h;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.bound");
    rabbit_link();
    rabbit_source_options("t.bound", &rabbit.source_options);
    b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    *b = (struct options_binding){ .set = true, .exchange = strdup("amq.headers") };
    b->arguments = (struct option_map){ calloc(2, sizeof *b->arguments.at), 2 };
    b->arguments.at[0] =
        (struct option_pair){ strdup("x-match"), strdup("all"), OPTION_VALUE_TEXT };
    b->arguments.at[1] = (struct option_pair){ strdup("colour"), strdup("red"), OPTION_VALUE_TEXT };
    rabbit.source_options.bindings = (struct option_tables){ b, 1 };
    rabbit_source(NULL, 10, true);
    WAIT(rabbit_source_now().state == LINK_UP);
    rabbit_sink_options("amq.headers", &rabbit.sink_options[0]);
    rabbit.sink_options[0].declare = OPTIONS_PASSIVE;
    rabbit_sink(0, NULL, 30000);
    buf_init(&h, 1000);
    header_put_text(&h, HEADER_USER, "colour", bytes_text("red"));
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_REFUSED, CAUSE_UNROUTABLE);
    e.headers = buf_bytes(&h);
    rabbit_publish(0, 2, "k", &e);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    got = rabbit_receive(10);
    CHECK_INT(got->count, 1);
    k->source_settle(rabbit.source, got, true);
    buf_done(&h);
    rabbit_free();
}

TEST(rabbitmq_a_source_knows_how_much_waits)
{
    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.lag");
    fixture_shell(CLIENT "feed t.lag 0 30");
    rabbit_link();
    rabbit_source_options("t.lag", &rabbit.source_options);
    rabbit.source_options.prefetch = 10;
    rabbit_source(NULL, 300, true);
    CHECK_INT(rabbit_source_now().lag, -1);
    WAIT(rabbit_source_now().lag == 20);
    rabbit_free();
}

/* Two of three messages are small enough for the log. */
static void oversize_queue(const char *queue)
{
    fixture_shell(CLIENT "declare %s '{\"x-dead-letter-exchange\":\"\","
                         "\"x-dead-letter-routing-key\":\"%s.dead\"}'",
        queue, queue);
    fixture_shell(CLIENT "declare %s.dead '{}'", queue);
    fixture_shell(CLIENT "feed_sizes %s 10 %d 20", queue, OVERSIZE_BYTES + 1);
    rabbit_link();
    rabbit_source_options(queue, &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
}

TEST(rabbitmq_an_oversize_message_stops_the_source_and_stays)
{
    rabbit_need_broker();
    oversize_queue("t.over");
    rabbit_source_limited(OVERSIZE_BYTES);
    WAIT(rabbit_source_now().state == LINK_STOPPED);
    CHECK_CONTAINS(rabbit_source_now().error, "oversize: reject");
    CHECK(!k->source_receive(rabbit.source, 10));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.over"), 3);
    CHECK_INT(rabbit_queue_count("t.over.dead"), 0);
}

TEST(rabbitmq_an_oversize_message_is_dead_lettered_by_the_broker_where_asked)
{
    size_t got = 0;

    rabbit_need_broker();
    oversize_queue("t.overs");
    rabbit.source_options.oversize = OPTIONS_REJECT;
    rabbit_source_limited(OVERSIZE_BYTES);
    while (got < 2) {
        struct batch *b = rabbit_receive(10);

        for (size_t i = 0; i < b->count; i++)
            CHECK_INT(b->events[i].body.n, got++ ? 20 : 10);
        k->source_settle(rabbit.source, b, true);
    }
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.overs"), 0);
    CHECK_INT(rabbit_queue_count("t.overs.dead"), 1);
}

/* The broker closes the channel with 406 when an acknowledgement takes it too long. */
TEST(rabbitmq_a_consumer_that_the_broker_closes_is_said_and_starts_again)
{
    uint64_t session;
    struct batch *b;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.tardy");
    fixture_shell(CLIENT "feed t.tardy 0 1");
    rabbit_broker_eval("application:set_env(rabbit, consumer_timeout, 200), "
                       "application:set_env(rabbit, channel_tick_interval, 300).");
    rabbit_link();
    rabbit_source("t.tardy", 10, true);
    b = rabbit_receive(1);
    session = rabbit_source_now().session;
    WAIT(rabbit_source_now().state != LINK_UP);
    CHECK_CONTAINS(rabbit_source_now().error, "406");
    CHECK_INT(rabbit_source_now().session, session); /* while its batch is out */
    rabbit_broker_eval("application:set_env(rabbit, consumer_timeout, 1800000), "
                       "application:set_env(rabbit, channel_tick_interval, 60000).");
    k->source_settle(rabbit.source, b, true);
    b = rabbit_receive(1);
    CHECK(b->events[0].flags & EVENT_REDELIVERED);
    CHECK(rabbit_source_now().session > session);
    k->source_settle(rabbit.source, b, true);
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.tardy"), 0);
}
