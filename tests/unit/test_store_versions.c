/* Stores that older programs made. tests/stores/version-N.db.zst is what version N wrote
 * (tests/stores/fill.c); each opens for ever. */
#include "store/db.h"
#include "tests/unit/old_stores.h"
#include "tests/unit/store_rig.h"

#include <sys/mount.h>
#include <unistd.h>

#define TODAY 3

static void no_damage(void *arg, int severity, const char *line)
{
    (void)arg;
    if (severity == 2)
        harness_fail(__FILE__, __LINE__, "%s", line);
}

static size_t rows_of(struct store *s, enum query_kind kind)
{
    struct query_answer a;
    size_t n;

    store_rig_query(s, &(struct query_spec){ .kind = kind, .all = true, .limit = 100 }, &a);
    n = a.rows.row_count;
    query_answer_done(&a);
    return n;
}

static void check_rest(struct store *s, uint64_t route_id)
{
    struct store_position *at;
    struct store_pause *pauses;
    struct store_job *jobs;
    struct fault why = { 0 };
    size_t count;

    CHECK_INT(rows_of(s, QUERY_DEAD), 4);
    CHECK_INT(rows_of(s, QUERY_GAPS), 1);
    CHECK_INT(rows_of(s, QUERY_AUDIT), 1);
    CHECK_INT(store_positions(s, route_id, "rabbit", &at, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK(bytes_equal(at[0].value, bytes_text("319")));
    store_positions_free(at, count);
    CHECK_INT(store_pauses(s, &pauses, &count, &why), 0);
    CHECK_INT(count, 1);
    free(pauses);
    CHECK_INT(store_jobs_load(s, &jobs, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK_INT(ranges_count(&jobs[0].legs[0].set), 5);
    store_job_done(&jobs[0]);
    free(jobs);
}

/* What the sink has not got yet is read and finished. */
static void deliver(struct store *s, uint64_t route_id, struct store_sink *k)
{
    struct ranges none = { 0 };

    CHECK_INT(k->frontier, 197);
    CHECK_INT(ranges_count(&k->above), 3);
    CHECK_INT(store_rig_check_log(s, route_id, k->frontier), 321);
    k->counts.delivered += 321 - 197 - 3;
    store_cursor_put(s, k->id, 321, &none, &k->counts);
    store_rig_commit(s, RIG_TIME + 100000);
}

static void check_store(int from)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route r;
    struct store_sink k;
    uint64_t next = 321;
    int was, is;
    const char *copy = store_upgraded(s, &was, &is);

    CHECK_INT(copy != NULL, from != TODAY);
    CHECK_INT(is, TODAY);
    if (copy) {
        CHECK_INT(was, from);
        CHECK_INT(access(copy, F_OK), 0);
    }
    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(r.next_seq, 321);
    CHECK_INT(store_rig_check_log(s, r.id, 1), 321);
    check_rest(s, r.id);
    deliver(s, r.id, &k);
    store_rig_append(s, r.id, &next, 10, RIG_TIME + 100000, 60, false);
    store_rig_commit(s, RIG_TIME + 100000);
    /* Merging takes what the old version wrote too. */
    for (int i = 0; i < 5; i++) {
        store_housekeep(s, RIG_TIME + 400000 + i, true);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    ranges_done(&k.above);
    store_free(s, true);
    CHECK_INT(store_check_file(RIG_STORE, no_damage, NULL, &why), 0);
}

TEST(stores_of_every_old_version_open_and_deliver)
{
    for (int i = 0; i < OLD_STORES; i++) {
        old_stores_put(i);
        check_store(i + 1);
    }
}

TEST(an_old_store_is_read_without_being_changed)
{
    struct fault why = { 0 };
    struct query_answer a;
    struct store *s;

    for (int i = 0; i < OLD_STORES; i++) {
        struct query_spec trace = { .kind = QUERY_TRACE, .where = { .id = "e-310" }, .limit = 10 };

        old_stores_put(i);
        CHECK_INT(store_check_file(RIG_STORE, no_damage, NULL, &why), 0);
        CHECK_INT(store_query_file(RIG_STORE, &trace, &a, &why), 0);
        CHECK_INT(a.rows.row_count, 1);
        query_answer_done(&a);
        (void)unlink("saved.db");
        CHECK_INT(
            store_salvage_file(RIG_STORE, "saved.db", digest_sha256, no_damage, NULL, &why), 0);
        s = store_rig_open_with((struct store_spec){ .path = "saved.db", .inline_io = true });
        CHECK_INT(store_rig_check_log(s, 1, 1), 321);
        store_free(s, true);
        check_store(i + 1);
    }
}

TEST(the_copy_made_before_an_upgrade_is_the_old_store)
{
    struct store *s;
    int from, to;

    old_stores_put(0);
    s = store_rig_open();
    CHECK_TEXT(store_upgraded(s, &from, &to), RIG_STORE ".version-1");
    store_free(s, true);
    /* The second start upgrades nothing. */
    s = store_rig_open();
    CHECK(!store_upgraded(s, &from, &to));
    store_free(s, true);
    CHECK_INT(rename(RIG_STORE ".version-1", RIG_STORE), 0);
    check_store(1);
}

TEST(an_upgrade_without_room_for_the_copy_is_refused_and_changes_nothing)
{
    struct fault why = { 0 };
    struct store *s = NULL;

    store_rig_small_disk("disk", "size=1m");
    CHECK_INT(chdir("disk"), 0);
    old_stores_put(0);
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_INPUT);
    CHECK_CONTAINS(why.text, "version 1");
    CHECK_CONTAINS(why.text, "MiB of free space");
    CHECK(access(RIG_STORE ".version-1", F_OK) != 0);
    CHECK(access(RIG_STORE ".version-1.part", F_OK) != 0);
    CHECK_INT(mount("tmpfs", ".", "tmpfs", MS_REMOUNT, "size=64m"), 0);
    check_store(1);
}

static void set_version(const char *sql)
{
    struct fault why = { 0 };
    struct db *db;

    CHECK_INT(db_open(RIG_STORE, DB_WRITE, NULL, &db, &why), 0);
    CHECK_INT(db_exec(db, sql, &why), 0);
    db_last_close(db);
    db_close(db);
}

TEST(a_store_of_a_newer_version_is_refused_and_says_what_to_do)
{
    struct query_spec stats = { .kind = QUERY_STATS, .limit = 10 };
    struct fault why = { 0 };
    struct query_answer a;
    struct store *s = store_rig_open();

    store_free(s, true);
    set_version("PRAGMA user_version=99");
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_INPUT);
    CHECK_CONTAINS(why.text, "version 99");
    CHECK_CONTAINS(why.text, "up to 3");
    CHECK_CONTAINS(why.text, RIG_STORE ".version-3");
    CHECK_INT(store_check_file(RIG_STORE, no_damage, NULL, &why), -1);
    CHECK_CONTAINS(why.text, "version 99");
    CHECK_INT(store_query_file(RIG_STORE, &stats, &a, &why), -1);
    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, no_damage, NULL, &why), -1);
    set_version("PRAGMA user_version=3");
    s = store_rig_open();
    store_free(s, true);
}
