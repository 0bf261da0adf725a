/* Rules of the NATS sink that are its own, on a real server: BASCULE_TEST_NATS_PORT names its port;
 * what only a client can do is done by hand (tests/brokers/nats_client.py). */
#include "tests/conformance/fixture.h"
#include "tests/conformance/nats_rig.h"

#include "bridge/base/header.h"

TEST(nats_a_repeat_of_a_token_is_delivered_and_stored_once)
{
    nats_rig_client("c.stream('REPEAT', 'repeat')");
    nats_rig_open();
    nats_rig_sink("repeat", "REPEAT");
    CHECK_INT(nats_rig_publish_text("repeat", "store/1/1/1/0"), FATE_DELIVERED);
    CHECK_TEXT(nats_rig_last_text, "");
    CHECK_INT(nats_rig_publish_text("repeat", "store/1/1/1/0"), FATE_DELIVERED);
    CHECK_TEXT(nats_rig_last_text, "the server had it already");
    CHECK_INT(
        nats_rig_publish_text("repeat", "store/1/1/1/1"), FATE_DELIVERED); /* a replay is another */
    nats_rig_client("assert c.stream_state('REPEAT')['messages'] == 2");
    nats_rig_close();
}

TEST(nats_a_full_or_sealed_stream_is_waited_for)
{
    nats_rig_client("c.stream('FULL', 'full', max_msgs=1, discard='new')");
    nats_rig_open();
    nats_rig_sink("full", "FULL");
    CHECK_INT(nats_rig_publish_text("full", "a"), FATE_DELIVERED);
    CHECK_INT(nats_rig_publish_text("full", "b"), FATE_UNSENT);
    CHECK_INT(nats_rig_last.cause, CAUSE_BROKER);
    CHECK_TEXT(nats_rig_last_text, "maximum messages exceeded");
    nats_rig_client("c.js('STREAM.PURGE.FULL')");
    CHECK_INT(nats_rig_publish_text("full", "b"), FATE_DELIVERED);
    nats_rig_client("c.stream_update('FULL', max_msgs=5); c.stream_update('FULL', sealed=True)");
    CHECK_INT(nats_rig_publish_text("full", "c"), FATE_UNSENT);
    CHECK_INT(nats_rig_last.cause, CAUSE_BROKER);
    nats_rig_close();
}

TEST(nats_what_is_too_large_is_refused_for_good)
{
    static uint8_t large[2 << 20];
    struct event e = { .body = bytes_of(large, sizeof large) };

    nats_rig_client("c.stream('LARGE', 'large', max_msg_size=1000)");
    nats_rig_open();
    nats_rig_sink("large", "LARGE");
    CHECK_INT(nats_rig_publish("large", "a", &e), FATE_REFUSED); /* the server's limit */
    CHECK_INT(nats_rig_last.cause, CAUSE_FINAL);
    CHECK_CONTAINS(nats_rig_last_text, "max_payload of 1048576");
    e.body.n = 2000; /* the stream's */
    CHECK_INT(nats_rig_publish("large", "b", &e), FATE_REFUSED);
    CHECK_INT(nats_rig_last.cause, CAUSE_FINAL);
    e.body.n = 500;
    CHECK_INT(nats_rig_publish("large", "c", &e), FATE_DELIVERED);
    CHECK_INT(nats_rig_status().reconnects, 0);
    nats_rig_close();
}

TEST(nats_a_fixed_subject_without_its_stream_is_waited_for)
{
    nats_rig_open();
    nats_rig_sink("late", "LATE");
    CHECK_INT(nats_rig_publish_text("late", "a"), FATE_UNSENT);
    CHECK_INT(nats_rig_last.cause, CAUSE_LOST);
    CHECK_INT(nats_rig_status().state, LINK_DOWN);
    CHECK_CONTAINS(nats_rig_status().error, "no stream takes this subject");
    nats_rig_client("c.stream('OTHER_LATE', 'late')");
    CHECK_INT(nats_rig_publish_text("late", "a"), FATE_UNSENT); /* not the one that was named */
    CHECK_CONTAINS(nats_rig_last_text, "expected stream");
    nats_rig_client("c.js('STREAM.DELETE.OTHER_LATE'); c.stream('LATE', 'late')");
    CHECK_INT(nats_rig_publish_text("late", "a"), FATE_DELIVERED);
    CHECK_INT(nats_rig_status().state, LINK_UP);
    nats_rig_close();
}

TEST(nats_a_subject_of_a_template_that_nobody_takes_is_the_events_trouble)
{
    nats_rig_client("c.stream('SOME', 'some.*')");
    nats_rig_open();
    nats_rig_sink("${address}", "SOME");
    CHECK_INT(nats_rig_publish_text("nobody.takes", "a"), FATE_REFUSED);
    CHECK_INT(nats_rig_last.cause, CAUSE_ADDRESS);
    CHECK_INT(nats_rig_publish_text("two words", "b"), FATE_REFUSED);
    CHECK_INT(nats_rig_last.cause, CAUSE_FINAL);
    CHECK_INT(nats_rig_publish_text("some.*", "c"), FATE_REFUSED);
    CHECK_INT(nats_rig_last.cause, CAUSE_FINAL);
    CHECK_INT(nats_rig_publish_text("some.one", "d"), FATE_DELIVERED);
    nats_rig_close();
}

static void as_limited(void)
{
    (void)snprintf(
        nats_rig.url, sizeof nats_rig.url, "nats://limited:secret@127.0.0.1:%s", nats_rig_port());
    nats_rig.link.url = nats_rig.url;
}

static bool publish_rest(const struct message *m, bool *out, const bool *done, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!out[i] && !done[i])
            out[i] = connector_nats.sink_publish(nats_rig.sink, &m[i], 1) == 1;
    return true;
}

TEST(nats_a_forbidden_subject_is_never_taken_for_delivered)
{
    struct event e = { .body = bytes_text("x") };
    struct message m[20];
    size_t delivered = 0, refused = 0;
    bool done[20] = { false }, out[20] = { false };

    as_limited();
    nats_rig_open();
    nats_rig_sink("${address}", NULL);
    for (size_t i = 0; i < 20; i++) {
        m[i] = (struct message){ .ref = i, .event = &e };
        m[i].fields[NATS_SLOT_SUBJECT] = bytes_text(i % 3 == 1   ? "closed.a"
                                                    : i % 3 == 2 ? "closed.b"
                                                                 : "open.a");
    }
    while (delivered + refused < 20) { /* those that are not sure go again */
        UNTIL(publish_rest(m, out, done, 20) && nats_rig_collected());
        out[nats_rig_last.ref] = false;
        done[nats_rig_last.ref] =
            nats_rig_last.fate == FATE_DELIVERED || nats_rig_last.fate == FATE_REFUSED;
        delivered += nats_rig_last.fate == FATE_DELIVERED;
        refused += nats_rig_last.fate == FATE_REFUSED && nats_rig_last.cause == CAUSE_ADDRESS;
        CHECK(nats_rig_last.fate != FATE_DELIVERED || nats_rig_last.ref % 3 == 0);
        CHECK(nats_rig_last.fate != FATE_REFUSED || nats_rig_last.ref % 3 != 0);
    }
    CHECK_INT(delivered, 7);
    CHECK_INT(refused, 13);
    nats_rig_close();
}

TEST(nats_a_forbidden_fixed_subject_is_an_outage)
{
    as_limited();
    nats_rig_open();
    nats_rig_sink("closed.a", NULL);
    CHECK_INT(nats_rig_publish_text("closed.a", "a"), FATE_UNSENT);
    CHECK_INT(nats_rig_last.cause, CAUSE_LOST);
    CHECK_CONTAINS(nats_rig_status().error, "Permissions Violation");
    nats_rig_close();
}

TEST(nats_a_request_is_confirmed_by_its_answer)
{
    nats_rig.to.require_reply = true;
    nats_rig_open();
    nats_rig_sink("ask", NULL);
    CHECK_INT(nats_rig_publish_text("ask", "a"), FATE_REFUSED);
    CHECK_INT(nats_rig_last.cause, CAUSE_UNROUTABLE);
    fixture_shell("(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \""
                  "from nats_client import *; c = Nats(%s); s = c.subscribe('ask')\n"
                  "open('ready', 'w')\nm = s.next(); c.publish(m.reply, b'yes'); c.flush()\" &) ; "
                  "while [ ! -e ready ]; do :; done",
        getenv("BASCULE_TEST_NATS_CLIENT"), nats_rig_port());
    CHECK_INT(nats_rig_publish_text("ask", "a"), FATE_DELIVERED);
    nats_rig_close();
}

TEST(nats_headers_arrive_in_their_order)
{
    struct event e = { .body = bytes_text("b"), .id = bytes_text("i") };
    struct buf list;

    nats_rig_client("c.stream('HEADERS', 'headers')");
    buf_init(&list, 1000);
    header_put_text(&list, HEADER_USER, "z", bytes_text("1"));
    header_put_text(&list, HEADER_USER, "A", bytes_text("2"));
    header_put_text(&list, HEADER_USER, "z", bytes_text("3"));
    header_put_text(&list, HEADER_USER, "a", bytes_text(""));
    e.headers = buf_bytes(&list);
    nats_rig_open();
    nats_rig_sink("headers", "HEADERS");
    CHECK_INT(nats_rig_publish("headers", "t", &e), FATE_DELIVERED);
    nats_rig_client(
        "h = c.stored('HEADERS', 1).headers; assert h == (('Nats-Msg-Id', 't'), "
        "('Nats-Expected-Stream', 'HEADERS'), ('message-id', 'i'), ('z', '1'), ('A', '2'), "
        "('z', '3'), ('a', '')), h");
    nats_rig_close();
    buf_done(&list);
}

/* Server 2.9 stores the header and expires nothing: that it does is not shown here. */
TEST(nats_a_messages_own_time_to_live_is_passed_on_when_asked_for)
{
    struct event e = { .body = bytes_text("b"), .id = bytes_text("i") };
    struct buf list;

    nats_rig_client("c.stream('TTL', 'ttl')");
    buf_init(&list, 1000);
    header_put_text(&list, HEADER_USER, "Nats-TTL", bytes_text("5m"));
    e.headers = buf_bytes(&list);
    nats_rig.to.pass_ttl = true;
    nats_rig_open();
    nats_rig_sink("ttl", "TTL");
    CHECK_INT(nats_rig_publish("ttl", "t1", &e), FATE_DELIVERED);
    nats_rig_close();
    nats_rig.to.pass_ttl = false;
    nats_rig_open();
    nats_rig_sink("ttl", "TTL");
    CHECK_INT(nats_rig_publish("ttl", "t2", &e), FATE_DELIVERED);
    nats_rig_client("got = [dict(c.stored('TTL', n).headers).get('Nats-TTL') for n in (1, 2)]; "
                    "assert got == ['5m', None], got");
    nats_rig_close();
    buf_done(&list);
}
