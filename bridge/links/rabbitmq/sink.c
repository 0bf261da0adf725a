#include "bridge/links/rabbitmq/sink.h"

#include <stdlib.h>

#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/rabbitmq/jobs.h"
#include "bridge/links/rabbitmq/link.h"

#define REFUSED_PER_TURN 128
#define RETURN_MAX (4u << 20)

static int init(struct sink *s, const struct sink_spec *spec, struct fault *why)
{
    static const char *const types[] = { "topic", "direct", "fanout", "headers" };
    const struct options_sink *o = spec->options;
    const char *exchange = o->exchange ? o->exchange : "";

    s->exchange = (char *)arena_copy(&s->own, exchange, strlen(exchange) + 1);
    s->told.bytes = sizeof(struct told);
    s->lent.bytes = sizeof(char *);
    s->queue_end = &s->queue;
    s->oldest = s->next = s->timeout_at = 1;
    if (!s->exchange || jobs_grow(s) != 0)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->declare = (enum options_declare)o->declare;
    s->exchange_type = types[o->exchange_type];
    s->mandatory = o->mandatory;
    s->persistent = o->persistent;
    s->token_header = o->token_header;
    s->key_varies = !o->routing_key.fixed;
    s->dedicated = (enum options_dedicated)o->dedicated;
    s->window_events = spec->window_events > 0 ? (size_t)spec->window_events : 1;
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
    s->c = (struct channel){ .ops = &publisher_ops,
        .state = CHANNEL_DOWN,
        .state_seen = CHANNEL_DOWN,
        .since_ms = l->now_ms };
    link_add(l, &s->c, io);
    *ret = s;
    return 0;
fail:
    publisher_free(s);
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
    jobs_free(j);
    return NULL;
}

/* Where messages can go now: room in a header frame, 0 while they cannot. */
static size_t header_room(struct sink *s)
{
    size_t room = 0;

    publisher_lock(s);
    if (s->c.state == CHANNEL_UP && s->c.wanted && !s->moving && !s->c.io->blocked)
        room = s->c.io->header_bytes;
    publisher_unlock(s);
    return room;
}

/* So that a report has its place, whatever the number of messages that were taken before. */
static bool has_place(struct sink *s)
{
    size_t n = s->out_events + 1;
    int failed;

    if (n > s->window_events || ring_room(&s->lent, 0, s->lent_count, n) != 0)
        return false;
    if (n <= s->told.capacity)
        return true;
    publisher_lock(s);
    failed = ring_room(&s->told, s->told_first, s->told_end, n);
    publisher_unlock(s);
    return failed == 0;
}

/* Appends to the lists what fits the windows. */
static size_t take(struct sink *s, const struct message *messages, size_t n, size_t header_bytes,
    struct job **jobs, struct told *refused, size_t *refused_count)
{
    struct job **end = jobs;
    size_t k = 0;

    for (; k < n && has_place(s); k++) {
        size_t bytes = event_bytes(messages[k].event);
        struct fault why = { 0 };
        bool final = false;
        struct job *j;

        if (s->out_events > 0 && s->out_bytes + bytes > s->window_bytes)
            break;
        j = job_open(s, &messages[k], header_bytes, &final, &why);
        if (!j && !final)
            break; /* no memory: later */
        if (!j && *refused_count == REFUSED_PER_TURN)
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
    struct told refused[REFUSED_PER_TURN];
    struct job *jobs = NULL, *j;

    if (room == 0)
        return 0;
    k = take(s, messages, n, room, &jobs, refused, &refused_count);
    if (k == 0)
        return 0;
    publisher_lock(s);
    for (size_t i = 0; i < refused_count; i++) {
        jobs_report(s, refused[i].report, refused[i].bytes, refused[i].text);
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
        publisher_unqueue(s, 0, "the session ended");
    io_wake(s->c.io);
    publisher_unlock(s);
    return k;
}

size_t sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    publisher_texts_free(s);
    publisher_lock(s);
    for (; n < limit && s->told_first < s->told_end; s->told_first++) {
        struct told *t = ring_at(&s->told, s->told_first);

        ret[n] = t->report;
        ret[n++].text = t->text;
        if (t->text)
            *(char **)ring_at(&s->lent, s->lent_count++) = t->text;
        s->out_events--;
        s->out_bytes -= t->bytes;
    }
    publisher_unlock(s);
    return n;
}

void sink_abandon(struct sink *s)
{
    publisher_lock(s);
    publisher_unqueue(s, 0, "abandoned");
    for (uint64_t tag = s->oldest; tag < s->next; tag++) {
        struct job *j = *jobs_at(s, tag);

        if (j)
            jobs_tell(s, j, FATE_UNSURE, CAUSE_LOST, 0, false, "abandoned before it was confirmed");
    }
    /* What is still confirmed concerns nobody: a new session. */
    s->c.wanted = false;
    io_wake(s->c.io);
    publisher_unlock(s);
}

void sink_status(const struct sink *s, struct link_status *ret)
{
    publisher_lock(s);
    link_channel_status(&s->c, ret);
    if (ret->state == LINK_UP && s->c.io->blocked)
        ret->state = LINK_BLOCKED;
    publisher_unlock(s);
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
