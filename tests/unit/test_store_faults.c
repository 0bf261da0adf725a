/* Disks that fill up, fail or lie, and files that were damaged. */
#include "tests/unit/fail_vfs.h"
#include "tests/unit/store_rig.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (4 << 20) /* more than a young WAL has room for */

static struct store *open_failing(bool inline_io)
{
    fail_vfs_register();
    return store_rig_open_with((struct store_spec){ .vfs = FAIL_VFS, .inline_io = inline_io });
}

static bool is_broken(struct store *s, struct fault *why)
{
    for (int i = 0; i < 100; i++) {
        store_step(s);
        if (store_collect(s, why) != 0)
            return true;
    }
    return false;
}

static void check_breaks_for_good(enum fail_kind kind)
{
    struct store *s = open_failing(true);
    struct fault why = { 0 };
    struct store_route r;
    uint64_t next = 1, kept;

    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    kept = next;
    fail_vfs_set(kind);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    CHECK(store_submit(s, RIG_TIME));
    CHECK(is_broken(s, &why));
    CHECK_INT(why.kind, FAULT_BROKEN);
    CHECK(fail_vfs_count() > 0);
    CHECK_INT(store_committed(s), 1);
    CHECK_INT(store_appended(s), 1);
    /* The disk is well again; what it said before still counts. */
    fail_vfs_set(FAIL_NOTHING);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    (void)store_submit(s, RIG_TIME);
    CHECK(is_broken(s, &why));
    CHECK_INT(store_committed(s), 1);
    store_free(s, true);

    s = store_rig_open();
    CHECK(!store_was_clean(s));
    store_rig_route(s, "orders", &r);
    CHECK(r.next_seq >= kept);
    CHECK_INT(store_rig_check_log(s, r.id, 1), r.next_seq);
    store_free(s, true);
}

TEST(a_failed_sync_ends_the_store)
{
    check_breaks_for_good(FAIL_SYNC);
}

TEST(a_failed_write_ends_the_store)
{
    check_breaks_for_good(FAIL_WRITE);
}

TEST(a_store_is_not_opened_when_its_first_sync_fails)
{
    struct store *s = open_failing(true);
    struct fault why = { 0 };
    struct store_route r;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    store_free(s, false);
    fail_vfs_set(FAIL_SYNC);
    s = NULL;
    CHECK_INT(
        store_rig_try((struct store_spec){ .vfs = FAIL_VFS, .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
}

static void killed_after_commits(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct store *s = store_rig_open();
        struct store_route r;
        uint64_t next = 1;

        store_rig_route(s, "orders", &r);
        store_rig_append(s, r.id, &next, 30, RIG_TIME, 100, false);
        store_rig_commit(s, RIG_TIME);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* What a commit of the last process put into the WAL may never have been synced. */
TEST(a_start_copies_the_whole_wal_before_anything_rests_on_it)
{
    struct store_route r;
    struct store *s;

    killed_after_commits();
    s = store_rig_open();
    /* Without its WAL, as a person would say that it needs none. */
    CHECK_INT(system("cp " RIG_STORE " copy.db && sqlite3 copy.db \"DELETE FROM meta WHERE"
                     " name = 'wal'\""),
        0);
    store_free(s, false);
    s = store_rig_open_with((struct store_spec){ .path = "copy.db", .inline_io = true });
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, 31);
    CHECK_INT(store_rig_check_log(s, r.id, 1), 31);
    store_free(s, true);
}

/* ---- full ---- */

static bool appended_all(struct store *s, void *arg)
{
    return store_appended(s) >= *(const uint64_t *)arg && !store_full(s);
}

/* Finishing goes on, appends wait in their order with their positions, and then it resumes. */
static void check_full(struct store *s, void (*make_room)(struct store *s))
{
    struct store_counts counts = { .delivered = 5 };
    struct ranges none = { 0 };
    struct store_position *at;
    struct fault why = { 0 };
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1, number, kept;
    size_t count;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    kept = next;
    fail_vfs_set(FAIL_FULL);
    for (int i = 0; i < 400 && !store_full(s); i++) {
        kept = next;
        store_position_put(s, r.id, "rabbit", bytes_text("p"), bytes_text(i % 2 ? "a" : "b"));
        store_rig_append(s, r.id, &next, 50, RIG_TIME, 4000, true);
        store_cursor_put(s, k.id, 6, &none, &counts);
        store_rig_commit(s, RIG_TIME);
    }
    CHECK(store_full(s));
    CHECK(store_appended(s) < store_committed(s));
    for (int i = 0; i < 3; i++) {
        store_position_put(s, r.id, "rabbit", bytes_text("p"), bytes_text("last"));
        store_rig_append(s, r.id, &next, 5, RIG_TIME, 4000, true);
        store_rig_commit(s, RIG_TIME);
    }
    /* Far more often than the reserve has room for: the WAL is written from its start again. */
    for (int i = 0; i < 3000; i++) {
        counts.delivered++;
        store_cursor_put(s, k.id, 7 + (uint64_t)i % 4, &none, &counts);
        store_rig_commit(s, RIG_TIME);
    }
    CHECK(access(RIG_STORE ".reserve", F_OK) != 0);
    CHECK(store_full(s));
    number = store_committed(s);
    ranges_done(&k.above);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(k.frontier, 10); /* finishing went on */
    CHECK_INT(k.counts.delivered, 3005);
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, kept);
    make_room(s);
    store_housekeep(s, RIG_TIME + 1000, true);
    store_rig_until(s, appended_all, &number);
    CHECK_INT(access(RIG_STORE ".reserve", F_OK), 0);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    CHECK_INT(store_positions(s, r.id, "rabbit", &at, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK(bytes_equal(at[0].value, bytes_text("last")));
    store_positions_free(at, count);
    ranges_done(&k.above);
    store_free(s, true);
}

static void empty_disk(struct store *s)
{
    (void)s;
    fail_vfs_set(FAIL_NOTHING);
}

TEST(a_full_disk_lets_finishing_go_on_and_resumes)
{
    fail_vfs_give(RIG_STORE ".reserve", 20 << 20);
    check_full(open_failing(false), empty_disk);
}

TEST(a_full_disk_is_waited_for_even_when_nothing_fits)
{
    struct store *s = open_failing(false);
    struct store_route r;
    struct fault why = { 0 };
    uint64_t next = 1, number;
    char *detail;
    int tried;

    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    store_rig_commit(s, RIG_TIME);
    fail_vfs_set(FAIL_FULL);
    number = store_filling(s);
    store_rig_append(s, r.id, &next, 500, RIG_TIME, 4000, true);
    detail = malloc(LARGE);
    memset(detail, 'x', LARGE - 1);
    detail[LARGE - 1] = 0;
    store_audit_put(s, RIG_TIME, 0, 0, "pause", "orders", detail, "done");
    free(detail);
    CHECK(store_submit(s, RIG_TIME));
    while (!store_full(s)) {
        CHECK_INT(store_collect(s, &why), 0);
        (void)usleep(1000);
    }
    /* Tried again, and it still does not fit. */
    tried = fail_vfs_count();
    while (fail_vfs_count() < tried + 3) {
        store_housekeep(s, RIG_TIME, true);
        CHECK_INT(store_collect(s, &why), 0);
        (void)usleep(1000);
    }
    CHECK(store_busy(s));
    CHECK(store_committed(s) < number);
    CHECK(store_appended(s) < number);
    fail_vfs_set(FAIL_NOTHING);
    store_housekeep(s, RIG_TIME, true);
    store_rig_until(s, appended_all, &number);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    store_free(s, true);
}

TEST(max_size_pauses_appends_and_retention_resumes_them)
{
    struct store *s =
        store_rig_open_with((struct store_spec){ .inline_io = true, .max_size = 4 << 20 });
    struct store_counts counts = { 0 };
    struct ranges none = { 0 };
    struct store_usage usage;
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1, number;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_route_retain(s, r.id, 1000, -1);
    for (int i = 0; i < 200 && !store_full(s); i++) {
        store_rig_append(s, r.id, &next, 20, RIG_TIME, 4000, true);
        store_rig_commit(s, RIG_TIME);
    }
    CHECK(store_full(s));
    store_usage(s, &usage);
    CHECK(usage.used_bytes < 6 << 20);
    CHECK_INT(usage.max_bytes, 4 << 20);
    number = store_committed(s);
    store_cursor_put(s, k.id, next - 20, &none, &counts);
    store_rig_commit(s, RIG_TIME);
    for (int i = 0; i < 50 && store_full(s); i++) {
        struct fault why = { 0 };

        store_housekeep(s, RIG_TIME + 86400000 + i * 1000, true);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
    CHECK(!store_full(s));
    CHECK(store_appended(s) >= number);
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, next);
    ranges_done(&k.above);
    store_free(s, true);
}

/* ---- damage ---- */

struct lines {
    int severities[3];
    char text[16384];
};

static void take_line(void *arg, int severity, const char *line)
{
    struct lines *l = arg;
    size_t n = strlen(l->text);

    l->severities[severity]++;
    (void)snprintf(l->text + n, sizeof l->text - n, "%s\n", line);
}

static void fill_for_damage(uint64_t *next, uint64_t *route_id)
{
    struct store *s = store_rig_open();
    struct store_counts counts = { 0 };
    struct ranges none = { 0 };
    struct store_route r;
    struct store_sink k;

    *next = 1;
    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    for (int i = 0; i < 20; i++) {
        store_rig_append(s, r.id, next, 10, RIG_TIME + i, 2000, true);
        store_rig_commit(s, RIG_TIME);
    }
    counts.delivered = 50;
    store_cursor_put(s, k.id, 51, &none, &counts);
    store_rig_commit(s, RIG_TIME);
    ranges_done(&k.above);
    *route_id = r.id;
    store_free(s, true);
}

/* Flips a bit in the body of event `seq`, which compression could not change. */
static void flip_bit(uint64_t seq)
{
    struct store *s = store_rig_open();
    struct store_read read;
    struct store_route r;
    struct event e;
    uint8_t *file;
    long size;
    FILE *f;
    void *found;

    store_rig_route(s, "orders", &r);
    CHECK_INT(store_read_blocks(s, 1, r.id, seq, 1, true), 0);
    store_rig_read(s, &read);
    block_event(read.blocks[0], (uint32_t)(seq - read.blocks[0]->first_seq), &e);
    store_free(s, true);
    f = fopen(RIG_STORE, "r+b");
    CHECK(f && fseek(f, 0, SEEK_END) == 0);
    size = ftell(f);
    file = malloc((size_t)size);
    rewind(f);
    CHECK(file && fread(file, 1, (size_t)size, f) == (size_t)size);
    found = memmem(file, (size_t)size, e.body.at + 100, 200);
    CHECK(found != NULL);
    CHECK_INT(fseek(f, (long)((uint8_t *)found - file) + 50, SEEK_SET), 0);
    CHECK(fputc(((uint8_t *)found)[50] ^ 4, f) != EOF);
    CHECK_INT(fclose(f), 0);
    free(file);
    store_read_done(&read);
}

TEST(a_flipped_bit_is_found_named_and_salvaged_around)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store_read read;
    struct store_route r;
    struct store_sink k;
    uint64_t next, route_id;
    char first_id[17];
    struct store *s;

    fill_for_damage(&next, &route_id);
    CHECK_INT(store_check_file(RIG_STORE, take_line, &lines, &why), 0);
    CHECK_INT(lines.severities[2], 0);
    flip_bit(75);
    CHECK_INT(store_check_file(RIG_STORE, take_line, &lines, &why), 1);
    CHECK_CONTAINS(lines.text, "71");

    /* It runs on around it: before the damage, and behind it. */
    s = store_rig_open();
    (void)snprintf(first_id, sizeof first_id, "%s", store_id(s));
    CHECK_INT(store_read_blocks(s, 1, route_id, 71, 1, true), 0);
    store_rig_read(s, &read);
    CHECK(read.failed);
    CHECK_INT(read.why.kind, FAULT_BROKEN);
    CHECK_CONTAINS(read.why.text, "71");
    store_read_done(&read);
    CHECK_INT(store_rig_check_log(s, route_id, 81), next);
    store_free(s, true);

    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, take_line, &lines, &why), 1);
    s = store_rig_open_with((struct store_spec){ .path = "saved.db", .inline_io = true });
    CHECK(strcmp(store_id(s), first_id) != 0);
    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(r.next_seq, next);
    CHECK_INT(k.frontier, 51);
    CHECK_INT(store_rig_check_log(s, r.id, 81), next);
    CHECK_INT(store_read_blocks(s, 1, r.id, 61, 1, true), 0);
    store_rig_read(s, &read);
    CHECK_INT(read.blocks[0]->first_seq, 61);
    store_read_done(&read);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(a_damaged_tail_refuses_the_start_and_says_so)
{
    struct fault why = { 0 };
    struct store *s = NULL;
    uint64_t next, route_id;

    fill_for_damage(&next, &route_id);
    flip_bit(next - 5);
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
    CHECK_CONTAINS(why.text, "damaged");
    CHECK_CONTAINS(why.text, "191");
}

TEST(a_hole_in_the_log_and_a_wrong_sum_are_found)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    uint64_t next, route_id;

    fill_for_damage(&next, &route_id);
    CHECK_INT(
        system("sqlite3 " RIG_STORE " 'DELETE FROM chunk WHERE (id & 0xffffffff) = 101; UPDATE "
               "sink SET delivered = 49' >/dev/null"),
        0);
    CHECK_INT(store_check_file(RIG_STORE, take_line, &lines, &why), 2);
    CHECK_CONTAINS(lines.text, "101 to 110");
    CHECK_CONTAINS(lines.text, "49 delivered");
}

/* ---- backup ---- */

static bool backup_done(struct store *s, void *arg)
{
    struct fault why = { 0 };
    int progress = store_backup_progress(s, &why);

    (void)arg;
    if (progress < 0)
        harness_fail(__FILE__, __LINE__, "backup: %s", why.text);
    return progress == 1001;
}

TEST(a_backup_under_writes_is_a_whole_store)
{
    struct store *s = store_rig_open_with((struct store_spec){ 0 });
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store_route r;
    uint64_t next = 1, before;

    store_rig_route(s, "orders", &r);
    for (int i = 0; i < 50; i++) {
        store_rig_append(s, r.id, &next, 50, RIG_TIME, 2000, true);
        store_rig_commit(s, RIG_TIME);
    }
    before = next;
    CHECK_INT(store_backup_start(s, "copy.db", &why), 0);
    for (int i = 0; i < 200 && !backup_done(s, NULL); i++) {
        store_rig_append(s, r.id, &next, 5, RIG_TIME, 500, true);
        store_rig_commit(s, RIG_TIME);
    }
    store_rig_until(s, backup_done, NULL);
    store_free(s, true);
    CHECK_INT(store_check_file("copy.db", take_line, &lines, &why), 0);
    s = store_rig_open_with((struct store_spec){ .path = "copy.db", .inline_io = true });
    store_rig_route(s, "orders", &r);
    CHECK(r.next_seq >= before && r.next_seq <= next);
    CHECK_INT(store_rig_check_log(s, r.id, 1), r.next_seq);
    store_free(s, true);
}
