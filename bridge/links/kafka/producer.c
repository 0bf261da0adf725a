#include "bridge/links/kafka/sink.h"

#include <stdlib.h>

#define ERROR_TOLD_MS 35000

struct flights *kafka_flights_open(struct kafka_producer *p, size_t n)
{
    struct flights *f = calloc(1, sizeof *f + n * sizeof f->at[0]);

    if (!f)
        return NULL;
    f->n = n;
    f->next = p->flights;
    p->flights = f;
    return f;
}

struct flight *kafka_flights_free(struct flights *f)
{
    if (!f->free && f->used < f->n) {
        f->free = &f->at[f->used++];
        f->free->home = f;
    }
    return f->free;
}

static void flights_free(struct kafka_producer *p, struct flights *f)
{
    struct flights **at = &p->flights;

    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    free(f);
}

void kafka_flights_orphan(struct kafka_producer *p, struct flights *f)
{
    for (size_t i = 0; i < f->used; i++)
        f->at[i].sink = NULL;
    f->orphan = true;
    if (f->out == 0)
        flights_free(p, f);
}

static bool address_fixed(const struct sink *s)
{
    return s->options->topic.fixed && (!s->options->partition.text || s->options->partition.fixed);
}

/* librdkafka tries again what a broker refused for its own state, and in the end says only that
 * time is over. Brokers that are away are told of as they go, so what was not taken while nothing
 * was told was refused. It tells the same again after 30 s only (rd_kafka_broker_set_error). */
static bool quietly_refused(const struct kafka_producer *p)
{
    return p->error_ms < p->link->now_ms - p->timeout_ms - ERROR_TOLD_MS;
}

/* Errors by meaning; anything else is the connection's. */
void kafka_producer_meaning(const struct sink *s, const struct flight *f, rd_kafka_resp_err_t e,
    bool maybe_written, struct report *r)
{
    r->fate = FATE_REFUSED;
    r->code = e;
    r->text = rd_kafka_err2str(e);
    switch (e) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        r->cause = CAUSE_FINAL;
        return;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        r->cause = address_fixed(s) ? CAUSE_LOST : CAUSE_ADDRESS;
        r->fate = address_fixed(s) ? FATE_UNSENT : FATE_REFUSED;
        return;
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND: /* its leader has it all the same */
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
        r->cause = CAUSE_BROKER;
        r->fate = maybe_written ? FATE_UNSURE : FATE_UNSENT;
        return;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        if (!maybe_written && quietly_refused(s->producer)) {
            r->cause = CAUSE_BROKER;
            r->fate = FATE_UNSENT;
            r->text = "not taken in time: too few replicas in sync, or no leader";
            return;
        }
        /* fall through */
    default:
        r->fate = maybe_written ? FATE_UNSURE : FATE_UNSENT;
        r->cause =
            maybe_written && e == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ? CAUSE_TIMEOUT : CAUSE_LOST;
        r->later_confirmed = s->order_confirmed > f->order;
    }
}

static void flight_end(struct kafka_producer *p, struct flight *f)
{
    struct flights *home = f->home;

    if (f->sink) {
        f->sink->out--;
        f->sink->out_bytes -= f->bytes;
    }
    f->sink = NULL;
    f->next_free = home->free;
    home->free = f;
    home->out--;
    p->out--;
    p->out_bytes -= f->bytes;
}

static void reported(struct kafka_producer *p, const rd_kafka_message_t *m)
{
    struct flight *f = m->_private;
    struct flights *home = f->home;
    struct sink *s = f->sink;
    struct report r = { .ref = f->ref, .fate = FATE_DELIVERED };

    if (s && m->err != 0) {
        kafka_producer_meaning(
            s, f, m->err, rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED, &r);
        if (r.cause == CAUSE_LOST && s->ready)
            kafka_sink_down(s, r.text);
    } else if (s) {
        p->tries = 0;
        s->confirmed_ms = s->link->now_ms;
        if (f->order > s->order_confirmed)
            s->order_confirmed = f->order;
    }
    if (s) {
        s->progress_ms = s->link->now_ms;
        kafka_sink_report(s, &r);
    }
    kafka_linger_reported(&p->linger);
    flight_end(p, f);
    if (home->orphan && home->out == 0)
        flights_free(p, home);
}

static int dial(struct kafka_producer *p, struct fault *why)
{
    rd_kafka_conf_t *conf =
        kafka_conf_producer(p->link->options, p->compression, p->timeout_ms, why);

    if (!conf)
        return -1;
    p->linger = (struct kafka_linger){ .every_ms = kafka_linger_every_ms(p->link->options) };
    p->out = p->out_bytes = 0;
    return kafka_handle_open(conf, false, p->link->wake_fd, &p->handle, why);
}

/* What failed for good may do so again at once. */
static void dial_later(struct kafka_producer *p)
{
    p->dial_ms = p->link->now_ms + backoff_wait_ms(&backoff_connect, ++p->tries, &p->link->random);
}

bool kafka_producer_ready(struct kafka_producer *p)
{
    struct fault why;

    if (!p->handle && p->link->now_ms >= p->dial_ms && dial(p, &why) != 0) {
        p->handle = NULL;
        (void)snprintf(p->error, sizeof p->error, "%.255s", why.text);
        dial_later(p);
    }
    return p->handle;
}

static void producer_free(struct kafka_producer *p)
{
    struct kafka_producer **at = &p->link->producers;

    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    /* What it still held is not its sinks' any more; purging lets the handle end at once. */
    if (p->handle)
        (void)rd_kafka_purge(kafka_handle_rk(p->handle),
            RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    kafka_handle_free(p->handle);
    while (p->flights)
        flights_free(p, p->flights);
    free(p);
}

int kafka_producer_open(struct link *l, const struct kafka_sink_options *o, int64_t timeout_ms,
    bool dedicated, struct kafka_producer **ret, struct fault *why)
{
    struct kafka_producer *p = calloc(1, sizeof *p);

    if (!p)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    p->link = l;
    p->compression = o->compression;
    p->timeout_ms = timeout_ms;
    p->dedicated = dedicated;
    p->error_ms = INT64_MIN;
    p->users = 1;
    if (dial(p, why) != 0) {
        free(p);
        return -1;
    }
    p->next = l->producers;
    l->producers = p;
    *ret = p;
    return 0;
}

int kafka_producer_find(struct link *l, const struct kafka_sink_options *o, int64_t timeout_ms,
    struct kafka_producer **ret, struct fault *why)
{
    bool dedicated = o->dedicated == KAFKA_DEDICATED_ALWAYS;
    struct kafka_producer *p;

    for (p = l->producers; p && !dedicated; p = p->next)
        if (!p->dedicated && p->compression == o->compression && p->timeout_ms == timeout_ms) {
            p->users++;
            *ret = p;
            return 0;
        }
    return kafka_producer_open(l, o, timeout_ms, dedicated, ret, why);
}

void kafka_producer_leave(struct kafka_producer *p)
{
    if (p && --p->users == 0)
        producer_free(p);
}

/* A fatal error ends the handle for good: a new one, and what was in flight is unsure. */
static void producer_replace(struct kafka_producer *p)
{
    struct link *l = p->link;

    for (struct sink *s = l->sinks; s; s = s->next) {
        if (s->producer != p)
            continue;
        kafka_sink_abandon(s);
        if (s->topic)
            rd_kafka_topic_destroy(s->topic);
        s->topic = NULL;
        s->checking = false;
        kafka_sink_down(s, p->error);
        s->flights = NULL;
    }
    kafka_handle_free(p->handle);
    p->handle = NULL;
    while (p->flights)
        flights_free(p, p->flights);
    p->fatal = false;
    for (struct sink *s = l->sinks; s; s = s->next)
        if (s->producer == p)
            s->flights = kafka_flights_open(p, (size_t)s->spec.window_events);
    dial_later(p);
}

static void producer_error(struct kafka_producer *p, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t e = rd_kafka_event_error(ev);

    p->error_ms = p->link->now_ms;
    /* It comes after the errors that say why. */
    if (e != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !*p->error)
        (void)snprintf(p->error, sizeof p->error, "%s", rd_kafka_event_error_string(ev));
    if (rd_kafka_event_error_is_fatal(ev)) {
        p->fatal = true;
        return;
    }
    if (e != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && e != RD_KAFKA_RESP_ERR__AUTHENTICATION)
        return;
    for (struct sink *s = p->link->sinks; s; s = s->next)
        if (s->producer == p && s->ready)
            kafka_sink_down(s, p->error);
}

int64_t kafka_producer_step(struct kafka_producer *p)
{
    rd_kafka_event_t *ev;
    struct kafka_job *j;

    while (p->handle && (j = kafka_handle_done(p->handle))) {
        j->done(p->link, j);
        j->free_job(j);
    }
    while (p->handle && (ev = rd_kafka_queue_poll(kafka_handle_events(p->handle), 0))) {
        const rd_kafka_message_t *m;

        if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR)
            while ((m = rd_kafka_event_message_next(ev)))
                reported(p, m);
        else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            producer_error(p, ev);
        rd_kafka_event_destroy(ev);
    }
    if (p->fatal)
        producer_replace(p);
    return p->handle
               ? kafka_linger_step(&p->linger, p->handle, p->link->now_ms, p->out, p->out_bytes)
               : INT64_MAX;
}
