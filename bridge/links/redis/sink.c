#include "bridge/links/redis/link.h"

#include "bridge/base/header.h"

#include <stdio.h>
#include <stdlib.h>

struct flight {
    uint64_t ref;
    int64_t sent_ms;
    size_t bytes;
    bool waiting;
};

struct done {
    struct report report;
    char text[160];
};

struct sink {
    struct link *link;
    struct sink *next;
    struct sink_spec spec;
    const struct redis_sink_options *options;
    struct flight *flights; /* ring of window places, in the order sent */
    uint64_t first, end;    /* numbers of the flights; place = number % window */
    struct done *done;      /* ring as large: a flight's place is free once it is collected */
    uint64_t done_first, done_end;
    size_t bytes, window;
};

int redis_sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    struct sink *s = calloc(1, sizeof *s);
    size_t window = spec->window_events > 0 ? (size_t)spec->window_events : 1;

    if (s) {
        s->flights = calloc(window, sizeof *s->flights);
        s->done = calloc(window, sizeof *s->done);
    }
    if (!s || !s->flights || !s->done) {
        if (s) {
            free(s->flights);
            free(s->done);
        }
        free(s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    s->link = l;
    s->spec = *spec;
    s->options = spec->options;
    s->window = window;
    s->next = l->sinks;
    l->sinks = s;
    *ret = s;
    return 0;
}

static void report(
    struct sink *s, uint64_t number, enum fate fate, enum cause cause, const char *text, size_t n)
{
    struct flight *f = &s->flights[number % s->window];
    struct done *d = &s->done[s->done_end % s->window];

    if (number < s->first || !f->waiting)
        return; /* timed out or abandoned: reported already */
    f->waiting = false;
    s->bytes -= f->bytes;
    s->done_end++;
    (void)snprintf(d->text, sizeof d->text, "%.*s", (int)(n < 159 ? n : 159), text);
    d->report = (struct report){ .ref = f->ref, .fate = fate, .cause = cause };
    while (s->first < s->end && !s->flights[s->first % s->window].waiting)
        s->first++;
}

static bool begins(const struct resp_value *v, const char *word)
{
    size_t n = strlen(word);

    return v->text.n >= n && memcmp(v->text.at, word, n) == 0;
}

/* Redis names the meaning of an error by its first word. */
static void report_error(struct sink *s, uint64_t number, const struct resp_value *v)
{
    bool fixed = s->options->stream.text ? s->options->stream.fixed : s->options->channel.fixed;
    enum fate fate = FATE_UNSENT;
    enum cause cause = CAUSE_BROKER;

    if (begins(v, "WRONGTYPE")) {
        fate = FATE_REFUSED;
        cause = CAUSE_FINAL;
    } else if (begins(v, "NOPERM") && !fixed) {
        fate = FATE_REFUSED;
        cause = CAUSE_ADDRESS;
    } else if (begins(v, "NOPERM")) {
        cause = CAUSE_ADDRESS;
    } else if (begins(v, "ERR")) {
        fate = FATE_REFUSED;
        cause = CAUSE_FINAL;
    } else if (begins(v, "MOVED")) {
        static const char cluster[] = "MOVED: the server is a cluster, which this link cannot use";
        client_fail(&s->link->commands, cluster, sizeof cluster - 1);
    }
    report(s, number, fate, cause, (const char *)v->text.at, v->text.n);
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
    else
        report(s, number, FATE_DELIVERED, CAUSE_NONE, "", 0);
}

/* Text headers go as fields of their own; the whole typed list beside them, when a field of text
 * could not bring it back, in `bascule-headers`. */
static size_t text_headers(struct bytes headers, bool *exact)
{
    struct header h;
    size_t n = 0;

    *exact = true;
    while (header_next(&headers, &h) == 1) {
        if (h.scope == HEADER_USER && h.value.type == HEADER_TEXT)
            n++;
        else
            *exact = false;
    }
    return n;
}

static void put_field(struct resp *r, const char *name, struct bytes value)
{
    resp_arg_text(r, name);
    resp_arg(r, value);
}

static int add(struct sink *s, const struct message *m, uint64_t number)
{
    struct resp *r = s->link->commands.resp;
    const struct event *e = m->event;
    struct bytes headers = e->headers, id = event_id(e);
    struct header h;
    bool exact = true, replay = m->flags & MESSAGE_REPLAY;
    size_t pairs = text_headers(headers, &exact) + bytes_present(e->body) + bytes_present(id) +
                   bytes_present(m->key) + bytes_present(m->token) + !exact + (e->hops > 0) +
                   replay;
    /* An entry must have a field: a null body without anything else gets a hop count of 0. */
    bool bare = pairs == 0;
    size_t limit = s->options->maxlen > 0 ? 3 : 0;

    if (resp_command(r, 3 + limit + 2 * (pairs + bare), answered, s, number) != 0)
        return -1;
    resp_arg_text(r, "XADD");
    resp_arg(r, m->fields[REDIS_SLOT_STREAM]);
    if (limit) {
        resp_arg_text(r, "MAXLEN");
        resp_arg_text(r, s->options->maxlen_exact ? "=" : "~");
        resp_arg_int(r, s->options->maxlen);
    }
    resp_arg_text(r, "*");
    if (bytes_present(e->body))
        put_field(r, "body", e->body);
    if (bytes_present(id))
        put_field(r, "message-id", id);
    if (bytes_present(m->key))
        put_field(r, "key", m->key);
    if (bytes_present(m->token))
        put_field(r, "bascule-token", m->token);
    if (replay)
        put_field(r, "bascule-replay", bytes_text("1"));
    if (!exact)
        put_field(r, "bascule-headers", e->headers);
    if (e->hops > 0 || bare) {
        resp_arg_text(r, "bascule-hops");
        resp_arg_int(r, e->hops);
    }
    while (header_next(&headers, &h) == 1)
        if (h.scope == HEADER_USER && h.value.type == HEADER_TEXT) {
            resp_arg(r, h.name);
            resp_arg(r, h.value.bytes);
        }
    return 0;
}

static int tell(struct sink *s, const struct message *m, uint64_t number)
{
    struct resp *r = s->link->commands.resp;

    if (resp_command(r, 3, answered, s, number) != 0)
        return -1;
    resp_arg_text(r, "PUBLISH");
    resp_arg(r, m->fields[REDIS_SLOT_CHANNEL]);
    resp_arg(r, m->event->body);
    return 0;
}

size_t redis_sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    struct link *l = s->link;
    size_t i = 0;

    for (; i < n && l->commands.ready; i++) {
        const struct message *m = &messages[i];
        size_t bytes = event_bytes(m->event);
        uint64_t number = s->end;

        /* Reports not collected hold places too, so that their ring can never run over. */
        if (s->end - s->first + (s->done_end - s->done_first) >= s->window ||
            (s->bytes && s->bytes + bytes > (size_t)s->spec.window_bytes))
            break;
        if ((s->options->stream.text ? add(s, m, number) : tell(s, m, number)) != 0)
            break;
        s->flights[number % s->window] = (struct flight){ m->ref, l->now_ms, bytes, true };
        s->bytes += bytes;
        s->end++;
    }
    client_watch(&l->commands);
    return i;
}

size_t redis_sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;

    for (; n < limit && s->done_first < s->done_end; n++, s->done_first++) {
        struct done *d = &s->done[s->done_first % s->window];
        ret[n] = d->report;
        ret[n].text = d->text[0] ? d->text : NULL;
    }
    return n;
}

void redis_sink_abandon(struct sink *s)
{
    while (s->first < s->end)
        report(s, s->first, FATE_UNSURE, CAUSE_LOST, "abandoned", 9);
}

void redis_sink_status(const struct sink *s, struct link_status *ret)
{
    *ret = s->link->commands.status;
}

void redis_sink_free(struct sink *s)
{
    if (!s)
        return;
    if (s->link->commands.resp)
        resp_forget(s->link->commands.resp, s);
    for (struct sink **at = &s->link->sinks; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    free(s->flights);
    free(s->done);
    free(s);
}

int64_t redis_sinks_step(struct link *l)
{
    int64_t wake = INT64_MAX;

    for (struct sink *s = l->sinks; s; s = s->next) {
        while (s->first < s->end) {
            int64_t due = s->flights[s->first % s->window].sent_ms + s->spec.confirm_timeout_ms;
            if (due > l->now_ms) {
                wake = due < wake ? due : wake;
                break;
            }
            report(s, s->first, FATE_UNSURE, CAUSE_TIMEOUT, "no reply in time", 16);
        }
    }
    return wake;
}
