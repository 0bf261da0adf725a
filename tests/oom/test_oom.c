/* Every allocation and every system call of ours and of SQLite's fails once in turn while a store
 * is opened, events flow, a configuration is reloaded, a replay runs, dead letters are retried:
 * nothing crashes, leaks or lies, and what was refused for want of memory works when it is asked
 * again. A child for each.
 *
 *   BASCULE_OOM_STRIDE=N   tries each N-th only (1)
 *   BASCULE_OOM_ONLY=N     tries the N-th alone, in this process */
#include "routes/config.h"
#include "tests/harness.h"
#include "tests/oom/oom.h"
#include "tests/sim/rig.h"

#include <sys/wait.h>
#include <unistd.h>

#define CONFIG "route.yaml"
#define SETTLE_TURNS 20000

static struct rig g;

struct scenario {
    void (*set_up)(void);
    void (*act)(void); /* in here it fails */
    void (*finish)(void);
};

/* ---- one failure after the other ---- */

/* Returns true when there was no n-th. */
static bool try_one(const struct scenario *s, enum oom_kind kind, size_t n)
{
    oom_init();
    s->set_up();
    oom_begin(kind, n);
    s->act();
    (void)oom_end();
    s->finish();
    return !oom_hit();
}

static bool try_forked(const struct scenario *s, enum oom_kind kind, size_t n)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        exit(try_one(s, kind, n) ? 42 : 0); /* and its leaks are looked for */
    CHECK_INT(waitpid(pid, &status, 0), pid);
    if (status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 42))
        harness_fail(__FILE__, __LINE__, "the %zu-th failed, status %d (BASCULE_OOM_ONLY=%zu)", n,
            status, n);
    for (const char *const *f =
             (const char *const[]){ "", "-wal", "-shm", ".lock", ".reserve", NULL };
         *f; f++) {
        char path[64];

        (void)snprintf(path, sizeof path, "store.db%s", *f);
        (void)remove(path);
    }
    return status != 0;
}

static void try_each(const struct scenario *s, enum oom_kind kind)
{
    const char *stride = getenv("BASCULE_OOM_STRIDE"), *only = getenv("BASCULE_OOM_ONLY");
    size_t step = stride ? strtoul(stride, NULL, 10) : 1, n = 1;

    if (only) {
        (void)try_one(s, kind, strtoul(only, NULL, 10));
        return;
    }
    (void)alarm(0); /* thousands of runs; each ends by itself */
    while (!try_forked(s, kind, n))
        n += step ? step : 1;
    CHECK(n > 10); /* or it tried nothing */
}

/* ---- a bridge that may fail ---- */

static void check_said(const struct fault *why)
{
    CHECK(why->kind != FAULT_NONE);
    CHECK(why->text[0]);
}

/* As the daemon's supervisor: what ended is started again. */
static void turn_or_restart(void)
{
    struct fault why = { 0 };

    if (!g.relay) {
        if (rig_try_start(&g, &why) != 0)
            check_said(&why);
        return;
    }
    if (rig_try_turn(&g, false, &why) != 0) {
        check_said(&why);
        rig_crash(&g);
    }
}

static void finish(void)
{
    for (size_t i = 0; i < g.route.sink_count; i++)
        g.world.sinks[i].nack = g.world.sinks[i].lose = 0;
    /* What failed in the last turn is told in the next. */
    turn_or_restart();
    if (!g.relay)
        rig_start(&g);
    if (!rig_settle(&g, SETTLE_TURNS)) {
        rig_tell(&g);
        harness_fail(__FILE__, __LINE__, "not all is finished");
    }
    rig_check(&g, false);
    rig_stop(&g);
    rig_done(&g);
}

static void with_trouble(void)
{
    rig_init(&g, 5, 3);
    g.world.keep_position = true;
    g.world.sinks[0].refuse_every = 5;
    g.world.sinks[1].nack = 300;
    g.world.sinks[1].lose = 30;
    g.sinks[0].fallback = 2;
    g.sinks[2].fallback_only = true;
}

/* ---- open ---- */

static void nothing_yet(void)
{
    with_trouble();
}

static void used_before(void)
{
    with_trouble();
    rig_start(&g);
    world_publish(&g.world, 60);
    for (int i = 0; i < 15; i++)
        rig_turn(&g, false);
    rig_crash(&g);
}

static void start_once(void)
{
    struct fault why = { 0 };

    if (rig_try_start(&g, &why) != 0)
        check_said(&why);
}

TEST(a_new_store_that_finds_no_memory_is_made_at_the_next_try)
{
    try_each(&(struct scenario){ nothing_yet, start_once, finish }, OOM_MEMORY);
}

TEST(a_new_store_whose_system_calls_fail_is_made_at_the_next_try)
{
    try_each(&(struct scenario){ nothing_yet, start_once, finish }, OOM_CALL);
}

TEST(a_start_that_finds_no_memory_loses_nothing)
{
    try_each(&(struct scenario){ used_before, start_once, finish }, OOM_MEMORY);
}

TEST(a_start_whose_system_calls_fail_loses_nothing)
{
    try_each(&(struct scenario){ used_before, start_once, finish }, OOM_CALL);
}

/* ---- events, held ones, dead letters ---- */

static void started(void)
{
    with_trouble();
    rig_start(&g);
    world_publish(&g.world, 30);
}

static void some_turns(void)
{
    for (int i = 0; i < 30; i++)
        turn_or_restart();
}

TEST(events_on_their_way_without_memory_are_not_lost)
{
    try_each(&(struct scenario){ started, some_turns, finish }, OOM_MEMORY);
}

TEST(events_on_their_way_whose_system_calls_fail_are_not_lost)
{
    try_each(&(struct scenario){ started, some_turns, finish }, OOM_CALL);
}

/* Chunks enough that they are read from the log once the sinks are there. */
static void behind(void)
{
    with_trouble();
    for (size_t i = 0; i < g.route.sink_count; i++)
        g.world.sinks[i].up = false;
    rig_start(&g);
    for (int i = 0; i < 6; i++) {
        world_publish(&g.world, 10);
        for (int k = 0; k < 5; k++)
            rig_turn(&g, false);
    }
    rig_crash(&g);
    for (size_t i = 0; i < g.route.sink_count; i++)
        g.world.sinks[i].up = true;
    rig_start(&g);
}

TEST(a_backlog_read_from_the_log_without_memory_is_not_lost)
{
    try_each(&(struct scenario){ behind, some_turns, finish }, OOM_MEMORY);
}

TEST(a_backlog_read_from_the_log_while_system_calls_fail_is_not_lost)
{
    try_each(&(struct scenario){ behind, some_turns, finish }, OOM_CALL);
}

static struct relay_dead dead;
static char dead_text[2][64];

static void with_a_dead_letter(void)
{
    with_trouble();
    g.sinks[0].fallback = SIZE_MAX;
    g.sinks[2].fallback_only = false;
    rig_start(&g);
    world_publish(&g.world, 12);
    CHECK(rig_settle(&g, SETTLE_TURNS));
    CHECK(rig_dead(&g, 0, dead_text, &dead));
    g.world.sinks[0].refuse_every = 0;
}

static void retry_it(void)
{
    struct event edited = { .body = bytes_text("event 3"), .address = bytes_text("a") };
    struct fault why = { 0 };

    if (relay_dead_edit(g.relay, &dead, &edited, g.unix_ms, &why) != 0)
        check_said(&why);
    else if (relay_dead_retry(g.relay, &dead, g.unix_ms, &why) != 0)
        check_said(&why);
    for (int i = 0; i < 10; i++)
        turn_or_restart();
}

TEST(a_dead_letter_retried_without_memory_is_there_or_delivered)
{
    try_each(&(struct scenario){ with_a_dead_letter, retry_it, finish }, OOM_MEMORY);
}

TEST(a_dead_letter_retried_while_system_calls_fail_is_there_or_delivered)
{
    try_each(&(struct scenario){ with_a_dead_letter, retry_it, finish }, OOM_CALL);
}

/* ---- replay ---- */

static uint64_t job;

static void with_a_log(void)
{
    with_trouble();
    rig_start(&g);
    world_publish(&g.world, 40);
    CHECK(rig_settle(&g, SETTLE_TURNS));
    job = 0;
}

static void replay_it(void)
{
    struct query_spec spec = { .kind = QUERY_PLAN,
        .where = { .route = "orders", .sink = "one" },
        .limit = 1000,
        .deadline_ms = 100000 };
    struct query_answer a = { 0 };
    struct relay_replay replay = { .plan = &a, .sink = "one", .selection = "all" };
    struct fault why = { 0 };
    uint64_t left_out;
    bool answered = false;

    if (store_query(g.store, 7, &spec) != 0)
        return;
    for (int i = 0; i < 20 && g.relay && !answered; i++) {
        turn_or_restart();
        answered = g.relay && store_query_next(g.store, &a);
    }
    if (answered && a.failed)
        check_said(&a.why);
    else if (answered && relay_replay_plan(g.relay, &replay, g.unix_ms, &job, &left_out, &why) != 0)
        check_said(&why);
    else if (answered && relay_replay_do(g.relay, job, RELAY_REPLAY_RUN, g.unix_ms, &why) != 0)
        check_said(&why);
    query_answer_done(&a);
    for (int i = 0; i < 15; i++)
        turn_or_restart();
}

static void finish_replay(void)
{
    if (!g.relay)
        rig_start(&g);
    for (int i = 0; i < SETTLE_TURNS && relay_replay_find(g.relay, job); i++)
        rig_turn(&g, false);
    finish();
}

TEST(a_replay_without_memory_is_refused_or_ends)
{
    try_each(&(struct scenario){ with_a_log, replay_it, finish_replay }, OOM_MEMORY);
}

TEST(a_replay_whose_system_calls_fail_is_refused_or_ends)
{
    try_each(&(struct scenario){ with_a_log, replay_it, finish_replay }, OOM_CALL);
}

/* ---- reload ---- */

/* Another place for one sink, so that it is opened again, and a number for another. */
static void reload_it(void)
{
    g.sinks[1].max_attempts = 9;
    g.sinks[0].window_events = 64;
    if (rig_reload(&g, NULL) != 0)
        check_said(&g.reload_why);
    for (int i = 0; i < 20; i++)
        turn_or_restart();
}

TEST(a_reload_without_memory_is_refused_or_done_and_loses_nothing)
{
    try_each(&(struct scenario){ started, reload_it, finish }, OOM_MEMORY);
}

TEST(a_reload_whose_system_calls_fail_is_refused_or_done_and_loses_nothing)
{
    try_each(&(struct scenario){ started, reload_it, finish }, OOM_CALL);
}

/* ---- configuration ---- */

static void write_config(void)
{
    static const char text[] =
        "connections:\n"
        "  rabbit: { type: rabbitmq, url: \"amqp://guest:guest@localhost:5672/\" }\n"
        "  kafka: { type: kafka, brokers: [\"localhost:9092\"], tls: { ca_file: /ca } }\n"
        "store: { path: ./bascule.db, max_size: 1GiB }\n"
        "routes:\n"
        "  - name: orders\n"
        "    from: { connection: rabbit, queue: orders }\n"
        "    key: \"${header.customer:-none}\"\n"
        "    to:\n"
        "      - { name: copy, connection: kafka, topic: \"o.${address}\", headers: { a: b } }\n";
    FILE *f = fopen(CONFIG, "w");

    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void load_config(void)
{
    const char *paths[] = { CONFIG };
    struct config_problems problems = { 0 };
    struct config *config = NULL;

    if (config_load(paths, 1, &config, &problems) != 0)
        CHECK(problems.n > 0 && problems.at[0].text[0]);
    else
        CHECK(config && config->route_count == 1);
    config_problems_done(&problems);
    config_free(config);
}

static void load_again(void)
{
    load_config();
    (void)remove(CONFIG);
}

TEST(a_configuration_loaded_without_memory_is_refused_with_a_reason)
{
    try_each(&(struct scenario){ write_config, load_config, load_again }, OOM_MEMORY);
}
