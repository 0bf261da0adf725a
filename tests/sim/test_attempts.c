/* What uses up an attempt and what does not, and how a try is named. */
#include "tests/harness.h"
#include "tests/sim/rig.h"

static void turns(struct rig *g, int n)
{
    while (n-- > 0)
        rig_turn(g, false);
}

TEST(lost_sessions_use_up_no_attempt_however_many)
{
    struct rig g;

    rig_init(&g, 41, 1);
    g.sinks[0].max_attempts = 1;
    g.world.sinks[0].lose = 500;
    rig_start(&g);
    world_publish(&g.world, 300);
    turns(&g, 300);
    CHECK(g.world.sinks[0].session > 50);
    CHECK_INT(rig_sink(&g, 0).counts.retries, 0);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    g.world.sinks[0].lose = 0;
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 300);
    rig_check(&g, false);
    rig_done(&g);
}

TEST(probes_of_an_open_breaker_use_up_no_attempt)
{
    struct relay_sink_status first, last;
    struct rig g;

    rig_init(&g, 42, 1);
    g.sinks[0].open_for_ms = 50;
    g.sinks[0].ordering = CONFIG_ORDER_NONE;
    g.world.sinks[0].sick = true;
    rig_start(&g);
    world_publish(&g.world, 60);
    turns(&g, 60);
    first = rig_sink(&g, 0);
    CHECK(first.breaker != RELAY_BREAKER_CLOSED);
    turns(&g, 5000); /* some 500 probes for 60 events of 4 attempts each */
    last = rig_sink(&g, 0);
    CHECK_INT(last.counts.retries, first.counts.retries);
    CHECK_INT(last.counts.dead, 0);
    g.world.sinks[0].sick = false;
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 60);
    rig_done(&g);
}

static uint64_t retried_as(struct rig *g)
{
    char text[2][64];
    struct relay_dead d;
    struct fault why;

    CHECK(rig_dead(g, 0, text, &d));
    CHECK_INT(relay_dead_retry(g->relay, &d, g->unix_ms, &why), 0);
    turns(g, 100);
    return g->world.sinks[0].generation;
}

TEST(each_retry_by_a_person_has_a_token_of_its_own_over_crashes_too)
{
    struct rig g;
    uint64_t first, second;

    rig_init(&g, 43, 1);
    g.world.sinks[0].refuse_every = 5;
    rig_start(&g);
    world_publish(&g.world, 4);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(g.world.sinks[0].generation, 0);
    first = retried_as(&g);
    CHECK(first > 0);
    second = retried_as(&g);
    CHECK(second > first);
    rig_crash(&g);
    rig_start(&g);
    CHECK(retried_as(&g) > second);
    rig_done(&g);
}
