/* Small chunks of a slow route are compressed with what its events have in common. */
#include "store/db.h"
#include "tests/unit/store_rig.h"

#define DAY ((int64_t)86400 * 1000)

static void keep_house(struct store *s, int64_t unix_ms, int times)
{
    for (int i = 0; i < times; i++) {
        struct fault why = { 0 };

        store_housekeep(s, unix_ms + i * 1000, true);
        store_step(s);
        CHECK_INT(store_collect(s, &why), 0);
    }
}

/* One event a chunk, each a sentence that only differs in its numbers. */
static void append_one(struct store *s, uint64_t route, uint64_t seq, int64_t ms, bool other)
{
    char body[200], id[32];
    struct event event = { .address = bytes_text("orders.new"), .time_ms = ms };
    struct fault why = { 0 };
    struct block *b;

    (void)snprintf(id, sizeof id, "order-%llu", (unsigned long long)seq);
    (void)snprintf(body, sizeof body,
        other
            ? "<reading sensor=\"%llu\" unit=\"degree celsius\" value=\"%llu.0\" state=\"valid\"/>"
            : "{\"order\":%llu,\"customer\":\"c-%llu\",\"currency\":\"EUR\",\"note\":\"as "
              "agreed\"}",
        (unsigned long long)seq, (unsigned long long)(seq * 7919 % 1000));
    event.id = bytes_text(id);
    event.origin = bytes_text(id);
    event.body = bytes_text(body);
    CHECK_INT(block_open(route, seq, ms, &event, 1, &b, &why), 0);
    store_append(s, b);
    block_unref(b);
    store_rig_commit(s, ms);
}

static int64_t ask_int(const char *sql)
{
    struct fault why = { 0 };
    struct statement *st;
    struct db *db;
    int64_t value;

    CHECK_INT(db_open(RIG_STORE, DB_READ, NULL, &db, &why), 0);
    st = db_prepare(db, sql, &why);
    CHECK(st && db_step(st, &why) == 1);
    value = db_int(st, 0);
    db_close(db);
    return value;
}

static void change(const char *sql)
{
    struct fault why = { 0 };
    struct db *db;

    CHECK_INT(db_open(RIG_STORE, DB_WRITE, NULL, &db, &why), 0);
    CHECK_INT(db_exec(db, sql, &why), 0);
    db_last_close(db);
    db_close(db);
}

static uint64_t read_all(struct store *s, uint64_t route, uint64_t from)
{
    struct store_read r;
    uint64_t next = from;

    do {
        from = next;
        store_read_blocks(s, 1, route, from, 1 << 20, true);
        store_rig_read(s, &r);
        if (r.failed)
            harness_fail(__FILE__, __LINE__, "%s", r.why.text);
        for (size_t i = 0; i < r.count; i++)
            next = r.blocks[i]->first_seq + r.blocks[i]->count;
        store_read_done(&r);
    } while (next != from);
    return next;
}

/* 300 events, joined, and 10 that are not. Returns the route. */
static uint64_t learn(struct store *s)
{
    struct store_route r;

    store_rig_route(s, "slow", &r);
    for (uint64_t seq = 1; seq <= 300; seq++)
        append_one(s, r.id, seq, RIG_TIME + (int64_t)seq, false);
    keep_house(s, RIG_TIME + 100000, 5);
    for (uint64_t seq = 301; seq <= 310; seq++)
        append_one(s, r.id, seq, RIG_TIME + 200000, false);
    return r.id;
}

struct lines {
    int damages;
    char last[700];
};

static void take_line(void *arg, int severity, const char *line)
{
    struct lines *l = arg;

    if (severity != 2)
        return;
    l->damages++;
    (void)snprintf(l->last, sizeof l->last, "%s", line);
}

static const char with_dictionary[] =
    "SELECT count(*) FROM chunk WHERE hex(substr(frame, 1, 1)) = '02'";

TEST(a_slow_route_learns_a_dictionary_and_its_chunks_shrink)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store *s = store_rig_open();
    uint64_t route;
    struct store_route r;
    int64_t before, after;

    store_rig_route(s, "slow", &r);
    append_one(s, r.id, 1, RIG_TIME, false);
    before = ask_int("SELECT length(frame) FROM chunk");
    store_free(s, false);
    (void)remove(RIG_STORE);
    s = store_rig_open();
    route = learn(s);
    after = ask_int("SELECT max(length(frame)) FROM chunk WHERE count = 1");
    CHECK_INT(ask_int(with_dictionary), 10);
    CHECK(after < before * 7 / 10);
    CHECK_INT(read_all(s, route, 1), 311);
    store_free(s, true);
    CHECK_INT(store_check_file(RIG_STORE, take_line, &lines, &why), 0);
    s = store_rig_open();
    CHECK_INT(read_all(s, route, 1), 311);
    append_one(s, route, 311, RIG_TIME + 200001, false);
    CHECK_INT(ask_int(with_dictionary), 11);
    CHECK_INT(ask_int("SELECT count(*) FROM dictionary"), 1);
    store_free(s, true);
    CHECK_INT(store_salvage_file(RIG_STORE, "saved.db", digest_sha256, take_line, &lines, &why), 0);
    s = store_rig_open_with((struct store_spec){ .path = "saved.db", .inline_io = true });
    CHECK_INT(read_all(s, route, 1), 312);
    store_free(s, true);
}

TEST(a_damaged_dictionary_is_named_and_new_chunks_do_without)
{
    struct lines lines = { 0 };
    struct fault why = { 0 };
    struct store *s = store_rig_open();
    struct store_read read;
    uint64_t route = learn(s);

    store_free(s, true);
    change("UPDATE dictionary SET bytes = zeroblob(length(bytes))");
    /* The tail of the log is among what cannot be read. */
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK_CONTAINS(why.text, "dictionary 1 is damaged");
    CHECK_INT(store_check_file(RIG_STORE, take_line, &lines, &why), 10);
    CHECK_CONTAINS(lines.last, "from 310 on");
    CHECK_CONTAINS(lines.last, "dictionary 1 is damaged");
    change("DELETE FROM chunk WHERE (id & 0xffffffff) > 309");
    change("UPDATE chunk SET frame = (SELECT frame FROM chunk WHERE (id & 0xffffffff) = 1),"
           " count = (SELECT count FROM chunk WHERE (id & 0xffffffff) = 1),"
           " raw_bytes = (SELECT raw_bytes FROM chunk WHERE (id & 0xffffffff) = 1)"
           " WHERE (id & 0xffffffff) = 309");
    s = store_rig_open();
    store_read_blocks(s, 1, route, 305, 1, true);
    store_rig_read(s, &read);
    CHECK(read.failed);
    CHECK_INT(read.why.kind, FAULT_BROKEN);
    store_read_done(&read);
    append_one(s, route, 309 + 300, RIG_TIME + 300000, false);
    CHECK_INT(read_all(s, route, 309 + 300), 309 + 301);
    store_free(s, true);
}

TEST(a_new_dictionary_replaces_one_that_no_longer_fits)
{
    struct store *s = store_rig_open();
    uint64_t route = learn(s);

    /* Within a day nothing is learnt, whatever comes. */
    for (uint64_t seq = 311; seq <= 500; seq++)
        append_one(s, route, seq, RIG_TIME + 300000, true);
    keep_house(s, RIG_TIME + 400000, 5);
    CHECK_INT(ask_int("SELECT count(*) FROM dictionary"), 1);
    for (uint64_t seq = 501; seq <= 900; seq++)
        append_one(s, route, seq, RIG_TIME + 2 * DAY, true);
    keep_house(s, RIG_TIME + 2 * DAY + 100000, 5);
    CHECK_INT(ask_int("SELECT count(*) FROM dictionary"), 2);
    append_one(s, route, 901, RIG_TIME + 2 * DAY + 100000, false);
    CHECK_INT(read_all(s, route, 1), 902);
    /* The first goes when no chunk can have it any more. */
    store_route_retain(s, route, DAY, -1);
    keep_house(s, RIG_TIME + 2 * DAY + 200000, 5);
    CHECK_INT(ask_int("SELECT count(*) FROM dictionary"), 2);
    CHECK_INT(read_all(s, route, 901), 902);
    append_one(s, route, 902, RIG_TIME + 9 * DAY, false);
    keep_house(s, RIG_TIME + 9 * DAY, 5);
    CHECK_INT(ask_int("SELECT min(id & 0xffffffff) FROM chunk"), 902);
    CHECK_INT(ask_int("SELECT count(*) FROM dictionary"), 1);
    CHECK_INT(read_all(s, route, 902), 903);
    store_free(s, true);
}
