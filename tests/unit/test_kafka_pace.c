#include "bridge/links/kafka/pace.h"
#include "tests/harness.h"

#define MOST 10000

/* One partition: a request takes this long, and what came meanwhile goes with the next. A message
 * waits for the request before its own, then for its own. */
static void full_rounds(struct kafka_pace *p, int rounds, int64_t fixed_us, int64_t each_us)
{
    for (int i = 0; i < rounds; i++) {
        int64_t request = fixed_us + (int64_t)p->window / 2 * each_us;

        CHECK(!kafka_pace_room(p, p->window));
        for (size_t n = p->window; n > 0; n--)
            kafka_pace_answer(p, n % 2 ? request : 2 * request);
    }
}

TEST(a_producer_that_queues_is_given_less)
{
    struct kafka_pace p;

    kafka_pace_init(&p, MOST);
    for (int i = 0; i < 100; i++)
        kafka_pace_answer(&p, 6000); /* hardly anything to do: 5 ms of linger and 1 ms */
    full_rounds(&p, 60, 1000, 2);
    CHECK(p.window < MOST * 7 / 10);
    CHECK(p.window >= 1000);
}

TEST(a_producer_far_away_keeps_its_window)
{
    struct kafka_pace p;

    kafka_pace_init(&p, MOST);
    for (int i = 0; i < 100; i++)
        kafka_pace_answer(&p, 40000);
    full_rounds(&p, 60, 30000, 1);
    CHECK_INT(p.window, MOST);
}

TEST(a_window_grows_again_when_answers_come_fast)
{
    struct kafka_pace p;

    kafka_pace_init(&p, MOST);
    for (int i = 0; i < 100; i++)
        kafka_pace_answer(&p, 6000);
    full_rounds(&p, 40, 1000, 20);
    CHECK_INT(p.window, 1000);
    full_rounds(&p, 60, 3000, 0);
    CHECK_INT(p.window, MOST);
}

TEST(a_window_does_not_creep_up_when_a_queue_never_empties)
{
    struct kafka_pace p;

    kafka_pace_init(&p, MOST);
    full_rounds(&p, 2000, 1000, 3);
    CHECK(p.window < MOST / 2 || p.after < MOST / 2);
}

TEST(an_answer_of_unknown_age_says_nothing)
{
    struct kafka_pace p;

    kafka_pace_init(&p, 10);
    for (int i = 0; i < 100; i++)
        kafka_pace_answer(&p, -1);
    CHECK_INT(p.answers, 0);
    CHECK_INT(p.window, 10);
    CHECK(kafka_pace_room(&p, 9));
    CHECK(!kafka_pace_room(&p, 10));
}
