/* Replays through crashes, one crash after each turn. */
#include "tests/harness.h"
#include "tests/sim/deeds.h"

#include <unistd.h>

#define A_PART 96 /* of deeds_replay(): as many events and one */

static void turns(struct rig *g, size_t n)
{
    for (; n; n--)
        rig_turn(g, false);
}

static void forget_store(void)
{
    (void)unlink("store.db");
    (void)unlink("store.db-wal");
    (void)unlink("store.db-shm");
}

static void killed_after(size_t n)
{
    struct rig g;

    deeds_init();
    rig_init(&g, 90 + n, 1);
    g.world.keep_position = true;
    g.sinks[0].max_attempts = 0;
    rig_start(&g);
    world_publish(&g.world, 150);
    CHECK(rig_settle(&g, 5000));
    g.world.sinks[0].sick = true;
    deeds_replay(&g, 0, A_PART);
    turns(&g, 20);
    g.world.sinks[0].sick = false;
    turns(&g, n);
    rig_crash(&g);
    rig_start(&g);
    for (int i = 0; i < 5000 && !deeds_done(&g); i++)
        rig_turn(&g, false);
    CHECK(deeds_done(&g));
    deeds_check(&g);
    rig_done(&g);
    forget_store();
}

TEST(a_replay_has_counted_what_was_held_before_it_is_forgotten)
{
    for (size_t n = 0; n < 60; n++)
        killed_after(n);
}

TEST(a_retried_dead_letter_of_a_replay_goes_as_one)
{
    struct world_sink *to;
    uint32_t before;
    struct rig g;

    deeds_init();
    rig_init(&g, 160, 1);
    to = &g.world.sinks[0];
    rig_start(&g);
    world_publish(&g.world, 150);
    CHECK(rig_settle(&g, 5000));
    to->refuse_every = 17;
    deeds_replay(&g, 0, A_PART);
    for (int i = 0; i < 5000 && !deeds_done(&g); i++)
        rig_turn(&g, false);
    CHECK(to->replayed > 0 && to->replayed < 97); /* the others are its dead letters */
    before = to->replayed;
    to->refuse_every = 0;
    deeds_retry(&g, 0);
    turns(&g, 50);
    CHECK_INT(to->replayed, before + 1);
    CHECK(rig_sink(&g, 0).balanced);
    rig_done(&g);
}
