/* What leaves the store by its own age, and what a start on a full disk does. */
#include "tests/unit/fail_vfs.h"
#include "tests/unit/store_rig.h"

#include <unistd.h>

#define DAY ((int64_t)86400 * 1000)

static void keep_house(struct store *s, int64_t unix_ms, bool clock_ok, int times)
{
    for (int i = 0; i < times; i++) {
        struct fault why = { 0 };

        store_housekeep(s, unix_ms, clock_ok);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
}

static size_t rows_of(struct store *s, enum query_kind kind)
{
    struct query_answer a;
    size_t n;

    store_rig_query(s, &(struct query_spec){ .kind = kind, .all = true, .limit = 1000 }, &a);
    n = a.rows.row_count;
    query_answer_done(&a);
    return n;
}

static void put_dead(struct store *s, uint64_t route, uint64_t sink, uint64_t seq,
    enum held_state state, int64_t changed_ms)
{
    struct event event = { .address = bytes_text("a"),
        .id = bytes_text("i"),
        .body = bytes_text("the body"),
        .received_ms = RIG_TIME };
    struct held h = { .number = store_next_held(s),
        .route_id = route,
        .sink_id = sink,
        .seq = seq,
        .state = state,
        .reason = REASON_NACKED,
        .expires_in_ms = -1,
        .changed_ms = changed_ms };
    struct attempt a = { .sink_id = sink, .seq = seq, .number = 1, .time_ms = changed_ms };

    store_held_put(s, &h, &event);
    store_attempt_put(s, &a);
}

TEST(dead_letters_that_are_done_with_go_by_their_own_age)
{
    struct store *s = store_rig_open();
    struct store_counts counts = { 0 };
    struct ranges none = { 0 };
    struct store_route r, other;
    struct store_sink k, l;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_rig_route(s, "kept", &other);
    store_rig_sink(s, other.id, "kafka", &l);
    store_route_retain(s, r.id, 7 * DAY, -1);
    store_route_retain(s, other.id, -1, -1);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 20, false);
    put_dead(s, r.id, k.id, 1, HELD_RESOLVED, RIG_TIME);
    put_dead(s, r.id, k.id, 2, HELD_DROPPED, RIG_TIME + DAY);
    put_dead(s, r.id, k.id, 3, HELD_DEAD, RIG_TIME);
    put_dead(s, r.id, k.id, 4, HELD_RETRYING, RIG_TIME);
    put_dead(s, other.id, l.id, 1, HELD_RESOLVED, RIG_TIME);
    store_rig_commit(s, RIG_TIME);

    keep_house(s, RIG_TIME + 7 * DAY, true, 3);
    CHECK_INT(rows_of(s, QUERY_DEAD), 5);
    /* Not while the clocks disagree. */
    keep_house(s, RIG_TIME + 7 * DAY + 1, false, 3);
    CHECK_INT(rows_of(s, QUERY_DEAD), 5);
    /* The chunk stays, since its sink is not through; the resolved one goes all the same. */
    keep_house(s, RIG_TIME + 7 * DAY + 1, true, 3);
    CHECK_INT(rows_of(s, QUERY_DEAD), 4);
    keep_house(s, RIG_TIME + 30 * DAY, true, 3);
    CHECK_INT(rows_of(s, QUERY_DEAD), 3);
    CHECK_INT(store_rig_check_log(s, r.id, 1), 11);

    /* One whose chunk went long ago stays its whole time after it was resolved. */
    store_cursor_put(s, k.id, 11, &none, &counts);
    put_dead(s, r.id, k.id, 3, HELD_RESOLVED, RIG_TIME + 30 * DAY);
    store_rig_commit(s, RIG_TIME + 30 * DAY);
    keep_house(s, RIG_TIME + 31 * DAY, true, 3);
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.first_seq, 11);
    CHECK_INT(rows_of(s, QUERY_DEAD), 4);
    keep_house(s, RIG_TIME + 38 * DAY, true, 3);
    CHECK_INT(rows_of(s, QUERY_DEAD), 3);
    ranges_done(&k.above);
    ranges_done(&l.above);
    store_free(s, true);
}

TEST(many_dead_letters_go_in_small_steps)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink k;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_route_retain(s, r.id, DAY, -1);
    for (uint64_t seq = 1; seq <= 500; seq++)
        put_dead(s, r.id, k.id, seq, HELD_RESOLVED, RIG_TIME);
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 2 * DAY, true, 1);
    CHECK(rows_of(s, QUERY_DEAD) > 400);
    keep_house(s, RIG_TIME + 2 * DAY, true, 9);
    CHECK_INT(rows_of(s, QUERY_DEAD), 0);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(gaps_go_by_age_unless_they_are_still_open)
{
    struct store *s = store_rig_open();
    struct store_route r;

    store_rig_route(s, "alerts", &r);
    store_route_retain(s, r.id, DAY, -1);
    store_gap_put(
        s, r.id, "cache", RIG_TIME, RIG_TIME + 5, 0, bytes_text("a"), bytes_text("a cut"));
    store_gap_put(s, r.id, "cache", RIG_TIME, 0, 0, bytes_text("b"), bytes_text("open"));
    store_gap_put(s, r.id, "cache", RIG_TIME, RIG_TIME + DAY, 0, bytes_text("c"), bytes_text("x"));
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + DAY + 5, true, 2);
    CHECK_INT(rows_of(s, QUERY_GAPS), 3);
    keep_house(s, RIG_TIME + DAY + 6, true, 2);
    CHECK_INT(rows_of(s, QUERY_GAPS), 2);
    keep_house(s, RIG_TIME + 9 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_GAPS), 1);
    store_free(s, true);
}

TEST(audit_rows_go_from_the_oldest_end_and_stay_ninety_days)
{
    static const int64_t days[] = { 0, 1, 50, 2, 60 }; /* a clock was stepped back */
    struct store *s = store_rig_open();
    struct store_route r;

    store_rig_route(s, "orders", &r);
    store_route_retain(s, r.id, DAY, -1);
    for (size_t i = 0; i < 5; i++)
        store_audit_put(s, RIG_TIME + days[i] * DAY, 0, 0, "pause", "orders", "", "done");
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 90 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 5);
    keep_house(s, RIG_TIME + 100 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 3); /* the fourth waits for the third */
    store_route_retain(s, r.id, 1000 * DAY, -1);
    keep_house(s, RIG_TIME + 500 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 3);
    store_route_retain(s, r.id, -1, -1);
    keep_house(s, RIG_TIME + 5000 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 3);
    store_route_retain(s, r.id, DAY, -1);
    keep_house(s, RIG_TIME + 5000 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 0);
    store_free(s, true);
}

TEST(what_a_discarded_route_left_goes_and_its_neighbours_stay)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route gone, kept;
    uint64_t next = 1, other = 1;
    struct query_answer a;

    store_rig_route(s, "gone", &gone);
    store_rig_route(s, "kept", &kept);
    for (int i = 0; i < 100; i++) {
        store_rig_append(s, gone.id, &next, 1, RIG_TIME + i, 20, false);
        store_rig_append(s, kept.id, &other, 1, RIG_TIME + i, 20, false);
        store_rig_commit(s, RIG_TIME + i);
    }
    store_gap_put(s, gone.id, "c", RIG_TIME, RIG_TIME + 5, 0, bytes_text("a"), bytes_text("b"));
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_discard(s, gone.id, 0, &why), 0);
    keep_house(s, RIG_TIME + DAY, true, 10);
    store_read_blocks(s, 1, gone.id, 1, 1 << 20, false);
    {
        struct store_read r;

        store_rig_read(s, &r);
        CHECK_INT(r.count, 0);
        store_read_done(&r);
    }
    CHECK_INT(rows_of(s, QUERY_GAPS), 0);
    CHECK_INT(store_rig_check_log(s, kept.id, 1), other);
    store_rig_query(s, &(struct query_spec){ .kind = QUERY_STATS, .limit = 10 }, &a);
    CHECK_INT(a.rows.row_count, 1);
    query_answer_done(&a);
    store_free(s, true);
}

static uint64_t begin_at(struct store *s, uint64_t route_id, const char *name, int64_t ms)
{
    struct fault why = { 0 };
    struct store_sink k;

    CHECK_INT(store_sink_open(s, route_id, name, NULL, STORE_BEGIN_TIME, ms, &k, &why), 0);
    ranges_done(&k.above);
    return k.begin_seq;
}

TEST(a_sink_begins_at_the_first_event_of_its_time)
{
    struct store *s = store_rig_open();
    struct store_route r;
    uint64_t next = 1;

    store_rig_route(s, "slow", &r);
    for (int i = 0; i < 100; i++) {
        store_rig_append(s, r.id, &next, 1, RIG_TIME + i * 1000, 20, false);
        store_rig_commit(s, RIG_TIME + i * 1000);
    }
    keep_house(s, RIG_TIME + DAY, true, 3); /* joins them */
    CHECK_INT(begin_at(s, r.id, "a", RIG_TIME + 50 * 1000), 51);
    CHECK_INT(begin_at(s, r.id, "b", RIG_TIME + 50 * 1000 + 1), 52);
    CHECK_INT(begin_at(s, r.id, "c", RIG_TIME - DAY), 1);
    CHECK_INT(begin_at(s, r.id, "d", RIG_TIME + 99 * 1000), 100);
    CHECK_INT(begin_at(s, r.id, "e", RIG_TIME + 99 * 1000 + 1), 101);
    store_free(s, true);
}

/* ---- a start on a full disk ---- */

TEST(a_start_on_a_full_disk_takes_the_reserve)
{
    struct store_spec spec = { .vfs = FAIL_VFS };
    struct store_route r;
    struct fault why = { 0 };
    uint64_t next = 1;
    struct store *s;

    fail_vfs_register();
    s = store_rig_open_with(spec);
    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    store_free(s, true);
    CHECK_INT(access(RIG_STORE ".reserve", F_OK), 0);

    fail_vfs_set(FAIL_FULL);
    CHECK_INT(unlink(RIG_STORE ".reserve"), 0);
    CHECK_INT(store_rig_try(spec, &s, &why), -1); /* with nothing to give there is no start */
    CHECK_INT(why.kind, FAULT_FULL);
    fail_vfs_set(FAIL_NOTHING);
    s = store_rig_open_with(spec);
    store_free(s, true);
    CHECK_INT(access(RIG_STORE ".reserve", F_OK), 0);

    fail_vfs_set(FAIL_FULL);
    fail_vfs_give(RIG_STORE ".reserve", 20 << 20);
    s = store_rig_open_with(spec);
    CHECK(access(RIG_STORE ".reserve", F_OK) != 0);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    /* Taken again when there is room, without any event that waits for it. */
    fail_vfs_set(FAIL_NOTHING);
    while (access(RIG_STORE ".reserve", F_OK) != 0) {
        store_housekeep(s, RIG_TIME, true);
        CHECK_INT(store_collect(s, &why), 0);
        (void)usleep(1000);
    }
    store_free(s, true);
}

static long fill_disk(const char *path)
{
    static char block[4096];
    FILE *f = fopen(path, "wb");
    long n = 0;

    CHECK(f != NULL);
    (void)setvbuf(f, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, f) == sizeof block)
        n++;
    (void)fclose(f);
    return n;
}

TEST(a_real_disk_that_is_wholly_full_is_started_on)
{
    struct store_spec spec = { .path = "disk/log.db" };
    struct store_route r;
    uint64_t next = 1;
    struct store *s;

    store_rig_small_disk("disk", "size=64m");
    s = store_rig_open_with(spec);
    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    store_free(s, true);
    CHECK(fill_disk("disk/filler") > 100);
    s = store_rig_open_with(spec);
    CHECK(access("disk/log.db.reserve", F_OK) != 0);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    store_free(s, true);
    CHECK_INT(unlink("disk/filler"), 0);
    s = store_rig_open_with(spec);
    CHECK_INT(access("disk/log.db.reserve", F_OK), 0);
    store_free(s, true);
}

/* 40 routes of one event each, all of them too old now, in a store that was opened again. */
static struct store *many_old_routes(void)
{
    struct store *s = store_rig_open();
    struct store_route r;
    char name[16];

    for (int i = 0; i < 40; i++) {
        uint64_t next = 1;

        (void)snprintf(name, sizeof name, "r%d", i);
        store_rig_route(s, name, &r);
        store_rig_append(s, r.id, &next, 1, RIG_TIME, 20, false);
        store_rig_commit(s, RIG_TIME);
    }
    store_free(s, true);
    s = store_rig_open();
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "r%d", i);
        store_rig_route(s, name, &r);
        store_route_retain(s, r.id, DAY, -1);
    }
    return s;
}

TEST(routes_that_have_nothing_to_do_are_kept_a_few_at_a_time)
{
    struct store *s = many_old_routes();

    CHECK_INT(rows_of(s, QUERY_EVENTS), 40);
    keep_house(s, RIG_TIME + 2 * DAY, true, 1);
    CHECK_INT(rows_of(s, QUERY_EVENTS), 24);
    keep_house(s, RIG_TIME + 2 * DAY, true, 2);
    CHECK_INT(rows_of(s, QUERY_EVENTS), 0);
    store_free(s, true);
}

TEST(a_route_with_appends_is_kept_every_time)
{
    struct store *s = many_old_routes();
    struct store_route last;
    uint64_t next = 2;

    store_rig_route(s, "r39", &last);
    store_rig_append(s, last.id, &next, 1, RIG_TIME + 1, 20, false);
    store_rig_commit(s, RIG_TIME + 1);
    CHECK_INT(rows_of(s, QUERY_EVENTS), 41);
    keep_house(s, RIG_TIME + 2 * DAY, true, 1);
    CHECK_INT(rows_of(s, QUERY_EVENTS), 23);
    store_free(s, true);
}
