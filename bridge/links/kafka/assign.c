#include "bridge/links/kafka/assign.h"

#include <inttypes.h>
#include <stdlib.h>

#define ASK_MS 5000
#define PEEK_MS 10000

static rd_kafka_resp_err_t start_offset(const struct assign_job *a, rd_kafka_t *rk,
    const rd_kafka_topic_partition_t *p, int64_t low, int64_t high, int64_t *ret)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t e;

    *ret = a->first_assignment && a->start == KAFKA_START_LATEST ? high : low;
    if (!a->first_assignment || a->start < 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = a->start;
    e = rd_kafka_offsets_for_times(rk, list, ASK_MS);
    if (e == 0)
        e = list->elems[0].err;
    *ret = list->elems[0].offset >= 0 ? list->elems[0].offset : high;
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

/* The timestamp of the record at or after `offset`, by a reader without a group; -1: none there,
 * -2: no answer. *at gets its offset. */
static int64_t peek(
    const struct assign_job *a, const rd_kafka_topic_partition_t *p, int64_t offset, int64_t *at)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(a->conf);
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_timestamp_type_t type;
    rd_kafka_message_t *m;
    rd_kafka_t *rk;
    int64_t ts = -2;

    rk = kafka_conf_start(conf, true, NULL);
    if (!rk)
        return -2;
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
    if (ts == -2) {
        (void)snprintf(a->trouble, sizeof a->trouble,
            "kafka: %.100s/%" PRId32 ": the record before ours could not be read", p->topic,
            p->partition);
        return 1;
    }
    if ((at == f->stored - 1 && ts == f->stored_ts) || (at != f->stored - 1 && low > 0))
        return 0;
    (void)snprintf(a->trouble, sizeof a->trouble,
        "kafka: %.100s/%" PRId32 ": the group has no offset, and the record before ours, %" PRId64
        ", is another one: was the topic made anew?",
        p->topic, p->partition, f->stored);
    return -1;
}

void assign_metadata(const char *store_id, uint64_t route_id, char *ret, size_t n)
{
    (void)snprintf(ret, n, "bascule:%.150s:%" PRIu64, store_id, route_id);
}

static bool says(const struct assign_job *a, const rd_kafka_topic_partition_t *p, const char *id)
{
    char text[200];

    assign_metadata(id, a->route_id, text, sizeof text);
    return p->metadata && p->metadata_size == strlen(text) &&
           memcmp(p->metadata, text, p->metadata_size) == 0;
}

/* A restored store goes on where its copy ends, not where the one it was copied from committed
 * last: what that one logged in between is in no store any more. */
static bool is_ours(const struct assign_job *a, const rd_kafka_topic_partition_t *p)
{
    if (says(a, p, a->store_id))
        return true;
    for (size_t i = 0; a->store_was && a->store_was[i]; i++)
        if (says(a, p, a->store_was[i]))
            return true;
    return false;
}

/* Returns 0, 1 to ask again, -1 with trouble. */
static int find(struct assign_job *a, rd_kafka_t *rk, const rd_kafka_topic_partition_t *p,
    struct assign_found *f)
{
    int64_t low, high;
    bool ours = is_ours(a, p);
    rd_kafka_resp_err_t e = p->err;

    f->adopt = true;
    if (e == 0 && p->offset >= 0) {
        f->adopt = !ours || f->stored < 0;
        f->offset = f->adopt ? p->offset : f->stored;
        return 0;
    }
    if (e == 0)
        e = rd_kafka_query_watermark_offsets(rk, p->topic, p->partition, &low, &high, ASK_MS);
    if (e == 0 && f->stored >= 0)
        return doubt(a, f, p, low, high);
    if (e == 0)
        e = start_offset(a, rk, p, low, high, &f->offset);
    if (e != 0)
        (void)snprintf(a->trouble, sizeof a->trouble, "kafka: offset of %.120s/%" PRId32 ": %.80s",
            p->topic, p->partition, rd_kafka_err2str(e));
    return e == 0 ? 0 : 1;
}

static int look_up(struct assign_job *a, rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *c = rd_kafka_topic_partition_list_copy(a->list);
    rd_kafka_resp_err_t e = c->cnt ? rd_kafka_committed(rk, c, ASK_MS) : 0;
    int got = e == 0 ? 0 : 1;

    if (e != 0)
        (void)snprintf(a->trouble, sizeof a->trouble, "kafka: offsets of the group: %.120s",
            rd_kafka_err2str(e));
    for (int i = 0; got == 0 && i < c->cnt; i++)
        got = find(a, rk, &c->elems[i], &a->found[i]);
    rd_kafka_topic_partition_list_destroy(c);
    return got;
}

static void peer_read(struct assign_job *a, rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *m;

    if (rd_kafka_metadata(rk, 0, NULL, &m, ASK_MS) != 0)
        return;
    if (m->broker_cnt > 0)
        (void)snprintf(
            a->peer, sizeof a->peer, "%.100s:%d", m->brokers[0].host, m->brokers[0].port);
    rd_kafka_metadata_destroy(m);
}

static void assign_run(struct kafka_job *j, rd_kafka_t *rk)
{
    struct assign_job *a = (struct assign_job *)j;
    int got;

    a->trouble[0] = '\0';
    got = look_up(a, rk);
    a->result = got == 0 ? ASSIGN_FOUND : got == 1 ? ASSIGN_AGAIN : ASSIGN_DOUBT;
    if (got == 0)
        peer_read(a, rk);
}

/* Never a member: its partitions are assigned by hand. */
static rd_kafka_conf_t *reader_conf(const struct kafka_link_options *link, const char *group)
{
    rd_kafka_conf_t *conf = kafka_conf_open(link, true, NULL);

    if (conf && kafka_conf_set(conf, "group.id", group, NULL) == 0 &&
        kafka_conf_set(conf, "enable.auto.commit", "false", NULL) == 0 &&
        kafka_conf_set(conf, "enable.partition.eof", "true", NULL) == 0 &&
        kafka_conf_set(conf, "auto.offset.reset", "error", NULL) == 0)
        return conf;
    if (conf)
        rd_kafka_conf_destroy(conf);
    return NULL;
}

struct assign_job *assign_open(const rd_kafka_topic_partition_list_t *list,
    const struct kafka_link_options *link, const char *group)
{
    struct assign_job *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->job.run = assign_run;
    a->job.free_job = assign_free;
    a->list = rd_kafka_topic_partition_list_copy(list);
    a->found = calloc((size_t)list->cnt + 1, sizeof *a->found);
    a->conf = reader_conf(link, group);
    if (a->found && a->conf)
        return a;
    assign_free(&a->job);
    return NULL;
}

void assign_free(struct kafka_job *j)
{
    struct assign_job *a = (struct assign_job *)j;

    rd_kafka_topic_partition_list_destroy(a->list);
    if (a->conf)
        rd_kafka_conf_destroy(a->conf);
    free(a->found);
    free(a);
}
