/* What supervisors and Prometheus are told about a bridge, over its admin socket. */
#include "tests/harness.h"
#include "tests/sim/desk.h"

#include <stdlib.h>
#include <string.h>

static void turns(struct desk *d, int64_t ms)
{
    for (int64_t until = d->rig.now_ms + ms; d->rig.now_ms < until;)
        desk_turn(d);
}

static void settle(struct desk *d)
{
    CHECK(rig_settle(&d->rig, 20000));
}

/* Asked from this thread, so that the clock moves by a few turns only. */
static json_t *get(struct desk *d, const char *path, int status)
{
    char *answer = desk_text(d, path), *body = strstr(answer, "\r\n\r\n");
    json_t *ret = body ? json_loads(body, 0, NULL) : NULL;

    CHECK_INT(atoi(answer + strcspn(answer, " ")), status);
    if (!ret)
        harness_fail(__FILE__, __LINE__, "no JSON in %s", answer);
    return ret;
}

/* What /ready says of the route; "" when it is ready. Lent until the next call. */
static const char *trouble(struct desk *d, int status)
{
    static char text[512];
    json_t *a = get(d, "/ready", status);
    const char *why = json_string_value(json_object_get(json_object_get(a, "routes"), "orders"));

    (void)snprintf(text, sizeof text, "%s", why ? why : "");
    json_decref(a);
    return text;
}

static void health_is(struct desk *d, const char *wanted, int status)
{
    json_t *a = get(d, "/health", status);

    CHECK_TEXT(json_string_value(json_object_get(a, "status")), wanted);
    CHECK_TEXT(json_string_value(json_object_get(a, "service")), "bascule");
    CHECK(json_is_integer(json_object_get(json_object_get(a, "metrics"), "uptime_seconds")));
    CHECK(json_object_get(json_object_get(a, "dependencies"), "world"));
    json_decref(a);
}

TEST(a_route_with_nothing_to_do_is_ready_for_ever)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 80, 2);
    desk_open(&d);
    world_publish(&d.rig.world, 10);
    settle(&d);
    turns(&d, 120000);
    CHECK_TEXT(trouble(&d, 200), "");
    health_is(&d, "healthy", 200);
    d.rig.world.sinks[0].blocked = true;
    world_publish(&d.rig.world, 1); /* the first one after a long silence is not late */
    turns(&d, 500);
    CHECK_INT(rig_sink(&d.rig, 0).pending, 1);
    CHECK_TEXT(trouble(&d, 200), "");
    desk_close(&d);
}

TEST(a_paused_route_is_not_ready_and_names_who_paused_it)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 81, 2);
    desk_open(&d);
    json_decref(desk_post(&d, "/v1/routes/orders/pause", NULL));
    CHECK(strstr(trouble(&d, 503), "paused by uid"));
    health_is(&d, "unhealthy", 503);
    json_decref(desk_post(&d, "/v1/routes/orders/resume", NULL));
    CHECK_TEXT(trouble(&d, 200), "");
    desk_close(&d);
}

TEST(a_paused_sink_is_not_ready_once_something_is_pending)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 82, 2);
    desk_open(&d);
    json_decref(desk_post(&d, "/v1/routes/orders/sinks/one/pause", NULL));
    CHECK_TEXT(trouble(&d, 200), "");
    world_publish(&d.rig.world, 3);
    turns(&d, 500);
    CHECK(strstr(trouble(&d, 503), "sink 'one' is paused by uid"));
    desk_close(&d);
}

TEST(a_sink_that_finishes_nothing_for_half_a_minute_is_not_ready_until_it_does)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 83, 2);
    desk_open(&d);
    d.rig.world.sinks[0].blocked = true;
    world_publish(&d.rig.world, 5);
    turns(&d, 25000);
    CHECK_TEXT(trouble(&d, 200), "");
    turns(&d, 10000);
    CHECK(strstr(trouble(&d, 503), "sink 'one' has 5 events pending and finished none for 3"));
    CHECK(strstr(desk_text(&d, "/metrics"), "bascule_route_ready{route=\"orders\"} 0\n"));
    d.rig.world.sinks[0].blocked = false;
    settle(&d);
    CHECK_TEXT(trouble(&d, 200), "");
    desk_close(&d);
}

TEST(a_source_that_cannot_be_asked_is_not_ready)
{
    struct desk d = { 0 };

    rig_init(&d.rig, 84, 1);
    d.rig.world.source_up = false;
    desk_open(&d);
    turns(&d, 1000);
    CHECK(strstr(trouble(&d, 503), "its source is not connected"));
    desk_close(&d);
}

/* ---- metrics ---- */

/* The value of a line; fails the test when there is none. */
static double metric(const char *page, const char *line)
{
    char wanted[256];
    const char *at;

    (void)snprintf(wanted, sizeof wanted, "\n%s ", line);
    at = strstr(page, wanted);
    if (!at)
        harness_fail(__FILE__, __LINE__, "no %s in the metrics", line);
    return strtod(at + strlen(wanted), NULL);
}

#define SINK(name) "bascule_" name "{route=\"orders\",sink=\"one\"}"

TEST(metrics_count_what_became_of_every_event)
{
    struct desk d = { 0 };
    const char *page;
    double sum;

    rig_init(&d.rig, 85, 2);
    d.rig.world.ids = true;
    d.rig.world.sinks[0].refuse_every = 5;
    d.rig.world.reordered = 6;
    desk_open(&d);
    world_publish(&d.rig.world, 20);
    settle(&d);
    page = desk_text(&d, "/metrics");
    CHECK(strstr(page, "Content-Type: text/plain; version=0.0.4"));
    CHECK_INT(metric(page, "bascule_committed_events_total{route=\"orders\"}"), 20);
    CHECK_INT(metric(page, "bascule_source_reordered_total{route=\"orders\"}"), 6);
    CHECK_INT(metric(page, SINK("accepted_events_total")), 20);
    CHECK_INT(metric(page, SINK("dead_letters")), 4);
    CHECK_INT(metric(page, SINK("pending_events")), 0);
    CHECK_INT(metric(page, SINK("sink_balanced")), 1);
    sum = metric(page, SINK("delivered_events_total")) + metric(page, SINK("pending_events")) +
          metric(page, SINK("dead_letters")) + metric(page, SINK("dropped_events_total")) +
          metric(page, SINK("diverted_events_total"));
    CHECK_INT(sum, 20);
    CHECK_INT(metric(page, SINK("confirm_duration_seconds_count")), 16);
    CHECK_INT(metric(page, SINK("refusals_total")), 4);
    CHECK_INT(
        metric(page, "integration_total{type=\"scripted\",operation=\"publish\",success=\"true\"}"),
        36);
    CHECK_INT(metric(page,
                  "integration_total{type=\"scripted\",operation=\"publish\",success=\"false\"}"),
        4);
    CHECK(metric(page, "bascule_commit_duration_seconds_count") > 0);
    desk_close(&d);
}
