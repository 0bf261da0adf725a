#include "bridge/links/redis/link.h"

#include "bridge/base/header.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_COUNT 1000
#define BLOCK_MS 1000
#define BODY_FIELD "body"

/* One XREADGROUP reply as a batch: its events point into the reply, which it owns. */
struct lent {
    struct batch batch; /* first: a batch is found by its address */
    struct lent *next;
    struct resp_value *reply;
    const struct resp_value **ids; /* every entry, also those without event (trimmed) */
    size_t id_count;
    struct buf headers;
    bool out;
    struct source_gap gap;
};

struct source {
    struct link *link;
    struct source *next;
    struct source_spec spec;
    const struct redis_source_options *options;
    const char *consumer;
    struct client reader;
    struct lent *lents; /* ready or out, oldest first */
    size_t events_out, bytes_out;
    bool paused, draining, reading, again; /* again: read our pending entries from 0 */
    bool grouped;
    char after[48]; /* last pending id that was read; "" when done with them */
    uint64_t acks_waiting;
};

static void lent_free(struct lent *b)
{
    if (!b)
        return;
    resp_value_free(b->reply);
    buf_done(&b->headers);
    free(b->ids);
    free(b->batch.events);
    free(b);
}

static void start_over(struct source *s)
{
    s->again = true;
}

static void reader_lost(void *owner)
{
    start_over(owner);
}

static void reader_up(void *owner)
{
    struct source *s = owner;

    s->grouped = false;
    start_over(s);
}

static bool is_error(const struct resp_value *v, const char *word)
{
    size_t n = strlen(word);

    return v->type == RESP_ERROR && v->text.n >= n && memcmp(v->text.at, word, n) == 0;
}

static void group_made(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct source *s = owner;

    (void)arg;
    (void)sent;
    s->reading = false;
    if (!v)
        return;
    if (v->type == RESP_ERROR && !is_error(v, "BUSYGROUP"))
        client_fail(&s->reader, (const char *)v->text.at, v->text.n);
    else
        s->grouped = true;
}

static bool bytes_are(struct bytes b, const char *text)
{
    return bytes_equal(b, bytes_text(text));
}

static void put_header(struct lent *b, struct bytes name, struct bytes text)
{
    struct header_value v = { .type = HEADER_TEXT, .bytes = text };

    header_put(&b->headers, HEADER_USER, name, &v);
}

/* Fields to an event. `bascule-headers`, written by another bridge, is the exact list; a field that
 * it names is only that field's text again. */
static void read_fields(struct lent *b, const struct resp_value *fields, struct event *e)
{
    struct bytes exact = BYTES_NONE;
    struct header h;
    size_t from = b->headers.n;

    for (size_t i = 0; i + 1 < fields->n; i += 2)
        if (bytes_are(fields->items[i]->text, "bascule-headers") &&
            header_valid(fields->items[i + 1]->text))
            exact = fields->items[i + 1]->text;
    buf_put_bytes(&b->headers, exact);
    for (size_t i = 0; i + 1 < fields->n; i += 2) {
        struct bytes name = fields->items[i]->text, value = fields->items[i + 1]->text;
        if (bytes_are(name, BODY_FIELD))
            e->body = value;
        else if (bytes_are(name, "message-id"))
            e->id = value;
        else if (bytes_are(name, "key"))
            e->key = value;
        else if (bytes_are(name, "bascule-hops") && value.n == 1 && value.at[0] >= '0')
            e->hops = (uint32_t)(value.at[0] - '0');
        else if (bytes_are(name, "bascule-hops") && value.n > 1)
            e->hops = 99; /* far past every loop guard */
        else if (!bytes_are(name, "bascule-token") &&
                 !(exact.at &&
                     (bytes_are(name, "bascule-headers") || header_find(exact, name, &h))))
            put_header(b, name, value);
    }
    e->headers.n = b->headers.n - from; /* its place is known once the buffer stopped moving */
}

static bool entry_ok(const struct resp_value *v)
{
    if (v->type != RESP_ARRAY || v->n != 2 || v->items[0]->type != RESP_TEXT)
        return false;
    if (v->items[1]->type == RESP_NIL)
        return true;
    if (v->items[1]->type != RESP_ARRAY || v->items[1]->n % 2)
        return false;
    for (size_t i = 0; i < v->items[1]->n; i++)
        if (v->items[1]->items[i]->type != RESP_TEXT)
            return false;
    return true;
}

static void fill(struct source *s, struct lent *b, const struct resp_value *entries)
{
    size_t at = 0;

    for (size_t i = 0; i < entries->n; i++) {
        const struct resp_value *entry = entries->items[i];
        struct event *e = &b->batch.events[b->batch.count];
        b->ids[b->id_count++] = entry->items[0];
        if (entry->items[1]->type == RESP_NIL) {
            b->gap.count++;
            continue;
        }
        e->address = bytes_text(s->options->stream);
        e->origin = entry->items[0]->text;
        e->time_ms = strtoll((const char *)e->origin.at, NULL, 10);
        read_fields(b, entry->items[1], e);
        b->batch.count++;
    }
    for (size_t i = 0; i < b->batch.count; i++) {
        struct event *e = &b->batch.events[i];
        size_t n = e->headers.n;
        e->headers = n ? bytes_of(b->headers.at + at, n) : BYTES_NONE;
        at += n;
        b->batch.bytes += event_bytes(e);
    }
    if (b->gap.count) {
        b->gap.start_ms = b->gap.end_ms = s->link->unix_ms;
        b->gap.what = bytes_text(s->options->stream);
        b->gap.cause = bytes_text("entries were trimmed before they were read");
        b->batch.gaps = &b->gap;
        b->batch.gap_count = 1;
    }
}

static int append(struct source *s, struct resp_value *reply, const struct resp_value *entries)
{
    struct lent *b = calloc(1, sizeof *b), **at = &s->lents;

    if (b) {
        b->ids = calloc(entries->n, sizeof(void *));
        b->batch.events = calloc(entries->n, sizeof *b->batch.events);
        buf_init(&b->headers, 1u << 30);
    }
    if (!b || !b->ids || !b->batch.events) {
        lent_free(b);
        return -1;
    }
    fill(s, b, entries);
    if (b->headers.failed) {
        lent_free(b);
        return -1;
    }
    b->reply = reply;
    while (*at)
        at = &(*at)->next;
    *at = b;
    return 0;
}

static void fail_text(struct source *s, const char *text)
{
    client_fail(&s->reader, text, strlen(text));
}

static void received(void *owner, uint64_t pending, const struct resp_value *v, bool sent)
{
    struct source *s = owner;
    const struct resp_value *entries = NULL;
    struct bytes last;

    (void)sent;
    s->reading = false;
    if (!v || s->again)
        return;
    if (is_error(v, "NOGROUP")) {
        s->grouped = false;
        start_over(s);
        return;
    }
    if (v->type == RESP_ERROR) {
        client_fail(&s->reader, (const char *)v->text.at, v->text.n);
        return;
    }
    if (v->type == RESP_NIL)
        return;
    if (v->type != RESP_ARRAY || v->n != 1 || v->items[0]->type != RESP_ARRAY ||
        v->items[0]->n != 2 || v->items[0]->items[1]->type != RESP_ARRAY) {
        fail_text(s, "XREADGROUP: a reply of another shape");
        return;
    }
    entries = v->items[0]->items[1];
    for (size_t i = 0; i < entries->n; i++)
        if (!entry_ok(entries->items[i])) {
            fail_text(s, "XREADGROUP: an entry of another shape");
            return;
        }
    if (entries->n == 0) {
        s->after[0] = 0;
        return;
    }
    last = entries->items[entries->n - 1]->items[0]->text;
    if (last.n >= sizeof s->after) {
        fail_text(s, "XREADGROUP: an entry id of more than 47 bytes");
        return;
    }
    if (append(s, (struct resp_value *)(uintptr_t)v, entries) != 0) {
        fail_text(s, "out of memory");
        return;
    }
    resp_take(s->reader.resp);
    if (pending)
        (void)snprintf(s->after, sizeof s->after, "%.*s", (int)last.n, (const char *)last.at);
}

static void make_group(struct source *s)
{
    if (resp_command(s->reader.resp, 6, group_made, s, 0) != 0)
        return;
    s->reading = true;
    resp_arg_text(s->reader.resp, "XGROUP");
    resp_arg_text(s->reader.resp, "CREATE");
    resp_arg_text(s->reader.resp, s->options->stream);
    resp_arg_text(s->reader.resp, s->options->group);
    resp_arg_text(s->reader.resp, s->options->start == REDIS_START_NEW ? "$" : "0");
    resp_arg_text(s->reader.resp, "MKSTREAM");
}

static void ask(struct source *s)
{
    struct resp *r = s->reader.resp;
    bool pending = s->after[0] != 0;

    if (resp_command(r, pending ? 9 : 11, received, s, pending) != 0)
        return;
    s->reading = true;
    resp_arg_text(r, "XREADGROUP");
    resp_arg_text(r, "GROUP");
    resp_arg_text(r, s->options->group);
    resp_arg_text(r, s->consumer);
    resp_arg_text(r, "COUNT");
    resp_arg_int(r, s->spec.window_events < READ_COUNT ? s->spec.window_events : READ_COUNT);
    if (!pending) {
        resp_arg_text(r, "BLOCK");
        resp_arg_int(r, BLOCK_MS);
    }
    resp_arg_text(r, "STREAMS");
    resp_arg_text(r, s->options->stream);
    resp_arg_text(r, pending ? s->after : ">");
}

/* Pending entries are read again only when nothing of the old session is out or on its way to be
 * acknowledged, or they would be taken for lost ones and handed over twice. */
static void prepare(struct source *s)
{
    struct lent **at = &s->lents;

    while (*at) {
        struct lent *b = *at;
        if (b->out) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        lent_free(b);
    }
    if (s->lents || s->acks_waiting)
        return;
    s->again = false;
    memcpy(s->after, "0", 2);
}

static void source_step(struct source *s)
{
    if (!s->reader.ready || s->reading)
        return;
    if (s->again)
        prepare(s);
    if (s->again || s->paused || s->draining)
        return;
    for (struct lent *b = s->lents; b; b = b->next)
        if (!b->out)
            return;
    if (!s->grouped)
        make_group(s);
    else
        ask(s);
    client_watch(&s->reader);
}

int64_t redis_sources_step(struct link *l)
{
    int64_t wake = INT64_MAX;

    for (struct source *s = l->sources; s; s = s->next) {
        int64_t due = client_step(&s->reader, l->now_ms);
        /* What is asked here goes out at the next step: the socket is writable then. */
        source_step(s);
        wake = due < wake ? due : wake;
    }
    return wake;
}

int redis_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->spec = *spec;
    s->options = spec->options;
    s->consumer = s->options->consumer ? s->options->consumer : l->spec.store_id;
    client_init(&s->reader, l->spec.options, l->spec.seed ^ spec->route_id, l->poll_fd);
    s->reader.up = reader_up;
    s->reader.lost = reader_lost;
    s->reader.owner = s;
    s->next = l->sources;
    l->sources = s;
    *ret = s;
    return 0;
}

struct batch *redis_source_receive(struct source *s, size_t limit)
{
    struct lent *b = s->lents;

    while (b && b->out)
        b = b->next;
    if (!b || s->paused || s->draining || s->again || limit == 0)
        return NULL;
    if (s->events_out && (s->events_out + b->batch.count > (size_t)s->spec.window_events ||
                             s->bytes_out + b->batch.bytes > (size_t)s->spec.window_bytes))
        return NULL;
    b->out = true;
    s->events_out += b->batch.count;
    s->bytes_out += b->batch.bytes;
    source_step(s);
    return &b->batch;
}

static void acked(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct source *s = owner;

    (void)sent;
    s->acks_waiting -= arg;
    if (!v || v->type == RESP_ERROR)
        start_over(s);
}

static void acknowledge(struct source *s, const struct lent *b, const char *verb, bool group)
{
    struct resp *r = s->link->commands.resp;

    if (!s->link->commands.ready || resp_command(r, 2 + group + b->id_count, acked, s, 1) != 0) {
        start_over(s);
        return;
    }
    s->acks_waiting++;
    resp_arg_text(r, verb);
    resp_arg_text(r, s->options->stream);
    if (group)
        resp_arg_text(r, s->options->group);
    for (size_t i = 0; i < b->id_count; i++)
        resp_arg(r, b->ids[i]->text);
}

void redis_source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct lent **at = &s->lents, *b = NULL;

    while (*at && &(*at)->batch != batch)
        at = &(*at)->next;
    b = *at;
    if (!b)
        return;
    *at = b->next;
    s->events_out -= b->batch.count;
    s->bytes_out -= b->batch.bytes;
    if (!kept) {
        start_over(s);
    } else {
        acknowledge(s, b, "XACK", true);
        if (s->options->remove)
            acknowledge(s, b, "XDEL", false);
    }
    lent_free(b);
    client_watch(&s->link->commands);
    source_step(s);
}

void redis_source_pause(struct source *s, bool paused)
{
    s->paused = paused;
    source_step(s);
}

bool redis_source_drain(struct source *s)
{
    s->draining = true;
    return s->acks_waiting == 0;
}

void redis_source_status(const struct source *s, struct link_status *ret)
{
    *ret = s->reader.status;
}

void redis_source_free(struct source *s)
{
    if (!s)
        return;
    if (s->link->commands.resp)
        resp_forget(s->link->commands.resp, s);
    client_done(&s->reader);
    for (struct source **at = &s->link->sources; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    while (s->lents) {
        struct lent *b = s->lents;
        s->lents = b->next;
        lent_free(b);
    }
    free(s);
}
