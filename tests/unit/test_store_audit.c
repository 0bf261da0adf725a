/* The chain of the audit rows: whatever is done to the file by hand shows, and names the row. */
#include "store/db.h"
#include "tests/unit/old_stores.h"
#include "tests/unit/store_rig.h"

#include <unistd.h>

#define ROWS 8
#define DAY ((int64_t)86400 * 1000)

static void put_rows(struct store *s, int n)
{
    for (int i = 0; i < n; i++) {
        char object[32];

        (void)snprintf(object, sizeof object, "route-%d", i + 1);
        store_audit_put(s, RIG_TIME + i, 1000, 7, "pause", object, "", i % 2 ? NULL : "done");
    }
    store_rig_commit(s, RIG_TIME);
}

static void with_rows(void)
{
    struct store *s = store_rig_open();

    put_rows(s, ROWS);
    store_free(s, true);
}

static void by_hand(const char *sql)
{
    struct fault why = { 0 };
    struct db *db;

    CHECK_INT(db_open(RIG_STORE, DB_WRITE, NULL, &db, &why), 0);
    if (db_exec(db, sql, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s: %s", sql, why.text);
    db_last_close(db);
    db_close(db);
}

struct verdict {
    char findings[4096]; /* a line each */
    char head[80];
    int64_t last, rows, first, expected;
    size_t count;
};

static const char *cell_text(const struct query_answer *a, size_t row, size_t column)
{
    const struct cell *c = &a->rows.cells[row * a->rows.column_count + column];

    return c->type == CELL_NULL ? NULL : (const char *)c->bytes.at;
}

static int64_t cell_int(const struct query_answer *a, size_t row, size_t column)
{
    const struct cell *c = &a->rows.cells[row * a->rows.column_count + column];

    return c->type == CELL_INT ? c->i : -1;
}

static void read_verdict(struct query_answer *a, struct verdict *ret)
{
    size_t last = a->rows.row_count - 1;

    *ret = (struct verdict){ .count = last };
    for (size_t i = 0; i < last; i++) {
        const struct cell *c = &a->rows.cells[i * a->rows.column_count + 1];

        (void)snprintf(ret->findings + strlen(ret->findings),
            sizeof ret->findings - strlen(ret->findings), "%lld: %.*s\n",
            (long long)cell_int(a, i, 0), (int)c->bytes.n, (const char *)c->bytes.at);
    }
    ret->last = cell_int(a, last, 0);
    ret->rows = cell_int(a, last, 2);
    ret->first = cell_int(a, last, 3);
    (void)snprintf(ret->head, sizeof ret->head, "%.64s", cell_text(a, last, 4));
    ret->expected = cell_int(a, last, 5);
    query_answer_done(a);
}

static struct verdict verify_as(const char *path, const char *expect)
{
    struct query_spec q = {
        .kind = QUERY_AUDIT_VERIFY, .digest = digest_sha256, .text = expect, .limit = 100
    };
    struct fault why = { 0 };
    struct query_answer a;
    struct verdict ret;

    if (store_query_file(path, &q, &a, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    read_verdict(&a, &ret);
    return ret;
}

static struct verdict verify(void)
{
    return verify_as(RIG_STORE, NULL);
}

/* After `sql` was done to a file with rows 1 to ROWS, that many findings, the first of them so. */
static void check_tampered(const char *sql, size_t count, const char *first)
{
    struct verdict v;

    (void)unlink(RIG_STORE);
    with_rows();
    CHECK_INT(verify().count, 0);
    by_hand(sql);
    v = verify();
    if (v.count != count || strncmp(v.findings, first, strlen(first)) != 0)
        harness_fail(__FILE__, __LINE__, "%s: %zu findings: %s", sql, v.count, v.findings);
}

TEST(audit_rows_as_they_were_written_are_in_order)
{
    struct verdict v;

    with_rows();
    v = verify();
    CHECK_INT(v.count, 0);
    CHECK_INT(v.rows, ROWS);
    CHECK_INT(v.first, 1);
    CHECK_INT(v.last, ROWS);
    CHECK_INT(strlen(v.head), 64);
}

TEST(an_audit_row_that_was_changed_is_named_whatever_was_changed)
{
    static const char *const columns[] = { "time_ms = 5", "uid = 0", "pid = 8", "what = 'resume'",
        "object = 'route-x'", "object = NULL", "detail = NULL", "detail = 'x'", "result = 'no'" };

    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        char sql[100];

        (void)snprintf(sql, sizeof sql, "UPDATE audit SET %s WHERE id = 3", columns[i]);
        check_tampered(sql, 1, "3: row 3 (");
    }
    check_tampered("UPDATE audit SET object = 'xy', detail = '' WHERE id = 4", 1,
        "4: row 4 (pause xy by uid 1000) was changed, put in or moved");
    /* What stood on the border of two columns. */
    check_tampered(
        "UPDATE audit SET what = 'paus', object = 'eroute-4' WHERE id = 4", 1, "4: row 4");
    check_tampered("UPDATE audit SET hash = NULL WHERE id = 5", 2, "5: row 5");
    check_tampered("UPDATE audit SET hash = zeroblob(32) WHERE id = 5", 2, "5: row 5");
}

TEST(audit_rows_that_were_removed_are_named)
{
    check_tampered("DELETE FROM audit WHERE id = 4", 1, "4: row 4 was removed");
    check_tampered("DELETE FROM audit WHERE id IN (4, 5)", 1, "4: rows 4 to 5 were removed");
    check_tampered("DELETE FROM audit WHERE id <= 3", 1, "1: rows 1 to 3 were removed at the beg");
    check_tampered("DELETE FROM audit WHERE id > 6", 1, "7: rows 7 to 8 were removed at the end");
    check_tampered("DELETE FROM audit", 1, "1: rows 1 to 8 were removed at the end");
    /* With the numbers closed up behind it. */
    check_tampered("DELETE FROM audit WHERE id = 4; UPDATE audit SET id = id - 1 WHERE id > 4;"
                   "UPDATE sqlite_sequence SET seq = 7 WHERE name = 'audit'",
        4, "4: row 4");
}

TEST(an_audit_row_that_was_put_in_or_moved_is_named)
{
    check_tampered("INSERT INTO audit (time_ms, uid, pid, what) VALUES (1, 0, 0, 'pause')", 1,
        "9: row 9 (pause  by uid 0) was changed, put in or moved: it has no hash");
    check_tampered("UPDATE audit SET id = id + 100 WHERE id > 3;"
                   "INSERT INTO audit SELECT 4, time_ms, uid, pid, 'resume', object, detail, "
                   "result, hash FROM audit WHERE id = 3;"
                   "UPDATE audit SET id = id - 99 WHERE id > 100",
        6, "4: row 4");
    check_tampered("UPDATE audit SET id = 100 WHERE id = 5; UPDATE audit SET id = 5 WHERE id = 6;"
                   "UPDATE audit SET id = 6 WHERE id = 100",
        3, "5: row 5");
}

TEST(a_hash_noted_elsewhere_shows_what_no_look_at_the_file_alone_can)
{
    struct verdict before, after;
    struct store *s;

    with_rows();
    before = verify();
    s = store_rig_open();
    put_rows(s, 2);
    store_free(s, true);
    after = verify_as(RIG_STORE, before.head);
    CHECK_INT(after.count, 0);
    CHECK_INT(after.expected, ROWS);
    CHECK_INT(after.rows, ROWS + 2);
    CHECK(strcmp(after.head, before.head) != 0);
    /* The end is cut off so that nothing in the file tells, and the log goes on. */
    by_hand("DELETE FROM audit WHERE id > 9;"
            "UPDATE sqlite_sequence SET seq = 9 WHERE name = 'audit'");
    CHECK_INT(verify().count, 0);
    CHECK_INT(verify_as(RIG_STORE, after.head).count, 1);
    CHECK_CONTAINS(verify_as(RIG_STORE, after.head).findings, "no row has the expected hash");
    CHECK_INT(verify_as(RIG_STORE, before.head).count, 0);
}

TEST(ageing_leaves_a_chain_that_can_be_followed)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct fault why = { 0 };
    struct verdict v, before;

    store_rig_route(s, "orders", &r);
    store_route_retain(s, r.id, DAY, -1);
    put_rows(s, ROWS);
    store_audit_put(s, RIG_TIME + 50 * DAY, 1, 1, "resume", "orders", "", "done");
    store_rig_commit(s, RIG_TIME);
    store_free(s, true);
    before = verify();
    s = store_rig_open();
    store_route_retain(s, r.id, DAY, -1);
    for (int i = 0; i < 3; i++) {
        store_housekeep(s, RIG_TIME + 100 * DAY + i, true);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
    put_rows(s, 1);
    store_free(s, true);
    v = verify_as(RIG_STORE, before.head);
    CHECK_TEXT(v.findings, "");
    CHECK_INT(v.first, ROWS + 1);
    CHECK_INT(v.rows, 2);
    CHECK_INT(v.expected, ROWS + 1);
    /* The anchor is part of the chain. */
    by_hand("UPDATE meta SET value = substr(value, 1, 39) || x'00' WHERE name = 'audit_anchor'");
    CHECK_CONTAINS(verify().findings, "9: row 9");
    by_hand("DELETE FROM meta WHERE name = 'audit_anchor'");
    CHECK_CONTAINS(verify().findings, "rows 1 to 8 were removed at the beginning");
}

TEST(when_all_audit_rows_are_gone_for_their_age_the_next_one_follows_them)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route r;
    struct verdict v;

    store_rig_route(s, "orders", &r);
    store_route_retain(s, r.id, DAY, -1);
    put_rows(s, ROWS);
    store_housekeep(s, RIG_TIME + 500 * DAY, true);
    store_step(s);
    CHECK_INT(store_collect(s, &why), 0);
    store_free(s, true);
    v = verify();
    CHECK_TEXT(v.findings, "");
    CHECK_INT(v.rows, 0);
    CHECK_INT(v.last, ROWS);
    s = store_rig_open();
    put_rows(s, 1);
    store_free(s, true);
    v = verify_as(RIG_STORE, v.head);
    CHECK_TEXT(v.findings, "");
    CHECK_INT(v.last, ROWS + 1);
    CHECK_INT(v.expected, ROWS);
}

TEST(a_live_store_is_verified_while_rows_come_in)
{
    struct query_spec q = { .kind = QUERY_AUDIT_VERIFY, .digest = digest_sha256, .limit = 100 };
    struct store *s = store_rig_open_with((struct store_spec){ 0 });
    struct query_answer a;
    struct verdict v;

    for (int i = 0; i < 20; i++) {
        put_rows(s, 3);
        store_rig_query(s, &q, &a);
        CHECK(!a.failed);
        read_verdict(&a, &v);
        CHECK_TEXT(v.findings, "");
        CHECK_INT(v.rows, 3 * (i + 1));
    }
    store_free(s, true);
}

TEST(the_upgrade_chains_what_older_versions_wrote)
{
    struct query_spec q = { .kind = QUERY_AUDIT_VERIFY, .digest = digest_sha256, .limit = 100 };
    struct fault why = { 0 };
    struct query_answer a;
    struct store *s;

    for (int i = 0; i < OLD_STORES; i++) {
        old_stores_put(i);
        if (i < 2) {
            CHECK_INT(store_query_file(RIG_STORE, &q, &a, &why), -1);
            CHECK_CONTAINS(why.text, "no hashes");
        }
        s = store_rig_open();
        put_rows(s, 1);
        store_free(s, true);
        CHECK_TEXT(verify().findings, "");
        CHECK_INT(verify().rows, 2);
        by_hand("UPDATE audit SET uid = 0 WHERE id = 1");
        CHECK_CONTAINS(verify().findings, "1: row 1 (pause orders/kafka by uid 0)");
    }
}

static void no_damage(void *arg, int severity, const char *line)
{
    (void)arg;
    if (severity == 2)
        harness_fail(__FILE__, __LINE__, "%s", line);
}

TEST(salvage_keeps_the_chain_as_it_is)
{
    struct fault why = { 0 };
    struct verdict before, v;

    with_rows();
    before = verify();
    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, no_damage, NULL, &why), 0);
    v = verify_as("saved.db", before.head);
    CHECK_TEXT(v.findings, "");
    CHECK_INT(v.expected, ROWS);
    by_hand("UPDATE audit SET uid = 0 WHERE id = 2");
    (void)unlink("saved.db");
    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, no_damage, NULL, &why), 0);
    CHECK_CONTAINS(verify_as("saved.db", NULL).findings, "2: row 2");
    old_stores_put(0);
    (void)unlink("saved.db");
    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, no_damage, NULL, &why), 0);
    CHECK_TEXT(verify_as("saved.db", NULL).findings, "");
}
