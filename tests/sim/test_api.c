/* The admin socket over a whole bridge: real store, real relay, real HTTP; scripted brokers and a
 * fake clock underneath. */
#include "tests/harness.h"
#include "tests/sim/desk.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void refused(struct desk *d, const char *method, const char *path, json_t *body, int status)
{
    json_t *a = desk_ask(d, method, path, body, status);

    CHECK(json_is_string(json_object_get(a, "code")));
    CHECK(json_is_string(json_object_get(a, "message")));
    CHECK(json_object_get(a, "details"));
    json_decref(a);
}

static void settle(struct desk *d)
{
    CHECK(rig_settle(&d->rig, 20000));
}

static long long number(const json_t *o, const char *name)
{
    if (!json_is_integer(json_object_get(o, name)))
        harness_fail(__FILE__, __LINE__, "'%s' is not a number in %s", name, json_dumps(o, 0));
    return json_integer_value(json_object_get(o, name));
}

static const char *text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static const json_t *row(const json_t *answer, size_t i)
{
    const json_t *ret = json_array_get(json_object_get(answer, "rows"), i);

    if (!ret)
        harness_fail(__FILE__, __LINE__, "no row %zu in %s", i, json_dumps(answer, 0));
    return ret;
}

static size_t row_count(const json_t *answer)
{
    return json_array_size(json_object_get(answer, "rows"));
}

/* Sink one refuses numbers 3, 8, 13, …: dead letters 1, 2, 3, …; sink two takes all. */
static void with_dead(struct desk *d, size_t events)
{
    rig_init(&d->rig, 77, 2);
    d->rig.world.ids = true;
    d->rig.world.sinks[0].refuse_every = 5;
    desk_open(d);
    world_publish(&d->rig.world, events);
    settle(d);
}

TEST(the_newest_dead_letters_come_first_when_asked)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 20);
    a = desk_get(&d, "/v1/dead-letters?newest=1&limit=2");
    CHECK_INT(row_count(a), 2);
    CHECK_INT(number(row(a, 0), "number"), 4);
    CHECK_INT(number(row(a, 1), "number"), 3);
    json_decref(a);
    a = desk_get(&d, "/v1/dead-letters?limit=2");
    CHECK_INT(number(row(a, 0), "number"), 1);
    json_decref(a);
    desk_close(&d);
}

TEST(api_status_tells_routes_sinks_store_and_connections)
{
    struct desk d = { 0 };
    json_t *a, *route, *sink;

    with_dead(&d, 20);
    d.rig.world.reordered = 3;
    a = desk_get(&d, "/v1/status");
    route = json_array_get(json_object_get(a, "routes"), 0);
    sink = json_array_get(json_object_get(route, "sinks"), 0);
    CHECK_TEXT(text(route, "name"), "orders");
    CHECK_INT(number(route, "accepted"), 20);
    CHECK_INT(number(route, "reordered"), 3);
    CHECK_INT(number(json_object_get(sink, "counts"), "dead"), 4);
    CHECK_INT(number(json_object_get(sink, "counts"), "delivered"), 16);
    CHECK_INT(number(json_object_get(sink, "counts"), "accepted"), 20);
    CHECK(json_is_true(json_object_get(sink, "balanced")));
    CHECK_TEXT(text(sink, "breaker"), "closed");
    CHECK(number(json_object_get(a, "store"), "used_bytes") > 0);
    CHECK_TEXT(text(json_array_get(json_object_get(a, "connections"), 0), "name"), "world");
    json_decref(a);
    a = desk_get(&d, "/v1/routes/orders");
    CHECK_TEXT(text(json_object_get(a, "route"), "name"), "orders");
    json_decref(a);
    a = desk_get(&d, "/v1/version");
    CHECK_INT(number(a, "api"), 1);
    json_decref(a);
    refused(&d, "GET", "/v1/routes/nobody", NULL, 404);
    refused(&d, "GET", "/v1/nothing", NULL, 404);
    refused(&d, "DELETE", "/v1/status", NULL, 405);
    desk_close(&d);
}

TEST(api_answers_a_change_once_it_is_on_disk)
{
    static const char request[] =
        "POST /v1/routes/orders/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
    struct relay_route_status status;
    struct desk d = { 0 };
    char answer[4096];
    int fd;

    rig_init(&d.rig, 79, 1);
    desk_open(&d);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(write(fd, request, sizeof request - 1), (ssize_t)(sizeof request - 1));
    d.stuck = true;
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    relay_route_status(d.rig.relay, 0, &status);
    CHECK(status.paused);
    CHECK_INT(read(fd, answer, sizeof answer), -1);
    d.stuck = false;
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK(read(fd, answer, sizeof answer) > 0);
    (void)close(fd);
    desk_close(&d);
}

TEST(api_pause_holds_resume_goes_on_and_both_are_on_record)
{
    struct desk d = { 0 };
    json_t *a;

    rig_init(&d.rig, 78, 2);
    desk_open(&d);
    json_decref(desk_post(&d, "/v1/routes/orders/sinks/one/pause", NULL));
    world_publish(&d.rig.world, 10);
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 0);
    CHECK_INT(rig_sink(&d.rig, 1).counts.delivered, 10);
    CHECK_CONTAINS(rig_sink(&d.rig, 0).paused_by, "uid ");
    json_decref(desk_post(&d, "/v1/routes/orders/sinks/one/resume", NULL));
    settle(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 10);
    json_decref(desk_post(&d, "/v1/routes/orders/pause", NULL));
    world_publish(&d.rig.world, 10);
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 10);
    CHECK(!d.rig.world.events[19].acknowledged);
    json_decref(desk_post(&d, "/v1/routes/orders/resume", NULL));
    settle(&d);
    refused(&d, "POST", "/v1/routes/orders/sinks/nine/pause", NULL, 400);
    a = desk_get(&d, "/v1/audit");
    CHECK(row_count(a) >= 5);
    CHECK_TEXT(text(row(a, 0), "what"), "pause");
    CHECK_TEXT(text(row(a, 0), "object"), "orders/one");
    CHECK_INT(number(row(a, 0), "uid"), getuid());
    CHECK_INT(number(row(a, 0), "pid"), getpid());
    CHECK_CONTAINS(text(row(a, 4), "result"), "nine");
    json_decref(a);
    desk_close(&d);
}

TEST(api_breaker_opens_by_hand_and_resets)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 79, 2);
    d.rig.sinks[0].open_for_ms = 1 << 30;
    desk_open(&d);
    refused(
        &d, "POST", "/v1/routes/orders/sinks/one/breaker", json_pack("{s:s}", "open", "yes"), 400);
    json_decref(
        desk_post(&d, "/v1/routes/orders/sinks/one/breaker", json_pack("{s:b}", "open", 1)));
    world_publish(&d.rig.world, 10);
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).breaker, RELAY_BREAKER_OPEN);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 0);
    CHECK_INT(rig_sink(&d.rig, 1).counts.delivered, 10);
    json_decref(
        desk_post(&d, "/v1/routes/orders/sinks/one/breaker", json_pack("{s:b}", "open", 0)));
    settle(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 10);
    desk_close(&d);
}

TEST(api_drain_of_one_sink_feeds_it_no_more_and_leaves_the_other)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 80, 2);
    desk_open(&d);
    json_decref(desk_post(&d, "/v1/routes/orders/sinks/one/drain", NULL));
    world_publish(&d.rig.world, 10);
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 0);
    CHECK_INT(rig_sink(&d.rig, 0).pending, 10);
    CHECK_INT(rig_sink(&d.rig, 1).counts.delivered, 10);
    CHECK(rig_sink(&d.rig, 0).draining);
    json_decref(desk_post(&d, "/v1/routes/orders/sinks/one/resume", NULL));
    settle(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 10);
    desk_close(&d);
}

TEST(api_dead_letters_are_listed_in_pages_grouped_and_shown)
{
    struct desk d = { 0 };
    json_t *a;
    char path[64];

    with_dead(&d, 50);
    a = desk_get(&d, "/v1/dead-letters?limit=4");
    CHECK_INT(row_count(a), 4);
    CHECK(json_is_true(json_object_get(a, "more")));
    (void)snprintf(path, sizeof path, "/v1/dead-letters?limit=9&after=%lld", number(a, "after"));
    json_decref(a);
    a = desk_get(&d, path);
    CHECK_INT(row_count(a), 6);
    CHECK(!json_is_true(json_object_get(a, "more")));
    json_decref(a);
    a = desk_get(&d, "/v1/dead-letters/groups");
    CHECK_INT(row_count(a), 1);
    CHECK_INT(number(row(a, 0), "count"), 10);
    CHECK_TEXT(text(row(a, 0), "sink"), "one");
    (void)snprintf(path, sizeof path, "/v1/dead-letters/%lld", number(row(a, 0), "example"));
    json_decref(a);
    a = desk_get(&d, path);
    CHECK_TEXT(text(a, "reason"), "refused");
    CHECK_CONTAINS(text(a, "body"), "event ");
    CHECK_CONTAINS(text(a, "origin"), "origin-");
    CHECK(json_is_array(json_object_get(a, "attempt_list")));
    json_decref(a);
    a = desk_get(&d, "/v1/dead-letters?sink=two");
    CHECK_INT(row_count(a), 0);
    json_decref(a);
    refused(&d, "GET", "/v1/dead-letters/999", NULL, 404);
    refused(&d, "GET", "/v1/dead-letters/x", NULL, 400);
    refused(&d, "GET", "/v1/dead-letters?limit=0", NULL, 400);
    refused(&d, "GET", "/v1/dead-letters?limit=1x", NULL, 400);
    desk_close(&d);
}

TEST(api_an_edited_dead_letter_goes_as_edited_and_keeps_what_came_in)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 5);
    json_decref(desk_post(&d, "/v1/dead-letters/1/edit",
        json_pack("{s:s, s:{s:s}}", "body", "event 4", "set_headers", "mended", "yes")));
    a = desk_get(&d, "/v1/dead-letters/1");
    CHECK_TEXT(text(a, "body"), "event 3");
    CHECK_TEXT(text(a, "edited_body"), "event 4");
    json_decref(a);
    a = desk_post(&d, "/v1/dead-letters/retry", json_pack("{s:i}", "number", 1));
    CHECK_INT(number(a, "changed"), 1);
    json_decref(a);
    for (int i = 0; i < 200; i++)
        desk_turn(&d);
    CHECK_INT(d.rig.world.sinks[0].arrived[4], 2);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dead, 0);
    refused(&d, "POST", "/v1/dead-letters/1/edit", json_pack("{s:s}", "body", "x"), 409);
    refused(
        &d, "POST", "/v1/dead-letters/1/edit", json_pack("{s:{s:i}}", "set_headers", "n", 1), 400);
    desk_close(&d);
}

TEST(api_dead_letters_are_dropped_and_retried_by_filter)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 50);
    a = desk_post(
        &d, "/v1/dead-letters/drop", json_pack("{s:i, s:s}", "number", 2, "because", "a test"));
    CHECK_INT(number(a, "changed"), 1);
    json_decref(a);
    for (int i = 0; i < 50; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dropped_person, 1);
    refused(&d, "POST", "/v1/dead-letters/drop", json_pack("{s:i}", "number", 2), 404);
    d.rig.world.sinks[0].refuse_every = 0;
    a = desk_post(&d, "/v1/dead-letters/retry",
        json_pack("{s:s, s:s, s:i}", "route", "orders", "reason", "refused", "limit", 5));
    CHECK_INT(number(a, "changed"), 5);
    CHECK(json_is_true(json_object_get(a, "more")));
    json_decref(a);
    a = desk_post(&d, "/v1/dead-letters/retry", json_pack("{s:s}", "sink", "one"));
    CHECK(!json_is_true(json_object_get(a, "more")));
    json_decref(a);
    for (int i = 0; i < 300; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 49);
    a = desk_get(&d, "/v1/audit");
    CHECK_TEXT(text(row(a, 0), "what"), "dead_letter_drop");
    CHECK_CONTAINS(text(row(a, 0), "detail"), "a test");
    json_decref(a);
    desk_close(&d);
}

TEST(api_a_filter_touches_no_other_dead_letter)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 50);
    a = desk_post(&d, "/v1/dead-letters/drop",
        json_pack("{s:s, s:i, s:i}", "route", "orders", "first_seq", 4, "last_seq", 4));
    CHECK_INT(number(a, "changed"), 1);
    json_decref(a);
    refused(&d, "POST", "/v1/dead-letters/drop", json_pack("{s:s}", "match", "event 8"), 400);
    refused(&d, "POST", "/v1/dead-letters/drop", json_pack("{s:s}", "key", "k1"), 400);
    refused(&d, "POST", "/v1/dead-letters/drop", json_pack("{s:{}}", "code"), 400);
    for (int i = 0; i < 50; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dropped_person, 1);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dead, 9);
    desk_close(&d);
}

TEST(api_a_group_is_retried_by_its_cause)
{
    struct desk d = { 0 };
    json_t *a, *group;

    with_dead(&d, 50);
    d.rig.sinks[0].max_attempts = 1;
    d.rig.sinks[0].failure_threshold = 0;
    d.rig.world.sinks[0].unroutable = 1000;
    world_publish(&d.rig.world, 1);
    for (int i = 0; i < 300; i++)
        desk_turn(&d);
    d.rig.world.sinks[0].unroutable = 0;
    a = desk_get(&d, "/v1/dead-letters/groups");
    CHECK_INT(row_count(a), 2);
    group = json_deep_copy(row(a, 1));
    json_decref(a);
    CHECK_TEXT(text(group, "reason"), "unroutable");
    a = desk_post(&d, "/v1/dead-letters/retry",
        json_pack("{s:O, s:O, s:O, s:O, s:O}", "route", json_object_get(group, "route"), "sink",
            json_object_get(group, "sink"), "reason", json_object_get(group, "reason"), "code",
            json_object_get(group, "code"), "text", json_object_get(group, "text")));
    CHECK_INT(number(a, "changed"), 1);
    json_decref(a);
    a = desk_post(
        &d, "/v1/dead-letters/retry", json_pack("{s:i, s:s}", "code", -192, "text", "no such"));
    CHECK_INT(number(a, "changed"), 0);
    json_decref(a);
    json_decref(group);
    for (int i = 0; i < 300; i++)
        desk_turn(&d);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dead, 10);
    desk_close(&d);
}

static json_t *job_after(struct desk *d, const char *path, const char *state, int turns_max)
{
    json_t *a = desk_get(d, path);

    while (strcmp(text(a, "state"), state) != 0 && turns_max-- > 0) {
        json_decref(a);
        desk_turn(d);
        a = desk_get(d, path);
    }
    CHECK_TEXT(text(a, "state"), state);
    return a;
}

TEST(api_a_replay_is_planned_run_and_counted)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 50);
    a = desk_post(&d, "/v1/replays",
        json_pack("{s:s, s:i, s:i, s:s}", "route", "orders", "first_seq", 1, "last_seq", 20,
            "to_sink", "orders/two"));
    CHECK_TEXT(text(a, "state"), "planned");
    CHECK_INT(number(a, "number"), 1);
    CHECK_INT(number(a, "selected"), 20);
    CHECK_INT(number(a, "left_out"), 0);
    CHECK_INT(strlen(text(a, "digest")), 16);
    CHECK_INT(number(json_array_get(json_object_get(a, "parts"), 0), "last_seq"), 20);
    CHECK(number(json_array_get(json_object_get(a, "parts"), 0), "bytes") > 0);
    json_decref(a);
    CHECK_INT(d.rig.world.sinks[1].replayed, 0);
    json_decref(desk_post(&d, "/v1/replays/1/run", NULL));
    a = job_after(&d, "/v1/replays/1", "done", 500);
    CHECK_INT(number(a, "delivered"), 20);
    json_decref(a);
    CHECK_INT(d.rig.world.sinks[1].replayed, 20);
    CHECK_INT(rig_sink(&d.rig, 1).counts.delivered, 50); /* first deliveries alone */
    a = desk_get(&d, "/v1/replays");
    CHECK_INT(row_count(a), 1);
    json_decref(a);
    refused(&d, "POST", "/v1/replays/1/run", NULL, 400);
    refused(&d, "POST", "/v1/replays/1/fly", NULL, 404);
    refused(&d, "GET", "/v1/replays/7", NULL, 404);
    refused(&d, "POST", "/v1/replays", json_pack("{s:s}", "id", "nobody"), 404);
    refused(
        &d, "POST", "/v1/replays", json_pack("{s:s, s:s}", "route", "orders", "to_sink", "x"), 400);
    refused(&d, "POST", "/v1/replays",
        json_pack("{s:s, s:s}", "route", "orders", "to_sink", "orders/nine"), 400);
    rig_check(&d.rig, true);
    desk_close(&d);
}

TEST(api_a_replay_pauses_resumes_and_is_cancelled)
{
    struct desk d = { 0 };
    json_t *a;
    uint32_t sent;

    with_dead(&d, 200);
    json_decref(desk_post(&d, "/v1/replays",
        json_pack("{s:s, s:s, s:i}", "route", "orders", "sink", "two", "rate", 1000)));
    json_decref(desk_post(&d, "/v1/replays/1/run", NULL));
    while (d.rig.world.sinks[1].replayed == 0)
        desk_turn(&d);
    json_decref(desk_post(&d, "/v1/replays/1/pause", NULL));
    for (int i = 0; i < 50; i++)
        desk_turn(&d);
    sent = d.rig.world.sinks[1].replayed;
    CHECK(sent < 200);
    for (int i = 0; i < 300; i++)
        desk_turn(&d);
    CHECK_INT(d.rig.world.sinks[1].replayed, sent);
    json_decref(desk_post(&d, "/v1/replays/1/resume", NULL));
    while (d.rig.world.sinks[1].replayed == sent)
        desk_turn(&d);
    json_decref(desk_post(&d, "/v1/replays/1/cancel", NULL));
    a = job_after(&d, "/v1/replays/1", "cancelled", 500);
    CHECK(number(a, "delivered") < 200);
    json_decref(a);
    refused(&d, "POST", "/v1/replays/1/resume", NULL, 400);
    desk_close(&d);
}

TEST(api_a_plan_that_nobody_runs_ends_as_cancelled)
{
    struct desk d = { 0 };

    with_dead(&d, 20);
    json_decref(desk_post(&d, "/v1/replays", json_pack("{s:s}", "route", "orders")));
    d.rig.unix_ms += 3601 * 1000;
    d.rig.now_ms += 3601 * 1000;
    json_decref(job_after(&d, "/v1/replays/1", "cancelled", 100));
    refused(&d, "POST", "/v1/replays/1/run", NULL, 400);
    CHECK_INT(d.rig.world.sinks[0].replayed, 0);
    desk_close(&d);
}

TEST(api_a_dead_letter_of_a_replay_is_retried_after_its_job)
{
    struct desk d = { 0 };
    json_t *a;

    with_dead(&d, 20);
    json_decref(
        desk_post(&d, "/v1/replays", json_pack("{s:s, s:s}", "route", "orders", "sink", "one")));
    json_decref(desk_post(&d, "/v1/replays/1/run", NULL));
    a = job_after(&d, "/v1/replays/1", "done", 500);
    CHECK_INT(number(a, "delivered"), 16);
    CHECK_INT(number(a, "dead"), 4);
    json_decref(a);
    a = desk_get(&d, "/v1/dead-letters");
    CHECK_INT(row_count(a), 8); /* a replay does not resolve dead letters */
    json_decref(a);
    d.rig.world.sinks[0].refuse_every = 0;
    a = desk_post(&d, "/v1/dead-letters/retry", json_pack("{s:s}", "sink", "one"));
    CHECK_INT(number(a, "changed"), 8);
    json_decref(a);
    for (int i = 0; i < 300; i++)
        desk_turn(&d);
    CHECK_INT(d.rig.world.sinks[0].arrived[3], 1);
    CHECK_INT(d.rig.world.sinks[0].replayed, 16 + 4);
    CHECK_INT(rig_sink(&d.rig, 0).counts.dead, 0);
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 20);
    CHECK(rig_sink(&d.rig, 0).balanced);
    a = desk_get(&d, "/v1/dead-letters");
    CHECK_INT(row_count(a), 0);
    json_decref(a);
    desk_close(&d);
}

TEST(api_a_replay_to_a_disabled_sink_is_refused)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 84, 2);
    d.rig.sinks[1].enabled = false;
    desk_open(&d);
    world_publish(&d.rig.world, 10);
    for (int i = 0; i < 100; i++)
        desk_turn(&d);
    refused(&d, "POST", "/v1/replays",
        json_pack("{s:s, s:s}", "route", "orders", "to_sink", "orders/two"), 400);
    refused(
        &d, "POST", "/v1/replays", json_pack("{s:s, s:s}", "route", "orders", "sink", "two"), 400);
    json_decref(desk_post(&d, "/v1/replays", json_pack("{s:s}", "route", "orders")));
    json_decref(desk_post(&d, "/v1/replays/1/run", NULL));
    json_decref(job_after(&d, "/v1/replays/1", "done", 500));
    desk_close(&d);
}

TEST(api_a_plan_leaves_out_what_is_still_pending_and_says_so)
{
    struct desk d = { 0 };
    json_t *a;

    rig_init(&d.rig, 81, 2);
    desk_open(&d);
    world_publish(&d.rig.world, 10);
    settle(&d);
    d.rig.world.sinks[0].up = false;
    world_publish(&d.rig.world, 5);
    for (int i = 0; i < 100; i++)
        desk_turn(&d);
    a = desk_post(&d, "/v1/replays", json_pack("{s:s}", "route", "orders"));
    CHECK_INT(number(a, "selected"), 10 + 15);
    CHECK_INT(number(a, "left_out"), 5);
    json_decref(a);
    desk_close(&d);
}

TEST(api_traces_an_event_with_every_attempt)
{
    struct desk d = { 0 };
    json_t *a;

    rig_init(&d.rig, 82, 2);
    d.rig.world.ids = true;
    d.rig.world.sinks[0].nack = 1000;
    d.rig.sinks[0].failure_threshold = 0;
    desk_open(&d);
    world_publish(&d.rig.world, 1);
    for (int i = 0; i < 1000; i++)
        desk_turn(&d);
    a = desk_get(&d, "/v1/routes/orders/events/1");
    CHECK_INT(row_count(a), 2);
    CHECK_TEXT(text(row(a, 0), "sink"), "one");
    CHECK_TEXT(text(row(a, 0), "fate"), "dead");
    CHECK_TEXT(text(row(a, 1), "fate"), "delivered");
    json_decref(a);
    a = desk_get(&d, "/v1/routes/orders/events/1/attempts");
    CHECK_INT(row_count(a), 4);
    CHECK(number(row(a, 3), "time_ms") >= number(row(a, 0), "time_ms"));
    CHECK_TEXT(text(row(a, 0), "sink"), "one");
    json_decref(a);
    a = desk_get(&d, "/v1/events/origin-0");
    CHECK_INT(row_count(a), 2);
    json_decref(a);
    refused(&d, "GET", "/v1/routes/orders/events/9", NULL, 404);
    refused(&d, "GET", "/v1/routes/orders/events/0", NULL, 400);
    refused(&d, "GET", "/v1/events/nobody", NULL, 404);
    desk_close(&d);
}

TEST(api_events_gaps_and_store_answer)
{
    struct desk d = { 0 };
    json_t *a;
    int left = 2000;

    with_dead(&d, 30);
    a = desk_get(&d, "/v1/events?route=orders&limit=20&all=true");
    CHECK_INT(row_count(a), 20);
    CHECK(json_is_true(json_object_get(a, "more")));
    CHECK_CONTAINS(text(row(a, 0), "body"), "event ");
    json_decref(a);
    a = desk_get(&d, "/v1/events?route=orders&limit=20&after=20");
    CHECK_INT(row_count(a), 10);
    CHECK_INT(number(row(a, 0), "seq"), 21);
    CHECK(!json_is_true(json_object_get(a, "more")));
    json_decref(a);
    refused(&d, "GET", "/v1/events?after=20", NULL, 400);
    a = desk_get(&d, "/v1/events?route=orders&first_seq=30&last_seq=30");
    CHECK_INT(row_count(a), 1);
    json_decref(a);
    a = desk_get(&d, "/v1/gaps");
    CHECK_INT(row_count(a), 0);
    json_decref(a);
    a = desk_get(&d, "/v1/store");
    CHECK_INT(number(row(a, 0), "events"), 30);
    json_decref(a);
    refused(&d, "GET", "/v1/store/backup", NULL, 404);
    refused(&d, "POST", "/v1/store/backup", json_pack("{s:s}", "path", "here"), 400);
    refused(&d, "POST", "/v1/store/check", json_pack("{s:s}", "salvage", "here"), 400);
    json_decref(desk_post(&d, "/v1/store/check", json_object()));
    do {
        a = desk_get(&d, "/v1/store/check");
        if (json_is_true(json_object_get(a, "running")))
            json_decref(a);
        else
            break;
    } while (left--);
    CHECK(json_is_true(json_object_get(a, "ended")));
    CHECK_INT(number(a, "damages"), 0);
    json_decref(a);
    desk_close(&d);
}

TEST(api_backs_up_while_events_flow)
{
    struct desk d = { 0 };
    json_t *a = NULL;
    char path[4096], here[4000];
    int left = 2000;

    with_dead(&d, 30);
    CHECK(getcwd(here, sizeof here));
    (void)snprintf(path, sizeof path, "%s/copy.db", here);
    json_decref(desk_post(&d, "/v1/store/backup", json_pack("{s:s}", "path", path)));
    world_publish(&d.rig.world, 100);
    do {
        json_decref(a);
        a = desk_get(&d, "/v1/store/backup");
    } while (!json_is_true(json_object_get(a, "done")) && left--);
    CHECK(json_is_true(json_object_get(a, "done")));
    json_decref(a);
    CHECK_INT(access("copy.db", R_OK), 0);
    settle(&d);
    desk_close(&d);
}

TEST(api_bodies_that_are_no_object_are_refused)
{
    struct desk d = { 0 };

    with_dead(&d, 5);
    refused(&d, "POST", "/v1/dead-letters/retry", json_array(), 400);
    refused(&d, "POST", "/v1/dead-letters/retry", json_pack("{s:s}", "number", "one"), 400);
    refused(&d, "POST", "/v1/dead-letters/retry", json_pack("{s:i}", "number", -1), 400);
    refused(&d, "POST", "/v1/replays", json_pack("{s:{}}", "rate"), 400);
    desk_close(&d);
}

static int dial(void)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    CHECK_INT(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
    return fd;
}

TEST(api_clients_that_drip_or_never_read_do_not_hold_the_relay)
{
    static const char drip[] =
        "POST /v1/replays HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{";
    static const char asked[] =
        "GET /v1/events?route=orders&all=true&limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n";
    struct desk d = { 0 };
    int dripping, deaf[4];
    size_t dripped = 0;
    int turns = 0;

    rig_init(&d.rig, 83, 2);
    desk_open(&d);
    world_publish(&d.rig.world, 2000);
    settle(&d);
    dripping = dial();
    for (size_t i = 0; i < 4; i++) {
        deaf[i] = dial();
        CHECK_INT(write(deaf[i], asked, sizeof asked - 1), sizeof asked - 1);
    }
    world_publish(&d.rig.world, 1000);
    /* As many turns as it takes without these clients, and some. */
    while (rig_sink(&d.rig, 0).counts.delivered < 3000 && turns++ < 1000) {
        if (dripped < sizeof drip - 1)
            CHECK_INT(write(dripping, &drip[dripped++], 1), 1);
        desk_turn(&d);
    }
    CHECK_INT(rig_sink(&d.rig, 0).counts.delivered, 3000);
    CHECK_INT(rig_sink(&d.rig, 1).counts.delivered, 3000);
    json_decref(desk_get(&d, "/v1/status"));
    for (size_t i = 0; i < 4; i++)
        (void)close(deaf[i]);
    (void)close(dripping);
    for (int i = 0; i < 20; i++)
        desk_turn(&d);
    json_decref(desk_get(&d, "/v1/status"));
    desk_close(&d);
}
