#include "bridge/links/kafka/sink.h"

#include "bridge/links/kafka/codec.h"

#include <errno.h>
#include <stdlib.h>

#define CHECK_TIMEOUT_MS 5000
#define HEADER_SCRATCH_MAX 1024
/* Without a confirmation for so long, while a neighbour on the same producer gets its own. */
#define STALL_MS 5000
#define TOPIC_BYTES_MAX 249 /* Kafka's own limit on a topic's name */

/* Is the topic there? Asked on the handle's thread. */
struct check_job {
    struct kafka_job job;
    const struct sink *sink; /* compared only: it may be gone */
    char topic[TOPIC_BYTES_MAX + 1];
    rd_kafka_resp_err_t error;
    char peer[128];
};

static void check_free(struct kafka_job *j)
{
    free(j);
}

static void check_run(struct kafka_job *j, rd_kafka_t *rk)
{
    struct check_job *c = (struct check_job *)j;
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_topic_t *topic = *c->topic ? rd_kafka_topic_new(rk, c->topic, NULL) : NULL;

    c->error = rd_kafka_metadata(rk, 0, topic, &found, CHECK_TIMEOUT_MS);
    if (topic)
        rd_kafka_topic_destroy(topic);
    if (c->error != 0)
        return;
    for (int i = 0; i < found->topic_cnt && *c->topic; i++)
        if (strcmp(found->topics[i].topic, c->topic) == 0)
            c->error = found->topics[i].err;
    if (found->broker_cnt > 0)
        (void)snprintf(
            c->peer, sizeof c->peer, "%s:%d", found->brokers[0].host, found->brokers[0].port);
    rd_kafka_metadata_destroy(found);
}

static void check_start(struct sink *s)
{
    struct check_job *c;

    if (s->checking || !s->producer->handle)
        return;
    c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->job.run = check_run;
    c->job.done = kafka_sink_checked;
    c->job.free_job = check_free;
    c->sink = s;
    if (s->options->topic.fixed)
        (void)snprintf(c->topic, sizeof c->topic, "%s", s->options->topic.text);
    s->checking = true;
    kafka_handle_post(s->producer->handle, &c->job);
}

void kafka_sink_down(struct sink *s, const char *text)
{
    s->ready = false;
    (void)snprintf(s->status.error, sizeof s->status.error, "kafka: %s%s%s%s",
        s->options->topic.fixed ? "topic '" : "",
        s->options->topic.fixed ? s->options->topic.text : "", s->options->topic.fixed ? "': " : "",
        text);
    if (s->status.state == LINK_DOWN)
        return;
    kafka_state_set(&s->status, LINK_DOWN, s->link->now_ms);
    s->status.retry_ms =
        s->link->now_ms + backoff_wait_ms(&backoff_connect, ++s->tries, &s->link->random);
}

/* That no broker answered has its reason in what the producer heard meanwhile: a login refused, a
 * certificate. */
static const char *check_text(const struct sink *s, rd_kafka_resp_err_t e)
{
    bool unanswered = e == RD_KAFKA_RESP_ERR__TRANSPORT || e == RD_KAFKA_RESP_ERR__TIMED_OUT;

    return unanswered && *s->producer->error ? s->producer->error : rd_kafka_err2str(e);
}

void kafka_sink_checked(struct link *l, const struct kafka_job *j)
{
    const struct check_job *c = (const struct check_job *)j;
    struct sink *s = l->sinks;

    while (s && s != c->sink)
        s = s->next;
    if (!s)
        return;
    s->checking = false;
    if (c->error != 0) {
        kafka_state_set(&s->status, LINK_CONNECTING, s->link->now_ms);
        kafka_sink_down(s, check_text(s, c->error));
        return;
    }
    s->producer->error[0] = '\0';
    if (s->status.session++)
        s->status.reconnects++;
    s->tries = 0;
    s->ready = true;
    s->status.error[0] = '\0';
    (void)snprintf(s->status.peer, sizeof s->status.peer, "%s", c->peer);
    kafka_state_set(&s->status, LINK_UP, s->link->now_ms);
}

void kafka_sink_report(struct sink *s, const struct report *r)
{
    *(struct report *)ring_at(&s->reports, s->report_end++) = *r;
}

int kafka_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->spec = *spec;
    s->options = spec->options;
    buf_init(&s->scratch, HEADER_SCRATCH_MAX);
    s->reports.bytes = sizeof(struct report);
    s->status.state = LINK_CONNECTING;
    s->status.since_ms = l->now_ms;
    s->status.lag = -1;
    if (kafka_producer_find(l, s->options, spec->confirm_timeout_ms, &s->producer, why) != 0)
        goto fail;
    s->flights = kafka_flights_open(s->producer, (size_t)spec->window_events);
    if (!s->flights) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    s->next = l->sinks;
    l->sinks = s;
    check_start(s);
    *ret = s;
    return 0;
fail:
    kafka_sink_free(s);
    return -1;
}

static void header_add(void *to, struct bytes name, struct bytes value)
{
    rd_kafka_headers_t **headers = to;

    if (!*headers)
        *headers = rd_kafka_headers_new(8);
    (void)rd_kafka_header_add(
        *headers, (const char *)name.at, (ssize_t)name.n, value.at, (ssize_t)value.n);
}

static bool partition_parse(struct bytes text, int32_t *ret)
{
    int64_t n = 0;

    if (!bytes_present(text) || text.n == 0 || text.n > 10)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        n = n * 10 + (text.at[i] - '0');
    }
    *ret = (int32_t)n;
    return n <= INT32_MAX;
}

static void refuse(
    struct sink *s, const struct message *m, enum cause cause, int code, const char *text)
{
    kafka_sink_report(
        s, &(struct report){
               .ref = m->ref, .fate = FATE_REFUSED, .cause = cause, .code = code, .text = text });
}

/* Where it goes. False: it was refused. */
static bool address_of(struct sink *s, const struct message *m, char *topic, int32_t *partition)
{
    struct bytes name = m->fields[0];

    *partition = RD_KAFKA_PARTITION_UA;
    if (s->options->partition.text && !partition_parse(m->fields[1], partition)) {
        refuse(s, m, CAUSE_FINAL, 0, "partition is not a number");
        return false;
    }
    if (s->topic)
        return true;
    if (name.n == 0 || name.n > TOPIC_BYTES_MAX || memchr(name.at, 0, name.n)) {
        refuse(s, m, CAUSE_FINAL, 0, "no Kafka topic has such a name");
        return false;
    }
    memcpy(topic, name.at, name.n);
    topic[name.n] = '\0';
    return true;
}

/* Bytes are copied: an abandoned message's loan ends while librdkafka still may send it. */
static rd_kafka_resp_err_t produce(struct sink *s, const struct message *m, const char *topic,
    int32_t partition, rd_kafka_headers_t *headers, struct flight *f)
{
    const struct event *e = m->event;
    rd_kafka_vu_t v[8];
    size_t n = 0;
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;

    if (s->topic)
        v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = s->topic };
    else
        v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic };
    v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition };
    v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_VALUE,
        .u.mem = { (void *)(uintptr_t)e->body.at, e->body.n } };
    if (bytes_present(m->key))
        v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_KEY,
            .u.mem = { (void *)(uintptr_t)m->key.at, m->key.n } };
    v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY };
    v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = e->time_ms };
    v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = f };
    if (headers)
        v[n++] = (rd_kafka_vu_t){ .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers };
    error = rd_kafka_produceva(kafka_handle_rk(s->producer->handle), v, n);
    if (!error)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    if (headers)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* False: not now. */
static bool publish_one(struct sink *s, const struct message *m)
{
    char topic[TOPIC_BYTES_MAX + 1];
    rd_kafka_headers_t *headers = NULL;
    struct flight *f = kafka_flights_free(s->flights);
    struct report r = { .ref = m->ref };
    int32_t partition;
    rd_kafka_resp_err_t e;

    if (!address_of(s, m, topic, &partition))
        return true;
    if (kafka_codec_write(m->event, m->flags & MESSAGE_REPLAY, &s->scratch, header_add, &headers) !=
        0) {
        if (headers)
            rd_kafka_headers_destroy(headers);
        refuse(s, m, CAUSE_FINAL, 0, "its headers cannot be written to Kafka");
        return true;
    }
    e = produce(s, m, topic, partition, headers, f);
    if (e == RD_KAFKA_RESP_ERR__QUEUE_FULL || e == RD_KAFKA_RESP_ERR__FATAL)
        return false;
    if (e != 0) {
        kafka_producer_meaning(s, f, e, false, &r);
        if (r.cause == CAUSE_LOST)
            kafka_sink_down(s, r.text);
        kafka_sink_report(s, &r);
        return true;
    }
    s->flights->free = f->next_free;
    s->flights->out++;
    s->producer->out++;
    s->producer->out_bytes += event_bytes(m->event);
    f->sink = s;
    f->ref = m->ref;
    f->order = ++s->order;
    f->bytes = event_bytes(m->event);
    if (s->out == 0)
        s->progress_ms = s->link->now_ms;
    s->out++;
    s->out_bytes += f->bytes;
    return true;
}

/* For one more, and for its report. */
static bool has_place(struct sink *s)
{
    size_t n = s->out + (s->report_end - s->report_first) + 1;

    return s->flights && kafka_flights_free(s->flights) && n <= (size_t)s->spec.window_events &&
           (s->out == 0 || s->out_bytes < (size_t)s->spec.window_bytes) &&
           ring_room(&s->reports, s->report_first, s->report_end, n) == 0;
}

size_t kafka_sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    bool quiet = s->producer->out == 0;
    size_t k = 0;

    if (s->ready && s->options->topic.fixed && !s->topic)
        s->topic =
            rd_kafka_topic_new(kafka_handle_rk(s->producer->handle), s->options->topic.text, NULL);
    while (k < n && s->ready && !s->moving && has_place(s) && publish_one(s, &messages[k]))
        k++;
    if (quiet && s->producer->out > 0)
        kafka_handle_wake(s->link->wake_fd); /* a step tells the producer to send */
    return k;
}

size_t kafka_sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    for (; n < limit && s->report_first < s->report_end; n++, s->report_first++)
        ret[n] = *(struct report *)ring_at(&s->reports, s->report_first);
    return n;
}

/* A neighbour's messages cannot be told apart in one producer's queue, so only a lone user purges.
 */
void kafka_sink_abandon(struct sink *s)
{
    if (s->producer->users == 1 && s->producer->handle && s->out > 0)
        (void)rd_kafka_purge(kafka_handle_rk(s->producer->handle),
            RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    for (size_t i = 0; s->flights && i < s->flights->used; i++) {
        struct flight *f = &s->flights->at[i];

        if (f->sink != s)
            continue;
        kafka_sink_report(s, &(struct report){ .ref = f->ref,
                                 .fate = FATE_UNSURE,
                                 .cause = CAUSE_LOST,
                                 .text = "let go before it was confirmed" });
        f->sink = NULL;
    }
    s->out = s->out_bytes = 0;
}

/* Is another sink of its producer served while this one waits? */
static bool stalled(const struct sink *s)
{
    int64_t now = s->link->now_ms;

    if (s->options->dedicated != KAFKA_DEDICATED_AUTO || s->producer->dedicated || s->out == 0 ||
        now - s->progress_ms < STALL_MS)
        return false;
    for (const struct sink *n = s->link->sinks; n; n = n->next)
        if (n != s && n->producer == s->producer && n->confirmed_ms > s->progress_ms &&
            now - n->confirmed_ms < STALL_MS)
            return true;
    return false;
}

/* A producer's requests wait in one line for each broker, so a sink that stalls leaves it to its
 * neighbours. */
static void sink_move(struct sink *s)
{
    struct kafka_producer *old = s->producer, *own = NULL;
    struct flights *flights;
    struct fault why;

    s->moving = false;
    s->progress_ms = s->link->now_ms;
    if (kafka_producer_open(s->link, s->options, s->spec.confirm_timeout_ms, true, &own, &why) !=
            0 ||
        !own)
        return;
    flights = kafka_flights_open(own, (size_t)s->spec.window_events);
    if (!flights) {
        kafka_producer_leave(own);
        return;
    }
    if (s->topic)
        rd_kafka_topic_destroy(s->topic);
    s->topic = NULL;
    kafka_flights_orphan(old, s->flights);
    s->flights = flights;
    s->producer = own;
    kafka_producer_leave(old);
    s->ready = s->checking = false;
    kafka_state_set(&s->status, LINK_CONNECTING, s->link->now_ms);
    check_start(s);
}

int64_t kafka_sink_step(struct sink *s)
{
    int64_t tell_ms;

    if (!kafka_producer_ready(s->producer)) {
        (void)snprintf(s->status.error, sizeof s->status.error, "%s", s->producer->error);
        kafka_state_set(&s->status, LINK_DOWN, s->link->now_ms);
        s->status.retry_ms = s->producer->dial_ms;
        return s->producer->dial_ms;
    }
    if (s->status.since_ms == 0)
        s->status.since_ms = s->link->now_ms;
    tell_ms = kafka_producer_step(s->producer);
    s->moving = s->moving || stalled(s);
    if (s->moving && s->out == 0 && s->flights)
        sink_move(s);
    if (s->status.state == LINK_DOWN && s->link->now_ms >= s->status.retry_ms) {
        kafka_state_set(&s->status, LINK_CONNECTING, s->link->now_ms);
        check_start(s);
    }
    if (s->report_first < s->report_end)
        kafka_handle_wake(s->link->wake_fd);
    if (s->status.state == LINK_DOWN)
        return s->status.retry_ms;
    return s->out > 0 && !s->producer->dedicated && s->link->now_ms + STALL_MS < tell_ms
               ? s->link->now_ms + STALL_MS
               : tell_ms;
}

struct sink *kafka_sink_next(const struct sink *s)
{
    return s->next;
}

void kafka_sink_status(const struct sink *s, struct link_status *ret)
{
    struct kafka_handle *handle = s->producer ? s->producer->handle : NULL;

    *ret = s->status;
    ret->peer_expires_ms = handle ? kafka_handle_peer_expires(handle) : 0;
}

void kafka_sink_free(struct sink *s)
{
    struct sink **at;

    if (!s)
        return;
    for (at = &s->link->sinks; *at && *at != s; at = &(*at)->next)
        ;
    if (*at)
        *at = s->next;
    if (s->topic)
        rd_kafka_topic_destroy(s->topic);
    if (s->flights)
        kafka_flights_orphan(s->producer, s->flights);
    kafka_producer_leave(s->producer);
    buf_done(&s->scratch);
    ring_done(&s->reports);
    free(s);
}
