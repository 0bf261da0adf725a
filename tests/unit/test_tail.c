/* Which blocks memory keeps for sinks, and which only the log has. */
#include "routes/tail.h"
#include "tests/harness.h"

#include <stdlib.h>

#define BODY_BYTES (512 << 10)
#define COUNT 14 /* of half a MiB each, one event a block: below TAIL_BYTES_MAX */

static void fill(struct tail *t, uint64_t count)
{
    uint8_t *body = calloc(1, BODY_BYTES);
    struct event e = { .body = { body, BODY_BYTES } };

    CHECK(body);
    for (uint64_t i = 0; i < count; i++) {
        struct block *b = NULL;
        struct fault why;

        CHECK_INT(block_open(1, t->next_seq, 1000, &e, 1, &b, &why), 0);
        tail_push(t, b);
    }
    free(body);
}

TEST(a_tail_lets_go_of_what_a_sink_far_behind_will_read_from_the_log)
{
    struct tail t;

    tail_init(&t, 100);
    fill(&t, COUNT);
    tail_unread(&t, 99);
    CHECK(t.bytes <= TAIL_UNREAD_BYTES && t.n > 1);
    CHECK(!tail_find(&t, 100));
    CHECK(tail_find(&t, t.next_seq - 1));
    tail_done(&t);
}

TEST(a_tail_keeps_all_from_what_the_foremost_sink_reads_next)
{
    struct tail t;

    tail_init(&t, 100);
    fill(&t, COUNT);
    tail_unread(&t, 100);
    CHECK_INT(t.n, COUNT);
    tail_unread(&t, UINT64_MAX);
    CHECK_INT(t.n, COUNT);
    tail_done(&t);
}
