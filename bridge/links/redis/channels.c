/* Pub/sub channels as a source. The server keeps nothing: what it sent while we did not listen is
 * gone, so every such time becomes a gap, told when it begins and again when it is over. */
#include "bridge/links/redis/source.h"

#include <stdio.h>
#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)
/* The place that is stored is only a time: until when we know that we listened. */
#define SEEN_NAME "listened-until"
#define SEEN_EVERY_MS 60000

struct channels {
    struct source s; /* first */
    struct pack *filling;
    size_t asked, confirmed; /* subscriptions */
    bool subscribed;
    int64_t seen_ms;    /* stored at the last start; 0: none, or told */
    int64_t stored_ms;  /* as given with the last batch */
    int64_t missing_ms; /* start of the gap that is open; 0: none */
    int64_t suspect_ms; /* reading was held from here and no answer came since; 0: no */
    uint64_t number;    /* of messages, for names */
    int64_t base_ms;    /* of those names: time of the first subscription */
    char cause[200];
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

static void join(char *to, size_t n, const struct option_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        size_t at = strlen(to);
        (void)snprintf(to + at, n - at, "%s%s", at ? "," : "", list->at[i]);
    }
}

static void note(
    struct channels *t, int64_t start_ms, int64_t end_ms, uint64_t count, const char *cause)
{
    struct note n = { .start_ms = start_ms, .end_ms = end_ms, .count = count };

    join(n.what, sizeof n.what, &t->s.options->channels);
    join(n.what, sizeof n.what, &t->s.options->sharded_channels);
    (void)snprintf(n.cause, sizeof n.cause, "%.199s", cause);
    if (batches_note(&t->s.batches, &n) != 0)
        client_fail(&t->s.reader, "out of memory", 13);
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
    if (t->subscribed) {
        t->missing_ms = t->suspect_ms ? t->suspect_ms : c->answered_unix_ms;
        (void)snprintf(t->cause, sizeof t->cause, "%.199s", c->status.error);
        note(t, t->missing_ms, 0, 0, t->cause);
    }
    t->suspect_ms = 0;
    t->subscribed = false;
}

static void all_confirmed(struct channels *t)
{
    int64_t now = t->s.link->unix_ms;

    t->subscribed = true;
    if (t->missing_ms)
        note(t, t->missing_ms, now, 0, t->cause);
    else if (t->seen_ms)
        note(t, t->seen_ms, now, 0, "nobody listened: the bridge was not running or not connected");
    t->missing_ms = t->seen_ms = t->stored_ms = 0;
    if (!t->base_ms)
        t->base_ms = now;
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

    if (!t->subscribed || full == t->s.reader.held)
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
    char name[48];
    int n = snprintf(
        name, sizeof name, "%lld-%llu", (long long)t->base_ms, (unsigned long long)++t->number);
    struct pack *p = t->filling;
    size_t from = p ? p->data.n : 0;

    if (!p) {
        p = t->filling = pack_new(PACK_EVENTS);
        if (!p)
            return -1;
        p->from_ms = t->s.link->unix_ms;
    }
    p->events[p->n++] = (struct event){
        .address = { NULL, channel.n }, .origin = { NULL, (size_t)n }, .body = { NULL, body.n }
    };
    buf_put(&p->data, channel.at, channel.n);
    buf_put(&p->data, name, (size_t)n);
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
        note(t, now, now, 1, "a message above max_event_bytes was skipped");
    else if (keep(t, channel, body) != 0)
        note(t, now, now, 1, "no memory for a message");
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

static int put_place(struct channels *t, struct piece *p)
{
    const struct batches *b = &t->s.batches;
    int64_t seen = t->missing_ms;

    if (!seen && p->pack)
        seen = p->pack->from_ms;
    if (!seen)
        seen = b->ready ? b->ready->from_ms : t->s.reader.answered_unix_ms;
    p->positions = calloc(1, sizeof *p->positions);
    if (!p->positions)
        return -1;
    buf_put_format(&p->text, "%lld", (long long)seen);
    if (p->text.failed)
        return -1;
    p->positions[0] =
        (struct position){ .name = bytes_text(SEEN_NAME), .value = buf_bytes(&p->text) };
    p->batch.positions = p->positions;
    p->batch.position_count = 1;
    t->stored_ms = t->s.link->unix_ms;
    return 0;
}

static struct batch *channels_receive(struct source *s, size_t limit)
{
    struct channels *t = (struct channels *)s;
    bool due = t->subscribed && s->link->unix_ms - t->stored_ms >= SEEN_EVERY_MS;
    struct piece *p = NULL;

    if (!s->batches.ready)
        close_pack(t);
    p = batches_take(&s->batches, limit, &s->spec, due);
    if (!p)
        return NULL;
    /* Without the place it is only told less exactly where a later gap begins. */
    if (t->subscribed || t->missing_ms)
        (void)put_place(t, p);
    return &p->batch;
}

static void channels_settle(struct source *s, struct piece *p, bool kept)
{
    struct channels *t = (struct channels *)s;
    int64_t now = s->link->unix_ms;

    if (!kept && p->batch.count)
        note(t, p->pack->from_ms, now, p->batch.count, "messages came that could not be stored");
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

static void load_seen(struct channels *t, const struct source_spec *spec)
{
    char text[24];

    for (size_t i = 0; i < spec->position_count; i++) {
        const struct position *p = &spec->positions[i];
        if (!bytes_equal(p->name, bytes_text(SEEN_NAME)) || p->value.n >= sizeof text)
            continue;
        (void)snprintf(text, sizeof text, "%.*s", (int)p->value.n, (const char *)p->value.at);
        t->seen_ms = strtoll(text, NULL, 10);
    }
}

static int channels_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct channels *t = calloc(1, sizeof *t);

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    source_init(&t->s, &channel_source, l, spec);
    load_seen(t, spec);
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
