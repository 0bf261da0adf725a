#include "routes/breaker.h"
#include "routes/keys.h"
#include "tests/harness.h"

TEST(a_breaker_opens_after_failures_of_different_events)
{
    struct breaker b;

    breaker_init(&b, 3, 1000);
    for (int i = 0; i < 10; i++)
        CHECK(!breaker_failed(&b, 7, 0)); /* one event, however often */
    CHECK(!breaker_failed(&b, 8, 0));
    CHECK(breaker_failed(&b, 9, 0));
    CHECK_INT(b.state, RELAY_BREAKER_OPEN);
}

TEST(a_delivery_in_between_starts_the_count_again)
{
    struct breaker b;

    breaker_init(&b, 2, 1000);
    CHECK(!breaker_failed(&b, 1, 0));
    CHECK(!breaker_delivered(&b));
    CHECK(!breaker_failed(&b, 2, 0));
    CHECK_INT(b.state, RELAY_BREAKER_CLOSED);
}

TEST(a_half_open_breaker_closes_by_one_delivery_and_opens_by_one_failure)
{
    struct breaker b;

    breaker_init(&b, 1, 1000);
    CHECK(breaker_failed(&b, 1, 0));
    CHECK(!breaker_tick(&b, 999));
    CHECK(breaker_tick(&b, 1000));
    CHECK_INT(b.state, RELAY_BREAKER_HALF_OPEN);
    CHECK(breaker_failed(&b, 1, 1000));
    CHECK_INT(b.until_ms, 2000);
    CHECK(breaker_tick(&b, 2000));
    CHECK(breaker_delivered(&b));
    CHECK_INT(b.state, RELAY_BREAKER_CLOSED);
}

TEST(a_breaker_opened_by_hand_stays_open)
{
    struct breaker b;

    breaker_init(&b, 1, 1000);
    breaker_set(&b, true);
    CHECK(!breaker_tick(&b, INT64_MAX - 1));
    breaker_set(&b, false);
    CHECK_INT(b.state, RELAY_BREAKER_CLOSED);
}

TEST(keys_are_found_again_after_the_table_grew)
{
    struct keys k;

    keys_init(&k);
    for (uint64_t i = 2; i < 5000; i++)
        keys_get(&k, i * 7919)->in_flight = (uint32_t)i;
    for (uint64_t i = 2; i < 5000; i++)
        CHECK_INT(keys_find(&k, i * 7919)->in_flight, i);
    CHECK_INT(k.n, 4998);
    for (uint64_t i = 2; i < 5000; i++) {
        struct key *key = keys_find(&k, i * 7919);

        keys_release(&k, key);
        CHECK(keys_find(&k, i * 7919) == key); /* still in use */
        key->in_flight = 0;
        keys_release(&k, key);
        CHECK(keys_find(&k, i * 7919) == NULL);
    }
    CHECK_INT(k.n, 0);
    keys_done(&k);
}
