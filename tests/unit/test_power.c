/* Power cuts: a store is loaded on a disk that forgets (power_vfs.h), and at many moments, picked
 * by seed, what a cut then would leave is opened and judged: all that was acknowledged is there,
 * whole, and it goes on from there.
 *
 * BASCULE_POWER_CUTS: how many cuts each test makes, about (40; `make soak-store` more).
 * BASCULE_POWER_SEED begins elsewhere. A failure names the seed and the moment. */
#include "tests/unit/load.h"
#include "tests/unit/old_stores.h"
#include "tests/unit/power_vfs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct load load;
static struct {
    uint64_t seed;
    int depth; /* cuts within cuts */
    int cuts;
} cuts;

static void remove_files(const char *directory)
{
    DIR *d = opendir(directory);
    const struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d)) != NULL) {
        char path[600];

        (void)snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        (void)unlink(path);
    }
    (void)closedir(d);
}

static void cut(void *arg);

/* A process of its own judges, on a copy: this one goes on as if nothing had happened. */
static void judge_apart(struct load *w, uint64_t seed)
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
        if (cuts.depth == 0 && seed % 8 == 0) {
            cuts.depth++;
            power_vfs_cuts(20, seed, cut, w);
        }
        w->judge(w);
        harness_ends_in_a_call();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0)
        harness_fail(__FILE__, __LINE__,
            "after the cut before write %" PRIu64 " of seed %" PRIu64 " (its outcome %" PRIu64
            ", depth %d)",
            power_vfs_count(), cuts.seed, seed, cuts.depth);
}

static void cut(void *arg)
{
    struct load *w = arg;

    cuts.cuts++;
    judge_apart(w, random_next(&w->dice));
}

static void begin(struct load *w)
{
    cuts.seed = (uint64_t)load_setting("BASCULE_POWER_SEED", 1);
    load_begin(w, cuts.seed);
    power_vfs_register();
}

static int cuts_wanted(void)
{
    return (int)load_setting("BASCULE_POWER_CUTS", 40);
}

TEST(what_was_acknowledged_outlives_a_power_cut_under_load)
{
    struct load *w = &load;

    begin(w);
    power_vfs_cuts(5, cuts.seed, cut, w);
    load_open(w);
    power_vfs_cuts(40, cuts.seed, cut, w);
    while (cuts.cuts < cuts_wanted())
        load_step(w, false);
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

TEST(what_was_acknowledged_outlives_a_power_cut_while_the_log_is_kept_tidy)
{
    struct load *w = &load;

    begin(w);
    load_open(w);
    power_vfs_cuts(60, cuts.seed, cut, w);
    while (cuts.cuts < cuts_wanted()) {
        for (int i = 0; i < 40; i++)
            load_step(w, true);
        /* Old enough to be joined, and those of one route to be deleted. */
        w->now_ms += LOAD_RETAIN_MS;
        for (int i = 0; i < 10; i++)
            load_keep_house(w);
    }
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

TEST(what_was_acknowledged_outlives_a_power_cut_while_a_backup_runs)
{
    struct load *w = &load;

    begin(w);
    load_open(w);
    for (int i = 0; i < 30; i++)
        load_step(w, false);
    power_vfs_cuts(40, cuts.seed, cut, w);
    while (cuts.cuts < cuts_wanted()) {
        char path[32];

        load_back_up(w);
        for (int i = 0; i < 3; i++)
            load_step(w, true);
        w->copied = 0;
        (void)snprintf(path, sizeof path, "copy-%d.db", w->backups);
        power_vfs_remove(path);
    }
    power_vfs_cuts(0, 0, NULL, NULL);
    store_free(w->store, true);
}

TEST(an_old_store_outlives_a_power_cut_while_it_is_upgraded)
{
    struct load *w = &load;

    begin(w);
    w->judge = load_judge_upgrade;
    power_vfs_cuts(10, cuts.seed, cut, w);
    while (cuts.cuts < cuts_wanted()) {
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
static void start_again(struct load *w)
{
    power_vfs_dead(true);
    store_free(w->store, false);
    power_vfs_dead(false);
    power_vfs_fail_sync(0);
    w->broken = false;
    load_open(w);
    for (size_t i = 0; i < LOAD_ROUTES; i++) {
        struct load_sum found;

        load_judge_route(w->store, w, i, &found);
        w->asked[i] = w->acked[i] = found;
    }
}

TEST(what_was_acknowledged_outlives_a_failed_sync_and_then_a_power_cut)
{
    struct load *w = &load;

    begin(w);
    /* With the next seed 40 cuts see a start that does not write the WAL again. */
    w->dice.state++;
    load_open(w);
    while (cuts.cuts < cuts_wanted()) {
        for (int i = 0; i < 5; i++)
            load_step(w, false);
        power_vfs_fail_sync(1 + (int)random_below(&w->dice, 8));
        w->stays_open = true;
        while (!w->broken && power_vfs_will_fail())
            load_step(w, false);
        w->stays_open = false;
        /* The file still shows what never reached the disk. Most of all while it is settled. */
        power_vfs_cuts(3, random_next(&w->dice), cut, w);
        start_again(w);
        power_vfs_cuts(30, random_next(&w->dice), cut, w);
        for (int i = 0; i < 2; i++)
            load_step(w, false);
        power_vfs_cuts(0, 0, NULL, NULL);
    }
    store_free(w->store, true);
}
