/* Rules of the NATS link that are its own, on a real server: BASCULE_TEST_NATS_PORT names its port;
 * what only a client can do is done by hand (tests/brokers/nats_client.py). */
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include "bridge/base/header.h"
#include "bridge/links/nats/options.h"

#include <poll.h>
#include <stdarg.h>
#include <time.h>

#define PATIENCE_MS 30000
#define POSITIONS_MAX 64

extern const struct connector connector_nats;

static const struct connector *const c = &connector_nats;

/* ---- a link, at most one source and sink ---- */

static struct rig {
    struct nats_link_options link;
    struct nats_source_options from;
    struct nats_sink_options to;
    struct source_spec source_spec;
    struct sink_spec sink_spec;
    char url[80], *subjects[2];
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t wake;
    /* what batches carried, as the store would keep it */
    struct position kept[POSITIONS_MAX];
    size_t kept_n, gaps;
    uint64_t gap_count;
    char gap_cause[200];
    int64_t gap_end_ms;
} g;

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *port(void)
{
    const char *p = getenv("BASCULE_TEST_NATS_PORT");

    if (!p)
        harness_skip("no NATS: BASCULE_TEST_NATS_PORT is not set");
    return p;
}

/* Python with a client `c`. */
static void client(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void client(const char *format, ...)
{
    char lines[2048];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(lines, sizeof lines, format, args);
    va_end(args);
    fixture_shell("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \"from nats_client "
                  "import *; c = Nats(%s); %s\"",
        getenv("BASCULE_TEST_NATS_CLIENT"), port(), lines);
}

static bool client_says(const char *expression)
{
    char line[2400];

    (void)snprintf(line, sizeof line,
        "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \"from nats_client "
        "import *; c = Nats(%s); exit(not (%s))\"",
        getenv("BASCULE_TEST_NATS_CLIENT"), port(), expression);
    return system(line) == 0;
}

static char *text(const char *t)
{
    return (char *)(uintptr_t)t;
}

static void rig_open(void)
{
    struct link_spec spec = { "nats", &g.link, "store-1", 1 };

    if (!g.link.url) {
        (void)snprintf(g.url, sizeof g.url, "nats://app:secret@127.0.0.1:%s", port());
        g.link.url = g.url;
    }
    g.link.connect_timeout_ms = 5000;
    if (!g.link.ping_interval_ms)
        g.link.ping_interval_ms = 10000;
    CHECK_INT(c->link_open(&spec, &g.l, NULL), 0);
}

static void source_open(void)
{
    if (!g.from.ack_wait_ms)
        g.from.ack_wait_ms = 30000;
    g.source_spec = (struct source_spec){ .route = "r",
        .route_id = 1,
        .options = &g.from,
        .positions = g.kept,
        .position_count = g.kept_n,
        .window_events = g.source_spec.window_events ? g.source_spec.window_events : 1000,
        .window_bytes = g.source_spec.window_bytes ? g.source_spec.window_bytes : 64 << 20,
        .max_event_bytes =
            g.source_spec.max_event_bytes ? g.source_spec.max_event_bytes : 16 << 20 };
    CHECK_INT(c->source_open(g.l, &g.source_spec, &g.source, NULL), 0);
}

static void sink_open(const char *subject, const char *stream)
{
    g.to.subject.text = text(subject);
    g.to.stream = text(stream);
    g.to.subject.fixed = !strchr(subject, '$');
    g.sink_spec = (struct sink_spec){ .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = &g.to,
        .window_events = 100,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = 20000 };
    CHECK_INT(c->sink_open(g.l, &g.sink_spec, &g.sink, NULL), 0);
}

static void rig_close(void)
{
    c->source_free(g.source);
    c->sink_free(g.sink);
    c->link_free(g.l);
    g.source = NULL;
    g.sink = NULL;
    g.l = NULL;
}

static void turn(void)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC), left = g.wake - now;
    struct pollfd p = { c->link_pollfd(g.l), POLLIN, 0 };

    (void)poll(&p, 1, left < 0 ? 0 : left < 20 ? (int)left : 20);
    g.wake = c->link_step(g.l, clock_ms(CLOCK_MONOTONIC), clock_ms(CLOCK_REALTIME));
}

static struct link_status status(void)
{
    struct link_status s = { 0 };

    if (g.source)
        c->source_status(g.source, &s);
    else
        c->sink_status(g.sink, &s);
    return s;
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int64_t end_ = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;                                    \
        while (!(condition)) {                                                                     \
            if (clock_ms(CLOCK_MONOTONIC) > end_)                                                  \
                harness_fail(__FILE__, __LINE__, "never: %s (%s)", #condition, status().error);    \
            turn();                                                                                \
        }                                                                                          \
    } while (0)

/* ---- sinks ---- */

static struct report last;
static char last_text[200];

static bool collected(void)
{
    if (c->sink_collect(g.sink, &last, 1) == 0)
        return false;
    (void)snprintf(last_text, sizeof last_text, "%s", last.text ? last.text : "");
    return true;
}

/* Publishes one and waits for its report. */
static enum fate publish(const char *subject, const char *token, struct event *e)
{
    struct message m = { .ref = 7, .event = e, .token = bytes_text(token) };

    m.fields[NATS_SLOT_SUBJECT] = bytes_text(subject);
    UNTIL(c->sink_publish(g.sink, &m, 1) == 1);
    UNTIL(collected());
    CHECK_INT(last.ref, 7);
    return last.fate;
}

static enum fate publish_text(const char *subject, const char *token)
{
    struct event e = { .body = bytes_text("body"), .id = bytes_text("i") };

    return publish(subject, token, &e);
}

TEST(nats_a_repeat_of_a_token_is_delivered_and_stored_once)
{
    client("c.stream('REPEAT', 'repeat')");
    rig_open();
    sink_open("repeat", "REPEAT");
    CHECK_INT(publish_text("repeat", "store/1/1/1/0"), FATE_DELIVERED);
    CHECK_TEXT(last_text, "");
    CHECK_INT(publish_text("repeat", "store/1/1/1/0"), FATE_DELIVERED);
    CHECK_TEXT(last_text, "the server had it already");
    CHECK_INT(publish_text("repeat", "store/1/1/1/1"), FATE_DELIVERED); /* a replay is another */
    client("assert c.stream_state('REPEAT')['messages'] == 2");
    rig_close();
}

TEST(nats_a_full_or_sealed_stream_is_waited_for)
{
    client("c.stream('FULL', 'full', max_msgs=1, discard='new')");
    rig_open();
    sink_open("full", "FULL");
    CHECK_INT(publish_text("full", "a"), FATE_DELIVERED);
    CHECK_INT(publish_text("full", "b"), FATE_UNSENT);
    CHECK_INT(last.cause, CAUSE_BROKER);
    CHECK_TEXT(last_text, "maximum messages exceeded");
    client("c.js('STREAM.PURGE.FULL')");
    CHECK_INT(publish_text("full", "b"), FATE_DELIVERED);
    client("c.stream_update('FULL', max_msgs=5); c.stream_update('FULL', sealed=True)");
    CHECK_INT(publish_text("full", "c"), FATE_UNSENT);
    CHECK_INT(last.cause, CAUSE_BROKER);
    rig_close();
}

TEST(nats_what_is_too_large_is_refused_for_good)
{
    static uint8_t large[2 << 20];
    struct event e = { .body = bytes_of(large, sizeof large) };

    client("c.stream('LARGE', 'large', max_msg_size=1000)");
    rig_open();
    sink_open("large", "LARGE");
    CHECK_INT(publish("large", "a", &e), FATE_REFUSED); /* the server's limit */
    CHECK_INT(last.cause, CAUSE_FINAL);
    CHECK_CONTAINS(last_text, "max_payload of 1048576");
    e.body.n = 2000; /* the stream's */
    CHECK_INT(publish("large", "b", &e), FATE_REFUSED);
    CHECK_INT(last.cause, CAUSE_FINAL);
    e.body.n = 500;
    CHECK_INT(publish("large", "c", &e), FATE_DELIVERED);
    CHECK_INT(status().reconnects, 0);
    rig_close();
}

TEST(nats_a_fixed_subject_without_its_stream_is_waited_for)
{
    rig_open();
    sink_open("late", "LATE");
    CHECK_INT(publish_text("late", "a"), FATE_UNSENT);
    CHECK_INT(last.cause, CAUSE_LOST);
    CHECK_INT(status().state, LINK_DOWN);
    CHECK_CONTAINS(status().error, "no stream takes this subject");
    client("c.stream('OTHER_LATE', 'late')");
    CHECK_INT(publish_text("late", "a"), FATE_UNSENT); /* not the one that was named */
    CHECK_CONTAINS(last_text, "expected stream");
    client("c.js('STREAM.DELETE.OTHER_LATE'); c.stream('LATE', 'late')");
    CHECK_INT(publish_text("late", "a"), FATE_DELIVERED);
    CHECK_INT(status().state, LINK_UP);
    rig_close();
}

TEST(nats_a_subject_of_a_template_that_nobody_takes_is_the_events_trouble)
{
    client("c.stream('SOME', 'some.*')");
    rig_open();
    sink_open("${address}", "SOME");
    CHECK_INT(publish_text("nobody.takes", "a"), FATE_REFUSED);
    CHECK_INT(last.cause, CAUSE_ADDRESS);
    CHECK_INT(publish_text("two words", "b"), FATE_REFUSED);
    CHECK_INT(last.cause, CAUSE_FINAL);
    CHECK_INT(publish_text("some.*", "c"), FATE_REFUSED);
    CHECK_INT(last.cause, CAUSE_FINAL);
    CHECK_INT(publish_text("some.one", "d"), FATE_DELIVERED);
    rig_close();
}

static void as_limited(void)
{
    (void)snprintf(g.url, sizeof g.url, "nats://limited:secret@127.0.0.1:%s", port());
    g.link.url = g.url;
}

static bool publish_rest(const struct message *m, bool *out, const bool *done, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!out[i] && !done[i])
            out[i] = c->sink_publish(g.sink, &m[i], 1) == 1;
    return true;
}

TEST(nats_a_forbidden_subject_is_never_taken_for_delivered)
{
    struct event e = { .body = bytes_text("x") };
    struct message m[20];
    size_t delivered = 0, refused = 0;
    bool done[20] = { false }, out[20] = { false };

    as_limited();
    rig_open();
    sink_open("${address}", NULL);
    for (size_t i = 0; i < 20; i++) {
        m[i] = (struct message){ .ref = i, .event = &e };
        m[i].fields[NATS_SLOT_SUBJECT] = bytes_text(i % 3 == 1   ? "closed.a"
                                                    : i % 3 == 2 ? "closed.b"
                                                                 : "open.a");
    }
    while (delivered + refused < 20) { /* those that are not sure go again */
        UNTIL(publish_rest(m, out, done, 20) && collected());
        out[last.ref] = false;
        done[last.ref] = last.fate == FATE_DELIVERED || last.fate == FATE_REFUSED;
        delivered += last.fate == FATE_DELIVERED;
        refused += last.fate == FATE_REFUSED && last.cause == CAUSE_ADDRESS;
        CHECK(last.fate != FATE_DELIVERED || last.ref % 3 == 0);
        CHECK(last.fate != FATE_REFUSED || last.ref % 3 != 0);
    }
    CHECK_INT(delivered, 7);
    CHECK_INT(refused, 13);
    rig_close();
}

TEST(nats_a_forbidden_fixed_subject_is_an_outage)
{
    as_limited();
    rig_open();
    sink_open("closed.a", NULL);
    CHECK_INT(publish_text("closed.a", "a"), FATE_UNSENT);
    CHECK_INT(last.cause, CAUSE_LOST);
    CHECK_CONTAINS(status().error, "Permissions Violation");
    rig_close();
}

TEST(nats_a_request_is_confirmed_by_its_answer)
{
    g.to.require_reply = true;
    rig_open();
    sink_open("ask", NULL);
    CHECK_INT(publish_text("ask", "a"), FATE_REFUSED);
    CHECK_INT(last.cause, CAUSE_UNROUTABLE);
    fixture_shell("(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \""
                  "from nats_client import *; c = Nats(%s); s = c.subscribe('ask')\n"
                  "open('ready', 'w')\nm = s.next(); c.publish(m.reply, b'yes'); c.flush()\" &) ; "
                  "while [ ! -e ready ]; do :; done",
        getenv("BASCULE_TEST_NATS_CLIENT"), port());
    CHECK_INT(publish_text("ask", "a"), FATE_DELIVERED);
    rig_close();
}

TEST(nats_headers_arrive_in_their_order)
{
    struct event e = { .body = bytes_text("b"), .id = bytes_text("i") };
    struct buf list;

    client("c.stream('HEADERS', 'headers')");
    buf_init(&list, 1000);
    header_put_text(&list, HEADER_USER, "z", bytes_text("1"));
    header_put_text(&list, HEADER_USER, "A", bytes_text("2"));
    header_put_text(&list, HEADER_USER, "z", bytes_text("3"));
    header_put_text(&list, HEADER_USER, "a", bytes_text(""));
    e.headers = buf_bytes(&list);
    rig_open();
    sink_open("headers", "HEADERS");
    CHECK_INT(publish("headers", "t", &e), FATE_DELIVERED);
    client("h = c.stored('HEADERS', 1).headers; assert h == (('Nats-Msg-Id', 't'), "
           "('Nats-Expected-Stream', 'HEADERS'), ('message-id', 'i'), ('z', '1'), ('A', '2'), "
           "('z', '3'), ('a', '')), h");
    rig_close();
    buf_done(&list);
}

/* ---- sources ---- */

static void from_stream(const char *stream)
{
    g.from.stream = text(stream);
    g.from.durable = text("d");
}

/* As the store: what a committed batch says of positions. */
static void keep(const struct batch *b)
{
    for (size_t i = 0; i < b->position_count; i++) {
        const struct position *p = &b->positions[i];
        size_t at = 0;

        while (at < g.kept_n && !bytes_equal(g.kept[at].name, p->name))
            at++;
        if (!bytes_present(p->value)) {
            if (at < g.kept_n)
                g.kept[at] = g.kept[--g.kept_n];
            continue;
        }
        CHECK(at < POSITIONS_MAX);
        if (at == g.kept_n) {
            g.kept_n++;
            g.kept[at].name =
                bytes_of(memcpy(malloc(p->name.n + 1), p->name.at, p->name.n), p->name.n);
        }
        g.kept[at].value =
            bytes_of(memcpy(malloc(p->value.n + 1), p->value.at, p->value.n), p->value.n);
    }
    for (size_t i = 0; i < b->gap_count; i++) {
        g.gaps++;
        g.gap_count += b->gaps[i].count;
        g.gap_end_ms = b->gaps[i].end_ms;
        (void)snprintf(g.gap_cause, sizeof g.gap_cause, "%.*s", (int)b->gaps[i].cause.n,
            (const char *)b->gaps[i].cause.at);
    }
}

/* The next batch, committed but not settled. */
static struct batch *receive(void)
{
    struct batch *b = NULL;

    UNTIL((b = c->source_receive(g.source, 1000)));
    keep(b);
    return b;
}

/* Takes n events, settled as kept; the last one's body. */
static const char *take(size_t n)
{
    static char body[200];

    for (size_t got = 0; got < n;) {
        struct batch *b = receive();
        got += b->count;
        if (b->count)
            (void)snprintf(body, sizeof body, "%.*s", (int)b->events[b->count - 1].body.n,
                (const char *)b->events[b->count - 1].body.at);
        c->source_settle(g.source, b, true);
        CHECK(got <= n);
    }
    return body;
}

/* n events, committed but never settled. */
static void hold(size_t n)
{
    for (size_t got = 0; got < n;)
        got += receive()->count;
}

/* The next batch with events. */
static struct batch *receive_events(void)
{
    struct batch *b = NULL;

    while ((b = receive())->count == 0)
        c->source_settle(g.source, b, true);
    return b;
}

/* Until a gap was told; batches with events fail. */
static void take_gap(void)
{
    size_t before = g.gaps;

    while (g.gaps == before) {
        struct batch *b = receive();
        CHECK_INT(b->count, 0);
        c->source_settle(g.source, b, true);
    }
}

static void feed(const char *subject, int first, int n)
{
    client("[None for _ in c.publish_all(('%s', b'%%d' %% i, {}) for i in range(%d, %d))]", subject,
        first, first + n);
}

TEST(nats_what_is_on_disk_is_acknowledged_and_not_taken_again)
{
    client("c.stream('DISK', 'disk')");
    from_stream("DISK");
    g.from.ack_wait_ms = 1000;
    feed("disk", 0, 10);
    rig_open();
    source_open();
    hold(10); /* and then the process ends */
    rig_close();
    rig_open();
    source_open();
    UNTIL(status().duplicates == 10);
    CHECK(!c->source_receive(g.source, 100));
    feed("disk", 10, 1);
    CHECK_TEXT(take(1), "10");
    UNTIL(c->source_drain(g.source));
    for (int64_t end = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
         !client_says("c.consumer_info('DISK', 'd')['ack_floor']['stream_seq'] == 11");) {
        CHECK(clock_ms(CLOCK_MONOTONIC) < end);
        turn();
    }
    rig_close();
}

TEST(nats_late_first_arrivals_behind_newer_ones_are_taken)
{
    client("c.stream('BEHIND', 'behind'); c.consumer('BEHIND', 'd', ack_wait=2 * 10**9)");
    from_stream("BEHIND");
    feed("behind", 0, 5);
    /* Another member of the durable has them and goes without a word. */
    client("assert len(c.fetch('BEHIND', 'd', 5)) == 5");
    feed("behind", 5, 5);
    rig_open();
    source_open();
    CHECK_TEXT(take(5), "9");
    CHECK_TEXT(take(5), "4");
    CHECK_INT(status().duplicates, 0);
    rig_close();
}

TEST(nats_a_stream_made_again_swallows_nothing)
{
    client("c.stream('AGAIN', 'again')");
    from_stream("AGAIN");
    feed("again", 0, 10);
    rig_open();
    source_open();
    hold(10); /* 1 to 10 are in the set, and stay there */
    rig_close();
    client("c.js('STREAM.DELETE.AGAIN'); c.stream('AGAIN', 'again')");
    feed("again", 100, 10);
    rig_open();
    source_open();
    CHECK_TEXT(take(10), "109");
    CHECK_INT(g.gaps, 1);
    CHECK_CONTAINS(g.gap_cause, "another one than before");
    rig_close();
}

TEST(nats_a_consumer_deleted_under_way_is_made_again_where_it_stood)
{
    client("c.stream('GONE', 'gone')");
    from_stream("GONE");
    feed("gone", 0, 3);
    rig_open();
    source_open();
    CHECK_TEXT(take(3), "2");
    client("c.js('CONSUMER.DELETE.GONE.d')");
    feed("gone", 3, 1);
    CHECK_TEXT(take(1), "3");
    rig_close();
}

TEST(nats_messages_trimmed_before_they_were_read_are_a_counted_gap)
{
    client("c.stream('TRIM', 'trim')");
    from_stream("TRIM");
    feed("trim", 0, 5);
    rig_open();
    source_open();
    CHECK_TEXT(take(5), "4");
    UNTIL(c->source_drain(g.source));
    rig_close();
    feed("trim", 5, 20);
    client("c.js('STREAM.PURGE.TRIM', seq=21)"); /* what is below */
    rig_open();
    source_open();
    CHECK_TEXT(take(5), "24");
    CHECK_INT(g.gap_count, 15);
    CHECK_CONTAINS(g.gap_cause, "removed from the stream");
    rig_close();
}

TEST(nats_a_stream_that_is_not_there_is_made_or_waited_for)
{
    g.subjects[0] = text("made.>");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    from_stream("MADE");
    g.from.declare = NATS_DECLARE_PASSIVE;
    rig_open();
    source_open();
    UNTIL(strstr(status().error, "stream not found"));
    CHECK_INT(status().state, LINK_DOWN);
    rig_close();
    g.from.declare = NATS_DECLARE_CREATE;
    rig_open();
    source_open();
    UNTIL(status().lag == 0);
    feed("made.x", 0, 1);
    CHECK_TEXT(take(1), "0");
    rig_close();
}

TEST(nats_a_source_takes_only_its_subjects_from_where_it_should)
{
    g.subjects[0] = text("part.b");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    from_stream("PART");
    g.from.start_sequence = 5;
    client("c.stream('PART', 'part.*')");
    feed("part.a", 0, 4);
    feed("part.b", 4, 2);
    feed("part.a", 6, 2);
    feed("part.b", 8, 1);
    rig_open();
    source_open();
    CHECK_TEXT(take(3), "8");
    UNTIL(status().lag == 0);
    CHECK_INT(g.gaps, 0);
    rig_close();
}

TEST(nats_an_oversize_message_stops_the_source_or_is_a_gap)
{
    client(
        "c.stream('WIDE', 'wide'); c.js_publish('wide', b'x' * 5000); c.js_publish('wide', b's')");
    from_stream("WIDE");
    g.source_spec.max_event_bytes = 1000;
    rig_open();
    source_open();
    UNTIL(status().state == LINK_STOPPED);
    CHECK_CONTAINS(status().error, "message 1 has");
    rig_close();
    client("c.js('CONSUMER.DELETE.WIDE.d')");
    g.from.oversize = NATS_OVERSIZE_SKIP;
    g.kept_n = 0;
    rig_open();
    source_open();
    CHECK_TEXT(take(1), "s");
    CHECK_INT(g.gap_count, 1);
    rig_close();
}

TEST(nats_messages_in_hand_are_not_given_to_another_while_the_store_stands)
{
    client("c.stream('SLOW', 'slow')");
    from_stream("SLOW");
    g.from.ack_wait_ms = 3000;
    feed("slow", 0, 5);
    rig_open();
    source_open();
    struct batch *b = receive_events();
    for (int64_t end = clock_ms(CLOCK_MONOTONIC) + 4500; clock_ms(CLOCK_MONOTONIC) < end;)
        turn();
    client("i = c.consumer_info('SLOW', 'd'); assert i['num_redelivered'] == 0, i");
    c->source_settle(g.source, b, true);
    UNTIL(c->source_drain(g.source));
    rig_close();
}

TEST(nats_a_bucket_gets_the_latest_value_and_gives_every_change)
{
    static const char *const now[] = { "c.kv_get('box', 'k.1') == b'1'",
        "c.kv_get('box', 'k.1') == b'2'", "c.kv_get('box', 'k.1') is None" };
    const struct bytes values[] = { bytes_of("1", 1), bytes_of("2", 1), BYTES_NONE };
    struct event e = { .id = bytes_text("i") };
    struct message m = { .ref = 7, .event = &e };
    struct batch *b = NULL;

    client("c.bucket('box', 5)");
    g.to.bucket = g.from.bucket = text("box");
    g.to.bucket_key.text = text("${key}");
    g.from.durable = text("d");
    rig_open();
    sink_open("$", NULL);
    source_open();
    m.fields[NATS_SLOT_BUCKET_KEY] = bytes_text("k.1");
    for (size_t i = 0; i < 3; i++) {
        m.token = bytes_of(&"abc"[i], 1);
        e.body = values[i];
        UNTIL(c->sink_publish(g.sink, &m, 1) == 1);
        UNTIL(collected());
        CHECK_INT(last.fate, FATE_DELIVERED);
        CHECK(client_says(now[i]));
        b = receive_events();
        CHECK_INT(b->count, 1);
        CHECK(bytes_equal(b->events[0].key, bytes_text("k.1")));
        CHECK(bytes_equal(b->events[0].body, values[i]));
        c->source_settle(g.source, b, true);
    }
    rig_close();
}

TEST(nats_subjects_come_with_headers_and_their_reply_subject)
{
    struct bytes list;
    struct header h;

    g.subjects[0] = text("live.*");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    rig_open();
    source_open();
    UNTIL(status().state == LINK_UP);
    client("c.publish('live.a', b'x', [('b', '2'), ('a', '1'), ('b', '')], 'to.me'); c.flush()");
    struct batch *b = receive_events();
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
    c->source_settle(g.source, b, true);
    rig_close();
}

TEST(nats_time_without_a_connection_is_a_gap_that_ends)
{
    static const struct fixture end = { .end = "nats_subject" };

    g.subjects[0] = text("cut.>");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    rig_open();
    source_open();
    UNTIL(status().state == LINK_UP);
    client("c.publish('cut.a', b'1'); c.flush()");
    CHECK_TEXT(take(1), "1");
    fixture_cut(&end);
    take_gap();
    if (g.gap_end_ms == 0)
        take_gap();
    CHECK(g.gap_end_ms > 0);
    client("c.publish('cut.a', b'2'); c.flush()");
    CHECK_TEXT(take(1), "2");
    rig_close();
    rig_open(); /* and so is the time in which the process was not there */
    source_open();
    take_gap();
    CHECK_CONTAINS(g.gap_cause, "nobody listened");
    rig_close();
}

TEST(nats_what_comes_faster_than_it_is_taken_is_counted)
{
    struct batch *b = NULL;
    size_t got = 0;

    g.subjects[0] = text("fast");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    g.source_spec.window_events = 10;
    g.source_spec.window_bytes = 5000;
    rig_open();
    source_open();
    UNTIL(status().state == LINK_UP);
    client("[c.publish('fast', b'%%0100d' %% i) for i in range(1000)]; c.flush()");
    while (got + g.gap_count < 1000) {
        b = receive();
        got += b->count;
        c->source_settle(g.source, b, true);
    }
    CHECK_INT(got + g.gap_count, 1000);
    CHECK(g.gap_count > 0);
    CHECK_CONTAINS(g.gap_cause, "faster");
    rig_close();
}

TEST(nats_members_of_a_queue_group_share)
{
    g.subjects[0] = text("shared");
    g.from.subjects = (struct option_list){ g.subjects, 1 };
    g.from.queue_group = text("q");
    rig_open();
    source_open();
    UNTIL(status().state == LINK_UP);
    client("s = c.subscribe('shared', 'q'); [c.publish('shared', b'x') for i in range(200)]; "
           "c.flush(); assert 0 < len(s.waiting) < 200");
    CHECK(receive_events()->count > 0);
    rig_close();
}

TEST(nats_a_seed_logs_in)
{
    (void)snprintf(g.url, sizeof g.url, "nats://127.0.0.1:%s", port());
    g.link.url = g.url;
    g.link.nkey_seed = getenv("BASCULE_TEST_NATS_SEED");
    client("c.stream('SEED', 'seed')");
    rig_open();
    sink_open("seed", "SEED");
    CHECK_INT(publish_text("seed", "a"), FATE_DELIVERED);
    rig_close();
}
