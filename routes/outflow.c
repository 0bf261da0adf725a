/* One sink's life: its opening and end, its reports, what it tells, what people ask of it. */
#include "routes/outflow.h"
#include "routes/tell.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int outflow_open(const struct outflow_spec *spec, struct store_sink *stored, int64_t now_ms,
    int64_t unix_ms, struct outflow **ret, struct fault *why)
{
    struct outflow *o = calloc(1, sizeof *o);
    const struct config_sink *c = spec->config;

    if (!o)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    o->spec = *spec;
    o->id = stored->id;
    o->begin_seq = stored->begin_seq;
    o->counts = stored->counts;
    o->now_ms = o->progress_ms = now_ms;
    o->unix_ms = unix_ms;
    o->clock_base_ms = unix_ms - now_ms;
    o->rate_at_ms = now_ms;
    o->rate_tokens = 1;
    o->balanced = true;
    breaker_init(&o->breaker, c->failure_threshold, c->open_for_ms);
    lane_init(&o->live, LANE_LIVE, o, spec->route_id, spec->route->name, stored->frontier);
    lane_init(&o->retry, LANE_RETRY, o, spec->route_id, spec->route->name, 0);
    o->live.above = stored->above;
    stored->above = (struct ranges){ 0 };
    if (!c->fallback_only) {
        o->live.has_feed = true;
        feed_init(&o->live.feed, spec->asks, spec->tail, spec->route_id, true, stored->frontier);
        if (spec->careful)
            o->live.careful_below = stored->frontier + (uint64_t)c->window_events;
        if (spec->careful && o->live.careful_below < spec->careful_below)
            o->live.careful_below = spec->careful_below;
    }
    if (render_open(o, why) != 0)
        goto fail;
    if (spec->link) {
        struct sink_spec sink = {
            .route = spec->route->name,
            .name = c->name,
            .sink_id = o->id,
            .options = c->options,
            .window_events = c->window_events,
            .window_bytes = c->window_bytes,
            .confirm_timeout_ms = c->confirm_timeout_ms,
        };

        if (spec->connector->sink_open(spec->link, &sink, &o->sink, why) != 0) {
            (void)fault_prefix(why, "route '%s': sink '%s'", spec->route->name, c->name);
            goto fail;
        }
    }
    *ret = o;
    return 0;
fail:
    outflow_free(o);
    return -1;
}

static void flights_free(struct outflow *o)
{
    for (size_t i = 0; i < o->slot_count; i++) {
        block_unref(o->slots[i]->block);
        buf_done(&o->slots[i]->scratch);
        free(o->slots[i]);
    }
    free(o->slots);
}

void outflow_free(struct outflow *o)
{
    if (!o)
        return;
    if (o->sink)
        o->spec.connector->sink_free(o->sink);
    flights_free(o);
    while (o->replays) {
        struct lane *next = o->replays->next;

        lane_done(o->replays);
        free(o->replays);
        o->replays = next;
    }
    lane_done(&o->live);
    lane_done(&o->retry);
    for (size_t i = 0; i < OUTFLOW_OUTCOMES; i++)
        free(o->outcomes[i].at);
    buf_done(&o->fixed);
    free(o);
}

/* ---- ordering keys ---- */

uint64_t outflow_hash(const struct outflow *o, struct bytes key)
{
    uint64_t hash;

    if (o->spec.config->ordering == CONFIG_ORDER_SOURCE)
        return 1;
    if (o->spec.config->ordering == CONFIG_ORDER_NONE || !bytes_present(key))
        return 0;
    hash = bytes_hash(key);
    return hash < 2 ? 2 : hash;
}

uint64_t outflow_key(
    struct outflow *o, const struct event *e, struct buf *scratch, struct bytes *ret)
{
    const struct config_sink *c = o->spec.config;
    const char *missing;

    if (c->own_key && c->key && c->ordering == CONFIG_ORDER_KEY) {
        size_t from = scratch->n;

        *ret = template_render(c->key, e, o->spec.route->name, scratch, &missing) == 0
                   ? bytes_of(scratch->at + from, scratch->n - from)
                   : BYTES_NONE;
    } else {
        *ret = event_order_key(e);
    }
    return outflow_hash(o, *ret);
}

size_t outflow_collect(struct outflow *o, int64_t now_ms, int64_t unix_ms)
{
    struct report reports[OUTFLOW_BATCH];
    size_t total = 0, n;

    o->now_ms = now_ms;
    o->unix_ms = unix_ms;
    if (!o->sink)
        return 0;
    do {
        n = o->spec.connector->sink_collect(o->sink, reports, OUTFLOW_BATCH);
        for (size_t i = 0; i < n; i++)
            fate_report(o, &reports[i]);
        total += n;
    } while (n == OUTFLOW_BATCH);
    if (total)
        o->moved_ms = now_ms;
    /* Not every turn: it counts ranges. */
    if (now_ms - o->progress_ms >= OUTFLOW_PROGRESS_MS && outflow_pending(o) == 0)
        o->progress_ms = now_ms;
    return total;
}

void outflow_flush(struct outflow *o)
{
    for (enum outcome i = OUTCOME_NONE; i < OUTFLOW_OUTCOMES; i++) {
        if (o->outcomes[i].n)
            store_outcome_put(o->spec.store, o->id, i, o->outcomes[i].at, o->outcomes[i].n);
        o->outcomes[i].n = 0;
    }
    if (!o->dirty)
        return;
    store_cursor_put(o->spec.store, o->id, o->live.frontier, &o->live.above, &o->counts);
    o->dirty = false;
}

static int64_t lane_wake(const struct lane *l)
{
    /* What is not on disk yet comes with the store's descriptor, a full ready list with the link's.
     */
    if (l->heap_n == 0 || l->loading_n || l->ready_count >= OUTFLOW_BATCH ||
        l->heap[0]->txn > store_committed(l->o->spec.store))
        return INT64_MAX;
    return l->heap[0]->due_ms;
}

static int64_t lanes_wake(const struct outflow *o)
{
    int64_t wake = lane_wake(&o->live), other = lane_wake(&o->retry);

    wake = other < wake ? other : wake;
    for (const struct lane *l = o->replays; l; l = l->next) {
        if (l->job->state != JOB_RUNNING)
            continue;
        other = replay_wake_ms(l);
        wake = other < wake ? other : wake;
        other = lane_wake(l);
        wake = other < wake ? other : wake;
    }
    return wake;
}

int64_t outflow_wake_ms(const struct outflow *o)
{
    int64_t wake = lanes_wake(o);

    if (!o->sink || o->paused)
        return INT64_MAX;
    if (o->breaker.state == RELAY_BREAKER_OPEN)
        return o->breaker.until_ms;
    if (wake < o->quiet_until_ms)
        wake = o->quiet_until_ms;
    if (o->spec.config->rate_limit && o->rate_tokens < 1 && o->live.ready_count) {
        int64_t more = o->rate_at_ms +
                       (int64_t)((1 - o->rate_tokens) * 1e6 / (double)o->spec.config->rate_limit) +
                       1;

        wake = more < wake ? more : wake;
    }
    return wake;
}

bool outflow_idle(const struct outflow *o)
{
    return o->in_flight == 0 && !o->dirty;
}

/* What its predecessor, or the last process, left and nobody has looked for yet. */
static bool inherited_unsure(const struct outflow *o)
{
    const struct lane *l = &o->live;

    return o->spec.careful && (l->held_count || o->retry.held_count ||
                                  (l->has_feed && l->frontier < l->careful_below &&
                                      l->frontier < o->spec.tail->next_seq));
}

bool outflow_unsure(const struct outflow *o)
{
    if (inherited_unsure(o))
        return true;
    for (size_t i = 0; i < o->slot_count; i++)
        if (o->slots[i]->lane && (o->slots[i]->sent || o->slots[i]->unsure))
            return true;
    return false;
}

uint64_t outflow_careful_below(const struct outflow *o)
{
    uint64_t below = o->live.careful_below;

    for (size_t i = 0; i < o->slot_count; i++) {
        const struct flight *f = o->slots[i];

        if (f->lane == &o->live && (f->sent || f->unsure) && f->seq >= below)
            below = f->seq + 1;
    }
    return below;
}

uint64_t outflow_needs(const struct outflow *o)
{
    return o->live.has_feed && o->live.feed.next < outflow_end(o) ? o->live.feed.next : UINT64_MAX;
}

size_t outflow_unread(const struct outflow *o)
{
    if (!o->sink || o->paused || !o->live.has_feed || o->spec.end_seq || o->moved_ms == 0 ||
        o->now_ms - o->moved_ms > OUTFLOW_MOVES_MS)
        return SIZE_MAX;
    return tail_bytes_from(o->spec.tail, o->live.feed.next);
}

uint64_t outflow_pending(const struct outflow *o)
{
    uint64_t unread = 0;

    if (o->live.has_feed)
        unread = outflow_end(o) - o->live.frontier - ranges_count(&o->live.above);
    return unread + o->counts.held;
}

bool outflow_gone(const struct outflow *o)
{
    return o->spec.config->going && outflow_pending(o) == 0 && o->counts.dead == 0 &&
           o->retry.held_count == 0 && !o->replays && outflow_idle(o);
}

bool outflow_balanced(const struct outflow *o)
{
    const struct store_counts *c = &o->counts;
    uint64_t accepted = o->live.has_feed ? outflow_end(o) - o->begin_seq : c->accepted;
    uint64_t dropped = c->dropped_filter + c->dropped_loop + c->dropped_person + c->dropped_discard;

    return accepted == c->delivered + outflow_pending(o) + c->dead + dropped + c->diverted;
}

/* ---- people ---- */

int outflow_dead_retry(struct outflow *o, const struct relay_dead *d, struct fault *why)
{
    if (o->retry.held_count >= OUTFLOW_RETRIES_MAX)
        return fault_set(
            why, FAULT_RETRY, 0, "%d retries are on their way already", OUTFLOW_RETRIES_MAX);
    return held_retry(&o->retry, d, why);
}

void outflow_dead_drop(struct outflow *o, const struct relay_dead *d)
{
    struct held row = {
        .number = d->number,
        .route_id = o->spec.route_id,
        .sink_id = o->id,
        .seq = d->seq,
        .job = d->job,
        .state = HELD_DROPPED,
        .reason = d->reason,
        .code = d->code,
        .text = d->text,
        .attempts = d->attempts,
        .expires_in_ms = -1,
        .changed_ms = o->unix_ms,
    };

    store_held_put(o->spec.store, &row, NULL);
    if (d->job == 0) {
        o->counts.dead--;
        o->counts.dropped_person++;
    }
    outflow_dirty(o);
}

void outflow_breaker_set(struct outflow *o, bool open)
{
    breaker_set(&o->breaker, open);
    o->quiet_until_ms = 0;
    if (!open)
        o->error[0] = 0;
    tell_breaker(o, "person", NULL);
}

/* Time of receipt of the oldest unfinished event, as far as memory knows it; 0 when there is none.
 */
static int64_t oldest_pending(const struct outflow *o)
{
    const struct block *b = tail_find(o->spec.tail, o->live.frontier);
    int64_t oldest = b ? b->received_ms : INT64_MAX;

    for (size_t i = 0; i < o->slot_count; i++)
        if (o->slots[i]->lane == &o->live && o->slots[i]->in.received_ms < oldest)
            oldest = o->slots[i]->in.received_ms;
    return oldest == INT64_MAX ? 0 : oldest;
}

void outflow_status(const struct outflow *o, struct relay_sink_status *ret)
{
    const struct config_sink *c = o->spec.config;

    *ret = (struct relay_sink_status){
        .name = c->name,
        .enabled = o->sink != NULL,
        .paused = o->paused,
        .draining = o->draining,
        .fallback_only = c->fallback_only,
        .going = c->going,
        .paused_since_ms = o->paused_since_ms,
        .breaker = o->breaker.state,
        .breaker_until_ms = o->breaker.until_ms,
        .counts = o->counts,
        .begin_seq = o->begin_seq,
        .frontier = o->live.frontier,
        .pending = outflow_pending(o),
        .parked = o->live.following,
        .parked_keys = o->live.keys.parked,
        .in_flight = o->in_flight,
        .oldest_pending_ms = oldest_pending(o),
        .progress_ms = o->progress_ms,
        .attempts = o->attempts,
        .rate = rate_per_second(&o->delivered_rate, o->now_ms),
        .balanced = o->balanced,
    };
    (void)snprintf(ret->paused_by, sizeof ret->paused_by, "%s", o->paused_by);
    (void)snprintf(ret->error, sizeof ret->error, "%.255s", o->error);
    if (c->options)
        o->spec.connector->sink_place(c->options, ret->place, sizeof ret->place);
    if (o->sink)
        o->spec.connector->sink_status(o->sink, &ret->link);
}
