/* What a relay tells its tracer. */
#include "bridge/base/header.h"
#include "tests/harness.h"
#include "tests/sim/rig.h"

#define SPANS_MAX 4096

struct spans {
    struct tracer tracer;
    struct span at[SPANS_MAX];
    size_t n, left_out;
    int64_t now_ns;
};

static struct spans told;

static void keep(struct tracer *t, const struct span *s)
{
    (void)t;
    if (!s) {
        told.left_out++;
        return;
    }
    CHECK(told.n < SPANS_MAX);
    told.at[told.n++] = *s;
}

/* A clock that never stands still. */
static int64_t now_ns(struct tracer *t)
{
    (void)t;
    return ++told.now_ns;
}

static void rig_traced(struct rig *g, uint64_t seed, double ratio)
{
    told.n = 0;
    told.tracer =
        (struct tracer){ .on = true, .ratio = ratio, .seed = 7, .now_ns = now_ns, .put = keep };
    rig_init(g, seed, 1);
    g->tracer = &told.tracer;
}

static size_t count(enum span_kind kind, const char *fate)
{
    size_t n = 0;

    for (size_t i = 0; i < told.n; i++)
        n += told.at[i].kind == kind && strcmp(told.at[i].fate, fate) == 0;
    return n;
}

static const struct span *span_of(enum span_kind kind, uint64_t seq)
{
    for (size_t i = 0; i < told.n; i++)
        if (told.at[i].kind == kind && told.at[i].seq == seq)
            return &told.at[i];
    harness_fail(__FILE__, __LINE__, "event %llu has no span of kind %d", (unsigned long long)seq,
        (int)kind);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    return memcmp(a, b, n) == 0;
}

static void check_family(uint64_t seq)
{
    const struct span *receive = span_of(SPAN_RECEIVE, seq), *commit = span_of(SPAN_COMMIT, seq);
    const struct span *deliver = span_of(SPAN_DELIVER, seq);

    CHECK(same(commit->parent, receive->id, 8) && same(deliver->parent, receive->id, 8));
    CHECK(same(commit->trace_id, receive->trace_id, 16));
    CHECK(same(deliver->trace_id, receive->trace_id, 16));
    CHECK(receive->start_ns < commit->start_ns && commit->start_ns < commit->end_ns);
    CHECK(commit->end_ns <= receive->end_ns && receive->end_ns < deliver->start_ns);
    CHECK(deliver->start_ns < deliver->end_ns);
    CHECK(!same(commit->id, receive->id, 8) && !same(deliver->id, commit->id, 8));
    CHECK_TEXT(receive->sink, "");
    CHECK_TEXT(deliver->fate, "delivered");
    CHECK_TEXT(deliver->error, "");
}

TEST(an_event_is_told_of_as_received_committed_and_delivered)
{
    static const uint8_t none[8];
    struct rig g;

    rig_traced(&g, 81, 1);
    rig_start(&g);
    world_publish(&g.world, 100);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(count(SPAN_RECEIVE, ""), 100);
    CHECK_INT(count(SPAN_COMMIT, ""), 100);
    CHECK_INT(count(SPAN_DELIVER, "delivered"), 100);
    for (uint64_t seq = 1; seq <= 100; seq++) {
        check_family(seq);
        CHECK(same(span_of(SPAN_RECEIVE, seq)->parent, none, 8));
    }
    CHECK(!same(span_of(SPAN_RECEIVE, 1)->trace_id, span_of(SPAN_RECEIVE, 2)->trace_id, 16));
    rig_check(&g, true);
    rig_done(&g);
}

TEST(an_attempt_that_fails_is_told_of_with_what_the_broker_said)
{
    struct rig g;

    rig_traced(&g, 82, 1);
    g.sinks[0].max_attempts = 0;
    g.world.sinks[0].nack = 50;
    rig_start(&g);
    world_publish(&g.world, 50);
    CHECK(rig_settle(&g, 20000));
    CHECK(count(SPAN_DELIVER, "refused") > 0);
    CHECK_INT(count(SPAN_DELIVER, "delivered"), 50);
    CHECK_INT(count(SPAN_DELIVER, "refused"), rig_sink(&g, 0).attempts.refused);
    for (size_t i = 0; i < told.n; i++) {
        const struct span *s = &told.at[i];

        CHECK((strcmp(s->fate, "refused") == 0) == (*s->error != '\0'));
        for (size_t k = 0; k < i; k++)
            CHECK(!same(s->id, told.at[k].id, 8)); /* attempts too are told apart */
    }
    rig_done(&g);
}

static void publish_with(struct rig *g, struct buf *headers, const char *traceparent, size_t n)
{
    buf_clear(headers);
    header_put_text(headers, HEADER_USER, "traceparent", bytes_text(traceparent));
    header_put_text(headers, HEADER_USER, "tracestate", bytes_text("vendor=1"));
    g->world.headers = buf_bytes(headers);
    world_publish(&g->world, n);
    CHECK(rig_settle(g, 20000));
}

TEST(the_senders_word_on_sampling_counts_and_its_span_is_the_parent)
{
    static const uint8_t parent[8] = { 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31 };
    struct buf headers;
    struct rig g;

    rig_traced(&g, 83, 0);
    buf_init(&headers, 1000);
    rig_start(&g);
    publish_with(&g, &headers, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 5);
    CHECK_INT(told.n, 0);
    publish_with(&g, &headers, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 5);
    CHECK_INT(told.n, 15);
    for (uint64_t seq = 6; seq <= 10; seq++) {
        check_family(seq);
        CHECK(same(span_of(SPAN_RECEIVE, seq)->parent, parent, 8));
        CHECK_INT(span_of(SPAN_RECEIVE, seq)->trace_id[0], 0x0a);
        CHECK_TEXT(span_of(SPAN_DELIVER, seq)->tracestate, "vendor=1");
    }
    publish_with(&g, &headers, "rubbish", 5); /* as one without: the ratio counts */
    CHECK_INT(told.n, 15);
    rig_done(&g);
    buf_done(&headers);
}

TEST(after_a_crash_a_delivery_still_belongs_to_the_trace_of_its_receipt)
{
    struct rig g;
    size_t received;

    rig_traced(&g, 84, 0.5);
    g.world.keep_position = true;
    g.world.sinks[0].lose = 1000;
    rig_start(&g);
    world_publish(&g.world, 200);
    for (int i = 0; i < 40; i++)
        rig_turn(&g, false);
    rig_crash(&g);
    received = count(SPAN_RECEIVE, "");
    CHECK(received > 50 && received < 150);
    CHECK_INT(count(SPAN_DELIVER, "delivered"), 0);
    g.world.sinks[0].lose = 0;
    rig_start(&g);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(count(SPAN_RECEIVE, ""), received);
    CHECK(count(SPAN_DELIVER, "delivered") >= received);
    for (size_t i = 0; i < told.n; i++)
        if (told.at[i].kind == SPAN_DELIVER)
            CHECK(same(told.at[i].parent, span_of(SPAN_RECEIVE, told.at[i].seq)->id, 8));
        else if (told.at[i].kind == SPAN_RECEIVE)
            CHECK(span_of(SPAN_DELIVER, told.at[i].seq) != NULL);
    rig_done(&g);
}

TEST(spans_that_would_find_no_room_are_counted_and_not_made)
{
    struct rig g;

    rig_traced(&g, 86, 1);
    told.left_out = 0;
    atomic_store(&told.tracer.full, true);
    rig_start(&g);
    world_publish(&g.world, 20);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(told.n, 0);
    CHECK_INT(told.left_out, 60);
    rig_done(&g);
}

TEST(nothing_is_told_while_tracing_is_off)
{
    struct rig g;

    rig_traced(&g, 85, 1);
    told.tracer.on = false;
    rig_start(&g);
    world_publish(&g.world, 20);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(told.n, 0);
    told.tracer.on = true; /* as a reload does */
    world_publish(&g.world, 20);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(told.n, 60);
    rig_done(&g);
}
