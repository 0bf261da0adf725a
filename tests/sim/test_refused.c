/* Events that their source's broker gave up: logged as all are, sent by a person only. */
#include "tests/harness.h"
#include "tests/sim/rig.h"

static void turns(struct rig *g, int n)
{
    while (n-- > 0)
        rig_turn(g, false);
}

/* Events 2, 12 and 22 of thirty. */
static void begin(struct rig *g, uint64_t seed, size_t sinks)
{
    rig_init(g, seed, sinks);
    g->world.keep_position = true;
    g->world.give_up_every = 10;
}

static void check_dead(struct rig *g, size_t sink, uint64_t n)
{
    struct relay_dead d;
    char text[2][64];

    CHECK_INT(rig_sink(g, sink).counts.dead, n);
    CHECK_INT(rig_sink(g, sink).counts.delivered, 30 - n);
    CHECK_INT(g->world.sinks[sink].arrived[2], 0);
    CHECK_INT(g->world.sinks[sink].arrived[3], 1);
    CHECK(rig_sink(g, sink).balanced);
    CHECK(rig_dead(g, sink, text, &d));
    CHECK_TEXT(text[0], "source");
    CHECK_INT(d.seq, 3);
    CHECK_INT(d.attempts, 0);
}

static void check_words(struct rig *g)
{
    struct query_spec spec = { .kind = QUERY_DEAD, .limit = 10, .deadline_ms = 100000 };
    struct query_answer a;
    bool found = false;

    rig_query(g, &spec, &a);
    for (size_t i = 0; i < a.rows.row_count * a.rows.column_count; i++) {
        const char *column = a.rows.columns[i % a.rows.column_count];

        if (strcmp(column, "code") == 0)
            CHECK_INT(a.rows.cells[i].i, 7);
        if (strcmp(column, "text") == 0)
            found = bytes_equal(a.rows.cells[i].bytes, bytes_text(WORLD_GIVEN_UP));
    }
    query_answer_done(&a);
    CHECK(found);
}

TEST(what_its_source_gave_up_is_a_dead_letter_at_each_sink_and_is_not_sent)
{
    struct rig g;

    begin(&g, 51, 2);
    rig_start(&g);
    world_publish(&g.world, 30);
    CHECK(rig_settle(&g, 20000));
    check_dead(&g, 0, 3);
    check_dead(&g, 1, 3);
    check_words(&g);
    rig_check(&g, false);
    rig_done(&g);
}

TEST(what_its_source_gave_up_is_still_known_as_such_after_a_crash)
{
    struct rig g;
    struct fault why;

    begin(&g, 52, 1);
    rig_start(&g);
    CHECK_INT(relay_pause(g.relay, "orders", g.sinks[0].name, true, "uid 0", g.unix_ms, &why), 0);
    world_publish(&g.world, 30);
    turns(&g, 50);
    CHECK(g.world.events[29].acknowledged);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 0);
    rig_crash(&g);
    rig_start(&g);
    CHECK_INT(relay_pause(g.relay, "orders", g.sinks[0].name, false, "uid 0", g.unix_ms, &why), 0);
    CHECK(rig_settle(&g, 20000));
    check_dead(&g, 0, 3);
    check_words(&g);
    rig_done(&g);
}

TEST(what_its_source_gave_up_is_sent_when_a_person_retries_it)
{
    struct rig g;
    struct relay_dead d;
    struct fault why;
    char text[2][64];

    begin(&g, 53, 1);
    rig_start(&g);
    world_publish(&g.world, 30);
    CHECK(rig_settle(&g, 20000));
    CHECK(rig_dead(&g, 0, text, &d));
    CHECK_INT(relay_dead_retry(g.relay, &d, g.unix_ms, &why), 0);
    turns(&g, 100);
    CHECK_INT(g.world.sinks[0].arrived[2], 1);
    CHECK_INT(g.world.sinks[0].arrived[12], 0);
    CHECK_INT(rig_sink(&g, 0).counts.dead, 2);
    CHECK_INT(rig_sink(&g, 0).counts.delivered, 28);
    CHECK(rig_sink(&g, 0).balanced);
    rig_done(&g);
}

/* A fallback gets what a sink refused; this one never saw it. */
TEST(what_its_source_gave_up_does_not_go_to_the_fallback)
{
    struct rig g;

    begin(&g, 54, 2);
    g.sinks[1].fallback_only = true;
    g.sinks[0].fallback = 1;
    rig_start(&g);
    world_publish(&g.world, 30);
    CHECK(rig_settle(&g, 20000));
    check_dead(&g, 0, 3);
    CHECK_INT(rig_sink(&g, 0).counts.diverted, 0);
    CHECK_INT(g.world.sinks[1].order, 0);
    rig_done(&g);
}
