/* Sending: what may go now, in which order, within the window. */
#include "routes/outflow.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Of the window that replays may take while live events wait: they never delay those by more. */
#define REPLAY_SHARE 4
#define PASSES_PER_TURN 8
#define HALF_OPEN_READY 16

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

static uint64_t key_hash(struct outflow *o, const struct event *e)
{
    struct buf scratch;
    struct bytes key;
    uint64_t hash;

    if (!o->spec.config->own_key) /* nothing to render: the common case stays free of allocations */
        return outflow_key(o, e, NULL, &key);
    buf_init(&scratch, 1 << 20);
    hash = outflow_key(o, e, &scratch, &key);
    buf_done(&scratch);
    return hash;
}

/* ---- reading ---- */

static bool room(const struct outflow *o, const struct lane *l)
{
    const struct config_sink *c = o->spec.config;
    size_t limit = o->breaker.state == RELAY_BREAKER_HALF_OPEN ? HALF_OPEN_READY : OUTFLOW_BATCH;
    size_t window = (size_t)c->window_events;

    if (l->kind == LANE_REPLAY)
        window = window / REPLAY_SHARE ? window / REPLAY_SHARE : 1;
    return l->ready_count < limit && l->ready_count + l->in_flight < window &&
           o->in_flight_bytes < (size_t)c->window_bytes && l->held_count < OUTFLOW_HELD_MAX &&
           (!o->fallback || o->fallback->live.held_count < OUTFLOW_HELD_MAX) &&
           !(c->ordering == CONFIG_ORDER_SOURCE && l->held_count);
}

/* An event of a key that waits gets a row behind it, so that the cursor can pass. */
static bool follow(
    struct lane *l, uint64_t seq, uint64_t hash, const struct flight *from, const struct event *e)
{
    struct entry *entry =
        held_add(l, seq, hash, HELD_FOLLOWING, REASON_NONE, 0, NULL, 0, 0, from, e);

    if (!entry)
        return false;
    if (l->kind == LANE_LIVE)
        outflow_mark(l->o, OUTCOME_HELD, seq);
    lane_finish(l, seq);
    return true;
}

static void admit(struct lane *l, struct block *block, const struct event *e)
{
    struct outflow *o = l->o;
    uint64_t hash = key_hash(o, e);
    struct key *k = hash ? keys_find(&l->keys, hash) : NULL;
    struct flight *f;

    if (k && k->first && k->first->seq < e->seq && o->spec.config->ordering == CONFIG_ORDER_KEY &&
        follow(l, e->seq, hash, NULL, e))
        return;
    f = lane_ready(l, block, e, hash, NULL);
    if (!f)
        l->feed.next = e->seq; /* no memory: read it again */
    else if (e->hops >= OUTFLOW_HOPS_MAX)
        fate_dropped(f, OUTCOME_LOOP);
}

/* Moves a leg's feed to the next number of its set; false at the end. */
static bool leg_seek(struct lane *l)
{
    const struct ranges *set = &l->leg->set;

    while (l->set_i < set->n && l->feed.next > set->at[l->set_i].last)
        l->set_i++;
    if (l->set_i == set->n)
        return false;
    feed_skip(&l->feed, set->at[l->set_i].first);
    return true;
}

/* Where the log ends for its first deliveries. */
static uint64_t end_of(const struct outflow *o)
{
    return o->spec.end_seq ? o->spec.end_seq : o->spec.tail->next_seq;
}

static size_t read_lane(struct lane *l)
{
    struct outflow *o = l->o;
    size_t n = 0;

    while (n < OUTFLOW_BATCH && room(o, l)) {
        struct block *block;
        struct event e;
        int got;

        if (l->leg ? !leg_seek(l) : l->feed.next >= end_of(o))
            break;
        got = feed_next(&l->feed, &e, &block);
        if (got < 0)
            (void)snprintf(o->error, sizeof o->error, "%s", l->feed.why.text);
        if (got <= 0)
            break;
        n++;
        if (e.seq >= l->frontier && !ranges_have(&l->above, e.seq) &&
            (!l->leg || ranges_have(&l->leg->set, e.seq)))
            admit(l, block, &e);
    }
    return n;
}

/* ---- choosing ---- */

enum may { MAY_SEND = 1, MAY_WAIT, MAY_GONE };

static bool expired(const struct outflow *o, const struct flight *f)
{
    int64_t after = o->spec.config->expire_after_ms;

    return after && f->lane->kind == LANE_LIVE &&
           f->in.received_ms + after < o->now_ms + o->clock_base_ms;
}

static enum may wait_for_key(struct outflow *o, struct key *k)
{
    k->skipped = o->pass;
    return MAY_WAIT;
}

static bool has_failed(const struct entry *e)
{
    return e->failed || e->unsure || e->attempts > e->attempts_before;
}

/* Is one that is held before it still to go again? Those that failed go together, in their order.
 */
static bool behind_failed(const struct key *k, const struct flight *f)
{
    if (!f->entry)
        return k->again && !f->again;
    for (const struct entry *e = has_failed(f->entry) ? f->entry : k->first; e != f->entry;
         e = e->next)
        if (has_failed(e))
            return true;
    return false;
}

static enum may key_allows(struct outflow *o, struct flight *f)
{
    struct key *k = f->key;
    uint32_t max = o->spec.config->max_in_flight_per_key;

    if (!k)
        return MAY_SEND;
    if (k->skipped == o->pass)
        return MAY_WAIT;
    if (f->entry && k->first != f->entry && !k->first->busy) {
        held_unload(f); /* one before it failed meanwhile */
        return MAY_GONE;
    }
    if (!f->entry && k->first && k->first->seq < f->seq) {
        if (o->spec.config->ordering != CONFIG_ORDER_KEY)
            return wait_for_key(o, k);
        if (!follow(f->lane, f->seq, k->hash, f, &f->in))
            return wait_for_key(o, k);
        lane_flight_done(f);
        return MAY_GONE;
    }
    /* Nothing new of a key goes out before what failed of it is finished. */
    /* Those that are not held and failed are older, or the next to be held: they have their turn.
     */
    if (f->entry && k->again)
        return MAY_WAIT;
    if (k->barrier || behind_failed(k, f) || (max && k->in_flight >= max))
        return wait_for_key(o, k);
    return MAY_SEND;
}

static enum may prepare(struct outflow *o, struct flight *f)
{
    enum held_reason reason;
    struct fault why = { 0 };

    if (expired(o, f)) {
        fate_dead(f, REASON_EXPIRED, 0, "older than expire_after");
        return MAY_GONE;
    }
    if (f->rendered)
        return MAY_SEND;
    switch (render_flight(f, &reason, &why)) {
    case STEP_PASS:
        return MAY_SEND;
    case STEP_DROP:
        fate_dropped(f, OUTCOME_FILTERED);
        return MAY_GONE;
    case STEP_FAIL:
        fate_dead(f, reason, why.code, why.text);
        return MAY_GONE;
    default:
        return f->key ? wait_for_key(o, f->key) : MAY_WAIT;
    }
}

static void fill_message(struct flight *f, struct message *m)
{
    *m = (struct message){
        .ref = (uint64_t)f->round << 32 | f->slot,
        .event = &f->out,
        .key = f->send_key,
        .token = bytes_text(f->token),
        .first_sent_ms = f->unsure ? (f->first_sent_ms ? f->first_sent_ms : f->in.received_ms) : 0,
        .flags = (f->unsure ? (unsigned)MESSAGE_RESEND : 0u) |
                 (f->lane->o->suspects ? (unsigned)MESSAGE_ALONE : 0u) |
                 (f->lane->kind == LANE_REPLAY ? (unsigned)MESSAGE_REPLAY : 0u),
    };
    memcpy(m->fields, f->fields, sizeof m->fields);
}

struct pass {
    struct message messages[OUTFLOW_BATCH];
    struct flight *flights[OUTFLOW_BATCH];
    size_t n, limit;
};

static void choose(struct outflow *o, struct pass *p, struct flight *f)
{
    if (key_allows(o, f) != MAY_SEND || prepare(o, f) != MAY_SEND)
        return;
    fill_message(f, &p->messages[p->n]);
    p->flights[p->n++] = f;
    lane_sent(f);
}

static void choose_lane(struct outflow *o, struct pass *p, struct lane *l)
{
    struct flight *next;

    for (struct flight *f = l->ready_first; f && p->n < p->limit; f = next) {
        next = f->next;
        if (o->in_flight_bytes >= (size_t)o->spec.config->window_bytes)
            return;
        choose(o, p, f);
    }
}

static struct lane *lane_next(struct outflow *o, struct lane *l)
{
    if (l == &o->live)
        return &o->retry;
    return l == &o->retry ? o->replays : l->next;
}

/* One after the other from the first on, with nothing else in flight, until those that may have
 * closed the channel are through: in the order of the lane, so that no key overtakes itself. */
static void choose_alone(struct outflow *o, struct pass *p)
{
    if (o->in_flight || p->limit == 0)
        return;
    p->limit = 1;
    for (struct lane *l = &o->live; l && p->n == 0; l = lane_next(o, l))
        choose_lane(o, p, l);
}

/* One to see whether the sink is well again: another one than last time, where there is one. */
static void choose_probe(struct outflow *o, struct pass *p)
{
    struct flight *first = NULL;

    if (o->in_flight || p->limit == 0)
        return;
    for (struct lane *l = &o->live; l && p->n == 0; l = lane_next(o, l)) {
        struct flight *next;

        for (struct flight *f = l->ready_first; f && p->n == 0; f = next) {
            next = f->next;
            if (f->seq > o->breaker.last_probe) {
                choose(o, p, f);
                continue;
            }
            if (f->key)
                f->key->skipped = o->pass; /* the younger ones of its key stay behind it */
            if (!first)
                first = f;
        }
    }
    if (p->n == 0) {
        o->breaker.last_probe = 0;
        o->pass++;
        if (first)
            choose(o, p, first);
    }
    if (p->n) {
        p->flights[0]->probe = true;
        o->breaker.last_probe = p->flights[0]->seq;
    }
}

static size_t allowance(struct outflow *o)
{
    const struct config_sink *c = o->spec.config;
    size_t window = (size_t)c->window_events;
    size_t n = o->in_flight < window ? window - o->in_flight : 0;

    if (n > OUTFLOW_BATCH)
        n = OUTFLOW_BATCH;
    if (c->rate_limit) {
        double burst = (double)c->rate_limit / 1000.0;

        o->rate_tokens += (double)(o->now_ms - o->rate_at_ms) * (double)c->rate_limit / 1e6;
        o->rate_at_ms = o->now_ms;
        if (o->rate_tokens > (burst > 1 ? burst : 1))
            o->rate_tokens = burst > 1 ? burst : 1;
        if ((double)n > o->rate_tokens)
            n = o->rate_tokens < 1 ? 0 : (size_t)o->rate_tokens;
    }
    return n;
}

static void choose_replays(struct outflow *o, struct pass *p)
{
    size_t limit = p->limit;

    for (struct lane *l = o->replays; l; l = l->next) {
        size_t share = (size_t)o->spec.config->window_events / REPLAY_SHARE;

        if (l->job->state != JOB_RUNNING || l->in_flight > share)
            continue;
        size_t before = p->n;

        p->limit = replay_allowance(l, limit - p->n, o->now_ms) + p->n;
        choose_lane(o, p, l);
        replay_spend(l, p->n - before);
        p->limit = limit;
    }
}

static size_t give(struct outflow *o, struct pass *p)
{
    size_t taken = o->spec.connector->sink_publish(o->sink, p->messages, p->n);

    for (size_t i = p->n; i > taken; i--) {
        lane_not_taken(p->flights[i - 1]);
        p->flights[i - 1]->probe = false;
    }
    for (size_t i = 0; i < taken; i++) {
        struct flight *f = p->flights[i];

        if (f->first_sent_ms == 0)
            f->first_sent_ms = o->unix_ms;
    }
    if (o->spec.config->rate_limit)
        o->rate_tokens -= (double)taken;
    return taken;
}

/* Too many open dead letters: a person must look before more are made. Retries still go. */
static bool dead_full(struct outflow *o)
{
    if ((int64_t)o->counts.dead < o->spec.config->max_dead_letters) {
        if (o->said_full)
            o->error[0] = 0;
        o->said_full = false;
        return false;
    }
    (void)snprintf(o->error, sizeof o->error,
        "stopped: %" PRIu64 " open dead letters (max_dead_letters)", o->counts.dead);
    if (!o->said_full)
        log_say(LOG_LEVEL_ERROR, o->spec.route->name, o->spec.config->name, "%s", o->error);
    o->said_full = true;
    return true;
}

static void read_all(struct outflow *o)
{
    held_load(&o->retry);
    if (dead_full(o))
        return;
    held_load(&o->live);
    if (o->live.has_feed && !o->draining)
        (void)read_lane(&o->live);
    for (struct lane *l = o->replays; l; l = l->next) {
        if (l->job->state != JOB_RUNNING || o->draining)
            continue;
        held_load(l);
        (void)read_lane(l);
    }
}

static bool stopped(struct outflow *o)
{
    if (!o->sink || o->paused)
        return true;
    if (breaker_tick(&o->breaker, o->now_ms))
        log_say(LOG_LEVEL_INFO, o->spec.route->name, o->spec.config->name, "breaker half-open");
    if (o->breaker.state == RELAY_BREAKER_OPEN || o->now_ms < o->quiet_until_ms)
        return true;
    return false;
}

size_t outflow_send(struct outflow *o, int64_t now_ms, int64_t unix_ms)
{
    struct pass p;
    size_t total = 0;

    o->now_ms = now_ms;
    o->unix_ms = unix_ms;
    if (stopped(o))
        return 0;
    for (int i = 0; i < PASSES_PER_TURN; i++) {
        size_t taken;

        o->pass++;
        read_all(o);
        p.n = 0;
        p.limit = allowance(o);
        if (o->suspects) {
            choose_alone(o, &p);
        } else if (o->breaker.state == RELAY_BREAKER_HALF_OPEN) {
            choose_probe(o, &p);
        } else {
            if (!dead_full(o))
                choose_lane(o, &p, &o->live);
            choose_lane(o, &p, &o->retry);
            choose_replays(o, &p);
        }
        if (p.n == 0)
            break;
        taken = give(o, &p);
        total += taken;
        if (taken < p.n)
            break;
    }
    return total;
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
    return o->live.has_feed && o->live.feed.next < end_of(o) ? o->live.feed.next : UINT64_MAX;
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
        unread = end_of(o) - o->live.frontier - ranges_count(&o->live.above);
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
    uint64_t accepted = o->live.has_feed ? end_of(o) - o->begin_seq : c->accepted;
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
