#include "bridge/links/nats/source.h"

#include "bridge/base/header.h"

#include <stdio.h>
#include <stdlib.h>

void source_common(struct source *s, const struct source_kind *kind, struct link *l,
    const struct source_spec *spec)
{
    const struct nats_source_options *o = spec->options;

    s->kind = kind;
    s->link = l;
    s->spec = *spec;
    s->spec.positions = NULL; /* lent during open only */
    s->spec.position_count = 0;
    s->options = o;
    s->names = (struct block_names){ bytes_text(o->id_header ? o->id_header : "message-id"),
        bytes_text(o->key_header ? o->key_header : "key"), false };
    s->lag = -1;
    s->next = l->sources;
    l->sources = s;
}

/* ---- packs ---- */

static void list_free(void *reply)
{
    struct message_list *list = reply;

    for (size_t i = 0; i < list->n; i++)
        wire_message_free(list->at[i]);
    free(list);
}

struct pack *source_pack(size_t n)
{
    struct message_list *list = calloc(1, sizeof *list + n * sizeof list->at[0]);
    struct pack *p = list ? pack_new(n) : NULL;

    if (!p) {
        free(list);
        return NULL;
    }
    p->reply = list;
    p->reply_free = list_free;
    return p;
}

/* https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md: the key is what
 * follows the bucket's name in the subject. */
static void read_change(const struct source *s, const struct wire_message *m, struct event *e)
{
    struct bytes block = m->headers;
    struct block_line line;

    /* Whoever made the stream may have given it other subjects. */
    if (strncmp(m->subject, (const char *)s->bucket.at, s->bucket.n) == 0)
        e->address = e->key = bytes_text(m->subject + s->bucket.n);
    if (!bytes_present(block) || block_begin(&block, NULL) < 0)
        return;
    while (block_next(&block, &line) == 1)
        if (bytes_equal(line.name, bytes_text("KV-Operation")) &&
            (bytes_equal(line.value, bytes_text("DEL")) ||
                bytes_equal(line.value, bytes_text("PURGE"))))
            e->body = BYTES_NONE;
}

int source_put(
    struct source *s, struct pack *p, struct wire_message *m, int64_t time_ms, const char *origin)
{
    struct message_list *list = p->reply;
    struct event *e = &p->events[p->n];
    size_t from = p->data.n;

    *e = (struct event){ .address = bytes_text(m->subject),
        .origin = { NULL, strlen(origin) },
        .body = m->body,
        .time_ms = time_ms };
    buf_put(&p->data, origin, e->origin.n);
    if (block_read(&s->names, m->headers, &p->data, e) != 0 || p->data.failed) {
        p->data.n = p->data.failed ? p->data.n : from;
        return -1;
    }
    if (s->bucket.n)
        read_change(s, m, e);
    if (m->reply && !s->options->stream)
        header_put_text(&p->data, HEADER_PROPERTY, "reply-to", bytes_text(m->reply));
    e->headers.n = p->data.n - from - e->origin.n;
    if (p->data.failed)
        return -1;
    list->at[list->n++] = m;
    p->n++;
    return 0;
}

void source_close_pack(struct pack *p)
{
    size_t at = 0;

    for (size_t i = 0; i < p->n; i++) {
        struct event *e = &p->events[i];
        size_t n = e->headers.n;
        e->origin = bytes_of(p->data.at + at, e->origin.n);
        at += e->origin.n;
        e->headers = n ? bytes_of(p->data.at + at, n) : BYTES_NONE;
        at += n;
    }
}

struct wire_message *source_message(const struct pack *p, const struct event *e)
{
    const struct message_list *list = p->reply;

    return list->at[e - p->events];
}

void source_note(struct source *s, const char *what, int64_t start_ms, int64_t end_ms,
    uint64_t count, const char *cause)
{
    struct note n = { .start_ms = start_ms, .end_ms = end_ms, .count = count };

    (void)snprintf(n.what, sizeof n.what, "%.159s", what);
    (void)snprintf(n.cause, sizeof n.cause, "%.199s", cause);
    if (batches_note(&s->batches, &n) != 0)
        wire_fail(s->wire, "out of memory");
}

/* ---- the connector's functions ---- */

int nats_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    const struct nats_source_options *o = spec->options;

    return (o->stream || o->bucket ? &nats_stream_source : &nats_subject_source)
        ->open(l, spec, ret, why);
}

int64_t nats_sources_step(struct link *l)
{
    int64_t wake = INT64_MAX, due = 0;

    for (struct source *s = l->sources; s; s = s->next) {
        if (s->wire != l->shared) {
            due = wire_step(s->wire, l->now_ms, l->unix_ms);
            wake = due < wake ? due : wake;
        }
        due = s->kind->step(s);
        wake = due < wake ? due : wake;
    }
    return wake;
}

struct batch *nats_source_receive(struct source *s, size_t limit)
{
    return s->draining ? NULL : s->kind->receive(s, limit);
}

void nats_source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct piece *p = batches_return(&s->batches, batch);

    if (!p)
        return;
    if (!kept)
        batches_keep_notes(&s->batches, p);
    s->kind->settle(s, p, kept);
    piece_free(p);
}

void nats_source_pause(struct source *s, bool paused)
{
    s->paused = paused;
    (void)s->kind->step(s);
}

bool nats_source_drain(struct source *s)
{
    s->draining = true;
    return s->kind->drained(s);
}

void nats_source_status(const struct source *s, struct link_status *ret)
{
    *ret = *wire_status(s->wire);
    ret->duplicates = s->duplicates;
    ret->reordered = s->reordered;
    ret->lag = s->lag;
    if (s->stopped[0]) {
        ret->state = LINK_STOPPED;
        (void)snprintf(ret->error, sizeof ret->error, "%s", s->stopped);
    } else if (ret->state == LINK_UP && s->trouble[0]) {
        ret->state = LINK_DOWN;
        ret->retry_ms = s->retry_ms;
        (void)snprintf(ret->error, sizeof ret->error, "%s", s->trouble);
    }
}

void nats_source_free(struct source *s)
{
    if (!s)
        return;
    for (struct source **at = &s->link->sources; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    s->kind->done(s);
    if (s->wire && s->wire != s->link->shared)
        wire_free(s->wire);
    batches_done(&s->batches);
    free(s);
}
