/* The bridge as its own source: what happens to it, as events. There is no broker and no
 * connection; routes that read it share nothing but the board that it is told on
 * (base/lifecycle.h). */
#include "bridge/base/header.h"
#include "bridge/base/lifecycle.h"
#include "bridge/links/batches.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Taken from the board at once: it is read again in the same turn while there is more. */
#define PACK_EVENTS 256

struct internal_link_options {
    bool unused;
};

struct internal_source_options {
    struct option_list kinds, routes;
};

/* What is told is known when it is told: the link has nothing to do. */
struct link {
    int64_t since_ms; /* it is stepped; 0: not yet */
};

struct source {
    const struct link *link;
    struct source_spec spec;
    struct lifecycle_reader reader;
    struct batches batches;
    struct buf headers;
    bool paused;
};

static const struct option link_table[] = { { 0 } };

static const struct option source_table[] = {
    { .name = "internal",
        .type = OPTION_TEXT_LIST,
        .offset = offsetof(struct internal_source_options, kinds),
        .flags = OPTION_REQUIRED,
        .help = "What of the bridge itself is read, by name or pattern: "
                "integration.dead_letter_added, \"integration.circuit_breaker_*\", \"*\"." },
    { .name = "routes",
        .type = OPTION_TEXT_LIST,
        .offset = offsetof(struct internal_source_options, routes),
        .help = "Names or patterns: only what happens to these routes; absent: to all, and to the "
                "whole." },
    { 0 },
};

static unsigned kinds_of(const struct internal_source_options *o)
{
    unsigned ret = 0;

    for (size_t i = 0; i < o->kinds.n; i++)
        ret |= lifecycle_kinds(o->kinds.at[i]);
    return ret;
}

static int source_check(const void *options, const char **key, struct fault *why)
{
    const struct internal_source_options *o = options;

    *key = "internal";
    for (size_t i = 0; i < o->kinds.n; i++)
        if (lifecycle_kinds(o->kinds.at[i]) == 0)
            return fault_set(why, FAULT_INPUT, 0,
                "nothing that happens is called '%.80s'; see LIFECYCLE EVENTS in bascule-routes(5)",
                o->kinds.at[i]);
    return o->kinds.n ? 0 : fault_set(why, FAULT_INPUT, 0, "name what is read; \"*\" is all");
}

static struct traits source_traits(const void *options)
{
    (void)options;
    return (struct traits){ 0,
        "what the store has on record (dead letters, gaps, pauses, breakers) is told in the same "
        "commit, a storm of them by its first and then once a second; the rest waits in memory" };
}

static void source_place(const void *options, char *ret, size_t n)
{
    const struct internal_source_options *o = options;

    (void)snprintf(
        ret, n, "internal %s%s", o->kinds.n ? o->kinds.at[0] : "", o->kinds.n > 1 ? ",..." : "");
}

static int link_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    struct link *l = calloc(1, sizeof *l);

    (void)spec;
    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    *ret = l;
    return 0;
}

static void link_free(struct link *l)
{
    free(l);
}

static int link_pollfd(const struct link *l)
{
    (void)l;
    return -1;
}

static int64_t link_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    (void)unix_ms;
    if (!l->since_ms)
        l->since_ms = now_ms;
    return INT64_MAX;
}

static void link_status(const struct link *l, struct link_status *ret)
{
    *ret =
        (struct link_status){ .state = LINK_UP, .since_ms = l->since_ms, .session = 1, .lag = -1 };
    (void)snprintf(ret->peer, sizeof ret->peer, "this process");
}

static size_t link_probe(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    (void)spec;
    (void)source;
    (void)sink;
    (void)timeout_ms;
    (void)ret;
    (void)limit;
    return 0;
}

/* ---- the source ---- */

static int source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    const struct internal_source_options *o = spec->options;
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->spec = *spec;
    buf_init(&s->headers, 256);
    header_put_text(&s->headers, HEADER_PROPERTY, "content-type", bytes_text("application/json"));
    if (s->headers.failed) {
        buf_done(&s->headers);
        free(s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    s->spec.positions = NULL; /* lent during open only */
    s->reader = (struct lifecycle_reader){
        .route = spec->route, .route_id = spec->route_id, .kinds = kinds_of(o), .routes = &o->routes
    };
    lifecycle_listen(spec->lifecycle, &s->reader);
    *ret = s;
    return 0;
}

static void source_free(struct source *s)
{
    if (!s)
        return;
    lifecycle_leave(s->spec.lifecycle, &s->reader);
    batches_done(&s->batches);
    buf_done(&s->headers);
    free(s);
}

static void note(struct source *s, int64_t from_ms, int64_t until_ms, uint64_t count,
    const char *what, const char *cause)
{
    struct note n = { .start_ms = from_ms, .end_ms = until_ms, .count = count };

    (void)snprintf(n.what, sizeof n.what, "%s", what);
    (void)snprintf(n.cause, sizeof n.cause, "%s", cause);
    /* Without memory for it, it is counted again by the next loss. */
    if (batches_note(&s->batches, &n) != 0)
        s->reader.lost += count;
}

static void note_lost(struct source *s)
{
    struct lifecycle_reader *r = &s->reader;
    uint64_t count = r->lost;

    if (count == 0)
        return;
    r->lost = 0;
    note(s, r->lost_from_ms, r->lost_until_ms, count, "internal",
        "they were told faster than this route took them, and its place in memory was full");
}

/* The entries that a pack's events lie in. */
struct told {
    size_t n;
    struct lifecycle_entry *at[PACK_EVENTS];
};

static void told_free(void *reply)
{
    struct told *t = reply;

    for (size_t i = 0; i < t->n; i++)
        lifecycle_unref(t->at[i]);
    free(t);
}

static struct event event_of(const struct source *s, const struct lifecycle_entry *e)
{
    return (struct event){
        .address = bytes_text(lifecycle_type(e->kind)),
        .key = e->route,
        .id = e->id,
        .origin = e->id,
        .headers = buf_bytes(&s->headers),
        .body = e->body,
        .time_ms = e->time_ms,
        .hops = e->hops,
    };
}

static struct pack *pack_make(void)
{
    struct pack *p = pack_new(PACK_EVENTS);

    if (!p)
        return NULL;
    p->reply = calloc(1, sizeof(struct told));
    p->reply_free = told_free;
    if (p->reply)
        return p;
    pack_free(p);
    return NULL;
}

static void read_board(struct source *s)
{
    struct lifecycle_entry *e = lifecycle_next(s->spec.lifecycle, &s->reader);
    struct pack *p = e ? pack_make() : NULL;
    struct told *t;

    note_lost(s);
    if (!e && !s->batches.out) /* what it passed was for others */
        lifecycle_done(s->spec.lifecycle, &s->reader, s->reader.seen);
    if (!e)
        return;
    if (!p) {
        s->reader.seen = e->number - 1; /* read again when there is memory */
        lifecycle_unref(e);
        return;
    }
    t = p->reply;
    for (; e; e = t->n < PACK_EVENTS ? lifecycle_next(s->spec.lifecycle, &s->reader) : NULL) {
        t->at[t->n++] = e;
        p->events[p->n++] = event_of(s, e);
    }
    batches_put(&s->batches, p);
}

static struct batch *source_receive(struct source *s, size_t limit)
{
    const struct told *t;
    struct piece *p;

    if (s->paused)
        return NULL;
    if (!s->batches.ready)
        read_board(s);
    p = batches_take(&s->batches, limit, &s->spec, false);
    if (!p)
        return NULL;
    if (p->batch.count) {
        t = p->pack->reply;
        p->number =
            t->at[p->batch.events - p->pack->events + (ptrdiff_t)p->batch.count - 1]->number;
    }
    return &p->batch;
}

static void source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct piece *p = batches_return(&s->batches, batch);

    if (!p)
        return;
    if (!kept) {
        batches_keep_notes(&s->batches, p);
        if (p->batch.count)
            note(s, batch->events[0].time_ms, batch->events[p->batch.count - 1].time_ms,
                p->batch.count, "internal", "they could not be stored");
    }
    lifecycle_done(s->spec.lifecycle, &s->reader, p->number);
    piece_free(p);
}

static void source_pause(struct source *s, bool paused)
{
    s->paused = paused;
}

static bool source_drain(struct source *s)
{
    (void)s;
    return true;
}

static void source_status(const struct source *s, struct link_status *ret)
{
    link_status(s->link, ret);
}

const struct connector connector_internal = {
    .type = "internal",
    .link_options = link_table,
    .source_options = source_table,
    .sink_options = link_table,
    .link_options_bytes = sizeof(struct internal_link_options),
    .source_options_bytes = sizeof(struct internal_source_options),
    .sink_options_bytes = sizeof(struct internal_link_options),
    .source_check = source_check,
    .source_traits = source_traits,
    .source_place = source_place,
    .link_open = link_open,
    .link_free = link_free,
    .link_pollfd = link_pollfd,
    .link_step = link_step,
    .link_status = link_status,
    .link_probe = link_probe,
    .source_open = source_open,
    .source_receive = source_receive,
    .source_settle = source_settle,
    .source_pause = source_pause,
    .source_drain = source_drain,
    .source_status = source_status,
    .source_free = source_free,
};
