/* What every link must do, run on its real broker. Fixtures register themselves (fixture.h). */
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include <poll.h>
#include <stdarg.h>
#include <time.h>

#define FIXTURES_MAX 16
#define PATIENCE_MS 60000

static const struct fixture *fixtures[FIXTURES_MAX];
static size_t fixture_count;

void fixture_add(const struct fixture *f)
{
    if (fixture_count < FIXTURES_MAX)
        fixtures[fixture_count++] = f;
}

void fixture_shell(const char *format, ...)
{
    char line[4096];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (system(line) != 0)
        harness_fail(__FILE__, __LINE__, "failed: %s", line);
}

struct rig {
    const struct connector *c;
    void *link_options, *source_options, *sink_options;
    struct link *link;
    int64_t wake; /* of the last step */
    struct source *source;
    struct sink *sink;
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turn(struct rig *g, int64_t end)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    int64_t wake = g->wake;
    struct pollfd p = { .fd = g->c->link_pollfd(g->link), .events = POLLIN };

    CHECK(now < end);
    wake = wake < end ? wake : end;
    (void)poll(&p, 1, wake > now ? (int)(wake - now) : 0);
    g->wake = g->c->link_step(g->link, clock_ms(CLOCK_MONOTONIC), clock_ms(CLOCK_REALTIME));
}

static struct rig rig_open(const struct fixture *f, const char *place)
{
    struct rig g = { .c = f->connector };
    struct fault why = { 0 };

    g.link_options = calloc(1, g.c->link_options_bytes);
    g.source_options = calloc(1, g.c->source_options_bytes);
    g.sink_options = calloc(1, g.c->sink_options_bytes);
    f->link_options(g.link_options);
    f->source_options(place, g.source_options);
    f->sink_options(place, g.sink_options);
    struct link_spec spec = {
        .name = "test", .options = g.link_options, .store_id = "s1", .seed = 1
    };
    struct source_spec source = { .route = "r",
        .route_id = 1,
        .options = g.source_options,
        .window_events = 5000,
        .window_bytes = 64 << 20,
        .max_event_bytes = 16 << 20 };
    struct sink_spec sink = { .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = g.sink_options,
        .window_events = 100,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = 30000 };
    CHECK_INT(g.c->link_open(&spec, &g.link, &why), 0);
    CHECK_INT(g.c->source_open(g.link, &source, &g.source, &why), 0);
    CHECK_INT(g.c->sink_open(g.link, &sink, &g.sink, &why), 0);
    return g;
}

static void rig_free(struct rig *g)
{
    g->c->source_free(g->source);
    g->c->sink_free(g->sink);
    g->c->link_free(g->link);
    option_done(g->c->link_options, g->link_options);
    option_done(g->c->source_options, g->source_options);
    option_done(g->c->sink_options, g->sink_options);
    free(g->link_options);
    free(g->source_options);
    free(g->sink_options);
}

/* Receives `want` events and settles their batches. */
static void take(struct rig *g, size_t want, bool kept)
{
    int64_t end = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;

    for (size_t n = 0; n < want;) {
        struct batch *b = g->c->source_receive(g->source, 1000);
        if (b) {
            n += b->count;
            g->c->source_settle(g->source, b, kept);
        } else {
            turn(g, end);
        }
    }
    while (kept && !g->c->source_drain(g->source))
        turn(g, end);
}

#define EACH_FIXTURE                                                                               \
    for (size_t i_ = 0; i_ < fixture_count; i_++)                                                  \
        if (getenv(fixtures[i_]->needs))

TEST(what_was_kept_is_not_received_again_and_what_was_not_kept_is)
{
    EACH_FIXTURE
    {
        const struct fixture *f = fixtures[i_];
        struct rig g = rig_open(f, "kept");
        f->feed("kept", 0, 10);
        take(&g, 10, false);
        take(&g, 10, true);
        rig_free(&g);
        f->feed("kept", 10, 1);
        g = rig_open(f, "kept");
        take(&g, 1, true);
        rig_free(&g);
    }
}

TEST(each_published_message_gets_one_report_and_its_bytes_come_back)
{
    EACH_FIXTURE
    {
        struct rig g = rig_open(fixtures[i_], "bytes");
        int64_t end = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
        struct event e = { .body = bytes_of("a\0\xff\r\n", 5) };
        struct message m = { .ref = 7, .event = &e };
        struct report r;
        struct batch *b = NULL;
        for (size_t k = 0; k < CONNECTOR_FIELDS_MAX; k++)
            m.fields[k] = bytes_text("bytes");
        while (g.c->sink_publish(g.sink, &m, 1) == 0)
            turn(&g, end);
        while (g.c->sink_collect(g.sink, &r, 1) == 0)
            turn(&g, end);
        CHECK_INT(r.fate, FATE_DELIVERED);
        CHECK_INT(r.ref, 7);
        while (!(b = g.c->source_receive(g.source, 10)))
            turn(&g, end);
        CHECK_INT(b->count, 1);
        CHECK(bytes_equal(b->events[0].body, e.body));
        CHECK_INT(g.c->sink_collect(g.sink, &r, 1), 0);
        rig_free(&g);
    }
}
