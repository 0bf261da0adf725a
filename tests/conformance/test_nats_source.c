/* Rules of the NATS sources that are its own, on a real server: BASCULE_TEST_NATS_PORT names its
 * port; what only a client can do is done by hand (tests/brokers/nats_client.py). */
#include "tests/conformance/fixture.h"
#include "tests/conformance/nats_rig.h"

#include "bridge/base/header.h"

TEST(nats_what_is_on_disk_is_acknowledged_and_not_taken_again)
{
    nats_rig_client("c.stream('DISK', 'disk')");
    nats_rig_from_stream("DISK");
    nats_rig.from.ack_wait_ms = 1000;
    nats_rig_feed("disk", 0, 10);
    nats_rig_open();
    nats_rig_source();
    nats_rig_hold(10); /* and then the process ends */
    nats_rig_close();
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().duplicates == 10);
    CHECK(!connector_nats.source_receive(nats_rig.source, 100));
    nats_rig_feed("disk", 10, 1);
    CHECK_TEXT(nats_rig_take(1), "10");
    UNTIL(connector_nats.source_drain(nats_rig.source));
    for (int64_t end = nats_rig_clock(CLOCK_MONOTONIC) + NATS_RIG_PATIENCE_MS;
         !nats_rig_client_says("c.consumer_info('DISK', 'd')['ack_floor']['stream_seq'] == 11");) {
        CHECK(nats_rig_clock(CLOCK_MONOTONIC) < end);
        nats_rig_turn();
    }
    nats_rig_close();
}

TEST(nats_late_first_arrivals_behind_newer_ones_are_taken)
{
    nats_rig_client("c.stream('BEHIND', 'behind'); c.consumer('BEHIND', 'd', ack_wait=2 * 10**9)");
    nats_rig_from_stream("BEHIND");
    nats_rig_feed("behind", 0, 5);
    /* Another member of the durable has them and goes without a word. */
    nats_rig_client("assert len(c.fetch('BEHIND', 'd', 5)) == 5");
    nats_rig_feed("behind", 5, 5);
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(5), "9");
    CHECK_INT(nats_rig_status().reordered, 0);
    CHECK_TEXT(nats_rig_take(5), "4");
    CHECK_INT(nats_rig_status().duplicates, 0);
    CHECK_INT(nats_rig_status().reordered, 5);
    nats_rig_close();
}

TEST(nats_a_stream_made_again_swallows_nothing)
{
    nats_rig_client("c.stream('AGAIN', 'again')");
    nats_rig_from_stream("AGAIN");
    nats_rig_feed("again", 0, 10);
    nats_rig_open();
    nats_rig_source();
    nats_rig_hold(10); /* 1 to 10 are in the set, and stay there */
    nats_rig_close();
    nats_rig_client("c.js('STREAM.DELETE.AGAIN'); c.stream('AGAIN', 'again')");
    nats_rig_feed("again", 100, 10);
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(10), "109");
    CHECK_INT(nats_rig.gaps, 1);
    CHECK_CONTAINS(nats_rig.gap_cause, "another one than before");
    nats_rig_close();
}

TEST(nats_a_consumer_deleted_under_way_is_made_again_where_it_stood)
{
    nats_rig_client("c.stream('GONE', 'gone')");
    nats_rig_from_stream("GONE");
    nats_rig_feed("gone", 0, 3);
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(3), "2");
    nats_rig_client("c.js('CONSUMER.DELETE.GONE.d')");
    nats_rig_feed("gone", 3, 1);
    CHECK_TEXT(nats_rig_take(1), "3");
    nats_rig_close();
}

TEST(nats_messages_trimmed_before_they_were_read_are_a_counted_gap)
{
    nats_rig_client("c.stream('TRIM', 'trim')");
    nats_rig_from_stream("TRIM");
    nats_rig_feed("trim", 0, 5);
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(5), "4");
    UNTIL(connector_nats.source_drain(nats_rig.source));
    nats_rig_close();
    nats_rig_feed("trim", 5, 20);
    nats_rig_client("c.js('STREAM.PURGE.TRIM', seq=21)"); /* what is below */
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(5), "24");
    CHECK_INT(nats_rig.gap_count, 15);
    CHECK_CONTAINS(nats_rig.gap_cause, "removed from the stream");
    nats_rig_close();
}

TEST(nats_a_stream_that_is_not_there_is_made_or_waited_for)
{
    nats_rig.subjects[0] = nats_rig_text("made.>");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig_from_stream("MADE");
    nats_rig.from.declare = NATS_DECLARE_PASSIVE;
    nats_rig_open();
    nats_rig_source();
    UNTIL(strstr(nats_rig_status().error, "stream not found"));
    CHECK_INT(nats_rig_status().state, LINK_DOWN);
    nats_rig_close();
    nats_rig.from.declare = NATS_DECLARE_CREATE;
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().lag == 0);
    nats_rig_feed("made.x", 0, 1);
    CHECK_TEXT(nats_rig_take(1), "0");
    nats_rig_close();
}

TEST(nats_a_source_takes_only_its_subjects_from_where_it_should)
{
    nats_rig.subjects[0] = nats_rig_text("part.b");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig_from_stream("PART");
    nats_rig.from.start_sequence = 5;
    nats_rig_client("c.stream('PART', 'part.*')");
    nats_rig_feed("part.a", 0, 4);
    nats_rig_feed("part.b", 4, 2);
    nats_rig_feed("part.a", 6, 2);
    nats_rig_feed("part.b", 8, 1);
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(3), "8");
    UNTIL(nats_rig_status().lag == 0);
    CHECK_INT(nats_rig.gaps, 0);
    nats_rig_close();
}

TEST(nats_an_oversize_message_stops_the_source_or_is_a_gap)
{
    nats_rig_client(
        "c.stream('WIDE', 'wide'); c.js_publish('wide', b'x' * 5000); c.js_publish('wide', b's')");
    nats_rig_from_stream("WIDE");
    nats_rig.source_spec.max_event_bytes = 1000;
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_STOPPED);
    CHECK_CONTAINS(nats_rig_status().error, "message 1 has");
    nats_rig_close();
    nats_rig_client("c.js('CONSUMER.DELETE.WIDE.d')");
    nats_rig.from.oversize = NATS_OVERSIZE_SKIP;
    nats_rig.kept_n = 0;
    nats_rig_open();
    nats_rig_source();
    CHECK_TEXT(nats_rig_take(1), "s");
    nats_rig_feed("wide", 3, 1); /* behind the server's word that somebody ended the wide one */
    CHECK_TEXT(nats_rig_take(1), "3");
    nats_rig_feed("wide", 4, 1);
    CHECK_TEXT(nats_rig_take(1), "4");
    CHECK_INT(nats_rig.gap_count, 1);
    nats_rig_close();
}

TEST(nats_messages_in_hand_are_not_given_to_another_while_the_store_stands)
{
    nats_rig_client("c.stream('SLOW', 'slow')");
    nats_rig_from_stream("SLOW");
    nats_rig.from.ack_wait_ms = 3000;
    nats_rig_feed("slow", 0, 5);
    nats_rig_open();
    nats_rig_source();
    struct batch *b = nats_rig_receive_events();
    for (int64_t end = nats_rig_clock(CLOCK_MONOTONIC) + 4500;
         nats_rig_clock(CLOCK_MONOTONIC) < end;)
        nats_rig_turn();
    nats_rig_client("i = c.consumer_info('SLOW', 'd'); assert i['num_redelivered'] == 0, i");
    connector_nats.source_settle(nats_rig.source, b, true);
    UNTIL(connector_nats.source_drain(nats_rig.source));
    nats_rig_close();
}

TEST(nats_a_bucket_gets_the_latest_value_and_gives_every_change)
{
    static const char *const now[] = { "c.kv_get('box', 'k.1') == b'1'",
        "c.kv_get('box', 'k.1') == b'2'", "c.kv_get('box', 'k.1') is None" };
    const struct bytes values[] = { bytes_of("1", 1), bytes_of("2", 1), BYTES_NONE };
    struct event e = { .id = bytes_text("i") };
    struct message m = { .ref = 7, .event = &e };
    struct batch *b = NULL;

    nats_rig_client("c.bucket('box', 5)");
    nats_rig.to.bucket = nats_rig.from.bucket = nats_rig_text("box");
    nats_rig.to.bucket_key.text = nats_rig_text("${key}");
    nats_rig.from.durable = nats_rig_text("d");
    nats_rig_open();
    nats_rig_sink("$", NULL);
    nats_rig_source();
    m.fields[NATS_SLOT_BUCKET_KEY] = bytes_text("k.1");
    for (size_t i = 0; i < 3; i++) {
        m.token = bytes_of(&"abc"[i], 1);
        e.body = values[i];
        UNTIL(connector_nats.sink_publish(nats_rig.sink, &m, 1) == 1);
        UNTIL(nats_rig_collected());
        CHECK_INT(nats_rig_last.fate, FATE_DELIVERED);
        CHECK(nats_rig_client_says(now[i]));
        b = nats_rig_receive_events();
        CHECK_INT(b->count, 1);
        CHECK(bytes_equal(b->events[0].key, bytes_text("k.1")));
        CHECK(bytes_equal(b->events[0].body, values[i]));
        connector_nats.source_settle(nats_rig.source, b, true);
    }
    nats_rig_close();
}

TEST(nats_subjects_come_with_headers_and_their_reply_subject)
{
    struct bytes list;
    struct header h;

    nats_rig.subjects[0] = nats_rig_text("live.*");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_UP);
    nats_rig_client(
        "c.publish('live.a', b'x', [('b', '2'), ('a', '1'), ('b', '')], 'to.me'); c.flush()");
    struct batch *b = nats_rig_receive_events();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].address, bytes_text("live.a")));
    list = b->events[0].headers;
    CHECK_INT(header_next(&list, &h), 1);
    CHECK(bytes_equal(h.name, bytes_text("b")));
    CHECK_INT(header_next(&list, &h), 1);
    CHECK(bytes_equal(h.name, bytes_text("a")));
    CHECK_INT(header_next(&list, &h), 1);
    CHECK(bytes_equal(h.value.bytes, bytes_text("")));
    CHECK_INT(header_next(&list, &h), 1);
    CHECK_INT(h.scope, HEADER_PROPERTY);
    CHECK(bytes_equal(h.value.bytes, bytes_text("to.me")));
    connector_nats.source_settle(nats_rig.source, b, true);
    nats_rig_close();
}

TEST(nats_time_without_a_connection_is_a_gap_that_ends)
{
    static const struct fixture end = { .end = "nats_subject" };

    nats_rig.subjects[0] = nats_rig_text("cut.>");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_UP);
    nats_rig_client("c.publish('cut.a', b'1'); c.flush()");
    CHECK_TEXT(nats_rig_take(1), "1");
    fixture_cut(&end);
    nats_rig_take_gap();
    if (nats_rig.gap_end_ms == 0)
        nats_rig_take_gap();
    CHECK(nats_rig.gap_end_ms > 0);
    nats_rig_client("c.publish('cut.a', b'2'); c.flush()");
    CHECK_TEXT(nats_rig_take(1), "2");
    nats_rig_close();
    nats_rig_open(); /* and so is the time in which the process was not there */
    nats_rig_source();
    nats_rig_take_gap();
    CHECK_CONTAINS(nats_rig.gap_cause, "nobody listened");
    nats_rig_close();
}

TEST(nats_what_comes_faster_than_it_is_taken_is_counted)
{
    struct batch *b = NULL;
    size_t got = 0;

    nats_rig.subjects[0] = nats_rig_text("fast");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig.source_spec.window_events = 10;
    nats_rig.source_spec.window_bytes = 5000;
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_UP);
    nats_rig_client("[c.publish('fast', b'%%0100d' %% i) for i in range(1000)]; c.flush()");
    while (got + nats_rig.gap_count < 1000) {
        b = nats_rig_receive();
        got += b->count;
        connector_nats.source_settle(nats_rig.source, b, true);
    }
    CHECK_INT(got + nats_rig.gap_count, 1000);
    CHECK(nats_rig.gap_count > 0);
    CHECK_CONTAINS(nats_rig.gap_cause, "faster");
    nats_rig_close();
}

TEST(nats_members_of_a_queue_group_share)
{
    nats_rig.subjects[0] = nats_rig_text("shared");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    nats_rig.from.queue_group = nats_rig_text("q");
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_UP);
    nats_rig_client(
        "s = c.subscribe('shared', 'q'); [c.publish('shared', b'x') for i in range(200)]; "
        "c.flush(); assert 0 < len(s.waiting) < 200");
    CHECK(nats_rig_receive_events()->count > 0);
    nats_rig_close();
}

TEST(nats_a_seed_logs_in)
{
    (void)snprintf(nats_rig.url, sizeof nats_rig.url, "nats://127.0.0.1:%s", nats_rig_port());
    nats_rig.link.url = nats_rig.url;
    nats_rig.link.nkey_seed = getenv("BASCULE_TEST_NATS_SEED");
    nats_rig_client("c.stream('SEED', 'seed')");
    nats_rig_open();
    nats_rig_sink("seed", "SEED");
    CHECK_INT(nats_rig_publish_text("seed", "a"), FATE_DELIVERED);
    nats_rig_close();
}

/* Bodies 0 to 4; begins in the middle of them by what the options say. */
static void starts(const char *stream, size_t n)
{
    nats_rig_from_stream(stream);
    nats_rig_open();
    nats_rig_source();
    UNTIL(nats_rig_status().state == LINK_UP && nats_rig_status().lag >= 0);
    nats_rig_feed(stream, 5, 1);
    CHECK_TEXT(nats_rig_take(n), "5");
    nats_rig_close();
}

TEST(nats_a_consumer_that_is_made_begins_where_it_is_told)
{
    static char time[40];
    FILE *f = NULL;

    nats_rig_client("c.stream('NEW', 'NEW'); c.stream('LAST', 'LAST'); c.stream('SINCE', 'SINCE')");
    nats_rig_feed("NEW", 0, 5);
    nats_rig_feed("LAST", 0, 5);
    nats_rig_feed("SINCE", 0, 5);
    nats_rig_client(
        "open('time', 'w').write(c.js('STREAM.MSG.GET.SINCE', seq=4)['message']['time'])");
    f = fopen("time", "r");
    CHECK(f && fgets(time, sizeof time, f));
    (void)fclose(f);
    nats_rig.from.start = NATS_START_NEW;
    starts("NEW", 1);
    nats_rig.kept_n = 0;
    nats_rig.from.start = NATS_START_LAST;
    starts("LAST", 2);
    nats_rig.kept_n = 0;
    nats_rig.from.start = NATS_START_ALL;
    nats_rig.from.start_time = time;
    starts("SINCE", 3);
    CHECK_INT(nats_rig.gaps, 0);
}
