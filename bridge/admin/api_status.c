/* Is it working: routes, sinks, connections; and what a person switches on one of them. */
#include "bridge/admin/call.h"
#include "bridge/certificates.h"

#include <stdio.h>
#include <unistd.h>

static const char *const link_states[] = { "none", "connecting", "up", "blocked", "down",
    "stopped" };
static const char *const breaker_states[] = { "none", "closed", "open", "half-open" };

/* Times inside the relay are monotonic; people get distances. */
static json_t *link_json(const struct call *c, const struct link_status *s)
{
    int64_t retry = s->state == LINK_DOWN && s->retry_ms > c->now_ms ? s->retry_ms - c->now_ms : 0;

    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:I, s:o, s:o}", "state",
        link_states[s->state], "for_ms", (json_int_t)(c->now_ms - s->since_ms), "retry_in_ms",
        (json_int_t)retry, "reconnects", view_unsigned(s->reconnects), "error",
        view_bytes(bytes_text(s->error)), "peer", view_bytes(bytes_text(s->peer)), "lag",
        (json_int_t)s->lag, "duplicates", view_unsigned(s->duplicates), "reordered",
        view_unsigned(s->reordered));
}

static json_t *counts_json(const struct store_counts *n)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "accepted",
        view_unsigned(n->accepted), "delivered", view_unsigned(n->delivered), "held",
        view_unsigned(n->held), "dead", view_unsigned(n->dead), "dropped_filter",
        view_unsigned(n->dropped_filter), "dropped_loop", view_unsigned(n->dropped_loop),
        "dropped_person", view_unsigned(n->dropped_person), "dropped_discard",
        view_unsigned(n->dropped_discard), "diverted", view_unsigned(n->diverted), "reordered",
        view_unsigned(n->reordered), "retries", view_unsigned(n->retries));
}

static void set_pause(json_t *to, bool paused, int64_t since_ms, const char *by)
{
    json_object_set_new(to, "paused", json_boolean(paused));
    json_object_set_new(to, "paused_since_ms", paused ? json_integer(since_ms) : json_null());
    json_object_set_new(to, "paused_by", paused ? view_bytes(bytes_text(by)) : json_null());
}

/* A fallback counts what was diverted to it; for others the route's log tells. */
static json_t *sink_json(const struct call *c, size_t route, size_t sink, uint64_t next_seq)
{
    struct relay_sink_status s;
    int64_t open_for;
    json_t *ret;

    relay_sink_status(c->relay, route, sink, &s);
    open_for = s.breaker == RELAY_BREAKER_OPEN && s.breaker_until_ms > c->now_ms
                   ? s.breaker_until_ms - c->now_ms
                   : 0;
    ret = json_pack("{s:s, s:s, s:o, s:o, s:b, s:b, s:b}", "name", s.name, "connection",
        s.connection, "place", view_bytes(bytes_text(s.place)), "link", link_json(c, &s.link),
        "enabled", s.enabled, "draining", s.draining, "fallback_only", s.fallback_only);
    if (!ret)
        return NULL;
    set_pause(ret, s.paused, s.paused_since_ms, s.paused_by);
    json_object_set_new(ret, "going", json_boolean(s.going));
    json_object_set_new(ret, "breaker", json_string(breaker_states[s.breaker]));
    json_object_set_new(ret, "breaker_open_for_ms", json_integer(open_for));
    if (!s.fallback_only)
        s.counts.accepted = next_seq - s.begin_seq;
    json_object_set_new(ret, "counts", counts_json(&s.counts));
    json_object_set_new(ret, "begin_seq", view_unsigned(s.begin_seq));
    json_object_set_new(ret, "frontier", view_unsigned(s.frontier));
    json_object_set_new(ret, "pending", view_unsigned(s.pending));
    json_object_set_new(ret, "parked", view_unsigned(s.parked));
    json_object_set_new(ret, "parked_keys", view_unsigned(s.parked_keys));
    json_object_set_new(ret, "in_flight", view_unsigned(s.in_flight));
    json_object_set_new(ret, "oldest_pending_ms",
        s.oldest_pending_ms ? json_integer(s.oldest_pending_ms) : json_null());
    json_object_set_new(ret, "rate", json_real(s.rate));
    json_object_set_new(ret, "balanced", json_boolean(s.balanced));
    json_object_set_new(ret, "error", view_bytes(bytes_text(s.error)));
    return ret;
}

static json_t *route_json(const struct call *c, size_t route)
{
    struct relay_route_status s;
    json_t *ret, *sinks = json_array();

    relay_route_status(c->relay, route, &s);
    for (size_t i = 0; i < s.sink_count; i++)
        json_array_append_new(sinks, sink_json(c, route, i, s.next_seq));
    ret = json_pack("{s:s, s:s, s:o, s:o, s:b, s:o}", "name", s.name, "connection", s.connection,
        "place", view_bytes(bytes_text(s.place)), "link", link_json(c, &s.link), "enabled",
        s.enabled, "sinks", sinks);
    if (!ret)
        return NULL;
    set_pause(ret, s.paused, s.paused_since_ms, s.paused_by);
    json_object_set_new(ret, "going", json_boolean(s.going));
    json_object_set_new(ret, "held_back", view_bytes(bytes_text(s.held_back)));
    json_object_set_new(ret, "accepted", view_unsigned(s.accepted));
    json_object_set_new(ret, "duplicates", view_unsigned(s.duplicates));
    json_object_set_new(ret, "reordered", view_unsigned(s.reordered));
    json_object_set_new(ret, "gaps", view_unsigned(s.gaps));
    json_object_set_new(ret, "first_seq", view_unsigned(s.first_seq));
    json_object_set_new(ret, "next_seq", view_unsigned(s.next_seq));
    json_object_set_new(ret, "backlog_bytes", json_integer(s.backlog_bytes));
    json_object_set_new(ret, "max_backlog_bytes", json_integer(s.max_backlog_bytes));
    json_object_set_new(ret, "last_received_ms",
        s.last_received_ms ? json_integer(s.last_received_ms) : json_null());
    json_object_set_new(ret, "rate", json_real(s.rate));
    json_object_set_new(ret, "error", view_bytes(bytes_text(s.error)));
    return ret;
}

static json_t *usage_json(const struct call *c)
{
    struct store_usage u;

    store_usage(c->store, &u);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:o, s:I, s:I, s:I}", "id", store_id(c->store),
        "path", c->config->store_path, "used_bytes", (json_int_t)u.used_bytes, "max_bytes",
        (json_int_t)u.max_bytes, "wal_bytes", (json_int_t)u.wal_bytes, "full", store_full(c->store),
        "commits", view_unsigned(u.commits), "events_appended", (json_int_t)u.events_appended,
        "commit_us_last", (json_int_t)u.commit_us_last, "commit_us_max",
        (json_int_t)u.commit_us_max);
}

static json_t *orphans_json(const struct call *c)
{
    const struct store_known *known = NULL;
    size_t count = relay_orphans(c->relay, &known);
    json_t *ret = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            ret, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "route", known[i].route, "sink",
                     known[i].sink, "pending", view_unsigned(known[i].pending), "held",
                     view_unsigned(known[i].held), "dead", view_unsigned(known[i].dead), "jobs",
                     view_unsigned(known[i].jobs)));
    return ret;
}

static json_t *connections_json(const struct call *c)
{
    json_t *ret = json_array();

    for (size_t i = 0; i < c->config->connection_count; i++) {
        struct link_status s;

        if (c->config->connections[i].built_in)
            continue;
        relay_connection_status(c->relay, i, &s);
        json_array_append_new(
            ret, json_pack("{s:s, s:s, s:o}", "name", c->config->connections[i].name, "type",
                     c->config->connections[i].connector->type, "link", link_json(c, &s)));
    }
    return ret;
}

/* NULL: no memory to list them. */
static json_t *certificates_json(const struct call *c)
{
    struct certificates all;
    json_t *ret = json_array();

    if (certificates_read(c->relay, c->config, &all) != 0)
        return ret;
    for (size_t i = 0; i < all.n; i++)
        json_array_append_new(
            ret, json_pack("{s:s, s:s, s:o, s:I, s:I, s:b}", "connection", all.at[i].connection,
                     "which", all.at[i].which, "file",
                     all.at[i].path ? view_bytes(bytes_text(all.at[i].path)) : json_null(),
                     "expires_ms", (json_int_t)all.at[i].expires_ms, "days",
                     (json_int_t)certificates_days(all.at[i].expires_ms, c->unix_ms), "near",
                     certificates_near(all.at[i].expires_ms, c->unix_ms)));
    certificates_done(&all);
    return ret;
}

/* How the last reload ended; null when there was none. */
static json_t *reload_json(const struct call *c)
{
    enum reload_outcome outcome = RELOAD_OUTCOME_NONE;
    const char *text = NULL;
    int64_t unix_ms = 0;

    if (c->reload)
        reload_last_go(c->reload, &outcome, &unix_ms, &text);
    if (outcome == RELOAD_OUTCOME_NONE)
        return json_null();
    return json_pack("{s:s, s:I, s:o}", "result", reload_outcome_text(outcome), "time_ms",
        (json_int_t)unix_ms, "text", view_bytes(bytes_text(text)));
}

void api_status(struct call *c)
{
    json_t *routes = json_array();

    for (size_t i = 0; i < relay_route_count(c->relay); i++)
        json_array_append_new(routes, route_json(c, i));
    call_reply(
        c, json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
               BASCULE_VERSION, "pid", (json_int_t)getpid(), "now_ms", (json_int_t)c->unix_ms,
               "started_ms", (json_int_t)call_started_ms(c), "config_hash", c->config->hash,
               "config_loaded_ms", (json_int_t)call_configured_ms(c), "last_reload", reload_json(c),
               "store", usage_json(c), "connections", connections_json(c), "certificates",
               certificates_json(c), "routes", routes, "orphans", orphans_json(c)));
}

void api_route(struct call *c)
{
    for (size_t i = 0; i < relay_route_count(c->relay); i++) {
        struct relay_route_status s;

        relay_route_status(c->relay, i, &s);
        if (strcmp(s.name, c->values[0]) == 0) {
            call_reply(c, json_pack("{s:I, s:o}", "now_ms", (json_int_t)c->unix_ms, "route",
                              route_json(c, i)));
            return;
        }
    }
    call_fail(c, 404, "not_found", "there is no route '%s'", c->values[0]);
}

void api_version(struct call *c)
{
    call_reply(c, json_pack("{s:s, s:i}", "version", BASCULE_VERSION, "api", 1));
}

/* ---- changes ---- */

static void done(struct call *c, const char *what, int result, const struct fault *why)
{
    char object[160];

    (void)snprintf(object, sizeof object, "%s%s%s", c->values[0], c->values[1] ? "/" : "",
        c->values[1] ? c->values[1] : "");
    call_audit(c, what, object, NULL, result == 0 ? "done" : why->text);
    if (result == 0)
        call_reply(c, json_pack("{s:s, s:s}", "done", what, "object", object));
    else
        call_fault(c, why);
}

static void set_paused(struct call *c, bool paused)
{
    char who[128];
    struct fault why = { 0 };
    int result = relay_pause(
        c->relay, c->values[0], c->values[1], paused, call_who(c, who), c->unix_ms, &why);

    done(c, paused ? "pause" : "resume", result, &why);
}

void api_pause(struct call *c)
{
    set_paused(c, true);
}

void api_resume(struct call *c)
{
    set_paused(c, false);
}

void api_drain(struct call *c)
{
    struct fault why = { 0 };
    int result = relay_drain_one(c->relay, c->values[0], c->values[1], &why);

    done(c, "drain", result, &why);
}

void api_breaker(struct call *c)
{
    json_t *open = json_object_get(c->body, "open");
    struct fault why = { 0 };
    int result;

    if (!json_is_boolean(open)) {
        call_fail(c, 400, "bad_request", "give {\"open\": true} or {\"open\": false}");
        return;
    }
    result = relay_breaker_set(c->relay, c->values[0], c->values[1], json_is_true(open), &why);
    done(c, json_is_true(open) ? "breaker_open" : "breaker_reset", result, &why);
}
