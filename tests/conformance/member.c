#include "tests/conformance/member.h"

#include <poll.h>
#include <time.h>

#define TAKE_MS 120000 /* a record that never comes is a failure, not a hang */

static const struct connector *const k = &connector_kafka;

struct member_rig member_rig;

static void answered(rd_kafka_queue_t *answers)
{
    rd_kafka_event_t *ev = rd_kafka_queue_poll(answers, 30000);

    CHECK(ev);
    CHECK_INT(rd_kafka_event_error(ev), 0);
    rd_kafka_event_destroy(ev);
    rd_kafka_queue_destroy(answers);
}

void member_begin(const char *topic, int partitions)
{
    const char *port = getenv("BASCULE_TEST_KAFKA_PORT");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_queue_t *answers;
    rd_kafka_NewTopic_t *new;
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
    answered(answers);
    rd_kafka_NewTopic_destroy(new);
}

void member_of(struct member *m, const char *store)
{
    struct link_spec spec = { "kafka", &member_rig.link, store, 1, member_rig.was };

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

int64_t member_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void member_turn(struct member *m)
{
    struct pollfd p = { k->link_pollfd(m->l), POLLIN, 0 };

    (void)poll(&p, 1, 20);
    (void)k->link_step(m->l, member_now_ms() + m->skip_ms, 1000);
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
        .max_event_bytes = MEMBER_EVENT_BYTES_MAX,
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
    return member_publish_at(m, key, id, 0);
}

struct report member_publish_at(struct member *m, const char *key, const char *id, int64_t time_ms)
{
    struct event e = {
        .key = bytes_text(key), .id = bytes_text(id), .body = bytes_text("b"), .time_ms = time_ms
    };
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
    int64_t until_ms = member_now_ms() + TAKE_MS;
    size_t n = 0;

    while (n < want) {
        struct batch *b = k->source_receive(m->source, 100);

        CHECK(member_now_ms() < until_ms);
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
    member_moved_with(offset, "");
}

void member_moved_with(int64_t offset, const char *metadata)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, member_rig.topic, 0);

    p->offset = offset;
    if (*metadata) {
        p->metadata = strdup(metadata); /* freed with the list */
        p->metadata_size = strlen(metadata);
    }
    CHECK_INT(rd_kafka_commit(member_rig.other, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
}

static rd_kafka_topic_partition_list_t *commit_of(int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, member_rig.topic, partition);
    CHECK_INT(rd_kafka_committed(member_rig.other, list, 30000), 0);
    return list;
}

int64_t member_committed(int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = commit_of(partition);
    int64_t offset = list->elems[0].offset;

    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

void member_metadata(int32_t partition, char *ret, size_t n)
{
    rd_kafka_topic_partition_list_t *list = commit_of(partition);
    const rd_kafka_topic_partition_t *p = &list->elems[0];

    (void)snprintf(ret, n, "%.*s", (int)p->metadata_size, p->metadata ? (char *)p->metadata : "");
    rd_kafka_topic_partition_list_destroy(list);
}

static rd_kafka_t *producer(const char *transactional_id)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[200];
    rd_kafka_t *rk;

    (void)rd_kafka_conf_set(conf, "bootstrap.servers", member_rig.address, text, sizeof text);
    if (transactional_id)
        (void)rd_kafka_conf_set(conf, "transactional.id", transactional_id, text, sizeof text);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    CHECK(rk);
    return rk;
}

static void produce(rd_kafka_t *rk, int32_t partition, const char *id, const void *body,
    size_t body_bytes, int64_t time_ms)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);

    if (id)
        (void)rd_kafka_header_add(headers, "message-id", -1, id, -1);
    CHECK_INT(
        rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(member_rig.topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)body, body_bytes), RD_KAFKA_V_TIMESTAMP(time_ms),
            RD_KAFKA_V_END),
        0);
}

void member_produce(int32_t partition, const char *id, int64_t time_ms)
{
    rd_kafka_t *rk = producer(NULL);

    produce(rk, partition, id, "b", 1, time_ms);
    CHECK_INT(rd_kafka_flush(rk, 30000), 0);
    rd_kafka_destroy(rk);
}

void member_produce_many(int32_t partition, size_t n, size_t body_bytes)
{
    rd_kafka_t *rk = producer(NULL);
    char *body = calloc(1, body_bytes);

    for (size_t i = 0; i < n; i++)
        produce(rk, partition, NULL, body, body_bytes, 1000);
    CHECK_INT(rd_kafka_flush(rk, 60000), 0);
    rd_kafka_destroy(rk);
    free(body);
}

void member_transaction(const char *id, bool commit)
{
    rd_kafka_t *rk = producer(member_rig.topic);

    CHECK(!rd_kafka_init_transactions(rk, 30000));
    CHECK(!rd_kafka_begin_transaction(rk));
    produce(rk, 0, id, "b", 1, 1000);
    CHECK_INT(rd_kafka_flush(rk, 30000), 0);
    CHECK(
        !(commit ? rd_kafka_commit_transaction(rk, 30000) : rd_kafka_abort_transaction(rk, 30000)));
    rd_kafka_destroy(rk);
}

void member_delete_before(int64_t offset)
{
    rd_kafka_queue_t *answers = rd_kafka_queue_new(member_rig.other);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_DeleteRecords_t *all;

    rd_kafka_topic_partition_list_add(list, member_rig.topic, 0)->offset = offset;
    all = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(member_rig.other, &all, 1, NULL, answers);
    answered(answers);
    rd_kafka_DeleteRecords_destroy(all);
    rd_kafka_topic_partition_list_destroy(list);
}

void member_more_partitions(size_t total)
{
    rd_kafka_queue_t *answers = rd_kafka_queue_new(member_rig.other);
    char text[200];
    rd_kafka_NewPartitions_t *new =
        rd_kafka_NewPartitions_new(member_rig.topic, total, text, sizeof text);

    rd_kafka_CreatePartitions(member_rig.other, &new, 1, NULL, answers);
    answered(answers);
    rd_kafka_NewPartitions_destroy(new);
}

bool member_both_joined(void)
{
    const struct rd_kafka_group_list *list;
    bool joined;

    if (rd_kafka_list_groups(member_rig.other, member_rig.topic, &list, 30000) != 0)
        return false;
    joined = list->group_cnt == 1 && list->groups[0].member_cnt == 2 &&
             strcmp(list->groups[0].state, "Stable") == 0;
    rd_kafka_group_list_destroy(list);
    return joined;
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
