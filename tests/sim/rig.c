#include "bridge/digest.h"
#include "tests/sim/rig.h"

#include "tests/harness.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define STORE "store.db"

static void sink_defaults(struct rig *g, size_t i)
{
    static const char *const names[] = { "one", "two", "three", "four" };
    struct config_sink *c = &g->sinks[i];
    struct fault why;

    *c = (struct config_sink){
        .name = (char *)(uintptr_t)names[i],
        .options = &g->options[i],
        .field_count = 1,
        .enabled = true,
        .fallback = SIZE_MAX,
        .begin = CONFIG_BEGIN_OLDEST,
        .max_attempts = 4,
        .retry = { .base_ms = 20, .max_ms = 200, .factor = 2, .jitter = true },
        .failure_threshold = 5,
        .open_for_ms = 100,
        .ordering = CONFIG_ORDER_KEY,
        .window_events = 128,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = 1000,
        .max_dead_letters = 100000,
    };
    CHECK_INT(template_open("to.${key:-none}", &c->fields[0], &why), 0);
    g->options[i].index = (int64_t)i;
    g->world.sinks[i].up = true;
    g->world.sinks[i].session = 1;
}

void rig_init(struct rig *g, uint64_t seed, size_t sinks)
{
    memset(g, 0, sizeof *g);
    g->world.random.state = seed;
    g->world.source_up = true;
    g->world.sink_count = sinks;
    g->now_ms = 1000000;
    g->unix_ms = 1700000000000;
    g->max_size = 64 << 20;
    g->connection = (struct config_connection){ .name = (char *)(uintptr_t) "world",
        .connector = &connector_scripted };
    g->route = (struct config_route){
        .name = (char *)(uintptr_t) "orders",
        .enabled = true,
        .retain_age_ms = -1,
        .retain_bytes = -1,
        .window_events = 256,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 20,
        .sinks = g->sinks,
        .sink_count = sinks,
    };
    for (size_t i = 0; i < sinks; i++)
        sink_defaults(g, i);
}

/* After a crash what may have arrived is looked for within one window above the stored cursor; the
 * moves of the last 50 ms may lie above that. */
static void forget_beyond_window(struct rig *g)
{
    for (size_t i = 0; i < g->route.sink_count && !g->routes; i++) {
        uint64_t seq = rig_sink(g, i).frontier + (uint64_t)g->sinks[i].window_events;

        for (; seq < WORLD_SEQS_MAX; seq++)
            g->world.sinks[i].maybe[seq] = false;
    }
}

static void *copy_of(const void *at, size_t n, size_t size)
{
    void *copy = calloc(n + 1, size);

    CHECK(copy);
    if (n)
        memcpy(copy, at, n * size);
    return copy;
}

/* Arrays of its own, names and templates shared with the rig. */
static struct config *config_copy(const struct rig *g)
{
    struct config *c = copy_of(&g->config, 1, sizeof *c);

    c->connections = copy_of(c->connections, c->connection_count, sizeof *c->connections);
    c->routes = copy_of(c->routes, c->route_count, sizeof *c->routes);
    for (size_t i = 0; i < c->route_count; i++)
        c->routes[i].sinks =
            copy_of(c->routes[i].sinks, c->routes[i].sink_count, sizeof *c->routes[i].sinks);
    return c;
}

static void config_drop(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->route_count; i++)
        free(c->routes[i].sinks);
    free(c->routes);
    free(c->connections);
    free(c);
}

static void config_set(struct rig *g)
{
    g->config = (struct config){
        .connections = g->connections ? g->connections : &g->connection,
        .connection_count = g->connections ? g->connection_count : 1,
        .routes = g->routes ? g->routes : &g->route,
        .route_count = g->routes ? g->route_count : 1,
        .store_max_size = g->max_size,
        .retain_age_ms = 7 * 86400000LL,
        .retain_bytes = 1 << 30,
    };
}

int rig_try_start(struct rig *g, struct fault *why)
{
    struct store_spec store = {
        .path = STORE,
        .digest = digest_sha256,
        .max_size = g->max_size,
        .readers = 2,
        .inline_io = true,
        .seed = random_next(&g->world.random),
        .vfs = g->vfs,
    };
    struct relay_spec relay = { .seed = random_next(&g->world.random), .host = "here" };

    world_now = &g->world;
    for (size_t i = 0; i < g->route.sink_count; i++) /* what expires releases its key unseen */
        g->world.sinks[i].ordered = g->sinks[i].ordering == CONFIG_ORDER_KEY && !g->sinks[i].key &&
                                    !g->sinks[i].expire_after_ms && !g->route.key && !g->routes;
    config_set(g);
    g->running = config_copy(g);
    relay.config = g->running;
    if (store_open(&store, g->unix_ms, &g->store, why) != 0)
        goto fail;
    relay.store = g->store;
    relay.tracer = g->tracer;
    if (relay_open(&relay, g->now_ms, g->unix_ms, &g->relay, why) != 0)
        goto fail;
    forget_beyond_window(g);
    return 0;
fail:
    store_free(g->store, false);
    g->store = NULL;
    config_drop(g->running);
    g->running = NULL;
    return -1;
}

void rig_start(struct rig *g)
{
    struct fault why;

    if (rig_try_start(g, &why) != 0)
        harness_fail(__FILE__, __LINE__, "start: %s", why.text);
}

static int begin(struct rig *g, const struct relay_reload_ask *ask)
{
    struct relay_plan plan;
    struct config_problems problems = { 0 };
    int result = relay_plan(g->relay, g->next, ask, &plan, &problems);

    g->reload_why = (struct fault){ 0 };
    if (result != 0 && problems.n > 0)
        (void)fault_set(
            &g->reload_why, FAULT_INPUT, problems.at[0].code, "%s", problems.at[0].text);
    else if (result != 0) /* not even a problem found room */
        (void)fault_set(&g->reload_why, FAULT_RETRY, 0, "out of memory");
    relay_plan_done(&plan);
    config_problems_done(&problems);
    return result != 0 ? -1 : relay_reload(g->relay, g->next, ask, &g->reload_why);
}

int rig_reload(struct rig *g, const struct relay_reload_ask *ask)
{
    static const struct relay_reload_ask nothing;

    if (g->next)
        return -1;
    config_set(g);
    g->next = config_copy(g);
    if (begin(g, ask ? ask : &nothing) == 0) {
        g->reloaded = RELAY_RELOAD_RUNNING;
        return 0;
    }
    config_drop(g->next);
    g->next = NULL;
    return -1;
}

void rig_reload_now(struct rig *g, const struct relay_reload_ask *ask)
{
    if (rig_reload(g, ask) != 0)
        harness_fail(__FILE__, __LINE__, "reload: %s", g->reload_why.text);
    for (int i = 0; i < 10000 && g->reloaded == RELAY_RELOAD_RUNNING; i++)
        rig_turn(g, false);
    CHECK(g->reloaded != RELAY_RELOAD_RUNNING);
}

static void look_at_reload(struct rig *g)
{
    struct config *over = NULL;
    enum relay_reload_state state = relay_reload_state(g->relay, &over, &g->reload_why);

    if (state == RELAY_RELOAD_NONE || state == RELAY_RELOAD_RUNNING)
        return;
    CHECK(over == (state == RELAY_RELOAD_DONE ? g->running : g->next));
    if (state == RELAY_RELOAD_DONE)
        g->running = g->next;
    g->next = NULL;
    g->reloaded = state;
    config_drop(over);
}

int rig_try_turn(struct rig *g, bool store_stuck, struct fault *why)
{
    int64_t step = 1 + (int64_t)random_below(&g->world.random, 10);

    if (!store_stuck)
        store_step(g->store);
    g->now_ms += step;
    g->unix_ms += step;
    g->turns++;
    if (relay_turn(g->relay, g->now_ms, g->unix_ms, why) < 0)
        return -1;
    look_at_reload(g);
    return 0;
}

void rig_turn(struct rig *g, bool store_stuck)
{
    struct fault why;

    if (rig_try_turn(g, store_stuck, &why) != 0)
        harness_fail(__FILE__, __LINE__, "relay_turn: %s", why.text);
}

static void configs_drop(struct rig *g)
{
    config_drop(g->running);
    config_drop(g->next);
    g->running = g->next = NULL;
}

void rig_crash(struct rig *g)
{
    relay_free(g->relay);
    configs_drop(g);
    store_free(g->store, false);
    g->relay = NULL;
    g->store = NULL;
    g->crashes++;
    for (size_t i = 0; i < g->world.sink_count; i++)
        g->world.sinks[i].session++;
    world_source_lost(&g->world);
}

bool rig_end(struct rig *g, size_t turns)
{
    bool clean, drained;

    relay_drain(g->relay);
    for (; turns && !relay_drained(g->relay); turns--)
        rig_turn(g, false);
    drained = relay_drained(g->relay);
    clean = drained && !relay_unsure(g->relay);
    relay_free(g->relay);
    configs_drop(g);
    store_free(g->store, clean);
    g->relay = NULL;
    g->store = NULL;
    for (size_t i = 0; i < g->world.sink_count && !drained; i++)
        g->world.sinks[i].session++;
    world_source_lost(&g->world);
    return drained;
}

void rig_stop(struct rig *g)
{
    CHECK(rig_end(g, 10000));
}

struct relay_sink_status rig_sink(const struct rig *g, size_t sink)
{
    struct relay_sink_status s;

    relay_sink_status(g->relay, 0, sink, &s);
    return s;
}

static bool all_received(const struct rig *g)
{
    for (size_t i = 0; i < g->world.count; i++)
        if (!g->world.events[i].acknowledged)
            return false;
    for (size_t i = 0; i < g->world.gap_count; i++)
        if (!g->world.gaps[i].kept)
            return false;
    return true;
}

/* What the last turn finished, so that a query finds it. */
static bool to_disk(struct rig *g, size_t turns)
{
    uint64_t txn = store_filling(g->store) - store_empty(g->store);

    for (; turns && store_committed(g->store) < txn; turns--)
        rig_turn(g, false);
    return turns > 0;
}

bool rig_settle(struct rig *g, size_t turns)
{
    for (; turns; turns--) {
        bool pending = !all_received(g);

        for (size_t s = 0; s < g->route.sink_count; s++)
            pending = pending || rig_sink(g, s).pending || rig_sink(g, s).in_flight;
        if (!pending)
            return to_disk(g, turns);
        rig_turn(g, false);
    }
    return false;
}

void rig_done(struct rig *g)
{
    if (g->relay)
        rig_crash(g);
    for (size_t i = 0; i < g->route.sink_count; i++)
        for (size_t f = 0; f < g->sinks[i].field_count; f++)
            template_free(g->sinks[i].fields[f]);
}

void rig_query(struct rig *g, const struct query_spec *spec, struct query_answer *ret)
{
    CHECK_INT(store_query(g->store, 7, spec), 0);
    for (int i = 0; i < 1000; i++) {
        rig_turn(g, false);
        if (store_query_next(g->store, ret)) {
            if (ret->failed)
                harness_fail(__FILE__, __LINE__, "query: %s", ret->why.text);
            return;
        }
    }
    harness_fail(__FILE__, __LINE__, "no answer to a query");
}

const struct cell *rig_cell(const struct query_answer *a, size_t row, const char *column)
{
    for (size_t c = 0; c < a->rows.column_count; c++)
        if (strcmp(a->rows.columns[c], column) == 0)
            return &a->rows.cells[row * a->rows.column_count + c];
    harness_fail(__FILE__, __LINE__, "no column %s", column);
}

/* What ended without its broker's word; resolved is delivered after all. */
static bool ends_dead(struct bytes state)
{
    return bytes_equal(state, bytes_text("dead")) || bytes_equal(state, bytes_text("retrying")) ||
           bytes_equal(state, bytes_text("dropped"));
}

/* Events that have a dead letter at the sink. */
static void find_dead(struct rig *g, size_t sink, bool *dead)
{
    struct query_spec spec = {
        .kind = QUERY_DEAD_SHOW,
        .where = { .sink = g->sinks[sink].name, .route = "orders" },
        .limit = 10000,
        .deadline_ms = 100000,
        .all = true,
    };
    struct query_answer a;

    spec.kind = QUERY_DEAD;
    rig_query(g, &spec, &a);
    CHECK(!a.rows.more);
    for (size_t r = 0; r < a.rows.row_count; r++) {
        struct bytes id = rig_cell(&a, r, "id")->bytes;
        char text[64] = { 0 };
        size_t number;

        memcpy(text, id.at, id.n < 63 ? id.n : 63);
        CHECK_INT(sscanf(text, "origin-%zu", &number), 1);
        CHECK(number < WORLD_EVENTS_MAX);
        /* A dead letter of a replay says nothing of the first delivery. */
        if (ends_dead(rig_cell(&a, r, "state")->bytes) && rig_cell(&a, r, "job")->i == 0)
            dead[number] = true;
    }
    query_answer_done(&a);
}

static void check_order(const struct rig *g, size_t sink)
{
    const struct world_sink *s = &g->world.sinks[sink];
    uint32_t last[WORLD_KEYS] = { 0 };

    for (size_t i = 0; i < g->world.count; i++) {
        int key = g->world.events[i].key;

        if (key == 0 || s->first_order[i] == 0)
            continue;
        if (s->first_order[i] < last[key])
            harness_fail(__FILE__, __LINE__, "sink %zu: event %zu of key %d came before its elder",
                sink, i, key);
        last[key] = s->first_order[i];
    }
}

bool rig_dead(struct rig *g, size_t sink, char text[2][64], struct relay_dead *ret)
{
    struct query_spec spec = { .kind = QUERY_DEAD,
        .where = { .route = "orders", .sink = g->sinks[sink].name },
        .limit = 1,
        .deadline_ms = 100000 };
    struct query_answer a;

    *ret = (struct relay_dead){ .route = "orders", .sink = g->sinks[sink].name, .text = text[1] };
    rig_query(g, &spec, &a);
    if (a.rows.row_count) {
        ret->number = (uint64_t)a.rows.cells[0].i;
        ret->seq = (uint64_t)a.rows.cells[3].i;
        memcpy(text[0], a.rows.cells[6].bytes.at, a.rows.cells[6].bytes.n);
        text[0][a.rows.cells[6].bytes.n] = 0;
        text[1][0] = 0;
        ret->attempts = (uint32_t)a.rows.cells[9].i;
        ret->code = (int32_t)a.rows.cells[7].i;
        ret->job = (uint64_t)a.rows.cells[12].i;
        for (ret->reason = REASON_COUNT - 1; ret->reason > REASON_NONE; ret->reason--)
            if (strcmp(held_reason_text(ret->reason), text[0]) == 0)
                break;
    }
    query_answer_done(&a);
    return ret->number != 0;
}

static void check_sink(struct rig *g, size_t s, bool ordered)
{
    static bool dead[WORLD_EVENTS_MAX];
    struct relay_sink_status status = rig_sink(g, s);
    size_t next = g->sinks[s].fallback;
    const struct world_sink *to = &g->world.sinks[s],
                            *instead = next == SIZE_MAX ? NULL : &g->world.sinks[next];

    memset(dead, 0, sizeof dead);
    find_dead(g, s, dead);
    if (instead)
        find_dead(g, next, dead);
    for (size_t i = 0; i < g->world.count && !g->sinks[s].fallback_only; i++)
        if (g->world.events[i].acknowledged && !to->arrived[i] && !dead[i] &&
            !(instead && instead->arrived[i]))
            harness_fail(__FILE__, __LINE__, "sink %zu: event %zu is lost", s, i);
    if (!status.balanced)
        harness_fail(__FILE__, __LINE__, "sink %zu: the sum does not hold", s);
    if (status.counts.retries > to->charges)
        harness_fail(__FILE__, __LINE__,
            "sink %zu: %" PRIu64 " retries were charged for %" PRIu64 " answers", s,
            status.counts.retries, to->charges);
    if (ordered)
        check_order(g, s);
}

/* Each gap that the source told is on record, once. */
static void check_gaps(struct rig *g)
{
    struct query_spec spec = {
        .kind = QUERY_GAPS, .where = { .route = "orders" }, .limit = 1000, .deadline_ms = 100000
    };
    size_t found[WORLD_GAPS_MAX] = { 0 };
    struct query_answer a;

    rig_query(g, &spec, &a);
    for (size_t r = 0; r < a.rows.row_count; r++)
        for (size_t i = 0; i < g->world.gap_count; i++)
            found[i] += rig_cell(&a, r, "start_ms")->i == g->world.gaps[i].start_ms &&
                        rig_cell(&a, r, "count")->i == (int64_t)g->world.gaps[i].count;
    for (size_t i = 0; i < g->world.gap_count; i++)
        if (found[i] != 1)
            harness_fail(__FILE__, __LINE__, "gap %zu is on record %zu times", i, found[i]);
    query_answer_done(&a);
}

void rig_check(struct rig *g, bool ordered)
{
    struct relay_route_status route;

    relay_route_status(g->relay, 0, &route);
    if (g->world.keep_position && route.next_seq != g->world.count + 1)
        harness_fail(__FILE__, __LINE__, "%zu events were logged as %" PRIu64, g->world.count,
            route.next_seq - 1);
    for (size_t s = 0; s < g->route.sink_count; s++)
        check_sink(g, s, ordered);
    if (g->world.gap_count)
        check_gaps(g);
}

void rig_tell(const struct rig *g)
{
    size_t waiting = 0;

    for (size_t i = 0; i < g->world.count; i++)
        waiting += !g->world.events[i].acknowledged;
    fprintf(stderr, "%zu of %zu events not acknowledged, %" PRIu64 " crashes, %" PRIu64 " turns\n",
        waiting, g->world.count, g->crashes, g->turns);
    for (size_t i = 0; i < g->route.sink_count; i++) {
        struct relay_sink_status s = rig_sink(g, i);

        fprintf(stderr,
            "sink %s: pending %" PRIu64 ", in flight %" PRIu64 ", held %" PRIu64 ", parked %" PRIu64
            ", dead %" PRIu64 ", breaker %d, frontier %" PRIu64 ", error '%s'\n",
            s.name, s.pending, s.in_flight, s.counts.held, s.parked, s.counts.dead, (int)s.breaker,
            s.frontier, s.error);
    }
}
