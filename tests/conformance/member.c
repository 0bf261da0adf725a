#include "tests/conformance/member.h"

#include <poll.h>
#include <time.h>

static const struct connector *const k = &connector_kafka;

struct member_rig member_rig;

void member_begin(const char *topic, int partitions)
{
    const char *port = getenv("BASCULE_TEST_KAFKA_PORT");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_queue_t *answers;
    rd_kafka_NewTopic_t *new;
    rd_kafka_event_t *ev;
    char text[200];

    if (!port)
        harness_skip("no Kafka: BASCULE_TEST_KAFKA_PORT is not set");
    (void)snprintf(member_rig.address, sizeof member_rig.address, "127.0.0.1:%s", port);
    (void)snprintf(member_rig.topic, sizeof member_rig.topic, "%s-%ld", topic, (long)time(NULL));
    member_rig.brokers[0] = member_rig.address;
    member_rig.topics[0] = member_rig.topic;
    member_rig.link.brokers = (struct option_list){ member_rig.brokers, 1 };
    member_rig.from =
        (struct kafka_source_options){ .topics = { member_rig.topics, 1 }, .start = NULL };
    member_rig.from.group = member_rig.topic;
    member_rig.to = (struct kafka_sink_options){ .topic = { member_rig.topic, true } };
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", member_rig.address, text, sizeof text);
    (void)rd_kafka_conf_set(conf, "group.id", member_rig.topic, text, sizeof text);
    member_rig.other = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    CHECK(member_rig.other);
    answers = rd_kafka_queue_new(member_rig.other);
    new = rd_kafka_NewTopic_new(member_rig.topic, partitions, 1, text, sizeof text);
    rd_kafka_CreateTopics(member_rig.other, &new, 1, NULL, answers);
    ev = rd_kafka_queue_poll(answers, 30000);
    CHECK(ev);
    CHECK_INT(rd_kafka_event_error(ev), 0);
    rd_kafka_event_destroy(ev);
    rd_kafka_NewTopic_destroy(new);
    rd_kafka_queue_destroy(answers);
}

void member_of(struct member *m, const char *store)
{
    struct link_spec spec = { "kafka", &member_rig.link, store, 1 };

    CHECK_INT(k->link_open(&spec, &m->l, NULL), 0);
}

void member_open(struct member *m)
{
    member_of(m, "store");
}

void member_free(struct member *m)
{
    k->sink_free(m->sink);
    k->source_free(m->source);
    k->link_free(m->l);
}

void member_turn(struct member *m)
{
    struct pollfd p = { k->link_pollfd(m->l), POLLIN, 0 };
    struct timespec t;

    (void)poll(&p, 1, 20);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    (void)k->link_step(m->l, t.tv_sec * 1000 + t.tv_nsec / 1000000 + m->skip_ms, 1000);
}

void member_source(struct member *m, const struct position *positions, size_t n)
{
    struct source_spec spec = { .route = "r",
        .route_id = 3,
        .options = &member_rig.from,
        .positions = positions,
        .position_count = n,
        .window_events = 1000,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 16,
        .clean_start = true };

    CHECK_INT(k->source_open(m->l, &spec, &m->source, NULL), 0);
}

void member_sink(struct member *m)
{
    struct sink_spec spec = { .route = "r",
        .name = "s",
        .options = &member_rig.to,
        .window_events = 100,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = 30000 };

    CHECK_INT(k->sink_open(m->l, &spec, &m->sink, NULL), 0);
}

struct report member_publish(struct member *m, const char *key, const char *id)
{
    struct event e = { .key = bytes_text(key), .id = bytes_text(id), .body = bytes_text("b") };
    struct message message = {
        .ref = 7, .event = &e, .key = e.key, .fields = { bytes_text("no-such-topic") }
    };
    struct report r;

    while (k->sink_publish(m->sink, &message, 1) == 0)
        member_turn(m);
    while (k->sink_collect(m->sink, &r, 1) == 0)
        member_turn(m);
    return r;
}

size_t member_take(struct member *m, size_t want, char *ret)
{
    size_t n = 0;

    while (n < want) {
        struct batch *b = k->source_receive(m->source, 100);

        member_turn(m);
        if (!b)
            continue;
        if (n == 0 && b->count > 0)
            (void)snprintf(
                ret, 64, "%.*s", (int)b->events[0].id.n, (const char *)b->events[0].id.at);
        n += b->count;
        k->source_settle(m->source, b, true);
    }
    while (!k->source_drain(m->source))
        member_turn(m);
    return n;
}

void member_moved(int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, member_rig.topic, 0)->offset = offset;
    CHECK_INT(rd_kafka_commit(member_rig.other, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
}

int64_t member_committed(int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    int64_t offset;

    rd_kafka_topic_partition_list_add(list, member_rig.topic, partition);
    CHECK_INT(rd_kafka_committed(member_rig.other, list, 30000), 0);
    offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

int64_t member_high(int32_t partition)
{
    int64_t low, ret;

    /* A new topic's leaders take a moment. */
    while (rd_kafka_query_watermark_offsets(
               member_rig.other, member_rig.topic, partition, &low, &ret, 30000) != 0)
        ;
    return ret;
}

uint64_t member_session(const struct member *m)
{
    struct link_status status;

    k->source_status(m->source, &status);
    return status.session;
}
