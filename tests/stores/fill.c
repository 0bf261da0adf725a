/* Fills a small store with something of everything, for tests/stores/make. What it writes is what
 * tests/unit/test_store_versions.c looks for, in every version: change neither. */
#include "tests/unit/store_rig.h"

#include <stdarg.h>

void harness_fail(const char *file, int line, const char *format, ...)
{
    va_list ap;

    (void)fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, format);
    (void)vfprintf(stderr, format, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    exit(1);
}

void harness_skip(const char *why)
{
    harness_fail(__FILE__, __LINE__, "%s", why);
}

static void fill_log(struct store *s, const struct store_route *r)
{
    uint64_t next = 1;

    /* Three chunks, then small ones of one event each. */
    for (int i = 0; i < 3; i++) {
        store_rig_append(s, r->id, &next, 100, RIG_TIME + i * 1000, 60, false);
        store_rig_commit(s, RIG_TIME + i * 1000);
    }
    for (int i = 0; i < 20; i++) {
        store_rig_append(s, r->id, &next, 1, RIG_TIME + 60000 + i, 60, true);
        store_rig_commit(s, RIG_TIME + 60000 + i);
    }
}

static void fill_held(struct store *s, uint64_t route, uint64_t sink)
{
    static const enum held_state states[] = { HELD_WAITING, HELD_DEAD, HELD_RESOLVED,
        HELD_DROPPED };
    uint64_t seqs[] = { 11, 12, 13, 14 }, filtered[] = { 20, 21 };
    struct event event = { .address = bytes_text("orders.new"),
        .id = bytes_text("e-11"),
        .body = bytes_text("what came in"),
        .received_ms = RIG_TIME };

    for (size_t i = 0; i < 4; i++) {
        struct held h = { .number = store_next_held(s),
            .route_id = route,
            .sink_id = sink,
            .seq = seqs[i],
            .state = states[i],
            .reason = REASON_NACKED,
            .code = 312,
            .text = "no",
            .attempts = 2,
            .generation = i == 2 ? store_next_generation(s) : 0,
            .due_in_ms = 1000,
            .expires_in_ms = -1,
            .changed_ms = RIG_TIME,
            .order_key = bytes_text("k") };
        struct attempt a = {
            .sink_id = sink, .seq = seqs[i], .number = 1, .time_ms = RIG_TIME, .fate = 4
        };

        store_held_put(s, &h, &event);
        store_attempt_put(s, &a);
    }
    store_outcome_put(s, sink, OUTCOME_HELD, seqs, 4);
    store_outcome_put(s, sink, OUTCOME_FILTERED, filtered, 2);
}

static void fill_rest(struct store *s, uint64_t route, uint64_t sink)
{
    struct store_leg leg = { .route_id = route, .sink_id = sink, .frontier = 1, .selected = 5 };
    struct store_job job = { .number = store_next_job(s),
        .state = JOB_PAUSED,
        .created_ms = RIG_TIME,
        .generation = store_next_generation(s),
        .selection = (char *)(uintptr_t) "--route orders",
        .legs = &leg,
        .leg_count = 1 };

    if (ranges_add(&leg.set, 1, 5) != 0)
        harness_fail(__FILE__, __LINE__, "out of memory");
    store_job_put(s, &job);
    store_position_put(s, route, "rabbit", bytes_text("orders/3"), bytes_text("319"));
    store_gap_put(
        s, route, "rabbit", RIG_TIME, RIG_TIME + 5, 2, bytes_text("alerts"), bytes_text("a cut"));
    store_pause_put(s, route, sink, true, "uid 1000", RIG_TIME);
    store_audit_put(s, RIG_TIME, 1000, 1, "pause", "orders/kafka", "for the test", "done");
    ranges_done(&leg.set);
}

int main(int argc, char **argv)
{
    struct store_spec spec = { .path = argc > 1 ? argv[1] : RIG_STORE, .inline_io = true };
    struct store *s = store_rig_open_with(spec);
    struct store_route r, idle;
    struct store_sink k;
    struct store_counts counts = {
        .delivered = 194, .held = 1, .dead = 1, .dropped_filter = 2, .dropped_person = 1
    };

    store_rig_route(s, "orders", &r);
    store_rig_route(s, "idle", &idle);
    store_rig_sink(s, r.id, "kafka", &k);
    fill_log(s, &r);
    fill_held(s, r.id, k.id);
    fill_rest(s, r.id, k.id);
    /* Up to 196 all are finished, and 200 to 202. */
    if (ranges_add(&k.above, 200, 202) != 0)
        harness_fail(__FILE__, __LINE__, "out of memory");
    store_cursor_put(s, k.id, 197, &k.above, &counts);
    store_rig_commit(s, RIG_TIME + 61000);
    ranges_done(&k.above);
    store_free(s, false);
    return 0;
}
