#include "tests/harness.h"

#include "bridge/links/ring.h"

static void put(const struct ring *r, uint64_t number)
{
    *(uint64_t *)ring_at(r, number) = number;
}

TEST(a_ring_of_places_grows_and_keeps_what_is_in_use)
{
    struct ring r = { .bytes = sizeof(uint64_t) };
    uint64_t first = 0, end = 0;

    CHECK_INT(r.capacity, 0);
    /* Two in, one out: in use are ever more, and never from the first place of the ring. */
    for (int i = 0; i < 10000; i++) {
        for (int k = 0; k < 2; k++) {
            CHECK_INT(ring_room(&r, first, end, (size_t)(end - first) + 1), 0);
            put(&r, end++);
        }
        CHECK_INT((long long)*(uint64_t *)ring_at(&r, first), (long long)first);
        first++;
    }
    for (uint64_t i = first; i < end; i++)
        CHECK_INT((long long)*(uint64_t *)ring_at(&r, i), (long long)i);
    CHECK_INT((long long)r.capacity, 16384);
    ring_done(&r);
}

TEST(a_ring_that_has_the_places_does_not_move)
{
    struct ring r = { .bytes = sizeof(uint64_t) };
    const uint8_t *at;

    CHECK_INT(ring_room(&r, 0, 0, 100), 0);
    at = r.at;
    CHECK_INT(ring_room(&r, 1000, 1128, 128), 0);
    CHECK(r.at == at);
    CHECK_INT((long long)r.capacity, 128);
    ring_done(&r);
}
