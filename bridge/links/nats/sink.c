/* Streams and subjects as sinks.
 *
 * A stream's acknowledgement comes as a message to the reply subject of each publish, which names
 * its flight. Plain subjects have none: the server's answer to a flush says that it has everything
 * before it; a request's answer is its own confirmation. */
#include "bridge/links/nats/block.h"
#include "bridge/links/nats/link.h"
#include "bridge/links/nats/meaning.h"

#include "bridge/base/backoff.h"
#include "bridge/links/ring.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES_MAX (16u << 20)
#define SUBJECT_BYTES_MAX 1024
#define TEXT_BYTES 160
/* "NATS/1.0", its line end and the empty line. */
#define BLOCK_FRAME 12

enum sink_kind { SINK_STREAM = 1, SINK_SUBJECT, SINK_REQUEST };

struct flight {
    uint64_t ref;
    uint64_t sent; /* the wire's number of it */
    int64_t sent_ms;
    size_t bytes;
    bool waiting;
    char *subject; /* of templates */
};

struct done {
    struct report report;
    char text[TEXT_BYTES];
};

struct sink {
    struct link *link;
    struct sink *next;
    struct sink_spec spec;
    const struct nats_sink_options *options;
    enum sink_kind kind;
    struct wire *wire;
    struct wire_port *port; /* of answers; NULL for plain subjects */
    struct block_names names;
    char inbox[224];
    char stream[272]; /* that must take it; a bucket's own */
    bool fixed;       /* all events have one subject */
    uint64_t session; /* of what is in flight */
    struct buf block, scratch;
    struct ring flights; /* of struct flight, in the order sent */
    uint64_t first, end; /* numbers of the flights */
    struct ring done;    /* of struct done: has room for all flights and what is not collected */
    uint64_t done_first, done_end, last_confirmed;
    size_t bytes, window;
    int64_t
        hold_ms; /* the server has no place for our fixed subject: nothing is sent before this */
    uint32_t tries;
    struct random random;
    char trouble[TEXT_BYTES];
};

static struct flight *flight(const struct sink *s, uint64_t number)
{
    return ring_at(&s->flights, number);
}

static void sink_done(struct sink *s)
{
    if (!s)
        return;
    if (s->port)
        wire_port_close(s->wire, s->port);
    if (s->wire && s->wire != s->link->shared)
        wire_free(s->wire);
    for (uint64_t i = s->first; i < s->end; i++)
        free(flight(s, i)->subject);
    buf_done(&s->block);
    buf_done(&s->scratch);
    ring_done(&s->flights);
    ring_done(&s->done);
    free(s);
}

static int listen_for_answers(struct sink *s)
{
    char subject[240];

    (void)snprintf(s->inbox, sizeof s->inbox, "%.200s.s%llu", wire_inbox(s->wire),
        (unsigned long long)s->spec.sink_id);
    (void)snprintf(subject, sizeof subject, "%s.*", s->inbox);
    if (s->kind != SINK_SUBJECT)
        s->port = wire_port_open(s->wire, subject, NULL, 0, 0);
    return s->kind == SINK_SUBJECT || s->port ? 0 : -1;
}

int nats_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    const struct nats_sink_options *o = spec->options;
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->spec = *spec;
    s->options = o;
    s->window = spec->window_events > 0 ? (size_t)spec->window_events : 1;
    if (o->stream)
        (void)snprintf(s->stream, sizeof s->stream, "%.255s", o->stream);
    else if (o->bucket)
        (void)snprintf(s->stream, sizeof s->stream, "KV_%.255s", o->bucket);
    s->fixed = o->bucket ? o->bucket_key.fixed : o->subject.fixed;
    s->kind = s->stream[0] ? SINK_STREAM : o->require_reply ? SINK_REQUEST : SINK_SUBJECT;
    s->flights.bytes = sizeof(struct flight);
    s->done.bytes = sizeof(struct done);
    s->random.state = l->spec.seed ^ spec->sink_id;
    s->names = (struct block_names){ bytes_text(o->id_header ? o->id_header : "message-id"),
        bytes_text(o->key_header ? o->key_header : "key"), o->pass_ttl };
    buf_init(&s->block, BLOCK_BYTES_MAX);
    buf_init(&s->scratch, BLOCK_BYTES_MAX);
    /* A flush holds up what is published behind it. */
    s->wire = s->kind == SINK_SUBJECT ? nats_link_wire(l, why) : l->shared;
    if (!s->wire || listen_for_answers(s) != 0) {
        sink_done(s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    s->next = l->sinks;
    l->sinks = s;
    *ret = s;
    return 0;
}

/* ---- reports ---- */

static struct report *report(
    struct sink *s, uint64_t number, enum fate fate, enum cause cause, const char *text)
{
    struct flight *f = flight(s, number);
    struct done *d = ring_at(&s->done, s->done_end);

    f->waiting = false;
    s->bytes -= f->bytes;
    s->done_end++;
    d->text[0] = 0;
    if (*text)
        (void)snprintf(d->text, sizeof d->text, "%s", text);
    d->report = (struct report){ .ref = f->ref, .fate = fate, .cause = cause };
    if (fate == FATE_DELIVERED) {
        s->last_confirmed = number > s->last_confirmed ? number : s->last_confirmed;
        s->trouble[0] = 0;
        s->tries = 0;
    }
    for (; s->first < s->end && !flight(s, s->first)->waiting; s->first++) {
        free(flight(s, s->first)->subject);
        flight(s, s->first)->subject = NULL;
    }
    return &d->report;
}

static bool in_flight(const struct sink *s, uint64_t number)
{
    return number >= s->first && number < s->end && flight(s, number)->waiting;
}

/* An outage of this sink alone: tried again after a wait, without an attempt. */
static void hold(struct sink *s, const char *text)
{
    if (s->hold_ms <= s->link->now_ms)
        s->hold_ms = s->link->now_ms + backoff_wait_ms(&backoff_connect, ++s->tries, &s->random);
    (void)snprintf(s->trouble, sizeof s->trouble, "%s", text);
}

static void report_meaning(struct sink *s, uint64_t number, const struct meaning *m)
{
    if (m->outage)
        hold(s, m->text);
    report(s, number, m->fate, m->cause, m->text)->code = m->code;
}

/* ---- answers ---- */

static bool number_of(const char *subject, uint64_t *ret)
{
    const char *dot = strrchr(subject, '.');
    char *end = NULL;

    if (!dot || dot[1] < '0' || dot[1] > '9')
        return false;
    *ret = strtoull(dot + 1, &end, 10);
    return *end == 0;
}

static void take_answers(struct sink *s)
{
    struct wire_message *m = NULL;
    struct meaning meaning;
    uint64_t number = 0;

    while (s->port && (m = wire_port_take(s->wire, s->port))) {
        if (number_of(m->subject, &number) && in_flight(s, number)) {
            if (s->kind == SINK_STREAM)
                meaning_of_ack(m->headers, m->body, s->fixed, s->stream, &meaning);
            else
                meaning_of_reply(m->headers, &meaning);
            report_meaning(s, number, &meaning);
        }
        wire_message_free(m);
    }
}

static const char *subject_of(const struct sink *s, const struct flight *f)
{
    return f->subject ? f->subject : s->options->subject.text ? s->options->subject.text : "";
}

static void deny(struct sink *s, uint64_t number, const char *error)
{
    if (s->fixed) {
        hold(s, error);
        (void)report(s, number, FATE_UNSENT, CAUSE_LOST, error);
    } else {
        (void)report(s, number, FATE_REFUSED, CAUSE_ADDRESS, error);
    }
}

/* The server forbade a subject. */
static void denied(struct sink *s, const char *error)
{
    for (uint64_t i = s->first; i < s->end; i++)
        if (in_flight(s, i) && meaning_denies(error, subject_of(s, flight(s, i))))
            deny(s, i, error);
}

/* The server has everything that went out before the flush; what it forbade it did not take. It
 * names one subject, the last: were there several kinds in flight, the others are not sure. */
static void take_flush(struct sink *s)
{
    uint64_t flushed = wire_flushed(s->wire);
    const char *error = wire_denied(s->wire);
    bool alone = s->first + 1 >= s->end || s->fixed;

    if (*error)
        denied(s, error);
    for (uint64_t i = s->first; i < s->end; i++) {
        if (!in_flight(s, i))
            continue;
        if (flight(s, i)->sent > flushed)
            break;
        if (*error && !alone)
            (void)report(s, i, FATE_UNSURE, CAUSE_LOST, error);
        else
            (void)report(s, i, FATE_DELIVERED, CAUSE_NONE, "");
    }
}

static size_t unconfirmed(const struct wire *w, const struct link *l)
{
    size_t n = 0;

    for (const struct sink *s = l->sinks; s; s = s->next)
        for (uint64_t i = s->first; s->wire == w && i < s->end; i++)
            n += in_flight(s, i) && flight(s, i)->sent <= wire_handed(w);
    return n;
}

static void lost(struct sink *s, size_t others)
{
    const char *words = wire_last_words(s->wire);
    uint64_t handed = wire_handed(s->wire);
    bool protocol = meaning_protocol(words);

    take_answers(s);
    for (uint64_t i = s->first; i < s->end; i++) {
        if (!in_flight(s, i))
            continue;
        if (flight(s, i)->sent > handed)
            (void)report(s, i, FATE_UNSENT, CAUSE_LOST, "connection lost");
        else if (protocol)
            report(s, i, FATE_UNSURE, CAUSE_PROTOCOL, words)->alone = others == 1;
        else
            (void)report(s, i, FATE_UNSURE, CAUSE_LOST, "connection lost");
    }
}

/* ---- sending ---- */

/* For one more. Reports not collected hold places too, so that their ring can never run over. */
static bool has_place(struct sink *s)
{
    size_t n = s->end - s->first + (s->done_end - s->done_first) + 1;

    return n <= s->window && ring_room(&s->flights, s->first, s->end, n) == 0 &&
           ring_room(&s->done, s->done_first, s->done_end, n) == 0;
}

static bool fits(struct sink *s, size_t bytes)
{
    return (s->bytes == 0 || s->bytes + bytes <= (size_t)s->spec.window_bytes) && has_place(s);
}

static int write_block(struct sink *s, const struct message *m)
{
    buf_clear(&s->block);
    if (s->kind == SINK_STREAM) {
        if (bytes_present(m->token)) {
            buf_put_text(&s->block, "Nats-Msg-Id: ");
            buf_put_bytes(&s->block, m->token);
            buf_put_text(&s->block, "\r\n");
        }
        buf_put_text(&s->block, "Nats-Expected-Stream: ");
        buf_put_text(&s->block, s->stream);
        buf_put_text(&s->block, "\r\n");
        if (s->options->bucket && !bytes_present(m->event->body))
            buf_put_text(&s->block, "KV-Operation: DEL\r\n");
    }
    if (block_write(&s->names, m, &s->scratch, &s->block) != 0)
        return -1;
    if (s->block.n)
        s->block.n -= 2; /* the last line end is the library's */
    return 0;
}

/* Why it can never be sent; NULL when it can. Leaves its headers in s->block. */
static const char *hopeless(struct sink *s, const struct message *m, const char *subject, size_t n)
{
    static char text[TEXT_BYTES];
    size_t bytes = m->event->body.n, most = wire_max_payload(s->wire);

    if (n >= SUBJECT_BYTES_MAX || !nats_subject_valid(subject, n, false))
        return "the subject is empty, too long, or holds blanks, wildcards or empty parts";
    if (write_block(s, m) != 0)
        return "headers that cannot be written";
    bytes += s->block.n ? s->block.n + 2 + BLOCK_FRAME : 0;
    if (bytes <= most)
        return NULL;
    (void)snprintf(text, sizeof text,
        "%zu bytes of headers and body, above the server's max_payload of %zu", bytes, most);
    return text;
}

static uint64_t send(struct sink *s, const struct message *m, const char *subject, uint64_t number)
{
    struct wire_publish p = { .subject = subject,
        .headers = s->block.n ? buf_text(&s->block) : NULL,
        .body = m->event->body };

    if (s->kind != SINK_SUBJECT) {
        buf_clear(&s->scratch); /* the block is written */
        buf_put_text(&s->scratch, s->inbox);
        buf_put_byte(&s->scratch, '.');
        buf_put_unsigned(&s->scratch, number);
        p.reply = buf_text(&s->scratch);
        if (s->scratch.failed)
            return 0;
    }
    return wire_publish(s->wire, &p);
}

static size_t write_subject(const struct sink *s, const struct message *m, char *ret)
{
    const char *bucket = s->options->bucket;
    struct bytes place = m->fields[bucket ? NATS_SLOT_BUCKET_KEY : NATS_SLOT_SUBJECT];
    int n = bucket ? snprintf(ret, SUBJECT_BYTES_MAX, "$KV.%.255s.", bucket) : 0;
    size_t at = n > 0 ? (size_t)n : 0, room = SUBJECT_BYTES_MAX - at;

    place.n = place.n < room ? place.n : room;
    if (place.n)
        memcpy(ret + at, place.at, place.n);
    ret[at + place.n] = 0;
    return at + place.n;
}

/* False: not now. */
static bool publish_one(struct sink *s, const struct message *m)
{
    uint64_t number = s->end, sent = 0;
    char subject[SUBJECT_BYTES_MAX + 1];
    size_t n = write_subject(s, m, subject);
    const char *why = NULL;
    char *own = NULL;

    why = hopeless(s, m, subject, n);
    if (!s->fixed || s->options->bucket) {
        own = strdup(subject);
        if (!own)
            return false;
    }
    if (!why)
        sent = send(s, m, subject, number);
    if (!why && sent == 0) {
        free(own);
        return false;
    }
    *flight(s, number) =
        (struct flight){ m->ref, sent, s->link->now_ms, event_bytes(m->event), true, own };
    s->bytes += event_bytes(m->event);
    s->end++;
    if (why)
        (void)report(s, number, FATE_REFUSED, CAUSE_FINAL, why);
    return true;
}

size_t nats_sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    /* The server names only the last subject that it forbade: one at a time, then. */
    size_t i = 0,
           most = s->kind == SINK_SUBJECT && !s->fixed && *wire_denied(s->wire) ? 1 : s->window;

    if (!wire_ready(s->wire) || s->hold_ms > s->link->now_ms)
        return 0;
    s->session = wire_status(s->wire)->session;
    wire_cork(s->wire);
    while (i < n && s->end - s->first < most && fits(s, event_bytes(messages[i].event)) &&
           publish_one(s, &messages[i]))
        i++;
    if (i && s->kind == SINK_SUBJECT)
        wire_flush(s->wire);
    wire_uncork(s->wire);
    return i;
}

size_t nats_sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    for (; n < limit && s->done_first < s->done_end; n++, s->done_first++) {
        struct done *d = ring_at(&s->done, s->done_first);
        ret[n] = d->report;
        ret[n].text = d->text[0] ? d->text : NULL;
    }
    return n;
}

void nats_sink_abandon(struct sink *s)
{
    for (uint64_t i = s->first; i < s->end; i++)
        if (in_flight(s, i))
            (void)report(s, i, FATE_UNSURE, CAUSE_LOST, "abandoned");
}

void nats_sink_status(const struct sink *s, struct link_status *ret)
{
    *ret = *wire_status(s->wire);
    if (ret->state != LINK_UP || !s->trouble[0])
        return;
    ret->state = LINK_DOWN;
    ret->retry_ms = s->hold_ms;
    (void)snprintf(ret->error, sizeof ret->error, "%s", s->trouble);
}

void nats_sink_free(struct sink *s)
{
    if (!s)
        return;
    for (struct sink **at = &s->link->sinks; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    sink_done(s);
}

static int64_t time_out(struct sink *s)
{
    int64_t now = s->link->now_ms;

    while (s->first < s->end) {
        uint64_t number = s->first;
        int64_t due = flight(s, number)->sent_ms + s->spec.confirm_timeout_ms;
        if (due > now)
            return due;
        report(s, number, FATE_UNSURE, CAUSE_TIMEOUT, "no answer in time")->later_confirmed =
            s->last_confirmed > number;
    }
    return INT64_MAX;
}

static void step_one(struct sink *s, size_t others)
{
    const struct link_status *status = wire_status(s->wire);

    take_answers(s);
    if (s->kind == SINK_SUBJECT && s->first < s->end && status->session == s->session)
        take_flush(s);
    if (s->first < s->end && (status->state != LINK_UP || status->session != s->session))
        lost(s, others);
}

/* Errors without a connection's end come from one wire for all that use it. */
static void take_errors(struct link *l)
{
    char error[192];

    while (wire_take_error(l->shared, error, sizeof error))
        for (struct sink *s = l->sinks; s; s = s->next)
            if (s->wire == l->shared)
                denied(s, error);
}

int64_t nats_sinks_step(struct link *l)
{
    int64_t wake = INT64_MAX, due = 0;
    size_t shared = 0;

    for (struct sink *s = l->sinks; s; s = s->next) {
        due = s->wire == l->shared ? wake : wire_step(s->wire, l->now_ms, l->unix_ms);
        wake = due < wake ? due : wake;
    }
    take_errors(l);
    if (wire_status(l->shared)->state != LINK_UP)
        shared = unconfirmed(l->shared, l);
    for (struct sink *s = l->sinks; s; s = s->next) {
        step_one(s, s->wire == l->shared ? shared : unconfirmed(s->wire, l));
        due = time_out(s);
        wake = due < wake ? due : wake;
        if (s->hold_ms > l->now_ms)
            wake = s->hold_ms < wake ? s->hold_ms : wake;
    }
    return wake;
}
