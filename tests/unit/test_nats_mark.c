/* What stands in a stored set beside its sequences. */
#include "bridge/links/nats/mark.h"

#include "tests/harness.h"

#include <stdlib.h>

static void add(struct committed *c, const struct mark *m, uint64_t seq)
{
    struct entry_id ids[MARK_IDS + 1] = { 0 };
    struct position *positions = NULL;
    struct buf text;
    size_t count = 0;
    uint64_t number = 0;

    buf_init(&text, 10000);
    mark_put(m, ids);
    ids[MARK_IDS] = (struct entry_id){ seq, 0 };
    number = committed_add(c, "S", ids, MARK_IDS + 1, &positions, &count, &text);
    CHECK(number > 0);
    committed_settle(c, number, true);
    buf_done(&text);
    free(positions);
}

TEST(nats_sets_of_another_stream_know_none_of_this_ones_messages)
{
    const struct mark old = { .stream = 7 }, new = { .stream = 9 };
    struct committed c = { 0 };

    add(&c, &old, 1);
    committed_confirm(&c, 1); /* acknowledged, and not yet forgotten */
    add(&c, &old, 2);
    add(&c, &new, 3);
    mark_drop_others(&c, 9);
    CHECK_INT(committed_sort(&c), 0);
    for (uint64_t seq = 1; seq <= 3; seq++)
        CHECK_INT(committed_has(&c, &(struct entry_id){ seq, 0 }), seq == 3);
    committed_done(&c);
}

TEST(nats_the_newest_set_tells_how_far_the_stream_was_read)
{
    const struct mark first = { 7, 1, 2, 3, 0 }, second = { 7, 10, 20, 30, 40 };
    struct committed c = { 0 };
    struct mark m = { 0 };

    CHECK(!mark_last(&c, &m));
    add(&c, &first, 2);
    add(&c, &second, 20);
    CHECK(mark_last(&c, &m));
    CHECK_INT(m.stream, 7);
    CHECK_INT(m.floor, 10);
    CHECK_INT(m.seq, 20);
    CHECK_INT(m.consumer_seq, 30);
    CHECK_INT(m.given_up, 40);
    committed_done(&c);
}

/* They had four places. */
TEST(nats_sets_of_an_earlier_version_are_read)
{
    struct entry_id ids[] = { { 7, 1 }, { 10, 2 }, { 20, 3 }, { 30, 4 }, { 21, 0 } };
    struct position *positions = NULL;
    struct committed c = { 0 };
    struct buf text;
    size_t count = 0;
    struct mark m;

    buf_init(&text, 10000);
    CHECK_INT((int64_t)committed_add(&c, "S", ids, 5, &positions, &count, &text), 1);
    CHECK(mark_get(c.all, &m));
    CHECK_INT(m.consumer_seq, 30);
    CHECK_INT(m.given_up, 0);
    committed_done(&c);
    buf_done(&text);
    free(positions);
}

TEST(nats_a_set_without_a_mark_is_nobodys)
{
    struct committed c = { 0 };
    struct entry_id ids[] = { { 1, 0 }, { 2, 0 }, { 3, 0 }, { 4, 0 } };
    struct position *positions = NULL;
    struct buf text;
    size_t count = 0;
    struct mark m;

    buf_init(&text, 10000);
    CHECK_INT((int64_t)committed_add(&c, "S", ids, 4, &positions, &count, &text), 1);
    CHECK(!mark_get(c.all, &m));
    mark_drop_others(&c, 0);
    CHECK_INT((int64_t)c.all->n, 0);
    committed_done(&c);
    buf_done(&text);
    free(positions);
}
