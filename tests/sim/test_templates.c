/* What a route and a sink make of an event: ordering keys, record keys, headers. */
#include "bridge/base/header.h"
#include "tests/harness.h"
#include "tests/sim/rig.h"

static struct template *open_template(const char *text)
{
    struct template *t;
    struct fault why;

    CHECK_INT(template_open(text, &t, &why), 0);
    return t;
}

/* All events have one ordering key by now, whatever their record keys: they come one by one. */
static void check_one_by_one(struct rig *g)
{
    g->sinks[0].max_in_flight_per_key = 1;
    g->world.keep_position = true;
    g->world.sinks[0].lose = 30;
    g->world.sinks[0].nack = 50;
    g->sinks[0].max_attempts = 0;
    rig_start(g);
    world_publish(&g->world, 60);
    for (int i = 0; i < 100; i++)
        rig_turn(g, false);
    rig_crash(g);
    rig_start(g);
    g->world.sinks[0].lose = g->world.sinks[0].nack = 0;
    CHECK(rig_settle(g, 20000));
    CHECK_INT(g->world.sinks[0].most_in_flight, 1);
    for (size_t i = 0; i < 60; i++)
        CHECK_INT(g->world.sinks[0].first_order[i], i + 1);
    rig_check(g, true);
    rig_done(g);
}

TEST(a_routes_own_key_orders_events_of_different_record_keys)
{
    struct rig g;

    rig_init(&g, 51, 1);
    g.route.key = open_template("${address}");
    check_one_by_one(&g);
    template_free(g.route.key);
}

TEST(a_sinks_own_key_orders_events_of_different_record_keys)
{
    struct rig g;

    rig_init(&g, 52, 1);
    g.sinks[0].key = open_template("${address}");
    g.sinks[0].own_key = true;
    check_one_by_one(&g);
    CHECK_TEXT(g.world.sinks[0].key, "from"); /* and it is the record key that is sent */
    template_free(g.sinks[0].key);
}

TEST(a_route_key_whose_value_is_missing_leaves_events_unordered)
{
    struct rig g;

    rig_init(&g, 53, 1);
    g.route.key = open_template("${header.customer}");
    g.sinks[0].max_in_flight_per_key = 1;
    rig_start(&g);
    world_publish(&g.world, 200);
    CHECK(rig_settle(&g, 20000));
    CHECK(g.world.sinks[0].most_in_flight > WORLD_KEYS); /* more than one of a record key */
    rig_check(&g, false);
    rig_done(&g);
    template_free(g.route.key);
}

static void check_header(const struct world_sink *s, const char *name, const char *value)
{
    struct header h;

    CHECK(header_find(bytes_of(s->headers, s->header_bytes), bytes_text(name), &h));
    CHECK_INT(h.value.type, HEADER_TEXT);
    CHECK(bytes_equal(h.value.bytes, bytes_text(value)));
}

TEST(a_sinks_headers_replace_those_of_the_same_name_and_keep_the_others)
{
    struct config_header headers[] = {
        { .name = (char *)(uintptr_t) "source", .value = open_template("${route}/${id}") },
        { .name = (char *)(uintptr_t) "new", .value = open_template("fixed") },
    };
    struct buf received;
    struct rig g;

    buf_init(&received, 512);
    header_put_text(&received, HEADER_USER, "source", bytes_text("old"));
    header_put_text(&received, HEADER_USER, "kept", bytes_text("as it was"));
    rig_init(&g, 54, 1);
    g.world.headers = buf_bytes(&received);
    g.sinks[0].headers = headers;
    g.sinks[0].header_count = 2;
    rig_start(&g);
    world_publish(&g.world, 1);
    CHECK(rig_settle(&g, 20000));
    check_header(&g.world.sinks[0], "source", "orders/origin-0");
    check_header(&g.world.sinks[0], "kept", "as it was");
    check_header(&g.world.sinks[0], "new", "fixed");
    rig_done(&g);
    template_free(headers[0].value);
    template_free(headers[1].value);
    buf_done(&received);
}

TEST(an_event_that_lacks_a_value_for_a_sinks_header_is_a_dead_letter)
{
    struct config_header header = { .name = (char *)(uintptr_t) "customer",
        .value = open_template("${header.customer}") };
    char text[2][64];
    struct relay_dead dead;
    struct rig g;

    rig_init(&g, 55, 1);
    g.sinks[0].headers = &header;
    g.sinks[0].header_count = 1;
    rig_start(&g);
    world_publish(&g.world, 3);
    CHECK(rig_settle(&g, 20000));
    CHECK_INT(rig_sink(&g, 0).counts.dead, 3);
    for (int i = 0; i < 5; i++)
        rig_turn(&g, false); /* until their rows are committed */
    CHECK(rig_dead(&g, 0, text, &dead));
    CHECK_TEXT(text[0], "template");
    rig_check(&g, true);
    rig_done(&g);
    template_free(header.value);
}
