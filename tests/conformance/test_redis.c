/* Rules of the Redis link that are its own, on a real server: BASCULE_TEST_REDIS_PORT names its
 * port; the server is the tests' alone, and redis-cli is at hand. */
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include "bridge/base/header.h"
#include "bridge/links/redis/options.h"

#include <poll.h>
#include <stdarg.h>
#include <time.h>

#define PATIENCE_MS 30000

extern const struct connector connector_redis;

static const struct connector *const c = &connector_redis;

/* ---- a link, at most one source and sink ---- */

static struct rig {
    struct redis_link_options link;
    struct redis_source_options from;
    struct redis_sink_options to;
    struct source_spec source_spec;
    struct sink_spec sink_spec;
    char url[80], *channels[2];
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t wake;
} g;

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *port(void)
{
    const char *p = getenv("BASCULE_TEST_REDIS_PORT");

    if (!p)
        harness_skip("no Redis: BASCULE_TEST_REDIS_PORT is not set");
    return p;
}

static void cli(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void cli(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    fixture_shell("redis-cli -p %s %s >/dev/null", port(), command);
}

/* The first line that redis-cli answers. */
static const char *ask(const char *command)
{
    static char line[4096];
    char all[2100];
    FILE *f = NULL;

    (void)snprintf(all, sizeof all, "redis-cli -p %s %s", port(), command);
    f = popen(all, "r");
    CHECK(f != NULL);
    if (!fgets(line, sizeof line, f))
        line[0] = 0;
    (void)pclose(f);
    line[strcspn(line, "\n")] = 0;
    return line;
}

static void rig_open(void)
{
    struct link_spec spec = { "redis", &g.link, "store-1", 1 };

    if (!g.link.url) {
        (void)snprintf(g.url, sizeof g.url, "redis://127.0.0.1:%s", port());
        g.link.url = g.url;
        cli("FLUSHALL");
    }
    g.link.db = -1;
    g.link.connect_timeout_ms = 10000;
    if (!g.link.ping_interval_ms)
        g.link.ping_interval_ms = 10000;
    CHECK_INT(c->link_open(&spec, &g.l, NULL), 0);
}

static void source_open(const struct position *positions, size_t n)
{
    g.source_spec = (struct source_spec){ .route = "r",
        .route_id = 1,
        .options = &g.from,
        .positions = positions,
        .position_count = n,
        .window_events = g.source_spec.window_events ? g.source_spec.window_events : 5000,
        .window_bytes = 64 << 20,
        .max_event_bytes =
            g.source_spec.max_event_bytes ? g.source_spec.max_event_bytes : 16 << 20 };
    CHECK_INT(c->source_open(g.l, &g.source_spec, &g.source, NULL), 0);
}

static void sink_open(void)
{
    g.sink_spec = (struct sink_spec){ .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = &g.to,
        .window_events = 1000,
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

#define UNTIL(condition)                                                                           \
    for (int64_t end_ = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS; !(condition); turn())             \
    CHECK(clock_ms(CLOCK_MONOTONIC) < end_)

static struct batch *receive(void)
{
    struct batch *b = NULL;

    UNTIL((b = c->source_receive(g.source, 1000)));
    return b;
}

/* Takes and keeps `want` events; returns how many gaps came with them. */
static size_t take(size_t want)
{
    size_t n = 0, gaps = 0;

    while (n < want) {
        struct batch *b = receive();
        n += b->count;
        gaps += b->gap_count;
        c->source_settle(g.source, b, true);
    }
    CHECK_INT(n, want);
    return gaps;
}

static struct report publish(struct message *m)
{
    struct report r;

    m->ref = 5;
    UNTIL(c->sink_publish(g.sink, m, 1) == 1);
    UNTIL(c->sink_collect(g.sink, &r, 1) == 1);
    CHECK_INT(r.ref, 5);
    return r;
}

static struct message message_of(struct event *e, const char *place)
{
    struct message m = { .event = e };

    e->body = bytes_text("hello");
    for (size_t i = 0; i < CONNECTOR_FIELDS_MAX; i++)
        m.fields[i] = bytes_text(place);
    return m;
}

static void stream_source(void)
{
    static char stream[] = "in", group[] = "g";

    g.from.stream = stream;
    g.from.group = group;
}

static void stream_sink(bool fixed)
{
    static char out[] = "out";

    g.to.stream = (struct option_template){ out, fixed };
}

static void channel_source(void)
{
    static char name[] = "news", pattern[] = "al*";

    g.channels[0] = name;
    g.channels[1] = pattern;
    g.from.channels = (struct option_list){ g.channels, 2 };
}

/* Empty batches only carry the place: settled on the way. */
static void subscribed(void)
{
    struct batch *b = receive();

    CHECK_INT(b->count, 0);
    c->source_settle(g.source, b, true);
}

/* ---- streams in ---- */

TEST(redis_receive_gives_no_more_than_its_limit)
{
    size_t n = 0;

    stream_source();
    rig_open();
    cli("EVAL \"for i=1,50 do redis.call('XADD','in','*','body',i) end\" 0");
    source_open(NULL, 0);
    while (n < 50) {
        struct batch *b = NULL;
        UNTIL((b = c->source_receive(g.source, 7)));
        CHECK(b->count <= 7);
        CHECK_INT(strtol((const char *)b->events[0].body.at, NULL, 10), (long)n + 1);
        n += b->count;
        c->source_settle(g.source, b, true);
    }
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    rig_close();
}

TEST(redis_the_window_bounds_what_is_lent)
{
    size_t n = 0;
    struct batch *b = NULL, *out[50];

    stream_source();
    g.source_spec.window_events = 10;
    rig_open();
    cli("EVAL \"for i=1,50 do redis.call('XADD','in','*','body',i) end\" 0");
    source_open(NULL, 0);
    for (size_t k = 0; n < 10; k++) {
        out[k] = receive();
        n += out[k]->count;
    }
    CHECK_INT(n, 10);
    for (int i = 0; i < 20; i++) {
        turn();
        CHECK(!(b = c->source_receive(g.source, 100)));
    }
    c->source_settle(g.source, out[0], true);
    CHECK(receive()->count <= 10);
    rig_close();
}

static size_t forgets(const struct batch *b, struct bytes name)
{
    size_t n = 0;

    for (size_t i = 0; i < b->position_count; i++)
        n += bytes_equal(b->positions[i].name, name) && !bytes_present(b->positions[i].value);
    return n;
}

TEST(redis_an_entry_in_the_committed_set_is_only_acknowledged)
{
    size_t forgotten = 0;
    struct position kept[4];
    char text[4][200];
    size_t n = 0;
    struct batch *b = NULL;
    struct link_status status;

    stream_source();
    rig_open();
    cli("EVAL \"for i=1,3 do redis.call('XADD','in','*','body',i) end\" 0");
    source_open(NULL, 0);
    b = receive();
    CHECK_INT(b->count, 3);
    for (; n < b->position_count; n++) {
        memcpy(text[n], b->positions[n].name.at, b->positions[n].name.n);
        memcpy(text[n] + 100, b->positions[n].value.at, b->positions[n].value.n);
        kept[n] = (struct position){ bytes_of(text[n], b->positions[n].name.n),
            bytes_of(text[n] + 100, b->positions[n].value.n) };
    }
    CHECK_INT(n, 1);
    /* Committed, and gone before it was settled. */
    rig_close();
    CHECK_TEXT(ask("XPENDING in g"), "3");
    rig_open();
    source_open(kept, n);
    cli("XADD in '*' body new");
    b = receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, bytes_text("new")));
    forgotten += forgets(b, kept[0].name);
    c->source_settle(g.source, b, true);
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    c->source_status(g.source, &status);
    CHECK_INT(status.duplicates, 3);
    cli("XADD in '*' body more");
    b = receive();
    forgotten += forgets(b, kept[0].name);
    CHECK_INT(forgotten, 1);
    rig_close();
}

TEST(redis_a_cut_before_settle_gives_no_repeat)
{
    struct batch *b = NULL;

    stream_source();
    rig_open();
    cli("EVAL \"for i=1,3 do redis.call('XADD','in','*','body',i) end\" 0");
    source_open(NULL, 0);
    b = receive();
    CHECK_INT(b->count, 3);
    cli("CLIENT KILL TYPE normal SKIPME yes");
    for (int i = 0; i < 3; i++)
        turn();
    c->source_settle(g.source, b, true);
    cli("XADD in '*' body 4");
    b = receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, bytes_text("4")));
    c->source_settle(g.source, b, true);
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    rig_close();
}

TEST(redis_trimmed_pending_entries_are_a_gap)
{
    struct batch *b = NULL;

    stream_source();
    rig_open();
    cli("XGROUP CREATE in g 0 MKSTREAM");
    cli("EVAL \"for i=1,5 do redis.call('XADD','in',i..'-1','body',i) end\" 0");
    cli("XREADGROUP GROUP g store-1 STREAMS in '>'");
    cli("XDEL in 2-1 4-1");
    source_open(NULL, 0);
    b = receive();
    CHECK_INT(b->count, 3);
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].count, 2);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("in")));
    c->source_settle(g.source, b, true);
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    rig_close();
}

TEST(redis_a_group_that_is_gone_is_made_again_and_told)
{
    stream_source();
    rig_open();
    cli("XADD in '*' body 1");
    source_open(NULL, 0);
    CHECK_INT(take(1), 0);
    cli("DEL in");
    cli("XADD in '*' body 2");
    CHECK_INT(take(1), 1);
    rig_close();
}

TEST(redis_entries_of_a_dead_consumer_are_claimed)
{
    stream_source();
    g.from.claim_idle_ms = 1;
    rig_open();
    cli("XGROUP CREATE in g 0 MKSTREAM");
    cli("EVAL \"for i=1,300 do redis.call('XADD','in','*','body',i) end\" 0");
    cli("XREADGROUP GROUP g dead STREAMS in '>'");
    CHECK_TEXT(ask("XPENDING in g"), "300");
    source_open(NULL, 0);
    CHECK_INT(take(300), 0);
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    rig_close();
}

TEST(redis_an_oversize_entry_stops_the_source_or_is_a_gap)
{
    struct link_status status = { 0 };

    stream_source();
    g.source_spec.max_event_bytes = 100;
    rig_open();
    cli("XADD in '*' body ok");
    cli("XADD in '*' body %0200d", 1);
    cli("XADD in '*' body ok");
    source_open(NULL, 0);
    CHECK_INT(take(1), 0);
    UNTIL((c->source_status(g.source, &status), status.state == LINK_STOPPED));
    CHECK_CONTAINS(status.error, "max_event_bytes");
    UNTIL(strcmp(ask("XPENDING in g"), "2") == 0);
    rig_close();
    g.from.oversize = REDIS_OVERSIZE_SKIP;
    rig_open();
    source_open(NULL, 0);
    CHECK_INT(take(1), 1);
    UNTIL(strcmp(ask("XPENDING in g"), "0") == 0);
    rig_close();
}

/* ---- streams out ---- */

TEST(redis_headers_of_every_kind_come_back_from_a_stream)
{
    struct event e = { 0 };
    struct message m;
    struct buf headers;
    struct batch *b = NULL;
    struct header_value number = { .type = HEADER_I32, .i = -7 };
    struct header h;

    buf_init(&headers, 4096);
    header_put_text(&headers, HEADER_USER, "colour", bytes_text("red"));
    header_put(&headers, HEADER_USER, bytes_text("n"), &number);
    header_put_text(&headers, HEADER_USER, "body", bytes_text("a header of that name"));
    header_put_text(&headers, HEADER_PROPERTY, "content-type", bytes_text("text/plain"));
    m = message_of(&e, "in");
    e.headers = buf_bytes(&headers);
    e.hops = 12;
    e.id = bytes_text("id-1");
    m.key = bytes_text("k");
    stream_source();
    stream_sink(true);
    rig_open();
    source_open(NULL, 0);
    sink_open();
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    b = receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].headers, e.headers));
    CHECK(bytes_equal(b->events[0].body, e.body));
    CHECK(bytes_equal(b->events[0].id, e.id));
    CHECK(bytes_equal(b->events[0].key, m.key));
    CHECK_INT(b->events[0].hops, 12);
    CHECK(header_find(b->events[0].headers, bytes_text("content-type"), &h));
    rig_close();
    buf_done(&headers);
}

TEST(redis_an_unsure_entry_is_found_by_its_token)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");

    stream_sink(true);
    rig_open();
    sink_open();
    m.token = bytes_text("s/1/1/1/0");
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(ask("XLEN out"), "1");
    m.flags = MESSAGE_RESEND;
    m.first_sent_ms = clock_ms(CLOCK_REALTIME);
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(ask("XLEN out"), "1");
    m.token = bytes_text("s/1/2/1/0");
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(ask("XLEN out"), "2");
    rig_close();
}

TEST(redis_a_token_behind_many_pages_is_found)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");

    stream_sink(true);
    rig_open();
    sink_open();
    m.first_sent_ms = clock_ms(CLOCK_REALTIME);
    cli("EVAL \"for i=1,4000 do redis.call('XADD','out','*','bascule-token','t'..i) end\" 0");
    m.flags = MESSAGE_RESEND;
    m.token = bytes_text("t3999");
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(ask("XLEN out"), "4000");
    rig_close();
}

TEST(redis_errors_have_the_fate_of_their_meaning)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");
    struct report r;

    stream_sink(true);
    rig_open();
    sink_open();
    cli("SET out text");
    r = publish(&m);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_FINAL);
    CHECK_CONTAINS(r.text, "WRONGTYPE");
    cli("DEL out");
    cli("CONFIG SET maxmemory 1");
    r = publish(&m);
    cli("CONFIG SET maxmemory 0");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    cli("CONFIG SET min-replicas-to-write 3");
    r = publish(&m);
    cli("CONFIG SET min-replicas-to-write 0");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    cli("REPLICAOF 127.0.0.1 1");
    r = publish(&m);
    cli("REPLICAOF NO ONE");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    rig_close();
}

static void forbidden(bool fixed, struct report *ret)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");

    stream_sink(fixed);
    (void)port();
    cli("ACL SETUSER app reset on '>pw' '+@all' '~other'");
    (void)snprintf(g.url, sizeof g.url, "redis://app:pw@127.0.0.1:%s", port());
    g.link.url = g.url;
    rig_open();
    sink_open();
    *ret = publish(&m);
}

TEST(redis_a_forbidden_fixed_stream_is_an_outage)
{
    struct report r;
    struct link_status status;
    struct event e = { 0 };
    struct message m = message_of(&e, "out");

    forbidden(true, &r);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_LOST);
    c->sink_status(g.sink, &status);
    CHECK_INT(status.state, LINK_DOWN);
    CHECK_CONTAINS(status.error, "NOPERM");
    cli("ACL SETUSER app '~*'");
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    c->sink_status(g.sink, &status);
    CHECK_INT(status.state, LINK_UP);
    rig_close();
}

TEST(redis_a_forbidden_stream_of_a_template_is_refused)
{
    struct report r;

    forbidden(false, &r);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_ADDRESS);
    rig_close();
}

TEST(redis_a_wrong_password_is_said_and_takes_nothing)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");
    struct link_status status = { 0 };

    stream_sink(true);
    (void)snprintf(g.url, sizeof g.url, "redis://nobody:pw@127.0.0.1:%s", port());
    g.link.url = g.url;
    rig_open();
    sink_open();
    UNTIL((c->link_status(g.l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "WRONGPASS");
    CHECK_INT(c->sink_publish(g.sink, &m, 1), 0);
    rig_close();
}

TEST(redis_too_few_replicas_leave_an_entry_unsure)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");
    struct report r;

    stream_sink(true);
    g.to.wait = (struct redis_wait_options){ true, 1, 10 };
    rig_open();
    sink_open();
    r = publish(&m);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_TEXT(ask("XLEN out"), "1");
    rig_close();
}

TEST(redis_the_next_url_is_tried_when_one_is_dead)
{
    static char dead[] = "redis://127.0.0.1:1";
    char *urls[] = { dead, g.url };
    struct event e = { 0 };
    struct message m = message_of(&e, "out");

    stream_sink(true);
    (void)snprintf(g.url, sizeof g.url, "redis://localhost:%s", port());
    g.link.urls = (struct option_list){ urls, 2 };
    struct link_spec spec = { "redis", &g.link, "store-1", 1 };
    g.link.db = -1;
    g.link.connect_timeout_ms = g.link.ping_interval_ms = 10000;
    CHECK_INT(c->link_open(&spec, &g.l, NULL), 0);
    sink_open();
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    rig_close();
}

/* ---- channels ---- */

TEST(redis_channels_and_patterns_come_in_order)
{
    size_t n = 0;

    channel_source();
    rig_open();
    source_open(NULL, 0);
    subscribed();
    cli("EVAL \"for i=1,500 do redis.call('PUBLISH',i%%2==0 and 'news' or 'alarm',i) end\" 0");
    while (n < 500) {
        struct batch *b = receive();
        for (size_t i = 0; i < b->count; i++, n++) {
            CHECK_INT(strtol((const char *)b->events[i].body.at, NULL, 10), (long)n + 1);
            CHECK(
                bytes_equal(b->events[i].address, bytes_text((n + 1) % 2 == 0 ? "news" : "alarm")));
        }
        c->source_settle(g.source, b, true);
    }
    rig_close();
}

TEST(redis_a_cut_of_a_subscription_is_a_gap_with_its_end)
{
    struct batch *b = NULL;
    int64_t start = 0;

    channel_source();
    rig_open();
    source_open(NULL, 0);
    subscribed();
    cli("CLIENT KILL TYPE pubsub");
    b = receive();
    CHECK(b->gap_count >= 1);
    start = b->gaps[0].start_ms;
    CHECK(start > 0);
    CHECK_INT(b->gaps[0].end_ms, 0);
    CHECK(b->gaps[0].cause.n > 0);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("news,al*")));
    if (b->gap_count == 1) {
        c->source_settle(g.source, b, true);
        b = receive();
        CHECK_INT(b->gap_count, 1);
    }
    CHECK_INT(b->gaps[b->gap_count - 1].start_ms, start);
    CHECK(b->gaps[b->gap_count - 1].end_ms >= start);
    c->source_settle(g.source, b, true);
    cli("PUBLISH news again");
    CHECK_INT(take(1), 0);
    rig_close();
}

TEST(redis_the_time_when_nobody_listened_is_a_gap_at_the_next_start)
{
    struct position seen = { bytes_text("listened-until"), bytes_text("1000") };
    struct batch *b = NULL;

    channel_source();
    rig_open();
    source_open(&seen, 1);
    b = receive();
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].start_ms, 1000);
    CHECK(b->gaps[0].end_ms > 1000);
    CHECK_INT(b->position_count, 1);
    rig_close();
}

TEST(redis_a_paused_subscription_that_the_server_cuts_is_a_gap)
{
    bool gap = false;

    channel_source();
    rig_open();
    cli("CONFIG SET client-output-buffer-limit 'pubsub 100000 0 0'");
    source_open(NULL, 0);
    subscribed();
    c->source_pause(g.source, true);
    cli("EVAL \"local s=string.rep('x',100000) for i=1,200 do redis.call('PUBLISH','news',s) "
        "end\" 0");
    c->source_pause(g.source, false);
    while (!gap) {
        struct batch *b = receive();
        gap = b->gap_count > 0;
        c->source_settle(g.source, b, true);
    }
    cli("CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60'");
    rig_close();
}

TEST(redis_a_full_window_of_messages_stops_reading_and_goes_on)
{
    size_t n = 0;

    channel_source();
    g.source_spec.window_events = 10;
    rig_open();
    source_open(NULL, 0);
    subscribed();
    cli("EVAL \"for i=1,3000 do redis.call('PUBLISH','news',i) end\" 0");
    while (n < 3000) {
        struct batch *b = receive();
        CHECK(b->count <= 10);
        CHECK_INT(strtol((const char *)b->events[0].body.at, NULL, 10), (long)n + 1);
        n += b->count;
        c->source_settle(g.source, b, true);
    }
    rig_close();
}

TEST(redis_sharded_channels_are_read_and_written)
{
    static char name[] = "shard";
    struct event e = { 0 };
    struct message m = message_of(&e, name);
    struct batch *b = NULL;

    g.channels[0] = name;
    g.from.sharded_channels = (struct option_list){ g.channels, 1 };
    g.to.sharded_channel = (struct option_template){ name, true };
    g.to.require_receiver = true;
    rig_open();
    source_open(NULL, 0);
    sink_open();
    subscribed();
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    b = receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, e.body));
    rig_close();
}

TEST(redis_a_channel_without_receiver_refuses_when_one_is_required)
{
    static char name[] = "nobody";
    struct event e = { 0 };
    struct message m = message_of(&e, name);
    struct report r;

    g.to.channel = (struct option_template){ name, true };
    g.to.require_receiver = true;
    rig_open();
    sink_open();
    r = publish(&m);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_UNROUTABLE);
    rig_close();
}

TEST(redis_an_envelope_carries_what_a_channel_cannot)
{
    static char name[] = "news";
    struct event e = { 0 };
    struct message m = message_of(&e, name);
    struct batch *b = NULL;

    channel_source();
    g.to.channel = (struct option_template){ name, true };
    g.to.envelope = REDIS_ENVELOPE_JSON;
    rig_open();
    source_open(NULL, 0);
    sink_open();
    subscribed();
    e.id = bytes_text("a\"b");
    e.body = bytes_of("\xff\x00\x01", 3);
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    b = receive();
    CHECK(bytes_equal(b->events[0].body,
        bytes_text("{\"id\":\"a\\\"b\",\"key\":null,\"time\":0,\"hops\":0,\"headers\":{},"
                   "\"body\":{\"base64\":\"/wAB\"}}")));
    rig_close();
}

TEST(redis_probe_names_what_is_missing_or_forbidden)
{
    static char news[] = "news";
    struct finding f[8];
    size_t n = 0;
    struct link_spec spec = { "redis", &g.link, "store-1", 1 };

    stream_source();
    stream_sink(true);
    rig_open();
    struct source_spec source = { .options = &g.from };
    struct sink_spec sink = { .options = &g.to };
    CHECK_INT(c->link_probe(&spec, &source, NULL, 10000, f, 8), 1);
    CHECK(!f[0].is_error);
    CHECK_CONTAINS(f[0].text, "does not exist yet");
    cli("XADD in '*' a b");
    CHECK_INT(c->link_probe(&spec, &source, &sink, 10000, f, 8), 1);
    CHECK_CONTAINS(f[0].text, "no group 'g' yet");
    cli("XGROUP CREATE in g 0");
    CHECK_INT(c->link_probe(&spec, &source, &sink, 10000, f, 8), 0);
    cli("ACL SETUSER app reset on '>pw' '+@all' '~other' '&other'");
    (void)snprintf(g.url, sizeof g.url, "redis://app:pw@127.0.0.1:%s", port());
    n = c->link_probe(&spec, &source, &sink, 10000, f, 8);
    CHECK(n >= 3);
    CHECK(f[0].is_error);
    CHECK_CONTAINS(f[0].text, "NOPERM");
    g.to = (struct redis_sink_options){ .channel = { news, true } };
    n = c->link_probe(&spec, NULL, &sink, 10000, f, 8);
    CHECK_INT(n, 1);
    CHECK_CONTAINS(f[0].text, "news");
    cli("ACL SETUSER app on '>other' '<pw'");
    CHECK_INT(c->link_probe(&spec, NULL, NULL, 10000, f, 8), 1);
    CHECK_CONTAINS(f[0].text, "WRONGPASS");
    CHECK_TEXT(ask("XLEN in"), "1");
    CHECK_TEXT(ask("EXISTS out"), "0");
    rig_close();
}

/* ---- TLS ---- */

static void tls_open(const char *server_name, bool trusted)
{
    const char *tls_port = getenv("BASCULE_TEST_REDIS_TLS_PORT");
    static char ca[512];
    const char *certificates = getenv("BASCULE_TEST_REDIS_CERTIFICATES");

    if (!tls_port || !certificates)
        harness_skip(
            "no Redis with TLS: BASCULE_TEST_REDIS_TLS_PORT, BASCULE_TEST_REDIS_CERTIFICATES");
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", certificates);
    (void)snprintf(g.url, sizeof g.url, "rediss://127.0.0.1:%s", tls_port);
    g.link.url = g.url;
    g.link.tls = (struct redis_tls_options){ .set = true,
        .ca_file = trusted ? ca : NULL,
        .server_name = (char *)(uintptr_t)server_name,
        .verify = true };
    stream_sink(true);
    rig_open();
    sink_open();
}

TEST(redis_tls_carries_large_bodies)
{
    struct event e = { 0 };
    struct message m = message_of(&e, "out");
    struct link_status status;
    char *body = calloc(1, 4 << 20);

    tls_open(NULL, true);
    memset(body, 'z', 4 << 20);
    e.body = bytes_of(body, 4 << 20);
    CHECK_INT(publish(&m).fate, FATE_DELIVERED);
    c->link_status(g.l, &status);
    CHECK_CONTAINS(status.peer, "TLS");
    rig_close();
    free(body);
}

TEST(redis_tls_refuses_an_unknown_authority)
{
    struct link_status status = { 0 };

    tls_open(NULL, false);
    UNTIL((c->link_status(g.l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "certificate was refused");
    rig_close();
}

TEST(redis_tls_refuses_another_server_name)
{
    static char other[] = "other.example";
    struct link_status status = { 0 };

    tls_open(other, true);
    UNTIL((c->link_status(g.l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "certificate was refused");
    rig_close();
}
