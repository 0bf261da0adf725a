#include "bridge/links/kafka/assign.h"

#include <inttypes.h>
#include <stdlib.h>

#define ASK_MS 5000
#define ASK_TRIES 60
#define PEEK_MS 10000

static int start_offset(const struct assign_job *a, rd_kafka_t *rk,
    const rd_kafka_topic_partition_t *p, int64_t low, int64_t high, int64_t *ret)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t e;

    *ret = a->first_assignment && a->start == KAFKA_START_LATEST ? high : low;
    if (!a->first_assignment || a->start < 0)
        return 0;
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = a->start;
    e = rd_kafka_offsets_for_times(rk, list, ASK_MS);
    *ret = list->elems[0].offset >= 0 ? list->elems[0].offset : high;
    rd_kafka_topic_partition_list_destroy(list);
    return e == 0 ? 0 : -1;
}

/* The timestamp of the record at or after `offset`, by a reader without a group; -1: none there,
 * -2: no answer. *at gets its offset. */
static int64_t peek(
    const struct assign_job *a, const rd_kafka_topic_partition_t *p, int64_t offset, int64_t *at)
{
    rd_kafka_conf_t *conf = kafka_conf_open(a->link, true, NULL);
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_timestamp_type_t type;
    rd_kafka_message_t *m;
    rd_kafka_t *rk;
    char text[200];
    int64_t ts = -2;

    if (!conf)
        return -2;
    (void)kafka_conf_set(conf, "group.id", a->group, NULL); /* never joined: assigned by hand */
    (void)kafka_conf_set(conf, "enable.auto.commit", "false", NULL);
    (void)kafka_conf_set(conf, "enable.partition.eof", "true", NULL);
    (void)kafka_conf_set(conf, "auto.offset.reset", "error", NULL);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return -2;
    }
    (void)rd_kafka_poll_set_consumer(rk);
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = offset;
    if (rd_kafka_assign(rk, list) == 0 && (m = rd_kafka_consumer_poll(rk, PEEK_MS))) {
        if (m->err == 0) {
            ts = rd_kafka_message_timestamp(m, &type);
            *at = m->offset;
        } else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ts = -1;
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_topic_partition_list_destroy(list);
    (void)rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return ts;
}

/* The group has no offset though we stored one: it expired, or the topic was made anew. Returns 0,
 * 1 to ask again, -1 with trouble. */
static int doubt(struct assign_job *a, struct assign_found *f, const rd_kafka_topic_partition_t *p,
    int64_t low, int64_t high)
{
    int64_t at = -1, ts;

    f->adopt = true;
    f->offset = f->stored;
    if (f->stored < low || f->stored > high) {
        (void)snprintf(a->trouble, sizeof a->trouble,
            "kafka: %.100s/%" PRId32 ": the group has no offset, and ours, %" PRId64
            ", is outside of what the broker has (%" PRId64 " to %" PRId64 ")",
            p->topic, p->partition, f->stored, low, high);
        return -1;
    }
    if (f->stored_ts < 0 || f->stored == 0 || f->stored - 1 < low) {
        if (f->stored == 0 || f->stored_ts < 0 || low > 0)
            return 0;
    }
    ts = peek(a, p, f->stored - 1, &at);
    if (ts == -2)
        return 1;
    if ((at == f->stored - 1 && ts == f->stored_ts) || (at != f->stored - 1 && low > 0))
        return 0;
    (void)snprintf(a->trouble, sizeof a->trouble,
        "kafka: %.100s/%" PRId32 ": the group has no offset, and the record before ours, %" PRId64
        ", is another one: was the topic made anew?",
        p->topic, p->partition, f->stored);
    return -1;
}

static int look_up(struct assign_job *a, rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *c = rd_kafka_topic_partition_list_copy(a->list);
    int got = rd_kafka_committed(rk, c, ASK_MS) == 0 ? 0 : 1;

    for (int i = 0; got == 0 && i < c->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &c->elems[i];
        struct assign_found *f = &a->found[i];
        int64_t low, high;
        bool ours = p->metadata && p->metadata_size == strlen(a->metadata) &&
                    memcmp(p->metadata, a->metadata, p->metadata_size) == 0;

        f->adopt = false;
        if (p->err != 0) {
            got = 1;
        } else if (p->offset >= 0 && ours && f->stored >= 0) {
            f->offset = f->stored;
        } else if (p->offset >= 0) {
            f->offset = p->offset;
            f->adopt = true;
        } else if (rd_kafka_query_watermark_offsets(
                       rk, p->topic, p->partition, &low, &high, ASK_MS) != 0) {
            got = 1;
        } else if (f->stored >= 0) {
            got = doubt(a, f, p, low, high);
        } else {
            f->adopt = true;
            got = start_offset(a, rk, p, low, high, &f->offset) == 0 ? 0 : 1;
        }
    }
    rd_kafka_topic_partition_list_destroy(c);
    return got;
}

static void assign_run(struct kafka_job *j, rd_kafka_t *rk)
{
    struct assign_job *a = (struct assign_job *)j;
    int got = 1;

    for (int i = 0; i < ASK_TRIES && got == 1; i++)
        got = look_up(a, rk);
    if (got == 1)
        (void)snprintf(a->trouble, sizeof a->trouble,
            "kafka: group '%.100s': its offsets could not be read", a->group);
}

struct assign_job *assign_open(const rd_kafka_topic_partition_list_t *list)
{
    struct assign_job *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->job.run = assign_run;
    a->job.free_job = assign_free;
    a->list = rd_kafka_topic_partition_list_copy(list);
    a->found = calloc((size_t)list->cnt + 1, sizeof *a->found);
    if (a->found)
        return a;
    assign_free(&a->job);
    return NULL;
}

void assign_free(struct kafka_job *j)
{
    struct assign_job *a = (struct assign_job *)j;

    rd_kafka_topic_partition_list_destroy(a->list);
    free(a->found);
    free(a);
}
