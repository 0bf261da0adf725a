#include "bridge/base/random.h"
#include "store/ranges.h"
#include "tests/harness.h"

#define UNIVERSE 512

/* The same set, the slow way. */
static void check_same(const struct ranges *r, const bool *in)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < UNIVERSE; i++) {
        CHECK_INT(ranges_have(r, i), in[i]);
        count += in[i];
    }
    CHECK_INT(ranges_count(r), count);
    for (size_t i = 1; i < r->n; i++)
        CHECK(r->at[i].first > r->at[i - 1].last + 1);
}

TEST(ranges_agree_with_a_plain_set)
{
    struct random random = { 7 };

    for (int round = 0; round < 60; round++) {
        struct ranges r = { 0 };
        bool in[UNIVERSE] = { false };

        for (int step = 0; step < 60; step++) {
            uint64_t first = random_below(&random, UNIVERSE),
                     last = first + random_below(&random, 9);

            if (last >= UNIVERSE)
                last = UNIVERSE - 1;
            CHECK_INT(ranges_add(&r, first, last), 0);
            memset(in + first, true, last - first + 1);
            if (random_below(&random, 12) == 0) {
                uint64_t cut = random_below(&random, UNIVERSE / 4);

                ranges_cut(&r, cut);
                memset(in, false, cut);
            }
            check_same(&r, in);
        }
        ranges_done(&r);
    }
}

TEST(ranges_come_back_from_their_bytes)
{
    struct random random = { 11 };

    for (int round = 0; round < 200; round++) {
        struct ranges r = { 0 }, again = { 0 };
        struct buf bytes;

        buf_init(&bytes, 1 << 16);
        for (uint64_t i = random_below(&random, 40); i > 0; i--) {
            uint64_t first = random_below(&random, 1u << 30);

            CHECK_INT(ranges_add(&r, first, first + random_below(&random, 1000)), 0);
        }
        ranges_encode(&r, &bytes);
        CHECK_INT(ranges_decode(buf_bytes(&bytes), &again), 0);
        CHECK_INT(again.n, r.n);
        CHECK(r.n == 0 || memcmp(again.at, r.at, r.n * sizeof *r.at) == 0);
        ranges_done(&r);
        ranges_done(&again);
        buf_done(&bytes);
    }
}

TEST(ranges_refuse_rubbish)
{
    struct random random = { 13 };
    struct ranges r = { 0 };
    struct buf bytes;

    buf_init(&bytes, 4096);
    CHECK_INT(ranges_add(&r, 5, 9), 0);
    CHECK_INT(ranges_add(&r, 20, 21), 0);
    ranges_encode(&r, &bytes);
    ranges_done(&r);
    CHECK_INT(ranges_decode(BYTES_NONE, &r), 0); /* nothing was written: the empty set */
    for (size_t n = 1; n < bytes.n; n++)
        CHECK_INT(ranges_decode(bytes_of(bytes.at, n), &r), -1);
    for (int round = 0; round < 5000; round++) {
        uint8_t rubbish[24];
        size_t n = (size_t)random_below(&random, sizeof rubbish);

        for (size_t i = 0; i < n; i++)
            rubbish[i] = (uint8_t)random_next(&random);
        if (n > 0)
            rubbish[0] = bytes.at[0]; /* the version, so that the rest is looked at */
        if (ranges_decode(bytes_of(rubbish, n), &r) == 0) {
            for (size_t i = 1; i < r.n; i++)
                CHECK(r.at[i].first > r.at[i - 1].last + 1);
            ranges_done(&r);
        }
    }
    buf_done(&bytes);
}
