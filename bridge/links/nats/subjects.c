/* Plain subjects as a source. The server keeps nothing: what it sent while we did not listen is
 * gone, so every such time becomes a gap, told when it begins and again when it is over; and what
 * came faster than it was taken is counted. */
#include "bridge/links/nats/source.h"

#include <stdio.h>
#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)
/* The place that is stored is only a time: until when we know that we listened. */
#define SEEN_NAME "listened-until"
#define SEEN_EVERY_MS 60000
/* A dead connection is noticed when so many answers to pings are missing (PINGS_OUT_MAX), and one
 * interval more may have passed before the first of them. */
#define PINGS_MISSED 3

struct subjects {
    struct source s; /* first */
    struct wire_port **ports;
    uint64_t *dropped;
    size_t port_n;
    uint64_t session;
    bool listening;
    int64_t seen_ms;    /* stored at the last start; 0: none, or told */
    int64_t stored_ms;  /* as given with the last batch */
    int64_t missing_ms; /* start of the gap that is open; 0: none */
    uint64_t number;    /* of messages, for names */
    int64_t base_ms;    /* of those names: time of the first subscription */
    char what[160], cause[200];
};

static struct subjects *of(struct source *s)
{
    return (struct subjects *)s;
}

static void note(
    struct subjects *t, int64_t start_ms, int64_t end_ms, uint64_t count, const char *cause)
{
    source_note(&t->s, t->what, start_ms, end_ms, count, cause);
}

static void stopped_listening(struct subjects *t)
{
    const struct link_status *status = wire_status(t->s.wire);
    int64_t back = strstr(status->error, "tale") /* "Stale Connection" */
                       ? t->s.link->options->ping_interval_ms * PINGS_MISSED
                       : 0;

    t->listening = false;
    t->missing_ms = t->s.link->unix_ms - back;
    (void)snprintf(t->cause, sizeof t->cause, "%.199s",
        status->error[0] ? status->error : "the connection was lost");
    note(t, t->missing_ms, 0, 0, t->cause);
}

static void began_to_listen(struct subjects *t, uint64_t session)
{
    int64_t now = t->s.link->unix_ms;

    if (t->listening) /* it was lost and came back between two steps */
        stopped_listening(t);
    t->session = session;
    t->listening = true;
    if (t->missing_ms)
        note(t, t->missing_ms, now, 0, t->cause);
    else if (t->seen_ms)
        note(t, t->seen_ms, now, 0, "nobody listened: the bridge was not running or not connected");
    t->missing_ms = t->seen_ms = t->stored_ms = 0;
    if (!t->base_ms)
        t->base_ms = now;
}

static void count_dropped(struct subjects *t)
{
    int64_t now = t->s.link->unix_ms;

    for (size_t i = 0; i < t->port_n; i++) {
        uint64_t dropped = wire_port_dropped(t->s.wire, t->ports[i]);
        if (dropped > t->dropped[i])
            note(t, now, now, dropped - t->dropped[i],
                "messages came faster than they were taken and were dropped");
        t->dropped[i] = dropped;
    }
}

static void take(struct subjects *t, struct pack *p, struct wire_message *m)
{
    int64_t now = t->s.link->unix_ms;
    char origin[48];

    (void)snprintf(
        origin, sizeof origin, "%lld-%llu", (long long)t->base_ms, (unsigned long long)++t->number);
    if (m->body.n + m->headers.n + strlen(m->subject) > (size_t)t->s.spec.max_event_bytes)
        note(t, now, now, 1, "a message above max_event_bytes was skipped");
    else if (source_put(&t->s, p, m, 0, origin) == 0)
        return;
    else
        note(t, now, now, 1, "a message that cannot be read, or no memory for it");
    wire_message_free(m);
}

static bool has_room(const struct subjects *t)
{
    const struct batches *b = &t->s.batches;

    return b->ready_events + b->events_out < (size_t)t->s.spec.window_events &&
           b->ready_bytes + b->bytes_out < (size_t)t->s.spec.window_bytes && !t->s.paused;
}

static bool take_messages(struct subjects *t, struct wire_port *port)
{
    struct pack *p = has_room(t) ? source_pack(PACK_EVENTS) : NULL;
    struct wire_message *m = NULL;
    size_t bytes = 0;

    if (!p)
        return false;
    p->from_ms = t->s.link->unix_ms;
    while (p->n < PACK_EVENTS && bytes < PACK_BYTES && (m = wire_port_take(t->s.wire, port))) {
        bytes += m->body.n;
        take(t, p, m);
    }
    source_close_pack(p);
    if (p->n)
        batches_put(&t->s.batches, p);
    else
        pack_free(p);
    return m != NULL;
}

static int64_t subjects_step(struct source *s)
{
    struct subjects *t = of(s);
    const struct link_status *status = wire_status(s->wire);

    if (status->state == LINK_UP && t->session != status->session)
        began_to_listen(t, status->session);
    for (size_t i = 0; t->base_ms && i < t->port_n; i++)
        while (take_messages(t, t->ports[i]))
            ;
    count_dropped(t);
    if (status->state != LINK_UP && t->listening)
        stopped_listening(t);
    return INT64_MAX;
}

/* ---- lending ---- */

static int put_place(struct subjects *t, struct piece *p)
{
    const struct batches *b = &t->s.batches;
    int64_t seen = t->missing_ms;

    if (!seen && p->pack)
        seen = p->pack->from_ms;
    if (!seen)
        seen = b->ready ? b->ready->from_ms : t->s.link->unix_ms;
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

static struct batch *subjects_receive(struct source *s, size_t limit)
{
    struct subjects *t = of(s);
    bool due = t->listening && s->link->unix_ms - t->stored_ms >= SEEN_EVERY_MS;
    struct piece *p = batches_take(&s->batches, limit, &s->spec, due);

    if (!p)
        return NULL;
    /* Without the place it is only told less exactly where a later gap begins. */
    if (t->listening || t->missing_ms)
        (void)put_place(t, p);
    return &p->batch;
}

static void subjects_settle(struct source *s, struct piece *p, bool kept)
{
    struct subjects *t = of(s);

    if (!kept && p->batch.count)
        note(t, p->pack->from_ms, s->link->unix_ms, p->batch.count,
            "messages came that could not be stored");
    (void)subjects_step(s);
}

static bool subjects_drained(struct source *s)
{
    (void)s;
    return true;
}

static void subjects_done(struct source *s)
{
    struct subjects *t = of(s);

    for (size_t i = 0; i < t->port_n; i++)
        wire_port_close(s->wire, t->ports[i]);
    free((void *)t->ports);
    free(t->dropped);
}

static void load_seen(struct subjects *t, const struct source_spec *spec)
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

static int open_ports(struct subjects *t)
{
    const struct nats_source_options *o = t->s.options;
    int limit = t->s.spec.window_events < INT32_MAX ? (int)t->s.spec.window_events : INT32_MAX;
    int bytes = t->s.spec.window_bytes < INT32_MAX ? (int)t->s.spec.window_bytes : INT32_MAX;

    t->ports = calloc(o->subjects.n, sizeof(struct wire_port *));
    t->dropped = calloc(o->subjects.n, sizeof *t->dropped);
    if (!t->ports || !t->dropped)
        return -1;
    for (size_t i = 0; i < o->subjects.n; i++) {
        size_t at = strlen(t->what);
        (void)snprintf(t->what + at, sizeof t->what - at, "%s%s", at ? "," : "", o->subjects.at[i]);
        t->ports[i] = wire_port_open(t->s.wire, o->subjects.at[i], o->queue_group, limit, bytes);
        if (!t->ports[i])
            return -1;
        t->port_n++;
    }
    return 0;
}

static int subjects_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct subjects *t = calloc(1, sizeof *t);

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    source_common(&t->s, &nats_subject_source, l, spec);
    load_seen(t, spec);
    /* The server cuts off who does not keep up: nobody else is cut off with it. */
    t->s.wire = nats_link_wire(l, why);
    if (!t->s.wire || open_ports(t) != 0) {
        nats_source_free(&t->s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    *ret = &t->s;
    return 0;
}

const struct source_kind nats_subject_source = {
    .open = subjects_open,
    .step = subjects_step,
    .receive = subjects_receive,
    .settle = subjects_settle,
    .drained = subjects_drained,
    .done = subjects_done,
};
