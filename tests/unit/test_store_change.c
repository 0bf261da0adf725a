/* What a changed configuration does to the names in the store. */
#include "tests/unit/store_rig.h"

#include <stdlib.h>

static size_t known_count(struct store *s, struct store_known *last)
{
    struct store_known *known;
    struct fault why = { 0 };
    size_t count;

    CHECK_INT(store_known(s, &known, &count, &why), 0);
    if (count && last)
        *last = known[count - 1];
    free(known);
    return count;
}

static void housekeep(struct store *s, int64_t unix_ms)
{
    struct fault why = { 0 };

    store_housekeep(s, unix_ms, true);
    store_step(s);
    CHECK_INT(store_collect(s, &why), 0);
}

TEST(a_change_that_is_undone_leaves_every_name_as_it_was)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route r, renamed;
    struct store_sink k;
    struct store_known last = { 0 };

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    ranges_done(&k.above);
    CHECK_INT(store_change_begin(s, &why), 0);
    CHECK_INT(store_route_open(s, "sales", "orders", &renamed, &why), 0);
    CHECK_INT(renamed.id, r.id);
    CHECK_INT(store_discard(s, r.id, k.id, &why), 0);
    CHECK_INT(known_count(s, NULL), 1);
    store_change_undo(s);
    CHECK_INT(known_count(s, &last), 2);
    CHECK_TEXT(last.route, "orders");
    CHECK_TEXT(last.sink, "kafka");
    CHECK_INT(store_change_begin(s, &why), 0);
    CHECK_INT(store_route_open(s, "sales", "orders", &renamed, &why), 0);
    CHECK_INT(store_change_commit(s, &why), 0);
    CHECK_INT(known_count(s, &last), 2);
    CHECK_TEXT(last.route, "sales");
    store_free(s, true);
}

TEST(a_discarded_route_gives_back_its_log_and_its_neighbour_keeps_its_own)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route gone, stays, again;
    struct query_answer a;
    uint64_t next_gone = 1, next_stays = 1;

    store_rig_route(s, "gone", &gone);
    store_rig_route(s, "stays", &stays);
    for (int i = 0; i < 70; i++)
        store_rig_append(s, gone.id, &next_gone, 2, RIG_TIME, 50, true);
    store_rig_append(s, stays.id, &next_stays, 5, RIG_TIME, 50, false);
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_discard(s, gone.id, 0, &why), 0);
    CHECK_INT(known_count(s, NULL), 1);
    for (int i = 1; i < 20; i++)
        housekeep(s, RIG_TIME + i * 1000);
    store_free(s, true);
    s = store_rig_open();
    store_rig_query(s, &(struct query_spec){ .kind = QUERY_EVENTS, .limit = 1000 }, &a);
    CHECK_INT(a.rows.row_count, 5);
    query_answer_done(&a);
    CHECK_INT(store_rig_check_log(s, stays.id, 1), 6);
    store_rig_route(s, "gone", &again); /* the name is free, the number is not */
    CHECK(again.id > stays.id);
    CHECK_INT(again.next_seq, 1);
    store_free(s, true);
}

TEST(a_name_with_an_unfinished_replay_says_so)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink k;
    struct store_known last = { 0 };
    struct store_leg leg = { 0 };
    struct store_job job = { .state = JOB_RUNNING, .legs = &leg, .leg_count = 1 };
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    ranges_done(&k.above);
    store_rig_append(s, r.id, &next, 5, RIG_TIME, 50, false);
    leg.route_id = r.id;
    leg.sink_id = k.id;
    leg.frontier = 2;
    CHECK_INT(ranges_add(&leg.set, 2, 4), 0);
    job.number = store_next_job(s);
    store_job_put(s, &job);
    store_rig_commit(s, RIG_TIME);
    (void)known_count(s, &last);
    CHECK_INT(last.jobs, 1);
    leg.frontier = 5;
    store_job_put(s, &job);
    store_rig_commit(s, RIG_TIME);
    (void)known_count(s, &last);
    CHECK_INT(last.jobs, 0);
    ranges_done(&leg.set);
    store_free(s, true);
}
