/* A store made of a backup: whole, another id, everything in its place. */
#include "store/db.h"
#include "tests/unit/old_stores.h"
#include "tests/unit/store_rig.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static void back_up(struct store *s, const char *path)
{
    struct fault why = { 0 };

    CHECK_INT(store_backup_start(s, path, &why), 0);
    while (store_backup_progress(s, &why) <= 1000) {
        CHECK(store_backup_progress(s, &why) >= 0);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
}

static int restore(const char *from, struct store_restored *ret, struct fault *why)
{
    *why = (struct fault){ 0 };
    return store_restore_file(from, "new.db", digest_sha256, RIG_TIME, 7, ret, why);
}

/* 100 events, of which a backup knows 60. Returns the id. */
static void fill(char id[17])
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_rig_append(s, r.id, &next, 60, RIG_TIME, 60, false);
    store_audit_put(s, RIG_TIME, 0, 1, "pause", "orders", "", "done");
    store_rig_commit(s, RIG_TIME);
    back_up(s, "backup.db");
    store_rig_append(s, r.id, &next, 40, RIG_TIME, 60, false);
    store_rig_commit(s, RIG_TIME);
    (void)snprintf(id, 17, "%s", store_id(s));
    ranges_done(&k.above);
    store_free(s, true);
}

static void no_damage(void *arg, int severity, const char *line)
{
    (void)arg;
    if (severity == 2)
        harness_fail(__FILE__, __LINE__, "%s", line);
}

TEST(a_restored_store_is_the_backup_under_another_id)
{
    struct store_restored restored;
    struct store_route r;
    struct fault why;
    struct store *s;
    char id[17];

    fill(id);
    CHECK_INT(restore("backup.db", &restored, &why), 0);
    CHECK_TEXT(restored.was, id);
    CHECK(strcmp(restored.id, id) != 0);
    CHECK_INT(access("new.db.part", F_OK), -1);
    CHECK_INT(store_check_file("new.db", no_damage, NULL, &why), 0);
    s = store_rig_open_with((struct store_spec){ .path = "new.db", .inline_io = true });
    CHECK_TEXT(store_id(s), restored.id);
    CHECK_TEXT(store_was(s)[0], id);
    CHECK(!store_was(s)[1]);
    CHECK(!store_was_clean(s)); /* what was in flight may have arrived */
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, 61);
    CHECK_INT(store_rig_check_log(s, r.id, 1), 61);
    store_free(s, true);
    /* Restored once more it remembers both. */
    CHECK_INT(store_restore_file("new.db", "newer.db", digest_sha256, 0, 7, &restored, &why), 0);
    s = store_rig_open_with((struct store_spec){ .path = "newer.db", .inline_io = true });
    CHECK(store_was(s)[0] && store_was(s)[1] && !store_was(s)[2]);
    store_free(s, true);
}

TEST(a_restore_is_on_record_and_in_the_chain)
{
    struct query_spec list = { .kind = QUERY_AUDIT, .limit = 10 };
    struct query_spec verify = { .kind = QUERY_AUDIT_VERIFY, .digest = digest_sha256, .limit = 10 };
    struct store_restored restored;
    struct query_answer a;
    struct fault why;
    char id[17];

    fill(id);
    CHECK_INT(restore("backup.db", &restored, &why), 0);
    CHECK_INT(store_query_file("new.db", &list, &a, &why), 0);
    CHECK_INT(a.rows.row_count, 2);
    CHECK_INT(a.rows.cells[a.rows.column_count + 2].i, 7);
    CHECK(bytes_equal(a.rows.cells[a.rows.column_count + 4].bytes, bytes_text("store_restore")));
    query_answer_done(&a);
    CHECK_INT(store_query_file("new.db", &verify, &a, &why), 0);
    CHECK_INT(a.rows.row_count, 1);
    query_answer_done(&a);
}

TEST(a_restore_never_replaces_a_store_nor_takes_one_that_is_in_use)
{
    struct store_restored restored;
    struct fault why;
    struct store *s;
    char id[17];

    fill(id);
    CHECK_INT(
        store_restore_file("backup.db", RIG_STORE, digest_sha256, RIG_TIME, 7, &restored, &why),
        -1);
    CHECK_INT(why.kind, FAULT_INPUT);
    CHECK_CONTAINS(why.text, "is there already");
    s = store_rig_open();
    CHECK_INT(unlink(RIG_STORE), 0);
    CHECK_INT(unlink(RIG_STORE "-wal"), 0);
    CHECK_INT(
        store_restore_file("backup.db", RIG_STORE, digest_sha256, RIG_TIME, 7, &restored, &why),
        -1);
    CHECK_INT(why.code, EWOULDBLOCK);
    CHECK_CONTAINS(why.text, "in use by process");
    CHECK_INT(access(RIG_STORE, F_OK), -1);
    store_free(s, false);
}

TEST(a_backup_that_is_damaged_cut_or_no_store_is_not_restored)
{
    struct store_restored restored;
    struct fault why;
    struct stat st;
    char id[17];
    FILE *f;

    fill(id);
    CHECK_INT(restore("nowhere.db", &restored, &why), -1);
    CHECK_INT(why.kind, FAULT_INPUT);
    f = fopen("text.db", "w");
    CHECK(f && fputs("no store", f) >= 0 && fclose(f) == 0);
    CHECK_INT(restore("text.db", &restored, &why), -1);
    CHECK_INT(stat("backup.db", &st), 0);
    f = fopen("backup.db", "r+");
    CHECK(f && fseek(f, st.st_size / 2, SEEK_SET) == 0);
    for (int i = 0; i < 9000; i++)
        CHECK(fputc(0xa5, f) == 0xa5);
    CHECK_INT(fclose(f), 0);
    CHECK_INT(restore("backup.db", &restored, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
    CHECK_INT(truncate("backup.db", st.st_size / 2), 0);
    CHECK_INT(restore("backup.db", &restored, &why), -1);
    CHECK_INT(access("new.db", F_OK), -1);
    CHECK_INT(access("new.db.part", F_OK), -1);
}

TEST(a_backup_of_every_old_version_is_restored_as_todays)
{
    struct store_restored restored;
    struct fault why;
    struct store *s;
    int from, to;

    for (int i = 0; i < OLD_STORES; i++) {
        old_stores_put(i);
        (void)unlink("new.db");
        (void)unlink("new.db-wal");
        CHECK_INT(restore(RIG_STORE, &restored, &why), 0);
        s = store_rig_open_with((struct store_spec){ .path = "new.db", .inline_io = true });
        CHECK(!store_upgraded(s, &from, &to));
        CHECK_INT(store_rig_check_log(s, 1, 1), OLD_STORES_NEXT_SEQ);
        store_free(s, true);
    }
}

TEST(what_root_restores_or_salvages_belongs_to_the_directorys_owner)
{
    struct store_restored restored;
    struct fault why;
    struct stat st;
    char id[17];

    if (geteuid() != 0)
        harness_skip("giving files away needs root");
    fill(id);
    CHECK_INT(mkdir("theirs", 0700), 0);
    CHECK_INT(chown("theirs", 4001, 4002), 0);
    CHECK_INT(
        store_restore_file("backup.db", "theirs/b.db", digest_sha256, RIG_TIME, 7, &restored, &why),
        0);
    CHECK_INT(stat("theirs/b.db", &st), 0);
    CHECK_INT(st.st_uid, 4001);
    CHECK_INT(st.st_gid, 4002);
    CHECK_INT(stat("theirs/b.db.lock", &st), 0);
    CHECK_INT(st.st_uid, 4001);
    CHECK_INT(
        store_salvage_file("backup.db", "theirs/s.db", digest_sha256, no_damage, NULL, &why), 0);
    CHECK_INT(stat("theirs/s.db", &st), 0);
    CHECK_INT(st.st_uid, 4001);
    CHECK_INT(access("theirs/b.db-wal", F_OK), -1);
}
