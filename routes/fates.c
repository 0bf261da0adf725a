/* What becomes of an event by the report of its sink. */
#include "routes/spans.h"

#include "bridge/base/log.h"
#include "routes/tell.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void outflow_dirty(struct outflow *o)
{
    if (!o->dirty)
        o->dirty_since_ms = o->now_ms;
    o->dirty = true;
}

/* Remembers that the cursor passes an event that was not delivered; without memory for it the trace
 * would lie, so the row is put at once. */
void outflow_mark(struct outflow *o, enum outcome outcome, uint64_t seq)
{
    struct seqs *s = &o->outcomes[outcome];

    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 64;
        uint64_t *at = realloc(s->at, capacity * sizeof *at);

        if (!at) {
            store_outcome_put(o->spec.store, o->id, outcome, &seq, 1);
            return;
        }
        s->at = at;
        s->capacity = capacity;
    }
    s->at[s->n++] = seq;
}

void outflow_tap(
    const struct flight *f, enum tap_what what, int code, const char *text, int64_t took_ms)
{
    const struct lane *l = f->lane;
    const struct outflow *o = l->o;
    const struct tap_seen seen = { .what = what,
        .lane = l->kind == LANE_LIVE    ? TAP_LIVE
                : l->kind == LANE_RETRY ? TAP_RETRY
                                        : TAP_REPLAY,
        .route = l->route,
        .seq = f->seq,
        .event = f->rendered ? &f->out : &f->in,
        .code = code,
        .text = text,
        .took_ms = took_ms,
        .unix_ms = o->unix_ms };

    taps_seen(o->spec.taps, o->spec.route_id, o->id, &seen, o->now_ms);
}

static void put_attempt(const struct flight *f, uint32_t number, enum fate fate, enum cause cause,
    int code, const char *text)
{
    const struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct attempt a = {
        .sink_id = o->id,
        .seq = f->seq,
        .job = f->entry ? f->entry->job : lane_job(l),
        .generation = f->entry ? f->entry->generation : lane_generation(l),
        .number = number,
        .time_ms = o->unix_ms,
        .fate = (uint8_t)fate,
        .cause = (uint8_t)cause,
        .code = code,
        .text = text,
    };

    store_attempt_put(o->spec.store, &a);
}

/* The sink's own counts are of first deliveries; a job has its own in its leg. */
static bool counts_for_sink(const struct flight *f)
{
    return f->entry ? f->entry->job == 0 : f->lane->kind == LANE_LIVE;
}

static void entry_counts_leave(struct flight *f)
{
    struct outflow *o = f->lane->o;

    if (f->lane->kind != LANE_LIVE || !counts_for_sink(f))
        return;
    o->counts.held--;
    o->held_bytes -= (int64_t)f->entry->bytes;
}

static void entry_end(struct flight *f)
{
    struct entry *e = f->entry;
    struct lane *l = f->lane;

    f->entry = NULL;
    l->o->progress_ms = l->kind == LANE_LIVE ? l->o->now_ms : l->o->progress_ms;
    held_forget(l, e);
}

void fate_delivered(struct flight *f)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct entry *e = f->entry;

    if (f->key && f->key->first && f->key->first->seq < f->seq)
        o->counts.reordered++;
    if (l->leg)
        l->leg->delivered++;
    if (counts_for_sink(f))
        o->counts.delivered++;
    if (!e) {
        lane_finish(l, f->seq);
    } else {
        if (e->attempts || e->state == HELD_RETRYING)
            put_attempt(f, e->attempts + 1, FATE_DELIVERED, CAUSE_NONE, 0, NULL);
        entry_counts_leave(f);
        if (e->state == HELD_RETRYING) {
            if (e->job == 0)
                o->counts.dead--;
            e->state = HELD_RESOLVED;
            e->attempts++;
            held_write(l, e, NULL);
        } else {
            held_remove(l, e);
        }
        entry_end(f);
    }
    outflow_dirty(o);
    rate_add(&o->delivered_rate, o->now_ms, 1);
    lane_flight_done(f);
}

/* A line about one event. */
static void say(
    enum log_level level, const struct flight *f, int code, const char *what, const char *text)
{
    const struct outflow *o = f->lane->o;
    char number[16] = "";
    struct log_about about = { .route = o->spec.route->name,
        .sink = o->spec.config->name,
        .code = number,
        .log = f->lane->route,
        .event = &f->in };

    if (code)
        (void)snprintf(number, sizeof number, "%d", code);
    log_about(level, &about, "%s@%" PRIu64 " %s%s%s", f->lane->route, f->seq, what,
        text && *text ? ": " : "", text ? text : "");
}

static bool divert(struct flight *f, enum held_reason reason, int code, const char *text)
{
    struct outflow *o = f->lane->o, *to = o->fallback;
    struct buf scratch;
    struct bytes key;
    struct entry *e;
    uint64_t hash;

    if (!to || f->lane->kind != LANE_LIVE || reason == REASON_STEP || reason == REASON_TEMPLATE ||
        reason == REASON_SOURCE)
        return false;
    to->now_ms = o->now_ms;
    to->unix_ms = o->unix_ms;
    buf_init(&scratch, 1 << 20);
    hash = outflow_key(to, &f->in, &scratch, &key);
    buf_done(&scratch);
    e = held_add(&to->live, f->seq, hash, HELD_WAITING, reason, code, text, 0, 0, NULL, &f->in);
    if (!e)
        return false;
    held_due(&to->live, e, 0);
    to->counts.accepted++;
    o->counts.diverted++;
    if (log_wants(LOG_LEVEL_DEBUG))
        say(LOG_LEVEL_DEBUG, f, code, "goes to the fallback", text);
    outflow_mark(o, OUTCOME_DIVERTED, f->seq);
    if (f->entry) {
        entry_counts_leave(f);
        held_remove(f->lane, f->entry);
        entry_end(f);
    } else {
        lane_finish(f->lane, f->seq);
    }
    return true;
}

/* Its row becomes a dead letter. */
static void entry_dies(struct flight *f, enum held_reason reason, int code, const char *text)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct entry *e = f->entry;

    entry_counts_leave(f);
    if (e->state != HELD_RETRYING) {
        if (l->leg)
            l->leg->dead++;
        else if (e->job == 0)
            o->counts.dead++;
        l->following -= e->state == HELD_FOLLOWING;
        tell_dead_letter(f, e->number, reason, code, text, e->attempts);
    }
    e->state = HELD_DEAD;
    e->reason = reason;
    e->code = code;
    e->unsure = f->unsure;
    held_write(l, e, text);
    entry_end(f);
}

static void row_dies(
    struct flight *f, enum held_reason reason, int code, const char *text, uint32_t attempts)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct held row = {
        .number = store_next_held(o->spec.store),
        .route_id = l->route_id,
        .sink_id = o->id,
        .seq = f->seq,
        .job = lane_job(l),
        .generation = lane_generation(l),
        .state = HELD_DEAD,
        .reason = reason,
        .code = code,
        .text = text,
        .attempts = attempts,
        .expires_in_ms = -1,
        .first_sent_ms = f->first_sent_ms,
        .unsure = f->unsure,
        .changed_ms = o->unix_ms,
    };

    store_held_put(o->spec.store, &row, &f->in);
    replay_touch(l);
    if (l->leg) {
        l->leg->dead++;
    } else {
        outflow_mark(o, OUTCOME_HELD, f->seq);
        o->counts.dead++;
    }
    tell_dead_letter(f, row.number, reason, code, text, attempts);
    lane_finish(l, f->seq);
}

static void die(
    struct flight *f, enum held_reason reason, int code, const char *text, uint32_t attempts)
{
    struct outflow *o = f->lane->o;

    bool diverted = divert(f, reason, code, text);

    if (outflow_tapped(o))
        outflow_tap(f, diverted ? TAP_DIVERTED : TAP_DEAD, code, text, -1);
    if (!diverted) {
        char what[64];

        (void)snprintf(what, sizeof what, "is a dead letter: %s", held_reason_text(reason));
        say(LOG_LEVEL_WARN, f, code, what, text);
        if (f->entry)
            entry_dies(f, reason, code, text);
        else
            row_dies(f, reason, code, text, attempts);
    }
    outflow_dirty(o);
    lane_flight_done(f);
}

void fate_dead(struct flight *f, enum held_reason reason, int code, const char *text)
{
    die(f, reason, code, text, f->sent ? 1 : 0);
}

void fate_dropped(struct flight *f, enum outcome outcome)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    uint64_t *count = outcome == OUTCOME_LOOP ? &o->counts.dropped_loop : &o->counts.dropped_filter;

    if (outflow_tapped(o))
        outflow_tap(f, outcome == OUTCOME_LOOP ? TAP_LOOP : TAP_FILTERED, 0, NULL, -1);
    if (l->leg)
        l->leg->dropped++;
    if (counts_for_sink(f))
        ++*count;
    if (log_wants(LOG_LEVEL_DEBUG))
        say(LOG_LEVEL_DEBUG, f, 0,
            outcome == OUTCOME_LOOP ? "goes round in a loop and is dropped" : "is filtered", NULL);
    if (f->entry) {
        entry_counts_leave(f);
        if (f->entry->state == HELD_RETRYING) {
            if (f->entry->job == 0)
                o->counts.dead--;
            f->entry->state = HELD_DROPPED;
            held_write(l, f->entry, "filtered by today's steps");
        } else {
            held_remove(f->lane, f->entry);
            if (l->kind == LANE_LIVE)
                outflow_mark(o, outcome, f->seq);
        }
        entry_end(f);
    } else {
        if (l->kind == LANE_LIVE)
            outflow_mark(o, outcome, f->seq);
        lane_finish(l, f->seq);
    }
    outflow_dirty(o);
    lane_flight_done(f);
}

static void wait_again(
    struct flight *f, enum held_reason reason, int code, const char *text, uint32_t attempts)
{
    struct lane *l = f->lane;
    struct outflow *o = l->o;
    struct entry *e = f->entry;
    uint32_t tries = attempts - (e ? e->attempts_before : 0);
    int64_t wait = backoff_wait_ms(&o->spec.config->retry, tries, o->spec.random);

    o->counts.retries++;
    if (e) {
        if (e->state == HELD_FOLLOWING) {
            e->state = HELD_WAITING;
            l->following--;
        }
        e->attempts = attempts;
        e->reason = reason;
        e->code = code;
        e->unsure = f->unsure;
        e->first_sent_ms = f->first_sent_ms;
        e->due_ms = o->now_ms + wait;
        held_write(l, e, text);
    } else {
        e = held_add(l, f->seq, f->key ? f->key->hash : 0, HELD_WAITING, reason, code, text,
            attempts, wait, f, &f->in);
        if (!e) {
            lane_again(f); /* no memory to remember the attempt: it goes again as it is */
            return;
        }
        if (l->kind == LANE_LIVE)
            outflow_mark(o, OUTCOME_HELD, f->seq);
        lane_finish(l, f->seq);
    }
    lane_flight_done(f);
    held_due(l, e, wait);
    outflow_dirty(o);
}

void fate_charged(
    struct flight *f, enum held_reason reason, enum cause cause, int code, const char *text)
{
    struct entry *e = f->entry;
    uint32_t attempts = (e ? e->attempts : 0) + 1;
    uint32_t max = f->lane->o->spec.config->max_attempts;

    put_attempt(
        f, attempts, cause == CAUSE_TIMEOUT ? FATE_UNSURE : FATE_REFUSED, cause, code, text);
    if (max == 0 || attempts - (e ? e->attempts_before : 0) < max) {
        if (log_wants(LOG_LEVEL_DEBUG)) {
            char what[48];

            (void)snprintf(what, sizeof what, "waits after attempt %" PRIu32, attempts);
            say(LOG_LEVEL_DEBUG, f, code, what, text);
        }
        wait_again(f, reason, code, text, attempts);
        return;
    }
    if (e)
        e->attempts = attempts;
    die(f, reason, code, text, attempts);
}

/* ---- reports ---- */

static void breaker_counts(struct outflow *o, const struct flight *f, const char *text)
{
    if (!breaker_failed(&o->breaker, f->seq, o->now_ms))
        return;
    (void)snprintf(
        o->error, sizeof o->error, "breaker open: %s", text ? text : "too many failures");
    log_say(LOG_LEVEL_WARN, o->spec.route->name, o->spec.config->name,
        "breaker opened for %" PRId64 " s: %s", o->breaker.open_for_ms / 1000, text ? text : "");
    store_audit_put(
        o->spec.store, o->unix_ms, -1, 0, "breaker_open", o->spec.config->name, text, "open");
    tell_breaker(o, f->probe ? "probe" : "failures", text ? text : "too many failures");
}

static void delivered(struct flight *f)
{
    struct outflow *o = f->lane->o;

    o->quiet_tries = 0;
    if (breaker_delivered(&o->breaker)) {
        o->error[0] = 0;
        log_say(LOG_LEVEL_INFO, o->spec.route->name, o->spec.config->name, "breaker closed");
        store_audit_put(o->spec.store, o->unix_ms, -1, 0, "breaker_closed", o->spec.config->name,
            NULL, "closed");
        tell_breaker(o, "probe", NULL);
    }
    fate_delivered(f);
}

/* Its state, not the event's fault: all wait a little, nobody is charged. */
static void broker_waits(struct outflow *o, const char *text)
{
    if (o->now_ms < o->quiet_until_ms)
        return;
    o->quiet_until_ms =
        o->now_ms + backoff_wait_ms(&backoff_connect, ++o->quiet_tries, o->spec.random);
    (void)snprintf(o->error, sizeof o->error, "%s", text ? text : "the broker takes nothing now");
}

static void protocol_error(struct flight *f, const struct report *r)
{
    struct outflow *o = f->lane->o;

    if (r->alone || r->fate == FATE_REFUSED) {
        fate_dead(f, REASON_PROTOCOL, r->code, r->text);
        return;
    }
    if (!f->suspect)
        o->suspects++;
    f->suspect = true;
    f->unsure = true;
    lane_again(f);
}

static void refused(struct flight *f, const struct report *r)
{
    struct outflow *o = f->lane->o;

    switch (r->cause) {
    case CAUSE_UNROUTABLE:
        fate_charged(f, REASON_UNROUTABLE, r->cause, r->code, r->text);
        break;
    case CAUSE_ADDRESS:
        fate_charged(f, REASON_ADDRESS, r->cause, r->code, r->text);
        break;
    case CAUSE_NACK:
        breaker_counts(o, f, r->text);
        if (f->probe)
            lane_again(f);
        else
            fate_charged(f, REASON_NACKED, r->cause, r->code, r->text);
        break;
    case CAUSE_PROTOCOL:
        protocol_error(f, r);
        break;
    default:
        fate_dead(f, REASON_REFUSED, r->code, r->text);
        break;
    }
}

static void not_sent(struct flight *f, const struct report *r)
{
    struct outflow *o = f->lane->o;

    if (r->fate == FATE_UNSURE)
        f->unsure = true;
    switch (r->cause) {
    case CAUSE_PROTOCOL:
        protocol_error(f, r);
        return;
    case CAUSE_BROKER:
        breaker_counts(o, f, r->text);
        broker_waits(o, r->text);
        break;
    case CAUSE_TIMEOUT:
        breaker_counts(o, f, r->text ? r->text : "no confirmation in time");
        if (r->later_confirmed && !f->probe) {
            fate_charged(f, REASON_TIMEOUT, r->cause, r->code,
                r->text ? r->text : "no confirmation in time");
            return;
        }
        break;
    default:
        break;
    }
    lane_again(f);
}

static void count_answer(struct outflow *o, const struct flight *f, enum fate fate)
{
    struct relay_attempts *a = &o->attempts;
    bool done = fate == FATE_DELIVERED;

    histogram_add(done ? &a->delivered : &a->failed, (o->now_ms - f->sent_ms) * 1000);
    a->refused += fate == FATE_REFUSED;
    a->unsure += fate == FATE_UNSURE;
    a->unsent += fate == FATE_UNSENT;
}

static void tap_answer(const struct flight *f, const struct report *r)
{
    enum tap_what what = r->fate == FATE_DELIVERED ? TAP_DELIVERED
                         : r->fate == FATE_REFUSED ? TAP_REFUSED
                         : r->fate == FATE_UNSURE  ? TAP_UNSURE
                                                   : TAP_UNSENT;

    outflow_tap(f, what, r->code, r->text, f->lane->o->now_ms - f->sent_ms);
}

void fate_report(struct outflow *o, const struct report *r)
{
    uint32_t slot = (uint32_t)r->ref;
    struct flight *f = slot < o->slot_count ? o->slots[slot] : NULL;

    if (!f || !f->lane || !f->sent || f->round != (uint32_t)(r->ref >> 32))
        return;
    count_answer(o, f, r->fate);
    if (tracer_on(o->spec.tracer))
        spans_reported(o, f, r);
    if (outflow_tapped(o))
        tap_answer(f, r);
    switch (r->fate) {
    case FATE_DELIVERED:
        delivered(f);
        break;
    case FATE_REFUSED:
        refused(f, r);
        break;
    default:
        not_sent(f, r);
        break;
    }
}
