/* A consumer group's stream as a source.
 *
 * After every connect our own pending entries are read from 0, in pages, before anything new: a
 * reply lost with the connection leaves entries that `>` skips. */
#include "bridge/links/redis/source.h"

#include "bridge/links/committed.h"
#include "bridge/links/redis/backlog.h"
#include "bridge/links/redis/fields.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_COUNT_MAX 1000
#define READ_COUNT_FIRST 64
/* What one reply should hold; the server counts entries, not bytes. */
#define READ_BYTES (1u << 20)
/* How long a reading may wait at the server. The second is for a stream where the last one brought
 * nothing. */
#define BLOCK_MS_MAX 1000
#define BLOCK_QUIET_MS 5000
#define CLAIM_WAIT_MS_MIN 1000
/* What XINFO costs the server is nothing at this pace. */
#define BACKLOG_EVERY_MS 2000

struct stream {
    struct source s; /* first */
    const char *consumer;
    struct fields fields;
    struct bytes name; /* the stream's */
    struct committed committed;
    struct backlog backlog;
    int64_t backlog_ms; /* when to ask for it next */
    bool grouped, was_grouped, reading;
    bool waiting;      /* a reading that may wait at the server is on its way; until it is woken */
    int64_t client_id; /* of the reader's connection; 0: not known */
    bool quiet;        /* the last reading brought nothing */
    bool again;        /* read our pending entries from 0 */
    bool
        finishing; /* all of them were read; the acknowledgements of known ones may be on the way */
    char after[48]; /* last pending id that was read; "" when done with them */
    size_t acks_waiting, known_acks_waiting;
    size_t count; /* entries to ask for */
    int64_t claim_ms;
    char claim_cursor[48];
    struct entry_id newest; /* of those read */
    struct entry_id *ids;   /* scratch */
    size_t ids_capacity;
};

static struct stream *of(void *owner)
{
    return owner;
}

static void start_over(struct stream *t)
{
    t->again = true;
    t->finishing = false;
}

static void reader_lost(void *owner)
{
    start_over(of(owner));
    of(owner)->reading = false;
}

static void reader_up(void *owner)
{
    of(owner)->grouped = of(owner)->waiting = false;
    of(owner)->client_id = 0;
    of(owner)->backlog_ms = 0;
    of(owner)->quiet = false;
    start_over(of(owner));
}

static void fail_text(struct stream *t, const char *text)
{
    client_fail(&t->s.reader, text, strlen(text));
}

static void note_between(
    struct stream *t, int64_t start_ms, int64_t end_ms, uint64_t count, const char *cause)
{
    struct note n = { .start_ms = start_ms, .end_ms = end_ms, .count = count };

    (void)snprintf(n.what, sizeof n.what, "%.159s", t->s.options->stream);
    (void)snprintf(n.cause, sizeof n.cause, "%s", cause);
    if (batches_note(&t->s.batches, &n) != 0)
        fail_text(t, "out of memory");
}

static void note(struct stream *t, uint64_t count, const char *cause)
{
    note_between(t, t->s.link->unix_ms, t->s.link->unix_ms, count, cause);
}

/* ---- acknowledging ---- */

enum { ACK_KNOWN = 0 }; /* instead of a batch's number: ids that were found committed */

static void acked(void *owner, uint64_t number, const struct resp_value *v, bool sent)
{
    struct stream *t = of(owner);

    (void)sent;
    t->acks_waiting--;
    t->known_acks_waiting -= number == ACK_KNOWN;
    if (!v || v->type == RESP_ERROR)
        start_over(t);
    else if (number != ACK_KNOWN)
        committed_confirm(&t->committed, number);
}

static void deleted(void *owner, uint64_t number, const struct resp_value *v, bool sent)
{
    (void)number;
    (void)v;
    (void)sent;
    /* An entry that stays is only space; it is acknowledged and not read again. */
    of(owner)->acks_waiting--;
}

/* The ids of `events`, then `more`. */
static int send_ids(struct stream *t, bool ack, uint64_t number, const struct event *events,
    size_t n, const struct bytes *more, size_t more_n)
{
    struct client *c = &t->s.link->commands;

    if (n + more_n == 0)
        return 0;
    if (!c->ready ||
        resp_command(c->resp, (ack ? 3 : 2) + n + more_n, ack ? acked : deleted, t, number) != 0)
        return -1;
    t->acks_waiting++;
    resp_arg_text(c->resp, ack ? "XACK" : "XDEL");
    resp_arg_text(c->resp, t->s.options->stream);
    if (ack)
        resp_arg_text(c->resp, t->s.options->group);
    for (size_t i = 0; i < n; i++)
        resp_arg(c->resp, events[i].origin);
    for (size_t i = 0; i < more_n; i++)
        resp_arg(c->resp, more[i]);
    client_watch(c);
    return 0;
}

static void stream_settle(struct source *s, struct piece *p, bool kept)
{
    struct stream *t = (struct stream *)s;
    const struct batch *b = &p->batch;
    bool empty = b->count + p->gone_n == 0;

    committed_settle(&t->committed, p->number, kept);
    if (!kept || send_ids(t, true, p->number, b->events, b->count, p->gone, p->gone_n) != 0 ||
        (t->s.options->remove &&
            send_ids(t, false, 0, b->events, b->count, p->gone, p->gone_n) != 0))
        start_over(t);
    else if (empty)
        committed_confirm(&t->committed, p->number);
    s->kind->step(s);
    client_watch(&s->reader);
}

/* ---- replies ---- */

static bool entry_ok(const struct resp_value *v)
{
    const struct resp_value *fields = NULL;
    struct entry_id id;

    if (v->type != RESP_ARRAY || v->n != 2 || v->items[0].type != RESP_TEXT ||
        v->items[0].text.n >= 48 || entry_id_parse(v->items[0].text, &id) != 0)
        return false;
    fields = &v->items[1];
    if (fields->type == RESP_NIL)
        return true;
    if (fields->type != RESP_ARRAY || fields->n % 2)
        return false;
    for (size_t i = 0; i < fields->n; i++)
        if (fields->items[i].type != RESP_TEXT)
            return false;
    return true;
}

static bool entries_ok(const struct resp_value *v)
{
    if (v->type != RESP_ARRAY)
        return false;
    for (size_t i = 0; i < v->n; i++)
        if (!entry_ok(&v->items[i]))
            return false;
    return true;
}

/* What fill() found beside events. */
struct found {
    struct bytes *known; /* ids in the committed set */
    size_t known_n, trimmed, oversize;
    bool stop;
};

static void stop_at(struct stream *t, struct bytes id, size_t bytes)
{
    (void)snprintf(t->s.stopped, sizeof t->s.stopped,
        "stream %.80s: entry %.*s has %zu bytes, above max_event_bytes %lld: raise that, delete "
        "the entry, or set oversize: skip",
        t->s.options->stream, (int)id.n, (const char *)id.at, bytes,
        (long long)t->s.spec.max_event_bytes);
}

/* What stands before the dash. */
static int64_t entry_ms(struct bytes id)
{
    uint64_t ms = 0;

    for (size_t i = 0; i < id.n && id.at[i] != '-'; i++)
        ms = ms * 10 + (uint64_t)(id.at[i] - '0');
    return ms <= INT64_MAX ? (int64_t)ms : 0;
}

static void fill_one(
    struct stream *t, struct pack *p, const struct resp_value *entry, struct found *f)
{
    struct event *e = &p->events[p->n];
    struct bytes id = entry->items[0].text;

    *e = (struct event){ .address = t->name, .origin = id };
    if (entry->items[1].type == RESP_NIL) {
        p->gone[p->gone_n++] = id;
        f->trimmed++;
        return;
    }
    e->time_ms = entry_ms(id);
    fields_read(&t->fields, &entry->items[1], &p->data, e);
    if (event_bytes(e) <= (size_t)t->s.spec.max_event_bytes) {
        p->n++;
        return;
    }
    p->data.n -= e->headers.n;
    if (t->s.options->oversize == REDIS_OVERSIZE_SKIP) {
        p->gone[p->gone_n++] = id;
        f->oversize++;
        return;
    }
    stop_at(t, id, event_bytes(e));
    f->stop = true;
}

static void fill(
    struct stream *t, struct pack *p, const struct resp_value *entries, bool look, struct found *f)
{
    struct entry_id id;
    size_t at = 0;

    for (size_t i = 0; i < entries->n && !f->stop; i++) {
        if (look && entry_id_parse(entries->items[i].items[0].text, &id) == 0 &&
            committed_has(&t->committed, &id))
            f->known[f->known_n++] = entries->items[i].items[0].text;
        else
            fill_one(t, p, &entries->items[i], f);
    }
    for (size_t i = 0; i < p->n; i++) {
        struct event *e = &p->events[i];
        size_t n = e->headers.n;
        e->headers = n ? bytes_of(p->data.at + at, n) : BYTES_NONE;
        at += n;
    }
}

static bool older(const struct entry_id *a, const struct entry_id *b)
{
    return a->ms < b->ms || (a->ms == b->ms && a->seq < b->seq);
}

/* Replies come in the stream's order, but for what was pending: ours after a reconnect, or another
 * consumer's that is claimed. */
static void count_reordered(struct stream *t, const struct pack *p, bool pending)
{
    struct entry_id id = { 0 };

    for (size_t i = 0; pending && i < p->n; i++)
        t->s.reordered += entry_id_parse(p->events[i].origin, &id) == 0 && older(&id, &t->newest);
    if (p->n && entry_id_parse(p->events[p->n - 1].origin, &id) == 0 && older(&t->newest, &id))
        t->newest = id;
}

static void tell_gaps(struct stream *t, const struct found *f)
{
    if (f->trimmed)
        note(t, f->trimmed, "entries were trimmed before they were read");
    if (f->oversize)
        note(t, f->oversize, "entries above max_event_bytes were skipped");
}

static void reply_free(void *reply)
{
    resp_value_free(reply);
}

/* Takes the reply into a pack. `claimed`: known ids are in other hands already and are left alone.
 */
static int take_entries(struct stream *t, const struct resp_value *reply,
    const struct resp_value *entries, bool look, bool claimed)
{
    struct pack *p = pack_new(entries->n);
    struct found f = { .known = look ? calloc(entries->n, sizeof *f.known) : NULL };

    if (p)
        p->gone = calloc(entries->n, sizeof *p->gone);
    if (!p || !p->gone || (look && !f.known)) {
        pack_free(p);
        free(f.known);
        return -1;
    }
    fill(t, p, entries, look, &f);
    if (p->data.failed) {
        pack_free(p);
        free(f.known);
        return -1;
    }
    if (!claimed && f.known_n) {
        t->s.duplicates += f.known_n;
        if (send_ids(t, true, ACK_KNOWN, NULL, 0, f.known, f.known_n) == 0)
            t->known_acks_waiting++;
        else
            start_over(t);
    }
    free(f.known);
    tell_gaps(t, &f);
    count_reordered(t, p, look);
    if (p->n + p->gone_n == 0) {
        pack_free(p);
        return 0;
    }
    resp_take(t->s.reader.resp);
    p->reply = (struct resp_value *)(uintptr_t)reply;
    p->reply_free = reply_free;
    batches_put(&t->s.batches, p);
    return 0;
}

static void learn_size(struct stream *t, const struct resp_value *entries)
{
    size_t bytes = 1, next = 0;

    for (size_t i = 0; i < entries->n; i++)
        for (size_t k = 0; k < entries->items[i].items[1].n; k++)
            bytes += entries->items[i].items[1].items[k].text.n;
    next = READ_BYTES / (bytes / entries->n + 1);
    next = next < t->count * 2 ? next : t->count * 2;
    next = next < READ_COUNT_MAX ? next : READ_COUNT_MAX;
    t->count = next ? next : 1;
}

static bool is_gone(const struct resp_value *v)
{
    return client_error_is(v, "NOGROUP") || client_error_is(v, "UNBLOCKED");
}

static void received(void *owner, uint64_t pending, const struct resp_value *v, bool sent)
{
    struct stream *t = of(owner);
    const struct resp_value *entries = NULL;
    struct bytes last;

    (void)sent;
    t->reading = t->waiting = false;
    if (!v || t->again)
        return;
    if (is_gone(v)) {
        t->grouped = false;
        start_over(t);
        return;
    }
    if (v->type == RESP_ERROR) {
        client_fail_reply(&t->s.reader, v);
        return;
    }
    t->quiet = v->type == RESP_NIL;
    if (t->quiet) {
        resp_trim(t->s.reader.resp);
        return;
    }
    if (v->type != RESP_ARRAY || v->n != 1 || v->items[0].type != RESP_ARRAY ||
        v->items[0].n != 2 || !entries_ok(&v->items[0].items[1])) {
        fail_text(t, "XREADGROUP: a reply of another shape");
        return;
    }
    entries = &v->items[0].items[1];
    if (entries->n == 0) {
        t->finishing = t->after[0] != 0;
        t->after[0] = 0;
        return;
    }
    learn_size(t, entries);
    last = entries->items[entries->n - 1].items[0].text;
    if (pending)
        (void)snprintf(t->after, sizeof t->after, "%.*s", (int)last.n, (const char *)last.at);
    if (take_entries(t, v, entries, pending, false) != 0)
        fail_text(t, "out of memory");
}

static void claimed(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct stream *t = of(owner);
    struct source *s = &t->s;
    int64_t wait = s->options->claim_idle_ms / 2;

    (void)arg;
    (void)sent;
    t->reading = false;
    t->claim_ms = s->link->now_ms + (wait > CLAIM_WAIT_MS_MIN ? wait : CLAIM_WAIT_MS_MIN);
    if (!v || t->again)
        return;
    if (is_gone(v)) {
        t->grouped = false;
        start_over(t);
        return;
    }
    if (v->type == RESP_ERROR) {
        client_fail_reply(&s->reader, v);
        return;
    }
    if (v->type != RESP_ARRAY || v->n < 2 || v->items[0].type != RESP_TEXT ||
        v->items[0].text.n >= sizeof t->claim_cursor || !entries_ok(&v->items[1])) {
        fail_text(t, "XAUTOCLAIM: a reply of another shape");
        return;
    }
    (void)snprintf(t->claim_cursor, sizeof t->claim_cursor, "%.*s", (int)v->items[0].text.n,
        (const char *)v->items[0].text.at);
    if (strcmp(t->claim_cursor, "0-0") != 0)
        t->claim_ms = s->link->now_ms; /* more to see */
    if (v->n > 2 && v->items[2].n)
        note(t, v->items[2].n, "another consumer's entries were trimmed before they were read");
    if (v->items[1].n &&
        (committed_sort(&t->committed) != 0 || take_entries(t, v, &v->items[1], true, true) != 0))
        fail_text(t, "out of memory");
}

static void group_made(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct stream *t = of(owner);

    (void)arg;
    (void)sent;
    t->reading = false;
    if (!v)
        return;
    if (v->type == RESP_ERROR && !client_error_is(v, "BUSYGROUP")) {
        client_fail_reply(&t->s.reader, v);
        return;
    }
    if (v->type != RESP_ERROR && t->was_grouped)
        note(t, 0,
            "the consumer group was gone and was made again: what the stream still has is read "
            "from its beginning, what it had may be lost");
    t->grouped = t->was_grouped = true;
}

/* ---- asking ---- */

static void named(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    (void)arg;
    (void)sent;
    if (v && v->type == RESP_INT)
        of(owner)->client_id = v->i;
}

static void ask_name(struct stream *t)
{
    struct resp *r = t->s.reader.resp;

    if (resp_command(r, 2, named, t, 0) != 0)
        return;
    resp_arg_text(r, "CLIENT");
    resp_arg_text(r, "ID");
}

static void woken(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    (void)owner, (void)arg, (void)v,
        (void)sent; /* a user who may not waits for the reading's end */
}

/* A reading that waits at the server takes what comes in the meantime, for us who are paused. */
static void wake(struct stream *t)
{
    struct client *c = &t->s.link->commands;

    if (!t->waiting || t->client_id == 0 || !c->ready || resp_command(c->resp, 3, woken, t, 0) != 0)
        return;
    t->waiting = false;
    resp_arg_text(c->resp, "CLIENT");
    resp_arg_text(c->resp, "UNBLOCK");
    resp_arg_int(c->resp, t->client_id);
    client_watch(c);
}

static void make_group(struct stream *t)
{
    struct resp *r = t->s.reader.resp;
    /* A group that was there and is gone begins at the oldest: rather repeats than a hole. */
    bool from_new = t->s.options->start == REDIS_START_NEW && !t->was_grouped;

    if (resp_command(r, 6, group_made, t, 0) != 0)
        return;
    t->reading = true;
    resp_arg_text(r, "XGROUP");
    resp_arg_text(r, "CREATE");
    resp_arg_text(r, t->s.options->stream);
    resp_arg_text(r, t->s.options->group);
    resp_arg_text(r, from_new ? "$" : "0");
    resp_arg_text(r, "MKSTREAM");
}

/* Replies come before silence has to be looked into. Those of quiet streams come at the same time,
 * so that many of them wake the loop once and not once each. */
static int64_t block_ms(const struct stream *t)
{
    int64_t interval = t->s.reader.options->ping_interval_ms, left;

    if (!t->quiet || t->s.options->claim_idle_ms > 0)
        return interval < BLOCK_MS_MAX ? interval : BLOCK_MS_MAX;
    interval = interval / 2 < BLOCK_QUIET_MS ? interval / 2 : BLOCK_QUIET_MS;
    left = interval - t->s.link->now_ms % interval;
    return left < interval / 2 ? left + interval : left;
}

static void ask(struct stream *t, size_t count)
{
    struct resp *r = t->s.reader.resp;
    bool pending = t->after[0] != 0;

    if (resp_command(r, pending ? 9 : 11, received, t, pending) != 0)
        return;
    t->reading = true;
    t->waiting = !pending;
    resp_arg_text(r, "XREADGROUP");
    resp_arg_text(r, "GROUP");
    resp_arg_text(r, t->s.options->group);
    resp_arg_text(r, t->consumer);
    resp_arg_text(r, "COUNT");
    resp_arg_int(r, (int64_t)count);
    if (!pending) {
        resp_arg_text(r, "BLOCK");
        resp_arg_int(r, block_ms(t));
    }
    resp_arg_text(r, "STREAMS");
    resp_arg_text(r, t->s.options->stream);
    resp_arg_text(r, pending ? t->after : ">");
}

static void claim(struct stream *t, size_t count)
{
    struct resp *r = t->s.reader.resp;

    if (resp_command(r, 8, claimed, t, 0) != 0)
        return;
    t->reading = true;
    resp_arg_text(r, "XAUTOCLAIM");
    resp_arg_text(r, t->s.options->stream);
    resp_arg_text(r, t->s.options->group);
    resp_arg_text(r, t->consumer);
    resp_arg_int(r, t->s.options->claim_idle_ms);
    resp_arg_text(r, t->claim_cursor);
    resp_arg_text(r, "COUNT");
    resp_arg_int(r, (int64_t)count);
}

/* Pending entries are read again only when nothing of the old session is out or on its way to be
 * acknowledged, or they would be taken for lost ones and handed over twice. */
static void prepare(struct stream *t)
{
    batches_drop_ready(&t->s.batches);
    if (t->s.batches.out || t->acks_waiting || !t->s.link->commands.ready)
        return;
    if (committed_read_begin(&t->committed) != 0) {
        fail_text(t, "out of memory");
        return;
    }
    t->again = false;
    memcpy(t->after, "0", 2);
}

static size_t room(const struct stream *t)
{
    const struct batches *b = &t->s.batches;
    size_t held = b->ready_events + b->events_out, window = (size_t)t->s.spec.window_events;

    if (held && b->ready_bytes + b->bytes_out >= (size_t)t->s.spec.window_bytes)
        return 0;
    window = held < window ? window - held : 0;
    if (b->ready_events > t->count)
        return 0; /* one reply in reserve is enough */
    return window < t->count ? window : t->count;
}

/* Between two readings; before the first one after a connect it tells what was trimmed while nobody
 * read. */
static void ask_backlog(struct stream *t)
{
    int64_t now = t->s.link->now_ms;

    /* Where a reading waits and nothing comes, nothing is behind. */
    if (now < t->backlog_ms || (t->quiet && !t->s.paused && t->backlog.waiting == 0))
        return;
    t->backlog_ms = now + BACKLOG_EVERY_MS;
    backlog_ask(&t->backlog, t->s.reader.resp, t->s.options->stream);
}

static int64_t time_of(const struct entry_id *id)
{
    return id->ms <= INT64_MAX ? (int64_t)id->ms : INT64_MAX;
}

static void tell_lost(struct stream *t)
{
    const struct backlog *b = &t->backlog;

    if (!b->lost)
        return;
    note_between(t, time_of(&b->before), time_of(&b->after), b->lost,
        "entries were trimmed or deleted before the group read them");
    t->backlog.lost = 0;
}

static void stream_step(struct source *s)
{
    struct stream *t = (struct stream *)s;
    size_t count = 0;

    tell_lost(t);
    if (t->finishing && t->known_acks_waiting == 0) {
        t->finishing = false;
        committed_read_end(&t->committed);
    }
    if (s->reader.ready && (s->paused || s->draining))
        wake(t);
    if (!s->reader.ready || t->reading || s->draining)
        return;
    if (t->again && !t->grouped) {
        ask_name(t);
        make_group(t);
        return;
    }
    ask_backlog(t);
    if (t->again)
        prepare(t);
    count = room(t);
    if (t->again || s->paused || s->stopped[0] || count == 0)
        return;
    if (!t->after[0] && s->options->claim_idle_ms > 0 && s->link->now_ms >= t->claim_ms &&
        s->batches.ready_events == 0)
        claim(t, count);
    else
        ask(t, count);
}

static struct batch *give_up(struct stream *t, struct piece *p)
{
    batches_keep_notes(&t->s.batches, p);
    piece_free(batches_return(&t->s.batches, &p->batch));
    start_over(t);
    return NULL;
}

static struct batch *stream_receive(struct source *s, size_t limit)
{
    struct stream *t = (struct stream *)s;
    struct piece *p = NULL;
    size_t n = 0;

    if (t->again || s->paused)
        return NULL;
    p = batches_take(&s->batches, limit, &s->spec, false);
    if (!p)
        return NULL;
    n = p->batch.count + p->gone_n;
    if (n > t->ids_capacity) {
        struct entry_id *ids = realloc(t->ids, n * sizeof *ids);
        if (!ids)
            return give_up(t, p);
        t->ids = ids;
        t->ids_capacity = n;
    }
    for (size_t i = 0; i < n; i++)
        (void)entry_id_parse(
            i < p->batch.count ? p->batch.events[i].origin : p->gone[i - p->batch.count],
            &t->ids[i]);
    p->number = committed_add(&t->committed, s->options->stream, t->ids, n, &p->positions,
        &p->batch.position_count, &p->text);
    if (p->number == 0)
        return give_up(t, p);
    p->batch.positions = p->positions;
    stream_step(s);
    client_watch(&s->reader);
    return &p->batch;
}

static int64_t stream_lag(const struct source *s)
{
    const struct stream *t = (const struct stream *)s;

    return t->backlog.waiting < 0 ? -1 : t->backlog.waiting + (int64_t)s->batches.ready_events;
}

static bool stream_drained(struct source *s)
{
    return ((struct stream *)s)->acks_waiting == 0;
}

static void stream_done(struct source *s)
{
    struct stream *t = (struct stream *)s;

    committed_done(&t->committed);
    free(t->ids);
}

static int stream_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    const struct redis_source_options *o = spec->options;
    struct stream *t = calloc(1, sizeof *t);

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (committed_load(&t->committed, o->stream, spec->positions, spec->position_count, why) != 0) {
        committed_done(&t->committed);
        free(t);
        return -1;
    }
    source_init(&t->s, &stream_source, l, spec);
    t->consumer = o->consumer ? o->consumer : l->spec.store_id;
    t->fields = fields_of(o->body_field, o->id_field, o->key_field, o->header_prefix, NULL);
    t->name = bytes_text(o->stream);
    backlog_init(&t->backlog, o->group);
    t->count = READ_COUNT_FIRST;
    memcpy(t->claim_cursor, "0-0", 4);
    t->s.reader.up = reader_up;
    t->s.reader.lost = reader_lost;
    *ret = &t->s;
    return 0;
}

const struct source_kind stream_source = {
    .open = stream_open,
    .step = stream_step,
    .receive = stream_receive,
    .settle = stream_settle,
    .lag = stream_lag,
    .drained = stream_drained,
    .done = stream_done,
};
