#include "bridge/links/rabbitmq/sink.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/rabbitmq/link.h"

#define JOBS_PER_TURN 128
#define STALL_MS 2000 /* confirms this late, while others share the connection */
#define RETURN_MAX (4u << 20)

/* One message on its way: a copy, so that the loop can take its loan back at any time. */
struct job {
    struct job *next;
    struct arena arena;
    uint64_t ref, tag;
    int64_t taken_ms;
    size_t bytes;
    amqp_basic_properties_t properties;
    amqp_bytes_t key, body;
    bool reported, returned, again;
    int return_code;
    char return_text[64];
};

/* A report with the text that it lends. */
struct told {
    struct report report;
    size_t bytes;
    char *text;
};

/* A returned message that is being put together. */
struct returned {
    bool announced, open;
    int code;
    char text[64];
    char key[256];
    size_t key_bytes;
    struct buf raw, body;
    uint64_t body_bytes;
};

struct sink {
    struct channel c;
    /* Read only, own copies. */
    struct arena own;
    char *exchange;
    enum options_declare declare;
    const char *exchange_type;
    amqp_table_t arguments;
    bool mandatory, persistent, token_header, key_varies;
    enum options_dedicated dedicated;
    size_t window_events, window_bytes;
    int64_t confirm_timeout_ms;
    /* [lock] */
    struct job *queue, **queue_end; /* taken, not sent */
    size_t queue_count;
    struct job **ring; /* sent, by tag & (ring_room - 1) */
    size_t ring_room;
    uint64_t oldest, next; /* tags: the ring holds oldest to next-1 */
    size_t unreported;     /* of the ring */
    uint64_t timeout_at;   /* tag from which none has timed out yet */
    uint64_t confirmed;    /* the highest confirmed tag */
    struct told *told;     /* a ring of told_room */
    size_t told_room, told_first, told_count;
    /* [loop] */
    size_t out_events, out_bytes;
    char **lent_texts; /* of the last collect */
    size_t lent_count, lent_room;
    int64_t grace_ms; /* the broker blocked us until then */
    bool moving;      /* to a connection of its own, once nothing is out */
    struct io *own_io;
    /* [io] */
    struct returned in;
};

static void lock(const struct sink *s)
{
    pthread_mutex_lock(&s->c.io->link->lock);
}

static void unlock(const struct sink *s)
{
    pthread_mutex_unlock(&s->c.io->link->lock);
}

static void job_free(struct job *j)
{
    if (!j)
        return;
    arena_done(&j->arena);
    free(j);
}

/* ---- reports ---- */

/* [lock] There is always room: it was made when the message was taken. */
static void tell(struct sink *s, struct report r, size_t bytes, const char *text)
{
    struct told *t = &s->told[(s->told_first + s->told_count++) % s->told_room];

    *t = (struct told){ .report = r, .bytes = bytes, .text = text ? strdup(text) : NULL };
    io_ring(s->c.io->link);
}

/* [lock] */
static void job_tell(struct sink *s, struct job *j, enum fate fate, enum cause cause, int code,
    bool alone, const char *text)
{
    if (j->reported)
        return;
    j->reported = true;
    if (j->tag)
        s->unreported--;
    tell(s,
        (struct report){ .ref = j->ref,
            .fate = fate,
            .cause = cause,
            .code = code,
            .alone = alone,
            .later_confirmed = j->tag && s->confirmed > j->tag },
        j->bytes, text);
}

/* ---- the ring of sent messages, [lock] ---- */

static struct job **ring_at(const struct sink *s, uint64_t tag)
{
    return &s->ring[tag & (s->ring_room - 1)];
}

static int ring_grow(struct sink *s)
{
    size_t room = s->ring_room ? s->ring_room * 2 : 256;
    struct job **ring = calloc(room, sizeof *ring);

    if (!ring)
        return -1;
    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        ring[tag & (room - 1)] = *ring_at(s, tag);
    free(s->ring);
    s->ring = ring;
    s->ring_room = room;
    return 0;
}

static void ring_put(struct sink *s, struct job *j)
{
    j->tag = s->next++;
    *ring_at(s, j->tag) = j;
    s->unreported++;
}

static void ring_trim(struct sink *s)
{
    while (s->oldest < s->next && !*ring_at(s, s->oldest))
        s->oldest++;
    if (s->timeout_at < s->oldest)
        s->timeout_at = s->oldest;
}

static void settle_one(struct sink *s, uint64_t tag, bool ack)
{
    struct job *j = *ring_at(s, tag);

    if (!j)
        return;
    *ring_at(s, tag) = NULL;
    if (ack && tag > s->confirmed)
        s->confirmed = tag;
    if (!ack)
        job_tell(s, j, FATE_REFUSED, CAUSE_NACK, 0, false, "the broker refused it (basic.nack)");
    else if (j->returned)
        job_tell(s, j, FATE_REFUSED, CAUSE_UNROUTABLE, j->return_code, false, j->return_text);
    else
        job_tell(s, j, FATE_DELIVERED, CAUSE_NONE, 0, false, NULL);
    job_free(j);
}

/* [io] */
static int confirmed(struct sink *s, uint64_t tag, bool multiple, bool ack)
{
    lock(s);
    if (tag >= s->next || (tag == 0 && !multiple)) {
        unlock(s);
        return io_close_channel(&s->c, "the broker confirmed what was never sent");
    }
    if (multiple)
        for (uint64_t t = s->oldest; t <= (tag ? tag : s->next - 1); t++)
            settle_one(s, t, ack);
    else if (tag >= s->oldest)
        settle_one(s, tag, ack);
    ring_trim(s);
    unlock(s);
    return 0;
}

/* ---- returns ---- */

static int return_begin(struct sink *s, const amqp_basic_return_t *r)
{
    struct returned *in = &s->in;

    in->announced = true;
    in->open = false;
    in->code = r->reply_code;
    (void)snprintf(in->text, sizeof in->text, "%.*s", (int)(r->reply_text.len & 0xff),
        (const char *)r->reply_text.bytes);
    in->key_bytes = r->routing_key.len & 0xff;
    if (in->key_bytes)
        memcpy(in->key, r->routing_key.bytes, in->key_bytes);
    buf_clear(&in->raw);
    buf_clear(&in->body);
    return 0;
}

static bool body_equal(const struct returned *in, const struct job *j)
{
    return !j->returned && j->key.len == in->key_bytes && j->body.len == in->body.n &&
           (in->key_bytes == 0 || memcmp(j->key.bytes, in->key, in->key_bytes) == 0) &&
           (in->body.n == 0 || memcmp(j->body.bytes, in->body.at, in->body.n) == 0);
}

static bool raw_equal(const struct returned *in, const struct job *j)
{
    struct buf raw;
    bool equal;

    buf_init(&raw, in->raw.n + 1024);
    equal = codec_raw(&j->properties, &raw) == 0 && raw.n == in->raw.n &&
            memcmp(raw.at, in->raw.at, raw.n) == 0;
    buf_done(&raw);
    return equal;
}

/* A return names no delivery tag, and confirms of several messages come together. But returns come
 * in the order of publishing and before their confirm, and bring the message back whole: it is the
 * oldest unconfirmed one that is equal in every byte. Two that are equal in every byte, message id
 * and headers included, are one to every consumer as well. */
static int return_end(struct sink *s)
{
    struct returned *in = &s->in;
    struct job *likely = NULL, *found = NULL;

    in->announced = in->open = false;
    lock(s);
    for (uint64_t tag = s->oldest; tag < s->next && !found; tag++) {
        struct job *j = *ring_at(s, tag);

        if (!j || !body_equal(in, j))
            continue;
        if (raw_equal(in, j))
            found = j;
        else if (!likely)
            likely = j; /* the broker wrote its properties another way */
    }
    if (!found)
        found = likely;
    if (found) {
        found->returned = true;
        found->return_code = in->code;
        memcpy(found->return_text, in->text, sizeof found->return_text);
    }
    unlock(s);
    /* To take an unknown return as none would count a lost message as delivered. */
    return found ? 0
                 : io_close_channel(&s->c, "the broker returned a message that we did not send");
}

static int return_head(struct sink *s, const amqp_frame_t *f)
{
    struct returned *in = &s->in;

    if (!in->announced)
        return 0;
    in->body_bytes = f->payload.properties.body_size;
    in->open = true;
    buf_put(&in->raw, f->payload.properties.raw.bytes, f->payload.properties.raw.len);
    return in->body_bytes == 0 ? return_end(s) : 0;
}

static int return_body(struct sink *s, amqp_bytes_t part)
{
    struct returned *in = &s->in;

    if (!in->open)
        return 0;
    buf_put(&in->body, part.bytes, part.len);
    if (in->body.failed || in->body.n > in->body_bytes)
        return io_close_channel(&s->c, "the broker returned more than can have been sent");
    return in->body.n == in->body_bytes ? return_end(s) : 0;
}

/* ---- I/O thread ---- */

static int setup(struct channel *c, int step)
{
    struct sink *s = (struct sink *)c;
    amqp_confirm_select_t select = { 0 };
    amqp_exchange_declare_t declare = { .exchange = amqp_cstring_bytes(s->exchange),
        .type = amqp_cstring_bytes(s->exchange_type),
        .passive = s->declare != OPTIONS_CREATE,
        .durable = 1,
        .arguments = s->arguments };

    if (step == 0)
        return io_send(c, AMQP_CONFIRM_SELECT_METHOD, &select) == 0 ? 1 : -1;
    if (step == 1 && *s->exchange && s->declare != OPTIONS_NONE)
        return io_send(c, AMQP_EXCHANGE_DECLARE_METHOD, &declare) == 0 ? 1 : -1;
    return 0;
}

/* [lock] Moves up to n jobs from the queue to the ring; they are then ours to send. */
static size_t jobs_take(struct sink *s, struct job **ret, size_t n)
{
    size_t count = 0;

    if (s->c.io->blocked)
        return 0;
    while (count < n && s->queue) {
        struct job *j = s->queue;

        if (s->next - s->oldest >= s->ring_room && ring_grow(s) != 0)
            break;
        s->queue = j->next;
        if (!s->queue)
            s->queue_end = &s->queue;
        s->queue_count--;
        ring_put(s, j);
        ret[count++] = j;
    }
    return count;
}

static void cork(struct sink *s, int on)
{
    (void)setsockopt(amqp_get_sockfd(s->c.io->amqp), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static int work(struct channel *c)
{
    struct sink *s = (struct sink *)c;
    struct job *jobs[JOBS_PER_TURN];
    size_t n, i = 0;
    bool more;

    lock(s);
    n = jobs_take(s, jobs, JOBS_PER_TURN);
    c->io->sending = n > 0;
    c->io->sends += n > 0;
    more = s->queue != NULL && n > 0;
    unlock(s);
    if (n == 0)
        return 0;
    if (n > 1)
        cork(s, 1);
    while (i < n &&
           amqp_basic_publish(c->io->amqp, c->number, amqp_cstring_bytes(s->exchange), jobs[i]->key,
               s->mandatory, 0, &jobs[i]->properties, jobs[i]->body) == AMQP_STATUS_OK)
        i++;
    if (n > 1)
        cork(s, 0);
    lock(s);
    c->io->sending = false;
    unlock(s);
    return i < n ? -1 : more;
}

static int frame(struct channel *c, const amqp_frame_t *f)
{
    struct sink *s = (struct sink *)c;

    if (f->frame_type == AMQP_FRAME_HEADER)
        return return_head(s, f);
    if (f->frame_type == AMQP_FRAME_BODY)
        return return_body(s, f->payload.body_fragment);
    switch (f->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *a = f->payload.method.decoded;

        return confirmed(s, a->delivery_tag, a->multiple, true);
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *a = f->payload.method.decoded;

        return confirmed(s, a->delivery_tag, a->multiple, false);
    }
    case AMQP_BASIC_RETURN_METHOD:
        return return_begin(s, f->payload.method.decoded);
    default:
        return 0;
    }
}

static void flush(struct channel *c)
{
    (void)c;
}

/* What the end of a session makes of a message that was sent and not confirmed. 404 and 403 are
 * about the address: a fixed exchange is an outage; a routing key that each message brings may be
 * what was forbidden. 406 and 5xx are about one of the messages; but 541 may be the broker's own
 * trouble, so that one is held against a message only when it happens to it again. */
static void sent_end(struct sink *s, struct job *j, const struct io_end *end)
{
    bool address = end->code == AMQP_NOT_FOUND || end->code == AMQP_ACCESS_REFUSED;
    bool message = end->code == AMQP_PRECONDITION_FAILED || end->code >= 500;

    if (!end->closed || (!address && !message) || (address && !s->key_varies) ||
        end->code == AMQP_NOT_FOUND)
        job_tell(s, j, FATE_UNSURE, CAUSE_LOST, end->code, false, end->text);
    else if (!end->alone || (end->code == AMQP_INTERNAL_ERROR && !j->again))
        job_tell(s, j, FATE_UNSURE, CAUSE_PROTOCOL, end->code, false, end->text);
    else
        job_tell(s, j, FATE_REFUSED, address ? CAUSE_ADDRESS : CAUSE_PROTOCOL, end->code, true,
            end->text);
}

static void queue_end(struct sink *s, int code, const char *text)
{
    struct job *j;

    while ((j = s->queue) != NULL) {
        s->queue = j->next;
        job_tell(s, j, FATE_UNSENT, CAUSE_LOST, code, false, text);
        job_free(j);
    }
    s->queue_end = &s->queue;
    s->queue_count = 0;
}

static void ended(struct channel *c, const struct io_end *end)
{
    struct sink *s = (struct sink *)c;

    for (uint64_t tag = s->oldest; tag < s->next; tag++) {
        struct job *j = *ring_at(s, tag);

        if (!j)
            continue;
        *ring_at(s, tag) = NULL;
        sent_end(s, j, end);
        job_free(j);
    }
    queue_end(s, end->code, end->text);
    s->oldest = s->next = s->timeout_at = 1;
    s->confirmed = 0;
    s->unreported = 0;
    s->in.announced = s->in.open = false;
}

static size_t unconfirmed(const struct channel *c)
{
    const struct sink *s = (const struct sink *)c;
    size_t n = 0;

    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        n += *ring_at(s, tag) != NULL;
    return n;
}

static void release(struct channel *c)
{
    struct sink *s = (struct sink *)c;
    struct job *j;

    while ((j = s->queue) != NULL) {
        s->queue = j->next;
        job_free(j);
    }
    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        job_free(*ring_at(s, tag));
    for (size_t i = 0; i < s->told_count; i++)
        free(s->told[(s->told_first + i) % s->told_room].text);
    free(s->told);
    free(s->ring);
    for (size_t i = 0; i < s->lent_count; i++)
        free(s->lent_texts[i]);
    free(s->lent_texts);
    buf_done(&s->in.raw);
    buf_done(&s->in.body);
    arena_done(&s->own);
    free(s);
}

/* ---- loop ---- */

/* Confirms that are due and did not come. Returns when the next one is due. */
static int64_t timeouts(struct sink *s, int64_t now_ms)
{
    for (; s->timeout_at < s->next; s->timeout_at++) {
        struct job *j = *ring_at(s, s->timeout_at);
        int64_t from_ms, due_ms;

        if (!j || j->reported)
            continue;
        from_ms = j->taken_ms > s->grace_ms ? j->taken_ms : s->grace_ms;
        due_ms = from_ms + s->confirm_timeout_ms;
        if (due_ms > now_ms)
            return due_ms;
        job_tell(s, j, FATE_UNSURE, CAUSE_TIMEOUT, 0, false, "no confirm in time");
    }
    return INT64_MAX;
}

static bool stalled(const struct sink *s, int64_t now_ms)
{
    struct job *j = s->oldest < s->next ? *ring_at(s, s->oldest) : NULL;
    const struct channel *first = s->c.io->channels;

    return j && first && first->next && now_ms - j->taken_ms >= STALL_MS &&
           now_ms - s->grace_ms >= STALL_MS;
}

/* To a connection of its own: nothing may be in flight, or later ones could overtake. */
static void move(struct sink *s)
{
    struct link *l = s->c.io->link;

    if (!s->c.left) {
        if (s->unreported > 0 || s->queue)
            return;
        s->c.wanted = false;
        s->c.hold = true;
        s->c.leave = true;
        io_wake(s->c.io);
        return;
    }
    pthread_mutex_unlock(&l->lock);
    if (!s->own_io)
        s->own_io = io_open(l, "publish, dedicated", NULL);
    if (s->own_io)
        io_attach(s->own_io, &s->c);
    pthread_mutex_lock(&l->lock);
    if (!s->own_io)
        return; /* tried again with the next step */
    s->moving = s->c.hold = false;
    s->c.retry_ms = 0;
}

static int64_t step(struct channel *c, int64_t now_ms)
{
    struct sink *s = (struct sink *)c;
    int64_t due_ms;

    if (c->io->blocked)
        s->grace_ms = now_ms;
    due_ms = timeouts(s, now_ms);
    if (s->next - s->oldest > 2 * s->window_events) /* the broker has stopped confirming */
        c->wanted = false;
    if (s->dedicated == OPTIONS_DEDICATED_AUTO && !s->own_io && !s->moving)
        s->moving = stalled(s, now_ms);
    if (s->moving)
        move(s);
    else if (s->dedicated == OPTIONS_DEDICATED_AUTO && !s->own_io && s->unreported > 0)
        due_ms = due_ms < now_ms + STALL_MS / 2 ? due_ms : now_ms + STALL_MS / 2;
    return due_ms;
}

static const struct channel_ops ops = { .setup = setup,
    .work = work,
    .frame = frame,
    .flush = flush,
    .ended = ended,
    .unconfirmed = unconfirmed,
    .release = release,
    .step = step };

static int init(struct sink *s, const struct sink_spec *spec, struct fault *why)
{
    static const char *const types[] = { "topic", "direct", "fanout", "headers" };
    const struct options_sink *o = spec->options;
    const char *exchange = o->exchange ? o->exchange : "";

    s->exchange = (char *)arena_copy(&s->own, exchange, strlen(exchange) + 1);
    s->told_room = (size_t)(spec->window_events > 0 ? spec->window_events : 1);
    s->told = calloc(s->told_room, sizeof *s->told);
    s->lent_room = s->told_room;
    s->lent_texts = calloc(s->lent_room, sizeof *s->lent_texts);
    s->queue_end = &s->queue;
    s->oldest = s->next = s->timeout_at = 1;
    if (!s->exchange || !s->told || !s->lent_texts || ring_grow(s) != 0)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->declare = (enum options_declare)o->declare;
    s->exchange_type = types[o->exchange_type];
    s->mandatory = o->mandatory;
    s->persistent = o->persistent;
    s->token_header = o->token_header;
    s->key_varies = !o->routing_key.fixed;
    s->dedicated = (enum options_dedicated)o->dedicated;
    s->window_events = s->told_room;
    s->window_bytes = (size_t)spec->window_bytes;
    s->confirm_timeout_ms = spec->confirm_timeout_ms;
    buf_init(&s->in.raw, RETURN_MAX);
    buf_init(&s->in.body, (size_t)1 << 30);
    return codec_arguments(&o->arguments, &s->own, &s->arguments, why);
}

int sink_open(struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    struct sink *s = calloc(1, sizeof *s);
    struct io *io;

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (init(s, spec, why) != 0)
        goto fail;
    if (s->dedicated == OPTIONS_DEDICATED_ALWAYS)
        io = s->own_io = io_open(l, "publish, dedicated", why);
    else
        io = l->writer ? l->writer : (l->writer = io_open(l, "publish", why));
    if (!io)
        goto fail;
    s->c = (struct channel){
        .ops = &ops, .state = CHANNEL_DOWN, .state_seen = CHANNEL_DOWN, .since_ms = l->now_ms
    };
    link_add(l, &s->c, io);
    *ret = s;
    return 0;
fail:
    release(&s->c);
    return -1;
}

static struct job *job_open(
    struct sink *s, const struct message *m, size_t header_bytes, bool *final, struct fault *why)
{
    struct codec_rules rules = { .persistent = s->persistent,
        .token_header = s->token_header,
        .login = dial_login(&s->c.io->link->dial),
        .header_bytes = header_bytes };
    struct job *j = calloc(1, sizeof *j);
    struct bytes body = m->event->body;

    if (!j)
        return NULL;
    j->ref = m->ref;
    j->bytes = event_bytes(m->event);
    j->taken_ms = s->c.io->link->now_ms;
    j->again = (m->flags & (MESSAGE_ALONE | MESSAGE_RESEND)) != 0;
    if (m->fields[0].n > CODEC_SHORT_MAX) {
        *final = true;
        fault_set(why, FAULT_INPUT, 0, "the routing key has %zu bytes, AMQP allows %d",
            m->fields[0].n, CODEC_SHORT_MAX);
        goto fail;
    }
    if (codec_write(m, &rules, &j->arena, &j->properties, why) != 0) {
        *final = why->kind == FAULT_INPUT;
        goto fail;
    }
    j->key =
        (amqp_bytes_t){ m->fields[0].n, arena_copy(&j->arena, m->fields[0].at, m->fields[0].n) };
    /* A null body has no other form here than an empty one. */
    j->body = (amqp_bytes_t){ body.n, arena_copy(&j->arena, body.at, body.n) };
    if (j->key.bytes && j->body.bytes)
        return j;
fail:
    job_free(j);
    return NULL;
}

/* Where messages can go now: room in a header frame, 0 while they cannot. */
static size_t header_room(struct sink *s)
{
    size_t room = 0;

    lock(s);
    if (s->c.state == CHANNEL_UP && s->c.wanted && !s->moving && !s->c.io->blocked)
        room = s->c.io->header_bytes;
    unlock(s);
    return room;
}

/* Appends to the lists what fits the windows. */
static size_t take(struct sink *s, const struct message *messages, size_t n, size_t header_bytes,
    struct job **jobs, struct told *refused, size_t *refused_count)
{
    struct job **end = jobs;
    size_t k = 0;

    for (; k < n && s->out_events < s->window_events; k++) {
        size_t bytes = event_bytes(messages[k].event);
        struct fault why = { 0 };
        bool final = false;
        struct job *j;

        if (s->out_events > 0 && s->out_bytes + bytes > s->window_bytes)
            break;
        j = job_open(s, &messages[k], header_bytes, &final, &why);
        if (!j && !final)
            break; /* no memory: later */
        if (!j && *refused_count == JOBS_PER_TURN)
            break;
        if (j) {
            *end = j;
            end = &j->next;
        } else {
            refused[(*refused_count)++] = (struct told){ .bytes = bytes,
                .text = strdup(why.text),
                .report = { .ref = messages[k].ref, .fate = FATE_REFUSED, .cause = CAUSE_FINAL } };
        }
        s->out_events++;
        s->out_bytes += bytes;
    }
    return k;
}

size_t sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    size_t room = header_room(s), k, refused_count = 0;
    struct told refused[JOBS_PER_TURN];
    struct job *jobs = NULL, *j;

    if (room == 0)
        return 0;
    k = take(s, messages, n, room, &jobs, refused, &refused_count);
    if (k == 0)
        return 0;
    lock(s);
    for (size_t i = 0; i < refused_count; i++) {
        tell(s, refused[i].report, refused[i].bytes, refused[i].text);
        free(refused[i].text);
    }
    while ((j = jobs) != NULL) {
        jobs = j->next;
        j->next = NULL;
        *s->queue_end = j;
        s->queue_end = &j->next;
        s->queue_count++;
    }
    /* The session may have ended since we looked. */
    if (s->c.state != CHANNEL_UP)
        queue_end(s, 0, "the session ended");
    io_wake(s->c.io);
    unlock(s);
    return k;
}

size_t sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    for (size_t i = 0; i < s->lent_count; i++)
        free(s->lent_texts[i]);
    s->lent_count = 0;
    lock(s);
    while (n < limit && s->told_count > 0) {
        struct told *t = &s->told[s->told_first];

        ret[n] = t->report;
        ret[n++].text = t->text;
        if (t->text)
            s->lent_texts[s->lent_count++] = t->text;
        s->told_first = (s->told_first + 1) % s->told_room;
        s->told_count--;
        s->out_events--;
        s->out_bytes -= t->bytes;
    }
    unlock(s);
    return n;
}

void sink_abandon(struct sink *s)
{
    lock(s);
    queue_end(s, 0, "abandoned");
    for (uint64_t tag = s->oldest; tag < s->next; tag++) {
        struct job *j = *ring_at(s, tag);

        if (j)
            job_tell(s, j, FATE_UNSURE, CAUSE_LOST, 0, false, "abandoned before it was confirmed");
    }
    /* What is still confirmed concerns nobody: a new session. */
    s->c.wanted = false;
    io_wake(s->c.io);
    unlock(s);
}

void sink_status(const struct sink *s, struct link_status *ret)
{
    lock(s);
    link_channel_status(&s->c, ret);
    if (ret->state == LINK_UP && s->c.io->blocked)
        ret->state = LINK_BLOCKED;
    unlock(s);
}

void sink_free(struct sink *s)
{
    struct io *own = s ? s->own_io : NULL;

    if (!s)
        return;
    link_remove(&s->c);
    if (own)
        io_stop(own);
}
