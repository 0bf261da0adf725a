#include "tests/harness.h"

#include "bridge/links/kafka/linger.h"

TEST(kafka_sends_the_first_of_a_quiet_time_at_once_and_others_together)
{
    struct kafka_linger l = { .every_ms = 5 };

    CHECK_INT(kafka_linger_due(&l, 0, 0), INT64_MAX);
    CHECK(kafka_linger_due(&l, 1, 256) <= 1000);
    l.told_ms = 1000;
    CHECK(kafka_linger_due(&l, 1, 256) > 1000);
    CHECK(kafka_linger_due(&l, 1, 256) <= 1005);
    l.telling = true;
    CHECK_INT(kafka_linger_due(&l, 1, 256), INT64_MAX);
}

TEST(kafka_tells_a_producer_with_a_full_request_less_often)
{
    struct kafka_linger l = { .every_ms = 5, .told_ms = 1000 };

    CHECK(kafka_linger_due(&l, 3907, 1000192) > kafka_linger_due(&l, 10, 2560));
    CHECK(kafka_linger_due(&l, 3907, 1000192) <= 1020);
}

TEST(kafka_stops_telling_a_producer_that_reports_nothing)
{
    struct kafka_linger l = { .every_ms = 5, .told_ms = 1000 };
    int64_t last = 1000;

    for (; kafka_linger_due(&l, 1, 256) != INT64_MAX; l.unheard++) {
        CHECK(kafka_linger_due(&l, 1, 256) > last);
        last = kafka_linger_due(&l, 1, 256);
        CHECK(l.unheard < 10);
    }
    kafka_linger_reported(&l);
    CHECK_INT(kafka_linger_due(&l, 1, 256), 1005);
}

TEST(kafka_takes_the_linger_that_the_user_chose)
{
    const struct {
        const char *text;
        int64_t every_ms;
    } cases[] = { { "0", 1 }, { "0.5", 1 }, { "20", 20 }, { "99", 99 }, { "100", 0 },
        { "5000", 0 } };
    struct option_pair pair = { .name = (char *)(uintptr_t) "linger.ms" };
    struct kafka_link_options o = { .properties = { .at = &pair, .n = 0 } };
    struct kafka_linger l = { 0 };

    CHECK_INT(kafka_linger_due(&l, 1, 256), INT64_MAX);
    CHECK_INT(kafka_linger_every_ms(&o), 5);
    o.properties.n = 1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pair.value = (char *)(uintptr_t)cases[i].text;
        CHECK_INT(kafka_linger_every_ms(&o), cases[i].every_ms);
    }
}
