/* Kafka groups, partitions and positions against a real broker, with librdkafka as the other
 * client: what operators and other members do to us. */
#include "tests/harness.h"

#include "bridge/connector.h"
#include "bridge/links/kafka/options.h"

#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <time.h>

extern const struct connector connector_kafka;
static const struct connector *const k = &connector_kafka;

/* A route's source in a process of its own. */
struct member {
    struct link *l;
    struct source *source;
    struct sink *sink;
};

static struct rig {
    rd_kafka_t *other;
    struct kafka_link_options link;
    struct kafka_source_options from;
    struct kafka_sink_options to;
    char address[40], *brokers[1], topic[64], *topics[1];
} g;

static void rig_open(const char *topic, int partitions)
{
    const char *port = getenv("BASCULE_TEST_KAFKA_PORT");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_queue_t *answers;
    rd_kafka_NewTopic_t *new;
    rd_kafka_event_t *ev;
    char text[200];

    if (!port)
        harness_skip("no Kafka: BASCULE_TEST_KAFKA_PORT is not set");
    (void)snprintf(g.address, sizeof g.address, "127.0.0.1:%s", port);
    (void)snprintf(g.topic, sizeof g.topic, "%s-%ld", topic, (long)time(NULL));
    g.brokers[0] = g.address;
    g.topics[0] = g.topic;
    g.link.brokers = (struct option_list){ g.brokers, 1 };
    g.from = (struct kafka_source_options){ .topics = { g.topics, 1 }, .start = NULL };
    g.from.group = g.topic;
    g.to = (struct kafka_sink_options){ .topic = { g.topic, true } };
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", g.address, text, sizeof text);
    (void)rd_kafka_conf_set(conf, "group.id", g.topic, text, sizeof text);
    g.other = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    CHECK(g.other);
    answers = rd_kafka_queue_new(g.other);
    new = rd_kafka_NewTopic_new(g.topic, partitions, 1, text, sizeof text);
    rd_kafka_CreateTopics(g.other, &new, 1, NULL, answers);
    ev = rd_kafka_queue_poll(answers, 30000);
    CHECK(ev);
    CHECK_INT(rd_kafka_event_error(ev), 0);
    rd_kafka_event_destroy(ev);
    rd_kafka_NewTopic_destroy(new);
    rd_kafka_queue_destroy(answers);
}

/* Members of one group are different installations: a store and route are one member by name. */
static void member_of(struct member *m, const char *store)
{
    struct link_spec spec = { "kafka", &g.link, store, 1 };

    CHECK_INT(k->link_open(&spec, &m->l, NULL), 0);
}

static void member_open(struct member *m)
{
    member_of(m, "store");
}

static void member_free(struct member *m)
{
    k->sink_free(m->sink);
    k->source_free(m->source);
    k->link_free(m->l);
}

static void turn(struct member *m)
{
    struct pollfd p = { k->link_pollfd(m->l), POLLIN, 0 };
    struct timespec t;

    (void)poll(&p, 1, 20);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    (void)k->link_step(m->l, t.tv_sec * 1000 + t.tv_nsec / 1000000, 1000);
}

static void source_open(struct member *m, const struct position *positions, size_t n)
{
    struct source_spec spec = { .route = "r",
        .route_id = 3,
        .options = &g.from,
        .positions = positions,
        .position_count = n,
        .window_events = 1000,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 16,
        .clean_start = true };

    CHECK_INT(k->source_open(m->l, &spec, &m->source, NULL), 0);
}

static void sink_open(struct member *m)
{
    struct sink_spec spec = { .route = "r",
        .name = "s",
        .options = &g.to,
        .window_events = 100,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = 30000 };

    CHECK_INT(k->sink_open(m->l, &spec, &m->sink, NULL), 0);
}

static struct report publish(struct member *m, const char *key, const char *id)
{
    struct event e = { .key = bytes_text(key), .id = bytes_text(id), .body = bytes_text("b") };
    struct message message = {
        .ref = 7, .event = &e, .key = e.key, .fields = { bytes_text("no-such-topic") }
    };
    struct report r;

    while (k->sink_publish(m->sink, &message, 1) == 0)
        turn(m);
    while (k->sink_collect(m->sink, &r, 1) == 0)
        turn(m);
    return r;
}

/* Settles until `want` events came from one batch on; the first one's id goes to ret. */
static size_t take(struct member *m, size_t want, char *ret)
{
    size_t n = 0;

    while (n < want) {
        struct batch *b = k->source_receive(m->source, 100);

        turn(m);
        if (!b)
            continue;
        if (n == 0 && b->count > 0)
            (void)snprintf(
                ret, 64, "%.*s", (int)b->events[0].id.n, (const char *)b->events[0].id.at);
        n += b->count;
        k->source_settle(m->source, b, true);
    }
    while (!k->source_drain(m->source))
        turn(m);
    return n;
}

/* As kafka-consumer-groups --reset-offsets does. */
static void operator_moves(int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, g.topic, 0)->offset = offset;
    CHECK_INT(rd_kafka_commit(g.other, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
}

static int64_t committed(int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    int64_t offset;

    rd_kafka_topic_partition_list_add(list, g.topic, partition);
    CHECK_INT(rd_kafka_committed(g.other, list, 30000), 0);
    offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

TEST(kafka_an_offset_moved_by_an_operator_is_obeyed)
{
    struct member m = { 0 };
    struct position stored = { bytes_text(""), bytes_text("5 1") };
    char name[100], id[64];

    rig_open("moved", 1);
    (void)snprintf(name, sizeof name, "%s/0", g.topic);
    stored.name = bytes_text(name);
    member_open(&m);
    sink_open(&m);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(id, sizeof id, "id-%d", i);
        CHECK_INT(publish(&m, "k", id).fate, FATE_DELIVERED);
    }
    operator_moves(2);
    source_open(&m, &stored, 1);
    CHECK_INT(take(&m, 3, id), 3);
    CHECK_TEXT(id, "id-2");
    CHECK_INT(committed(0), 5);
    member_free(&m);
}

TEST(kafka_an_offset_out_of_range_stops_the_route)
{
    struct member m = { 0 };
    struct link_status status = { 0 };

    rig_open("range", 1);
    member_open(&m);
    operator_moves(1000);
    source_open(&m, NULL, 0);
    while (status.state != LINK_STOPPED) {
        struct batch *b = k->source_receive(m.source, 100);

        if (b)
            k->source_settle(m.source, b, true);
        turn(&m);
        k->source_status(m.source, &status);
    }
    CHECK_CONTAINS(status.error, g.topic);
    CHECK_INT(committed(0), 1000);
    member_free(&m);
}

TEST(kafka_a_missing_topic_of_a_template_blames_the_event)
{
    struct member m = { 0 };
    struct report r;

    rig_open("template", 1);
    g.to.topic.fixed = false;
    member_open(&m);
    sink_open(&m);
    r = publish(&m, "k", "id");
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_ADDRESS);
    member_free(&m);
}

static int64_t high(int32_t partition)
{
    int64_t low, ret;

    /* A new topic's leaders take a moment. */
    while (rd_kafka_query_watermark_offsets(g.other, g.topic, partition, &low, &ret, 30000) != 0)
        ;
    return ret;
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

    rig_open("murmur", partitions);
    member_open(&m);
    sink_open(&m);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        int32_t want = (vectors[i].hash & 0x7fffffff) % partitions;
        int64_t before = high(want);

        CHECK_INT(publish(&m, vectors[i].key, "id").fate, FATE_DELIVERED);
        CHECK_INT(high(want), before + 1);
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
    turn(m);
    return count;
}

static size_t missing(const unsigned *seen, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += seen[i] == 0;
    return count;
}

static uint64_t session(const struct member *m)
{
    struct link_status status;

    k->source_status(m->source, &status);
    return status.session;
}

static bool both_joined(void)
{
    const struct rd_kafka_group_list *list;
    bool joined;

    if (rd_kafka_list_groups(g.other, g.topic, &list, 30000) != 0)
        return false;
    joined = list->group_cnt == 1 && list->groups[0].member_cnt == 2 &&
             strcmp(list->groups[0].state, "Stable") == 0;
    rd_kafka_group_list_destroy(list);
    return joined;
}

static void publish_some(struct member *m, size_t from, size_t to)
{
    char key[16], id[16];

    for (size_t i = from; i < to; i++) {
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)snprintf(id, sizeof id, "%zu", i);
        CHECK_INT(publish(m, key, id).fate, FATE_DELIVERED);
    }
}

TEST(kafka_a_second_member_takes_over_without_loss_or_repeat)
{
    struct member a = { 0 }, b = { 0 };
    struct batch *held[100];
    unsigned seen[200] = { 0 };
    size_t n = 0;
    uint64_t before;

    rig_open("rebalance", 4);
    member_open(&a);
    member_of(&b, "other-store");
    sink_open(&a);
    source_open(&a, NULL, 0);
    publish_some(&a, 0, 100);
    while (missing(seen, 100) > 0)
        (void)receive_some(&a, seen, 200);
    publish_some(&a, 100, 200);
    /* All of them are out while the other one joins: its partitions wait for theirs. */
    while (missing(seen, 200) > 0) {
        turn(&a);
        if (!(held[n] = k->source_receive(a.source, 100)))
            continue;
        for (size_t i = 0; i < held[n]->count; i++)
            seen[strtol((const char *)held[n]->events[i].id.at, NULL, 10)]++;
        n++;
        CHECK(n < 100);
    }
    before = session(&a);
    source_open(&b, NULL, 0);
    while (!both_joined()) {
        turn(&a);
        turn(&b);
    }
    turn(&a);
    for (size_t i = 0; i < n; i++)
        k->source_settle(a.source, held[i], true);
    while (session(&a) == before || session(&b) < 2) {
        (void)receive_some(&a, seen, 200);
        (void)receive_some(&b, seen, 200);
    }
    k->sink_free(a.sink);
    a.sink = NULL;
    sink_open(&b);
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

    rig_open("pause", 1);
    member_open(&m);
    sink_open(&m);
    source_open(&m, NULL, 0);
    CHECK_INT(publish(&m, "k", "0").fate, FATE_DELIVERED);
    while (!seen[0])
        (void)receive_some(&m, seen, 3);
    before = session(&m);
    k->source_pause(m.source, true);
    CHECK_INT(publish(&m, "k", "1").fate, FATE_DELIVERED);
    CHECK_INT(publish(&m, "k", "2").fate, FATE_DELIVERED);
    while (committed(0) < 1)
        turn(&m);
    CHECK(!k->source_receive(m.source, 100));
    k->source_pause(m.source, false);
    while (missing(seen, 3) > 0)
        (void)receive_some(&m, seen, 3);
    CHECK_INT(session(&m), before);
    member_free(&m);
}
