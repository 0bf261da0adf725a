/* A Redis stream as a source, on a real server: rules of its own beyond the suite's. */
#include "tests/conformance/redis_rig.h"

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

TEST(redis_receive_gives_no_more_than_its_limit)
{
    size_t n = 0;

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,50 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    while (n < 50) {
        struct batch *b = NULL;
        UNTIL((b = c->source_receive(g->source, 7)));
        CHECK(b->count <= 7);
        CHECK_INT(strtol((const char *)b->events[0].body.at, NULL, 10), (long)n + 1);
        n += b->count;
        c->source_settle(g->source, b, true);
    }
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_the_window_bounds_what_is_lent)
{
    size_t n = 0;
    struct batch *b = NULL, *out[50];

    redis_rig_from_stream();
    g->source_spec.window_events = 10;
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,50 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    for (size_t k = 0; n < 10; k++) {
        out[k] = redis_rig_receive();
        n += out[k]->count;
    }
    CHECK_INT(n, 10);
    for (int i = 0; i < 20; i++) {
        redis_rig_turn();
        CHECK(!(b = c->source_receive(g->source, 100)));
    }
    c->source_settle(g->source, out[0], true);
    CHECK(redis_rig_receive()->count <= 10);
    redis_rig_close();
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

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,3 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    b = redis_rig_receive();
    CHECK_INT(b->count, 3);
    for (; n < b->position_count; n++) {
        memcpy(text[n], b->positions[n].name.at, b->positions[n].name.n);
        memcpy(text[n] + 100, b->positions[n].value.at, b->positions[n].value.n);
        kept[n] = (struct position){ bytes_of(text[n], b->positions[n].name.n),
            bytes_of(text[n] + 100, b->positions[n].value.n) };
    }
    CHECK_INT(n, 1);
    /* Committed, and gone before it was settled. */
    redis_rig_close();
    CHECK_TEXT(redis_rig_ask("XPENDING in g"), "3");
    redis_rig_open();
    redis_rig_source(kept, n);
    redis_rig_cli("XADD in '*' body new");
    b = redis_rig_receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, bytes_text("new")));
    forgotten += forgets(b, kept[0].name);
    c->source_settle(g->source, b, true);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    c->source_status(g->source, &status);
    CHECK_INT(status.duplicates, 3);
    redis_rig_cli("XADD in '*' body more");
    b = redis_rig_receive();
    forgotten += forgets(b, kept[0].name);
    CHECK_INT(forgotten, 1);
    redis_rig_close();
}

TEST(redis_a_cut_before_settle_gives_no_repeat)
{
    struct batch *b = NULL;

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,3 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    b = redis_rig_receive();
    CHECK_INT(b->count, 3);
    redis_rig_cli("CLIENT KILL TYPE normal SKIPME yes");
    for (int i = 0; i < 3; i++)
        redis_rig_turn();
    c->source_settle(g->source, b, true);
    redis_rig_cli("XADD in '*' body 4");
    b = redis_rig_receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].body, bytes_text("4")));
    c->source_settle(g->source, b, true);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_trimmed_pending_entries_are_a_gap)
{
    struct batch *b = NULL;

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("XGROUP CREATE in g 0 MKSTREAM");
    redis_rig_cli("EVAL \"for i=1,5 do redis.call('XADD','in',i..'-1','body',i) end\" 0");
    redis_rig_cli("XREADGROUP GROUP g store-1 STREAMS in '>'");
    redis_rig_cli("XDEL in 2-1 4-1");
    redis_rig_source(NULL, 0);
    b = redis_rig_receive();
    CHECK_INT(b->count, 3);
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].count, 2);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("in")));
    c->source_settle(g->source, b, true);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_a_trim_past_pending_entries_is_a_gap)
{
    struct batch *b = NULL;

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("XGROUP CREATE in g 0 MKSTREAM");
    redis_rig_cli("EVAL \"for i=1,10 do redis.call('XADD','in',i..'-1','body',i) end\" 0");
    redis_rig_cli("XREADGROUP GROUP g store-1 COUNT 8 STREAMS in '>'");
    redis_rig_cli("XTRIM in MAXLEN 4");
    redis_rig_source(NULL, 0);
    b = redis_rig_receive();
    CHECK_INT(b->count, 2);
    CHECK(bytes_equal(b->events[0].body, bytes_text("7")));
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].count, 6);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("in")));
    c->source_settle(g->source, b, true);
    CHECK_INT(redis_rig_take(2), 0);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_entries_trimmed_before_they_were_read_are_a_gap)
{
    struct batch *b = NULL;

    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,10 do redis.call('XADD','in',i..'-1','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(10), 0);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
    /* While the bridge is away. */
    redis_rig_cli("EVAL \"for i=11,30 do redis.call('XADD','in',i..'-1','body',i) end\" 0");
    redis_rig_cli("XTRIM in MAXLEN 5");
    redis_rig_open();
    redis_rig_source(NULL, 0);
    b = redis_rig_receive();
    CHECK_INT(b->gap_count, 1);
    CHECK_INT(b->gaps[0].count, 15);
    CHECK_INT(b->gaps[0].start_ms, 10);
    CHECK_INT(b->gaps[0].end_ms, 26);
    CHECK(bytes_equal(b->gaps[0].what, bytes_text("in")));
    while (b->count == 0) {
        c->source_settle(g->source, b, true);
        b = redis_rig_receive();
        CHECK_INT(b->gap_count, 0);
    }
    CHECK(bytes_equal(b->events[0].body, bytes_text("26")));
    CHECK_INT(b->count, 5);
    c->source_settle(g->source, b, true);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
    /* It is told once, and deleting what was read is none. */
    g->from.remove = true;
    redis_rig_cli("XADD in 40-1 body 40");
    redis_rig_open();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    UNTIL(strcmp(redis_rig_ask("XLEN in"), "5") == 0);
    redis_rig_close();
    redis_rig_cli("XADD in 41-1 body 41");
    redis_rig_open();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

TEST(redis_status_tells_how_far_a_group_is_behind)
{
    redis_rig_from_stream();
    g->source_spec.window_events = 10;
    redis_rig_open();
    redis_rig_cli("EVAL \"for i=1,50 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_source_status().lag, -1);
    c->source_pause(g->source, true);
    UNTIL(redis_rig_source_status().lag >= 0);
    CHECK_INT(redis_rig_source_status().lag, 50);
    c->source_pause(g->source, false);
    CHECK_INT(redis_rig_take(50), 0);
    UNTIL(redis_rig_source_status().lag == 0);
    redis_rig_close();
}

TEST(redis_a_group_that_is_gone_is_made_again_and_told)
{
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_cli("XADD in '*' body 1");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_cli("DEL in");
    redis_rig_cli("XADD in '*' body 2");
    CHECK_INT(redis_rig_take(1), 1);
    redis_rig_close();
}

TEST(redis_entries_of_a_dead_consumer_are_claimed)
{
    redis_rig_from_stream();
    g->from.claim_idle_ms = 1;
    redis_rig_open();
    redis_rig_cli("XGROUP CREATE in g 0 MKSTREAM");
    redis_rig_cli("EVAL \"for i=1,300 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_cli("XREADGROUP GROUP g dead STREAMS in '>'");
    CHECK_TEXT(redis_rig_ask("XPENDING in g"), "300");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(300), 0);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_claimed_entries_behind_newer_ones_are_counted_as_reordered)
{
    struct link_status status;

    redis_rig_from_stream();
    g->from.claim_idle_ms = 2000;
    redis_rig_open();
    redis_rig_cli("XGROUP CREATE in g 0 MKSTREAM");
    redis_rig_cli("EVAL \"for i=1,3 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_cli("XREADGROUP GROUP g dead STREAMS in '>'");
    redis_rig_cli("XADD in '*' body 4");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    status = redis_rig_source_status();
    CHECK_INT(status.reordered, 0);
    CHECK_INT(redis_rig_take(3), 0);
    status = redis_rig_source_status();
    CHECK_INT(status.reordered, 3);
    redis_rig_close();
}

TEST(redis_an_oversize_entry_stops_the_source_or_is_a_gap)
{
    struct link_status status = { 0 };

    redis_rig_from_stream();
    g->source_spec.max_event_bytes = 100;
    redis_rig_open();
    redis_rig_cli("XADD in '*' body ok");
    redis_rig_cli("XADD in '*' body %0200d", 1);
    redis_rig_cli("XADD in '*' body ok");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    UNTIL((c->source_status(g->source, &status), status.state == LINK_STOPPED));
    CHECK_CONTAINS(status.error, "max_event_bytes");
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "2") == 0);
    redis_rig_close();
    g->from.oversize = REDIS_OVERSIZE_SKIP;
    redis_rig_open();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 1);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_close();
}

TEST(redis_a_pause_of_a_quiet_stream_holds_at_once)
{
    bool woken = false;

    redis_rig_from_stream();
    g->link.ping_interval_ms = 600000;
    redis_rig_open();
    redis_rig_cli("XADD in '*' body 1");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(1), 0);
    /* Its reading waits at the server, for seconds; one may just have ended by itself. */
    for (int i = 0; i < 5 && !woken; i++) {
        c->source_pause(g->source, false);
        UNTIL(strstr(redis_rig_ask("INFO clients | grep blocked_clients"), ":1"));
        c->source_pause(g->source, true);
        UNTIL(strstr(redis_rig_ask("INFO clients | grep blocked_clients"), ":0"));
        woken = strstr(redis_rig_ask("INFO commandstats | grep client.unblock"), "calls=");
    }
    CHECK(woken);
    redis_rig_cli("XADD in '*' body 2");
    CHECK_TEXT(redis_rig_ask("XPENDING in g"), "0");
    c->source_pause(g->source, false);
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}
