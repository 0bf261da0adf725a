/* Sending: what is read next, what may go now, in which order, within the window. */
#include "routes/spans.h"

#include "bridge/base/header.h"
#include "bridge/base/log.h"
#include "routes/tell.h"

#include <inttypes.h>
#include <stdio.h>

/* Of the window that replays may take while live events wait: they never delay those by more. */
#define REPLAY_SHARE 4
#define PASSES_PER_TURN 8
#define HALF_OPEN_READY 16

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

/* After a start held ones wait for what is below them in the log, so that is read in any case. */
static bool held_allow(const struct config_sink *c, const struct lane *l)
{
    return l->held_count < OUTFLOW_HELD_MAX &&
           !(c->ordering == CONFIG_ORDER_SOURCE && l->held_count);
}

static bool room(const struct outflow *o, const struct lane *l)
{
    const struct config_sink *c = o->spec.config;
    size_t limit = o->breaker.state == RELAY_BREAKER_HALF_OPEN ? HALF_OPEN_READY : OUTFLOW_BATCH;
    size_t window = (size_t)c->window_events;

    if (l->kind == LANE_REPLAY)
        window = window / REPLAY_SHARE ? window / REPLAY_SHARE : 1;
    return l->ready_count < limit && l->ready_count + l->in_flight < window &&
           o->in_flight_bytes < (size_t)c->window_bytes &&
           (!o->fallback || o->fallback->live.held_count < OUTFLOW_HELD_MAX) &&
           (held_allow(c, l) || l->feed.next <= l->held_high);
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

uint64_t outflow_end(const struct outflow *o)
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

        if (l->leg ? !leg_seek(l) : l->feed.next >= outflow_end(o))
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

/* Its own broker gave it up; only a person sends it on. */
static bool refused_by_source(struct flight *f)
{
    struct bytes text = BYTES_NONE;
    char words[256] = "the source gave it up";
    int32_t code;

    if (!(f->in.flags & EVENT_REFUSED) || f->lane->kind != LANE_LIVE)
        return false;
    if (header_refusal(f->in.headers, &code, &text))
        (void)snprintf(words, sizeof words, "%.*s", (int)(text.n < 255 ? text.n : 255),
            text.n ? (const char *)text.at : "");
    fate_dead(f, REASON_SOURCE, code, words);
    return true;
}

static enum may prepare(struct outflow *o, struct flight *f)
{
    enum held_reason reason;
    struct fault why = { 0 };

    if (refused_by_source(f))
        return MAY_GONE;
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

/* Of a replay, also when a person retries a dead letter that it left. */
static bool is_replay(const struct flight *f)
{
    return f->lane->kind == LANE_REPLAY || (f->entry && f->entry->job);
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
                 (is_replay(f) ? (unsigned)MESSAGE_REPLAY : 0u),
    };
    memcpy(m->fields, f->fields, sizeof m->fields);
}

struct pass {
    struct message messages[OUTFLOW_BATCH];
    struct flight *flights[OUTFLOW_BATCH];
    size_t n, limit;
    bool rated; /* the rate limit, not the window, says how many */
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

static size_t allowance(struct outflow *o, bool *rated)
{
    const struct config_sink *c = o->spec.config;
    size_t window = (size_t)c->window_events;
    size_t n = o->in_flight < window ? window - o->in_flight : 0;

    *rated = false;
    if (n > OUTFLOW_BATCH)
        n = OUTFLOW_BATCH;
    if (c->rate_limit) {
        double burst = (double)c->rate_limit / 1000.0;

        o->rate_tokens += (double)(o->now_ms - o->rate_at_ms) * (double)c->rate_limit / 1e6;
        o->rate_at_ms = o->now_ms;
        if (o->rate_tokens > (burst > 1 ? burst : 1))
            o->rate_tokens = burst > 1 ? burst : 1;
        *rated = (double)n > o->rate_tokens;
        if (*rated)
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

static bool something_waits(struct outflow *o)
{
    for (struct lane *l = &o->live; l; l = lane_next(o, l))
        if (l->ready_first)
            return true;
    return false;
}

static size_t give(struct outflow *o, struct pass *p)
{
    size_t taken = o->spec.connector->sink_publish(o->sink, p->messages, p->n);

    for (size_t i = p->n; i > taken; i--) {
        lane_not_taken(p->flights[i - 1]);
        p->flights[i - 1]->probe = false;
    }
    if (tracer_on(o->spec.tracer))
        spans_sent(o, p->flights, taken);
    for (size_t i = 0; i < taken; i++) {
        struct flight *f = p->flights[i];

        if (f->first_sent_ms == 0)
            f->first_sent_ms = o->unix_ms;
        if (outflow_tapped(o))
            outflow_tap(f, TAP_SENT, 0, NULL, -1);
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
        p.limit = allowance(o, &p.rated);
        if (o->suspects) {
            choose_alone(o, &p);
        } else if (o->breaker.state == RELAY_BREAKER_HALF_OPEN) {
            choose_probe(o, &p);
        } else {
            if (!dead_full(o))
                choose_lane(o, &p, &o->live);
            choose_lane(o, &p, &o->retry);
            choose_replays(o, &p);
            if (p.rated && p.n == p.limit && something_waits(o))
                tell_rate_limit(o);
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
