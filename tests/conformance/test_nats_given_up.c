/* What a stream's consumer gives up comes as refused, with its message. */
#include "tests/conformance/fixture.h"
#include "tests/conformance/nats_rig.h"

#include "bridge/base/header.h"

/* A stream of three messages, the first with a header; the consumer gives each out twice. */
static void begin(const char *stream, int ack_wait_ms)
{
    nats_rig_client("c.stream('%s', '%s'); c.js_publish('%s', b'0', [('a', '1')]); "
                    "[c.js_publish('%s', b'%%d' %% i) for i in (1, 2)]; "
                    "c.consumer('%s', 'd', max_deliver=2, ack_wait=%d * 10**6)",
        stream, stream, stream, stream, stream, ack_wait_ms);
    nats_rig_from_stream(stream);
    nats_rig.from.declare = NATS_DECLARE_PASSIVE;
}

/* Another member of the durable takes n messages twice and never answers. */
static void use_up(const char *stream, int n)
{
    nats_rig_client("got = []\n"
                    "while len(got) < 2 * %d: got += c.fetch('%s', 'd', %d, 2)\n",
        n, stream, n);
}

static const struct event *check_given_up(const struct batch *b, const char *body, const char *why)
{
    struct bytes text = BYTES_NONE;
    int32_t code = -1;

    CHECK_INT(b->count, 1);
    CHECK(b->events[0].flags & EVENT_REFUSED);
    CHECK(bytes_equal(b->events[0].body, bytes_text(body)));
    CHECK(b->events[0].time_ms > 1500000000000);
    CHECK(header_refusal(b->events[0].headers, &code, &text));
    CHECK_INT(code, 0);
    if (!memmem(text.at, text.n, why, strlen(why)))
        harness_fail(__FILE__, __LINE__, "'%.*s' does not say %s", (int)text.n, text.at, why);
    return &b->events[0];
}

static bool nobody_gave_up(const char *stream)
{
    char line[120];

    (void)snprintf(line, sizeof line, "c.consumer_info('%s', 'd')['num_redelivered'] == 0", stream);
    return nats_rig_client_says(line);
}

TEST(nats_a_message_that_was_delivered_too_often_comes_as_given_up)
{
    struct batch *b = NULL;
    struct header h;

    begin("WORN", 500);
    nats_rig_open();
    nats_rig_source();
    nats_rig_take(3);
    UNTIL(connector_nats.source_drain(nats_rig.source));
    nats_rig_close();
    use_up("WORN", 0);
    nats_rig_client("c.js_publish('WORN', b'3', [('a', '1')])");
    use_up("WORN", 1);
    nats_rig_open();
    nats_rig_source(); /* whose pull makes the server look at it once more */
    b = nats_rig_receive_events();
    CHECK(header_find(check_given_up(b, "3", "max_deliver (2)")->headers, bytes_text("a"), &h));
    CHECK(bytes_equal(b->events[0].origin, bytes_text("WORN-4")));
    connector_nats.source_settle(nats_rig.source, b, true);
    UNTIL(nobody_gave_up("WORN"));
    CHECK_INT(nats_rig.gaps, 0);
    nats_rig_feed("WORN", 4, 1);
    CHECK_TEXT(nats_rig_take(1), "4");
    nats_rig_close();
}

TEST(nats_a_message_that_another_terminates_comes_as_given_up_once)
{
    struct batch *b = NULL;

    begin("ENDED", 30000);
    nats_rig_client("m = c.fetch('ENDED', 'd', 1)[0]; open('reply', 'w').write(m.reply)");
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(2), "2");
    nats_rig_client("c.publish(open('reply').read(), b'+TERM'); c.flush()");
    b = nats_rig_receive_events();
    check_given_up(b, "0", "terminated");
    connector_nats.source_settle(nats_rig.source, b, true);
    /* Told again, as a server that starts again may do: it is known, after a restart too. */
    nats_rig_close();
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().lag == 0);
    nats_rig_client("c.publish('\\$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ENDED.d', "
                    "b'{\\\"stream_seq\\\":1,\\\"deliveries\\\":1}'); c.flush()");
    nats_rig_feed("ENDED", 7, 1);
    CHECK_TEXT(nats_rig_take(1), "7");
    nats_rig_feed("ENDED", 8, 1); /* behind what would have been fetched */
    CHECK_TEXT(nats_rig_take(1), "8");
    nats_rig_close();
}

TEST(nats_a_message_given_up_and_gone_from_its_stream_is_a_gap)
{
    begin("AWAY", 500);
    nats_rig_open();
    nats_rig_source();
    nats_rig_take(3);
    nats_rig_client("c.publish('\\$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.AWAY.d', "
                    "b'{\\\"stream_seq\\\":99,\\\"deliveries\\\":2}'); c.flush()");
    nats_rig_take_gap();
    CHECK_INT(nats_rig.gap_count, 1);
    CHECK_CONTAINS(nats_rig.gap_cause, "gone before it could be logged");
    nats_rig_close();
}

TEST(nats_messages_given_up_while_nobody_listened_are_a_counted_gap_once)
{
    begin("UNHEARD", 500);
    use_up("UNHEARD", 3);
    nats_rig_client("c.fetch('UNHEARD', 'd', 1, 1)\n"
                    "while c.consumer_info('UNHEARD', 'd')['num_ack_pending']: pass");
    nats_rig_open();
    nats_rig_source();
    nats_rig_take_gap();
    CHECK_INT(nats_rig.gap_count, 3);
    CHECK_CONTAINS(nats_rig.gap_cause, "nobody heard of it");
    nats_rig_close();
    nats_rig_open();
    nats_rig_source();
    nats_rig_feed("UNHEARD", 7, 1);
    CHECK_TEXT(nats_rig_take(1), "7");
    CHECK_INT(nats_rig.gap_count, 3);
    nats_rig_close();
}

TEST(nats_a_user_who_may_not_hear_what_is_given_up_reads_the_stream_all_the_same)
{
    begin("DEAF", 500);
    (void)snprintf(
        nats_rig.url, sizeof nats_rig.url, "nats://deaf:secret@127.0.0.1:%s", nats_rig_port());
    nats_rig.link.url = nats_rig.url;
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(3), "2");
    CHECK_INT(nats_rig_status().reconnects, 0);
    nats_rig_close();
}
