/* Power cuts: a store is loaded on a disk that forgets (power_vfs.h), and at many moments, picked
 * by seed, what a cut then would leave is opened and judged: all that was acknowledged is there,
 * whole, and it goes on from there.
 *
 * BASCULE_POWER_CUTS: how many cuts each test makes, about (40; `make soak` many).
 * BASCULE_POWER_SEED begins elsewhere. A failure names the seed and the moment. */
#include "bridge/base/random.h"
#include "tests/unit/old_stores.h"
#include "tests/unit/power_vfs.h"
#include "tests/unit/store_rig.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUTES 2
#define STEP_MS 5000
#define RETAIN_MS 300000
#define RETAIN_BYTES (1 << 20)

/* What was submitted, and what of it was acknowledged. */
struct sum {
    uint64_t next, frontier, held;
};

struct world {
    struct store *store;
    struct random dice;
    int64_t now_ms;
    uint64_t route_id[ROUTES], sink_id[ROUTES];
    struct sum asked[ROUTES], acked[ROUTES];
    bool known;  /* the routes are there for sure */
    bool broken; /* a sync failed, and the store took no more */
    void (*judge)(struct world *w);
    uint64_t copied; /* of route 0 in the backup that is done; 0: none */
    int backups;
    uint64_t seed;
    int depth; /* cuts within cuts */
    int cuts;
};

static struct world world;

static void judge(struct world *w);

static int64_t setting(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoll(text, NULL, 10) : otherwise;
}

static void no_damage(void *arg, int severity, const char *line)
{
    (void)arg;
    if (severity == 2)
        harness_fail(__FILE__, __LINE__, "%s", line);
}

static struct store *open_small(void)
{
    /* A WAL of 1 MiB, so that it is copied and begun again often. */
    return store_rig_open_with((struct store_spec){ .inline_io = true, .max_size = 8 << 20 });
}

/* ---- judging ---- */

static uint64_t read_position(struct store *s, uint64_t route_id)
{
    struct store_position *at;
    struct fault why = { 0 };
    uint64_t value = 1;
    size_t count;

    CHECK_INT(store_positions(s, route_id, "rabbit", &at, &count, &why), 0);
    if (count)
        value = strtoull((const char *)at[0].value.at, NULL, 10);
    store_positions_free(at, count);
    return value;
}

static void count_held(void *arg, const struct held *h, size_t bytes)
{
    (void)h, (void)bytes;
    ++*(uint64_t *)arg;
}

static void judge_route(struct store *s, struct world *w, size_t i, struct sum *found)
{
    struct fault why = { 0 };
    struct store_route r;
    struct store_sink k;

    store_rig_route(s, i ? "clicks" : "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    if (w->known) {
        CHECK_INT(r.id, w->route_id[i]);
        CHECK_INT(k.id, w->sink_id[i]);
    }
    CHECK(r.next_seq >= w->acked[i].next);
    CHECK(r.next_seq <= w->asked[i].next);
    CHECK(k.frontier >= w->acked[i].frontier);
    CHECK(k.frontier <= w->asked[i].frontier);
    CHECK(r.first_seq <= k.frontier);
    CHECK_INT(store_rig_check_log(s, r.id, r.first_seq), r.next_seq);
    /* Of one transaction with the events: both or none. */
    CHECK_INT(read_position(s, r.id), r.next_seq);
    *found = (struct sum){ .next = r.next_seq, .frontier = k.frontier };
    CHECK_INT(store_held_load(s, k.id, count_held, &found->held, &why), 0);
    CHECK(found->held >= w->acked[i].held && found->held <= w->asked[i].held);
    CHECK_INT(k.counts.held, found->held);
    w->route_id[i] = r.id;
    w->sink_id[i] = k.id;
    ranges_done(&k.above);
}

static void put_position(struct world *w, size_t i)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%" PRIu64 " ", w->asked[i].next);
    store_position_put(
        w->store, w->route_id[i], "rabbit", bytes_text("queue"), bytes_of(text, sizeof text));
}

static void judge_copy(const struct world *w)
{
    struct fault why = { 0 };
    struct store_route r;
    struct store *s;
    char path[32];

    (void)snprintf(path, sizeof path, "copy-%d.db", w->backups);
    s = store_rig_open_with((struct store_spec){ .path = path, .inline_io = true });
    store_rig_route(s, "orders", &r);
    CHECK(r.next_seq >= w->copied);
    CHECK_INT(store_rig_check_log(s, r.id, r.first_seq), r.next_seq);
    store_free(s, true);
    CHECK_INT(store_check_file(path, no_damage, NULL, &why), 0);
}

/* It goes on: what is taken now is there after the next start. */
static void go_on(struct world *w)
{
    struct fault why = { 0 };

    for (size_t i = 0; i < ROUTES; i++) {
        store_rig_append(w->store, w->route_id[i], &w->asked[i].next, 3, w->now_ms, 100, false);
        put_position(w, i);
    }
    store_rig_commit(w->store, w->now_ms);
    store_housekeep(w->store, w->now_ms, true);
    store_step(w->store);
    CHECK_INT(store_collect(w->store, &why), 0);
    store_free(w->store, true);
    CHECK_INT(store_check_file(RIG_STORE, no_damage, NULL, &why), 0);
}

/* In the directory of what a cut left. */
static void judge(struct world *w)
{
    w->store = open_small();
    for (size_t i = 0; i < ROUTES; i++) {
        struct sum found;

        judge_route(w->store, w, i, &found);
        w->asked[i] = w->acked[i] = found;
    }
    w->known = true;
    go_on(w);
    if (w->copied)
        judge_copy(w);
}

static void remove_files(const char *directory)
{
    DIR *d = opendir(directory);
    const struct dirent *e;

    while (d && (e = readdir(d)) != NULL) {
        char path[600];

        (void)snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        (void)unlink(path);
    }
    (void)closedir(d);
}

static void cut(void *arg);

/* A process of its own judges, on a copy: this one goes on as if nothing had happened. */
static void judge_apart(struct world *w, uint64_t seed)
{
    pid_t pid;
    int status = 0;

    CHECK(mkdir("cut", 0700) == 0 || errno == EEXIST);
    remove_files("cut");
    (void)fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        power_vfs_cuts(0, 0, NULL, NULL);
        power_vfs_fail_sync(0);
        power_vfs_after_cut("cut", seed);
        power_vfs_forget();
        CHECK_INT(chdir("cut"), 0);
        if (w->depth == 0 && seed % 8 == 0) {
            w->depth++;
            power_vfs_cuts(20, seed, cut, w);
        }
        w->judge(w);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0)
        harness_fail(__FILE__, __LINE__,
            "after the cut before write %" PRIu64 " of seed %" PRIu64 " (its outcome %" PRIu64
            ", depth %d)",
            power_vfs_count(), w->seed, seed, w->depth);
}

static void cut(void *arg)
{
    struct world *w = arg;

    w->cuts++;
    judge_apart(w, random_next(&w->dice));
}

/* ---- loading ---- */

static void acknowledge(struct world *w)
{
    memcpy(w->acked, w->asked, sizeof w->acked);
}

/* Waits for the writer; false: it broke. */
static bool waited(struct world *w, uint64_t number)
{
    struct fault why = { 0 };

    do {
        store_step(w->store);
        w->broken = store_collect(w->store, &why) != 0;
    } while (!w->broken && (store_committed(w->store) < number || store_busy(w->store)));
    return !w->broken;
}

static void commit(struct world *w)
{
    uint64_t number = store_filling(w->store);

    if (store_empty(w->store))
        return;
    CHECK(store_submit(w->store, w->now_ms));
    if (!waited(w, number))
        return;
    /* Within its size, or the test would wait for nothing. */
    CHECK(store_appended(w->store) >= number);
    acknowledge(w);
}

static void load_append(struct world *w, size_t i, bool single)
{
    size_t count = single ? 1 : 1 + random_below(&w->dice, 8);

    store_rig_append(w->store, w->route_id[i], &w->asked[i].next, count, w->now_ms,
        20 + random_below(&w->dice, single ? 100 : 3000), random_below(&w->dice, 2));
    put_position(w, i);
}

static void load_held(struct world *w, size_t i)
{
    struct event event = {
        .address = bytes_text("a"), .id = bytes_text("i"), .received_ms = w->now_ms
    };
    struct held h = { .number = store_next_held(w->store),
        .route_id = w->route_id[i],
        .sink_id = w->sink_id[i],
        .seq = w->asked[i].frontier,
        .state = HELD_WAITING,
        .expires_in_ms = -1,
        .changed_ms = w->now_ms };

    store_held_put(w->store, &h, &event);
    w->asked[i].held++;
    w->asked[i].frontier++;
}

/* Up to all that is acknowledged is finished. */
static void load_cursor(struct world *w, size_t i)
{
    struct ranges none = { 0 };
    struct store_counts counts = { 0 };
    uint64_t room = w->acked[i].next - w->asked[i].frontier;

    if (room && random_below(&w->dice, 8) == 0)
        load_held(w, i);
    else
        w->asked[i].frontier += room - random_below(&w->dice, room < 3 ? room + 1 : 3);
    counts.held = w->asked[i].held;
    counts.delivered = w->asked[i].frontier - 1 - counts.held;
    store_cursor_put(w->store, w->sink_id[i], w->asked[i].frontier, &none, &counts);
}

static void keep_house(struct world *w)
{
    store_housekeep(w->store, w->now_ms, true);
    (void)waited(w, 0);
}

static void open_world(struct world *w)
{
    w->store = open_small();
    for (size_t i = 0; i < ROUTES; i++) {
        struct store_route r;
        struct store_sink k;

        store_rig_route(w->store, i ? "clicks" : "orders", &r);
        store_rig_sink(w->store, r.id, "kafka", &k);
        w->route_id[i] = r.id;
        w->sink_id[i] = k.id;
        ranges_done(&k.above);
    }
    store_route_retain(w->store, w->route_id[0], -1, RETAIN_BYTES);
    store_route_retain(w->store, w->route_id[1], RETAIN_MS, RETAIN_BYTES);
    w->known = true;
}

static void load_step(struct world *w, bool small)
{
    w->now_ms += STEP_MS;
    for (size_t i = 0; i < ROUTES; i++) {
        if (random_below(&w->dice, 3))
            load_append(w, i, small || random_below(&w->dice, 2));
        if (random_below(&w->dice, 2))
            load_cursor(w, i);
    }
    commit(w);
    if (!w->broken && random_below(&w->dice, 4) == 0)
        keep_house(w);
    if (!w->broken && !power_vfs_will_fail() && random_below(&w->dice, 100) == 0) {
        store_free(w->store, random_below(&w->dice, 2));
        open_world(w);
    }
}

static void begin(struct world *w)
{
    *w = (struct world){
        .now_ms = RIG_TIME, .seed = (uint64_t)setting("BASCULE_POWER_SEED", 1), .judge = judge
    };
    w->dice = (struct random){ w->seed };
    for (size_t i = 0; i < ROUTES; i++)
        w->asked[i] = w->acked[i] = (struct sum){ .next = 1, .frontier = 1 };
    power_vfs_register();
}

static int cuts_wanted(void)
{
    return (int)setting("BASCULE_POWER_CUTS", 40);
}

TEST(what_was_acknowledged_outlives_a_power_cut_under_load)
{
    struct world *w = &world;

    begin(w);
    power_vfs_cuts(5, w->seed, cut, w);
    open_world(w);
    power_vfs_cuts(40, w->seed, cut, w);
    while (w->cuts < cuts_wanted())
        load_step(w, false);
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

TEST(what_was_acknowledged_outlives_a_power_cut_while_the_log_is_kept_tidy)
{
    struct world *w = &world;

    begin(w);
    open_world(w);
    power_vfs_cuts(60, w->seed, cut, w);
    while (w->cuts < cuts_wanted()) {
        for (int i = 0; i < 40; i++)
            load_step(w, true);
        /* Old enough to be joined, and those of one route to be deleted. */
        w->now_ms += RETAIN_MS;
        for (int i = 0; i < 10; i++)
            keep_house(w);
    }
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

static void back_up(struct world *w)
{
    struct fault why = { 0 };
    uint64_t from = w->acked[0].next;
    char path[32];

    (void)snprintf(path, sizeof path, "copy-%d.db", w->backups + 1);
    CHECK_INT(store_backup_start(w->store, path, &why), 0);
    while (store_backup_progress(w->store, &why) < 1001) {
        CHECK(store_backup_progress(w->store, &why) >= 0);
        load_append(w, 1, true);
        commit(w);
    }
    /* What was said to be there must be there. */
    w->backups++;
    w->copied = from;
}

TEST(what_was_acknowledged_outlives_a_power_cut_while_a_backup_runs)
{
    struct world *w = &world;

    begin(w);
    open_world(w);
    for (int i = 0; i < 30; i++)
        load_step(w, false);
    power_vfs_cuts(40, w->seed, cut, w);
    while (w->cuts < cuts_wanted()) {
        char path[32];

        back_up(w);
        for (int i = 0; i < 3; i++)
            load_step(w, true);
        w->copied = 0;
        (void)snprintf(path, sizeof path, "copy-%d.db", w->backups);
        power_vfs_remove(path);
    }
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

/* Old or new, it is whole; and when it is new, the copy of the old one is there. */
static void judge_upgrade(struct world *w)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_route r;
    uint64_t next;

    store_rig_route(s, "orders", &r);
    CHECK(r.next_seq >= w->acked[0].next);
    next = store_rig_check_log(s, r.id, 1);
    CHECK_INT(next, r.next_seq);
    store_rig_append(s, r.id, &next, 3, w->now_ms + 100000, 20, false);
    store_rig_commit(s, w->now_ms + 100000);
    store_free(s, true);
    CHECK_INT(store_check_file(RIG_STORE, no_damage, NULL, &why), 0);
    CHECK_INT(store_check_file(RIG_STORE ".version-1", no_damage, NULL, &why), 0);
}

TEST(an_old_store_outlives_a_power_cut_while_it_is_upgraded)
{
    struct world *w = &world;

    begin(w);
    w->judge = judge_upgrade;
    power_vfs_cuts(10, w->seed, cut, w);
    while (w->cuts < cuts_wanted()) {
        uint64_t next = OLD_STORES_NEXT_SEQ;
        struct store_route r;

        /* Not by SQLite: a new disk, so to speak. */
        power_vfs_remove(RIG_STORE ".version-1");
        power_vfs_remove(RIG_STORE);
        power_vfs_forget();
        old_stores_put(0);
        w->acked[0].next = next;
        w->store = store_rig_open();
        store_rig_route(w->store, "orders", &r);
        store_rig_append(w->store, r.id, &next, 10, w->now_ms + 100000, 20, false);
        store_rig_commit(w->store, w->now_ms + 100000);
        w->acked[0].next = next;
        store_free(w->store, true);
    }
    power_vfs_cuts(0, 0, NULL, NULL);
}

/* What a start after a failure finds is what counts from then on. */
static void start_again(struct world *w)
{
    struct fault why = { 0 };
    struct store *s = NULL;

    power_vfs_dead(true);
    store_free(w->store, false);
    power_vfs_dead(false);
    w->broken = false;
    power_vfs_fail_sync(0);
    if (store_rig_try((struct store_spec){ .inline_io = true, .max_size = 8 << 20 }, &s, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    w->store = s;
    for (size_t i = 0; i < ROUTES; i++) {
        struct sum found;

        judge_route(s, w, i, &found);
        w->asked[i] = w->acked[i] = found;
    }
    store_route_retain(s, w->route_id[0], -1, RETAIN_BYTES);
    store_route_retain(s, w->route_id[1], RETAIN_MS, RETAIN_BYTES);
}

TEST(what_was_acknowledged_outlives_a_failed_sync_and_then_a_power_cut)
{
    struct world *w = &world;

    begin(w);
    open_world(w);
    while (w->cuts < cuts_wanted()) {
        for (int i = 0; i < 5; i++)
            load_step(w, false);
        power_vfs_fail_sync(1 + (int)random_below(&w->dice, 8));
        while (!w->broken && power_vfs_will_fail())
            load_step(w, false);
        /* The file still shows what never reached the disk. */
        power_vfs_cuts(12, random_next(&w->dice), cut, w);
        start_again(w);
        for (int i = 0; i < 5; i++)
            load_step(w, false);
        power_vfs_cuts(0, 0, NULL, NULL);
    }
    store_free(w->store, true);
}
