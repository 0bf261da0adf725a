/* Many seeds: a whole bridge with sinks that fail in every way and a daemon that dies at any
 * moment. A seed that fails is shrunk and printed as a script (tests/sim/script.h).
 *
 *   BASCULE_SIM_SEEDS=N   how many     BASCULE_SIM_FIRST=N   from which on
 *   BASCULE_SIM_SCRIPT=/PATH   runs that script instead */
#include "tests/harness.h"
#include "tests/sim/deeds.h"
#include "tests/sim/script.h"
#include "tests/unit/fail_vfs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_TURNS 20000
#define SHRINK_TRIES 1500
#define WORKERS 2                /* processes */
#define RESERVE_BYTES (20 << 20) /* what a full disk has once the store's reserve is given up */
#define DRAIN_TURNS 500
#define MAX_SIZE (64 << 20) /* never full; some edits give less */
#define FAILING_TURNS 100
#define FAILURES_MAX 8 /* calls of one transaction that may fail until it is seen */
/* A script that was shrunk may turn for ever; none takes a tenth of it. */
#define SCRIPT_SECONDS 60

/* ---- one script ---- */

static void set_up(struct rig *g, const struct line *l)
{
    struct world_sink *s = &g->world.sinks[l->a < WORLD_SINKS_MAX ? l->a : 0];

    switch (l->action) {
    case ACTION_SINKS:
        break; /* it was first */
    case ACTION_POSITIONS:
        g->world.keep_position = true;
        break;
    case ACTION_PER_KEY:
        g->sinks[l->a].max_in_flight_per_key = 1;
        break;
    case ACTION_FALLBACK:
        g->sinks[g->route.sink_count - 1].fallback_only = true;
        g->sinks[0].fallback = g->route.sink_count - 1;
        break;
    case ACTION_NACK:
        s->nack = l->b;
        break;
    case ACTION_UNROUTABLE:
        s->unroutable = l->b;
        break;
    case ACTION_LOSE:
        s->lose = l->b;
        break;
    case ACTION_BROKER:
        s->broker_state = l->b;
        break;
    case ACTION_TIMEOUT:
        s->timeout = l->b;
        break;
    case ACTION_ECHO:
        s->echo = l->b;
        break;
    case ACTION_REFUSE:
        s->refuse_every = l->b;
        break;
    case ACTION_POISON:
        s->poison_every = l->b;
        break;
    case ACTION_FOREVER:
        g->sinks[l->a].max_attempts = 0;
        break;
    case ACTION_EXPIRE:
        g->sinks[l->a].expire_after_ms = 20 * l->b;
        break;
    case ACTION_RATE:
        g->sinks[l->a].rate_limit = 10000 * (int64_t)l->b;
        break;
    case ACTION_GIVE_UP:
        g->world.give_up_every = l->a;
        break;
    default:
        break;
    }
}

/* Something of a sink, of the route, of the connection, or nothing. */
static void edit(struct rig *g, struct config_sink *s, int what)
{
    switch (what % 9) {
    case 0:
        s->window_events = 32 + what / 9;
        break;
    case 1:
        s->max_attempts = 3 + (uint32_t)what / 9 % 4;
        break;
    case 2:
        g->route.window_events = 64 + what / 9;
        break;
    case 3:
        g->route.max_backlog = (int64_t)(16 + what / 9) << 20;
        break;
    case 4:
        (void)snprintf(g->connection.files, sizeof g->connection.files, "%d", what);
        break;
    case 5:
        s->enabled = !s->enabled;
        break;
    case 6:
        s->max_attempts = 0;
        break;
    case 7:
        g->max_size = (128 + what / 9) << 10;
        break;
    default:
        break;
    }
    /* One that is still in progress goes on; the next one takes up all. */
    if (rig_reload(g, NULL) != 0 && !g->next)
        harness_fail(__FILE__, __LINE__, "reload: %s", g->reload_why.text);
}

/* ---- after the start ---- */

static bool disk_is_full;

static void disk_full(bool full)
{
    disk_is_full = full;
    fail_vfs_give("store.db.reserve", full ? RESERVE_BYTES : 0);
    fail_vfs_set(full ? FAIL_FULL : FAIL_NOTHING);
}

/* A start needs a little room: where there is none, somebody makes some. */
static void start_again(struct rig *g)
{
    struct fault why;

    if (rig_try_start(g, &why) == 0)
        return;
    if (!disk_is_full)
        harness_fail(__FILE__, __LINE__, "start: %s", why.text);
    disk_full(false);
    rig_start(g);
}

/* Who waits for a broker that says nothing, or for room, does so until a deadline. */
static void stop(struct rig *g)
{
    bool waits = disk_is_full || g->max_size < MAX_SIZE;

    for (size_t i = 0; i < g->route.sink_count; i++)
        waits = waits || g->world.sinks[i].silent;
    if (waits)
        (void)rig_end(g, DRAIN_TURNS);
    else
        rig_stop(g);
}

/* After a failed write or sync the process must end by itself. */
static void fail_until_end(struct rig *g, enum fail_kind kind)
{
    struct fault why;
    int before = fail_vfs_count(), turns;

    fail_vfs_set(kind);
    for (turns = 0; turns < FAILING_TURNS && rig_try_turn(g, false, &why) == 0; turns++)
        if (fail_vfs_count() > before + FAILURES_MAX)
            harness_fail(__FILE__, __LINE__, "it goes on with a failed disk");
    disk_full(false);
    if (turns == FAILING_TURNS && fail_vfs_count() == before)
        return;
    rig_crash(g);
    rig_start(g);
}

static void brokers_act(struct rig *g, const struct line *l)
{
    size_t sink = (size_t)l->a < g->route.sink_count ? (size_t)l->a : 0;
    struct world_sink *s = &g->world.sinks[sink];

    switch (l->action) {
    case ACTION_PUBLISH:
        world_publish(&g->world, (size_t)l->a);
        break;
    case ACTION_UP:
        s->up = !s->up;
        s->session += !s->up;
        break;
    case ACTION_BLOCK:
        s->blocked = !s->blocked;
        break;
    case ACTION_SICK:
        s->sick = !s->sick;
        break;
    case ACTION_SILENT:
        s->silent = !s->silent;
        break;
    case ACTION_SOURCE:
        world_source_up(&g->world, !g->world.source_up);
        break;
    case ACTION_GAP:
        world_gap(&g->world, g->unix_ms);
        break;
    default:
        break;
    }
}

static void person_acts(struct rig *g, const struct line *l)
{
    size_t sink = (size_t)l->a < g->route.sink_count ? (size_t)l->a : 0;

    switch (l->action) {
    case ACTION_PAUSE:
        deeds_pause(g, sink);
        break;
    case ACTION_ROUTE_PAUSE:
        deeds_pause_route(g);
        break;
    case ACTION_ROUTE_RESUME:
        deeds_resume_route(g);
        break;
    case ACTION_DRAIN:
    case ACTION_ROUTE_DRAIN:
        deeds_drain(g, l->action == ACTION_DRAIN ? sink : SIZE_MAX);
        break;
    case ACTION_BREAKER:
        deeds_breaker(g, sink, l->b);
        break;
    case ACTION_RETRY:
        deeds_retry(g, sink);
        break;
    case ACTION_DROP:
        deeds_drop(g, sink);
        break;
    case ACTION_MEND:
        deeds_mend(g, sink);
        break;
    case ACTION_REPLAY:
        deeds_replay(g, sink, l->b);
        break;
    case ACTION_REPLAY_VERB:
        deeds_replay_verb(g, l->b);
        break;
    case ACTION_EDIT:
        edit(g, &g->sinks[sink], l->b);
        break;
    default:
        break;
    }
}

/* What happens to the machine and the process. */
static void befall(struct rig *g, const struct line *l)
{
    switch (l->action) {
    case ACTION_CLOCK:
        g->unix_ms += (int64_t)(l->b - 30) * 3600000;
        break;
    case ACTION_DISK_FULL:
        disk_full(!disk_is_full);
        break;
    case ACTION_SYNC_FAILS:
        fail_until_end(g, FAIL_SYNC);
        break;
    case ACTION_WRITE_FAILS:
        fail_until_end(g, FAIL_WRITE);
        break;
    case ACTION_STOP:
        stop(g);
        start_again(g);
        break;
    case ACTION_CRASH_COMMITTED:
        store_step(g->store);
        rig_crash(g);
        start_again(g);
        break;
    case ACTION_CRASH:
        rig_crash(g);
        start_again(g);
        break;
    default:
        set_up(g, l);
        break;
    }
}

static void act(struct rig *g, const struct line *l)
{
    if (l->action < ACTION_START)
        set_up(g, l);
    else if (l->action == ACTION_TURN || l->action == ACTION_STUCK)
        rig_turn(g, l->action == ACTION_STUCK);
    brokers_act(g, l);
    person_acts(g, l);
    befall(g, l);
}

static void quiet(struct rig *g)
{
    disk_full(false);
    world_source_up(&g->world, true);
    g->max_size = MAX_SIZE;
    for (size_t i = 0; i < g->route.sink_count; i++) {
        struct world_sink *s = &g->world.sinks[i];

        s->nack = s->unroutable = s->lose = s->broker_state = s->timeout = s->echo = 0;
        s->up = true;
        s->blocked = s->sick = s->silent = false;
        g->sinks[i].enabled = true;
    }
    for (int i = 0; i < SETTLE_TURNS && g->next; i++)
        rig_turn(g, false);
    rig_reload_now(g, NULL);
    CHECK_INT(g->reloaded, RELAY_RELOAD_DONE);
    deeds_end(g);
    for (int i = 0; i < SETTLE_TURNS && !deeds_done(g); i++)
        rig_turn(g, false);
    if (!deeds_done(g))
        harness_fail(__FILE__, __LINE__, "a replay does not end");
}

/* A source without positions gives what was not yet acknowledged again after an end, as a new event
 * that comes late; order is promised within one receipt, and by sinks that have one of a key in
 * flight. */
static bool ordered(const struct rig *g, const struct script *s)
{
    bool ends = false, result = true;

    for (size_t i = 0; i < s->n; i++)
        ends = ends || s->lines[i].action >= ACTION_STOP;
    for (size_t i = 0; i < g->route.sink_count; i++)
        result = result && g->sinks[i].max_in_flight_per_key == 1 && !g->sinks[i].fallback_only;
    return result && (g->world.keep_position || !ends);
}

static void forget_store(void)
{
    static const char *const files[] = { "store.db", "store.db-wal", "store.db-shm",
        "store.db.lock", "store.db.reserve" };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        (void)unlink(files[i]);
}

static void run_script(const struct script *s)
{
    static struct rig g;

    forget_store();
    deeds_init();
    disk_full(false);
    rig_init(&g, s->seed, s->n ? (size_t)s->lines[0].a : 1);
    g.vfs = FAIL_VFS;
    for (size_t i = 0; i < s->n; i++) {
        g.world.random.state = script_chance(s, &s->lines[i]);
        if (s->lines[i].action == ACTION_START)
            rig_start(&g);
        else
            act(&g, &s->lines[i]);
    }
    quiet(&g);
    if (!rig_settle(&g, SETTLE_TURNS)) {
        rig_tell(&g);
        harness_fail(__FILE__, __LINE__, "not all is finished");
    }
    rig_check(&g, ordered(&g, s));
    deeds_check(&g);
    rig_stop(&g);
    rig_done(&g);
}

/* ---- one that fails ---- */

/* Where a script fails: "tests/sim/rig.c:222", or the signal that ended it; "" when it passes. */
static void failure_of(const struct script *s, char *ret, size_t n, bool show)
{
    FILE *log = tmpfile();
    char line[512];
    int status;
    pid_t pid;

    CHECK(log);
    pid = fork();
    if (pid == 0) {
        (void)dup2(fileno(log), STDOUT_FILENO);
        (void)dup2(fileno(log), STDERR_FILENO);
        (void)alarm(SCRIPT_SECONDS);
        run_script(s);
        exit(0); /* what a sanitizer or a profile says comes now */
    }
    CHECK_INT(waitpid(pid, &status, 0), pid);
    ret[0] = 0;
    rewind(log);
    while (status != 0 && fgets(line, sizeof line, log)) {
        if (show)
            fputs(line, stderr);
        if (strncmp(line, "  tests/", 8) == 0)
            (void)snprintf(
                ret, n, "%.*s", (int)strcspn(line, " ") + (int)strcspn(line + 2, " "), line + 2);
    }
    if (status != 0 && ret[0] == 0)
        (void)snprintf(ret, n, "status %d", status);
    (void)fclose(log);
}

static char expected[128];

static bool fails_likewise(const struct script *s)
{
    char place[sizeof expected];

    failure_of(s, place, sizeof place, false);
    return strcmp(place, expected) == 0;
}

static void report(struct script *s)
{
    size_t asked;

    fprintf(stderr, "seed %" PRIu64 " fails:\n", s->seed);
    failure_of(s, expected, sizeof expected, true);
    if (expected[0] == 0)
        harness_fail(__FILE__, __LINE__, "seed %" PRIu64 " fails only behind others", s->seed);
    asked = script_shrink(s, SHRINK_TRIES, fails_likewise);
    fprintf(stderr, "shrunk to %zu lines in %zu runs; BASCULE_SIM_SCRIPT=/PATH runs it again:\n",
        s->n, asked);
    script_print(s, stderr);
    failure_of(s, expected, sizeof expected, true);
    harness_fail(__FILE__, __LINE__, "seed %" PRIu64 " fails", s->seed);
}

/* ---- tests ---- */

static void run_file(const char *path)
{
    static struct script s;
    FILE *f = fopen(path, "r");
    int bad;

    if (!f)
        harness_fail(__FILE__, __LINE__, "%s cannot be opened", path);
    bad = script_read(&s, f);
    (void)fclose(f);
    if (bad)
        harness_fail(__FILE__, __LINE__, "%s:%d cannot be", path, bad);
    run_script(&s);
}

struct worker {
    pid_t pid;
    uint64_t *at; /* the seed that it is with, shared with it */
};

/* Every WORKERS-th seed from the given one on, in a directory of its own. */
static void work(const struct worker *w, uint64_t from, uint64_t end)
{
    static struct script s;
    int nowhere = open("/dev/null", O_WRONLY);
    char dir[32];

    (void)dup2(nowhere, STDERR_FILENO);
    (void)snprintf(dir, sizeof dir, "seeds-%" PRIu64, from % WORKERS);
    if (mkdir(dir, 0700) != 0 || chdir(dir) != 0)
        exit(1);
    for (uint64_t seed = from; seed < end; seed += WORKERS) {
        *w->at = seed;
        script_make(&s, seed);
        run_script(&s);
    }
    exit(0); /* what a sanitizer or a profile says comes now */
}

static struct worker worker_start(uint64_t from, uint64_t end)
{
    struct worker w = { .at = mmap(NULL, sizeof *w.at, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0) };

    CHECK(w.at != MAP_FAILED);
    w.pid = fork();
    if (w.pid == 0)
        work(&w, from, end);
    return w;
}

/* Returns the seed that it failed with, 0 when none. */
static uint64_t worker_end(const struct worker *w)
{
    int status;

    CHECK_INT(waitpid(w->pid, &status, 0), w->pid);
    return status == 0 ? 0 : *w->at;
}

static uint64_t number_of(const char *name, uint64_t absent)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : absent;
}

TEST(whatever_the_seed_nothing_is_lost)
{
    uint64_t from = number_of("BASCULE_SIM_FIRST", 1), failed = 0;
    uint64_t end = from + number_of("BASCULE_SIM_SEEDS", 100);
    const char *file = getenv("BASCULE_SIM_SCRIPT");
    struct worker workers[WORKERS];
    static struct script s;

    fail_vfs_register();
    if (file) {
        run_file(file);
        return;
    }
    (void)alarm(0); /* a million seeds take hours */
    for (uint64_t i = 0; i < WORKERS; i++)
        workers[i] = worker_start(from + i, end);
    for (size_t i = 0; i < WORKERS; i++) {
        uint64_t seed = worker_end(&workers[i]);

        failed = failed && (seed == 0 || failed < seed) ? failed : seed;
    }
    if (failed == 0)
        return;
    script_make(&s, failed);
    report(&s);
}

/* What a seed was shrunk to, and failed before it was mended. */
static void run_text(const char *text)
{
    static struct script s;
    FILE *f = fmemopen((char *)(uintptr_t)text, strlen(text), "r");

    CHECK(f);
    CHECK_INT(script_read(&s, f), 0);
    (void)fclose(f);
    fail_vfs_register();
    run_script(&s);
}

TEST(after_a_kill_an_elder_in_the_log_goes_before_a_held_one_of_its_key)
{
    run_text("seed 149\n"
             "0 sinks 2\n"
             "4 broker 1 10\n"
             "5 timeout 1 82\n"
             "6 start\n"
             "7 publish 239\n"
             "8 turn\n"
             "9 turn\n"
             "12 turn\n"
             "37 route-drain\n"
             "150 pause 1\n"
             "153 turn\n"
             "154 turn\n"
             "193 crash\n"
             "196 pause 1\n");
}

static bool has_three(const struct script *s)
{
    int found = 0;

    for (size_t i = 0; i < s->n; i++)
        found += s->lines[i].number == 31 || s->lines[i].number == 32 || s->lines[i].number == 217;
    return found == 3;
}

TEST(a_failing_script_shrinks_to_the_lines_that_make_it_fail)
{
    static struct script s;

    script_make(&s, 7);
    CHECK(s.n > 300);
    CHECK(script_shrink(&s, 100000, has_three) < 1000);
    CHECK(s.n <= 5); /* and those that every script has */
    CHECK(has_three(&s));
}

TEST(a_printed_script_is_read_as_it_was)
{
    static struct script s, again;
    FILE *f = tmpfile();

    script_make(&s, 9);
    CHECK(f);
    script_print(&s, f);
    rewind(f);
    CHECK_INT(script_read(&again, f), 0);
    (void)fclose(f);
    CHECK(again.seed == s.seed && again.n == s.n);
    for (size_t i = 0; i < s.n; i++)
        CHECK(again.lines[i].action == s.lines[i].action && again.lines[i].a == s.lines[i].a &&
              again.lines[i].b == s.lines[i].b && again.lines[i].number == s.lines[i].number);
}

TEST(a_script_with_a_line_that_cannot_be_is_refused_by_its_number)
{
    static struct script s;
    FILE *f = tmpfile();

    CHECK(f);
    fputs("seed 3\n0 sinks 1\n1 start\n2 jump\n", f);
    rewind(f);
    CHECK_INT(script_read(&s, f), 4);
    (void)fclose(f);
}
