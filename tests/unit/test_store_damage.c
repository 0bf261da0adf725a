/* Files that were damaged while nobody looked: what is wrong is named, nothing wrong is ever read
 * as right, and salvage brings over what is left. */
#include "bridge/base/random.h"
#include "tests/unit/store_rig.h"

#include <sys/stat.h>
#include <unistd.h>

struct file {
    uint8_t *at;
    size_t n;
};

static struct file load(const char *path)
{
    struct file ret = { 0 };
    struct stat is;
    FILE *f = fopen(path, "rb");

    CHECK(f && fstat(fileno(f), &is) == 0);
    ret.n = (size_t)is.st_size;
    ret.at = malloc(ret.n + 1);
    CHECK(ret.at && fread(ret.at, 1, ret.n, f) == ret.n);
    (void)fclose(f);
    return ret;
}

static void save(const char *path, const struct file *from, size_t n)
{
    FILE *f = fopen(path, "wb");

    CHECK(f && fwrite(from->at, 1, n, f) == n);
    CHECK_INT(fclose(f), 0);
}

struct crashed {
    struct file db, wal;
    uint64_t next;
};

static void put_back(const struct crashed *c)
{
    (void)unlink(RIG_STORE "-shm");
    (void)unlink(RIG_STORE "-wal");
    save(RIG_STORE, &c->db, c->db.n);
    if (c->wal.n)
        save(RIG_STORE "-wal", &c->wal, c->wal.n);
}

/* A store whose process was killed: half of its events in the database, half in the WAL. */
static void crash(struct crashed *ret, const char *route)
{
    struct store *s = store_rig_open();
    struct ranges none = { 0 };
    struct store_counts counts = { .delivered = 20 };
    struct store_route r;
    struct store_sink k;

    *ret = (struct crashed){ .next = 1 };
    store_rig_route(s, route, &r);
    store_rig_sink(s, r.id, "kafka", &k);
    for (int i = 0; i < 20; i++) {
        store_rig_append(s, r.id, &ret->next, 10, RIG_TIME + i, 300, true);
        store_rig_commit(s, RIG_TIME + i);
        if (i == 9) { /* the start after it copies all into the database */
            store_free(s, false);
            s = store_rig_open();
        }
    }
    store_cursor_put(s, k.id, 21, &none, &counts);
    store_rig_commit(s, RIG_TIME + 20);
    ranges_done(&k.above);
    ret->db = load(RIG_STORE);
    ret->wal = load(RIG_STORE "-wal");
    store_free(s, true);
    (void)unlink(RIG_STORE "-shm");
}

static void crashed_done(struct crashed *c)
{
    free(c->db.at);
    free(c->wal.at);
}

struct lines {
    int damages;
    char text[8192];
};

static void take_line(void *arg, int severity, const char *line)
{
    struct lines *l = arg;
    size_t n = strlen(l->text);

    l->damages += severity == 2;
    if (severity == 2)
        (void)snprintf(l->text + n, sizeof l->text - n, "%s\n", line);
}

/* Reads the whole log; what is handed out must be right. Returns how many events could be read. */
static uint64_t read_what_is_there(struct store *s, uint64_t route_id, uint64_t next, bool *named)
{
    uint64_t seq = 1, good = 0;

    while (seq < next) {
        struct store_read r;
        uint64_t from = seq;

        store_read_blocks(s, 1, route_id, seq, 1, true);
        store_rig_read(s, &r);
        if (r.failed)
            *named = true;
        for (size_t i = 0; i < r.count; i++) {
            const struct block *b = r.blocks[i];

            for (uint32_t k = 0; k < b->count; k++) {
                struct event e;
                char id[32];

                block_event(b, k, &e);
                (void)snprintf(id, sizeof id, "e-%llu", (unsigned long long)e.seq);
                CHECK(bytes_equal(e.id, bytes_text(id)));
                CHECK_INT(e.body.n, 300);
                if (e.seq >= from)
                    good++;
            }
            seq = b->first_seq + b->count;
        }
        store_read_done(&r);
        if (seq == from)
            seq += 10; /* behind the chunk that cannot be read */
    }
    return good;
}

/* All is there, or something says what is not. Returns false when the store was refused. */
static bool judge(const struct crashed *c, const char *what, size_t at)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store *s = NULL;
    struct store_route r;
    bool named = false;

    if (store_rig_try((struct store_spec){ .inline_io = true }, &s, &why) != 0) {
        CHECK(why.kind == FAULT_BROKEN || why.kind == FAULT_INPUT);
        CHECK_CONTAINS(why.text, "store");
        return false;
    }
    if (store_route_open(s, "orders", NULL, &r, &why) != 0) {
        CHECK_INT(why.kind, FAULT_BROKEN);
        store_free(s, false);
        return false;
    }
    if (r.next_seq == c->next && read_what_is_there(s, r.id, c->next, &named) == c->next - 1) {
        store_free(s, true);
        return true;
    }
    store_free(s, true);
    if (!named && store_check_file(RIG_STORE, take_line, &lines, &why) == 0)
        harness_fail(__FILE__, __LINE__,
            "byte %zu of the %s: the log ends at %llu instead of %llu, and nothing says so", at,
            what, (unsigned long long)r.next_seq, (unsigned long long)c->next);
    return true;
}

/* What salvage brings over of what was refused is right, and goes on. Returns how many events, -1
 * when it could not be opened at all, which was told. */
static int64_t save_what_is_left(void)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store_route r;
    struct store *s;
    uint64_t next;
    bool named = false;
    int64_t good;

    (void)unlink("saved.db");
    if (store_salvage_file(RIG_STORE, "saved.db", digest_sha256, take_line, &lines, &why) < 0) {
        CHECK_CONTAINS(why.text, "store");
        return -1;
    }
    s = store_rig_open_with((struct store_spec){ .path = "saved.db", .inline_io = true });
    store_rig_route(s, "orders", &r);
    good = (int64_t)read_what_is_there(s, r.id, r.next_seq, &named);
    next = r.next_seq;
    store_rig_append(s, r.id, &next, 3, RIG_TIME + 100, 300, true);
    store_rig_commit(s, RIG_TIME + 100);
    store_free(s, true);
    (void)unlink("saved.db");
    return good;
}

static void flip(struct file *f, size_t at, struct random *dice)
{
    f->at[at] ^= (uint8_t)(1u << random_below(dice, 8));
}

/* Of the header, of the first page with the schema's root, or of all. */
static size_t any_place(const struct crashed *c, int i, struct random *dice)
{
    size_t all[] = { c->db.n, 4096, 100 };

    return random_below(dice, all[i % 3]);
}

static void flip_bits(struct crashed *c, int flips, int *refused, int *saved_all)
{
    struct random dice = { 7 };

    for (int i = 0; i < flips; i++) {
        size_t at = any_place(c, i, &dice);
        int64_t saved;
        uint8_t was = c->db.at[at];

        flip(&c->db, at, &dice);
        put_back(c);
        if (!judge(c, "database", at)) {
            put_back(c);
            ++*refused;
            saved = save_what_is_left();
            /* What SQLite asks of each file before anything else
             * (fileformat2.html#the_database_header) cannot be read around. */
            CHECK(saved >= 0 || at < 100);
            *saved_all += saved == (int64_t)c->next - 1;
        }
        c->db.at[at] = was;
    }
}

TEST(a_flipped_bit_of_the_database_is_never_read_as_right)
{
    int refused = 0, saved_all = 0;
    struct crashed c;

    crash(&c, "orders");
    put_back(&c);
    judge(&c, "database", 0);
    flip_bits(&c, 150, &refused, &saved_all);
    crashed_done(&c);
}

/* After an end in order there is no WAL, in which the first page stands once more. */
TEST(a_flipped_bit_of_a_header_page_is_named_and_salvaged_around)
{
    int refused = 0, saved_all = 0;
    struct crashed c;

    crash(&c, "orders");
    put_back(&c);
    store_free(store_rig_open(), true);
    free(c.db.at);
    c.db = load(RIG_STORE);
    c.wal.n = 0;
    flip_bits(&c, 300, &refused, &saved_all);
    CHECK(refused > 20 && saved_all > 5);
    crashed_done(&c);
}

TEST(a_flipped_bit_of_the_wal_is_found_named_and_salvaged_around)
{
    struct random dice = { 8 };
    struct crashed c;
    int refused = 0;

    crash(&c, "orders");
    for (int i = 0; i < 150; i++) {
        struct fault why = { 0 };
        struct store *s = NULL;
        size_t at = i < 32 ? (size_t)i : random_below(&dice, c.wal.n);
        uint8_t was = c.wal.at[at];

        flip(&c.wal, at, &dice);
        put_back(&c);
        c.wal.at[at] = was;
        if (store_rig_try((struct store_spec){ .inline_io = true }, &s, &why) == 0) {
            struct store_route r;

            /* In the last transaction it cannot be told from a power cut; before the header's
             * numbers it does not matter. */
            store_rig_route(s, "orders", &r);
            CHECK(r.next_seq >= c.next - 10);
            CHECK_INT(store_rig_check_log(s, r.id, 1), r.next_seq);
            store_free(s, true);
            continue;
        }
        refused++;
        CHECK_INT(why.kind, FAULT_BROKEN);
        CHECK_CONTAINS(why.text, "is damaged");
        CHECK_CONTAINS(why.text, RIG_STORE "-wal");
        /* The database, and the WAL up to where it is damaged. */
        CHECK(save_what_is_left() >= 100);
    }
    CHECK(refused > 100);
    crashed_done(&c);
}

static void check_refused(const char *part)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store *s = NULL;

    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
    CHECK_CONTAINS(why.text, part);
    if (store_check_file(RIG_STORE, take_line, &lines, &why) < 0)
        CHECK_CONTAINS(why.text, part);
    else
        CHECK_CONTAINS(lines.text, part);
}

/* What was in the database, 100 events, is there again. */
static uint64_t salvage(const char *part)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store_route r;
    struct store *s;
    uint64_t next;

    (void)unlink("saved.db");
    CHECK(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, take_line, &lines, &why) > 0);
    CHECK_CONTAINS(lines.text, part);
    s = store_rig_open_with((struct store_spec){ .path = "saved.db", .inline_io = true });
    store_rig_route(s, "orders", &r);
    next = store_rig_check_log(s, r.id, 1);
    CHECK_INT(next, r.next_seq);
    store_free(s, true);
    return next;
}

TEST(a_wal_that_was_deleted_is_missed)
{
    struct crashed c;
    struct store_route r;
    struct store *s;

    crash(&c, "orders");
    put_back(&c);
    CHECK_INT(unlink(RIG_STORE "-wal"), 0);
    check_refused("is missing");
    CHECK_INT(salvage("is missing"), 101);
    /* Those that looked made an empty one: that does not make it better. */
    check_refused("is missing");
    /* A person who knows says so. */
    CHECK_INT(system("sqlite3 " RIG_STORE " \"DELETE FROM meta WHERE name = 'wal'\""), 0);
    s = store_rig_open();
    store_rig_route(s, "orders", &r);
    CHECK_INT(store_rig_check_log(s, r.id, 1), 101);
    store_free(s, true);
    /* After an end in order there is none, and none is missed. */
    CHECK(access(RIG_STORE "-wal", F_OK) != 0);
    s = store_rig_open();
    store_free(s, true);
    crashed_done(&c);
}

TEST(a_wal_of_another_database_is_not_taken)
{
    struct crashed c, other;
    struct file own;

    crash(&other, "clicks");
    (void)unlink(RIG_STORE);
    crash(&c, "orders");
    own = c.wal;
    c.wal = other.wal;
    put_back(&c);
    check_refused("of another database");
    CHECK_INT(salvage("of another database"), 101);
    c.wal = own;
    put_back(&c);
    judge(&c, "files", 0);
    crashed_done(&c);
    crashed_done(&other);
}

TEST(a_backup_put_in_the_place_of_its_store_does_not_take_the_wal_there)
{
    struct store *s = store_rig_open();
    struct crashed old, copy = { 0 };
    struct fault why = { 0 };
    struct store_route r;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 100, RIG_TIME, 300, true);
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_backup_start(s, "copy.db", &why), 0);
    while (store_backup_progress(s, &why) < 1001)
        store_step(s);
    store_rig_append(s, r.id, &next, 100, RIG_TIME, 300, true);
    store_rig_commit(s, RIG_TIME);
    old.wal = load(RIG_STORE "-wal");
    store_free(s, false);

    copy.db = load("copy.db");
    copy.wal = old.wal;
    put_back(&copy);
    check_refused("delete that WAL");
    CHECK_INT(unlink(RIG_STORE "-wal"), 0);
    s = store_rig_open();
    CHECK_INT(store_rig_check_log(s, r.id, 1), 101);
    store_free(s, true);
    crashed_done(&copy);
}

static void check_cut(const struct crashed *c, size_t bytes)
{
    struct fault why = { 0 };
    struct store *s = NULL;

    put_back(c);
    save(RIG_STORE, &c->db, bytes);
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
    CHECK(strstr(why.text, "malformed") || strstr(why.text, "cut short"));
}

/* The schema's pages are the first ones: behind them each page that is there counts. */
TEST(a_database_cut_short_is_refused_and_salvaged)
{
    int64_t saved, before = 0;
    struct crashed c;

    crash(&c, "orders");
    for (size_t part = 1; part < 8; part++) {
        check_cut(&c, c.db.n * part / 8);
        (void)save_what_is_left();
    }
    for (size_t pages = 8; pages > 0; pages--) {
        check_cut(&c, c.db.n - pages * 4096);
        saved = save_what_is_left();
        CHECK(saved >= before && saved < (int64_t)c.next - 1);
        before = saved;
    }
    CHECK(before > 150);
    crashed_done(&c);
}
