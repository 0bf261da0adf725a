/* Another configuration while events move. */
#include "tests/harness.h"
#include "tests/sim/rig.h"

#include "routes/relay_inside.h"

#include <stdio.h>

static uint64_t arrivals(const struct rig *g, size_t sink)
{
    uint64_t n = 0;

    for (size_t i = 0; i < g->world.count; i++)
        n += g->world.sinks[sink].arrived[i];
    return n;
}

static void turns(struct rig *g, int n)
{
    while (n-- > 0)
        rig_turn(g, false);
}

/* Two routes that read the world's source together, one sink each. */
static void two_routes(struct rig *g, struct config_route routes[2], uint64_t seed)
{
    rig_init(g, seed, 2);
    routes[0] = routes[1] = g->route;
    routes[0].sink_count = routes[1].sink_count = 1;
    routes[1].name = (char *)(uintptr_t) "clicks";
    routes[1].sinks = &g->sinks[1];
    g->routes = routes;
    g->route_count = 1;
    g->route.sink_count = 1; /* what the rig's own checks look at */
}

static void done(struct rig *g)
{
    g->route.sink_count = g->world.sink_count;
    rig_done(g);
}

static const char *const drained_names[] = { "clicks", "orders/two" };
static const struct relay_reload_ask drains = { .drain = drained_names, .drain_count = 1 };
static const struct relay_reload_ask drains_sink = { .drain = drained_names + 1, .drain_count = 1 };
static const struct relay_reload_ask discards = { .discard = drained_names, .discard_count = 1 };

TEST(a_reload_without_a_change_touches_nothing)
{
    struct rig g;

    rig_init(&g, 1, 2);
    rig_start(&g);
    world_publish(&g.world, 200);
    turns(&g, 10);
    rig_reload_now(&g, NULL);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    CHECK_INT(g.world.source_opens, 1);
    CHECK_INT(g.world.link_opens, 1);
    CHECK_INT(g.world.sinks[0].opens, 1);
    CHECK(rig_settle(&g, 2000));
    CHECK_INT(arrivals(&g, 0), 200);
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_reload_adds_a_route_and_removes_one_and_its_neighbour_never_notices)
{
    struct config_route routes[2];
    struct rig g;
    uint64_t of_one;

    two_routes(&g, routes, 2);
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 5);
    g.route_count = 2;
    rig_reload_now(&g, NULL);
    CHECK_INT(relay_route_count(g.relay), 2);
    CHECK_INT(g.world.sinks[0].opens, 1);
    CHECK_INT(g.world.sinks[1].opens, 1);
    world_publish(&g.world, 300);
    CHECK(rig_settle(&g, 2000));
    turns(&g, 100);
    CHECK(arrivals(&g, 1) > 0);
    CHECK(arrivals(&g, 0) + arrivals(&g, 1) >= 600);
    of_one = arrivals(&g, 0);
    g.route_count = 1;
    rig_reload_now(&g, NULL);
    CHECK_INT(relay_route_count(g.relay), 1);
    world_publish(&g.world, 50);
    CHECK(rig_settle(&g, 2000));
    CHECK_INT(arrivals(&g, 0), of_one + 50);
    CHECK_INT(g.world.sinks[0].opens, 1);
    rig_stop(&g);
    done(&g);
}

TEST(a_changed_route_goes_on_from_the_log_without_a_loss_or_a_repeat)
{
    struct rig g;

    rig_init(&g, 3, 2);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 3000);
    for (int i = 0; i < 10; i++) {
        turns(&g, 7);
        if (i % 2)
            g.sinks[0].window_events = 50 + i;
        else
            g.route.window_events = 5000 + i;
        rig_reload_now(&g, NULL);
        CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    }
    CHECK_INT(g.world.source_opens, 6); /* it stays where only a sink changes */
    CHECK_INT(g.world.sinks[0].opens, 11);
    CHECK_INT(g.world.link_opens, 1);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 3000);
    CHECK_INT(arrivals(&g, 1), 3000);
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_source_that_does_not_change_goes_on_while_sinks_come_change_and_go)
{
    struct rig g;

    rig_init(&g, 82, 2);
    g.route.sink_count = 1;
    rig_start(&g);
    world_publish(&g.world, 200);
    turns(&g, 5);
    g.route.sink_count = 2;
    g.sinks[0].retry.max_ms += 1;
    rig_reload_now(&g, NULL);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    world_publish(&g.world, 200);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 400);
    CHECK(arrivals(&g, 1) >= 200);
    g.route.sink_count = 1;
    rig_reload_now(&g, NULL);
    world_publish(&g.world, 200);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 600);
    CHECK_INT(g.world.source_opens, 1);
    rig_stop(&g);
    done(&g);
}

TEST(a_reload_never_waits_for_a_sick_sink)
{
    struct rig g;
    int64_t began;

    rig_init(&g, 4, 1);
    g.world.keep_position = true;
    g.sinks[0].max_in_flight_per_key = 1;
    rig_start(&g);
    world_publish(&g.world, 100);
    g.world.sinks[0].silent = true;
    turns(&g, 20);
    CHECK(rig_sink(&g, 0).in_flight > 0);
    began = g.now_ms;
    g.sinks[0].max_attempts = 7;
    rig_reload_now(&g, NULL);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    CHECK(g.now_ms - began < 3200);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK(relay_unsure(g.relay)); /* they may have arrived: not a clean end, and looked for first */
    g.world.sinks[0].silent = false;
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(rig_sink(&g, 0).counts.retries, 0);
    rig_check(&g, true);
    CHECK(!relay_unsure(g.relay));
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_changed_connection_is_opened_anew_with_all_that_uses_it)
{
    struct rig g;

    rig_init(&g, 5, 1);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 500);
    turns(&g, 10);
    (void)snprintf(g.connection.files, sizeof g.connection.files, "a renewed certificate");
    rig_reload_now(&g, NULL);
    CHECK_INT(g.world.link_opens, 2);
    CHECK_INT(g.world.source_opens, 2);
    CHECK_INT(g.world.sinks[0].opens, 2);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 500);
    rig_check(&g, true);
    rig_done(&g);
}

TEST(a_reload_that_cannot_open_everything_leaves_the_old_configuration_running)
{
    struct rig g;

    rig_init(&g, 6, 1);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 10);
    g.world.refuse_sinks = true;
    g.sinks[0].window_events = 77;
    rig_reload_now(&g, NULL);
    CHECK_INT(g.reloaded, RELAY_RELOAD_FAILED);
    CHECK_CONTAINS(g.reload_why.text, "out of memory");
    CHECK_INT(g.relay->routes[0]->config->sinks[0].window_events, 128);
    g.world.refuse_sinks = false;
    world_publish(&g.world, 300);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 600);
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

/* As in a sync that takes so long, or until the reload has ended. */
static void store_does_nothing(struct rig *g, int64_t ms)
{
    int64_t end = g->now_ms + ms;

    while (g->now_ms < end && g->reloaded == RELAY_RELOAD_RUNNING)
        rig_turn(g, true);
}

TEST(a_reload_waits_for_a_disk_that_takes_half_a_minute)
{
    struct rig g;

    rig_init(&g, 15, 1);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 3);
    g.sinks[0].window_events = 77;
    CHECK_INT(rig_reload(&g, NULL), 0);
    store_does_nothing(&g, 30000);
    CHECK_INT(g.reloaded, RELAY_RELOAD_RUNNING);
    turns(&g, 100);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 300);
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_reload_that_cannot_put_to_disk_what_came_in_fails_and_all_goes_on)
{
    struct rig g;

    rig_init(&g, 15, 1);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 3);
    g.sinks[0].window_events = 77;
    CHECK_INT(rig_reload(&g, NULL), 0);
    store_does_nothing(&g, 60000);
    CHECK_INT(g.reloaded, RELAY_RELOAD_FAILED);
    CHECK_INT(g.world.source_opens, 1);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 300);
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_reload_that_gives_a_full_store_room_changes_a_route_that_waits_for_it)
{
    struct relay_route_status status;
    struct rig g;

    rig_init(&g, 16, 1);
    g.max_size = 130 << 10;
    g.world.sinks[0].up = false;
    rig_start(&g);
    for (int i = 0; i < 60; i++) {
        world_publish(&g.world, 60);
        turns(&g, 20);
    }
    relay_route_status(g.relay, 0, &status);
    CHECK_CONTAINS(status.held_back, "full");
    g.max_size = 64 << 20;
    g.route.window_events = 77;
    rig_reload_now(&g, NULL);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    g.world.sinks[0].up = true;
    CHECK(rig_settle(&g, 20000));
    rig_check(&g, true);
    rig_stop(&g);
    rig_done(&g);
}

TEST(what_was_draining_when_the_daemon_died_can_be_discarded_or_come_back)
{
    struct config_route routes[2];
    struct rig g;

    two_routes(&g, routes, 16);
    g.route_count = 2;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 300);
    g.route_count = 1;
    rig_reload_now(&g, &drains);
    turns(&g, 10);
    rig_crash(&g);
    rig_start(&g);
    CHECK_INT(g.relay->orphan_count, 2); /* route and sink: kept, not run */
    rig_reload_now(&g, NULL);            /* that alone is no reason to refuse */
    g.route_count = 2;
    rig_reload_now(&g, NULL);
    CHECK_INT(g.relay->orphan_count, 0);
    CHECK(outflow_pending(g.relay->routes[1]->outflows[0]) > 0);
    g.route_count = 1;
    rig_crash(&g);
    rig_start(&g);
    rig_reload_now(&g, &discards);
    CHECK_INT(g.relay->orphan_count, 0);
    done(&g);
}

TEST(a_gone_route_with_a_backlog_is_refused_until_it_is_discarded)
{
    static const char *const names[] = { "clicks" };
    const struct relay_reload_ask ask = { .discard = names, .discard_count = 1 };
    struct config_route routes[2];
    struct rig g;

    two_routes(&g, routes, 7);
    g.route_count = 2;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 300);
    CHECK_INT(rig_reload(&g, &ask), -1);
    CHECK_INT(g.reload_why.code, 152); /* it is not gone */
    g.route_count = 1;
    CHECK_INT(rig_reload(&g, NULL), -1);
    CHECK_INT(g.reload_why.code, 151);
    CHECK_CONTAINS(g.reload_why.text, "clicks");
    CHECK_INT(relay_route_count(g.relay), 2);
    rig_reload_now(&g, &ask);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    CHECK_INT(relay_route_count(g.relay), 1);
    rig_crash(&g);
    rig_start(&g);
    CHECK_INT(g.relay->orphan_count, 0);
    done(&g);
}

TEST(a_renamed_route_goes_on_under_its_new_name)
{
    struct rig g;
    struct relay_route_status s;

    rig_init(&g, 8, 1);
    g.world.keep_position = true;
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 100);
    turns(&g, 200);
    g.route.was = g.route.name;
    g.route.name = (char *)(uintptr_t) "sales";
    rig_reload_now(&g, NULL);
    relay_route_status(g.relay, 0, &s);
    CHECK_TEXT(s.name, "sales");
    CHECK_INT(s.next_seq, 101);
    CHECK_INT(rig_sink(&g, 0).pending, 100);
    rig_crash(&g);
    rig_start(&g);
    g.world.sinks[0].up = true;
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(arrivals(&g, 0), 100);
    rig_done(&g);
}

TEST(a_gone_route_that_drains_sends_what_it_has_and_reads_no_more)
{
    struct config_route routes[2];
    struct relay_route_status s;
    struct rig g;
    uint64_t had;

    two_routes(&g, routes, 9);
    g.world.keep_position = true;
    g.route_count = 2;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 300);
    relay_route_status(g.relay, 1, &s);
    had = s.next_seq - 1;
    CHECK(had > 0);
    g.route_count = 1;
    rig_reload_now(&g, &drains);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    CHECK_INT(relay_route_count(g.relay), 2);
    world_publish(&g.world, 300);
    turns(&g, 100);
    rig_reload_now(&g, NULL); /* it goes on through another one, unasked */
    CHECK_INT(relay_route_count(g.relay), 2);
    relay_route_status(g.relay, 1, &s);
    CHECK(s.going);
    CHECK_INT(s.next_seq, had + 1);
    g.world.sinks[1].up = true;
    turns(&g, 600);
    CHECK_INT(relay_route_count(g.relay), 1);
    CHECK_INT(arrivals(&g, 1), had);
    CHECK_INT(rig_sink(&g, 0).pending, 0);
    CHECK_INT(g.world.sinks[0].opens, 1);
    rig_stop(&g);
    done(&g);
}

TEST(a_route_that_drains_and_comes_back_reads_on)
{
    struct config_route routes[2];
    struct relay_route_status s;
    struct rig g;

    two_routes(&g, routes, 10);
    g.world.keep_position = true;
    g.route_count = 2;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 300);
    g.route_count = 1;
    rig_reload_now(&g, &drains);
    g.route_count = 2;
    rig_reload_now(&g, NULL);
    relay_route_status(g.relay, 1, &s);
    CHECK(!s.going);
    g.world.sinks[1].up = true;
    world_publish(&g.world, 300);
    turns(&g, 600);
    CHECK_INT(relay_route_count(g.relay), 2);
    relay_route_status(g.relay, 1, &s);
    CHECK_INT(arrivals(&g, 1), s.next_seq - 1);
    CHECK_TEXT(s.held_back, "");
    rig_stop(&g);
    done(&g);
}

TEST(a_gone_sink_that_drains_gets_what_came_before_and_nothing_after)
{
    struct rig g;

    rig_init(&g, 11, 2);
    g.world.keep_position = true;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 200);
    turns(&g, 200);
    g.route.sink_count = 1;
    CHECK_INT(rig_reload(&g, NULL), -1);
    CHECK_CONTAINS(g.reload_why.text, "orders/two");
    rig_reload_now(&g, &drains_sink);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    world_publish(&g.world, 100);
    turns(&g, 100);
    rig_reload_now(&g, NULL);
    turns(&g, 100);
    CHECK_INT(arrivals(&g, 0), 300);
    CHECK_INT(rig_sink(&g, 1).pending, 200);
    CHECK(rig_sink(&g, 1).balanced);
    g.world.sinks[1].up = true;
    turns(&g, 600);
    CHECK_INT(arrivals(&g, 1), 200);
    CHECK_INT(g.relay->routes[0]->config->sink_count, 1);
    rig_crash(&g);
    rig_start(&g);
    CHECK_INT(g.relay->orphan_count, 0);
    CHECK(rig_settle(&g, 1000));
    CHECK_INT(arrivals(&g, 0), 300);
    g.route.sink_count = 2;
    rig_done(&g);
}

/* A replay of everything to all sinks of the route, running. */
static uint64_t replay_all(struct rig *g)
{
    struct query_spec spec = { .kind = QUERY_PLAN, .deadline_ms = 100000 };
    struct query_answer a;
    struct relay_replay ask = { .plan = &a, .selection = "test", .rate = 100000 };
    uint64_t number = 0, left_out;
    struct fault why;

    rig_query(g, &spec, &a);
    CHECK_INT(relay_replay_plan(g->relay, &ask, g->unix_ms, &number, &left_out, &why), 0);
    CHECK_INT(relay_replay_do(g->relay, number, RELAY_REPLAY_RUN, g->unix_ms, &why), 0);
    query_answer_done(&a);
    return number;
}

TEST(a_replay_goes_on_at_a_sink_that_was_opened_anew)
{
    struct rig g;
    uint64_t number;

    rig_init(&g, 12, 2);
    g.world.keep_position = true;
    g.world.sinks[0].nack = 100;
    rig_start(&g);
    world_publish(&g.world, 300);
    CHECK(rig_settle(&g, 5000));
    number = replay_all(&g);
    for (int i = 0; i < 10; i++) {
        turns(&g, 20);
        g.sinks[0].window_events = 60 + i;
        rig_reload_now(&g, NULL);
    }
    for (int i = 0; i < 5000 && relay_replay_find(g.relay, number); i++)
        rig_turn(&g, false);
    CHECK(relay_replay_find(g.relay, number) == NULL);
    CHECK_INT(g.world.sinks[0].replayed, 300 - rig_sink(&g, 0).counts.dead);
    CHECK_INT(g.world.sinks[1].replayed, 300);
    rig_check(&g, false);
    rig_stop(&g);
    rig_done(&g);
}

TEST(a_replay_whose_sink_is_disabled_is_paused_and_says_why)
{
    struct rig g;
    uint64_t number;
    struct fault why;

    rig_init(&g, 13, 2);
    rig_start(&g);
    world_publish(&g.world, 300);
    CHECK(rig_settle(&g, 5000));
    number = replay_all(&g);
    turns(&g, 10);
    g.sinks[1].enabled = false;
    rig_reload_now(&g, NULL);
    turns(&g, 5);
    CHECK_INT(relay_replay_find(g.relay, number)->state, JOB_PAUSED);
    CHECK(relay_replay_trouble(g.relay, number, 0) == NULL);
    CHECK_CONTAINS(relay_replay_trouble(g.relay, number, 1), "disabled");
    CHECK_INT(relay_replay_do(g.relay, number, RELAY_REPLAY_RESUME, g.unix_ms, &why), -1);
    g.sinks[1].enabled = true;
    rig_reload_now(&g, NULL);
    CHECK_INT(relay_replay_do(g.relay, number, RELAY_REPLAY_RESUME, g.unix_ms, &why), 0);
    for (int i = 0; i < 5000 && relay_replay_find(g.relay, number); i++)
        rig_turn(&g, false);
    CHECK(relay_replay_find(g.relay, number) == NULL);
    CHECK_INT(g.world.sinks[1].replayed, 300);
    rig_stop(&g);
    rig_done(&g);
}

TEST(what_a_replay_had_left_for_a_discarded_sink_counts_as_dropped)
{
    static const char *const names[] = { "orders/two" };
    const struct relay_reload_ask ask = { .discard = names, .discard_count = 1 };
    struct rig g;
    uint64_t number;

    rig_init(&g, 14, 2);
    rig_start(&g);
    world_publish(&g.world, 300);
    CHECK(rig_settle(&g, 5000));
    g.world.sinks[1].up = false;
    number = replay_all(&g);
    turns(&g, 10);
    g.route.sink_count = 1;
    CHECK_INT(rig_reload(&g, NULL), -1);
    CHECK_CONTAINS(g.reload_why.text, "1 replays");
    rig_reload_now(&g, &ask);
    CHECK_INT(g.reloaded, RELAY_RELOAD_DONE);
    for (int i = 0; i < 5000 && relay_replay_find(g.relay, number); i++)
        rig_turn(&g, false);
    CHECK(relay_replay_find(g.relay, number) == NULL);
    CHECK_INT(g.world.sinks[0].replayed, 300);
    rig_stop(&g);
    g.route.sink_count = 2;
    rig_done(&g);
}

TEST(what_a_person_drains_does_so_after_the_daemons_end_until_it_is_resumed)
{
    struct fault why;
    struct rig g;

    rig_init(&g, 81, 2);
    g.world.keep_position = true;
    rig_start(&g);
    CHECK_INT(relay_drain_one(g.relay, "orders", "one", &why), 0);
    world_publish(&g.world, 10);
    turns(&g, 200);
    rig_crash(&g);
    rig_start(&g);
    turns(&g, 200);
    CHECK(rig_sink(&g, 0).draining && !rig_sink(&g, 1).draining);
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 0);
    CHECK_INT(relay_drain_one(g.relay, "orders", NULL, &why), 0);
    turns(&g, 50);
    rig_stop(&g);
    rig_start(&g);
    world_publish(&g.world, 10);
    turns(&g, 200);
    CHECK_INT(rig_sink(&g, 1).counts.delivered, 10);
    CHECK_INT(relay_pause(g.relay, "orders", NULL, false, "a test", g.unix_ms, &why), 0);
    CHECK(rig_settle(&g, 5000));
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 20);
    rig_stop(&g);
    rig_start(&g);
    turns(&g, 50);
    CHECK(!rig_sink(&g, 0).draining);
    rig_stop(&g);
    rig_done(&g);
}
