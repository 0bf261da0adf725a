/* What a tap is shown, and what it may cost. */
#include "bridge/base/header.h"
#include "routes/tap.h"
#include "tests/harness.h"

#include <stdlib.h>

#define ROUTE 7
#define SINK 9

struct seen {
    size_t count;
    uint64_t last_seq;
    enum tap_what last;
};

static void show(void *arg, const struct tap_seen *seen)
{
    struct seen *s = arg;

    s->count++;
    s->last_seq = seen->seq;
    s->last = seen->what;
}

static struct tap_spec spec_of(struct seen *s)
{
    return (struct tap_spec){
        .route_id = ROUTE, .sample = 1, .rate = TAP_RATE_MAX, .show = show, .arg = s
    };
}

static struct tap *open_tap(struct taps *taps, const struct tap_spec *spec)
{
    struct tap *t = NULL;
    struct fault why;

    CHECK_INT(tap_open(taps, spec, &t, &why), 0);
    return t;
}

static struct block *block_of(uint64_t first_seq, size_t count, struct bytes body)
{
    struct event *events = calloc(count, sizeof *events);
    struct block *ret = NULL;
    struct fault why;

    CHECK(events);
    for (size_t i = 0; i < count; i++)
        events[i] = (struct event){ .key = bytes_text(i % 2 ? "odd" : "even"), .body = body };
    CHECK_INT(block_open(ROUTE, first_seq, 1000, events, count, &ret, &why), 0);
    free(events);
    return ret;
}

static void pass(struct taps *taps, uint64_t first_seq, size_t count, size_t body, int64_t now_ms)
{
    char *text = calloc(1, body + 1);
    struct block *b;

    CHECK(text);
    b = block_of(first_seq, count, bytes_of(text, body));
    taps_received(taps, "orders", b, now_ms);
    block_unref(b);
    free(text);
}

TEST(a_tap_looks_at_its_own_route_or_sink_alone)
{
    struct taps taps = { 0 };
    struct seen source = { 0 }, sink = { 0 };
    struct tap_spec spec = spec_of(&source);
    struct event e = { 0 };
    struct tap *a = open_tap(&taps, &spec), *b;

    spec = spec_of(&sink);
    spec.sink_id = SINK;
    b = open_tap(&taps, &spec);
    pass(&taps, 1, 3, 10, 1000);
    taps_seen(&taps, ROUTE, SINK, &(struct tap_seen){ .what = TAP_SENT, .event = &e }, 1000);
    taps_seen(&taps, ROUTE, SINK + 1, &(struct tap_seen){ .what = TAP_DEAD, .event = &e }, 1000);
    taps_seen(&taps, ROUTE + 1, SINK, &(struct tap_seen){ .what = TAP_DEAD, .event = &e }, 1000);
    taps_seen(&taps, ROUTE, SINK, &(struct tap_seen){ .what = TAP_DEAD, .event = &e }, 1000);
    CHECK_INT(source.count, 3);
    CHECK_INT(sink.count, 1);
    CHECK_INT(sink.last, TAP_DEAD);
    tap_close(&taps, a);
    tap_close(&taps, b);
    CHECK(!taps.first && taps.count == 0);
}

TEST(a_tap_shows_what_fits_its_selection_alone)
{
    struct taps taps = { 0 };
    struct seen seen = { 0 };
    struct tap_spec spec = spec_of(&seen);
    struct tap *t;

    spec.where.key = bytes_text("odd");
    t = open_tap(&taps, &spec);
    pass(&taps, 1, 10, 10, 1000);
    CHECK_INT(seen.count, 5);
    CHECK_INT(seen.last_seq, 10);
    CHECK_INT(tap_missed(t).rate, 0);
    tap_close(&taps, t);
}

TEST(what_is_past_the_rate_is_counted_and_the_rate_comes_back)
{
    struct taps taps = { 0 };
    struct seen seen = { 0 };
    struct tap_spec spec = spec_of(&seen);
    struct tap *t;

    spec.rate = 10;
    t = open_tap(&taps, &spec);
    pass(&taps, 1, 100, 10, 1000);
    CHECK_INT(seen.count, 10);
    CHECK_INT(tap_missed(t).rate, 90);
    pass(&taps, 101, 100, 10, 1500);
    CHECK_INT(seen.count, 15);
    pass(&taps, 201, 100, 10, 9000);
    CHECK_INT(seen.count, 25);
    tap_close(&taps, t);
}

TEST(a_tap_looks_at_so_many_bytes_a_second_and_counts_the_rest)
{
    struct taps taps = { 0 };
    struct seen seen = { 0 };
    struct tap_spec spec = spec_of(&seen);
    const size_t body = 1 << 20, fit = TAP_COST_MAX / (1 << 20);
    struct tap *t;

    spec.where.match = "nowhere";
    t = open_tap(&taps, &spec);
    pass(&taps, 1, 40, body, 1000);
    CHECK_INT(seen.count, 0);
    CHECK_INT(tap_missed(t).busy, 40 - fit);
    pass(&taps, 41, 10, body, 1999);
    CHECK_INT(tap_missed(t).busy, 50 - fit);
    pass(&taps, 51, 10, body, 2000);
    CHECK_INT(tap_missed(t).busy, 50 - fit);
    tap_close(&taps, t);
}

TEST(a_tap_of_a_sink_may_cost_no_more)
{
    struct taps taps = { 0 };
    struct seen seen = { 0 };
    struct tap_spec spec = spec_of(&seen);
    static uint8_t body[TAP_BODY_MAX];
    const struct event e = { .body = bytes_of(body, sizeof body) };
    const size_t fit = TAP_COST_MAX / (TAP_BODY_MAX * TAP_SHOWN_COST);
    struct tap *t;

    spec.sink_id = SINK;
    spec.bodies = true;
    t = open_tap(&taps, &spec);
    for (uint64_t seq = 1; seq <= 100; seq++)
        taps_seen(&taps, ROUTE, SINK,
            &(struct tap_seen){ .what = TAP_DELIVERED, .seq = seq, .event = &e }, 1000);
    CHECK_INT(seen.count, fit);
    CHECK_INT(tap_missed(t).busy, 100 - fit);
    tap_close(&taps, t);
}

TEST(bodies_that_are_shown_cost_more_than_those_that_are_not)
{
    struct taps taps = { 0 };
    struct seen with = { 0 }, without = { 0 };
    struct tap_spec spec = spec_of(&with);
    struct tap *a, *b;

    spec.bodies = true;
    a = open_tap(&taps, &spec);
    spec = spec_of(&without);
    b = open_tap(&taps, &spec);
    pass(&taps, 1, 100, TAP_BODY_MAX, 1000);
    CHECK_INT(with.count, TAP_COST_MAX / (TAP_BODY_MAX * TAP_SHOWN_COST));
    CHECK_INT(tap_missed(a).busy, 100 - with.count);
    CHECK_INT(without.count, 100);
    tap_close(&taps, a);
    tap_close(&taps, b);
}
