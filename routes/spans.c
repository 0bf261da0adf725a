#include "routes/spans.h"

#include <stdio.h>

#define COPY(to, text) ((void)snprintf(to, sizeof(to), "%s", text))

static void copy_bytes(char *to, size_t limit, struct bytes from)
{
    size_t n = from.n < limit - 1 ? from.n : limit - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = from.at[i] ? (char)from.at[i] : '?';
    to[n] = '\0';
}

/* Counted instead of made. */
static bool left_out(struct tracer *t)
{
    if (!atomic_load_explicit(&t->full, memory_order_relaxed))
        return false;
    t->put(t, NULL);
    return true;
}

/* ---- receiving ---- */

static void received(
    const struct intake *i, const struct intake_block *b, const struct event *e, int64_t now_ns)
{
    struct tracer *t = i->spec.tracer;
    struct span s = { .kind = SPAN_RECEIVE, .start_ns = b->received_ns, .end_ns = now_ns };

    if (!span_begin(t, i->spec.route_id, e, &s))
        return;
    if (left_out(t)) {
        t->put(t, NULL); /* two spans */
        return;
    }
    s.seq = e->seq;
    COPY(s.route, i->spec.config->name);
    COPY(s.log, i->spec.config->name);
    COPY(s.system, i->spec.connector->type);
    copy_bytes(s.place, sizeof s.place, e->address);
    copy_bytes(s.event_id, sizeof s.event_id, event_id(e));
    span_id(t, i->spec.route_id, e->seq, SPAN_RECEIVE, 0, s.id);
    t->put(t, &s);
    s.kind = SPAN_COMMIT;
    s.start_ns = b->given_ns;
    memcpy(s.parent, s.id, sizeof s.parent);
    span_id(t, i->spec.route_id, e->seq, SPAN_COMMIT, 0, s.id);
    t->put(t, &s);
}

void spans_committed(const struct intake *i, const struct intake_block *b)
{
    int64_t now_ns = i->spec.tracer->now_ns(i->spec.tracer);

    if (b->received_ns == 0)
        return; /* from before tracing was on */
    for (uint32_t n = 0; n < b->block->count; n++) {
        struct event e;

        block_event(b->block, n, &e);
        received(i, b, &e, now_ns);
    }
}

/* ---- sending ---- */

void spans_sent(const struct outflow *o, struct flight *const *flights, size_t n)
{
    int64_t now_ns = o->spec.tracer->now_ns(o->spec.tracer);

    for (size_t i = 0; i < n; i++)
        flights[i]->sent_ns = now_ns;
}

/* The first of the sink's templates that was rendered: its topic, subject, stream, channel or
 * routing key. */
static struct bytes place_of(const struct flight *f)
{
    for (size_t i = 0; i < CONNECTOR_FIELDS_MAX; i++)
        if (bytes_present(f->fields[i]))
            return f->fields[i];
    return BYTES_NONE;
}

void spans_reported(const struct outflow *o, struct flight *f, const struct report *r)
{
    static const char *const fates[] = { "", "delivered", "unsent", "unsure", "refused" };
    const struct lane *l = f->lane;
    struct tracer *t = o->spec.tracer;
    struct span s = { .kind = SPAN_DELIVER, .start_ns = f->sent_ns, .seq = f->seq };

    f->sent_ns = 0;
    if (s.start_ns == 0 || !span_begin(t, l->route_id, &f->in, &s) || left_out(t))
        return;
    s.end_ns = t->now_ns(t);
    COPY(s.route, o->spec.route->name);
    COPY(s.sink, o->spec.config->name);
    COPY(s.log, l->route);
    COPY(s.system, o->spec.connector->type);
    COPY(s.fate, fates[r->fate]);
    if (r->fate != FATE_DELIVERED)
        COPY(s.error, r->text && *r->text ? r->text : s.fate);
    copy_bytes(s.place, sizeof s.place, place_of(f));
    copy_bytes(s.event_id, sizeof s.event_id, event_id(&f->in));
    span_id(t, l->route_id, f->seq, SPAN_RECEIVE, 0, s.parent);
    span_id(t, l->route_id, f->seq, SPAN_DELIVER, o->id ^ (uint64_t)s.start_ns, s.id);
    t->put(t, &s);
}
