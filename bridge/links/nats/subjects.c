/* Plain subjects as a source. The server keeps nothing: what it sent while we did not listen is
 * gone, so every such time becomes a gap, told when it begins and again when it is over; and what
 * came faster than it was taken is counted. */
#include "bridge/links/listened.h"
#include "bridge/links/nats/source.h"

#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)
/* A dead connection is noticed when so many answers to pings are missing (PINGS_OUT_MAX), and one
 * interval more may have passed before the first of them. */
#define PINGS_MISSED 3

struct subjects {
    struct source s; /* first */
    struct wire_port **ports;
    uint64_t *dropped;
    size_t port_n;
    uint64_t session;
    struct listened heard;
};

static struct subjects *of(struct source *s)
{
    return (struct subjects *)s;
}

static void check_memory(struct subjects *t)
{
    if (t->heard.no_memory)
        wire_fail(t->s.wire, "out of memory");
    t->heard.no_memory = false;
}

static void note(struct subjects *t, uint64_t count, const char *cause)
{
    int64_t now = t->s.link->unix_ms;

    listened_note(&t->heard, now, now, count, cause);
    check_memory(t);
}

static void stopped_listening(struct subjects *t)
{
    const struct link_status *status = wire_status(t->s.wire);
    int64_t back = strstr(status->error, "tale") /* "Stale Connection" */
                       ? t->s.link->options->ping_interval_ms * PINGS_MISSED
                       : 0;

    listened_end(&t->heard, t->s.link->unix_ms - back,
        status->error[0] ? status->error : "the connection was lost");
    check_memory(t);
}

static void began_to_listen(struct subjects *t, uint64_t session)
{
    if (t->heard.on) /* it was lost and came back between two steps */
        stopped_listening(t);
    t->session = session;
    listened_begin(&t->heard, t->s.link->unix_ms);
    check_memory(t);
}

static void count_dropped(struct subjects *t)
{
    for (size_t i = 0; i < t->port_n; i++) {
        uint64_t dropped = wire_port_dropped(t->s.wire, t->ports[i]);
        if (dropped > t->dropped[i])
            note(t, dropped - t->dropped[i],
                "messages came faster than they were taken and were dropped");
        t->dropped[i] = dropped;
    }
}

static void take(struct subjects *t, struct pack *p, struct wire_message *m)
{
    struct listened_origin origin = listened_next(&t->heard);

    if (m->body.n + m->headers.n + strlen(m->subject) > (size_t)t->s.spec.max_event_bytes)
        note(t, 1, "a message above max_event_bytes was skipped");
    else if (source_put(&t->s, p, m, 0, origin.text) == 0)
        return;
    else
        note(t, 1, "a message that cannot be read, or no memory for it");
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
    for (size_t i = 0; t->heard.base_ms && i < t->port_n; i++)
        while (take_messages(t, t->ports[i]))
            ;
    count_dropped(t);
    if (status->state != LINK_UP && t->heard.on)
        stopped_listening(t);
    return INT64_MAX;
}

/* ---- lending ---- */

static struct batch *subjects_receive(struct source *s, size_t limit)
{
    int64_t now = s->link->unix_ms;

    return listened_take(&of(s)->heard, &s->spec, limit, now, now);
}

static void subjects_settle(struct source *s, struct piece *p, bool kept)
{
    if (!kept)
        listened_lost(&of(s)->heard, p, s->link->unix_ms);
    check_memory(of(s));
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
    listened_init(&t->heard, &t->s.batches, spec);
    listened_name(&t->heard, &t->s.options->subjects);
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
