/* Promises with a number or a neighbour in them: how many repeats, and who is left alone. */
#include "store/db.h"
#include "tests/harness.h"
#include "tests/sim/rig.h"

#define HISTORY 4096
/* What may be sent again after a kill besides the window: cursor moves wait up to 50 ms for a
 * transaction, which is on disk a turn (10 ms at most here) after its submission, and that is heard
 * of by the next one. */
#define UNSAVED_MS 70

static uint64_t arrivals(const struct rig *g, size_t sink)
{
    uint64_t n = 0;

    for (size_t i = 0; i < g->world.count; i++)
        n += g->world.sinks[sink].arrived[i];
    return n;
}

static void repeats_are_few(uint64_t seed)
{
    static struct {
        int64_t at_ms;
        uint64_t arrived;
    } past[HISTORY];
    struct rig g;
    uint64_t at_kill, recent = 0, repeats;
    int n = 0, last = 20 + (int)(seed * 7 % 60);

    rig_init(&g, seed, 1);
    g.world.keep_position = true;
    g.sinks[0].window_events = 32;
    rig_start(&g);
    world_publish(&g.world, 3000);
    for (; n < last; n++) {
        rig_turn(&g, false);
        past[n].at_ms = g.now_ms;
        past[n].arrived = arrivals(&g, 0);
    }
    at_kill = arrivals(&g, 0);
    for (int i = 0; i < n; i++)
        if (past[i].at_ms <= g.now_ms - UNSAVED_MS)
            recent = past[i].arrived;
    recent = at_kill - recent;
    CHECK(at_kill > 0 && at_kill < 3000);
    rig_crash(&g);
    rig_start(&g);
    CHECK(rig_settle(&g, 20000));
    repeats = arrivals(&g, 0) - 3000;
    if (repeats > recent + 32)
        harness_fail(__FILE__, __LINE__, "seed %llu: %llu repeats, %llu moved in the last %d ms",
            (unsigned long long)seed, (unsigned long long)repeats, (unsigned long long)recent,
            UNSAVED_MS);
    rig_check(&g, true);
    rig_done(&g);
    for (const char *const *f = (const char *const[]){ "", "-wal", "-shm", ".lock", NULL }; *f;
         f++) {
        char path[64];

        (void)snprintf(path, sizeof path, "store.db%s", *f);
        (void)remove(path);
    }
}

TEST(a_kill_repeats_at_most_the_window_and_the_last_cursor_moves)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        repeats_are_few(seed);
}

TEST(a_route_over_its_share_waits_and_its_neighbour_goes_on)
{
    struct config_route routes[2];
    struct relay_route_status first, second;
    uint64_t before;
    struct rig g;

    rig_init(&g, 31, 2);
    routes[0] = routes[1] = g.route;
    routes[0].sink_count = routes[1].sink_count = 1;
    routes[0].max_backlog = 4096;
    routes[1].name = (char *)(uintptr_t) "clicks";
    routes[1].sinks = &g.sinks[1];
    g.routes = routes;
    g.route_count = 2;
    g.route.sink_count = 1; /* what the rig's own checks look at */
    g.world.sinks[0].up = false;
    rig_start(&g);
    world_publish(&g.world, 3000);
    for (int i = 0; i < 1500; i++)
        rig_turn(&g, false);
    relay_route_status(g.relay, 0, &first);
    CHECK_CONTAINS(first.held_back, "max_backlog");
    before = arrivals(&g, 1);
    world_publish(&g.world, 500);
    for (int i = 0; i < 500; i++)
        rig_turn(&g, false);
    relay_route_status(g.relay, 1, &second);
    CHECK_TEXT(second.held_back, "");
    CHECK_TEXT(second.error, "");
    CHECK_INT(arrivals(&g, 1), before + 500);
    CHECK_INT(arrivals(&g, 0), 0);
    g.world.sinks[0].up = true;
    CHECK(rig_settle(&g, 20000));
    for (int i = 0; i < 1000 && first.held_back[0]; i++) { /* measured once a second */
        rig_turn(&g, false);
        relay_route_status(g.relay, 0, &first);
    }
    CHECK_TEXT(first.held_back, "");
    CHECK_INT(arrivals(&g, 0) + arrivals(&g, 1), 3500);
    g.route.sink_count = 2;
    rig_done(&g);
}

/* Overwrites what the second chunk of the log holds. */
static void damage_second_chunk(void)
{
    struct db *db;
    struct fault why;

    CHECK_INT(db_open("store.db", DB_WRITE, NULL, &db, &why), 0);
    CHECK_INT(db_exec(db,
                  "UPDATE chunk SET frame = zeroblob(length(frame)) WHERE id = (SELECT id FROM "
                  "chunk ORDER BY id LIMIT 1 OFFSET 1)",
                  &why),
        0);
    CHECK_INT(db_changes(db), 1);
    db_last_close(db);
    db_close(db);
}

TEST(a_damaged_chunk_stops_only_the_sink_that_needs_it_and_says_so)
{
    struct rig g;
    struct relay_sink_status two;

    rig_init(&g, 32, 2);
    g.world.keep_position = true;
    g.world.sinks[1].up = false;
    rig_start(&g);
    world_publish(&g.world, 1000);
    for (int i = 0; i < 500; i++)
        rig_turn(&g, false);
    CHECK_INT(arrivals(&g, 0), 1000);
    rig_crash(&g); /* the tail in memory would hide it */
    damage_second_chunk();
    rig_start(&g);
    g.world.sinks[1].up = true;
    world_publish(&g.world, 500);
    for (int i = 0; i < 1000; i++)
        rig_turn(&g, false);
    CHECK(rig_sink(&g, 0).counts.delivered == 1500);
    CHECK_TEXT(rig_sink(&g, 0).error, "");
    two = rig_sink(&g, 1);
    CHECK_CONTAINS(two.error, "chunk");
    CHECK(arrivals(&g, 1) > 0);
    CHECK(arrivals(&g, 1) < 1000);
    CHECK_INT(two.pending, 1500 - arrivals(&g, 1));
    CHECK(two.balanced);
    rig_done(&g);
}
