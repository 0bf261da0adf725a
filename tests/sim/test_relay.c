/* One behaviour of the relay at a time, on a fake clock with scripted connectors. */
#include "tests/harness.h"
#include "tests/sim/rig.h"

#include "routes/relay_inside.h"

static void turns(struct rig *g, int n)
{
    while (n-- > 0)
        rig_turn(g, false);
}

static void settle(struct rig *g)
{
    CHECK(rig_settle(g, 20000));
}

static uint64_t arrivals(const struct rig *g, size_t sink)
{
    uint64_t n = 0;

    for (size_t i = 0; i < g->world.count; i++)
        n += g->world.sinks[sink].arrived[i];
    return n;
}

/* The first dead letter of a sink; fails the test when there is none. */
static struct relay_dead first_dead(struct rig *g, size_t sink, char text[2][64])
{
    struct relay_dead d;

    CHECK(rig_dead(g, sink, text, &d));
    return d;
}

TEST(nothing_is_acknowledged_before_its_commit)
{
    struct rig g;

    rig_init(&g, 1, 1);
    rig_start(&g);
    world_publish(&g.world, 20);
    for (int i = 0; i < 20; i++)
        rig_turn(&g, true); /* the store does nothing */
    for (size_t i = 0; i < 20; i++)
        CHECK(!g.world.events[i].acknowledged);
    CHECK_INT(arrivals(&g, 0), 0);
    settle(&g);
    for (size_t i = 0; i < 20; i++)
        CHECK(g.world.events[i].acknowledged);
    CHECK_INT(arrivals(&g, 0), 20);
    rig_done(&g);
}

TEST(a_final_refusal_is_a_dead_letter_and_its_neighbours_arrive)
{
    struct rig g;
    char text[2][64];

    rig_init(&g, 2, 1);
    g.world.sinks[0].refuse_every = 17;
    rig_start(&g);
    world_publish(&g.world, 34);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 2);
    CHECK_INT(arrivals(&g, 0), 32);
    (void)first_dead(&g, 0, text);
    CHECK_TEXT(text[0], "refused");
    rig_check(&g, true);
    rig_done(&g);
}

TEST(attempts_are_used_up_by_nacks_and_not_by_outages)
{
    struct rig g;
    char text[2][64];

    rig_init(&g, 3, 1);
    g.sinks[0].failure_threshold = 0;
    rig_start(&g);
    world_publish(&g.world, 1);
    g.world.sinks[0].broker_state = 1000;
    turns(&g, 2000);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&g, 0).counts.retries, 0);
    g.world.sinks[0].broker_state = 0;
    g.world.sinks[0].nack = 1000;
    turns(&g, 12000); /* the wait for the broker's state had grown to 30 s */
    CHECK_INT(rig_sink(&g, 0).counts.dead, 1);
    CHECK_INT(first_dead(&g, 0, text).attempts, 4);
    CHECK_TEXT(text[0], "nacked");
    rig_done(&g);
}

TEST(a_retried_dead_letter_is_resolved_only_by_the_brokers_word)
{
    struct rig g;
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    rig_init(&g, 4, 1);
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 5);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 1);
    d = first_dead(&g, 0, text);
    CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
    turns(&g, 100);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 1); /* refused again */
    g.world.sinks[0].refuse_every = 0;
    d = first_dead(&g, 0, text);
    CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
    g.world.sinks[0].up = false;
    turns(&g, 100);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 1); /* not sent yet: still dead */
    CHECK(rig_sink(&g, 0).balanced);
    rig_crash(&g);
    rig_start(&g);
    g.world.sinks[0].up = true;
    turns(&g, 100);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(g.world.sinks[0].arrived[3], 1);
    CHECK(outflow_balanced(g.relay->routes[0]->outflows[0]));
    rig_done(&g);
}

TEST(a_dropped_dead_letter_is_counted_as_dropped_by_a_person)
{
    struct rig g;
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    rig_init(&g, 5, 1);
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 5);
    settle(&g);
    d = first_dead(&g, 0, text);
    CHECK_INT(relay_dead_drop(g.relay, &d, g.unix_ms, &why), 0);
    turns(&g, 20);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&g, 0).counts.dropped_person, 1);
    CHECK(outflow_balanced(g.relay->routes[0]->outflows[0]));
    rig_done(&g);
}

TEST(a_refusal_goes_to_the_fallback_in_the_same_transaction)
{
    struct rig g;

    rig_init(&g, 6, 2);
    g.sinks[1].fallback_only = true;
    g.sinks[0].fallback = 1;
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 10);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.diverted, 2);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(arrivals(&g, 1), 2);
    CHECK_INT(g.world.sinks[1].arrived[3], 1);
    CHECK_INT(g.world.sinks[1].arrived[8], 1);
    CHECK_INT(rig_sink(&g, 1).counts.accepted, 2);
    CHECK_INT(rig_sink(&g, 1).counts.delivered, 2);
    CHECK(rig_sink(&g, 0).balanced && rig_sink(&g, 1).balanced);
    rig_done(&g);
}

TEST(a_pause_survives_a_restart_and_says_who)
{
    struct rig g;
    struct fault why;

    rig_init(&g, 7, 1);
    rig_start(&g);
    CHECK_INT(relay_pause(g.relay, "orders", "one", true, "uid 0, test", g.unix_ms, &why), 0);
    turns(&g, 10);
    rig_crash(&g);
    rig_start(&g);
    world_publish(&g.world, 10);
    turns(&g, 200);
    CHECK_INT(arrivals(&g, 0), 0);
    CHECK(rig_sink(&g, 0).paused);
    CHECK_TEXT(rig_sink(&g, 0).paused_by, "uid 0, test");
    CHECK_INT(rig_sink(&g, 0).pending, 10);
    CHECK_INT(relay_pause(g.relay, "orders", "one", false, "uid 0, test", g.unix_ms, &why), 0);
    settle(&g);
    CHECK_INT(arrivals(&g, 0), 10);
    rig_done(&g);
}

TEST(one_sick_sink_does_not_hold_the_other)
{
    struct rig g;

    rig_init(&g, 8, 2);
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 500);
    turns(&g, 400);
    CHECK_INT(arrivals(&g, 0), 0);
    CHECK_INT(arrivals(&g, 1), 500);
    g.world.sinks[0].up = true;
    settle(&g);
    CHECK_INT(arrivals(&g, 0), 500);
    rig_check(&g, true);
    rig_done(&g);
}

TEST(a_sink_that_is_behind_reads_from_the_log_in_order)
{
    struct rig g;

    rig_init(&g, 9, 1);
    g.sinks[0].max_in_flight_per_key = 1;
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 2000);
    turns(&g, 300);
    rig_crash(&g); /* the tail is gone */
    g.world.keep_position = true;
    rig_start(&g);
    g.world.sinks[0].up = true;
    settle(&g);
    for (size_t i = 0; i < 2000; i++)
        CHECK(g.world.sinks[0].arrived[i] > 0);
    rig_done(&g);
}

TEST(the_breaker_opens_and_a_probe_closes_it)
{
    struct rig g;

    rig_init(&g, 10, 1);
    g.sinks[0].open_for_ms = 1000;
    g.sinks[0].max_attempts = 0;
    g.sinks[0].ordering = CONFIG_ORDER_NONE;
    g.world.sinks[0].sick = true;
    rig_start(&g);
    world_publish(&g.world, 50);
    turns(&g, 40);
    CHECK_INT(rig_sink(&g, 0).breaker, RELAY_BREAKER_OPEN);
    CHECK_CONTAINS(rig_sink(&g, 0).error, "breaker open");
    g.world.sinks[0].sick = false;
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).breaker, RELAY_BREAKER_CLOSED);
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 50);
    rig_done(&g);
}

TEST(followers_of_a_held_key_wait_and_other_keys_flow)
{
    struct rig g;
    struct world_sink *s = &g.world.sinks[0];
    size_t elder = 0;

    rig_init(&g, 11, 1);
    g.sinks[0].max_attempts = 0;
    g.sinks[0].retry.base_ms = g.sinks[0].retry.max_ms = 5000;
    g.sinks[0].retry.jitter = false;
    g.sinks[0].failure_threshold = 0;
    rig_start(&g);
    world_publish(&g.world, 1);
    g.world.events[0].key = 1;
    s->unroutable = 1000;
    turns(&g, 50);
    s->unroutable = 0;
    world_publish(&g.world, 200);
    turns(&g, 150);
    for (size_t i = 1; i < 201; i++) {
        CHECK_INT(s->arrived[i], g.world.events[i].key != 1);
        elder += g.world.events[i].key == 1;
    }
    CHECK_INT(rig_sink(&g, 0).parked, elder);
    CHECK_INT(rig_sink(&g, 0).parked_keys, 1);
    settle(&g);
    rig_check(&g, true);
    CHECK_INT(rig_sink(&g, 0).parked_keys, 0);
    rig_done(&g);
}

TEST(ordering_source_lets_the_whole_sink_wait)
{
    struct rig g;
    struct world_sink *s = &g.world.sinks[0];
    uint64_t before;

    rig_init(&g, 12, 1);
    g.sinks[0].ordering = CONFIG_ORDER_SOURCE;
    g.sinks[0].max_attempts = 0;
    g.sinks[0].max_in_flight_per_key = 1;
    g.sinks[0].retry.base_ms = g.sinks[0].retry.max_ms = 2000;
    g.sinks[0].retry.jitter = false;
    rig_start(&g);
    world_publish(&g.world, 1);
    s->unroutable = 1000;
    turns(&g, 50);
    s->unroutable = 0;
    world_publish(&g.world, 50);
    turns(&g, 100);
    before = arrivals(&g, 0);
    CHECK_INT(before, 0);
    settle(&g);
    for (size_t i = 1; i < 51; i++)
        CHECK(s->first_order[i] > s->first_order[i - 1]);
    rig_done(&g);
}

TEST(the_one_that_closes_the_channel_alone_is_the_dead_letter)
{
    struct rig g;
    char text[2][64];

    rig_init(&g, 13, 1);
    g.world.sinks[0].poison_every = 40;
    rig_start(&g);
    world_publish(&g.world, 40);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 1);
    CHECK_INT(first_dead(&g, 0, text).seq, 6);
    CHECK_TEXT(text[0], "protocol");
    rig_check(&g, true);
    rig_done(&g);
}

TEST(an_event_older_than_expire_after_is_a_dead_letter)
{
    struct rig g;
    char text[2][64];

    rig_init(&g, 14, 1);
    g.sinks[0].expire_after_ms = 1000;
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 3);
    turns(&g, 1000);
    g.world.sinks[0].up = true;
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 3);
    (void)first_dead(&g, 0, text);
    CHECK_TEXT(text[0], "expired");
    rig_done(&g);
}

TEST(a_clock_that_is_stepped_a_day_expires_nothing)
{
    struct rig g;

    rig_init(&g, 28, 1);
    g.sinks[0].expire_after_ms = 60000;
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 10);
    turns(&g, 50);
    g.unix_ms += 86400000;
    world_publish(&g.world, 10);
    turns(&g, 50);
    g.unix_ms -= 2 * 86400000LL;
    world_publish(&g.world, 10);
    turns(&g, 50);
    g.world.sinks[0].up = true;
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(arrivals(&g, 0), 30);
    rig_done(&g);
}

TEST(a_rate_limit_waits_and_burns_nothing)
{
    struct rig g;
    int64_t start;

    rig_init(&g, 15, 1);
    g.sinks[0].rate_limit = 20 * 1000; /* 20 a second */
    rig_start(&g);
    world_publish(&g.world, 100);
    start = g.now_ms;
    settle(&g);
    CHECK(g.now_ms - start >= 3500);
    CHECK(g.now_ms - start < 8000);
    CHECK_INT(rig_sink(&g, 0).counts.retries, 0);
    rig_done(&g);
}

TEST(too_many_dead_letters_stop_a_sink_until_a_person_looks)
{
    struct rig g;
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    rig_init(&g, 16, 1);
    g.sinks[0].max_dead_letters = 2;
    g.sinks[0].window_events = 1;
    g.world.sinks[0].refuse_every = 4;
    rig_start(&g);
    world_publish(&g.world, 40);
    turns(&g, 500);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 2);
    CHECK_CONTAINS(rig_sink(&g, 0).error, "max_dead_letters");
    CHECK(rig_sink(&g, 0).pending > 0);
    g.world.sinks[0].refuse_every = 0;
    for (int i = 0; i < 2; i++) {
        d = first_dead(&g, 0, text);
        CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
        turns(&g, 50);
    }
    settle(&g);
    CHECK_INT(arrivals(&g, 0), 40);
    rig_done(&g);
}

/* ---- steps ---- */

struct scripted_step {
    enum step_result result;
    int every;
};

static enum step_result run_step(
    struct step *s, struct event *event, struct buf *scratch, struct fault *why)
{
    struct scripted_step *script = s->arg;

    (void)scratch;
    if (world_number(event->body) % script->every != 0)
        return STEP_PASS;
    if (script->result == STEP_FAIL)
        (void)fault_set(why, FAULT_INPUT, 0, "not what was wanted");
    return script->result;
}

static void add_step(struct rig *g, struct step *s)
{
    struct outflow *o = g->relay->routes[0]->outflows[0];

    o->steps[o->step_count++] = s;
}

TEST(a_step_that_drops_leaves_a_trace_and_holds_the_sum)
{
    struct rig g;
    struct scripted_step script = { STEP_DROP, 5 };
    struct step step = { "scripted", run_step, &script };
    struct query_spec spec = { .kind = QUERY_TRACE,
        .where = { .route = "orders", .first_seq = 1, .last_seq = 1 },
        .limit = 10,
        .deadline_ms = 100000 };
    struct query_answer a;

    rig_init(&g, 17, 1);
    rig_start(&g);
    add_step(&g, &step);
    world_publish(&g.world, 20);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dropped_filter, 4);
    CHECK_INT(arrivals(&g, 0), 16);
    CHECK(rig_sink(&g, 0).balanced);
    turns(&g, 50);
    rig_query(&g, &spec, &a);
    CHECK_INT(a.rows.row_count, 1);
    CHECK(bytes_equal(a.rows.cells[8].bytes, bytes_text("filtered")));
    query_answer_done(&a);
    rig_done(&g);
}

TEST(a_retried_dead_letter_that_todays_steps_drop_is_counted_once)
{
    struct rig g;
    struct scripted_step script = { STEP_DROP, 1 };
    struct step step = { "scripted", run_step, &script };
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    rig_init(&g, 29, 1);
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 5);
    settle(&g);
    add_step(&g, &step);
    d = first_dead(&g, 0, text);
    CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
    turns(&g, 50);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&g, 0).counts.dropped_filter, 1);
    CHECK(outflow_balanced(g.relay->routes[0]->outflows[0]));
    rig_done(&g);
}

TEST(two_deeds_on_one_dead_letter_do_not_meet)
{
    struct rig g;
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    rig_init(&g, 30, 1);
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 5);
    settle(&g);
    g.world.sinks[0].refuse_every = 0;
    d = first_dead(&g, 0, text);
    CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
    CHECK_INT(relay_dead_drop(g.relay, &d, g.unix_ms, &why), -1);
    CHECK_INT(why.kind, FAULT_RETRY);
    turns(&g, 50);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&g, 0).counts.dropped_person, 0);
    CHECK(outflow_balanced(g.relay->routes[0]->outflows[0]));
    rig_done(&g);
}

TEST(an_event_that_was_held_and_then_diverted_is_traced_as_diverted)
{
    struct rig g;
    struct query_spec spec = { .kind = QUERY_TRACE,
        .where = { .route = "orders", .first_seq = 1, .last_seq = 1 },
        .limit = 10,
        .deadline_ms = 100000 };
    struct query_answer a;

    rig_init(&g, 31, 2);
    g.sinks[1].fallback_only = true;
    g.sinks[0].fallback = 1;
    g.world.sinks[0].unroutable = 1000;
    rig_start(&g);
    world_publish(&g.world, 1);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.diverted, 1);
    turns(&g, 20);
    rig_query(&g, &spec, &a);
    CHECK(bytes_equal(a.rows.cells[8].bytes, bytes_text("diverted")));
    query_answer_done(&a);
    rig_done(&g);
}

TEST(a_step_that_fails_makes_a_dead_letter_even_with_a_fallback)
{
    struct rig g;
    struct scripted_step script = { STEP_FAIL, 5 };
    struct step step = { "scripted", run_step, &script };
    char text[2][64];

    rig_init(&g, 18, 2);
    g.sinks[1].fallback_only = true;
    g.sinks[0].fallback = 1;
    rig_start(&g);
    add_step(&g, &step);
    world_publish(&g.world, 10);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 2);
    CHECK_INT(rig_sink(&g, 0).counts.diverted, 0);
    (void)first_dead(&g, 0, text);
    CHECK_TEXT(text[0], "step");
    rig_done(&g);
}

TEST(a_step_that_hangs_holds_its_key_and_no_other)
{
    struct rig g;
    struct scripted_step script = { STEP_WAIT, 1000 }; /* event 0 */
    struct step step = { "scripted", run_step, &script };

    rig_init(&g, 19, 1);
    rig_start(&g);
    add_step(&g, &step);
    world_publish(&g.world, 60);
    g.world.events[0].key = 1;
    turns(&g, 200);
    for (size_t i = 0; i < 60; i++)
        CHECK_INT(g.world.sinks[0].arrived[i], g.world.events[i].key != 1);
    script.result = STEP_PASS;
    settle(&g);
    rig_check(&g, true);
    rig_done(&g);
}

/* ---- replay ---- */

static uint64_t plan(struct rig *g, struct selection where, const char *to_sink, uint64_t *left_out)
{
    struct query_spec spec = { .kind = QUERY_PLAN, .where = where, .deadline_ms = 100000 };
    struct query_answer a;
    struct relay_replay ask = { .plan = &a, .selection = "test" };
    struct fault why;
    uint64_t number = 0;

    if (to_sink) {
        ask.to_route = "orders";
        ask.to_sink = to_sink;
    }
    rig_query(g, &spec, &a);
    if (relay_replay_plan(g->relay, &ask, g->unix_ms, &number, left_out, &why) != 0)
        harness_fail(__FILE__, __LINE__, "plan: %s", why.text);
    query_answer_done(&a);
    return number;
}

TEST(a_replay_sends_its_frozen_set_again_and_survives_a_crash)
{
    struct rig g;
    struct fault why;
    uint64_t number, left_out;

    rig_init(&g, 20, 1);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 300);
    settle(&g);
    number = plan(&g, (struct selection){ .route = "orders", .first_seq = 11, .last_seq = 290 },
        NULL, &left_out);
    CHECK_INT(left_out, 0);
    CHECK_INT(relay_replay_do(g.relay, number, RELAY_REPLAY_RUN, g.unix_ms, &why), 0);
    world_publish(&g.world, 100); /* after the plan: not in it */
    turns(&g, 4);
    rig_crash(&g);
    rig_start(&g);
    for (int i = 0; i < 3000 && relay_replay_find(g.relay, number); i++)
        rig_turn(&g, false);
    CHECK(relay_replay_find(g.relay, number) == NULL);
    CHECK(g.world.sinks[0].replayed >= 280);
    CHECK(g.world.sinks[0].replayed < 280 + 128 + 1);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 400);
    CHECK(rig_sink(&g, 0).balanced);
    rig_done(&g);
}

TEST(a_replay_leaves_out_what_is_still_pending)
{
    struct rig g;
    uint64_t left_out;

    rig_init(&g, 21, 1);
    rig_start(&g);
    world_publish(&g.world, 50);
    settle(&g);
    g.world.sinks[0].up = false;
    world_publish(&g.world, 30);
    turns(&g, 100);
    (void)plan(&g, (struct selection){ .route = "orders" }, NULL, &left_out);
    CHECK_INT(left_out, 30);
    rig_done(&g);
}

TEST(a_cancelled_replay_ends_and_pins_nothing)
{
    struct rig g;
    struct fault why;
    uint64_t number, left_out;

    rig_init(&g, 22, 2);
    g.world.sinks[1].unroutable = 1000;
    g.sinks[1].max_attempts = 0;
    rig_start(&g);
    world_publish(&g.world, 20);
    turns(&g, 100);
    number = plan(&g, (struct selection){ .route = "orders" }, "two", &left_out);
    CHECK_INT(relay_replay_do(g.relay, number, RELAY_REPLAY_RUN, g.unix_ms, &why), 0);
    turns(&g, 50);
    CHECK_INT(relay_replay_do(g.relay, number, RELAY_REPLAY_CANCEL, g.unix_ms, &why), 0);
    for (int i = 0; i < 2000 && relay_replay_find(g.relay, number); i++)
        rig_turn(&g, false);
    CHECK(relay_replay_find(g.relay, number) == NULL);
    g.world.sinks[1].unroutable = 0;
    settle(&g);
    CHECK(rig_sink(&g, 1).balanced);
    rig_done(&g);
}

/* ---- the store ---- */

TEST(a_full_store_pauses_the_source_and_goes_on_by_itself)
{
    struct rig g;
    struct relay_route_status status;

    rig_init(&g, 23, 1);
    g.max_size = 130 << 10;
    g.world.sinks[0].up = false;
    rig_start(&g);
    for (int i = 0; i < 60; i++) {
        world_publish(&g.world, 60);
        turns(&g, 60);
    }
    relay_route_status(g.relay, 0, &status);
    CHECK(status.held_back[0] != 0);
    CHECK(status.next_seq < g.world.count + 1);
    g.world.sinks[0].up = true;
    g.config.retain_age_ms = 0;
    store_route_retain(g.store, g.relay->routes[0]->id, 1, 1);
    CHECK(rig_settle(&g, 100000));
    rig_check(&g, true);
    rig_done(&g);
}

TEST(a_route_over_its_backlog_is_paused_alone_and_says_so)
{
    struct rig g;
    struct relay_route_status status;

    rig_init(&g, 24, 1);
    g.route.max_backlog = 4096;
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 3000);
    turns(&g, 1500);
    relay_route_status(g.relay, 0, &status);
    CHECK_CONTAINS(status.held_back, "max_backlog");
    CHECK(status.next_seq < 3001);
    g.world.sinks[0].up = true;
    settle(&g);
    CHECK_INT(arrivals(&g, 0), 3000);
    rig_done(&g);
}

TEST(a_redelivery_that_the_log_knows_is_acknowledged_and_counted)
{
    struct rig g;
    struct relay_route_status status;

    rig_init(&g, 27, 1);
    g.route.dedupe_redelivered = true;
    g.world.ids = true;
    rig_start(&g);
    world_publish(&g.world, 100);
    for (int i = 0; i < 4; i++)
        rig_turn(&g, true);
    store_step(g.store); /* committed, and nobody heard of it */
    rig_crash(&g);
    rig_start(&g);
    settle(&g);
    relay_route_status(g.relay, 0, &status);
    CHECK_INT(status.next_seq, 101);
    CHECK(status.duplicates > 0);
    for (size_t i = 0; i < 100; i++)
        CHECK(g.world.events[i].acknowledged);
    rig_done(&g);
}

TEST(a_clean_stop_loses_and_repeats_nothing)
{
    struct rig g;

    rig_init(&g, 25, 2);
    g.world.keep_position = true;
    rig_start(&g);
    world_publish(&g.world, 400);
    turns(&g, 12);
    rig_stop(&g);
    rig_start(&g);
    settle(&g);
    CHECK_INT(arrivals(&g, 0), 400);
    CHECK_INT(arrivals(&g, 1), 400);
    rig_done(&g);
}

TEST(an_event_that_went_through_too_many_bridges_is_dropped_as_a_loop)
{
    struct rig g;

    rig_init(&g, 26, 1);
    g.world.hops = OUTFLOW_HOPS_MAX;
    rig_start(&g);
    world_publish(&g.world, 5);
    settle(&g);
    CHECK_INT(rig_sink(&g, 0).counts.dropped_loop, 5);
    CHECK_INT(arrivals(&g, 0), 0);
    CHECK(rig_sink(&g, 0).balanced);
    rig_done(&g);
}
