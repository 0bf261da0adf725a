#include "bridge/links/rabbitmq/delivery.h"

#include <stdlib.h>

#define LAG_MS 15000 /* between questions how much waits in the queue */

void consumer_lock(const struct source *s)
{
    pthread_mutex_lock(&s->c.io->link->lock);
}

void consumer_unlock(const struct source *s)
{
    pthread_mutex_unlock(&s->c.io->link->lock);
}

size_t consumer_resume_bytes(const struct source *s)
{
    return s->window_bytes / 2 + 1;
}

/* ---- set-up ---- */

static int declare_queue(struct source *s)
{
    amqp_queue_declare_t declare = { .queue = amqp_cstring_bytes(s->queue),
        .passive = s->declare == OPTIONS_PASSIVE,
        .durable = s->durable,
        .arguments = s->queue_arguments };

    return io_send(&s->c, AMQP_QUEUE_DECLARE_METHOD, &declare) == 0 ? 1 : -1;
}

static int setup(struct channel *c, int step)
{
    struct source *s = (struct source *)c;
    const struct binding *b;

    if (s->declare == OPTIONS_NONE || (s->declare == OPTIONS_PASSIVE && step > 0))
        return 0;
    if (step == 0)
        return declare_queue(s);
    if ((size_t)step > s->binding_count)
        return 0;
    b = &s->bindings[step - 1];
    amqp_queue_bind_t bind = { .queue = amqp_cstring_bytes(s->queue),
        .exchange = amqp_cstring_bytes(b->exchange),
        .routing_key = amqp_cstring_bytes(b->key),
        .arguments = b->arguments };
    return io_send(c, AMQP_QUEUE_BIND_METHOD, &bind) == 0 ? 1 : -1;
}

/* ---- the consumer and its acknowledgements ---- */

static int send_qos(struct source *s, size_t prefetch)
{
    amqp_basic_qos_t qos = { .prefetch_count = (uint16_t)prefetch };

    return io_send(&s->c, AMQP_BASIC_QOS_METHOD, &qos);
}

static int send_consume(struct source *s)
{
    amqp_basic_consume_t consume = { .queue = amqp_cstring_bytes(s->queue),
        .consumer_tag = amqp_cstring_bytes(s->tag),
        .exclusive = s->exclusive,
        .arguments = s->consumer_arguments };

    s->consumer = CONSUMER_STARTING;
    return io_send(&s->c, AMQP_BASIC_CONSUME_METHOD, &consume);
}

/* A consumer's prefetch cannot be changed, and it cannot be told to wait: both are a new consumer.
 * What it had delivered stays ours to acknowledge. */
static int consumer_turn(struct source *s, bool on, size_t prefetch)
{
    amqp_basic_cancel_t cancel = { .consumer_tag = amqp_cstring_bytes(s->tag) };

    if (s->consumer == CONSUMER_ON && (!on || prefetch != s->prefetch_set)) {
        s->consumer = CONSUMER_ENDING;
        return io_send(&s->c, AMQP_BASIC_CANCEL_METHOD, &cancel);
    }
    if (s->consumer == CONSUMER_OFF && on) {
        s->consumer = CONSUMER_LIMITING;
        s->prefetch_set = prefetch;
        return send_qos(s, prefetch);
    }
    return 0;
}

/* What is to be acknowledged, taken over from the loop. */
struct acks {
    uint64_t up_to, *singles;
    size_t count;
};

/* [lock] */
static struct acks acks_take(struct source *s)
{
    struct acks a = { s->ack_tag, s->single_tags, s->single_count };

    s->ack_tag = 0;
    s->single_tags = NULL;
    s->single_count = s->single_room = 0;
    return a;
}

static int send_acks(struct source *s, struct acks *a)
{
    int failed = 0;

    for (size_t i = 0; i < a->count && !failed; i++)
        failed = amqp_basic_ack(s->c.io->amqp, s->c.number, a->singles[i], 0) != AMQP_STATUS_OK;
    if (a->up_to && !failed)
        failed = amqp_basic_ack(s->c.io->amqp, s->c.number, a->up_to, 1) != AMQP_STATUS_OK;
    free(a->singles);
    return failed ? -1 : 0;
}

/* While draining the answer to a qos says that the broker has read the acks before it: a socket
 * that is closed with input unread may throw away what it still had to send. */
static int barrier_turn(struct source *s, uint64_t wanted, bool acked)
{
    if (s->consumer != CONSUMER_OFF || s->barrier_sent ||
        (!acked && s->barrier == wanted && s->off))
        return 0;
    s->barrier = wanted;
    s->barrier_sent = true;
    return send_qos(s, 1);
}

static int last(struct channel *c)
{
    struct source *s = (struct source *)c;
    struct acks a;

    consumer_lock(s);
    a = acks_take(s);
    consumer_unlock(s);
    return send_acks(s, &a);
}

/* A passive declaration costs the broker little and tells how many messages are ready. */
static int ask_lag(struct source *s)
{
    amqp_queue_declare_t declare = { .queue = amqp_cstring_bytes(s->queue), .passive = 1 };

    return io_send(&s->c, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

static int lag_is(struct source *s, const amqp_queue_declare_ok_t *d)
{
    consumer_lock(s);
    s->lag = d->message_count;
    consumer_unlock(s);
    return 0;
}

static int work(struct channel *c)
{
    struct source *s = (struct source *)c;
    uint64_t wanted;
    struct acks a;
    size_t prefetch;
    bool on, draining, acked, ask;

    consumer_lock(s);
    a = acks_take(s);
    wanted = s->acks_wanted;
    draining = s->draining;
    /* Bodies beyond the window: stop the broker until the loop has caught up. */
    s->choked =
        s->ready_bytes >= (s->consumer == CONSUMER_ON ? s->window_bytes : consumer_resume_bytes(s));
    on = !s->paused && !draining && !s->choked;
    prefetch = s->prefetch;
    ask = s->lag_wanted;
    s->lag_wanted = false;
    consumer_unlock(s);
    acked = a.up_to || a.count;
    /* The consumer ends before its acknowledgements go, or the broker fills its prefetch once more.
     */
    if (consumer_turn(s, on, prefetch) != 0) {
        free(a.singles);
        return -1;
    }
    if (send_acks(s, &a) != 0 || (ask && ask_lag(s) != 0))
        return -1;
    return draining ? barrier_turn(s, wanted, acked) : 0;
}

/* ---- what the broker says ---- */

static int started(struct source *s)
{
    s->consumer = CONSUMER_ON;
    consumer_lock(s);
    s->consuming = true;
    io_ring(s->c.io->link);
    consumer_unlock(s);
    return 0;
}

static int limited(struct source *s)
{
    if (s->consumer == CONSUMER_LIMITING)
        return send_consume(s);
    if (!s->barrier_sent)
        return 0;
    s->barrier_sent = false;
    consumer_lock(s);
    s->acks_out = s->barrier;
    s->off = true;
    io_ring(s->c.io->link);
    consumer_unlock(s);
    return 0;
}

static int frame(struct channel *c, const amqp_frame_t *f)
{
    struct source *s = (struct source *)c;

    if (f->frame_type == AMQP_FRAME_HEADER)
        return delivery_head(s, f);
    if (f->frame_type == AMQP_FRAME_BODY)
        return delivery_body(s, f->payload.body_fragment);
    switch (f->payload.method.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        return delivery_begin(s, f->payload.method.decoded);
    case AMQP_BASIC_QOS_OK_METHOD:
        return limited(s);
    case AMQP_BASIC_CONSUME_OK_METHOD:
        return started(s);
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        return lag_is(s, f->payload.method.decoded);
    case AMQP_BASIC_CANCEL_OK_METHOD:
        s->consumer = CONSUMER_OFF;
        return work(c);
    case AMQP_BASIC_CANCEL_METHOD:
        return io_close_channel(
            c, "queue '%s' was deleted or moved: the broker cancelled our consumer", s->queue);
    default:
        return 0;
    }
}

static void flush(struct channel *c)
{
    delivery_push((struct source *)c);
}

static void ended(struct channel *c, const struct io_end *end)
{
    struct source *s = (struct source *)c;

    (void)end;
    delivery_drop(s);
    free(s->single_tags);
    s->single_tags = NULL;
    s->single_count = s->single_room = 0;
    s->ack_tag = 0;
    s->acks_wanted = s->acks_out = s->barrier = 0;
    s->barrier_sent = s->off = s->consuming = false;
    s->consumer = CONSUMER_OFF;
    s->lag = -1;
    s->lag_wanted = false;
}

static size_t unconfirmed(const struct channel *c)
{
    (void)c;
    return 0;
}

void consumer_free(struct source *s)
{
    delivery_drop(s);
    free(s->single_tags);
    buf_done(&s->scratch);
    arena_done(&s->own);
    free(s);
}

static void release(struct channel *c)
{
    consumer_free((struct source *)c);
}

/* ---- loop ---- */

static int64_t step(struct channel *c, int64_t now_ms)
{
    struct source *s = (struct source *)c;

    if (c->state != CHANNEL_UP || !s->consuming) {
        s->lag_due_ms = now_ms;
    } else if (now_ms >= s->lag_due_ms) {
        s->lag_due_ms = now_ms + LAG_MS;
        s->lag_wanted = true;
        io_wake(c->io);
    }
    /* A new session begins only when no batch of the old one is out. */
    c->hold = s->lent_batches > 0 || s->draining || s->stopped;
    if (c->state == CHANNEL_DOWN && !c->wanted && !c->hold) {
        s->session_hex = random_next(&c->io->link->random);
        s->forgotten = false;
    }
    return c->state == CHANNEL_UP && s->consuming ? s->lag_due_ms : INT64_MAX;
}

const struct channel_ops consumer_ops = { .setup = setup,
    .work = work,
    .last = last,
    .frame = frame,
    .flush = flush,
    .ended = ended,
    .unconfirmed = unconfirmed,
    .release = release,
    .step = step };
