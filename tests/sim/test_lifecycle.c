/* What routes that read the bridge itself hear of it. */
#include "tests/harness.h"
#include "tests/sim/hearing.h"

#include "routes/relay_inside.h"
#include "routes/tell.h"

#define DEAD "integration.dead_letter_added"
#define REGISTERED "integration.registered"

static struct hearing h;

static void settle(void)
{
    CHECK(rig_settle(&h.rig, 20000));
    hearing_turns(&h, 2 * LIFECYCLE_FOLD_MS);
}

TEST(every_route_but_its_own_is_told_at_start)
{
    const struct heard *e;

    hearing_init(&h, 1, 2, 1);
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    CHECK_INT(hearing_count(&h, REGISTERED), 1);
    e = hearing_last(&h, REGISTERED);
    CHECK_TEXT(heard_text(e, "route"), "orders");
    CHECK_TEXT(heard_text(e, "reason"), "start");
    CHECK_TEXT(heard_text(e, "host"), "here");
    CHECK_TEXT(heard_text(e, "service"), "bascule");
    CHECK_TEXT(heard_text(e, "store"), store_id(h.rig.store));
    CHECK_TEXT(heard_text(e, "time"), "2023-11-14T22:13:20.000Z");
    CHECK_TEXT(e->key, "orders");
    CHECK(e->json);
    CHECK_TEXT(heard_text(e, "id"), e->id);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_dead_letter_is_told_with_its_reason_and_place)
{
    const struct heard *e;

    hearing_init(&h, 2, 1, 1);
    h.rig.world.sinks[0].refuse_every = 17;
    rig_start(&h.rig);
    world_publish(&h.rig.world, 10);
    settle();
    CHECK_INT(hearing_count(&h, DEAD), 1);
    e = hearing_last(&h, DEAD);
    CHECK_TEXT(heard_text(e, "route"), "orders");
    CHECK_TEXT(heard_text(e, "sink"), "one");
    CHECK_TEXT(heard_text(e, "reason"), "refused");
    CHECK_TEXT(heard_text(e, "event"), "orders@4");
    CHECK_INT(heard_number(e, "code"), 311);
    CHECK_INT(heard_number(e, "dead_letter"), 1);
    CHECK(heard_null(e, "replay"));
    rig_check(&h.rig, true);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_storm_of_dead_letters_is_told_once_a_second_and_every_one_is_counted)
{
    hearing_init(&h, 3, 1, 1);
    h.rig.world.sinks[0].refuse_every = 4;
    rig_start(&h.rig);
    world_publish(&h.rig.world, 4000);
    settle();
    CHECK_INT(rig_sink(&h.rig, 0).counts.dead, 1000);
    CHECK_INT(hearing_sum(&h, DEAD), 1000);
    CHECK(hearing_count(&h, DEAD) > 1);
    CHECK(hearing_count(&h, DEAD) < 40);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(what_a_storm_has_folded_is_told_before_the_process_ends)
{
    hearing_init(&h, 4, 1, 1);
    h.rig.world.sinks[0].refuse_every = 4;
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    world_publish(&h.rig.world, 40);
    for (int i = 0; i < 2000 && rig_sink(&h.rig, 0).counts.dead < 10; i++)
        rig_turn(&h.rig, false);
    CHECK_INT(rig_sink(&h.rig, 0).counts.dead, 10);
    CHECK(hearing_sum(&h, DEAD) < 10);
    rig_stop(&h.rig);
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    CHECK_INT(hearing_sum(&h, DEAD), 10);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(trouble_of_a_route_that_hears_is_told_to_nobody_who_could_make_more_of_it)
{
    struct relay_route_status s;
    uint64_t heard;

    hearing_init(&h, 5, 1, 2);
    h.refuses = true; /* what both tell of is refused at both */
    h.rig.world.sinks[0].refuse_every = 4;
    rig_start(&h.rig);
    world_publish(&h.rig.world, 4);
    settle();
    hearing_turns(&h, 10000); /* health is told */
    CHECK_INT(rig_sink(&h.rig, 0).counts.dead, 1);
    relay_route_status(h.rig.relay, 1, &s);
    heard = s.accepted;
    CHECK(heard > 1);
    hearing_turns(&h, 60000);
    relay_route_status(h.rig.relay, 1, &s);
    CHECK_INT(s.accepted, heard);
    rig_stop(&h.rig);
    hearing_done(&h);
}

/* As when what is told goes out to a broker and comes back in over an ordinary route. */
TEST(what_is_told_of_an_event_has_come_as_far_round_as_the_event)
{
    hearing_init(&h, 6, 1, 1);
    h.rig.world.hops = 7;
    h.rig.world.sinks[0].refuse_every = 4;
    rig_start(&h.rig);
    world_publish(&h.rig.world, 4);
    settle();
    CHECK_INT(hearing_last(&h, DEAD)->hops, 8);
    CHECK_INT(hearing_last(&h, REGISTERED)->hops, 1);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_breaker_is_told_when_it_opens_and_when_it_closes)
{
    const struct heard *e;

    hearing_init(&h, 7, 1, 1);
    h.rig.sinks[0].open_for_ms = 5000;
    h.rig.world.sinks[0].broker_state = 1000;
    rig_start(&h.rig);
    world_publish(&h.rig.world, 50);
    hearing_turns(&h, 4000);
    CHECK_INT(hearing_count(&h, "integration.circuit_breaker_opened"), 1);
    e = hearing_last(&h, "integration.circuit_breaker_opened");
    CHECK_TEXT(heard_text(e, "sink"), "one");
    CHECK_TEXT(heard_text(e, "by"), "failures");
    CHECK_INT(heard_number(e, "open_for_ms"), 5000);
    CHECK_INT(heard_number(e, "failure_threshold"), 5);
    h.rig.world.sinks[0].broker_state = 0;
    settle();
    CHECK_INT(hearing_count(&h, "integration.circuit_breaker_closed"), 1);
    CHECK_TEXT(heard_text(hearing_last(&h, "integration.circuit_breaker_closed"), "by"), "probe");
    rig_stop(&h.rig);
    hearing_done(&h);
}

#define LIMIT "integration.rate_limit_exceeded"

TEST(a_rate_limit_that_holds_something_back_is_told_once_until_it_was_quiet)
{
    hearing_init(&h, 8, 1, 1);
    h.rig.sinks[0].rate_limit = 10000;
    rig_start(&h.rig);
    hearing_turns(&h, 2000);
    world_publish(&h.rig.world, 5); /* within a second's worth */
    settle();
    CHECK_INT(hearing_count(&h, LIMIT), 0);
    world_publish(&h.rig.world, 100);
    settle();
    CHECK_INT(hearing_count(&h, LIMIT), 1);
    CHECK(heard_number(hearing_last(&h, LIMIT), "pending") > 0);
    world_publish(&h.rig.world, 100); /* it goes on */
    settle();
    CHECK_INT(hearing_count(&h, LIMIT), 1);
    hearing_turns(&h, TELL_RATE_QUIET_MS);
    world_publish(&h.rig.world, 100);
    settle();
    CHECK_INT(hearing_count(&h, LIMIT), 2);
    rig_stop(&h.rig);
    hearing_done(&h);
}

#define HEALTH "integration.health_check"

/* The last one of that scope. */
static const struct heard *health(const char *scope)
{
    for (size_t i = h.count; i-- > 0;)
        if (strcmp(h.heard[i].address, HEALTH) == 0 &&
            strcmp(heard_text(&h.heard[i], "scope"), scope) == 0)
            return &h.heard[i];
    harness_fail(__FILE__, __LINE__, "nothing was heard of the health of a %s", scope);
}

TEST(health_is_told_once_it_has_lasted_and_again_when_it_changes)
{
    size_t told;

    hearing_init(&h, 9, 1, 1);
    rig_start(&h.rig);
    hearing_turns(&h, TELL_HEALTH_MS + 2000);
    CHECK_TEXT(heard_text(health("bridge"), "status"), "healthy");
    CHECK_TEXT(heard_text(health("route"), "status"), "healthy");
    CHECK_TEXT(heard_text(health("route"), "route"), "orders");
    CHECK(heard_null(health("route"), "previous"));
    CHECK_TEXT(heard_text(health("connection"), "status"), "healthy");
    told = hearing_count(&h, HEALTH);
    hearing_turns(&h, 60000);
    CHECK_INT(hearing_count(&h, HEALTH), told);
    h.rig.world.source_up = false; /* it flickers */
    hearing_turns(&h, 2000);
    h.rig.world.source_up = true;
    hearing_turns(&h, 60000);
    CHECK_INT(hearing_count(&h, HEALTH), told);
    h.rig.world.source_up = false;
    hearing_turns(&h, TELL_HEALTH_MS + 2000);
    CHECK_TEXT(heard_text(health("route"), "status"), "unhealthy");
    CHECK_TEXT(heard_text(health("route"), "previous"), "healthy");
    CHECK_CONTAINS(heard_text(health("route"), "reason"), "not connected");
    CHECK_TEXT(heard_text(health("connection"), "connection"), "world");
    CHECK_TEXT(heard_text(health("connection"), "status"), "unhealthy");
    CHECK_TEXT(heard_text(health("bridge"), "status"), "degraded");
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_pause_is_told_with_who_did_it)
{
    struct fault why;

    hearing_init(&h, 10, 1, 1);
    rig_start(&h.rig);
    CHECK_INT(relay_pause(h.rig.relay, "orders", "one", true, "uid 7", h.rig.unix_ms, &why), 0);
    hearing_turns(&h, 100);
    CHECK_TEXT(heard_text(hearing_last(&h, "integration.paused"), "by"), "uid 7");
    CHECK_TEXT(heard_text(hearing_last(&h, "integration.paused"), "sink"), "one");
    CHECK_INT(relay_pause(h.rig.relay, "orders", NULL, false, "uid 8", h.rig.unix_ms, &why), 0);
    hearing_turns(&h, 100);
    CHECK_TEXT(heard_text(hearing_last(&h, "integration.resumed"), "by"), "uid 8");
    CHECK(heard_null(hearing_last(&h, "integration.resumed"), "sink"));
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_route_hears_what_it_asked_for_about_the_routes_it_named)
{
    hearing_init(&h, 11, 1, 2);
    hearing_of(&h, 0, "integration.re*", "or*");
    hearing_of(&h, 1, "*", "nobody");
    rig_start(&h.rig);
    hearing_turns(&h, TELL_HEALTH_MS + 2000);
    CHECK_INT(h.count, 1);
    CHECK_TEXT(h.heard[0].address, REGISTERED);
    CHECK_TEXT(h.heard[0].key, "orders");
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(what_a_route_does_not_take_in_time_is_a_gap_that_is_counted)
{
    struct fault why;
    struct relay_route_status s;
    struct query_spec gaps = { .kind = QUERY_GAPS, .limit = 10, .deadline_ms = 100000 };
    struct query_answer a;
    size_t said = 0;

    hearing_init(&h, 12, 1, 1);
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    h.deaf = true; /* it is about the log, not about what is sent */
    CHECK_INT(relay_pause(h.rig.relay, "audit", NULL, true, "me", h.rig.unix_ms, &why), 0);
    for (; said < 20000; said++)
        tell_unregistered(relay_lifecycle(h.rig.relay), "none", false);
    CHECK_INT(relay_pause(h.rig.relay, "audit", NULL, false, "me", h.rig.unix_ms, &why), 0);
    hearing_turns(&h, 2000);
    relay_route_status(h.rig.relay, 1, &s);
    CHECK_INT(s.gaps, 1);
    rig_query(&h.rig, &gaps, &a);
    CHECK_INT(a.rows.row_count, 1);
    CHECK_INT((uint64_t)a.rows.cells[6].i + s.accepted, 1 + said);
    query_answer_done(&a);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_changed_route_goes_on_hearing_where_it_was)
{
    struct fault why;

    hearing_init(&h, 13, 1, 1);
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    CHECK_INT(h.count, 1);
    CHECK_INT(relay_pause(h.rig.relay, "audit", NULL, true, "me", h.rig.unix_ms, &why), 0);
    tell_unregistered(relay_lifecycle(h.rig.relay), "one", false);
    tell_unregistered(relay_lifecycle(h.rig.relay), "two", false);
    h.routes[1].window_events = 99;
    h.sinks[0].window_events = 99;
    rig_reload_now(&h.rig, NULL);
    CHECK_INT(h.rig.reloaded, RELAY_RELOAD_DONE);
    CHECK_INT(relay_pause(h.rig.relay, "audit", NULL, false, "me", h.rig.unix_ms, &why), 0);
    hearing_turns(&h, 1000);
    CHECK_INT(hearing_count(&h, "integration.unregistered"), 2);
    CHECK_INT(hearing_count(&h, REGISTERED), 1);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_reload_tells_of_the_routes_that_changed_and_of_no_others)
{
    hearing_init(&h, 14, 1, 2);
    h.rig.route_count = 2;
    hearing_of(&h, 1, "*", NULL);
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    CHECK_INT(hearing_count(&h, REGISTERED), 1);
    h.rig.route_count = 3;
    rig_reload_now(&h.rig, NULL);
    hearing_turns(&h, 100);
    /* The first hears of the second, which does not hear of itself, nor of what was there before.
     */
    CHECK_INT(hearing_count(&h, REGISTERED), 2);
    CHECK_TEXT(heard_text(hearing_last(&h, REGISTERED), "route"), "second");
    CHECK_TEXT(heard_text(hearing_last(&h, REGISTERED), "reason"), "added");
    h.rig.sinks[0].window_events = 77;
    rig_reload_now(&h.rig, NULL);
    hearing_turns(&h, 100);
    CHECK_INT(hearing_count(&h, REGISTERED), 4);
    CHECK_TEXT(heard_text(hearing_last(&h, REGISTERED), "reason"), "changed");
    h.rig.route_count = 2;
    rig_reload_now(&h.rig, NULL);
    hearing_turns(&h, 100);
    CHECK_TEXT(heard_text(hearing_last(&h, "integration.unregistered"), "route"), "second");
    rig_stop(&h.rig);
    hearing_done(&h);
}

/* Whatever moment it dies in: the first dead letter and what is told of it are on disk together. */
TEST(a_dead_letter_on_record_is_told_though_the_process_dies_at_once)
{
    for (int turns = 0; turns < 40; turns++) {
        struct query_spec dead = { .kind = QUERY_DEAD, .limit = 100, .deadline_ms = 100000 };
        struct query_answer a;
        size_t rows;

        hearing_init(&h, 100 + (uint64_t)turns, 1, 1);
        hearing_of(&h, 0, DEAD, NULL);
        h.rig.world.sinks[0].refuse_every = 17;
        rig_start(&h.rig);
        world_publish(&h.rig.world, 10);
        for (int i = 0; i < turns; i++)
            rig_turn(&h.rig, false);
        rig_crash(&h.rig);
        h.rig.world.sinks[0].refuse_every = 0;
        rig_start(&h.rig);
        rig_query(&h.rig, &dead, &a);
        rows = a.rows.row_count;
        query_answer_done(&a);
        hearing_turns(&h, 200);
        CHECK_INT(rows ? 1 : 0, hearing_count(&h, DEAD) ? 1 : 0);
        rig_stop(&h.rig);
        hearing_done(&h);
        (void)remove("store.db");
        (void)remove("store.db-wal");
        (void)remove("store.db-shm");
    }
}

TEST(a_full_store_is_told_while_it_is_full_and_when_it_has_room_again)
{
    hearing_init(&h, 15, 1, 1);
    h.rig.max_size = 150 << 10;
    h.rig.world.sinks[0].up = false;
    rig_start(&h.rig);
    for (int i = 0; i < 60 && hearing_count(&h, "integration.store_full") == 0; i++) {
        world_publish(&h.rig.world, 60);
        hearing_turns(&h, 400);
    }
    CHECK_INT(hearing_count(&h, "integration.store_full"), 1);
    CHECK(heard_number(hearing_last(&h, "integration.store_full"), "used_bytes") > 100000);
    h.rig.world.sinks[0].up = true;
    for (size_t i = 0; i < 2; i++)
        store_route_retain(h.rig.store, h.rig.relay->routes[i]->id, 1, 1);
    hearing_turns(&h, 60000);
    CHECK_INT(hearing_count(&h, "integration.store_full"), 1);
    CHECK_INT(hearing_count(&h, "integration.store_resumed"), 1);
    rig_stop(&h.rig);
    hearing_done(&h);
}

TEST(a_route_that_drains_hears_no_more_and_goes_when_it_has_told_what_it_had)
{
    static const char *const names[] = { "audit" };
    struct relay_reload_ask ask = { .drain = names, .drain_count = 1 };
    struct fault why;

    hearing_init(&h, 16, 1, 1);
    h.deaf = true;
    rig_start(&h.rig);
    hearing_turns(&h, 100);
    h.rig.route_count = 1;
    rig_reload_now(&h.rig, &ask);
    CHECK_INT(relay_route_count(h.rig.relay), 2);
    CHECK_INT(relay_pause(h.rig.relay, "orders", NULL, true, "me", h.rig.unix_ms, &why), 0);
    hearing_turns(&h, 100);
    h.deaf = false;
    hearing_turns(&h, 3000);
    CHECK_INT(h.count, 1);
    CHECK_INT(relay_route_count(h.rig.relay), 1);
    rig_stop(&h.rig);
    hearing_done(&h);
}

static bool heard_before(size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(h.heard[k].id, h.heard[i].id) == 0)
            return true;
    return false;
}

/* Dead letters that were told of, each event once. */
static int64_t dead_told(void)
{
    int64_t n = 0;

    for (size_t i = 0; i < h.count; i++)
        if (strcmp(h.heard[i].address, DEAD) == 0 && !heard_before(i))
            n += heard_number(&h.heard[i], "count");
    return n;
}

static void trouble(struct random *random)
{
    struct world_sink *s = &h.rig.world.sinks[random_below(random, 2)];

    s->refuse_every = random_below(random, 2) ? 4 + (int)random_below(random, 30) : 0;
    s->nack = (int)random_below(random, 200);
    s->lose = (int)random_below(random, 10);
    s->broker_state = random_below(random, 8) == 0 ? 600 : 0;
    h.rig.world.source_up = random_below(random, 5) != 0;
    h.deaf = random_below(random, 4) == 0;
    if (random_below(random, 4) == 0) {
        h.sinks[0].window_events = 32 + (int64_t)random_below(random, 100);
        (void)rig_reload(&h.rig, NULL);
    }
    if (random_below(random, 4) == 0) {
        h.rig.sinks[0].window_events = 32 + (int64_t)random_below(random, 100);
        (void)rig_reload(&h.rig, NULL);
    }
    if (random_below(random, 3) == 0 && !h.rig.next) {
        rig_stop(&h.rig);
        rig_start(&h.rig);
    }
}

/* Whatever happens to the sinks, by reloads and orderly ends: no dead letter is untold or told
 * twice. */
TEST(every_dead_letter_is_told_once_whatever_else_happens)
{
    const char *seeds = getenv("BASCULE_SIM_SEEDS");
    long count = seeds ? strtol(seeds, NULL, 10) / 10 + 3 : 10;

    for (long seed = 1; seed <= count; seed++) {
        struct random random = { (uint64_t)seed };
        uint64_t dead;

        hearing_init(&h, 1000 + (uint64_t)seed, 2, 1);
        hearing_of(&h, 0, DEAD, NULL);
        rig_start(&h.rig);
        for (int i = 0; i < 40; i++) {
            world_publish(&h.rig.world, random_below(&random, 50));
            trouble(&random);
            hearing_turns(&h, 50 + (int64_t)random_below(&random, 400));
        }
        h.deaf = false;
        h.rig.world.source_up = true;
        for (size_t s = 0; s < 2; s++)
            h.rig.world.sinks[s].nack = h.rig.world.sinks[s].lose =
                h.rig.world.sinks[s].broker_state = h.rig.world.sinks[s].refuse_every = 0;
        settle();
        hearing_turns(&h, 60000);
        dead = rig_sink(&h.rig, 0).counts.dead + rig_sink(&h.rig, 1).counts.dead;
        if ((uint64_t)dead_told() != dead)
            harness_fail(__FILE__, __LINE__,
                "seed %ld: %lld dead letters were told, %llu are there", seed,
                (long long)dead_told(), (unsigned long long)dead);
        rig_stop(&h.rig);
        hearing_done(&h);
        (void)remove("store.db");
        (void)remove("store.db-wal");
        (void)remove("store.db-shm");
    }
}
