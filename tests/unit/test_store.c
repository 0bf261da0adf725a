/* What the log promises (store/store.h), looked at from outside: after reopening, over threads, by
 * age, by the eyes of people. */
#include "tests/unit/store_rig.h"

#include <sys/wait.h>
#include <unistd.h>

static void put_cursor(
    struct store *s, uint64_t sink_id, uint64_t frontier, struct store_counts counts)
{
    struct ranges none = { 0 };

    store_cursor_put(s, sink_id, frontier, &none, &counts);
}

TEST(store_keeps_events_over_a_clean_end)
{
    struct store *s = store_rig_open();
    struct store_route r;
    uint64_t next;

    CHECK(store_was_clean(s));
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.first_seq, 1);
    CHECK_INT(r.next_seq, 1);
    next = r.next_seq;
    for (int i = 0; i < 20; i++) {
        store_rig_append(s, r.id, &next, (size_t)i + 1, RIG_TIME + i, 100, false);
        store_rig_commit(s, RIG_TIME + i);
    }
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    store_free(s, true);

    s = store_rig_open();
    CHECK(store_was_clean(s));
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, next);
    CHECK_INT(r.last_received_ms, RIG_TIME + 19);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    CHECK_INT(store_rig_check_log(s, r.id, 57), next);
    store_free(s, false);
    s = store_rig_open();
    CHECK(!store_was_clean(s));
    store_free(s, false);
}

TEST(store_forgets_what_was_not_committed)
{
    struct store *s = store_rig_open();
    struct store_route r;
    uint64_t next = 1, lost;

    store_rig_route(s, "orders", &r);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 10, false);
    store_rig_commit(s, RIG_TIME);
    lost = next;
    store_rig_append(s, r.id, &lost, 10, RIG_TIME, 10, false);
    CHECK(store_submit(s, RIG_TIME));
    CHECK(store_busy(s));
    CHECK(!store_submit(s, RIG_TIME) || store_empty(s));
    store_free(s, false);

    s = store_rig_open();
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.next_seq, next);
    store_free(s, false);
}

/* Threads, and a process that ends in the middle without a word. */
TEST(store_keeps_what_it_called_committed_when_killed)
{
    struct store_route r;
    struct store *s;
    uint64_t told = 0;
    int tell[2];
    pid_t pid;

    CHECK(pipe(tell) == 0);
    pid = fork();
    if (pid == 0) {
        uint64_t next = 1;

        s = store_rig_open_with((struct store_spec){ 0 });
        store_rig_route(s, "orders", &r);
        for (int i = 0; i < 50; i++) {
            store_rig_append(s, r.id, &next, 37, RIG_TIME + i, 200, true);
            store_rig_commit(s, RIG_TIME + i);
            if (write(tell[1], &next, sizeof next) != sizeof next)
                _exit(1);
        }
        store_rig_append(s, r.id, &next, 37, RIG_TIME + 50, 200, true);
        (void)store_submit(s, RIG_TIME + 50);
        _exit(0);
    }
    (void)close(tell[1]);
    for (uint64_t next; read(tell[0], &next, sizeof next) == sizeof next;)
        told = next;
    CHECK_INT(waitpid(pid, NULL, 0), pid);

    s = store_rig_open_with((struct store_spec){ 0 });
    CHECK(!store_was_clean(s));
    store_rig_route(s, "orders", &r);
    CHECK_INT(told, 50 * 37 + 1);
    CHECK(r.next_seq == told || r.next_seq == told + 37);
    CHECK_INT(store_rig_check_log(s, r.id, 1), r.next_seq);
    store_free(s, true);
}

TEST(store_refuses_a_second_process_and_names_the_first)
{
    struct store *s = store_rig_open(), *other = NULL;
    struct fault why = { 0 };
    char pid[32];

    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &other, &why), -1);
    CHECK_INT(why.kind, FAULT_INPUT);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    CHECK_CONTAINS(why.text, pid);
    store_free(s, false);
    s = store_rig_open();
    store_free(s, true);
}

TEST(store_refuses_what_is_no_store)
{
    struct store *s = NULL;
    struct fault why = { 0 };
    FILE *f = fopen(RIG_STORE, "w");

    fputs("this is a letter, not a database, and longer than a hundred bytes so that it could be "
          "taken for a header of one",
        f);
    CHECK_INT(fclose(f), 0);
    CHECK_INT(store_rig_try((struct store_spec){ .inline_io = true }, &s, &why), -1);
    CHECK(why.kind == FAULT_BROKEN || why.kind == FAULT_INPUT);
}

TEST(store_keeps_routes_and_sinks_under_new_names)
{
    struct store *s = store_rig_open();
    struct store_route r, again;
    struct store_sink k, k2;
    struct fault why = { 0 };

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(store_route_open(s, "orders2", "orders", &again, &why), 0);
    CHECK_INT(again.id, r.id);
    CHECK_INT(store_sink_open(s, r.id, "k2", "kafka", STORE_BEGIN_OLDEST, 0, &k2, &why), 0);
    CHECK_INT(k2.id, k.id);
    store_rig_route(s, "orders", &again);
    CHECK(again.id != r.id);
    ranges_done(&k.above);
    ranges_done(&k2.above);
    store_free(s, true);
}

TEST(store_begins_sinks_where_they_are_told_to)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink k;
    struct fault why = { 0 };
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    for (int i = 0; i < 10; i++) {
        store_rig_append(s, r.id, &next, 5, RIG_TIME + i * 1000, 10, false);
        store_rig_commit(s, RIG_TIME);
    }
    CHECK_INT(store_sink_open(s, r.id, "now", NULL, STORE_BEGIN_NOW, 0, &k, &why), 0);
    CHECK_INT(k.begin_seq, 51);
    CHECK_INT(k.frontier, 51);
    ranges_done(&k.above);
    CHECK_INT(store_sink_open(s, r.id, "old", NULL, STORE_BEGIN_OLDEST, 0, &k, &why), 0);
    CHECK_INT(k.begin_seq, 1);
    ranges_done(&k.above);
    CHECK_INT(
        store_sink_open(s, r.id, "time", NULL, STORE_BEGIN_TIME, RIG_TIME + 2500, &k, &why), 0);
    CHECK_INT(k.begin_seq, 16);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(store_keeps_cursors_with_their_ranges_and_counts)
{
    struct store *s = store_rig_open();
    struct store_counts counts = { .delivered = 7,
        .held = 1,
        .dead = 2,
        .dropped_loop = 3,
        .diverted = 4,
        .reordered = 5,
        .retries = 6 };
    struct ranges above = { 0 };
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(ranges_add(&above, 12, 14), 0);
    CHECK_INT(ranges_add(&above, 18, 18), 0);
    store_rig_append(s, r.id, &next, 20, RIG_TIME, 10, false);
    put_cursor(s, k.id, 5, (struct store_counts){ .delivered = 4 });
    store_cursor_put(s, k.id, 11, &above, &counts);
    store_rig_commit(s, RIG_TIME);
    store_free(s, false);
    ranges_done(&k.above);

    s = store_rig_open();
    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    CHECK_INT(k.frontier, 11);
    CHECK_INT(k.above.n, 2);
    CHECK_INT(k.above.at[1].first, 18);
    CHECK_INT(memcmp(&k.counts, &counts, sizeof counts), 0);
    ranges_done(&k.above);
    ranges_done(&above);
    store_free(s, false);
}

TEST(store_keeps_positions_and_forgets_those_it_is_told_to)
{
    struct store *s = store_rig_open();
    struct store_position *at;
    struct store_route r;
    struct fault why = { 0 };
    size_t count;

    store_rig_route(s, "clicks", &r);
    store_position_put(s, r.id, "kafka", bytes_text("clicks/0"), bytes_text("17"));
    store_position_put(s, r.id, "kafka", bytes_text("clicks/1"), bytes_of("a\0b", 3));
    store_position_put(s, r.id, "other", bytes_text("clicks/0"), bytes_text("99"));
    store_rig_commit(s, RIG_TIME);
    store_position_put(s, r.id, "kafka", bytes_text("clicks/0"), BYTES_NONE);
    store_position_put(s, r.id, "kafka", bytes_text("clicks/1"), bytes_of("c\0d", 3));
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_positions(s, r.id, "kafka", &at, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK_TEXT(at[0].name, "clicks/1");
    CHECK(bytes_equal(at[0].value, bytes_of("c\0d", 3)));
    store_positions_free(at, count);
    store_free(s, true);
}

/* ---- held ---- */

struct seen {
    size_t n;
    struct held rows[8];
    char text[8][64];
};

static void see_held(void *arg, const struct held *h, size_t bytes)
{
    struct seen *seen = arg;

    CHECK(bytes > 0);
    CHECK(seen->n < 8);
    seen->rows[seen->n] = *h;
    (void)snprintf(seen->text[seen->n], 64, "%s", h->text ? h->text : "");
    seen->n++;
}

static struct held held_row(struct store *s, uint64_t route, uint64_t sink, uint64_t seq)
{
    return (struct held){ .number = store_next_held(s),
        .route_id = route,
        .sink_id = sink,
        .seq = seq,
        .state = HELD_WAITING,
        .reason = REASON_NACKED,
        .code = 312,
        .text = "no route",
        .attempts = 2,
        .generation = store_next_generation(s),
        .due_in_ms = 9999999999,
        .expires_in_ms = -1,
        .first_sent_ms = RIG_TIME,
        .unsure = true,
        .changed_ms = RIG_TIME + 1,
        .order_key = bytes_text("k-1") };
}

TEST(store_holds_events_with_their_own_copy)
{
    struct event event = { .address = bytes_text("a"),
        .id = bytes_text("i"),
        .body = bytes_text("the body"),
        .received_ms = RIG_TIME };
    struct event edited = {
        .address = bytes_text("b"), .id = bytes_text("i"), .body = bytes_text("a better body")
    };
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct seen seen = { 0 };
    struct store_read read;
    struct store_route r;
    struct store_sink k;
    struct held a, b, c;
    uint64_t numbers[3];
    struct event e;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    a = held_row(s, r.id, k.id, 9);
    b = held_row(s, r.id, k.id, 4);
    c = held_row(s, r.id, k.id, 5);
    c.state = HELD_DEAD;
    store_held_put(s, &a, &event);
    store_held_put(s, &b, &event);
    store_held_put(s, &c, &event);
    store_rig_commit(s, RIG_TIME);
    a.attempts = 3;
    a.state = HELD_RETRYING;
    store_held_put(s, &a, NULL);
    store_held_edit(s, a.number, &edited);
    store_rig_commit(s, RIG_TIME);
    store_free(s, false);

    s = store_rig_open();
    CHECK(store_next_held(s) > c.number);
    CHECK(store_next_generation(s) > c.generation);
    CHECK_INT(store_held_load(s, k.id, see_held, &seen, &why), 0);
    CHECK_INT(seen.n, 2);
    CHECK_INT(seen.rows[0].seq, 4);
    CHECK_INT(seen.rows[0].due_in_ms, 3600 * 1000);
    CHECK_INT(seen.rows[0].code, 312);
    CHECK(seen.rows[0].unsure);
    CHECK_INT(seen.rows[0].expires_in_ms, -1);
    CHECK_TEXT(seen.text[0], "no route");
    CHECK_INT(seen.rows[1].attempts, 3);
    CHECK_INT(seen.rows[1].state, HELD_RETRYING);
    numbers[0] = a.number;
    numbers[1] = 12345;
    numbers[2] = c.number;
    CHECK_INT(store_read_held(s, 3, numbers, 3), 0);
    store_rig_read(s, &read);
    CHECK_INT(read.count, 3);
    CHECK(read.blocks[1] == NULL);
    block_event(read.blocks[0], 0, &e);
    CHECK(bytes_equal(e.body, edited.body));
    CHECK_INT(e.seq, 9);
    block_event(read.blocks[2], 0, &e);
    CHECK(bytes_equal(e.body, event.body));
    store_read_done(&read);
    store_held_remove(s, b.number);
    store_rig_commit(s, RIG_TIME);
    seen.n = 0;
    CHECK_INT(store_held_load(s, k.id, see_held, &seen, &why), 0);
    CHECK_INT(seen.n, 1);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(store_keeps_jobs_with_their_frozen_sets)
{
    struct store *s = store_rig_open();
    struct store_leg leg = {
        .route_id = 1, .sink_id = 2, .frontier = 12, .selected = 9, .delivered = 3
    };
    struct store_job job = { .number = store_next_job(s),
        .state = JOB_RUNNING,
        .created_ms = RIG_TIME,
        .generation = 5,
        .rate = 100,
        .raw = true,
        .uid = 1000,
        .digest = 0xfedcba9876543210u,
        .selection = (char *)(uintptr_t) "--route orders",
        .legs = &leg,
        .leg_count = 1 };
    struct store_job *jobs;
    struct fault why = { 0 };
    size_t count;

    CHECK_INT(ranges_add(&leg.set, 10, 18), 0);
    CHECK_INT(ranges_add(&leg.above, 15, 15), 0);
    store_job_put(s, &job);
    store_rig_commit(s, RIG_TIME);
    store_free(s, false);
    s = store_rig_open();
    CHECK_INT(store_jobs_load(s, &jobs, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK_INT(jobs[0].digest == job.digest, 1);
    CHECK_TEXT(jobs[0].selection, "--route orders");
    CHECK_INT(jobs[0].leg_count, 1);
    CHECK_INT(jobs[0].legs[0].frontier, 12);
    CHECK_INT(ranges_count(&jobs[0].legs[0].set), 9);
    CHECK(ranges_have(&jobs[0].legs[0].above, 15));
    CHECK(store_next_job(s) > job.number);
    store_job_done(&jobs[0]);
    free(jobs);
    job.state = JOB_DONE;
    store_job_put(s, &job);
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_jobs_load(s, &jobs, &count, &why), 0);
    CHECK_INT(count, 0);
    free(jobs);
    ranges_done(&leg.set);
    ranges_done(&leg.above);
    store_free(s, true);
}

TEST(store_keeps_pauses_until_they_are_lifted)
{
    struct store *s = store_rig_open();
    struct store_pause *at;
    struct fault why = { 0 };
    size_t count;

    store_pause_put(s, 3, 0, true, "uid 7 (ann)", RIG_TIME);
    store_pause_put(s, 3, 4, true, "uid 7 (ann)", RIG_TIME);
    store_rig_commit(s, RIG_TIME);
    store_pause_put(s, 3, 0, false, "uid 7 (ann)", RIG_TIME + 1);
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_pauses(s, &at, &count, &why), 0);
    CHECK_INT(count, 1);
    CHECK_INT(at[0].sink_id, 4);
    CHECK_TEXT(at[0].who, "uid 7 (ann)");
    free(at);
    store_free(s, true);
}

/* ---- retention ---- */

static void keep_house(struct store *s, int64_t unix_ms, bool clock_ok, int times)
{
    for (int i = 0; i < times; i++) {
        struct fault why = { 0 };

        store_housekeep(s, unix_ms + i * 1000, clock_ok);
        store_step(s);
        if (store_collect(s, &why) != 0)
            harness_fail(__FILE__, __LINE__, "store_collect: %s", why.text);
    }
}

static uint64_t first_seq(struct store *s)
{
    struct store_route r;

    store_rig_route(s, "orders", &r);
    return r.first_seq;
}

TEST(retention_stops_at_the_slowest_sink)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink slow, fast;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "slow", &slow);
    store_rig_sink(s, r.id, "fast", &fast);
    store_route_retain(s, r.id, 1000, -1);
    for (int i = 0; i < 10; i++) {
        store_rig_append(s, r.id, &next, 10, RIG_TIME, 300000, true);
        store_rig_commit(s, RIG_TIME);
    }
    put_cursor(s, fast.id, next, (struct store_counts){ .delivered = 100 });
    put_cursor(s, slow.id, 35, (struct store_counts){ .delivered = 34 });
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 86400000, false, 3);
    CHECK_INT(first_seq(s), 1); /* clocks disagree: nothing goes by age */
    keep_house(s, RIG_TIME + 86400000, true, 3);
    CHECK_INT(first_seq(s), 31);
    put_cursor(s, slow.id, next, (struct store_counts){ .delivered = 100 });
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 86400000, true, 3);
    store_rig_route(s, "orders", &r);
    CHECK_INT(r.first_seq, next);
    CHECK_INT(r.next_seq, next);
    CHECK_INT(r.last_received_ms, RIG_TIME); /* times of receipt never go back */
    store_rig_append(s, r.id, &next, 10, RIG_TIME + 5, 10, false);
    store_rig_commit(s, RIG_TIME);
    CHECK_INT(store_rig_check_log(s, r.id, first_seq(s)), next);
    ranges_done(&slow.above);
    ranges_done(&fast.above);
    store_free(s, true);
}

TEST(retention_by_size_keeps_the_newest)
{
    struct store *s = store_rig_open();
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_route_retain(s, r.id, -1, 10 * 100000);
    for (int i = 0; i < 30; i++) {
        store_rig_append(s, r.id, &next, 1, RIG_TIME, 100000, true);
        store_rig_commit(s, RIG_TIME);
    }
    put_cursor(s, k.id, next, (struct store_counts){ .delivered = 30 });
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME, true, 5);
    CHECK(first_seq(s) >= 20 && first_seq(s) <= 23);
    CHECK_INT(store_rig_check_log(s, r.id, first_seq(s)), next);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(retention_spares_what_a_replay_still_needs)
{
    struct store *s = store_rig_open();
    struct store_leg leg = { .frontier = 22, .selected = 40 };
    struct store_job job = { .state = JOB_RUNNING, .legs = &leg, .leg_count = 1 };
    struct store_route r;
    struct store_sink k;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_route_retain(s, r.id, 1000, -1);
    for (int i = 0; i < 10; i++) {
        store_rig_append(s, r.id, &next, 10, RIG_TIME, 300000, true);
        store_rig_commit(s, RIG_TIME);
    }
    job.number = store_next_job(s);
    leg.route_id = r.id;
    leg.sink_id = k.id;
    CHECK_INT(ranges_add(&leg.set, 1, 40), 0);
    store_job_put(s, &job);
    put_cursor(s, k.id, next, (struct store_counts){ .delivered = 100 });
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 86400000, true, 3);
    CHECK_INT(first_seq(s), 21);
    job.state = JOB_CANCELLED;
    store_job_put(s, &job);
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 86400000, true, 3);
    CHECK_INT(first_seq(s), next);
    ranges_done(&leg.set);
    ranges_done(&k.above);
    store_free(s, true);
}

TEST(retention_does_not_wait_for_a_fallback_sink)
{
    struct store *s = store_rig_open();
    struct fault why = { 0 };
    struct store_known *known;
    struct store_route r;
    struct store_sink k, fallback;
    uint64_t next = 1;
    size_t count;

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "kafka", &k);
    store_rig_sink(s, r.id, "spare", &fallback);
    CHECK_INT(store_sink_fallback(s, fallback.id, true, &why), 0);
    store_route_retain(s, r.id, 1000, -1);
    store_rig_append(s, r.id, &next, 10, RIG_TIME, 100, false);
    put_cursor(s, k.id, 11, (struct store_counts){ .delivered = 10 });
    store_rig_commit(s, RIG_TIME);
    keep_house(s, RIG_TIME + 86400000, true, 3);
    CHECK_INT(first_seq(s), next);
    CHECK_INT(store_known(s, &known, &count, &why), 0);
    CHECK_INT(count, 3);
    CHECK_TEXT(known[2].sink, "spare");
    CHECK_INT(known[2].pending, 0);
    free(known);
    ranges_done(&k.above);
    ranges_done(&fallback.above);
    store_free(s, true);
}

/* ---- questions ---- */

static void ask(struct store *s, struct query_spec spec, struct query_answer *a)
{
    spec.limit = spec.limit ? spec.limit : 100;
    store_rig_query(s, &spec, a);
}

TEST(trace_says_what_became_of_an_event_at_each_sink)
{
    struct event event = { .address = bytes_text("a"),
        .id = bytes_text("e-5"),
        .body = bytes_text("b"),
        .received_ms = RIG_TIME };
    struct store *s = store_rig_open();
    struct query_answer a;
    struct store_route r;
    struct store_sink one, two;
    struct held h;
    uint64_t next = 1, filtered[] = { 3, 6 }, dead[] = { 5 };

    store_rig_route(s, "orders", &r);
    store_rig_sink(s, r.id, "one", &one);
    store_rig_sink(s, r.id, "two", &two);
    for (int i = 0; i < 5; i++)
        store_rig_append(s, r.id, &next, 4, RIG_TIME + i, 20, false);
    store_rig_commit(s, RIG_TIME);
    h = held_row(s, r.id, one.id, 5);
    h.state = HELD_DEAD;
    store_held_put(s, &h, &event);
    store_outcome_put(s, one.id, OUTCOME_HELD, dead, 1);
    store_outcome_put(s, one.id, OUTCOME_FILTERED, filtered, 2);
    put_cursor(
        s, one.id, 9, (struct store_counts){ .delivered = 5, .dead = 1, .dropped_filter = 2 });
    store_rig_commit(s, RIG_TIME);

    ask(s, (struct query_spec){ .kind = QUERY_TRACE, .where = { .id = "e-5" } }, &a);
    CHECK_INT(a.rows.row_count, 2);
    CHECK_TEXT(store_rig_text(&a.rows, 0, "sink"), "one");
    CHECK_TEXT(store_rig_text(&a.rows, 0, "fate"), "dead");
    CHECK_TEXT(store_rig_text(&a.rows, 0, "reason"), "nacked");
    CHECK_TEXT(store_rig_text(&a.rows, 1, "fate"), "pending");
    query_answer_done(&a);
    ask(s,
        (struct query_spec){
            .kind = QUERY_TRACE, .where = { .route = "orders", .first_seq = 6, .last_seq = 6 } },
        &a);
    CHECK_INT(a.rows.row_count, 2);
    CHECK_TEXT(store_rig_text(&a.rows, 0, "fate"), "filtered");
    CHECK_TEXT(store_rig_text(&a.rows, 0, "id"), "e-6");
    query_answer_done(&a);
    ask(s, (struct query_spec){ .kind = QUERY_TRACE, .where = { .id = "e-4" } }, &a);
    CHECK_TEXT(store_rig_text(&a.rows, 0, "fate"), "delivered");
    query_answer_done(&a);
    ask(s, (struct query_spec){ .kind = QUERY_TRACE, .where = { .id = "nobody" } }, &a);
    CHECK_INT(a.rows.row_count, 0);
    query_answer_done(&a);
    ask(s, (struct query_spec){ .kind = QUERY_DEAD, .reason = "nacked" }, &a);
    CHECK_INT(a.rows.row_count, 1);
    CHECK_TEXT(store_rig_text(&a.rows, 0, "id"), "e-5");
    query_answer_done(&a);
    ask(s, (struct query_spec){ .kind = QUERY_DEAD, .reason = "expired" }, &a);
    CHECK_INT(a.rows.row_count, 0);
    query_answer_done(&a);
    ranges_done(&one.above);
    ranges_done(&two.above);
    store_free(s, true);
}

TEST(a_plan_freezes_exactly_what_was_selected)
{
    struct store *s = store_rig_open();
    struct query_spec spec = { .kind = QUERY_PLAN,
        .where = { .route = "orders", .key = bytes_text("k-3") } };
    struct query_answer a, again;
    struct store_route r;
    uint64_t next = 1;

    store_rig_route(s, "orders", &r);
    for (int i = 0; i < 12; i++) {
        store_rig_append(s, r.id, &next, 10, RIG_TIME + i * 1000, 20, false);
        store_rig_commit(s, RIG_TIME);
    }
    ask(s, spec, &a);
    CHECK_INT(a.part_count, 1);
    CHECK_TEXT(a.parts[0].route, "orders");
    CHECK_INT(a.parts[0].count, 17);
    CHECK_INT(a.parts[0].keys, 1);
    for (uint64_t seq = 1; seq < next; seq++)
        CHECK_INT(ranges_have(&a.parts[0].set, seq), seq % 7 == 3);
    /* What comes later changes neither; what is joined does not either. */
    keep_house(s, RIG_TIME + 3600000, true, 10);
    spec.where.last_seq = next - 1;
    store_rig_append(s, r.id, &next, 10, RIG_TIME + 4000000, 20, false);
    store_rig_commit(s, RIG_TIME);
    ask(s, spec, &again);
    CHECK(again.digest == a.digest);
    CHECK_INT(again.parts[0].count, 17);
    query_answer_done(&again);
    spec.where.since_ms = RIG_TIME + 3000;
    spec.where.until_ms = RIG_TIME + 5000;
    ask(s, spec, &again);
    CHECK(again.digest != a.digest);
    CHECK_INT(again.parts[0].first_ms, RIG_TIME + 3000);
    CHECK_INT(again.parts[0].last_ms, RIG_TIME + 4000);
    query_answer_done(&again);
    query_answer_done(&a);
    store_free(s, true);
}

TEST(events_are_listed_page_by_page)
{
    struct store *s = store_rig_open();
    struct query_spec spec = { .kind = QUERY_EVENTS, .where = { .route = "orders" }, .limit = 7 };
    struct store_route r;
    uint64_t next = 1, seen = 0;

    store_rig_route(s, "orders", &r);
    for (int i = 0; i < 4; i++)
        store_rig_append(s, r.id, &next, 10, RIG_TIME + i, 20, false);
    store_rig_commit(s, RIG_TIME);
    for (bool more = true; more;) {
        struct query_answer a;

        ask(s, spec, &a);
        for (size_t i = 0; i < a.rows.row_count; i++)
            CHECK_INT(store_rig_cell(&a.rows, i, "seq")->i, ++seen);
        spec.after = seen;
        more = a.rows.more;
        query_answer_done(&a);
    }
    CHECK_INT(seen, 40);
    store_free(s, true);
}

TEST(places_that_no_log_reaches_select_this_routes_events_and_no_other)
{
    struct store *s = store_rig_open();
    struct store_route orders, clicks;
    uint64_t next = 1, other = 1;
    struct query_answer a;

    store_rig_route(s, "orders", &orders);
    store_rig_route(s, "clicks", &clicks);
    store_rig_append(s, orders.id, &next, 10, RIG_TIME, 20, false);
    store_rig_append(s, clicks.id, &other, 5, RIG_TIME, 20, false);
    store_rig_commit(s, RIG_TIME);
    ask(s,
        (struct query_spec){ .kind = QUERY_EVENTS,
            .where = { .route = "orders", .first_seq = 4, .last_seq = (uint64_t)1 << 42 },
            .limit = 100 },
        &a);
    CHECK_INT(a.rows.row_count, 7);
    query_answer_done(&a);
    ask(s,
        (struct query_spec){ .kind = QUERY_EVENTS,
            .where = { .route = "orders", .first_seq = (uint64_t)1 << 40 },
            .limit = 100 },
        &a);
    CHECK_INT(a.rows.row_count, 0);
    query_answer_done(&a);
    store_free(s, true);
}

TEST(small_chunks_of_a_slow_route_are_joined_and_keep_their_times)
{
    struct store *s = store_rig_open();
    struct query_answer a;
    struct store_route r;
    uint64_t next = 1, chunks;

    store_rig_route(s, "orders", &r);
    for (int i = 0; i < 300; i++) {
        store_rig_append(s, r.id, &next, 1, RIG_TIME + i * 10, 50, false);
        store_rig_commit(s, RIG_TIME + i * 10);
    }
    keep_house(s, RIG_TIME + 3600000, true, 20);
    ask(s, (struct query_spec){ .kind = QUERY_STATS }, &a);
    CHECK_INT(store_rig_cell(&a.rows, 0, "events")->i, 300);
    chunks = (uint64_t)store_rig_cell(&a.rows, 0, "chunks")->i;
    CHECK(chunks < 30);
    query_answer_done(&a);
    CHECK_INT(store_rig_check_log(s, r.id, 1), next);
    ask(s,
        (struct query_spec){ .kind = QUERY_EVENTS,
            .where = { .route = "orders",
                .since_ms = RIG_TIME + 1000,
                .until_ms = RIG_TIME + 1100 } },
        &a);
    CHECK_INT(a.rows.row_count, 10);
    CHECK_INT(store_rig_cell(&a.rows, 0, "seq")->i, 101);
    CHECK_INT(store_rig_cell(&a.rows, 0, "received_ms")->i, RIG_TIME + 1000);
    query_answer_done(&a);
    ask(s, (struct query_spec){ .kind = QUERY_TRACE, .where = { .id = "e-250" } }, &a);
    CHECK_INT(a.rows.row_count, 0); /* no sink: no row; the scan itself must work */
    query_answer_done(&a);
    store_free(s, true);
}
