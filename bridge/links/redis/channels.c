/* Pub/sub channels as a source. The server keeps nothing: what it sent while we did not listen is
 * gone, so every such time becomes a gap, told when it begins and again when it is over. */
#include "bridge/links/listened.h"
#include "bridge/links/redis/source.h"

#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)

struct channels {
    struct source s; /* first */
    struct pack *filling;
    size_t asked, confirmed; /* subscriptions */
    int64_t suspect_ms;      /* reading was held from here and no answer came since; 0: no */
    struct listened heard;
};

static struct channels *of(void *owner)
{
    return owner;
}

static bool is_pattern(const char *channel)
{
    return strpbrk(channel, "*?[") != NULL;
}

/* ---- gaps ---- */

static void check_memory(struct channels *t)
{
    if (t->heard.no_memory)
        client_fail(&t->s.reader, "out of memory", 13);
    t->heard.no_memory = false;
}

static void note(struct channels *t, int64_t at_ms, const char *cause)
{
    listened_note(&t->heard, at_ms, at_ms, 1, cause);
    check_memory(t);
}

static void close_pack(struct channels *t)
{
    struct pack *p = t->filling;
    size_t at = 0;

    if (!p)
        return;
    t->filling = NULL;
    for (size_t i = 0; i < p->n; i++) {
        struct event *e = &p->events[i];
        e->address = bytes_of(p->data.at + at, e->address.n);
        at += e->address.n;
        e->origin = bytes_of(p->data.at + at, e->origin.n);
        at += e->origin.n;
        e->body = bytes_of(p->data.at + at, e->body.n);
        at += e->body.n;
    }
    batches_put(&t->s.batches, p);
}

static void reader_lost(void *owner)
{
    struct channels *t = of(owner);
    const struct client *c = &t->s.reader;

    close_pack(t);
    if (t->heard.on)
        listened_end(
            &t->heard, t->suspect_ms ? t->suspect_ms : c->answered_unix_ms, c->status.error);
    check_memory(t);
    t->suspect_ms = 0;
}

static void all_confirmed(struct channels *t)
{
    listened_begin(&t->heard, t->s.link->unix_ms);
    check_memory(t);
}

/* ---- messages ---- */

/* More than the window waits: the server's own buffer, then its limit, is where the rest goes. */
static void hold_if_full(struct channels *t)
{
    const struct batches *b = &t->s.batches;
    const struct pack *p = t->filling;
    size_t events = b->ready_events + b->events_out + (p ? p->n : 0);
    size_t bytes = b->ready_bytes + b->bytes_out + (p ? p->data.n : 0);
    bool full = events >= (size_t)t->s.spec.window_events ||
                bytes >= (size_t)t->s.spec.window_bytes || t->s.paused;

    if (!t->heard.on || full == t->s.reader.held)
        return;
    if (full && !t->suspect_ms)
        t->suspect_ms = t->s.link->unix_ms;
    client_hold(&t->s.reader, full);
    /* Its answer comes behind all that the server had for us. */
    if (!full && resp_command(t->s.reader.resp, 1, NULL, NULL, 0) == 0)
        resp_arg_text(t->s.reader.resp, "PING");
}

static int keep(struct channels *t, struct bytes channel, struct bytes body)
{
    struct listened_origin name = listened_next(&t->heard);
    struct pack *p = t->filling;
    size_t from = p ? p->data.n : 0;

    if (!p) {
        p = t->filling = pack_new(PACK_EVENTS);
        if (!p)
            return -1;
        p->from_ms = t->s.link->unix_ms;
    }
    p->events[p->n++] = (struct event){ .address = { NULL, channel.n },
        .origin = { NULL, strlen(name.text) },
        .body = { NULL, body.n } };
    buf_put(&p->data, channel.at, channel.n);
    buf_put_text(&p->data, name.text);
    buf_put(&p->data, body.at, body.n);
    if (p->data.failed) {
        p->n--;
        p->data.n = from;
        p->data.failed = false;
        return -1;
    }
    if (p->n == PACK_EVENTS || p->data.n >= PACK_BYTES)
        close_pack(t);
    return 0;
}

static void message(struct channels *t, struct bytes channel, struct bytes body)
{
    int64_t now = t->s.link->unix_ms;

    if (channel.n + body.n > (size_t)t->s.spec.max_event_bytes)
        note(t, now, "a message above max_event_bytes was skipped");
    else if (keep(t, channel, body) != 0)
        note(t, now, "no memory for a message");
    hold_if_full(t);
}

static bool word_is(const struct resp_value *v, const char *word)
{
    return bytes_equal(v->text, bytes_text(word));
}

static void pushed(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct channels *t = of(owner);
    const struct resp_value *i = v->items;
    bool texts = v->type == RESP_ARRAY && v->n >= 2;

    (void)arg;
    (void)sent;
    if (v->type == RESP_ERROR) {
        client_fail_reply(&t->s.reader, v);
        return;
    }
    for (size_t k = 0; texts && k < v->n; k++)
        texts = i[k].type == RESP_TEXT;
    if (texts && v->n == 3 && (word_is(&i[0], "message") || word_is(&i[0], "smessage")))
        message(t, i[1].text, i[2].text);
    else if (texts && v->n == 4 && word_is(&i[0], "pmessage"))
        message(t, i[2].text, i[3].text);
    else if (texts && word_is(&i[0], "pong"))
        t->suspect_ms = t->s.reader.held ? t->suspect_ms : 0;
    else if (v->type == RESP_ARRAY && v->n == 3 && i[0].type == RESP_TEXT &&
             (word_is(&i[0], "subscribe") || word_is(&i[0], "psubscribe") ||
                 word_is(&i[0], "ssubscribe"))) {
        if (++t->confirmed == t->asked)
            all_confirmed(t);
    } else if (v->type == RESP_ARRAY && v->n == 3 && word_is(&i[0], "sunsubscribe"))
        client_fail(&t->s.reader, "the server ended a subscription", 31);
}

/* ---- subscribing ---- */

static void subscribe(
    struct channels *t, const char *verb, const struct option_list *list, bool patterns, bool all)
{
    struct resp *r = t->s.reader.resp;

    for (size_t i = 0; i < list->n; i++) {
        if (!all && is_pattern(list->at[i]) != patterns)
            continue;
        if (resp_command(r, 2, NULL, NULL, 0) != 0)
            continue;
        t->asked++;
        resp_arg_text(r, verb);
        resp_arg_text(r, list->at[i]);
    }
}

static void reader_up(void *owner)
{
    struct channels *t = of(owner);
    const struct redis_source_options *o = t->s.options;

    t->asked = t->confirmed = 0;
    t->s.reader.pushes = true;
    resp_push(t->s.reader.resp, pushed, t);
    subscribe(t, "SUBSCRIBE", &o->channels, false, false);
    subscribe(t, "PSUBSCRIBE", &o->channels, true, false);
    subscribe(t, "SSUBSCRIBE", &o->sharded_channels, false, true);
}

static void channels_step(struct source *s)
{
    struct channels *t = (struct channels *)s;

    if (s->reader.ready)
        hold_if_full(t);
}

/* ---- lending ---- */

static struct batch *channels_receive(struct source *s, size_t limit)
{
    struct channels *t = (struct channels *)s;

    if (!s->batches.ready)
        close_pack(t);
    return listened_take(&t->heard, &s->spec, limit, s->link->unix_ms, s->reader.answered_unix_ms);
}

static void channels_settle(struct source *s, struct piece *p, bool kept)
{
    struct channels *t = (struct channels *)s;

    if (!kept)
        listened_lost(&t->heard, p, s->link->unix_ms);
    check_memory(t);
    if (s->reader.ready)
        hold_if_full(t);
}

static bool channels_drained(struct source *s)
{
    (void)s;
    return true;
}

static void channels_done(struct source *s)
{
    pack_free(((struct channels *)s)->filling);
}

static int channels_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct channels *t = calloc(1, sizeof *t);

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    source_init(&t->s, &channel_source, l, spec);
    listened_init(&t->heard, &t->s.batches, spec);
    listened_name(&t->heard, &t->s.options->channels);
    listened_name(&t->heard, &t->s.options->sharded_channels);
    t->s.reader.up = reader_up;
    t->s.reader.lost = reader_lost;
    *ret = &t->s;
    return 0;
}

const struct source_kind channel_source = {
    .open = channels_open,
    .step = channels_step,
    .receive = channels_receive,
    .settle = channels_settle,
    .drained = channels_drained,
    .done = channels_done,
};
