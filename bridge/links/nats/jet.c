#include "bridge/links/nats/jet.h"

#include "bridge/links/nats/answer.h"

#define TOKENS_MAX 12
#define MS_NS 1000000

static bool number(const char *at, const char *end, uint64_t *ret)
{
    *ret = 0;
    for (const char *c = at; c < end; c++)
        if (*c < '0' || *c > '9' || __builtin_mul_overflow(*ret, 10u, ret) ||
            __builtin_add_overflow(*ret, (uint64_t)(*c - '0'), ret))
            return false;
    return end > at;
}

/* $JS.ACK.STREAM.CONSUMER.deliveries.stream_seq.consumer_seq.time.pending, or with domain and
 * account after ACK and one more at the end:
 * https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md */
int jet_place_parse(const char *reply, struct jet_place *ret)
{
    const char *from[TOKENS_MAX + 1];
    size_t n = 0, at = 0;
    uint64_t time_ns = 0;

    if (strncmp(reply, "$JS.ACK.", 8) != 0)
        return -1;
    from[n++] = reply;
    for (const char *dot = strchr(reply, '.'); dot && n < TOKENS_MAX; dot = strchr(dot + 1, '.'))
        from[n++] = dot + 1;
    if (n != 9 && n < 11)
        return -1;
    at = n == 9 ? 4 : 6;
    from[n] = from[n - 1] + strcspn(from[n - 1], ".") + 1;
    if (!number(from[at], from[at + 1] - 1, &ret->deliveries) ||
        !number(from[at + 1], from[at + 2] - 1, &ret->stream_seq) ||
        !number(from[at + 2], from[at + 3] - 1, &ret->consumer_seq) ||
        !number(from[at + 3], from[at + 4] - 1, &time_ns) ||
        !number(from[at + 4], from[at + 5] - 1, &ret->pending))
        return -1;
    ret->time_ms = (int64_t)(time_ns / MS_NS);
    return 0;
}

void jet_subject(enum jet_request request, const struct nats_link_options *link, const char *stream,
    const char *consumer, struct buf *to)
{
    static const char *const verbs[] = { [JET_STREAM_INFO] = "STREAM.INFO",
        [JET_STREAM_CREATE] = "STREAM.CREATE",
        [JET_CONSUMER_INFO] = "CONSUMER.INFO",
        [JET_CONSUMER_CREATE] = "CONSUMER.DURABLE.CREATE",
        [JET_PULL] = "CONSUMER.MSG.NEXT",
        [JET_GET] = "STREAM.MSG.GET" };
    bool both =
        request == JET_CONSUMER_INFO || request == JET_CONSUMER_CREATE || request == JET_PULL;

    buf_clear(to);
    buf_put_text(to, "$JS.");
    if (link->domain)
        buf_put_format(to, "%s.", link->domain);
    buf_put_format(to, "API.%s.%s", verbs[request], stream);
    if (both)
        buf_put_format(to, ".%s", consumer);
}

static void put_subjects(const struct option_list *subjects, struct buf *to)
{
    buf_put_byte(to, '[');
    for (size_t i = 0; i < subjects->n; i++) {
        if (i)
            buf_put_byte(to, ',');
        answer_put_string(to, subjects->at[i]);
    }
    buf_put_byte(to, ']');
}

void jet_stream_config(const struct nats_source_options *o, struct buf *to)
{
    buf_clear(to);
    buf_put_text(to, "{\"name\":");
    answer_put_string(to, o->stream);
    if (o->subjects.n) {
        buf_put_text(to, ",\"subjects\":");
        put_subjects(&o->subjects, to);
    }
    buf_put_text(to,
        ",\"retention\":\"limits\",\"storage\":\"file\",\"discard\":\"old\",\"num_replicas\":1,"
        "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0}");
}

static void put_start(const struct nats_source_options *o, uint64_t resume_at, struct buf *to)
{
    static const char *const policies[] = {
        [NATS_START_ALL] = "all", [NATS_START_NEW] = "new", [NATS_START_LAST] = "last"
    };

    if (resume_at || o->start_sequence > 0) {
        buf_put_format(to, ",\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%llu",
            resume_at ? (unsigned long long)resume_at : (unsigned long long)o->start_sequence);
    } else if (o->start_time) {
        buf_put_text(to, ",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":");
        answer_put_string(to, o->start_time);
    } else {
        buf_put_format(to, ",\"deliver_policy\":\"%s\"", policies[o->start]);
    }
}

void jet_consumer_config(const struct nats_source_options *o, bool filter, uint64_t resume_at,
    int64_t max_ack_pending, struct buf *to)
{
    buf_clear(to);
    buf_put_text(to, "{\"stream_name\":");
    answer_put_string(to, o->stream);
    buf_put_text(to, ",\"config\":{\"durable_name\":");
    answer_put_string(to, o->durable);
    put_start(o, resume_at, to);
    buf_put_format(to,
        ",\"ack_policy\":\"explicit\",\"replay_policy\":\"instant\",\"ack_wait\":%lld,"
        "\"max_ack_pending\":%lld",
        (long long)o->ack_wait_ms * MS_NS, (long long)max_ack_pending);
    if (filter && o->subjects.n == 1) {
        buf_put_text(to, ",\"filter_subject\":");
        answer_put_string(to, o->subjects.at[0]);
    } else if (filter) {
        buf_put_text(to, ",\"filter_subjects\":");
        put_subjects(&o->subjects, to);
    }
    buf_put_text(to, "}}");
}

void jet_pull(size_t batch, int64_t expires_ms, int64_t heartbeat_ms, struct buf *to)
{
    buf_clear(to);
    buf_put_format(to, "{\"batch\":%zu,\"expires\":%lld,\"idle_heartbeat\":%lld}", batch,
        (long long)expires_ms * MS_NS, (long long)heartbeat_ms * MS_NS);
}

bool jet_covers(const struct option_list *subjects, struct bytes stream_subjects)
{
    struct bytes item;

    if (subjects->n == 0)
        return true;
    while (answer_item(&stream_subjects, &item) == 1) {
        bool found = false;
        for (size_t i = 0; i < subjects->n && !found; i++)
            found =
                bytes_equal(item, bytes_text(subjects->at[i])) || strcmp(subjects->at[i], ">") == 0;
        if (!found)
            return false;
    }
    return true;
}
