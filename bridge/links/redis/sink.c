#include "bridge/links/redis/link.h"

#include "bridge/links/redis/fields.h"
#include "bridge/links/redis/lookup.h"
#include "bridge/links/ring.h"

#include <stdio.h>
#include <stdlib.h>

#define ENVELOPE_BYTES_MAX (512u << 20)
#define HEAD_BYTES_MAX (1u << 30)
#define TEXT_BYTES 160

struct flight {
    uint64_t ref;
    int64_t sent_ms;
    size_t bytes;
    bool waiting;
    bool added; /* the primary has it, replicas are waited for */
};

struct sink {
    struct link *link;
    struct sink *next;
    struct sink_spec spec;
    const struct redis_sink_options *options;
    struct client *client, own; /* own: with `wait`, which holds up all that comes behind it */
    struct fields fields;
    struct fields_heads heads;
    struct buf head; /* the stream's name, then the beginning of its commands */
    size_t head_stream_bytes;
    struct lookup lookup;
    uint64_t session; /* the look-ups' */
    struct buf scratch;
    struct ring flights; /* of struct flight, in the order sent */
    uint64_t first, end; /* numbers of the flights */
    struct ring done;    /* of struct report: has room for all flights and what is not collected */
    struct ring texts;   /* of those that have one; mostly memory that is never touched */
    uint64_t done_first, done_end, last_confirmed;
    size_t bytes, window;
    int64_t hold_ms; /* the server forbids our fixed address: nothing is sent before this time */
    uint32_t tries;
    struct random random;
    char trouble[TEXT_BYTES];
};

static void sink_done(struct sink *s)
{
    if (!s)
        return;
    lookup_clear(&s->lookup, s->client);
    if (s->client->resp)
        resp_forget(s->client->resp, s);
    if (s->client == &s->own)
        client_done(&s->own);
    fields_heads_done(&s->heads);
    buf_done(&s->head);
    buf_done(&s->scratch);
    ring_done(&s->flights);
    ring_done(&s->done);
    ring_done(&s->texts);
    free(s);
}

int redis_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    const struct redis_sink_options *o = spec->options;
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->client = &l->commands;
    s->flights.bytes = sizeof(struct flight);
    s->done.bytes = sizeof(struct report);
    s->texts.bytes = TEXT_BYTES;
    s->spec = *spec;
    s->options = o;
    s->window = spec->window_events > 0 ? (size_t)spec->window_events : 1;
    s->random.state = l->spec.seed ^ spec->sink_id;
    s->fields =
        fields_of(o->body_field, o->id_field, o->key_field, o->header_prefix, o->token_field);
    s->lookup.token_field = s->fields.token;
    fields_heads_init(&s->heads, &s->fields);
    buf_init(&s->head, HEAD_BYTES_MAX);
    buf_init(&s->scratch, ENVELOPE_BYTES_MAX);
    if (o->wait.set) {
        client_init(&s->own, l->spec.options, s->random.state, l->poll_fd);
        s->client = &s->own;
    }
    s->next = l->sinks;
    l->sinks = s;
    *ret = s;
    return 0;
}

/* ---- reports ---- */

static struct flight *flight(const struct sink *s, uint64_t number)
{
    return ring_at(&s->flights, number);
}

static void report(
    struct sink *s, uint64_t number, enum fate fate, enum cause cause, const char *text, size_t n)
{
    struct flight *f = flight(s, number);
    struct report *d = NULL;
    char *to = NULL;

    if (number < s->first || !f->waiting)
        return; /* timed out or abandoned: reported already */
    f->waiting = false;
    s->bytes -= f->bytes;
    d = ring_at(&s->done, s->done_end);
    *d = (struct report){ .ref = f->ref, .fate = fate, .cause = cause };
    if (n) {
        to = ring_at(&s->texts, s->done_end);
        n = n < TEXT_BYTES - 1 ? n : TEXT_BYTES - 1;
        memcpy(to, text, n);
        to[n] = 0;
        d->text = to; /* that it has one; where it lies then, collect() tells */
    }
    s->done_end++;
    if (fate == FATE_DELIVERED) {
        s->last_confirmed = number > s->last_confirmed ? number : s->last_confirmed;
        s->trouble[0] = 0;
        s->tries = 0;
    }
    while (s->first < s->end && !flight(s, s->first)->waiting)
        s->first++;
}

static bool fixed(const struct sink *s)
{
    const struct redis_sink_options *o = s->options;

    return o->stream.text    ? o->stream.fixed
           : o->channel.text ? o->channel.fixed
                             : o->sharded_channel.fixed;
}

/* Errors that this request alone has brought on itself. Other ERR texts are the server's trouble.
 */
static bool blames_request(const struct resp_value *v)
{
    static const char *const words[] = { "WRONGTYPE", "ERR value", "ERR Invalid stream ID",
        "ERR syntax error", "ERR wrong number of arguments", "ERR Protocol error: invalid",
        "ERR string exceeds", "ERR invalid" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (client_error_is(v, words[i]))
            return true;
    return false;
}

/* An outage of this sink alone: tried again after a wait, without an attempt. */
static void outage(struct sink *s, uint64_t number, const struct resp_value *v)
{
    size_t n = v->text.n < TEXT_BYTES - 1 ? v->text.n : TEXT_BYTES - 1;

    if (s->hold_ms <= s->link->now_ms)
        s->hold_ms = s->link->now_ms + backoff_wait_ms(&backoff_connect, ++s->tries, &s->random);
    memcpy(s->trouble, v->text.at, n);
    s->trouble[n] = 0;
    report(s, number, FATE_UNSENT, CAUSE_LOST, s->trouble, n);
}

/* Redis names the meaning of an error by its first words. */
static void report_error(struct sink *s, uint64_t number, const struct resp_value *v)
{
    const char *text = (const char *)v->text.at;

    if (client_error_is(v, "NOPERM") && fixed(s)) {
        outage(s, number, v);
    } else if (client_error_is(v, "NOPERM")) {
        report(s, number, FATE_REFUSED, CAUSE_ADDRESS, text, v->text.n);
    } else if (client_error_is(v, "MOVED") || client_error_is(v, "NOAUTH")) {
        client_fail_reply(s->client, v);
        report(s, number, FATE_UNSENT, CAUSE_LOST, text, v->text.n);
    } else if (blames_request(v)) {
        report(s, number, FATE_REFUSED, CAUSE_FINAL, text, v->text.n);
    } else {
        /* Another of the addresses may be the primary now. */
        if (client_error_is(v, "READONLY") && redis_url_count(s->client->options) > 1)
            client_fail_reply(s->client, v);
        report(s, number, FATE_UNSENT, CAUSE_BROKER, text, v->text.n);
    }
}

static void answered(void *owner, uint64_t number, const struct resp_value *v, bool sent)
{
    struct sink *s = owner;

    if (!v)
        report(s, number, sent ? FATE_UNSURE : FATE_UNSENT, CAUSE_LOST, "connection lost", 15);
    else if (v->type == RESP_ERROR)
        report_error(s, number, v);
    else if (v->type == RESP_INT && v->i == 0 && s->options->require_receiver)
        report(s, number, FATE_REFUSED, CAUSE_UNROUTABLE, "no subscriber", 13);
    else if (s->options->wait.set &&
             number >= s->first) /* below: timed out, its place is another's */
        flight(s, number)->added = true;
    else
        report(s, number, FATE_DELIVERED, CAUSE_NONE, "", 0);
}

/* Speaks for all that was added before it. */
static void replicated(void *owner, uint64_t end, const struct resp_value *v, bool sent)
{
    static const char few[] = "added, but not confirmed by enough replicas in time";
    struct sink *s = owner;
    bool enough = v && v->type == RESP_INT && v->i >= s->options->wait.replicas;

    (void)sent;
    for (uint64_t i = s->first; i < end; i++) {
        struct flight *f = flight(s, i);
        if (!f->waiting || !f->added)
            continue;
        if (enough)
            report(s, i, FATE_DELIVERED, CAUSE_NONE, "", 0);
        else if (v)
            report(s, i, FATE_UNSURE, CAUSE_BROKER, few, sizeof few - 1);
        else
            report(s, i, FATE_UNSURE, CAUSE_LOST, "connection lost", 15);
    }
}

/* ---- sending ---- */

/* XADD, the stream and its limit as they stand in a command: mostly the same as before. */
static struct bytes head_of(struct sink *s, struct bytes stream)
{
    const struct redis_sink_options *o = s->options;
    char limit[24];

    if (s->head.n && s->head_stream_bytes == stream.n &&
        memcmp(s->head.at, stream.at, stream.n) == 0)
        return bytes_of(s->head.at + stream.n, s->head.n - stream.n);
    buf_clear(&s->head);
    buf_put_bytes(&s->head, stream);
    s->head_stream_bytes = stream.n;
    resp_format(&s->head, bytes_text("XADD"));
    resp_format(&s->head, stream);
    if (o->maxlen > 0) {
        (void)snprintf(limit, sizeof limit, "%lld", (long long)o->maxlen);
        resp_format(&s->head, bytes_text("MAXLEN"));
        resp_format(&s->head, bytes_text(o->maxlen_exact ? "=" : "~"));
        resp_format(&s->head, bytes_text(limit));
    }
    resp_format(&s->head, bytes_text("*"));
    return bytes_of(s->head.at + stream.n, s->head.n - stream.n);
}

static int add(struct sink *s, const struct message *m, uint64_t number)
{
    struct resp *r = s->client->resp;
    struct fields_plan plan = fields_plan(&s->fields, m, &s->scratch);
    struct bytes head = head_of(s, m->fields[REDIS_SLOT_STREAM]);
    size_t limit = s->options->maxlen > 0 ? 3 : 0;

    if (s->scratch.failed || s->head.failed || s->heads.text.failed ||
        resp_command(r, 3 + limit + 2 * plan.pairs, answered, s, number) != 0)
        return -1;
    resp_formatted(r, head);
    fields_write(&s->fields, &s->heads, m, &plan, r);
    return 0;
}

static int tell(struct sink *s, const struct message *m, uint64_t number)
{
    struct resp *r = s->client->resp;
    bool sharded = s->options->sharded_channel.text;
    struct bytes body = m->event->body;

    if (s->options->envelope == REDIS_ENVELOPE_JSON) {
        buf_clear(&s->scratch);
        fields_envelope(m, &s->scratch);
        if (s->scratch.failed)
            return -1;
        body = buf_bytes(&s->scratch);
    }
    if (resp_command(r, 3, answered, s, number) != 0)
        return -1;
    resp_arg_text(r, sharded ? "SPUBLISH" : "PUBLISH");
    resp_arg(r, m->fields[sharded ? REDIS_SLOT_SHARDED : REDIS_SLOT_CHANNEL]);
    resp_arg(r, body);
    return 0;
}

static void wait_for_replicas(struct sink *s)
{
    struct resp *r = s->client->resp;

    if (resp_command(r, 3, replicated, s, s->end) != 0)
        return;
    resp_arg_text(r, "WAIT");
    resp_arg_int(r, s->options->wait.replicas);
    resp_arg_int(r, s->options->wait.timeout_ms);
}

/* With `wait`, an entry that is there may still be on too few replicas: it is added again. */
static enum lookup_answer look(struct sink *s, const struct message *m)
{
    if (!s->options->stream.text || s->options->wait.set || !(m->flags & MESSAGE_RESEND) ||
        !bytes_present(s->fields.token) || !bytes_present(m->token) || m->first_sent_ms <= 0)
        return LOOKUP_ABSENT;
    if (s->session != s->client->status.session) {
        lookup_clear(&s->lookup, s->client);
        s->session = s->client->status.session;
    }
    return lookup_ask(&s->lookup, s->client, m->fields[REDIS_SLOT_STREAM], m->token,
        m->first_sent_ms, s->link->unix_ms);
}

/* For one more. Reports not collected hold places too, so that their rings can never run over. */
static bool has_place(struct sink *s)
{
    size_t n = s->end - s->first + (s->done_end - s->done_first) + 1;

    return n <= s->window && ring_room(&s->flights, s->first, s->end, n) == 0 &&
           ring_room(&s->done, s->done_first, s->done_end, n) == 0 &&
           ring_room(&s->texts, s->done_first, s->done_end, n) == 0;
}

static bool fits(struct sink *s, size_t bytes)
{
    return (s->bytes == 0 || s->bytes + bytes <= (size_t)s->spec.window_bytes) && has_place(s);
}

size_t redis_sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    struct client *c = s->client;
    size_t i = 0;

    if (s->hold_ms > s->link->now_ms)
        return 0;
    for (; i < n && c->ready && !c->trouble.kind; i++) {
        const struct message *m = &messages[i];
        size_t bytes = event_bytes(m->event);
        uint64_t number = s->end;
        enum lookup_answer known = LOOKUP_NONE;

        if (!fits(s, bytes))
            break;
        known = look(s, m);
        if (known == LOOKUP_WAIT || /* what follows must not overtake it */
            (known == LOOKUP_ABSENT &&
                (s->options->stream.text ? add(s, m, number) : tell(s, m, number)) != 0))
            break;
        *flight(s, number) = (struct flight){ m->ref, s->link->now_ms, bytes, true, false };
        s->bytes += bytes;
        s->end++;
        if (known == LOOKUP_FOUND)
            report(s, number, FATE_DELIVERED, CAUSE_NONE, "found by its token", 18);
    }
    if (i && s->options->wait.set)
        wait_for_replicas(s);
    client_watch(c);
    return i;
}

size_t redis_sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    for (; n < limit && s->done_first < s->done_end; n++, s->done_first++) {
        ret[n] = *(struct report *)ring_at(&s->done, s->done_first);
        ret[n].text = ret[n].text ? ring_at(&s->texts, s->done_first) : NULL;
    }
    return n;
}

void redis_sink_abandon(struct sink *s)
{
    while (s->first < s->end)
        report(s, s->first, FATE_UNSURE, CAUSE_LOST, "abandoned", 9);
    lookup_clear(&s->lookup, s->client);
}

void redis_sink_status(const struct sink *s, struct link_status *ret)
{
    *ret = s->client->status;
    if (ret->state != LINK_UP || !s->trouble[0])
        return;
    ret->state = LINK_DOWN;
    ret->retry_ms = s->hold_ms;
    (void)snprintf(ret->error, sizeof ret->error, "%s", s->trouble);
}

void redis_sink_free(struct sink *s)
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
        struct report *d = ring_at(&s->done, s->done_end);
        if (due > now)
            return due;
        report(s, number, FATE_UNSURE, CAUSE_TIMEOUT, "no reply in time", 16);
        d->later_confirmed = s->last_confirmed > number;
        lookup_clear(&s->lookup, s->client);
    }
    return INT64_MAX;
}

int64_t redis_sinks_step(struct link *l)
{
    int64_t wake = INT64_MAX, due = 0;

    for (struct sink *s = l->sinks; s; s = s->next) {
        if (s->client == &s->own) {
            due = client_step(&s->own, l->now_ms, l->unix_ms);
            wake = due < wake ? due : wake;
        }
        due = time_out(s);
        wake = due < wake ? due : wake;
        if (s->hold_ms > l->now_ms)
            wake = s->hold_ms < wake ? s->hold_ms : wake;
    }
    return wake;
}
