/* The judge of the benchmarks' runs sees what a relay may do to events. */
#include "tests/bench/tally.h"
#include "tests/harness.h"

#define EVENTS 50000 /* several of each key */

static void add(struct tally *t, uint64_t n)
{
    char body[BODY_BYTES + 1], key[32];
    int key_bytes = body_key(key, n);

    body_put(body, n);
    tally_add(t, key, (size_t)key_bytes, body, BODY_BYTES);
}

static void add_all_but(struct tally *t, uint64_t left_out)
{
    CHECK(tally_open(t, EVENTS));
    for (uint64_t n = 0; n < EVENTS; n++)
        if (n != left_out)
            add(t, n);
}

TEST(benchmark_judge_sees_a_lost_a_repeated_and_an_invented_event)
{
    struct tally t;

    add_all_but(&t, EVENTS);
    CHECK_INT(t.distinct, EVENTS);
    CHECK_INT(t.keyed, EVENTS);
    CHECK_INT(t.altered + t.repeated + t.reordered, 0);
    add(&t, 17);
    CHECK_INT(t.repeated, 1);
    add(&t, EVENTS); /* was never made */
    CHECK_INT(t.altered, 1);
    tally_free(&t);
    add_all_but(&t, 4711);
    CHECK_INT(t.distinct, EVENTS - 1);
    tally_free(&t);
}

TEST(benchmark_judge_sees_a_changed_body_and_a_changed_key)
{
    char body[BODY_BYTES + 1];
    struct tally t;

    add_all_but(&t, 4711);
    body_put(body, 4711);
    body[200] ^= 1;
    tally_add(&t, "", 0, body, BODY_BYTES);
    CHECK_INT(t.altered, 1);
    body[200] ^= 1;
    tally_add(&t, "", 0, body, BODY_BYTES - 1);
    CHECK_INT(t.altered, 2);
    tally_add(&t, "customer-x", 10, body, BODY_BYTES);
    CHECK_INT(t.distinct, EVENTS);
    CHECK_INT(t.keyed, EVENTS - 1);
    tally_free(&t);
}

TEST(benchmark_judge_sees_two_events_of_a_key_change_places)
{
    struct tally t;

    add_all_but(&t, 0); /* later ones of its key came before it */
    add(&t, 0);
    CHECK_INT(t.reordered, 1);
    tally_free(&t);
}
