#include "tests/unit/load.h"

#include "tests/unit/old_stores.h"

#include <inttypes.h>
#include <unistd.h>

#define STEP_MS 5000
#define RETAIN_BYTES (1 << 20)
#define STEPS_MAX 10000 /* a store that never gets to the end is a failure, not a hang */

int64_t load_setting(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoll(text, NULL, 10) : otherwise;
}

void load_no_damage(void *arg, int severity, const char *line)
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

void load_judge_route(struct store *s, struct load *w, size_t i, struct load_sum *found)
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
    *found = (struct load_sum){ .next = r.next_seq, .frontier = k.frontier };
    CHECK_INT(store_held_load(s, k.id, count_held, &found->held, &why), 0);
    CHECK(found->held >= w->acked[i].held && found->held <= w->asked[i].held);
    CHECK_INT(k.counts.held, found->held);
    w->route_id[i] = r.id;
    w->sink_id[i] = k.id;
    ranges_done(&k.above);
}

static void put_position(struct load *w, size_t i)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%" PRIu64 " ", w->asked[i].next);
    store_position_put(
        w->store, w->route_id[i], "rabbit", bytes_text("queue"), bytes_of(text, sizeof text));
}

static void judge_copy(const struct load *w)
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
    CHECK_INT(store_check_file(path, load_no_damage, NULL, &why), 0);
}

/* It goes on: what is taken now is there after the next start. */
static void go_on(struct load *w)
{
    struct fault why = { 0 };

    for (size_t i = 0; i < LOAD_ROUTES; i++) {
        store_rig_append(w->store, w->route_id[i], &w->asked[i].next, 3, w->now_ms, 100, false);
        put_position(w, i);
    }
    store_rig_commit(w->store, w->now_ms);
    store_housekeep(w->store, w->now_ms, true);
    store_step(w->store);
    CHECK_INT(store_collect(w->store, &why), 0);
    store_free(w->store, true);
    CHECK_INT(store_check_file(RIG_STORE, load_no_damage, NULL, &why), 0);
}

/* In the directory of what a cut left. */
void load_judge(struct load *w)
{
    w->store = open_small();
    for (size_t i = 0; i < LOAD_ROUTES; i++) {
        struct load_sum found;

        load_judge_route(w->store, w, i, &found);
        w->asked[i] = w->acked[i] = found;
    }
    w->known = true;
    go_on(w);
    if (w->copied)
        judge_copy(w);
}

/* ---- loading ---- */

static void acknowledge(struct load *w)
{
    memcpy(w->acked, w->asked, sizeof w->acked);
}

/* Waits for the writer; false: it broke. */
static bool waited(struct load *w, uint64_t number)
{
    struct fault why = { 0 };
    int steps = 0;

    do {
        CHECK(steps++ < STEPS_MAX);
        store_step(w->store);
        w->broken = store_collect(w->store, &why) != 0;
    } while (!w->broken && (store_committed(w->store) < number || store_busy(w->store)));
    return !w->broken;
}

void load_commit(struct load *w)
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

void load_append(struct load *w, size_t i, bool single)
{
    size_t count = single ? 1 : 1 + random_below(&w->dice, 8);

    store_rig_append(w->store, w->route_id[i], &w->asked[i].next, count, w->now_ms,
        20 + random_below(&w->dice, single ? 100 : 3000), random_below(&w->dice, 2));
    put_position(w, i);
}

static void load_held(struct load *w, size_t i)
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
static void load_cursor(struct load *w, size_t i)
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

void load_keep_house(struct load *w)
{
    store_housekeep(w->store, w->now_ms, true);
    (void)waited(w, 0);
}

void load_open(struct load *w)
{
    w->store = open_small();
    for (size_t i = 0; i < LOAD_ROUTES; i++) {
        struct store_route r;
        struct store_sink k;

        store_rig_route(w->store, i ? "clicks" : "orders", &r);
        store_rig_sink(w->store, r.id, "kafka", &k);
        w->route_id[i] = r.id;
        w->sink_id[i] = k.id;
        ranges_done(&k.above);
    }
    store_route_retain(w->store, w->route_id[0], -1, RETAIN_BYTES);
    store_route_retain(w->store, w->route_id[1], LOAD_RETAIN_MS, RETAIN_BYTES);
    w->known = true;
}

void load_step(struct load *w, bool small)
{
    w->now_ms += STEP_MS;
    for (size_t i = 0; i < LOAD_ROUTES; i++) {
        if (random_below(&w->dice, 3))
            load_append(w, i, small || random_below(&w->dice, 2));
        if (random_below(&w->dice, 2))
            load_cursor(w, i);
    }
    load_commit(w);
    if (!w->broken && random_below(&w->dice, 4) == 0)
        load_keep_house(w);
    if (!w->broken && !w->stays_open && random_below(&w->dice, 100) == 0) {
        store_free(w->store, random_below(&w->dice, 2));
        load_open(w);
    }
}

void load_back_up(struct load *w)
{
    struct fault why = { 0 };
    uint64_t from = w->acked[0].next;
    char path[32];

    (void)snprintf(path, sizeof path, "copy-%d.db", w->backups + 1);
    CHECK_INT(store_backup_start(w->store, path, &why), 0);
    while (store_backup_progress(w->store, &why) < 1001) {
        CHECK(store_backup_progress(w->store, &why) >= 0);
        load_append(w, 1, true);
        load_commit(w);
    }
    /* What was said to be there must be there. */
    w->backups++;
    w->copied = from;
}

/* Old or new, it is whole; and when it is new, the copy of the old one is there. */
void load_judge_upgrade(struct load *w)
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
    CHECK_INT(store_check_file(RIG_STORE, load_no_damage, NULL, &why), 0);
    CHECK_INT(store_check_file(RIG_STORE ".version-1", load_no_damage, NULL, &why), 0);
}

void load_begin(struct load *w, uint64_t seed)
{
    *w = (struct load){ .now_ms = RIG_TIME, .dice = { seed }, .judge = load_judge };
    for (size_t i = 0; i < LOAD_ROUTES; i++)
        w->asked[i] = w->acked[i] = (struct load_sum){ .next = 1, .frontier = 1 };
}
