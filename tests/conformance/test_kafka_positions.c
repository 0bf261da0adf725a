/* Where a Kafka source reads on: the store, the group and `start` weighed, on a real broker. */
#include "tests/conformance/member.h"

#include "bridge/links/kafka/source.h"

static const struct connector *const k = &connector_kafka;

static struct position position(int32_t partition, const char *value)
{
    static char names[4][100];

    (void)snprintf(names[partition], sizeof names[0], "%s/%d", member_rig.topic, (int)partition);
    return (struct position){ bytes_text(names[partition]), bytes_text(value) };
}

/* Five records, "id-0" to "id-4", with the times 1000 to 5000. */
static void feed_five(struct member *m)
{
    char id[16];

    member_open(m);
    member_sink(m);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(id, sizeof id, "id-%d", i);
        CHECK_INT(member_publish_at(m, "k", id, (i + 1) * 1000).fate, FATE_DELIVERED);
    }
}

static void stopped(struct member *m, const char *part)
{
    struct link_status status = { 0 };

    while (status.state != LINK_STOPPED) {
        member_turn(m);
        CHECK(!k->source_receive(m->source, 10));
        k->source_status(m->source, &status);
    }
    CHECK_CONTAINS(status.error, part);
    member_free(m);
}

TEST(kafka_our_own_commit_gives_way_to_the_stores_position)
{
    struct member m = { 0 };
    struct position stored;
    char id[64];

    member_begin("own", 1);
    feed_five(&m);
    member_moved_with(1, "bascule:store:3");
    stored = position(0, "3 3000");
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 2, id), 2);
    CHECK_TEXT(id, "id-3");
    member_free(&m);
}

TEST(kafka_a_commit_of_another_route_is_obeyed)
{
    struct member m = { 0 };
    struct position stored;
    char id[64];

    member_begin("foreign", 1);
    feed_five(&m);
    member_moved_with(1, "bascule:store:4");
    stored = position(0, "3 3000");
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 4, id), 4);
    CHECK_TEXT(id, "id-1");
    member_free(&m);
}

TEST(kafka_a_commit_of_the_store_that_this_one_was_is_its_own)
{
    static const char *const was[] = { "elder", "older", NULL };
    struct member m = { 0 };
    struct position stored;
    char id[64];

    member_begin("restored", 1);
    member_rig.was = was;
    feed_five(&m);
    member_moved_with(4, "bascule:older:3"); /* after the copy was made */
    stored = position(0, "2 2000");
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 3, id), 3);
    CHECK_TEXT(id, "id-2");
    member_free(&m);
}

TEST(kafka_commits_name_the_store_and_the_route)
{
    struct member m = { 0 };
    char id[64], metadata[100];

    member_begin("named", 1);
    feed_five(&m);
    member_source(&m, NULL, 0);
    CHECK_INT(member_take(&m, 5, id), 5);
    member_metadata(0, metadata, sizeof metadata);
    CHECK_TEXT(metadata, "bascule:store:3");
    member_free(&m);
}

TEST(kafka_an_expired_commit_is_made_up_for_by_the_store)
{
    struct member m = { 0 };
    struct position stored;
    char id[64];

    member_begin("expired", 1);
    feed_five(&m);
    stored = position(0, "3 3000"); /* the record before it has that time */
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 2, id), 2);
    CHECK_TEXT(id, "id-3");
    member_free(&m);
}

TEST(kafka_a_topic_that_was_made_anew_stops_the_route)
{
    struct member m = { 0 };
    struct position stored;

    member_begin("anew", 1);
    feed_five(&m);
    stored = position(0, "3 2999");
    member_source(&m, &stored, 1);
    stopped(&m, "made anew");
}

TEST(kafka_retention_up_to_the_stores_position_is_no_doubt)
{
    struct member m = { 0 };
    struct position stored;
    char id[64];

    member_begin("retained", 1);
    feed_five(&m);
    member_delete_before(3);
    stored = position(0, "3 2999"); /* nobody can tell any more */
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 2, id), 2);
    CHECK_TEXT(id, "id-3");
    member_free(&m);
}

TEST(kafka_a_start_time_picks_the_first_record_from_then_on)
{
    struct member m = { 0 };
    char id[64];

    member_begin("since", 1);
    feed_five(&m);
    member_rig.from.start = (char *)(uintptr_t) "3500";
    member_source(&m, NULL, 0);
    CHECK_INT(member_take(&m, 2, id), 2);
    CHECK_TEXT(id, "id-3");
    member_free(&m);
}

static void up(struct member *m)
{
    struct link_status status = { 0 };

    while (status.state != LINK_UP) {
        struct batch *b = k->source_receive(m->source, 10);

        if (b) {
            CHECK_INT(b->count, 0);
            k->source_settle(m->source, b, true);
        }
        member_turn(m);
        k->source_status(m->source, &status);
    }
}

TEST(kafka_start_latest_counts_for_the_first_assignment_only)
{
    struct option_pair often = { (char *)(uintptr_t) "topic.metadata.refresh.interval.ms",
        (char *)(uintptr_t) "500", OPTION_VALUE_INT };
    struct member m = { 0 };
    char id[64];

    member_begin("latest", 1);
    feed_five(&m);
    member_rig.from.start = (char *)(uintptr_t) "latest";
    member_rig.link.properties = (struct option_map){ &often, 1 };
    k->sink_free(m.sink);
    m.sink = NULL;
    member_source(&m, NULL, 0);
    up(&m);
    /* A partition that comes later is read from its beginning. */
    member_more_partitions(2);
    member_produce(1, "late", 7000);
    CHECK_INT(member_take(&m, 1, id), 1);
    CHECK_TEXT(id, "late");
    member_free(&m);
}

TEST(kafka_topics_are_found_by_expression)
{
    struct member m = { 0 };
    char id[64], expression[80];

    member_begin("expression", 1);
    feed_five(&m);
    (void)snprintf(
        expression, sizeof expression, "^%.10s.*%s", member_rig.topic, member_rig.topic + 10);
    member_rig.topics[0] = expression;
    member_source(&m, NULL, 0);
    CHECK_INT(member_take(&m, 5, id), 5);
    member_free(&m);
}

TEST(kafka_records_of_an_aborted_transaction_are_not_read)
{
    struct member m = { 0 };
    char id[64];

    member_begin("aborted", 1);
    member_transaction("never", false);
    member_transaction("whole", true);
    member_open(&m);
    member_source(&m, NULL, 0);
    CHECK_INT(member_take(&m, 1, id), 1);
    CHECK_TEXT(id, "whole");
    member_free(&m);
}

TEST(kafka_a_revoked_partition_is_given_up_after_its_time_and_never_committed_again)
{
    struct member a = { 0 }, b = { 0 };
    struct batch *held[4], *other = NULL;
    char metadata[100];
    size_t n = 0, count = 0;

    member_begin("gaveup", 2);
    member_open(&a);
    member_produce_many(0, 10, 1);
    member_produce_many(1, 10, 1);
    member_source(&a, NULL, 0);
    up(&a);
    while (count < 20) {
        held[n] = k->source_receive(a.source, 100);
        member_turn(&a);
        count += held[n] ? held[n]->count : 0;
        n += held[n] != NULL;
        CHECK(n < 4);
    }
    member_of(&b, "other-store");
    member_source(&b, NULL, 0);
    while (!member_both_joined()) {
        member_turn(&a);
        member_turn(&b);
    }
    a.skip_ms = 6000; /* it waits 5 s for what is out */
    for (count = 0; count < 10;) {
        member_turn(&a);
        member_turn(&b);
        other = k->source_receive(b.source, 100);
        if (!other)
            continue;
        count += other->count;
        k->source_settle(b.source, other, true);
    }
    while (!k->source_drain(b.source))
        member_turn(&b);
    for (size_t i = 0; i < n; i++)
        k->source_settle(a.source, held[i], true);
    while (!k->source_drain(a.source))
        member_turn(&a);
    count = 0;
    for (int32_t i = 0; i < 2; i++) {
        CHECK_INT(member_committed(i), 10);
        member_metadata(i, metadata, sizeof metadata);
        count += strcmp(metadata, "bascule:other-store:3") == 0;
    }
    CHECK_INT(count, 1);
    member_free(&a);
    member_free(&b);
}

/* A broker's thread that found the queue full sleeps up to a second unless something wakes it. */
TEST(kafka_its_fetcher_is_kept_awake_while_it_reads)
{
    struct member m = { 0 };
    uint64_t before;
    size_t n = 0;

    member_begin("awake", 1);
    member_produce_many(0, 24000, 1000);
    member_open(&m);
    member_source(&m, NULL, 0);
    up(&m);
    before = kafka_handle_answers(m.source->handle);
    while (n < 24000) {
        struct batch *b = k->source_receive(m.source, 100);

        if (b) {
            n += b->count;
            k->source_settle(m.source, b, true);
        }
        member_turn(&m);
    }
    CHECK(kafka_handle_answers(m.source->handle) - before > 5); /* else one a second */
    member_free(&m);
}

TEST(kafka_a_record_too_large_for_the_log_stops_the_route_or_is_a_gap)
{
    struct member stops = { 0 }, skips = { 0 };
    struct link_status status = { 0 };
    size_t gaps = 0, events = 0;

    member_begin("oversize", 1);
    member_produce_many(0, 1, 10);
    member_produce_many(0, 1, MEMBER_EVENT_BYTES_MAX + 1);
    member_produce_many(0, 1, 10);
    member_open(&stops);
    member_source(&stops, NULL, 0);
    while (status.state != LINK_STOPPED) {
        struct batch *b = k->source_receive(stops.source, 10);

        if (b) {
            CHECK_INT(b->gap_count, 0);
            events += b->count;
            k->source_settle(stops.source, b, true);
        }
        member_turn(&stops);
        k->source_status(stops.source, &status);
    }
    CHECK_INT(events, 1);
    CHECK_CONTAINS(status.error, "oversize");
    member_free(&stops);

    member_rig.from.oversize = KAFKA_OVERSIZE_SKIP;
    member_rig.from.group = (char *)(uintptr_t) "skips";
    member_open(&skips);
    member_source(&skips, NULL, 0);
    for (events = 0; events < 2;) {
        struct batch *b = k->source_receive(skips.source, 10);

        member_turn(&skips);
        if (!b)
            continue;
        events += b->count;
        for (size_t i = 0; i < b->gap_count; i++, gaps++)
            CHECK_INT(b->gaps[i].count, 1);
        k->source_settle(skips.source, b, true);
    }
    CHECK_INT(gaps, 1);
    member_free(&skips);
}
