#include "tests/sim/deeds.h"

#include "tests/harness.h"

#include <inttypes.h>

#define COMMIT_TURNS 50
#define WHO "uid 0"

static struct {
    uint64_t replays[DEEDS_REPLAYS_MAX]; /* numbers */
    size_t replay_count;
} deeds;

void deeds_init(void)
{
    deeds.replay_count = 0;
}

/* ---- routes and sinks ---- */

/* Being changed is the one reason for a no. */
static void check_answer(const struct rig *g, int result, const struct fault *why)
{
    if (result != 0 && !(g->next && why->kind == FAULT_RETRY))
        harness_fail(__FILE__, __LINE__, "refused: %s", why->text);
}

static void pause(struct rig *g, const char *sink, bool paused)
{
    struct fault why = { 0 };

    check_answer(g, relay_pause(g->relay, "orders", sink, paused, WHO, g->unix_ms, &why), &why);
}

void deeds_pause(struct rig *g, size_t sink)
{
    pause(g, g->sinks[sink].name, !rig_sink(g, sink).paused);
}

void deeds_pause_route(struct rig *g)
{
    pause(g, NULL, true);
}

void deeds_resume_route(struct rig *g)
{
    pause(g, NULL, false);
}

void deeds_drain(struct rig *g, size_t sink)
{
    struct fault why = { 0 };

    check_answer(g,
        relay_drain_one(g->relay, "orders", sink == SIZE_MAX ? NULL : g->sinks[sink].name, &why),
        &why);
}

void deeds_breaker(struct rig *g, size_t sink, bool open)
{
    struct fault why = { 0 };

    check_answer(g, relay_breaker_set(g->relay, "orders", g->sinks[sink].name, open, &why), &why);
}

/* ---- dead letters ---- */

void deeds_retry(struct rig *g, size_t sink)
{
    struct relay_dead d;
    struct fault why;
    char text[2][64];

    if (rig_dead(g, sink, text, &d))
        (void)relay_dead_retry(g->relay, &d, g->unix_ms, &why);
}

void deeds_drop(struct rig *g, size_t sink)
{
    struct relay_dead d;
    struct fault why;
    char text[2][64];

    if (rig_dead(g, sink, text, &d))
        (void)relay_dead_drop(g->relay, &d, g->unix_ms, &why);
}

/* Returns whether all that was asked until now is on disk. */
static bool wait_for_disk(struct rig *g)
{
    uint64_t txn = store_filling(g->store);

    for (int i = 0; i < COMMIT_TURNS && store_committed(g->store) < txn; i++)
        rig_turn(g, false);
    return store_committed(g->store) >= txn;
}

/* The first one that is not on its way. Its texts are the caller's: number and place are enough. */
static bool first_dead(struct rig *g, size_t sink, struct relay_dead *ret)
{
    struct query_spec spec = { .kind = QUERY_DEAD,
        .where = { .route = "orders", .sink = g->sinks[sink].name },
        .limit = 1000,
        .deadline_ms = 100000 };
    struct query_answer a;
    bool found = false;

    rig_query(g, &spec, &a);
    for (size_t r = 0; r < a.rows.row_count && !found; r++) {
        found = bytes_equal(rig_cell(&a, r, "state")->bytes, bytes_text("dead")) &&
                rig_cell(&a, r, "job")->i == 0;
        *ret = (struct relay_dead){ .route = "orders",
            .sink = g->sinks[sink].name,
            .number = (uint64_t)rig_cell(&a, r, "number")->i,
            .seq = (uint64_t)rig_cell(&a, r, "seq")->i };
    }
    query_answer_done(&a);
    return found;
}

void deeds_mend(struct rig *g, size_t sink)
{
    struct world_sink *to = &g->world.sinks[sink];
    struct relay_dead d, after;
    struct fault why;
    char body[64];
    struct event e;

    /* What was never given to the broker has no number that it knows. */
    if (!first_dead(g, sink, &d) || d.seq >= WORLD_SEQS_MAX || !to->named[d.seq])
        return;
    (void)snprintf(body, sizeof body, "event %d " WORLD_MENDED, to->named[d.seq] - 1);
    e = (struct event){ .address = bytes_text("from"), .body = bytes_text(body) };
    if (relay_dead_edit(g->relay, &d, &e, g->unix_ms, &why) != 0)
        return;
    to->mended[d.seq] |= WORLD_MAY_BE_MENDED;
    /* Another deed on the same one may have been before it, and taken it away. */
    if (wait_for_disk(g) && first_dead(g, sink, &after) && after.number == d.number)
        to->mended[d.seq] |= WORLD_IS_MENDED;
}

/* ---- replays ---- */

void deeds_replay(struct rig *g, size_t sink, int which)
{
    struct relay_route_status route;
    struct query_answer a;
    struct relay_replay ask = { .plan = &a, .selection = "a part" };
    struct query_spec spec = {
        .kind = QUERY_PLAN, .where = { .route = "orders" }, .deadline_ms = 100000
    };
    uint64_t number, left_out;
    struct fault why;

    relay_route_status(g->relay, 0, &route);
    if (deeds.replay_count == DEEDS_REPLAYS_MAX || route.next_seq < 2)
        return;
    spec.where.first_seq = 1 + (uint64_t)which * 7919 % (route.next_seq - 1);
    spec.where.last_seq = spec.where.first_seq + (uint64_t)which % 97;
    ask.sink = which % 2 ? g->sinks[sink].name : NULL;
    ask.rate = which % 5 ? 0 : 400000;
    rig_query(g, &spec, &a);
    if (relay_replay_plan(g->relay, &ask, g->unix_ms, &number, &left_out, &why) == 0) {
        deeds.replays[deeds.replay_count++] = number;
        CHECK_INT(relay_replay_do(g->relay, number, RELAY_REPLAY_RUN, g->unix_ms, &why), 0);
    } else if (!g->next && rig_sink(g, sink).enabled) {
        harness_fail(__FILE__, __LINE__, "replay: %s", why.text);
    }
    query_answer_done(&a);
}

/* Refused where it does not fit the replay's state. */
static void say(struct rig *g, uint64_t number, enum relay_replay_verb verb)
{
    struct fault why;

    (void)relay_replay_do(g->relay, number, verb, g->unix_ms, &why);
}

void deeds_replay_verb(struct rig *g, int which)
{
    static const enum relay_replay_verb verbs[] = { RELAY_REPLAY_PAUSE, RELAY_REPLAY_RESUME,
        RELAY_REPLAY_CANCEL };

    if (deeds.replay_count)
        say(g, deeds.replays[(size_t)which / 3 % deeds.replay_count], verbs[which % 3]);
}

/* ---- the end ---- */

void deeds_end(struct rig *g)
{
    deeds_resume_route(g);
    for (size_t i = 0; i < g->route.sink_count; i++)
        deeds_breaker(g, i, false);
    /* A crash takes back what was asked and was not on disk: planned ones are run now. */
    for (size_t i = 0; i < deeds.replay_count; i++) {
        say(g, deeds.replays[i], RELAY_REPLAY_RUN);
        say(g, deeds.replays[i], RELAY_REPLAY_RESUME);
    }
}

bool deeds_done(const struct rig *g)
{
    for (size_t i = 0; i < deeds.replay_count; i++)
        if (relay_replay_find(g->relay, deeds.replays[i]))
            return false;
    return true;
}

void deeds_check(struct rig *g)
{
    struct query_spec spec = { .kind = QUERY_JOBS, .limit = 10000, .deadline_ms = 100000 };
    struct query_answer a;

    rig_query(g, &spec, &a);
    for (size_t r = 0; r < a.rows.row_count; r++) {
        int64_t selected = rig_cell(&a, r, "selected")->i, ended = rig_cell(&a, r, "delivered")->i +
                                                                   rig_cell(&a, r, "dead")->i +
                                                                   rig_cell(&a, r, "dropped")->i;
        bool done = bytes_equal(rig_cell(&a, r, "state")->bytes, bytes_text("done"));

        if (done ? ended != selected : ended > selected)
            harness_fail(__FILE__, __LINE__,
                "replay %" PRId64 " is %s: of %" PRId64 " events %" PRId64 " ended",
                rig_cell(&a, r, "number")->i, done ? "done" : "not done", selected, ended);
    }
    query_answer_done(&a);
}
