#include "tests/conformance/nats_rig.h"

#include "tests/conformance/fixture.h"

#include <poll.h>
#include <stdarg.h>

/* ---- a link, at most one source and sink ---- */

struct nats_rig nats_rig;

int64_t nats_rig_clock(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *nats_rig_port(void)
{
    const char *p = getenv("BASCULE_TEST_NATS_PORT");

    if (!p)
        harness_skip("no NATS: BASCULE_TEST_NATS_PORT is not set");
    return p;
}

/* Python with a client `c`. */
void nats_rig_client(const char *format, ...)
{
    char lines[2048];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(lines, sizeof lines, format, args);
    va_end(args);
    fixture_shell("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \"from nats_client "
                  "import *; c = Nats(%s); %s\"",
        getenv("BASCULE_TEST_NATS_CLIENT"), nats_rig_port(), lines);
}

bool nats_rig_client_says(const char *expression)
{
    char line[2400];

    (void)snprintf(line, sizeof line,
        "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s /usr/bin/python3 -c \"from nats_client "
        "import *; c = Nats(%s); exit(not (%s))\"",
        getenv("BASCULE_TEST_NATS_CLIENT"), nats_rig_port(), expression);
    return system(line) == 0;
}

char *nats_rig_text(const char *t)
{
    return (char *)(uintptr_t)t;
}

void nats_rig_open(void)
{
    struct link_spec spec = { "nats", &nats_rig.link, "store-1", 1, NULL };

    if (!nats_rig.link.url) {
        (void)nats_rig_port(); /* skips without a server */
        (void)snprintf(nats_rig.url, sizeof nats_rig.url, "nats://app:secret@127.0.0.1:%s",
            getenv("BASCULE_TEST_NATS_LINE"));
        nats_rig.link.url = nats_rig.url;
    }
    nats_rig.link.connect_timeout_ms = 5000;
    if (!nats_rig.link.ping_interval_ms)
        nats_rig.link.ping_interval_ms = 10000;
    CHECK_INT(connector_nats.link_open(&spec, &nats_rig.l, NULL), 0);
}

void nats_rig_source(void)
{
    if (!nats_rig.from.ack_wait_ms)
        nats_rig.from.ack_wait_ms = 30000;
    nats_rig.source_spec = (struct source_spec){ .route = "r",
        .route_id = 1,
        .options = &nats_rig.from,
        .positions = nats_rig.kept,
        .position_count = nats_rig.kept_n,
        .window_events =
            nats_rig.source_spec.window_events ? nats_rig.source_spec.window_events : 1000,
        .window_bytes =
            nats_rig.source_spec.window_bytes ? nats_rig.source_spec.window_bytes : 64 << 20,
        .max_event_bytes = nats_rig.source_spec.max_event_bytes
                               ? nats_rig.source_spec.max_event_bytes
                               : 16 << 20 };
    CHECK_INT(
        connector_nats.source_open(nats_rig.l, &nats_rig.source_spec, &nats_rig.source, NULL), 0);
}

void nats_rig_sink(const char *subject, const char *stream)
{
    nats_rig.to.subject.text = nats_rig_text(subject);
    nats_rig.to.stream = nats_rig_text(stream);
    nats_rig.to.subject.fixed = !strchr(subject, '$');
    nats_rig.sink_spec = (struct sink_spec){ .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = &nats_rig.to,
        .window_events = 100,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = 20000 };
    CHECK_INT(connector_nats.sink_open(nats_rig.l, &nats_rig.sink_spec, &nats_rig.sink, NULL), 0);
}

void nats_rig_close(void)
{
    connector_nats.source_free(nats_rig.source);
    connector_nats.sink_free(nats_rig.sink);
    connector_nats.link_free(nats_rig.l);
    nats_rig.source = NULL;
    nats_rig.sink = NULL;
    nats_rig.l = NULL;
}

void nats_rig_turn(void)
{
    int64_t now = nats_rig_clock(CLOCK_MONOTONIC), left = nats_rig.wake - now;
    struct pollfd p = { connector_nats.link_pollfd(nats_rig.l), POLLIN, 0 };

    (void)poll(&p, 1, left < 0 ? 0 : left < 20 ? (int)left : 20);
    nats_rig.wake = connector_nats.link_step(
        nats_rig.l, nats_rig_clock(CLOCK_MONOTONIC), nats_rig_clock(CLOCK_REALTIME));
}

struct link_status nats_rig_status(void)
{
    struct link_status s = { 0 };

    if (nats_rig.source)
        connector_nats.source_status(nats_rig.source, &s);
    else
        connector_nats.sink_status(nats_rig.sink, &s);
    return s;
}

/* ---- sinks ---- */

struct report nats_rig_last;
char nats_rig_last_text[200];

bool nats_rig_collected(void)
{
    if (connector_nats.sink_collect(nats_rig.sink, &nats_rig_last, 1) == 0)
        return false;
    (void)snprintf(nats_rig_last_text, sizeof nats_rig_last_text, "%s",
        nats_rig_last.text ? nats_rig_last.text : "");
    return true;
}

/* Publishes one and waits for its report. */
enum fate nats_rig_publish(const char *subject, const char *token, struct event *e)
{
    struct message m = { .ref = 7, .event = e, .token = bytes_text(token) };

    m.fields[NATS_SLOT_SUBJECT] = bytes_text(subject);
    UNTIL(connector_nats.sink_publish(nats_rig.sink, &m, 1) == 1);
    UNTIL(nats_rig_collected());
    CHECK_INT(nats_rig_last.ref, 7);
    return nats_rig_last.fate;
}

enum fate nats_rig_publish_text(const char *subject, const char *token)
{
    struct event e = { .body = bytes_text("body"), .id = bytes_text("i") };

    return nats_rig_publish(subject, token, &e);
}

/* ---- sources ---- */

void nats_rig_from_stream(const char *stream)
{
    nats_rig.from.stream = nats_rig_text(stream);
    nats_rig.from.durable = nats_rig_text("d");
}

/* As the store: what a committed batch says of positions. */
static void keep(const struct batch *b)
{
    for (size_t i = 0; i < b->position_count; i++) {
        const struct position *p = &b->positions[i];
        size_t at = 0;

        while (at < nats_rig.kept_n && !bytes_equal(nats_rig.kept[at].name, p->name))
            at++;
        if (!bytes_present(p->value)) {
            if (at < nats_rig.kept_n)
                nats_rig.kept[at] = nats_rig.kept[--nats_rig.kept_n];
            continue;
        }
        CHECK(at < NATS_RIG_POSITIONS_MAX);
        if (at == nats_rig.kept_n) {
            nats_rig.kept_n++;
            nats_rig.kept[at].name =
                bytes_of(memcpy(malloc(p->name.n + 1), p->name.at, p->name.n), p->name.n);
        }
        nats_rig.kept[at].value =
            bytes_of(memcpy(malloc(p->value.n + 1), p->value.at, p->value.n), p->value.n);
    }
    for (size_t i = 0; i < b->gap_count; i++) {
        nats_rig.gaps++;
        nats_rig.gap_count += b->gaps[i].count;
        nats_rig.gap_end_ms = b->gaps[i].end_ms;
        (void)snprintf(nats_rig.gap_cause, sizeof nats_rig.gap_cause, "%.*s",
            (int)b->gaps[i].cause.n, (const char *)b->gaps[i].cause.at);
    }
}

/* The next batch, committed but not settled. */
struct batch *nats_rig_receive(void)
{
    struct batch *b = NULL;

    UNTIL((b = connector_nats.source_receive(nats_rig.source, 1000)));
    keep(b);
    return b;
}

/* Takes n events, settled as kept; the last one's body. */
const char *nats_rig_take(size_t n)
{
    static char body[200];

    for (size_t got = 0; got < n;) {
        struct batch *b = nats_rig_receive();
        got += b->count;
        if (b->count)
            (void)snprintf(body, sizeof body, "%.*s", (int)b->events[b->count - 1].body.n,
                (const char *)b->events[b->count - 1].body.at);
        connector_nats.source_settle(nats_rig.source, b, true);
        CHECK(got <= n);
    }
    return body;
}

/* n events, committed but never settled. */
void nats_rig_hold(size_t n)
{
    for (size_t got = 0; got < n;)
        got += nats_rig_receive()->count;
}

/* The next batch with events. */
struct batch *nats_rig_receive_events(void)
{
    struct batch *b = NULL;

    while ((b = nats_rig_receive())->count == 0)
        connector_nats.source_settle(nats_rig.source, b, true);
    return b;
}

/* Until a gap was told; batches with events fail. */
void nats_rig_take_gap(void)
{
    size_t before = nats_rig.gaps;

    while (nats_rig.gaps == before) {
        struct batch *b = nats_rig_receive();
        CHECK_INT(b->count, 0);
        connector_nats.source_settle(nats_rig.source, b, true);
    }
}

void nats_rig_feed(const char *subject, int first, int n)
{
    nats_rig_client("[None for _ in c.publish_all(('%s', b'%%d' %% i, {}) for i in range(%d, %d))]",
        subject, first, first + n);
}
