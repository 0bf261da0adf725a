/* The turn that moves events through all parts of the relay. */
#include "routes/relay_inside.h"
#include "routes/tell.h"

#include "bridge/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <malloc.h>
#include <stdlib.h>

/* ---- once a second ---- */

static void backlog_answered(void *asker, struct store_read *read)
{
    struct relay_route *route = asker;

    route->backlog_asked = false;
    if (read->failed)
        return;
    route->backlog_bytes = read->backlog_bytes;
    route->unmeasured_bytes = 0;
}

static uint64_t slowest(const struct relay_route *route)
{
    uint64_t seq = route->tail.next_seq;

    for (size_t s = 0; s < route->config->sink_count; s++) {
        const struct outflow *o = route->outflows[s];

        if (o->live.has_feed && o->live.frontier < seq &&
            !(o->spec.end_seq && outflow_pending(o) == 0))
            seq = o->live.frontier;
    }
    return seq;
}

static void ask_backlog(struct relay_route *route)
{
    uint64_t seq = slowest(route), tag;

    if (seq >= route->tail.next_seq) {
        route->backlog_bytes = route->unmeasured_bytes = 0;
        return;
    }
    if (route->backlog_asked)
        return;
    tag = asks_add(&route->relay->asks, backlog_answered, route);
    if (tag == 0)
        return;
    route->backlog_asked = store_read_backlog(route->relay->spec.store, tag, route->id, seq) == 0;
    if (!route->backlog_asked)
        asks_drop(&route->relay->asks, tag);
}

int64_t relay_backlog_limit(const struct relay_route *route)
{
    const struct config *c = route->relay->spec.config;

    if (route->config->max_backlog)
        return route->config->max_backlog;
    return c->store_max_size / (int64_t)(c->route_count ? c->route_count : 1);
}

/* Its source is the bridge itself. */
static bool tells(const struct relay_route *route)
{
    return route->intake->spec.connector == &connector_internal;
}

static int64_t backlog_of(const struct relay_route *route)
{
    int64_t bytes = route->backlog_bytes;

    for (size_t s = 0; s < route->config->sink_count; s++)
        bytes += route->outflows[s]->held_bytes;
    return bytes;
}

static void hold_back(struct relay_route *route, bool store_full)
{
    int64_t limit = relay_backlog_limit(route);
    const char *why = NULL;

    if (route->held_back)
        limit = limit / 100 * RELAY_RESUME_PERCENT;
    if (route->config->going)
        why = "it is gone from the configuration; it goes when its sinks are through";
    else if (store_full && !tells(route)) /* somebody must hear of it: there is a little room */
        why = "the store is full";
    else if (backlog_of(route) >= limit)
        why = "its backlog is over its share of the store (max_backlog)";
    if ((why != NULL) != (route->held_back != NULL))
        log_say(why ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, route->config->name, NULL, "%s%s",
            why ? "not reading: " : "reading again", why ? why : "");
    route->held_back = why;
}

static bool store_has_room(struct relay *r)
{
    struct store_usage usage;
    int64_t percent = r->store_was_full ? RELAY_RESUME_PERCENT : RELAY_FULL_PERCENT;
    bool was = r->store_was_full;

    store_usage(r->spec.store, &usage);
    r->store_was_full = store_full(r->spec.store) ||
                        (usage.max_bytes > 0 && usage.used_bytes > usage.max_bytes / 100 * percent);
    if (r->store_was_full != was)
        tell_store(r->lifecycle, !was, &usage);
    return !r->store_was_full;
}

static void check_sums(struct relay_route *route)
{
    for (size_t s = 0; s < route->config->sink_count; s++) {
        struct outflow *o = route->outflows[s];
        bool balanced = outflow_balanced(o);

        if (!balanced && o->balanced)
            log_say(LOG_LEVEL_ERROR, route->config->name, o->spec.config->name,
                "the conservation sum does not hold: run `bascule store check`");
        o->balanced = balanced;
    }
}

/* A change of state is said once; going down and up between two looks is seen by the session alone.
 */
static void say_link(
    const char *route, const char *sink, const struct link_status *now, enum link_state *said)
{
    bool well = now->state == LINK_UP;

    if (now->state == *said || now->state == LINK_NONE || now->state == LINK_CONNECTING)
        return;
    if (well)
        log_say(LOG_LEVEL_INFO, route, sink, "connected to %s",
            now->peer[0] ? now->peer : "the broker");
    else
        log_say(LOG_LEVEL_WARN, route, sink, "%s: %s",
            now->state == LINK_BLOCKED   ? "blocked by the broker"
            : now->state == LINK_STOPPED ? "stopped"
                                         : "not connected",
            now->error[0] ? now->error : "no reason given");
    *said = now->state;
}

static void say_links(struct relay_route *route)
{
    const struct intake *i = route->intake;
    struct link_status status;

    if (i->source) {
        i->spec.connector->source_status(i->source, &status);
        say_link(route->config->name, NULL, &status, &route->link_state);
    }
    for (size_t s = 0; s < route->config->sink_count; s++) {
        struct outflow *o = route->outflows[s];

        if (!o->sink)
            continue;
        o->spec.connector->sink_status(o->sink, &status);
        say_link(route->config->name, o->spec.config->name, &status, &o->link_state);
    }
}

/* After a burst the allocator keeps what the burst needed. Given back once, when a second brought
 * nothing: at full speed it would only be asked for again. */
static void give_memory_back(struct relay *r)
{
    struct store_usage usage;

    store_usage(r->spec.store, &usage);
    if (usage.events_appended == r->seen_events && usage.events_appended != r->trimmed_events) {
        (void)malloc_trim(0);
        r->trimmed_events = usage.events_appended;
    }
    r->seen_events = usage.events_appended;
}

static void each_second(struct relay *r)
{
    bool full = !store_has_room(r);
    int64_t drift = r->unix_ms - r->now_ms - r->clock_base_ms;
    bool clock_ok = drift < 3600000 && drift > -3600000;

    for (size_t i = 0; i < r->route_count; i++) {
        ask_backlog(r->routes[i]);
        hold_back(r->routes[i], full);
        check_sums(r->routes[i]);
        say_links(r->routes[i]);
    }
    tell_health(r);
    relay_going_leave(r);
    store_housekeep(r->spec.store, r->unix_ms, clock_ok);
    give_memory_back(r);
    r->second_ms = r->now_ms;
}

/* ---- the turn ---- */

static int64_t step_links(struct relay *r)
{
    int64_t wake = INT64_MAX;

    for (size_t i = 0; i < r->spec.config->connection_count; i++) {
        struct relay_link *l = &r->links[i];

        if (!l->link)
            continue;
        l->wake_ms = l->config->connector->link_step(l->link, r->now_ms, r->unix_ms);
        wake = l->wake_ms < wake ? l->wake_ms : wake;
    }
    return wake;
}

/* Between two measurements what came in counts in full: near its limit a route waits for a fresh
 * one. */
static bool near_limit(struct relay_route *route)
{
    if (backlog_of(route) + route->unmeasured_bytes < relay_backlog_limit(route))
        return false;
    ask_backlog(route);
    return route->backlog_asked || backlog_of(route) >= relay_backlog_limit(route);
}

/* A broker that keeps its messages is not read faster than the fastest sink sends while that sink
 * reads from memory: what went past it would be read from the disk again. A sink that stands still,
 * or one that is behind, holds nobody back. */
static size_t may_receive(const struct relay_route *route)
{
    const struct config_route *c = route->config;
    size_t least = SIZE_MAX, held;

    if (!route->intake->source ||
        !(route->intake->spec.connector->source_traits(c->source_options).set & TRAIT_KEEPS))
        return SIZE_MAX;
    for (size_t s = 0; s < c->sink_count; s++) {
        size_t unread = outflow_unread(route->outflows[s]);

        least = unread < least ? unread : least;
    }
    if (least == SIZE_MAX)
        return SIZE_MAX;
    held = least + intake_bytes(route->intake);
    return held < RELAY_AHEAD_BYTES ? RELAY_AHEAD_BYTES - held : 0;
}

static size_t receive_route(struct relay_route *route)
{
    struct relay *r = route->relay;
    bool hold = route->paused || route->held_back || store_full(r->spec.store) || near_limit(route);
    size_t before = route->intake->waiting_bytes, bytes = may_receive(route), n;

    if (route->leaving) {
        intake_pause(route->intake, true);
        return 0;
    }
    intake_pause(route->intake, hold);
    route->ahead = bytes == 0;
    n = intake_receive(route->intake, bytes, r->now_ms);
    route->unmeasured_bytes += (int64_t)(route->intake->waiting_bytes - before);
    return n;
}

/* After all others, and once more before a commit: what is told goes with what it tells of. */
static size_t receive_told(struct relay *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->route_count; i++)
        if (tells(r->routes[i]))
            n += receive_route(r->routes[i]);
    return n;
}

static size_t feed_sinks(struct relay_route *route)
{
    struct relay *r = route->relay;
    uint64_t needed = UINT64_MAX, newest = 0;
    size_t moved = 0;

    for (size_t s = 0; s < route->config->sink_count; s++) {
        struct outflow *o = route->outflows[s];

        moved += outflow_send(o, r->now_ms, r->unix_ms);
        needed = outflow_needs(o) < needed ? outflow_needs(o) : needed;
        newest = outflow_needs(o) > newest ? outflow_needs(o) : newest;
    }
    tail_trim(&route->tail, needed);
    tail_unread(&route->tail, newest);
    return moved;
}

static bool must_submit(const struct relay *r)
{
    if (!store_empty(r->spec.store))
        return true;
    for (const struct replay *j = r->replays; j; j = j->next)
        if (j->urgent)
            return true;
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (intake_waiting(route->intake))
            return true;
        for (size_t s = 0; s < route->config->sink_count; s++) {
            const struct outflow *o = route->outflows[s];

            if (o->dirty &&
                (r->draining || route->leaving || r->now_ms - o->dirty_since_ms >= RELAY_CURSOR_MS))
                return true;
        }
    }
    return false;
}

static int flush_routes(struct relay *r, bool told, struct fault *why)
{
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];

        if (tells(route) != told)
            continue;
        if (intake_flush(route->intake, r->unix_ms, why) != 0)
            return -1;
        for (size_t s = 0; s < route->config->sink_count; s++)
            outflow_flush(route->outflows[s]);
    }
    return 0;
}

/* Everything that belongs together goes into one transaction: rows, the cursor moves over them,
 * counts, new events and their positions. */
static int submit(struct relay *r, struct fault *why)
{
    if (flush_routes(r, false, why) != 0)
        return -1;
    (void)receive_told(r);
    if (flush_routes(r, true, why) != 0)
        return -1;
    for (struct replay *j = r->replays; j; j = j->next)
        replay_flush(j, r->spec.store, r->now_ms);
    (void)store_submit(r->spec.store, r->unix_ms);
    return 0;
}

static void turn_jobs(struct relay *r)
{
    struct replay **at = &r->replays;

    while (*at) {
        struct replay *j = *at;

        if (replay_turn(j, r->spec.store, r->now_ms, r->unix_ms)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        replay_free(j);
    }
}

static int64_t next_wake(const struct relay *r, int64_t wake)
{
    int64_t at = r->second_ms + RELAY_SECOND_MS;

    wake = at < wake ? at : wake;
    at = relay_reload_wake(r);
    wake = at < wake ? at : wake;
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (route->ahead)
            wake = r->now_ms + OUTFLOW_MOVES_MS < wake ? r->now_ms + OUTFLOW_MOVES_MS : wake;
        for (size_t s = 0; s < route->config->sink_count; s++) {
            const struct outflow *o = route->outflows[s];

            at = outflow_wake_ms(o);
            wake = at < wake ? at : wake;
            at = o->dirty_since_ms + RELAY_CURSOR_MS;
            if (o->dirty && !store_busy(r->spec.store))
                wake = at < wake ? at : wake;
        }
    }
    return wake;
}

static bool sinks_idle(const struct relay_route *route)
{
    for (size_t s = 0; s < route->config->sink_count; s++)
        if (!outflow_idle(route->outflows[s]))
            return false;
    return true;
}

/* While another route has something in flight there may be something to tell. */
static bool others_drained(const struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++)
        if (!tells(r->routes[i]) && !(r->routes[i]->drained && sinks_idle(r->routes[i])))
            return false;
    return true;
}

/* The process ends: what is told until then goes into the log, though the route be paused. */
static void receive_last(struct relay_route *route)
{
    struct relay *r = route->relay;

    if (route->intake->stopped || route->draining || store_full(r->spec.store))
        return;
    lifecycle_flush(r->lifecycle);
    intake_pause(route->intake, false);
    (void)intake_receive(route->intake, SIZE_MAX, r->now_ms);
}

static void drain_sources(struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];

        if (!route->draining && !r->draining)
            continue;
        if (tells(route) && !route->draining && !others_drained(r))
            continue;
        if (tells(route))
            receive_last(route);
        route->intake->stopped = true;
        route->drained = intake_idle(route->intake) &&
                         (!route->intake->source ||
                             route->intake->spec.connector->source_drain(route->intake->source));
    }
}

int64_t relay_turn(struct relay *r, int64_t now_ms, int64_t unix_ms, struct fault *why)
{
    size_t moved = 0;
    int64_t wake, folded;

    r->now_ms = now_ms;
    r->unix_ms = unix_ms;
    folded = lifecycle_step(r->lifecycle, now_ms, unix_ms);
    wake = step_links(r);
    wake = folded < wake ? folded : wake;
    if (store_collect(r->spec.store, why) != 0)
        return -1;
    moved += asks_dispatch(&r->asks);
    for (size_t i = 0; i < r->route_count; i++) {
        struct relay_route *route = r->routes[i];

        moved += intake_settle(route->intake, now_ms);
        for (size_t s = 0; s < route->config->sink_count; s++)
            moved += outflow_collect(route->outflows[s], now_ms, unix_ms);
        if (!tells(route))
            moved += receive_route(route);
    }
    turn_jobs(r);
    moved += receive_told(r);
    if (!store_busy(r->spec.store) && must_submit(r) && submit(r, why) != 0)
        return -1;
    for (size_t i = 0; i < r->route_count && !r->draining; i++)
        if (!r->routes[i]->leaving)
            moved += feed_sinks(r->routes[i]);
    drain_sources(r);
    if (relay_reload_turn(r, why) != 0)
        return -1;
    if (now_ms - r->second_ms >= RELAY_SECOND_MS)
        each_second(r);
    return moved || lifecycle_told(r->lifecycle) ? now_ms : next_wake(r, wake);
}

void relay_drain(struct relay *r)
{
    relay_reload_drop(r);
    r->draining = true;
    for (size_t i = 0; i < r->route_count; i++)
        for (size_t s = 0; s < r->routes[i]->config->sink_count; s++)
            r->routes[i]->outflows[s]->draining = true;
}

bool relay_unsure(const struct relay *r)
{
    for (size_t i = 0; i < r->route_count; i++)
        for (size_t s = 0; s < r->routes[i]->config->sink_count; s++)
            if (outflow_unsure(r->routes[i]->outflows[s]))
                return true;
    return false;
}

bool relay_drained(const struct relay *r)
{
    if (store_busy(r->spec.store) || !store_empty(r->spec.store))
        return false;
    for (size_t i = 0; i < r->route_count; i++) {
        const struct relay_route *route = r->routes[i];

        if (!route->drained || !sinks_idle(route))
            return false;
    }
    return true;
}
