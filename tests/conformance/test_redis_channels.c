/* Redis channels in and out, on a real server. */
#include "tests/conformance/redis_rig.h"

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

TEST(redis_channels_and_patterns_come_in_order)
{
    size_t n = 0;

    redis_rig_from_channels();
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_subscribed();
    redis_rig_cli(
        "EVAL \"for i=1,500 do redis.call('PUBLISH',i%%2==0 and 'news' or 'alarm',i) end\" 0");
    while (n < 500) {
        struct batch *b = redis_rig_receive();
        for (size_t i = 0; i < b->count; i++, n++) {
            CHECK_INT(strtol((const char *)b->events[i].body.at, NULL, 10), (long)n + 1);
            CHECK(
                bytes_equal(b->events[i].address, bytes_text((n + 1) % 2 == 0 ? "news" : "alarm")));
        }
        c->source_settle(g->source, b, true);
    }
    redis_rig_close();
}

TEST(redis_a_cut_of_a_subscription_is_a_gap_with_its_end)
{
    struct batch *b = NULL;
    int64_t start = 0;

    redis_rig_from_channels();
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_subscribed();
    redis_rig_cli("CLIENT KILL TYPE pubsub");
    b = redis_rig_receive();
    CHECK(b->gap_count >= 1);
    start = b->gaps[0].start_ms;
    CHECK(start > 0);
    CHECK_INT(b->gaps[0].end_ms, 0);
    CHECK(b->gaps[0].cause.n > 0);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("news,al*")));
    if (b->gap_count == 1) {
        c->source_settle(g->source, b, true);
        b = redis_rig_receive();
        CHECK_INT(b->gap_count, 1);
    }
    CHECK_INT(b->gaps[b->gap_count - 1].start_ms, start);
    CHECK(b->gaps[b->gap_count - 1].end_ms >= start);
    c->source_settle(g->source, b, true);
    redis_rig_cli("PUBLISH news again");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

TEST(redis_the_time_when_nobody_listened_is_a_gap_at_the_next_start)
{
    struct position seen = { bytes_text("listened-until"), bytes_text("1000") };
    struct batch *b = NULL;

    redis_rig_from_channels();
    redis_rig_open();
    redis_rig_source(&seen, 1);
    b = redis_rig_receive();
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].start_ms, 1000);
    CHECK(b->gaps[0].end_ms > 1000);
    CHECK_INT(b->position_count, 1);
    redis_rig_close();
}

TEST(redis_a_paused_subscription_that_the_server_cuts_is_a_gap)
{
    bool gap = false;

    redis_rig_from_channels();
    redis_rig_open();
    redis_rig_cli("CONFIG SET client-output-buffer-limit 'pubsub 100000 0 0'");
    redis_rig_source(NULL, 0);
    redis_rig_subscribed();
    c->source_pause(g->source, true);
    redis_rig_cli(
        "EVAL \"local s=string.rep('x',100000) for i=1,200 do redis.call('PUBLISH','news',s) "
        "end\" 0");
    c->source_pause(g->source, false);
    while (!gap) {
        struct batch *b = redis_rig_receive();
        gap = b->gap_count > 0;
        c->source_settle(g->source, b, true);
    }
    redis_rig_cli("CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60'");
    redis_rig_close();
}

TEST(redis_a_full_window_of_messages_stops_reading_and_goes_on)
{
    size_t n = 0;

    redis_rig_from_channels();
    g->source_spec.window_events = 10;
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_subscribed();
    redis_rig_cli("EVAL \"for i=1,3000 do redis.call('PUBLISH','news',i) end\" 0");
    while (n < 3000) {
        struct batch *b = redis_rig_receive();
        CHECK(b->count <= 10);
        CHECK_INT(strtol((const char *)b->events[0].body.at, NULL, 10), (long)n + 1);
        n += b->count;
        c->source_settle(g->source, b, true);
    }
    redis_rig_close();
}

TEST(redis_sharded_channels_are_read_and_written)
{
    static char name[] = "shard";
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, name);
    struct batch *b = NULL;

    g->channels[0] = name;
    g->from.sharded_channels = (struct option_list){ g->channels, 1 };
    g->to.sharded_channel = (struct option_template){ name, true };
    g->to.require_receiver = true;
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_sink();
    redis_rig_subscribed();
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    b = redis_rig_receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, e.body));
    redis_rig_close();
}

TEST(redis_a_channel_without_receiver_refuses_when_one_is_required)
{
    static char name[] = "nobody";
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, name);
    struct report r;

    g->to.channel = (struct option_template){ name, true };
    g->to.require_receiver = true;
    redis_rig_open();
    redis_rig_sink();
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_UNROUTABLE);
    redis_rig_close();
}

TEST(redis_an_envelope_carries_what_a_channel_cannot)
{
    static char name[] = "news";
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, name);
    struct batch *b = NULL;

    redis_rig_from_channels();
    g->to.channel = (struct option_template){ name, true };
    g->to.envelope = REDIS_ENVELOPE_JSON;
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_sink();
    redis_rig_subscribed();
    e.id = bytes_text("a\"b");
    e.body = bytes_of("\xff\x00\x01", 3);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    b = redis_rig_receive();
    CHECK(bytes_equal(b->events[0].body,
        bytes_text("{\"id\":\"a\\\"b\",\"key\":null,\"time\":0,\"hops\":0,\"headers\":{},"
                   "\"body\":{\"base64\":\"/wAB\"}}")));
    redis_rig_close();
}
