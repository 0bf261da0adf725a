/* Looking on at a whole bridge while it works: what is shown, what is not, and that nothing waits
 * for who looks. */
#include "bridge/base/header.h"
#include "tests/harness.h"
#include "tests/sim/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (8u << 20)

/* A client of its own, read while the bridge turns. */
struct looker {
    int fd;
    char *answer;
    size_t n;
    json_t *lines; /* parsed so far */
    size_t parsed;
    bool ended;
};

static void look(struct desk *d, struct looker *l, const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
    char request[256];

    *l = (struct looker){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0),
        .answer = malloc(ANSWER_MAX),
        .lines = json_array() };
    CHECK(l->answer);
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    CHECK_INT(connect(l->fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(write(l->fd, request, strlen(request)), (ssize_t)strlen(request));
    for (int i = 0; i < 5; i++)
        desk_turn(d);
}

static void away(struct looker *l)
{
    (void)close(l->fd);
    free(l->answer);
    json_decref(l->lines);
}

/* What came so far, line by line. */
static void take(struct looker *l)
{
    ssize_t got;

    while ((got = read(l->fd, l->answer + l->n, ANSWER_MAX - 1 - l->n)) > 0)
        l->n += (size_t)got;
    l->ended = l->ended || got == 0;
    l->answer[l->n] = '\0';
    if (l->parsed == 0) {
        char *body = strstr(l->answer, "\r\n\r\n");

        if (!body)
            return;
        l->parsed = (size_t)(body + 4 - l->answer);
    }
    for (char *end; (end = strchr(l->answer + l->parsed, '\n')) != NULL;) {
        json_t *line =
            json_loadb(l->answer + l->parsed, (size_t)(end - l->answer) - l->parsed, 0, NULL);

        if (!line)
            harness_fail(__FILE__, __LINE__, "not JSON: %s", l->answer + l->parsed);
        json_array_append_new(l->lines, line);
        l->parsed = (size_t)(end + 1 - l->answer);
    }
}

static const char *what(const json_t *line)
{
    const char *text = json_string_value(json_object_get(line, "what"));

    return text ? text : "";
}

static size_t count(const struct looker *l, const char *of)
{
    json_t *line;
    size_t i, n = 0;

    json_array_foreach(l->lines, i, line) n += strcmp(what(line), of) == 0;
    return n;
}

static const json_t *nth(const struct looker *l, const char *of, size_t nth)
{
    json_t *line;
    size_t i;

    json_array_foreach(
        l->lines, i, line) if (strcmp(what(line), of) == 0 && nth-- == 0) return line;
    harness_fail(__FILE__, __LINE__, "no such line '%s' in %s", of, json_dumps(l->lines, 0));
    return NULL;
}

static long long number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static long long not_shown(const struct looker *l, const char *because)
{
    long long sum = 0;

    for (size_t i = 0; i < count(l, "not_shown"); i++) {
        const json_t *line = nth(l, "not_shown", i);

        if (strcmp(json_string_value(json_object_get(line, "because")), because) == 0)
            sum += number(line, "count");
    }
    return sum;
}

/* Until that many lines of the kind are there; the bridge's clock goes on meanwhile. */
static void await(struct desk *d, struct looker *l, const char *of, size_t n)
{
    for (int i = 0; i < 20000 && count(l, of) < n; i++) {
        desk_turn(d);
        take(l);
    }
    if (count(l, of) < n)
        harness_fail(__FILE__, __LINE__, "%zu of %zu lines '%s': %s", count(l, of), n, of,
            json_dumps(l->lines, 0));
}

/* All is finished, and what was seen of it has been told. */
static void settle(struct desk *d, struct looker *l)
{
    int64_t until;

    for (int i = 0; i < 20000 && rig_sink(&d->rig, 0).frontier <= d->rig.world.count; i++) {
        desk_turn(d);
        take(l);
    }
    CHECK_INT(rig_sink(&d->rig, 0).frontier, d->rig.world.count + 1);
    for (until = d->rig.now_ms + 2500; d->rig.now_ms < until;) {
        desk_turn(d);
        take(l);
    }
}

static void open_desk(struct desk *d, size_t sinks)
{
    rig_init(&d->rig, 91, sinks);
    d->rig.world.ids = true;
    desk_open(d);
}

TEST(a_tap_shows_each_event_once_it_is_in_the_log)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 1);
    look(&d, &l, "/v1/routes/orders/tap");
    world_publish(&d.rig.world, 5);
    settle(&d, &l);
    CHECK_INT(count(&l, "begin"), 1);
    CHECK_INT(count(&l, "received"), 5);
    CHECK_INT(number(nth(&l, "received", 4), "seq"), 5);
    CHECK_TEXT(json_string_value(json_object_get(nth(&l, "received", 0), "route")), "orders");
    CHECK(json_is_string(json_object_get(nth(&l, "received", 0), "id")));
    CHECK(number(nth(&l, "received", 0), "body_bytes") > 0);
    CHECK(!json_object_get(nth(&l, "received", 0), "body"));
    CHECK(count(&l, "alive") > 0);
    away(&l);
    desk_close(&d);
}

TEST(a_tap_shows_nothing_that_is_not_on_disk)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 1);
    look(&d, &l, "/v1/routes/orders/tap");
    await(&d, &l, "begin", 1);
    world_publish(&d.rig.world, 5);
    d.stuck = true;
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    d.stuck = false;
    take(&l);
    CHECK_INT(count(&l, "received"), 0);
    await(&d, &l, "received", 5);
    away(&l);
    desk_close(&d);
}

TEST(a_tap_of_a_sink_tells_every_answer_and_every_end)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 2);
    d.rig.world.sinks[0].refuse_every = 5;
    look(&d, &l, "/v1/routes/orders/sinks/one/tap?sent=1");
    world_publish(&d.rig.world, 10);
    settle(&d, &l);
    CHECK_INT(count(&l, "delivered"), 8);
    CHECK_INT(count(&l, "sent"), 10);
    CHECK_INT(count(&l, "refused"), 2);
    CHECK_INT(count(&l, "dead"), 2);
    CHECK_INT(number(nth(&l, "dead", 0), "seq"), number(nth(&l, "refused", 0), "seq"));
    CHECK_TEXT(json_string_value(json_object_get(nth(&l, "delivered", 0), "lane")), "live");
    CHECK(number(nth(&l, "delivered", 0), "took_ms") >= 0);
    away(&l);
    desk_close(&d);
}

TEST(a_tap_shows_what_fits_and_bodies_when_asked)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 1);
    look(&d, &l, "/v1/routes/orders/tap?match=event%207&bodies=1");
    world_publish(&d.rig.world, 20);
    settle(&d, &l);
    CHECK_INT(count(&l, "received"), 1);
    CHECK_INT(number(nth(&l, "received", 0), "seq"), 8);
    CHECK_TEXT(json_string_value(json_object_get(nth(&l, "received", 0), "body")), "event 7");
    CHECK(json_is_array(json_object_get(nth(&l, "received", 0), "headers")));
    CHECK_INT(count(&l, "not_shown"), 0);
    away(&l);
    desk_close(&d);
}

TEST(a_sample_is_of_the_same_events_at_source_and_sink)
{
    struct desk d = { 0 };
    struct looker source, sink;

    open_desk(&d, 1);
    look(&d, &source, "/v1/routes/orders/tap?sample=10&rate=1000");
    look(&d, &sink, "/v1/routes/orders/sinks/one/tap?sample=10&rate=1000");
    world_publish(&d.rig.world, 1000);
    settle(&d, &source);
    take(&sink);
    CHECK(count(&source, "received") > 60 && count(&source, "received") < 140);
    CHECK_INT(count(&sink, "delivered"), count(&source, "received"));
    CHECK_INT(
        number(nth(&source, "received", 7), "seq"), number(nth(&sink, "delivered", 7), "seq"));
    CHECK_INT(count(&source, "not_shown"), 0);
    away(&source);
    away(&sink);
    desk_close(&d);
}

TEST(what_comes_faster_than_the_rate_is_counted_and_told)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 1);
    look(&d, &l, "/v1/routes/orders/tap?rate=10");
    world_publish(&d.rig.world, 500);
    settle(&d, &l);
    CHECK(count(&l, "received") >= 10 && count(&l, "received") < 100);
    CHECK_INT((long long)count(&l, "received") + not_shown(&l, "rate"), 500);
    away(&l);
    desk_close(&d);
}

TEST(a_client_that_does_not_read_holds_nothing_back_and_is_told_what_it_missed)
{
    struct desk d = { 0 };
    struct buf headers;
    char long_text[2000];
    struct looker l;

    memset(long_text, 'x', sizeof long_text);
    buf_init(&headers, 4096);
    header_put_text(&headers, HEADER_USER, "long", bytes_of(long_text, sizeof long_text));
    open_desk(&d, 1);
    d.rig.world.headers = buf_bytes(&headers);
    look(&d, &l, "/v1/routes/orders/tap?rate=1000&bodies=1");
    for (int i = 0; i < 8; i++) {
        int64_t until = d.rig.now_ms + 1000;

        world_publish(&d.rig.world, 500);
        while (d.rig.now_ms < until)
            desk_turn(&d);
    }
    CHECK(rig_settle(&d.rig, 20000));
    /* However long it sleeps, what it missed is not forgotten. */
    for (int i = 0; i < 96; i++) {
        int64_t until = d.rig.now_ms + 10000;

        world_publish(&d.rig.world, 1);
        while (d.rig.now_ms < until)
            desk_turn(&d);
    }
    settle(&d, &l);
    CHECK(not_shown(&l, "slow_client") > 1000);
    CHECK_INT((long long)count(&l, "received") + not_shown(&l, "slow_client"), 4096);
    buf_done(&headers);
    away(&l);
    desk_close(&d);
}

TEST(a_few_taps_at_once_and_one_that_went_makes_room)
{
    struct desk d = { 0 };
    struct looker l[TAPS_MAX];

    open_desk(&d, 1);
    for (size_t i = 0; i < TAPS_MAX; i++)
        look(&d, &l[i], "/v1/routes/orders/tap");
    json_decref(desk_ask(&d, "GET", "/v1/routes/orders/tap", NULL, 503));
    json_decref(desk_ask(&d, "GET", "/v1/routes/nobody/tap", NULL, 404));
    json_decref(desk_ask(&d, "GET", "/v1/routes/orders/sinks/nobody/tap", NULL, 404));
    json_decref(desk_ask(&d, "GET", "/v1/routes/orders/tap?sample=0", NULL, 400));
    json_decref(desk_ask(&d, "GET", "/v1/routes/orders/tap?rate=1001", NULL, 400));
    away(&l[0]);
    for (int64_t until = d.rig.now_ms + 5000; d.rig.now_ms < until;) /* it hears of it by writing */
        desk_turn(&d);
    look(&d, &l[0], "/v1/routes/orders/tap");
    await(&d, &l[0], "begin", 1);
    for (size_t i = 0; i < TAPS_MAX; i++)
        away(&l[i]);
    desk_close(&d);
}

TEST(a_tap_goes_on_through_a_reload_and_ends_with_its_sink)
{
    struct desk d = { 0 };
    struct looker stays, goes;
    const struct relay_reload_ask drop = { (const char *const[]){ "orders/two" }, NULL, 1, 0 };

    open_desk(&d, 2);
    look(&d, &stays, "/v1/routes/orders/sinks/one/tap");
    look(&d, &goes, "/v1/routes/orders/sinks/two/tap");
    world_publish(&d.rig.world, 3);
    settle(&d, &stays);
    d.rig.route.sink_count = 1;
    d.rig.sinks[0].window_events++;
    rig_reload_now(&d.rig, &drop);
    api_reconfigure(d.api, relay_config(d.rig.relay), d.rig.unix_ms);
    world_publish(&d.rig.world, 3);
    await(&d, &stays, "delivered", 6);
    CHECK_INT(count(&stays, "reloaded"), 1);
    CHECK_INT(count(&stays, "end"), 0);
    await(&d, &goes, "end", 1);
    CHECK_TEXT(json_string_value(json_object_get(nth(&goes, "end", 0), "because")), "gone");
    for (int i = 0; i < 1000 && !goes.ended; i++) {
        desk_turn(&d);
        take(&goes);
    }
    CHECK(goes.ended);
    away(&stays);
    away(&goes);
    d.rig.route.sink_count = 2; /* what rig_init() made goes with it */
    desk_close(&d);
}

TEST(a_tap_says_that_the_bridge_ends)
{
    struct desk d = { 0 };
    struct looker l;

    open_desk(&d, 1);
    look(&d, &l, "/v1/routes/orders/tap");
    world_publish(&d.rig.world, 3);
    await(&d, &l, "received", 3);
    api_stop(d.api);
    desk_close(&d);
    take(&l);
    CHECK(l.ended);
    CHECK_TEXT(json_string_value(json_object_get(nth(&l, "end", 0), "because")), "stopping");
    away(&l);
}
