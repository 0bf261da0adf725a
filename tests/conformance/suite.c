/* What every link must do, run on its real broker. Each behaviour is a test of its own for each
 * fixture that it fits. */
#include "tests/conformance/checked.h"
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include <poll.h>
#include <time.h>

#define FIXTURES_MAX 16
#define PATIENCE_MS 120000
#define SINK_WINDOW 100
#define SOURCE_WINDOW 500

enum rig_part { RIG_SOURCE = 1u << 0, RIG_SINK = 1u << 1 };

struct rig {
    const struct fixture *f;
    const struct connector *c;
    void *link_options, *source_options, *sink_options;
    struct link *link;
    struct checked ends;
    const char *place;
    int64_t wake; /* of the last step */
    /* Of the messages published, by number. */
    enum fate fates[CHECKED_REFS_MAX];
    size_t delivered, unsent, unsure, refused, reports;
    char refusal[200]; /* the last one's words */
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t patience(void)
{
    return clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
}

static void turn(struct rig *g, int64_t end)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    int64_t wake = g->wake < end ? g->wake : end;
    struct pollfd p = { .fd = g->c->link_pollfd(g->link), .events = POLLIN };

    if (now >= end) {
        struct link_status s = { 0 }, part = { 0 };

        g->c->link_status(g->link, &s);
        if (g->ends.sink)
            g->c->sink_status(g->ends.sink, &part);
        else if (g->ends.source)
            g->c->source_status(g->ends.source, &part);
        harness_fail(__FILE__, __LINE__,
            "nothing more came: link in state %d (%s), its end in %d (%s); %zu reports, %zu in "
            "flight",
            (int)s.state, s.error, (int)part.state, part.error, g->reports, g->ends.in_flight);
    }
    (void)poll(&p, 1, wake > now ? (int)(wake - now) : 0);
    g->wake = g->c->link_step(g->link, clock_ms(CLOCK_MONOTONIC), clock_ms(CLOCK_REALTIME));
}

static void open_source(struct rig *g, const char *place)
{
    struct fault why = { 0 };

    g->source_options = calloc(1, g->c->source_options_bytes);
    g->f->source_options(place, g->source_options);
    struct source_spec source = { .route = "r",
        .route_id = 1,
        .options = g->source_options,
        .window_events = SOURCE_WINDOW,
        .window_bytes = 64 << 20,
        .max_event_bytes = 16 << 20,
        .clean_start = true };
    g->ends.source_window = SOURCE_WINDOW;
    CHECK_INT(g->c->source_open(g->link, &source, &g->ends.source, &why), 0);
}

static void open_sink(struct rig *g, const char *place)
{
    struct fault why = { 0 };

    g->sink_options = calloc(1, g->c->sink_options_bytes);
    g->f->sink_options(place, g->sink_options);
    struct sink_spec sink = { .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = g->sink_options,
        .window_events = SINK_WINDOW,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = 30000 };
    g->ends.sink_window = SINK_WINDOW;
    CHECK_INT(g->c->sink_open(g->link, &sink, &g->ends.sink, &why), 0);
}

/* With something wrong in its link's options (0: nothing); *words gets what must be said of it. */
static struct rig *rig_open_wrong(const struct fixture *f, const char *place, unsigned parts,
    enum fixture_wrong what, const char **words)
{
    struct rig *g = calloc(1, sizeof *g);
    struct fault why = { 0 };

    CHECK(g != NULL);
    g->f = f;
    g->place = place;
    g->c = g->ends.c = f->connector;
    g->link_options = calloc(1, g->c->link_options_bytes);
    f->link_options(g->link_options);
    if (what)
        *words = f->spoil(g->link_options, what);
    struct link_spec spec = {
        .name = "test", .options = g->link_options, .store_id = "s1", .seed = 1
    };
    CHECK_INT(g->c->link_open(&spec, &g->link, &why), 0);
    if (parts & RIG_SOURCE)
        open_source(g, place);
    if (parts & RIG_SINK)
        open_sink(g, place);
    return g;
}

static struct rig *rig_open(const struct fixture *f, const char *place, unsigned parts)
{
    return rig_open_wrong(f, place, parts, 0, NULL);
}

static void rig_free(struct rig *g)
{
    if (g->ends.source)
        g->c->source_free(g->ends.source);
    if (g->ends.sink)
        g->c->sink_free(g->ends.sink);
    g->c->link_free(g->link);
    option_done(g->c->link_options, g->link_options);
    if (g->source_options)
        option_done(g->c->source_options, g->source_options);
    if (g->sink_options)
        option_done(g->c->sink_options, g->sink_options);
    free(g->link_options);
    free(g->source_options);
    free(g->sink_options);
    free(g);
}

/* The next batch that holds events; those that hold only positions are kept on the way. */
static struct batch *next_batch(struct rig *g, size_t limit)
{
    int64_t end = patience();

    for (;;) {
        struct batch *b = checked_receive(&g->ends, limit);
        if (b && b->count > 0)
            return b;
        if (b)
            checked_settle(&g->ends, b, true);
        else
            turn(g, end);
    }
}

static bool keeps(const struct rig *g)
{
    return g->c->source_traits(g->source_options).set & TRAIT_KEEPS;
}

/* Where the broker keeps nothing: until it would send to our source what comes next. Else at once.
 */
static void wait_for_source(struct rig *g)
{
    int64_t end = patience();

    if (!g->ends.source || keeps(g))
        return;
    while (fixture_subscribers(g->f, g->place) == 0) {
        g->wake = clock_ms(CLOCK_MONOTONIC) + 10;
        turn(g, end);
    }
}

static size_t number_of(const struct event *e)
{
    char text[32] = "";

    CHECK(e->body.n == strlen("message 0000000") && memcmp(e->body.at, "message ", 8) == 0);
    memcpy(text, e->body.at + 8, e->body.n - 8);
    return strtoul(text, NULL, 10);
}

/* Receives until each of the messages first..first+n-1 has come, keeps them. Others fail. */
static void take_exactly(struct rig *g, size_t first, size_t n)
{
    bool seen[CHECKED_REFS_MAX] = { false };
    int64_t end = patience();

    for (size_t got = 0; got < n;) {
        struct batch *b = next_batch(g, 100);

        for (size_t i = 0; i < b->count; i++) {
            size_t number = number_of(&b->events[i]);

            if (number < first || number >= first + n)
                harness_fail(__FILE__, __LINE__, "message %zu came again", number);
            got += !seen[number];
            seen[number] = true;
        }
        checked_settle(&g->ends, b, true);
    }
    while (!g->c->source_drain(g->ends.source))
        turn(g, end);
}

/* Publishes message `ref`, body "message NNNNNNN"; false when it was not taken. */
static bool publish(struct rig *g, const char *place, size_t ref)
{
    /* Lent until the report: what is made here lives as long as the test. */
    struct event *e = calloc(1, sizeof *e);
    struct message m = { .ref = ref, .event = e };
    char *body = NULL, *key = NULL;

    if (!e || asprintf(&body, "message %07zu", ref) < 0 || asprintf(&key, "k%zu", ref % 5) < 0)
        abort();
    e->address = m.fields[g->f->slot] = bytes_text(place);
    e->body = e->id = bytes_text(body);
    e->key = m.key = bytes_text(key);
    return checked_publish(&g->ends, &m, 1) == 1;
}

static void collect(struct rig *g)
{
    struct report r[32];
    size_t n;

    while ((n = checked_collect(&g->ends, r, 32)) > 0)
        for (size_t i = 0; i < n; i++) {
            g->fates[r[i].ref] = r[i].fate;
            g->delivered += r[i].fate == FATE_DELIVERED;
            g->unsent += r[i].fate == FATE_UNSENT;
            g->unsure += r[i].fate == FATE_UNSURE;
            g->reports++;
            if (r[i].fate != FATE_REFUSED)
                continue;
            g->refused++;
            (void)snprintf(
                g->refusal, sizeof g->refusal, "%s", r[i].text ? r[i].text : "(no words)");
        }
}

/* At least that many of what was published were delivered. */
static void check_delivered(const struct rig *g, size_t want)
{
    if (g->delivered < want)
        harness_fail(__FILE__, __LINE__,
            "%zu delivered, not %zu; %zu unsent, %zu unsure, %zu refused (%s)", g->delivered, want,
            g->unsent, g->unsure, g->refused, g->refusal);
}

/* Publishes messages first..first+n-1, each once, and waits for all reports. */
static void publish_all(struct rig *g, const char *place, size_t first, size_t n)
{
    int64_t end = patience();

    for (size_t i = 0; i < n;) {
        if (publish(g, place, first + i)) {
            i++;
        } else {
            turn(g, end);
            collect(g);
        }
    }
    while (g->ends.in_flight > 0) {
        turn(g, end);
        collect(g);
    }
}

/* What was reported delivered is there, says an independent client. */
static void check_arrived(struct rig *g)
{
    FILE *file = fopen("delivered", "w");

    CHECK(file != NULL);
    for (size_t i = 0; i < CHECKED_REFS_MAX; i++)
        if (g->fates[i] == FATE_DELIVERED)
            (void)fprintf(file, "message %07zu\n", i);
    CHECK_INT(fclose(file), 0);
    CHECK_INT(fixture_lacks("delivered"), 0);
}

static struct link_status status_of(struct rig *g)
{
    struct link_status s = { 0 };

    if (g->ends.sink)
        g->c->sink_status(g->ends.sink, &s);
    else
        g->c->source_status(g->ends.source, &s);
    return s;
}

/* ---- sources ---- */

static void what_was_kept_does_not_come_again(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);

    fixture_feed(f, place, 0, 50);
    take_exactly(g, 0, 50);
    rig_free(g);
    fixture_feed(f, place, 50, 10);
    g = rig_open(f, place, RIG_SOURCE);
    take_exactly(g, 50, 10);
    rig_free(g);
}

static void what_was_not_kept_comes_again(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);
    struct batch *b;

    fixture_feed(f, place, 0, 20);
    b = next_batch(g, 100);
    checked_settle(&g->ends, b, false);
    rig_free(g);
    g = rig_open(f, place, RIG_SOURCE);
    take_exactly(g, 0, 20);
    rig_free(g);
}

static void what_was_never_settled_comes_again(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);

    fixture_feed(f, place, 0, 20);
    (void)next_batch(g, 100);
    rig_free(g);
    g = rig_open(f, place, RIG_SOURCE);
    take_exactly(g, 0, 20);
    rig_free(g);
}

static void a_source_stops_at_its_window_and_goes_on(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);
    struct batch *out[CHECKED_BATCHES_MAX];
    size_t n = 0, events = 0;

    wait_for_source(g);
    fixture_feed(f, place, 0, 2 * SOURCE_WINDOW);
    while (events < SOURCE_WINDOW) { /* beyond it, checked_receive() fails */
        CHECK(n < CHECKED_BATCHES_MAX);
        out[n] = next_batch(g, 100);
        events += out[n++]->count;
    }
    for (int64_t end = clock_ms(CLOCK_MONOTONIC) + 200; clock_ms(CLOCK_MONOTONIC) < end;) {
        CHECK(!checked_receive(&g->ends, 100));
        g->wake =
            clock_ms(CLOCK_MONOTONIC) + 10 < g->wake ? clock_ms(CLOCK_MONOTONIC) + 10 : g->wake;
        turn(g, patience());
    }
    for (size_t i = 0; i < n; i++)
        checked_settle(&g->ends, out[i], true);
    /* The rest comes, or was told as lost where nobody keeps it. */
    for (int64_t end = patience(); events + g->ends.lost < 2 * SOURCE_WINDOW;) {
        struct batch *b = checked_receive(&g->ends, 100);
        if (!b) {
            turn(g, end);
            continue;
        }
        events += b->count;
        checked_settle(&g->ends, b, true);
    }
    CHECK(g->ends.lost == 0 || !keeps(g));
    rig_free(g);
}

static void a_paused_source_hands_over_nothing_new(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);
    size_t got = 0;

    wait_for_source(g);
    fixture_feed(f, place, 0, 1);
    checked_settle(&g->ends, next_batch(g, 10), true);
    g->c->source_pause(g->ends.source, true);
    fixture_feed(f, place, 1, 20);
    /* What the client library had before the pause may come; all of it must not. */
    for (int64_t end = clock_ms(CLOCK_MONOTONIC) + 300; clock_ms(CLOCK_MONOTONIC) < end;) {
        struct batch *b = checked_receive(&g->ends, 10);
        if (b) {
            got += b->count;
            checked_settle(&g->ends, b, true);
        }
        g->wake =
            clock_ms(CLOCK_MONOTONIC) + 10 < g->wake ? clock_ms(CLOCK_MONOTONIC) + 10 : g->wake;
        turn(g, patience());
    }
    CHECK_INT(got, 0);
    g->c->source_pause(g->ends.source, false);
    take_exactly(g, 1, 20);
    rig_free(g);
}

/* ---- sinks ---- */

static void every_delivered_message_arrives(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SINK);

    if (f->flags & FIXTURE_LOSSY)
        fixture_listen(f, place);
    publish_all(g, place, 0, 1000);
    CHECK_INT(g->reports, 1000);
    check_delivered(g, 1000);
    if (!(f->flags & FIXTURE_LOSSY))
        fixture_listen(f, place);
    check_arrived(g);
    rig_free(g);
}

static void abandon_reports_everything_at_once(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SINK);
    int64_t end = patience();
    size_t n = 1;

    while (!publish(g, place, 0))
        turn(g, end);
    while (n < 50 && publish(g, place, n))
        n++;
    g->c->sink_abandon(g->ends.sink);
    collect(g);
    CHECK_INT(g->ends.in_flight, 0);
    CHECK_INT(g->reports, n);
    rig_free(g);
}

static void free_with_messages_in_flight_is_clean(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SINK);
    int64_t end = patience();

    while (!publish(g, place, 0))
        turn(g, end);
    for (size_t n = 1; n < 50 && publish(g, place, n); n++)
        ;
    rig_free(g);
}

/* ---- both ---- */

static void bodies_come_back_byte_for_byte(const struct fixture *f, const char *place)
{
    static uint8_t large[900000];
    struct bytes bodies[] = { bytes_of("", 0), bytes_of("a\0b\0", 4),
        bytes_of("\xff\xfe\r\n\x80", 5), bytes_of(large, sizeof large) };
    struct rig *g = rig_open(f, place, RIG_SOURCE | RIG_SINK);

    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)(i * 7 + i / 256);
    wait_for_source(g);
    for (size_t i = 0; i < 4; i++) {
        struct event e = {
            .address = bytes_text(place), .body = bodies[i], .id = bytes_text("id")
        };
        struct message m = { .ref = i, .event = &e };
        int64_t end = patience();
        struct batch *b;

        m.fields[f->slot] = bytes_text(place);
        while (checked_publish(&g->ends, &m, 1) == 0)
            turn(g, end);
        while (g->ends.in_flight > 0) {
            turn(g, end);
            collect(g);
        }
        CHECK_INT(g->fates[i], FATE_DELIVERED);
        b = next_batch(g, 10);
        CHECK_INT(b->count, 1);
        CHECK(bytes_equal(b->events[0].body, bodies[i]));
        checked_settle(&g->ends, b, true);
    }
    rig_free(g);
}

static void an_idle_link_sleeps(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE | RIG_SINK);
    int64_t end = patience(), until;
    size_t turns = 0;

    wait_for_source(g);
    while (!publish(g, place, 0))
        turn(g, end);
    while (g->ends.in_flight > 0) {
        turn(g, end);
        collect(g);
    }
    checked_settle(&g->ends, next_batch(g, 10), true);
    /* A slow machine takes fewer turns, never more. */
    for (until = clock_ms(CLOCK_MONOTONIC) + 500; clock_ms(CLOCK_MONOTONIC) < until; turns++) {
        g->wake = until < g->wake ? until : g->wake;
        turn(g, end);
    }
    if (turns > 150)
        harness_fail(__FILE__, __LINE__, "%zu turns in half a second without work", turns);
    rig_free(g);
}

/* ---- trouble ---- */

static void a_cut_in_mid_flow_leaves_one_report_each(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SINK);
    struct link_status before;
    int64_t end = patience();

    if (f->flags & FIXTURE_LOSSY)
        fixture_listen(f, place);
    publish_all(g, place, 0, 100);
    before = status_of(g);
    for (size_t n = 100; n < 150;) {
        if (publish(g, place, n)) {
            n++;
        } else {
            turn(g, end);
            collect(g);
        }
    }
    fixture_cut(f);
    publish_all(g, place, 150, 500);
    CHECK_INT(g->reports, 650);
    check_delivered(g, 500);
    CHECK(status_of(g).session != before.session);
    CHECK(status_of(g).reconnects > before.reconnects);
    if (!(f->flags & FIXTURE_LOSSY))
        fixture_listen(f, place);
    check_arrived(g);
    rig_free(g);
}

static void a_source_goes_on_after_a_cut(const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SOURCE);
    struct link_status before;
    int64_t end = patience();

    wait_for_source(g);
    fixture_feed(f, place, 0, 20);
    checked_settle(&g->ends, next_batch(g, 100), true);
    before = status_of(g);
    fixture_cut(f);
    while (status_of(g).session == before.session)
        turn(g, end);
    wait_for_source(g);
    fixture_feed(f, place, 20, 20);
    for (bool last = false; !last;) {
        struct batch *b = next_batch(g, 100);
        for (size_t i = 0; i < b->count; i++)
            last |= number_of(&b->events[i]) == 39;
        checked_settle(&g->ends, b, true);
    }
    /* What may have been sent meanwhile is gone, and that is said. */
    CHECK(keeps(g) || g->ends.gaps > 0);
    rig_free(g);
}

/* Open calls succeed without the broker, it is said to be away, and all works once it is there. */
static void an_absent_broker_is_waited_for(const struct fixture *f, const char *place)
{
    int64_t end;
    struct rig *g;

    fixture_stop(f);
    g = rig_open(f, place, RIG_SOURCE | RIG_SINK);
    end = patience();
    do {
        CHECK(!checked_receive(&g->ends, 10));
        (void)(g->reports + g->ends.in_flight < 10 &&
               publish(g, place, g->reports + g->ends.in_flight));
        turn(g, end);
        collect(g);
    } while (status_of(g).state != LINK_DOWN);
    CHECK(status_of(g).error[0] != 0);
    CHECK_INT(g->delivered, 0);
    fixture_start(f);
    end = patience();
    while (g->ends.in_flight > 0) {
        turn(g, end);
        collect(g);
    }
    wait_for_source(g);
    publish_all(g, place, 20, 20);
    check_delivered(g, 20);
    CHECK_INT(status_of(g).state, LINK_UP);
    CHECK_TEXT(status_of(g).error, "");
    for (bool last = false; !last;) {
        struct batch *b = next_batch(g, 100);
        for (size_t i = 0; i < b->count; i++)
            last |= number_of(&b->events[i]) == 39;
        checked_settle(&g->ends, b, true);
    }
    rig_free(g);
}

static void a_killed_broker_takes_nothing_delivered_along(
    const struct fixture *f, const char *place)
{
    struct rig *g = rig_open(f, place, RIG_SINK);
    int64_t end = patience();
    size_t n = 100;

    publish_all(g, place, 0, 100);
    for (; n < 150;) {
        if (publish(g, place, n)) {
            n++;
        } else {
            turn(g, end);
            collect(g);
        }
    }
    fixture_stop(f);
    end = patience();
    do { /* until the loss is noticed */
        turn(g, end);
        collect(g);
    } while (status_of(g).state == LINK_UP);
    fixture_start(f);
    publish_all(g, place, n, 100);
    CHECK_INT(g->reports, n + 100);
    check_delivered(g, 200);
    if (!(f->flags & FIXTURE_LOSSY)) {
        fixture_listen(f, place);
        check_arrived(g);
    }
    rig_free(g);
}

/* ---- who may come in ---- */

/* Neither end comes up, and each says why. */
static void refused_with_words(const struct fixture *f, const char *place, enum fixture_wrong what)
{
    const char *words = NULL;
    struct rig *g = rig_open_wrong(f, place, RIG_SOURCE | RIG_SINK, what, &words);
    int64_t end = patience();

    for (bool sink_said = false, source_said = false; !sink_said || !source_said;) {
        struct link_status sink = { 0 }, source = { 0 };

        CHECK(!checked_receive(&g->ends, 10));
        CHECK(!publish(g, place, 0));
        turn(g, end);
        g->c->sink_status(g->ends.sink, &sink);
        g->c->source_status(g->ends.source, &source);
        CHECK(sink.state != LINK_UP && source.state != LINK_UP);
        sink_said |= strstr(sink.error, words) != NULL;
        source_said |= strstr(source.error, words) != NULL;
    }
    rig_free(g);
}

static void a_wrong_password_is_said(const struct fixture *f, const char *place)
{
    refused_with_words(f, place, FIXTURE_WRONG_PASSWORD);
}

static void a_broker_of_another_ca_is_refused(const struct fixture *f, const char *place)
{
    refused_with_words(f, place, FIXTURE_WRONG_CA);
}

static void a_broker_of_another_name_is_refused(const struct fixture *f, const char *place)
{
    refused_with_words(f, place, FIXTURE_WRONG_NAME);
}

/* Who is there, as a person's check-up asks: over a connection of its own. */
static void a_broker_tells_who_it_is(const struct fixture *f, const char *place)
{
    void *options = calloc(1, f->connector->link_options_bytes);
    struct link_spec spec = { .name = place, .options = options, .seed = 1 };
    bool tls = !(f->flags & FIXTURE_OPEN);
    struct link_facts facts = { 0 };
    struct fault why = { 0 };

    CHECK(options != NULL);
    f->link_options(options);
    CHECK_INT(f->connector->link_facts(&spec, PATIENCE_MS, &facts, &why), 0);
    CHECK(facts.peer[0]);
    /* "Redis 7.0.15" */
    CHECK(strcasestr(facts.version, f->connector->type) == facts.version);
    CHECK(strpbrk(facts.version, "123456789"));
    CHECK((facts.peer_expires_ms > 0) == tls);
    CHECK(!facts.has_clock || llabs(facts.clock_ahead_ms) <= facts.clock_unsure_ms + 1000);
    if (tls) {
        (void)f->spoil(options, FIXTURE_WRONG_CA);
        CHECK_INT(f->connector->link_facts(&spec, PATIENCE_MS, &facts, &why), -1);
        CHECK_CONTAINS(why.text, "certificate");
    }
    option_done(f->connector->link_options, options);
    free(options);
}

#define NAMED(behaviour) #behaviour, behaviour

static const struct behaviour {
    const char *name;
    void (*run)(const struct fixture *f, const char *place);
    unsigned not_with; /* enum fixture_flag */
    unsigned source;   /* enum connector_trait that its source must have */
} behaviours[] = {
    { NAMED(what_was_kept_does_not_come_again), 0, TRAIT_KEEPS },
    { NAMED(what_was_not_kept_comes_again), 0, TRAIT_KEEPS },
    { NAMED(what_was_never_settled_comes_again), 0, TRAIT_KEEPS },
    { NAMED(a_source_stops_at_its_window_and_goes_on), 0, 0 },
    { NAMED(a_paused_source_hands_over_nothing_new), 0, 0 },
    { NAMED(every_delivered_message_arrives), 0, 0 },
    { NAMED(abandon_reports_everything_at_once), 0, 0 },
    { NAMED(free_with_messages_in_flight_is_clean), 0, 0 },
    { NAMED(bodies_come_back_byte_for_byte), 0, 0 },
    { NAMED(an_idle_link_sleeps), 0, 0 },
    { NAMED(a_cut_in_mid_flow_leaves_one_report_each), FIXTURE_NO_CUT, 0 },
    { NAMED(a_source_goes_on_after_a_cut), FIXTURE_NO_CUT, 0 },
    { NAMED(an_absent_broker_is_waited_for), 0, 0 },
    { NAMED(a_killed_broker_takes_nothing_delivered_along), 0, 0 },
    { NAMED(a_wrong_password_is_said), FIXTURE_OPEN, 0 },
    { NAMED(a_broker_of_another_ca_is_refused), FIXTURE_OPEN, 0 },
    { NAMED(a_broker_of_another_name_is_refused), FIXTURE_OPEN, 0 },
    { NAMED(a_broker_tells_who_it_is), 0, 0 },
};

#define BEHAVIOURS (sizeof behaviours / sizeof behaviours[0])

static struct suite_test {
    struct harness_test test;
    const struct fixture *f;
    const struct behaviour *b;
    char name[128], place[32];
} tests[FIXTURES_MAX * BEHAVIOURS];
static size_t test_count;

static void run_current(void)
{
    for (size_t i = 0; i < test_count; i++)
        if (&tests[i].test == harness_current) {
            if (!getenv(tests[i].f->needs))
                harness_skip(tests[i].f->needs);
            fixture_place(tests[i].f, tests[i].place);
            tests[i].b->run(tests[i].f, tests[i].place);
            return;
        }
    harness_fail(__FILE__, __LINE__, "no such test");
}

static unsigned source_traits(const struct fixture *f)
{
    void *options = calloc(1, f->connector->source_options_bytes);
    unsigned set = 0;

    if (!options)
        abort();
    f->source_options("place", options);
    set = f->connector->source_traits(options).set;
    option_done(f->connector->source_options, options);
    free(options);
    return set;
}

void fixture_add(const struct fixture *f)
{
    unsigned traits = source_traits(f);

    for (size_t i = 0; i < BEHAVIOURS; i++) {
        struct suite_test *t = &tests[test_count];

        if ((behaviours[i].not_with & f->flags) || (behaviours[i].source & ~traits))
            continue;
        if (++test_count == FIXTURES_MAX * BEHAVIOURS)
            abort();
        t->f = f;
        t->b = &behaviours[i];
        (void)snprintf(t->name, sizeof t->name, "%s: %s", f->name, behaviours[i].name);
        (void)snprintf(t->place, sizeof t->place, "%s.%zu", f->name, i);
        t->test = (struct harness_test){ t->name, __FILE__, run_current, NULL };
        harness_add(&t->test);
    }
}
