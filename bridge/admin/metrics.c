/* What the daemon counts, as Prometheus text. Labels are names from the
 * configuration, so their number is the configuration's. */
#include "bridge/admin/call.h"
#include "bridge/admin/exposition.h"
#include "bridge/certificates.h"
#include "bridge/base/log.h"
#include "routes/health.h"

#include <stdio.h>
#include <stdlib.h>

/* About 4 KiB a sink: thousands of them. */
#define METRICS_BYTES_MAX (64u << 20)
#define METRICS_PREFIX "bascule_"
#define COUNTER "counter"
#define GAUGE "gauge"

/* A moment's status of everything, so that all families tell of the same one. */
struct sink_view {
    size_t route;
    struct relay_sink_status s;
};

struct page {
    const struct call *c;
    struct relay_route_status *routes;
    size_t route_count;
    struct sink_view *sinks;
    size_t sink_count;
    struct buf text;
};

static int page_read(struct page *p, const struct call *c)
{
    *p = (struct page){ .c = c, .route_count = relay_route_count(c->relay) };
    buf_init(&p->text, METRICS_BYTES_MAX);
    p->routes = calloc(p->route_count + 1, sizeof *p->routes);
    for (size_t i = 0; p->routes && i < p->route_count; i++) {
        relay_route_status(c->relay, i, &p->routes[i]);
        p->sink_count += p->routes[i].sink_count;
    }
    p->sinks = p->routes ? calloc(p->sink_count + 1, sizeof *p->sinks) : NULL;
    if (!p->sinks)
        return -1;
    p->sink_count = 0;
    for (size_t i = 0; i < p->route_count; i++)
        for (size_t j = 0; j < p->routes[i].sink_count; j++) {
            struct sink_view *v = &p->sinks[p->sink_count++];

            v->route = i;
            relay_sink_status(c->relay, i, j, &v->s);
            /* A fallback counts what was diverted to it; for others the route's log tells. */
            if (!v->s.fallback_only)
                v->s.counts.accepted = p->routes[i].next_seq - v->s.begin_seq;
        }
    return 0;
}

static void page_done(struct page *p)
{
    free(p->routes);
    free(p->sinks);
    buf_done(&p->text);
}

/* ---- of routes and sinks: a row of a table each ---- */

enum {
    SKIP = -1, /* no line: the value is not known */
};

struct route_metric {
    const char *name, *type, *help;
    double (*value)(const struct page *p, size_t route);
};

#define ROUTE_VALUE(function, expression)                                                          \
    static double function(const struct page *p, size_t route)                                     \
    {                                                                                              \
        const struct relay_route_status *r = &p->routes[route];                                    \
                                                                                                   \
        return (double)(expression);                                                               \
    }

ROUTE_VALUE(route_received, r->received)
ROUTE_VALUE(route_committed, r->accepted)
ROUTE_VALUE(route_duplicates, r->duplicates)
ROUTE_VALUE(route_reordered, r->reordered)
ROUTE_VALUE(route_gaps, r->gaps)
ROUTE_VALUE(route_backlog_bytes, r->backlog_bytes)
ROUTE_VALUE(route_backlog_max, r->max_backlog_bytes)
ROUTE_VALUE(route_up, r->link.state == LINK_UP || r->link.state == LINK_BLOCKED)
ROUTE_VALUE(route_reconnects, r->link.reconnects)
ROUTE_VALUE(route_paused, r->paused)
ROUTE_VALUE(route_held_back, r->held_back[0] != '\0')
ROUTE_VALUE(route_lag, r->enabled ? r->link.lag : SKIP)
ROUTE_VALUE(route_last, r->last_received_ms ? (double)r->last_received_ms / 1000 : SKIP)

static double route_ready(const struct page *p, size_t route)
{
    char why[512];

    return health_route(p->c->relay, route, why, sizeof why);
}

static const struct route_metric route_metrics[] = {
    { "received_events_total", COUNTER,
        "Events taken from the source by this process, redeliveries included.", route_received },
    { "committed_events_total", COUNTER, "Events on disk, since the route began.",
        route_committed },
    { "duplicates_refused_total", COUNTER, "Redeliveries that were not logged again.",
        route_duplicates },
    { "source_reordered_total", COUNTER,
        "Events that the source gave for the first time behind newer ones.", route_reordered },
    { "gaps_total", COUNTER, "Gaps recorded by this process: something was never received.",
        route_gaps },
    { "backlog_bytes", GAUGE, "Stored bytes that are not finished.", route_backlog_bytes },
    { "backlog_limit_bytes", GAUGE, "Backlog at which the route's source is paused.",
        route_backlog_max },
    { "source_up", GAUGE, "1 while the source is connected.", route_up },
    { "source_reconnects_total", COUNTER, "Lost connections of the source.", route_reconnects },
    { "source_lag_events", GAUGE, "Events that wait at the broker, where it tells.", route_lag },
    { "last_received_timestamp_seconds", GAUGE, "When the newest event was received.", route_last },
    { "route_paused", GAUGE, "1 while a person has paused the route.", route_paused },
    { "route_held_back", GAUGE, "1 while the source is not read for want of space.",
        route_held_back },
    { "route_ready", GAUGE, "1 while the route makes progress or has nothing to do, see /ready.",
        route_ready },
};

struct sink_metric {
    const char *name, *type, *help;
    double (*value)(const struct page *p, const struct relay_sink_status *s);
};

#define SINK_VALUE(function, expression)                                                           \
    static double function(const struct page *p, const struct relay_sink_status *s)                \
    {                                                                                              \
        (void)p;                                                                                   \
        return (double)(expression);                                                               \
    }

SINK_VALUE(sink_accepted, s->counts.accepted)
SINK_VALUE(sink_delivered, s->counts.delivered)
SINK_VALUE(sink_dropped, s->counts.dropped_filter + s->counts.dropped_loop +
                             s->counts.dropped_person + s->counts.dropped_discard)
SINK_VALUE(sink_diverted, s->counts.diverted)
SINK_VALUE(sink_reordered, s->counts.reordered)
SINK_VALUE(sink_retries, s->counts.retries)
SINK_VALUE(sink_refused, s->attempts.refused)
SINK_VALUE(sink_unsure, s->attempts.unsure)
SINK_VALUE(sink_unsent, s->attempts.unsent)
SINK_VALUE(sink_dead, s->counts.dead)
SINK_VALUE(sink_pending, s->pending)
SINK_VALUE(sink_held, s->counts.held)
SINK_VALUE(sink_parked, s->parked)
SINK_VALUE(sink_parked_keys, s->parked_keys)
SINK_VALUE(sink_in_flight, s->in_flight)
SINK_VALUE(sink_up, s->link.state == LINK_UP || s->link.state == LINK_BLOCKED)
SINK_VALUE(sink_reconnects, s->link.reconnects)
SINK_VALUE(sink_paused, s->paused)
SINK_VALUE(sink_balanced, s->balanced)
SINK_VALUE(sink_stalled, s->enabled && s->pending && p->c->now_ms > s->progress_ms
                             ? (double)(p->c->now_ms - s->progress_ms) / 1000
                             : 0)
SINK_VALUE(sink_age, s->pending == 0             ? 0
                     : s->oldest_pending_ms == 0 ? SKIP
                     : p->c->unix_ms > s->oldest_pending_ms
                         ? (double)(p->c->unix_ms - s->oldest_pending_ms) / 1000
                         : 0)
SINK_VALUE(sink_breaker, s->breaker == RELAY_BREAKER_OPEN        ? 2
                         : s->breaker == RELAY_BREAKER_HALF_OPEN ? 1
                                                                 : 0)

static const struct sink_metric sink_metrics[] = {
    { "accepted_events_total", COUNTER, "Events that count for the sink, since it began.",
        sink_accepted },
    { "delivered_events_total", COUNTER,
        "First deliveries that the broker confirmed, since the sink began.", sink_delivered },
    { "dropped_events_total", COUNTER, "Events that a filter, the loop guard or a person dropped.",
        sink_dropped },
    { "diverted_events_total", COUNTER, "Events handed to the fallback sink.", sink_diverted },
    { "reordered_events_total", COUNTER, "Events confirmed before an earlier one of their key.",
        sink_reordered },
    { "retries_total", COUNTER, "Attempts after the first.", sink_retries },
    { "refusals_total", COUNTER, "Answers of the broker that refused an event.", sink_refused },
    { "unsure_total", COUNTER, "Sendings without an answer, that may have arrived.", sink_unsure },
    { "unsent_total", COUNTER, "Sendings that surely did not arrive.", sink_unsent },
    { "dead_letters", GAUGE, "Events that wait for a person.", sink_dead },
    { "pending_events", GAUGE, "Events that are not finished.", sink_pending },
    { "held_events", GAUGE, "Pending events with a row of their own: tried before, or parked.",
        sink_held },
    { "parked_events", GAUGE, "Pending events that wait behind another one of their key.",
        sink_parked },
    { "parked_keys", GAUGE, "Keys that are parked.", sink_parked_keys },
    { "in_flight_events", GAUGE, "Events sent and not yet answered.", sink_in_flight },
    { "oldest_pending_age_seconds", GAUGE, "Since the oldest pending event in memory was received.",
        sink_age },
    { "stalled_seconds", GAUGE, "Since an event was finished, while some are pending.",
        sink_stalled },
    { "breaker_state", GAUGE, "Circuit breaker: 0 closed, 1 half-open, 2 open.", sink_breaker },
    { "sink_up", GAUGE, "1 while the sink is connected.", sink_up },
    { "sink_reconnects_total", COUNTER, "Lost connections of the sink.", sink_reconnects },
    { "sink_paused", GAUGE, "1 while a person has paused the sink.", sink_paused },
    { "sink_balanced", GAUGE, "1 while the sum of all fates is what was accepted.", sink_balanced },
};

#define COUNT_OF(table) (sizeof(table) / sizeof *(table))
#define NAME_BYTES 96

static void put_routes(struct page *p)
{
    for (size_t m = 0; m < COUNT_OF(route_metrics); m++) {
        char name[NAME_BYTES];

        (void)snprintf(name, sizeof name, METRICS_PREFIX "%s", route_metrics[m].name);
        exposition_family(&p->text, name, route_metrics[m].type, route_metrics[m].help);
        for (size_t i = 0; i < p->route_count; i++) {
            const char *const labels[] = { "route", p->routes[i].name, NULL };
            double value = route_metrics[m].value(p, i);

            if (value > SKIP)
                exposition_line(&p->text, name, labels, value);
        }
    }
}

static void put_sinks(struct page *p)
{
    for (size_t m = 0; m < COUNT_OF(sink_metrics); m++) {
        char name[NAME_BYTES];

        (void)snprintf(name, sizeof name, METRICS_PREFIX "%s", sink_metrics[m].name);
        exposition_family(&p->text, name, sink_metrics[m].type, sink_metrics[m].help);
        for (size_t i = 0; i < p->sink_count; i++) {
            const struct sink_view *v = &p->sinks[i];
            const char *const labels[] = { "route", p->routes[v->route].name, "sink", v->s.name,
                NULL };
            double value = sink_metrics[m].value(p, &v->s);

            if (value > SKIP)
                exposition_line(&p->text, name, labels, value);
        }
    }
}

static void put_confirm_times(struct page *p)
{
    static const char name[] = METRICS_PREFIX "confirm_duration_seconds";

    exposition_family(
        &p->text, name, "histogram", "From sending an event to the broker's confirmation.");
    for (size_t i = 0; i < p->sink_count; i++) {
        const struct sink_view *v = &p->sinks[i];
        const char *const labels[] = { "route", p->routes[v->route].name, "sink", v->s.name, NULL };

        exposition_histogram(&p->text, name, labels, &v->s.attempts.delivered);
    }
}

/* ---- by type of broker, under names that other integrations use too ---- */

struct integration {
    const char *type; /* "kafka" */
    uint64_t received;
    struct histogram delivered, failed;
};

static const char *type_of(const struct page *p, const char *connection)
{
    const struct config *c = p->c->config;

    for (size_t i = 0; i < c->connection_count; i++)
        if (strcmp(c->connections[i].name, connection) == 0)
            return c->connections[i].connector->type;
    return "unknown"; /* of a sink that is going */
}

/* There are a handful of types; NULL when there were more. */
static struct integration *integration_of(struct integration *all, size_t limit, const char *type)
{
    for (size_t i = 0; i < limit; i++) {
        if (!all[i].type)
            all[i].type = type;
        if (strcmp(all[i].type, type) == 0)
            return &all[i];
    }
    return NULL;
}

static void integrations_read(const struct page *p, struct integration *all, size_t limit)
{
    struct integration *one;

    for (size_t i = 0; i < p->route_count; i++)
        if ((one = integration_of(all, limit, type_of(p, p->routes[i].connection))) != NULL)
            one->received += p->routes[i].received;
    for (size_t i = 0; i < p->sink_count; i++) {
        const struct relay_sink_status *s = &p->sinks[i].s;

        if ((one = integration_of(all, limit, type_of(p, s->connection))) == NULL)
            continue;
        histogram_join(&one->delivered, &s->attempts.delivered);
        histogram_join(&one->failed, &s->attempts.failed);
    }
}

static void put_integrations(struct page *p)
{
    struct integration all[16] = { 0 };
    static const char total[] = "integration_total", times[] = "integration_duration_seconds";

    integrations_read(p, all, COUNT_OF(all));
    exposition_family(&p->text, total, COUNTER, "Operations at brokers of a type.");
    for (const struct integration *i = all; i < all + COUNT_OF(all) && i->type; i++) {
        const char *const received[] = { "type", i->type, "operation", "receive", "success", "true",
            NULL };
        const char *const sent[] = { "type", i->type, "operation", "publish", "success", "true",
            NULL };
        const char *const failed[] = { "type", i->type, "operation", "publish", "success", "false",
            NULL };

        exposition_line(&p->text, total, received, (double)i->received);
        exposition_line(&p->text, total, sent, (double)i->delivered.count);
        exposition_line(&p->text, total, failed, (double)i->failed.count);
    }
    exposition_family(&p->text, times, "histogram", "How long operations at brokers took.");
    for (const struct integration *i = all; i < all + COUNT_OF(all) && i->type; i++) {
        const char *const sent[] = { "type", i->type, "operation", "publish", "success", "true",
            NULL };
        const char *const failed[] = { "type", i->type, "operation", "publish", "success", "false",
            NULL };

        exposition_histogram(&p->text, times, sent, &i->delivered);
        exposition_histogram(&p->text, times, failed, &i->failed);
    }
}

/* ---- of the daemon ---- */

static void put_store(struct page *p)
{
    struct store_usage u;

    store_usage(p->c->store, &u);
    exposition_plain(&p->text, METRICS_PREFIX "store_used_bytes", GAUGE,
        "Bytes of the store's used pages and WAL.", (double)u.used_bytes);
    exposition_plain(&p->text, METRICS_PREFIX "store_limit_bytes", GAUGE, "The store's max_size.",
        (double)u.max_bytes);
    exposition_plain(&p->text, METRICS_PREFIX "store_wal_bytes", GAUGE, "Bytes of the WAL.",
        (double)u.wal_bytes);
    exposition_plain(&p->text, METRICS_PREFIX "store_full", GAUGE,
        "1 while events wait for space in the store.", store_full(p->c->store));
    exposition_family(&p->text, METRICS_PREFIX "commit_duration_seconds", "histogram",
        "Transactions of the store, synced.");
    exposition_histogram(&p->text, METRICS_PREFIX "commit_duration_seconds", NULL, &u.commit_times);
}

static void put_reload(struct page *p)
{
    enum reload_outcome outcome = RELOAD_OUTCOME_NONE;
    const char *text = NULL;
    int64_t unix_ms = 0;

    if (p->c->reload)
        reload_last_go(p->c->reload, &outcome, &unix_ms, &text);
    exposition_plain(&p->text, METRICS_PREFIX "config_last_reload_successful", GAUGE,
        "0 after a reload that was refused or failed.",
        outcome == RELOAD_OUTCOME_NONE || outcome == RELOAD_DONE);
    exposition_plain(&p->text, METRICS_PREFIX "config_loaded_timestamp_seconds", GAUGE,
        "Since when the configuration runs.", (double)call_configured_ms(p->c) / 1000);
}

static void put_certificates(struct page *p)
{
    static const char name[] = METRICS_PREFIX "certificate_expiry_timestamp_seconds";
    struct certificates all;

    if (certificates_read(p->c->relay, p->c->config, &all) != 0)
        return;
    exposition_family(&p->text, name, GAUGE,
        "Earliest end of the certificates in a connection's file, or of its broker's own (peer).");
    for (size_t i = 0; i < all.n; i++) {
        const char *const labels[] = { "connection", all.at[i].connection, "which", all.at[i].which,
            NULL };

        exposition_line(&p->text, name, labels, (double)all.at[i].expires_ms / 1000);
    }
    certificates_done(&all);
}

static void put_traces(struct page *p)
{
    static const char dropped[] = METRICS_PREFIX "trace_spans_dropped_total";
    static const char *const crowded[] = { "reason", "queue_full", NULL };
    static const char *const refused[] = { "reason", "collector", NULL };
    struct trace_status s = { 0 };

    if (p->c->traces)
        trace_export_status(p->c->traces, &s);
    exposition_plain(&p->text, METRICS_PREFIX "trace_spans_sent_total", COUNTER,
        "Spans that the collector of traces took.", (double)s.sent);
    exposition_family(&p->text, dropped, COUNTER,
        "Spans that found no room, or that the collector did not take.");
    exposition_line(&p->text, dropped, crowded, (double)s.crowded);
    exposition_line(&p->text, dropped, refused, (double)s.refused);
}

static void put_daemon(struct page *p)
{
    const char *const version[] = { "version", BASCULE_VERSION, NULL };
    const struct store_known *orphans = NULL;
    struct log_status log;
    int64_t resident = call_memory_bytes();

    exposition_family(&p->text, METRICS_PREFIX "build_info", GAUGE, "Always 1.");
    exposition_line(&p->text, METRICS_PREFIX "build_info", version, 1);
    exposition_plain(&p->text, METRICS_PREFIX "orphans", GAUGE,
        "Routes and sinks that are in the store and not in the configuration.",
        (double)relay_orphans(p->c->relay, &orphans));
    exposition_plain(&p->text, "process_start_time_seconds", GAUGE,
        "Start of the process, in seconds since the epoch.", (double)call_started_ms(p->c) / 1000);
    if (resident > 0)
        exposition_plain(&p->text, "process_resident_memory_bytes", GAUGE,
            "Resident memory of the process.", (double)resident);
    log_status(&log);
    exposition_plain(&p->text, METRICS_PREFIX "log_lost_lines_total", COUNTER,
        "Lines of the log that whoever reads it did not take in time.", (double)log.lost);
    if (!p->c->turns)
        return;
    exposition_family(&p->text, METRICS_PREFIX "loop_lag_seconds", "histogram",
        "Turns of the loop: what becomes due meanwhile waits as long.");
    exposition_histogram(&p->text, METRICS_PREFIX "loop_lag_seconds", NULL, p->c->turns);
}

void api_metrics(struct call *c)
{
    struct page p;

    if (page_read(&p, c) == 0) {
        put_daemon(&p);
        put_reload(&p);
        put_certificates(&p);
        put_store(&p);
        put_traces(&p);
        put_routes(&p);
        put_sinks(&p);
        put_confirm_times(&p);
        put_integrations(&p);
    }
    if (!p.sinks || p.text.failed)
        call_fail(c, 503, "no_memory", "out of memory");
    else
        call_reply_text(c, EXPOSITION_TYPE, buf_bytes(&p.text));
    page_done(&p);
}
