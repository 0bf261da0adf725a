#include "bridge/cli/status_view.h"
#include "bridge/cli/table.h"

#include <stdio.h>

const char *status_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static const char *sink_state(const json_t *sink)
{
    const char *link = json_string_value(json_object_get(json_object_get(sink, "link"), "state"));
    const char *breaker = json_string_value(json_object_get(sink, "breaker"));

    if (!json_is_true(json_object_get(sink, "enabled")))
        return "disabled";
    if (json_is_true(json_object_get(sink, "paused")))
        return "paused";
    if (json_is_true(json_object_get(sink, "going")))
        return "going";
    if (json_is_true(json_object_get(sink, "balanced")) == 0)
        return "UNBALANCED";
    if (breaker && strcmp(breaker, "open") == 0)
        return "breaker open";
    return link ? link : "-";
}

static const char *route_state(const json_t *route)
{
    const char *held_back = json_string_value(json_object_get(route, "held_back"));

    if (!json_is_true(json_object_get(route, "enabled")))
        return "disabled";
    if (json_is_true(json_object_get(route, "paused")))
        return "paused";
    if (json_is_true(json_object_get(route, "going")))
        return "going";
    if (held_back && *held_back)
        return "held back";
    return json_string_value(json_object_get(json_object_get(route, "link"), "state"));
}

static const char *trouble(const json_t *object)
{
    const char *held_back = status_text(object, "held_back"), *error = status_text(object, "error");

    if (*error)
        return error;
    return *held_back ? held_back : status_text(json_object_get(object, "link"), "error");
}

static json_t *sink_row(const char *route, const json_t *sink)
{
    const char *breaker = status_text(sink, "breaker"), *name = status_text(sink, "name");
    json_t *dead = json_object_get(json_object_get(sink, "counts"), "dead"), *ret;
    json_t *pending = json_object_get(sink, "pending"), *rate = json_object_get(sink, "rate");
    json_t *oldest = json_object_get(sink, "oldest_pending_ms");
    json_t *parked = json_object_get(sink, "parked_keys");

    ret = json_pack("{s:s++, s:s, s:s, s:s, s:O, s:O, s:O, s:O, s:O, s:O, s:s, s:s}", "name", route,
        "/", name, "route", route, "sink", name, "state", sink_state(sink), "paused",
        json_object_get(sink, "paused"), "rate", rate, "pending", pending, "oldest_pending_ms",
        oldest, "parked_keys", parked, "dead", dead, "breaker", breaker, "trouble", trouble(sink));
    if (!ret)
        return NULL;
    json_object_set(ret, "out", rate);
    json_object_set(ret, "all_pending", pending);
    json_object_set(ret, "all_oldest_ms", oldest);
    json_object_set(ret, "all_parked_keys", parked);
    json_object_set(ret, "all_dead", dead);
    json_object_set(ret, "all_breaker", json_object_get(ret, "breaker"));
    return ret;
}

static void add_up(json_t *row, const json_t *sinks)
{
    long long pending = 0, parked = 0, dead = 0, oldest = 0;
    const char *breaker = "-";
    double out = 0;
    json_t *sink;
    size_t i;

    json_array_foreach(sinks, i, sink)
    {
        long long since = json_integer_value(json_object_get(sink, "oldest_pending_ms"));
        const char *b = status_text(sink, "breaker");

        pending += json_integer_value(json_object_get(sink, "pending"));
        parked += json_integer_value(json_object_get(sink, "parked_keys"));
        dead += json_integer_value(json_object_get(json_object_get(sink, "counts"), "dead"));
        out += json_real_value(json_object_get(sink, "rate"));
        oldest = since && (!oldest || since < oldest) ? since : oldest;
        if (strcmp(breaker, "open") != 0 && (strcmp(b, "closed") != 0 || *breaker == '-'))
            breaker = b;
    }
    json_object_set_new(row, "out", json_real(out));
    json_object_set_new(row, "all_pending", json_integer(pending));
    json_object_set_new(row, "all_oldest_ms", oldest ? json_integer(oldest) : json_null());
    json_object_set_new(row, "all_parked_keys", json_integer(parked));
    json_object_set_new(row, "all_dead", json_integer(dead));
    json_object_set_new(row, "all_breaker", json_string(breaker));
}

static json_t *route_row(const json_t *route)
{
    const char *name = status_text(route, "name"), *state = route_state(route);
    json_t *ret = json_pack("{s:s, s:s, s:s, s:s, s:O, s:O, s:s, s:O, s:s}", "name", name, "route",
        name, "sink", "", "state", state ? state : "-", "paused", json_object_get(route, "paused"),
        "rate", json_object_get(route, "rate"), "breaker", "-", "backlog_bytes",
        json_object_get(route, "backlog_bytes"), "trouble", trouble(route));

    if (!ret)
        return NULL;
    json_object_set(ret, "in", json_object_get(route, "rate"));
    add_up(ret, json_object_get(route, "sinks"));
    return ret;
}

json_t *status_rows(const json_t *routes)
{
    json_t *ret = json_array(), *route, *sink;
    size_t i, k;

    json_array_foreach(routes, i, route)
    {
        json_array_append_new(ret, route_row(route));
        json_array_foreach(json_object_get(route, "sinks"), k, sink)
            json_array_append_new(ret, sink_row(status_text(route, "name"), sink));
    }
    return ret;
}

static void put_last_reload(const json_t *last, struct buf *to)
{
    if (json_is_object(last) && strcmp(status_text(last, "result"), "done") != 0)
        buf_put_format(to, "The last reload was %s: %s. ",
            strcmp(status_text(last, "result"), "failed") == 0 ? "not finished" : "refused",
            status_text(last, "text"));
}

static void put_certificates(const json_t *all, struct buf *to)
{
    json_t *one;
    size_t i;

    json_array_foreach(all, i, one)
    {
        const char *which = status_text(one, "which");
        long long days = json_integer_value(json_object_get(one, "days"));

        if (!json_is_true(json_object_get(one, "near")))
            continue;
        buf_put_format(to, "%s of connection '%s' ",
            strcmp(which, "peer") == 0 ? "The broker's certificate" : which,
            status_text(one, "connection"));
        if (days < 0)
            buf_put_text(to, "has expired. ");
        else
            buf_put_format(to, "expires in %lld day%s. ", days, days == 1 ? "" : "s");
    }
}

void status_verdict(const json_t *status, const json_t *rows, struct buf *to)
{
    size_t i, troubled = 0, orphans = json_array_size(json_object_get(status, "orphans"));
    long long dead = 0;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        troubled += *status_text(row, "trouble") != '\0';
        dead += json_integer_value(json_object_get(row, "dead"));
    }
    if (json_is_true(json_object_get(json_object_get(status, "store"), "full")))
        buf_put_text(to, "The store is full: sources wait until there is space. ");
    put_last_reload(json_object_get(status, "last_reload"), to);
    put_certificates(json_object_get(status, "certificates"), to);
    if (troubled)
        buf_put_format(to, "%zu of %zu lines report trouble.", troubled, json_array_size(rows));
    else
        buf_put_text(to, "All routes are working.");
    if (dead)
        buf_put_format(to, " %lld dead letters wait ('bascule dlq groups').", dead);
    buf_put_text(to, " Up for ");
    table_put_duration(to, json_integer_value(json_object_get(status, "now_ms")) -
                               json_integer_value(json_object_get(status, "started_ms")));
    if (orphans)
        buf_put_format(
            to, "; %zu names in the store are not in the configuration (orphaned)", orphans);
}
