/* Kafka groups and partitions against a real broker. */
#include "tests/conformance/member.h"

static const struct connector *const k = &connector_kafka;

TEST(kafka_an_offset_moved_by_an_operator_is_obeyed)
{
    struct member m = { 0 };
    struct position stored = { bytes_text(""), bytes_text("5 1") };
    char name[100], id[64];

    member_begin("moved", 1);
    (void)snprintf(name, sizeof name, "%s/0", member_rig.topic);
    stored.name = bytes_text(name);
    member_open(&m);
    member_sink(&m);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(id, sizeof id, "id-%d", i);
        CHECK_INT(member_publish(&m, "k", id).fate, FATE_DELIVERED);
    }
    member_moved(2);
    member_source(&m, &stored, 1);
    CHECK_INT(member_take(&m, 3, id), 3);
    CHECK_TEXT(id, "id-2");
    CHECK_INT(member_committed(0), 5);
    member_free(&m);
}

TEST(kafka_an_offset_out_of_range_stops_the_route)
{
    struct member m = { 0 };
    struct link_status status = { 0 };

    member_begin("range", 1);
    member_open(&m);
    member_moved(1000);
    member_source(&m, NULL, 0);
    while (status.state != LINK_STOPPED) {
        struct batch *b = k->source_receive(m.source, 100);

        if (b)
            k->source_settle(m.source, b, true);
        member_turn(&m);
        k->source_status(m.source, &status);
    }
    CHECK_CONTAINS(status.error, member_rig.topic);
    CHECK_INT(member_committed(0), 1000);
    member_free(&m);
}

TEST(kafka_a_missing_topic_of_a_template_blames_the_event)
{
    struct member m = { 0 };
    struct report r;

    member_begin("template", 1);
    member_rig.to.topic.fixed = false;
    member_open(&m);
    member_sink(&m);
    r = member_publish(&m, "k", "id");
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_ADDRESS);
    member_free(&m);
}

/* Hashes as in the tests of Kafka's own clients. */
TEST(kafka_keys_land_where_java_puts_them)
{
    static const struct vector {
        const char *key;
        int32_t hash;
    } vectors[] = { { "21", -973932308 }, { "foobar", -790332482 },
        { "a-little-bit-long-string", -985981536 }, { "a-little-bit-longer-string", -1486304829 },
        { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 } };
    const int partitions = 7;
    struct member m = { 0 };

    member_begin("murmur", partitions);
    member_open(&m);
    member_sink(&m);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        int32_t want = (vectors[i].hash & 0x7fffffff) % partitions;
        int64_t before = member_high(want);

        CHECK_INT(member_publish(&m, vectors[i].key, "id").fate, FATE_DELIVERED);
        CHECK_INT(member_high(want), before + 1);
    }
    member_free(&m);
}

/* Receives and settles; marks the ids seen. */
static size_t receive_some(struct member *m, unsigned *seen, size_t n)
{
    struct batch *b = k->source_receive(m->source, 100);
    size_t count = b ? b->count : 0;

    for (size_t i = 0; i < count; i++) {
        long id = strtol((const char *)b->events[i].id.at, NULL, 10);

        CHECK(id >= 0 && (size_t)id < n);
        seen[id]++;
    }
    if (b)
        k->source_settle(m->source, b, true);
    member_turn(m);
    return count;
}

static size_t missing(const unsigned *seen, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += seen[i] == 0;
    return count;
}

static void publish_some(struct member *m, size_t from, size_t to)
{
    char key[16], id[16];

    for (size_t i = from; i < to; i++) {
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)snprintf(id, sizeof id, "%zu", i);
        CHECK_INT(member_publish(m, key, id).fate, FATE_DELIVERED);
    }
}

TEST(kafka_a_second_member_takes_over_without_loss_or_repeat)
{
    struct member a = { 0 }, b = { 0 };
    struct batch *held[100];
    unsigned seen[200] = { 0 };
    size_t n = 0;
    uint64_t before;

    member_begin("rebalance", 4);
    member_open(&a);
    member_of(&b, "other-store");
    member_sink(&a);
    member_source(&a, NULL, 0);
    publish_some(&a, 0, 100);
    while (missing(seen, 100) > 0)
        (void)receive_some(&a, seen, 200);
    publish_some(&a, 100, 200);
    /* All of them are out while the other one joins: its partitions wait for theirs. */
    while (missing(seen, 200) > 0) {
        member_turn(&a);
        if (!(held[n] = k->source_receive(a.source, 100)))
            continue;
        for (size_t i = 0; i < held[n]->count; i++)
            seen[strtol((const char *)held[n]->events[i].id.at, NULL, 10)]++;
        n++;
        CHECK(n < 100);
    }
    before = member_session(&a);
    member_source(&b, NULL, 0);
    while (!member_both_joined()) {
        member_turn(&a);
        member_turn(&b);
    }
    member_turn(&a);
    for (size_t i = 0; i < n; i++)
        k->source_settle(a.source, held[i], true);
    while (member_session(&a) == before || member_session(&b) < 2) {
        (void)receive_some(&a, seen, 200);
        (void)receive_some(&b, seen, 200);
    }
    k->sink_free(a.sink);
    a.sink = NULL;
    member_sink(&b);
    publish_some(&b, 0, 100);
    for (size_t i = 0; i < 100; i++)
        seen[i] = 0;
    while (missing(seen, 100) > 0) {
        (void)receive_some(&a, seen, 200);
        (void)receive_some(&b, seen, 200);
    }
    for (size_t i = 0; i < 200; i++)
        CHECK_INT(seen[i], 1);
    member_free(&a);
    member_free(&b);
}

TEST(kafka_a_paused_route_stays_in_its_group)
{
    struct member m = { 0 };
    unsigned seen[3] = { 0 };
    uint64_t before;

    member_begin("pause", 1);
    member_open(&m);
    member_sink(&m);
    member_source(&m, NULL, 0);
    CHECK_INT(member_publish(&m, "k", "0").fate, FATE_DELIVERED);
    while (!seen[0])
        (void)receive_some(&m, seen, 3);
    before = member_session(&m);
    k->source_pause(m.source, true);
    CHECK_INT(member_publish(&m, "k", "1").fate, FATE_DELIVERED);
    CHECK_INT(member_publish(&m, "k", "2").fate, FATE_DELIVERED);
    while (member_committed(0) < 1)
        member_turn(&m);
    CHECK(!k->source_receive(m.source, 100));
    k->source_pause(m.source, false);
    while (missing(seen, 3) > 0)
        (void)receive_some(&m, seen, 3);
    CHECK_INT(member_session(&m), before);
    member_free(&m);
}

/* ---- where a sink's messages go ---- */

static struct report publish_to(struct member *m, const char *partition)
{
    struct event e = { .id = bytes_text("id"), .body = bytes_text("b") };
    struct message message = {
        .ref = 1, .event = &e, .fields = { bytes_text(member_rig.topic), bytes_text(partition) }
    };
    struct report r;

    while (k->sink_publish(m->sink, &message, 1) == 0)
        member_turn(m);
    while (k->sink_collect(m->sink, &r, 1) == 0)
        member_turn(m);
    return r;
}

TEST(kafka_a_partition_may_be_chosen_for_each_event)
{
    static const struct {
        const char *partition;
        enum fate fate;
        enum cause cause;
    } chosen[] = { { "2", FATE_DELIVERED, CAUSE_NONE }, { "two", FATE_REFUSED, CAUSE_FINAL },
        { "-1", FATE_REFUSED, CAUSE_FINAL }, { "99999999999", FATE_REFUSED, CAUSE_FINAL },
        { "7", FATE_REFUSED, CAUSE_ADDRESS } };
    struct member m = { 0 };

    member_begin("chosen", 3);
    member_rig.to.partition =
        (struct option_template){ .text = (char *)(uintptr_t) "${header.partition}" };
    member_open(&m);
    member_sink(&m);
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        struct report r = publish_to(&m, chosen[i].partition);

        if (r.fate != chosen[i].fate || r.cause != chosen[i].cause)
            harness_fail(__FILE__, __LINE__, "partition %s: fate %d cause %d '%s'",
                chosen[i].partition, r.fate, r.cause, r.text ? r.text : "");
    }
    CHECK_INT(member_high(2), 1);
    CHECK_INT(member_high(0) + member_high(1), 0);
    member_free(&m);
}

TEST(kafka_every_compression_is_read_again)
{
    unsigned seen[5] = { 0 };
    struct member m = { 0 };
    char id[16];

    member_begin("packed", 1);
    member_open(&m);
    member_source(&m, NULL, 0);
    for (int i = 0; kafka_compressions[i]; i++) {
        CHECK(i < 5);
        member_rig.to.compression = i;
        member_sink(&m);
        (void)snprintf(id, sizeof id, "%d", i);
        CHECK_INT(member_publish(&m, "k", id).fate, FATE_DELIVERED);
        k->sink_free(m.sink);
        m.sink = NULL;
    }
    while (missing(seen, 5) > 0)
        (void)receive_some(&m, seen, 5);
    member_free(&m);
}
