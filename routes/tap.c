#include "routes/tap.h"

#include <stdlib.h>

struct tap {
    struct tap *next;
    struct tap_spec spec; /* its selection owned */
    bool filters;
    struct tap_missed missed;
    double tokens;
    int64_t tokens_ms;
    int64_t second; /* that `cost` is of */
    size_t cost;
};

static bool has_filter(const struct selection *w)
{
    return w->id || bytes_present(w->key) || w->header_name || w->match;
}

int tap_open(struct taps *taps, const struct tap_spec *spec, struct tap **ret, struct fault *why)
{
    const struct selection where = { .id = spec->where.id,
        .key = spec->where.key,
        .header_name = spec->where.header_name,
        .header_value = spec->where.header_value,
        .match = spec->where.match };
    struct tap *t;

    if (taps->count == TAPS_MAX)
        return fault_set(why, FAULT_RETRY, 0, "there are %d taps already", TAPS_MAX);
    t = calloc(1, sizeof *t);
    if (!t || selection_copy(&where, &t->spec.where) != 0) {
        free(t);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    t->spec = (struct tap_spec){ spec->route_id, spec->sink_id, t->spec.where, spec->sample,
        spec->rate, spec->sent, spec->bodies, spec->show, spec->arg };
    t->filters = has_filter(&where);
    t->tokens = spec->rate;
    t->next = taps->first;
    taps->first = t;
    taps->count++;
    *ret = t;
    return 0;
}

void tap_close(struct taps *taps, struct tap *t)
{
    struct tap **at = &taps->first;

    if (!t)
        return;
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
    taps->count--;
    selection_done(&t->spec.where);
    free(t);
}

struct tap_missed tap_missed(const struct tap *t)
{
    return t->missed;
}

/* ---- what it may cost ---- */

static void refill(struct tap *t, int64_t now_ms)
{
    if (t->tokens_ms == 0)
        t->tokens_ms = now_ms;
    t->tokens += (double)(now_ms - t->tokens_ms) * t->spec.rate / 1000.0;
    if (t->tokens > t->spec.rate)
        t->tokens = t->spec.rate;
    t->tokens_ms = now_ms;
    if (now_ms / 1000 != t->second)
        t->cost = 0;
    t->second = now_ms / 1000;
}

/* The same events at a route and at its sinks, spread over the log: neighbours in it are often of
 * one kind in turn. The constants are splitmix64's. */
static bool sampled(const struct tap *t, uint64_t seq)
{
    uint64_t h = seq * 0x9e3779b97f4a7c15u;

    if (t->spec.sample <= 1)
        return true;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return (h ^ h >> 31) % t->spec.sample == 0;
}

static bool afford(struct tap *t, size_t cost)
{
    if (t->cost >= TAP_COST_MAX)
        return false;
    t->cost += cost;
    return true;
}

static size_t cost_of(const struct tap *t, const struct event *e)
{
    return TAP_EVENT_COST + (t->spec.where.header_name ? e->headers.n : 0) +
           (t->spec.where.match ? e->body.n : 0);
}

static size_t cost_shown(const struct tap *t, const struct event *e)
{
    size_t body = e->body.n < TAP_BODY_MAX ? e->body.n : TAP_BODY_MAX;

    return TAP_EVENT_COST + (t->spec.bodies ? (body + e->headers.n) * TAP_SHOWN_COST : 0);
}

static void look(struct tap *t, const struct tap_seen *seen)
{
    if (t->filters && !afford(t, cost_of(t, seen->event))) {
        t->missed.busy++;
        return;
    }
    if (t->filters && !selection_fits(&t->spec.where, seen->event))
        return;
    if (t->tokens < 1) {
        t->missed.rate++;
        return;
    }
    if (!afford(t, cost_shown(t, seen->event))) {
        t->missed.busy++;
        return;
    }
    t->tokens -= 1;
    t->spec.show(t->spec.arg, seen);
}

/* ---- where events pass ---- */

static void look_at_block(struct tap *t, const char *route, const struct block *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct event e;

        if (!sampled(t, b->first_seq + i))
            continue;
        /* Without decoding it: at full speed most end here. */
        if (!t->filters && t->tokens < 1) {
            t->missed.rate++;
            continue;
        }
        if (t->cost >= TAP_COST_MAX) {
            t->missed.busy++;
            continue;
        }
        block_event(b, i, &e);
        look(t, &(struct tap_seen){ .what = TAP_RECEIVED,
                    .lane = TAP_LIVE,
                    .route = route,
                    .seq = e.seq,
                    .event = &e,
                    .took_ms = -1,
                    .unix_ms = b->received_ms });
    }
}

void taps_received(struct taps *taps, const char *route, const struct block *b, int64_t now_ms)
{
    for (struct tap *t = taps->first; t; t = t->next) {
        if (t->spec.route_id != b->route_id || t->spec.sink_id)
            continue;
        refill(t, now_ms);
        look_at_block(t, route, b);
    }
}

void taps_seen(struct taps *taps, uint64_t route_id, uint64_t sink_id, const struct tap_seen *seen,
    int64_t now_ms)
{
    for (struct tap *t = taps->first; t; t = t->next) {
        if (t->spec.route_id != route_id || t->spec.sink_id != sink_id ||
            (seen->what == TAP_SENT && !t->spec.sent) || !sampled(t, seen->seq))
            continue;
        refill(t, now_ms);
        look(t, seen);
    }
}
