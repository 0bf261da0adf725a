#include "bridge/links/rabbitmq/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/rabbitmq/link.h"
#include "bridge/links/rabbitmq/lot.h"

#define HEADERS_MAX (4u << 20) /* encoded, of one event; a frame holds less */
#define ORIGIN_QUEUE_MAX 200   /* so that an origin fits a short string */
#define LAG_MS 15000           /* between questions how much waits in the queue */

struct lent {
    struct batch batch;
    struct lot *lot;
    uint64_t session, last_tag;
    size_t first;
};

enum consumer {
    CONSUMER_OFF = 1,
    CONSUMER_LIMITING,
    CONSUMER_STARTING,
    CONSUMER_ON,
    CONSUMER_ENDING
};

/* [io] The delivery that is being put together. */
struct incoming {
    bool announced, open;
    uint64_t tag;
    struct event event;
    uint8_t *body;
    size_t body_bytes, body_got;
    char exchange[256];
};

struct binding {
    char *exchange, *key;
    amqp_table_t arguments;
};

struct source {
    struct channel c;
    /* Read only, own copies, since the thread may outlive the options. */
    struct arena own;
    char *queue, *tag;
    enum options_declare declare;
    amqp_table_t queue_arguments, consumer_arguments;
    struct binding *bindings;
    size_t binding_count;
    bool durable, exclusive, reject_oversize;
    size_t target, max_event_bytes, window_events, window_bytes;
    /* [lock] */
    struct lot *ready, *newest; /* first and last of a list */
    size_t ready_bytes;
    uint64_t session_hex;
    uint64_t ack_tag;      /* acknowledge all up to it; 0: none */
    uint64_t *single_tags; /* or these, one by one */
    size_t single_count, single_room;
    uint64_t acks_wanted; /* counts settled batches of this session */
    uint64_t acks_out;    /* as acks_wanted, of what was sent and answered for */
    bool paused, draining, consuming, off, stopped, lag_wanted;
    size_t prefetch;
    int64_t lag;
    /* [loop] */
    int64_t lag_due_ms;
    size_t lent_events, lent_bytes, lent_batches;
    bool forgotten; /* deliveries of this session will never be acknowledged */
    uint64_t forgotten_session;
    /* [io] */
    enum consumer consumer;
    size_t prefetch_set;
    uint64_t barrier; /* acks_wanted when the barrier was sent; answered: acks_out */
    bool barrier_sent;
    struct incoming in;
    struct lot *filling;
    struct buf scratch;
};

static void lock(const struct source *s)
{
    pthread_mutex_lock(&s->c.io->link->lock);
}

static void unlock(const struct source *s)
{
    pthread_mutex_unlock(&s->c.io->link->lock);
}

/* ---- lots ---- */

static struct lot *filling(struct source *s)
{
    if (!s->filling)
        s->filling = calloc(1, sizeof *s->filling);
    return s->filling;
}

/* [io] The delivery that is still coming in moves out of the lot that is handed over. */
static int carry(struct source *s, struct lot *to)
{
    struct incoming *in = &s->in;
    struct bytes *parts[] = { &in->event.address, &in->event.origin, &in->event.headers,
        &in->event.id };
    uint8_t *at;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!bytes_present(*parts[i]))
            continue;
        parts[i]->at = arena_copy(&to->arena, parts[i]->at, parts[i]->n);
        if (!parts[i]->at)
            return -1;
    }
    if (!in->open)
        return 0;
    at = arena_get(&to->arena, in->body_bytes ? in->body_bytes : 1);
    if (!at)
        return -1;
    memcpy(at, in->body, in->body_got);
    in->body = at;
    return 0;
}

/* [io] */
static void lot_push(struct source *s)
{
    struct lot *lot = s->filling;

    if (!lot || lot->count == 0)
        return;
    s->filling = NULL;
    if (s->in.announced || s->in.open) {
        struct lot *to = filling(s);

        if (!to || carry(s, to) != 0) {
            /* Closing drops what is in no batch yet; the broker gives all of it again. */
            lot_free(lot);
            (void)io_close_channel(&s->c, "out of memory");
            return;
        }
    }
    lock(s);
    s->ready_bytes += lot->bytes;
    if (s->newest && lot_merge(s->newest, lot)) {
        lot_free(lot);
    } else {
        lot->refs = 1;
        lot->next = NULL;
        if (s->newest)
            s->newest->next = lot;
        else
            s->ready = lot;
        s->newest = lot;
    }
    io_ring(s->c.io->link);
    unlock(s);
}

/* [lock] */
static void ready_drop(struct source *s)
{
    struct lot *lot;

    while ((lot = s->ready) != NULL) {
        s->ready = lot->next;
        lot_unref(lot);
    }
    s->newest = NULL;
    s->ready_bytes = 0;
}

/* ---- I/O thread: set-up ---- */

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

/* ---- I/O thread: consumer ---- */

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

    lock(s);
    a = acks_take(s);
    unlock(s);
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
    lock(s);
    s->lag = d->message_count;
    unlock(s);
    return 0;
}

static int work(struct channel *c)
{
    struct source *s = (struct source *)c;
    uint64_t wanted;
    struct acks a;
    size_t prefetch;
    bool on, draining, acked, ask;

    lock(s);
    a = acks_take(s);
    wanted = s->acks_wanted;
    draining = s->draining;
    /* Bodies beyond the window: stop the broker until the loop has caught up. */
    on = !s->paused && !draining &&
         s->ready_bytes < (s->consumer == CONSUMER_ON ? s->window_bytes : s->window_bytes / 2 + 1);
    prefetch = s->prefetch;
    ask = s->lag_wanted;
    s->lag_wanted = false;
    unlock(s);
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

/* ---- I/O thread: deliveries ---- */

static int begin(struct source *s, const amqp_basic_deliver_t *d)
{
    struct incoming *in = &s->in;
    struct lot *lot = filling(s);
    uint8_t *address =
        lot ? arena_copy(&lot->arena, d->routing_key.bytes, d->routing_key.len) : NULL;
    char origin[ORIGIN_QUEUE_MAX + 64];
    int n;

    if (in->announced || in->open)
        return io_close_channel(&s->c, "the broker began a delivery inside another");
    n = snprintf(origin, sizeof origin, "%.*s-%016" PRIx64 "-%" PRIu64, ORIGIN_QUEUE_MAX, s->queue,
        s->session_hex, d->delivery_tag);
    *in = (struct incoming){ .announced = true, .tag = d->delivery_tag };
    in->event.address = bytes_of(address, d->routing_key.len);
    if (lot)
        in->event.origin = bytes_of(arena_copy(&lot->arena, origin, (size_t)n), (size_t)n);
    if (!address || !in->event.origin.at)
        return io_close_channel(&s->c, "out of memory");
    if (d->redelivered)
        in->event.flags |= EVENT_REDELIVERED;
    (void)snprintf(in->exchange, sizeof in->exchange, "%.*s", (int)(d->exchange.len & 0xff),
        (const char *)d->exchange.bytes);
    return 0;
}

static int complete(struct source *s)
{
    struct incoming *in = &s->in;
    struct lot *lot = s->filling;

    in->open = false;
    in->event.body = bytes_of(in->body, in->body_bytes);
    if (lot_room(lot, lot->count + 1) != 0)
        return io_close_channel(&s->c, "out of memory");
    lot->events[lot->count] = in->event;
    lot->tags[lot->count++] = in->tag;
    lot->bytes += event_bytes(&in->event);
    if (lot->count >= LOT_EVENTS || lot->bytes >= LOT_BYTES)
        lot_push(s);
    return 0;
}

static int oversize(struct source *s, uint64_t body_bytes)
{
    struct incoming *in = &s->in;

    if (s->reject_oversize) {
        in->announced = false; /* its body frames find nothing open and are passed over */
        return amqp_basic_reject(s->c.io->amqp, s->c.number, in->tag, 0) == AMQP_STATUS_OK ? 0 : -1;
    }
    lock(s);
    s->stopped = true;
    unlock(s);
    return io_close_channel(&s->c,
        "a message of %" PRIu64
        " bytes waits, larger than max_event_bytes %zu: raise that, take the "
        "message away, or set oversize: reject",
        body_bytes, s->max_event_bytes);
}

static int head(struct source *s, const amqp_frame_t *f)
{
    struct incoming *in = &s->in;
    uint64_t body_bytes = f->payload.properties.body_size;
    struct codec_read read;
    struct fault why = { 0 };

    if (!in->announced)
        return 0;
    if (body_bytes > s->max_event_bytes)
        return oversize(s, body_bytes);
    buf_clear(&s->scratch);
    if (f->payload.properties.class_id != AMQP_BASIC_CLASS ||
        codec_read(
            f->payload.properties.decoded, bytes_text(in->exchange), &s->scratch, &read, &why) != 0)
        return io_close_channel(&s->c, "delivery %" PRIu64 ": %s", in->tag,
            why.text[0] ? why.text : "not a basic message");
    in->announced = false;
    in->open = true;
    in->body_bytes = (size_t)body_bytes;
    in->event.headers =
        (struct bytes){ arena_copy(&s->filling->arena, s->scratch.at, s->scratch.n), s->scratch.n };
    if (bytes_present(read.id))
        in->event.id =
            (struct bytes){ arena_copy(&s->filling->arena, read.id.at, read.id.n), read.id.n };
    in->body = arena_get(&s->filling->arena, in->body_bytes ? in->body_bytes : 1);
    if (!in->event.headers.at || (bytes_present(read.id) && !in->event.id.at) || !in->body)
        return io_close_channel(&s->c, "out of memory");
    in->event.time_ms = read.time_ms;
    in->event.hops = read.hops;
    return in->body_bytes ? 0 : complete(s);
}

static int body(struct source *s, amqp_bytes_t part)
{
    struct incoming *in = &s->in;

    if (!in->open)
        return 0;
    if (part.len > in->body_bytes - in->body_got)
        return io_close_channel(&s->c, "the broker sent more body than it announced");
    if (part.len)
        memcpy(in->body + in->body_got, part.bytes, part.len);
    in->body_got += part.len;
    return in->body_got == in->body_bytes ? complete(s) : 0;
}

static int started(struct source *s)
{
    s->consumer = CONSUMER_ON;
    lock(s);
    s->consuming = true;
    io_ring(s->c.io->link);
    unlock(s);
    return 0;
}

static int limited(struct source *s)
{
    if (s->consumer == CONSUMER_LIMITING)
        return send_consume(s);
    if (!s->barrier_sent)
        return 0;
    s->barrier_sent = false;
    lock(s);
    s->acks_out = s->barrier;
    s->off = true;
    io_ring(s->c.io->link);
    unlock(s);
    return 0;
}

static int frame(struct channel *c, const amqp_frame_t *f)
{
    struct source *s = (struct source *)c;

    if (f->frame_type == AMQP_FRAME_HEADER)
        return head(s, f);
    if (f->frame_type == AMQP_FRAME_BODY)
        return body(s, f->payload.body_fragment);
    switch (f->payload.method.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        return begin(s, f->payload.method.decoded);
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
    lot_push((struct source *)c);
}

static void ended(struct channel *c, const struct io_end *end)
{
    struct source *s = (struct source *)c;

    (void)end;
    ready_drop(s);
    lot_free(s->filling);
    s->filling = NULL;
    s->in = (struct incoming){ 0 };
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

static void release(struct channel *c)
{
    struct source *s = (struct source *)c;

    ready_drop(s);
    lot_free(s->filling);
    free(s->single_tags);
    buf_done(&s->scratch);
    arena_done(&s->own);
    free(s);
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

static const struct channel_ops ops = { .setup = setup,
    .work = work,
    .last = last,
    .frame = frame,
    .flush = flush,
    .ended = ended,
    .unconfirmed = unconfirmed,
    .release = release,
    .step = step };

static char *own_text(struct source *s, const char *text)
{
    return (char *)arena_copy(&s->own, text, strlen(text) + 1);
}

static int bind_add(struct source *s, const char *exchange, const char *key,
    const struct option_map *arguments, struct fault *why)
{
    struct binding *b = &s->bindings[s->binding_count++];

    b->exchange = own_text(s, exchange);
    b->key = own_text(s, key);
    if (!b->exchange || !b->key)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    return codec_arguments(arguments, &s->own, &b->arguments, why);
}

static int bind_keys(struct source *s, const char *exchange, const struct option_list *keys,
    const struct option_map *arguments, struct fault *why)
{
    if (keys->n == 0)
        return bind_add(s, exchange, "", arguments, why);
    for (size_t i = 0; i < keys->n; i++)
        if (bind_add(s, exchange, keys->at[i], arguments, why) != 0)
            return -1;
    return 0;
}

static int bindings_init(struct source *s, const struct options_source *o, struct fault *why)
{
    const struct options_binding *b = o->bindings.at;
    const struct option_map none = { 0 };
    size_t n = 1 + o->binding_keys.n;

    for (size_t i = 0; i < o->bindings.n; i++)
        n += 1 + b[i].keys.n;
    s->bindings = arena_get(&s->own, n * sizeof *s->bindings);
    if (!s->bindings)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (o->exchange && bind_keys(s, o->exchange, &o->binding_keys, &none, why) != 0)
        return -1;
    for (size_t i = 0; i < o->bindings.n; i++)
        if (bind_keys(s, b[i].exchange, &b[i].keys, &b[i].arguments, why) != 0)
            return -1;
    return 0;
}

static int arguments_init(struct source *s, const struct options_source *o, struct fault *why)
{
    amqp_table_t *t = &s->queue_arguments;

    if (codec_arguments(&o->arguments, &s->own, t, why) != 0 ||
        codec_arguments(&o->consumer_arguments, &s->own, &s->consumer_arguments, why) != 0)
        return -1;
    /* codec_arguments leaves room for these. */
    t->entries[t->num_entries++] = (amqp_table_entry_t){ .key = amqp_cstring_bytes("x-queue-type"),
        .value = { .kind = AMQP_FIELD_KIND_UTF8,
            .value = {
                .bytes = amqp_cstring_bytes(o->type == OPTIONS_QUORUM ? "quorum" : "classic") } } };
    if (o->single_active)
        t->entries[t->num_entries++] =
            (amqp_table_entry_t){ .key = amqp_cstring_bytes("x-single-active-consumer"),
                .value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value = { .boolean = 1 } } };
    return 0;
}

static int init(struct source *s, const struct source_spec *spec, struct fault *why)
{
    const struct options_source *o = spec->options;
    char tag[240];

    (void)snprintf(tag, sizeof tag, "bascule.%.200s", spec->route);
    s->queue = own_text(s, o->queue);
    s->tag = own_text(s, o->consumer_tag ? o->consumer_tag : tag);
    if (!s->queue || !s->tag)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->declare = options_source_declare(o);
    s->durable = o->durable || o->type == OPTIONS_QUORUM;
    s->exclusive = o->exclusive;
    s->reject_oversize = o->oversize == OPTIONS_REJECT;
    s->target = o->prefetch > 0 ? (size_t)o->prefetch : 2000;
    s->prefetch = spec->clean_start ? s->target : 1;
    s->max_event_bytes = (size_t)spec->max_event_bytes;
    s->window_events = (size_t)spec->window_events;
    s->window_bytes = (size_t)spec->window_bytes;
    s->consumer = CONSUMER_OFF;
    s->lag = -1;
    buf_init(&s->scratch, HEADERS_MAX);
    if (arguments_init(s, o, why) != 0)
        return -1;
    return bindings_init(s, o, why);
}

int source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (init(s, spec, why) != 0)
        goto fail;
    if (!l->reader)
        l->reader = io_open(l, "consume", why);
    if (!l->reader)
        goto fail;
    s->c = (struct channel){
        .ops = &ops, .state = CHANNEL_DOWN, .state_seen = CHANNEL_DOWN, .since_ms = l->now_ms
    };
    link_add(l, &s->c, l->reader);
    *ret = s;
    return 0;
fail:
    release(&s->c);
    return -1;
}

/* [lock] How many of the first lot fit the windows. */
static size_t slice(const struct source *s, const struct lot *lot, size_t limit, size_t *bytes)
{
    size_t room = s->window_events > s->lent_events ? s->window_events - s->lent_events : 0, n = 0;

    *bytes = 0;
    if (limit > room)
        limit = room;
    if (limit > lot->count - lot->taken)
        limit = lot->count - lot->taken;
    for (; n < limit; n++) {
        size_t more = event_bytes(&lot->events[lot->taken + n]);

        if (s->lent_bytes + *bytes + more > s->window_bytes && (n > 0 || s->lent_batches > 0))
            break;
        *bytes += more;
    }
    return n;
}

struct batch *source_receive(struct source *s, size_t limit)
{
    struct lent *lent = NULL;
    size_t n = 0, bytes = 0;
    struct lot *lot;

    lock(s);
    lot = s->ready;
    if (lot && !s->draining && !s->paused)
        n = slice(s, lot, limit, &bytes);
    if (n > 0)
        lent = calloc(1, sizeof *lent);
    if (lent) {
        *lent = (struct lent){ .lot = lot,
            .session = s->c.session,
            .first = lot->taken,
            .last_tag = lot->tags[lot->taken + n - 1] };
        lent->batch =
            (struct batch){ .events = lot->events + lot->taken, .count = n, .bytes = bytes };
        lot->refs++;
        lot->taken += n;
        s->ready_bytes -= bytes;
        if (lot->taken == lot->count) {
            s->ready = lot->next;
            if (!s->ready)
                s->newest = NULL;
            lot_unref(lot);
        }
        s->lent_events += n;
        s->lent_bytes += bytes;
        s->lent_batches++;
        io_wake(s->c.io); /* it may have stopped for the window */
    }
    unlock(s);
    return lent ? &lent->batch : NULL;
}

/* [lock] One by one, where a cumulative acknowledgement would take in a forgotten delivery. */
static void ack_singly(struct source *s, const struct lent *lent)
{
    size_t n = s->single_count + lent->batch.count;

    if (n > s->single_room) {
        uint64_t *more = realloc(s->single_tags, n * 2 * sizeof *more);

        if (!more)
            return; /* not acknowledged: it comes again */
        s->single_tags = more;
        s->single_room = n * 2;
    }
    memcpy(s->single_tags + s->single_count, lent->lot->tags + lent->first,
        lent->batch.count * sizeof *s->single_tags);
    s->single_count = n;
}

/* [lock] */
static void ack(struct source *s, const struct lent *lent)
{
    if (s->forgotten)
        ack_singly(s, lent);
    else
        s->ack_tag = lent->last_tag;
    s->acks_wanted++;
    if (s->prefetch < s->target)
        s->prefetch = s->prefetch * 2 < s->target ? s->prefetch * 2 : s->target;
}

void source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct lent *lent = (struct lent *)(void *)((char *)batch - offsetof(struct lent, batch));
    bool current;

    lock(s);
    current = lent->session == s->c.session && s->c.state == CHANNEL_UP;
    if (current && kept)
        ack(s, lent);
    else if (current)
        s->forgotten = true;
    s->lent_events -= batch->count;
    s->lent_bytes -= batch->bytes;
    s->lent_batches--;
    /* Forgotten deliveries fill the prefetch: a new session gives them back, once nothing is out.
     */
    if (s->forgotten && current && s->lent_batches == 0 && !s->ready && !s->draining) {
        s->c.wanted = false;
        s->c.retry_ms =
            s->c.io->link->now_ms + backoff_wait_ms(&backoff_connect, 3, &s->c.io->link->random);
    }
    io_ring(s->c.io->link);
    io_wake(s->c.io);
    lot_unref(lent->lot);
    unlock(s);
    free(lent);
}

void source_pause(struct source *s, bool paused)
{
    lock(s);
    s->paused = paused;
    io_wake(s->c.io);
    unlock(s);
}

bool source_drain(struct source *s)
{
    bool done;

    lock(s);
    if (!s->draining) {
        s->draining = true;
        io_wake(s->c.io);
    }
    done = s->c.state != CHANNEL_UP || (s->off && s->acks_out == s->acks_wanted);
    unlock(s);
    return done;
}

void source_status(const struct source *s, struct link_status *ret)
{
    lock(s);
    link_channel_status(&s->c, ret);
    if (ret->state == LINK_UP && !s->consuming && !s->paused)
        ret->state = LINK_CONNECTING;
    if (s->stopped)
        ret->state = LINK_STOPPED;
    ret->lag = s->lag;
    unlock(s);
}

void source_free(struct source *s)
{
    if (s)
        link_remove(&s->c);
}
