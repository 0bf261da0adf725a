/* trace, events ls, gaps ls, audit ls. */
#include "bridge/cli/client.h"
#include "bridge/cli/table.h"

#include <stdio.h>

static const struct table_column trace_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "seq", "SEQ", TABLE_NUMBER },
    { "id", "ID", TABLE_TEXT },
    { "received_ms", "RECEIVED", TABLE_TIME },
    { "sink", "SINK", TABLE_TEXT },
    { "fate", "FATE", TABLE_TEXT },
    { "delivered_by_ms", "BY", TABLE_TIME },
    { "attempts", "ATTEMPTS", TABLE_NUMBER },
    { "reason", "REASON", TABLE_TEXT },
    { "text", "TEXT", TABLE_TEXT },
    { NULL, NULL, 0 },
};
/* Programs have no heading to read the rest from. */
static const struct table_column trace_columns_plain[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "seq", "SEQ", TABLE_NUMBER },
    { "id", "ID", TABLE_TEXT },
    { "received_ms", "RECEIVED", TABLE_TIME },
    { "sink", "SINK", TABLE_TEXT },
    { "fate", "FATE", TABLE_TEXT },
    { "delivered_by_ms", "BY", TABLE_TIME },
    { "attempts", "ATTEMPTS", TABLE_NUMBER },
    { "reason", "REASON", TABLE_TEXT },
    { "text", "TEXT", TABLE_TEXT },
    { "origin", "ORIGIN", TABLE_TEXT },
    { "address", "ADDRESS", TABLE_TEXT },
    { NULL, NULL, 0 },
};
static const struct table_column event_columns[] = {
    { "seq", "SEQ", TABLE_NUMBER },
    { "route", "ROUTE", TABLE_TEXT },
    { "id", "ID", TABLE_TEXT },
    { "key", "KEY", TABLE_TEXT },
    { "address", "ADDRESS", TABLE_TEXT },
    { "received_ms", "RECEIVED", TABLE_TIME },
    { "body_bytes", "BODY", TABLE_SIZE },
    { NULL, NULL, 0 },
};
static const struct table_column gap_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "connection", "CONNECTION", TABLE_TEXT },
    { "what", "WHAT", TABLE_TEXT },
    { "start_ms", "FROM", TABLE_TIME },
    { "end_ms", "TO", TABLE_TIME },
    { "count", "LOST", TABLE_NUMBER },
    { "cause", "CAUSE", TABLE_TEXT },
    { NULL, NULL, 0 },
};
static const struct table_column audit_columns[] = {
    { "time_ms", "TIME", TABLE_TIME },
    { "uid", "UID", TABLE_NUMBER },
    { "pid", "PID", TABLE_NUMBER },
    { "what", "WHAT", TABLE_TEXT },
    { "object", "OBJECT", TABLE_TEXT },
    { "result", "RESULT", TABLE_TEXT },
    { "detail", "DETAIL", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static const struct table_column attempt_columns[] = {
    { "time_ms", "TIME", TABLE_TIME },
    { "sink", "SINK", TABLE_TEXT },
    { "number", "ATTEMPT", TABLE_NUMBER },
    { "job", "REPLAY", TABLE_NUMBER },
    { "fate", "ANSWER", TABLE_TEXT },
    { "cause", "CAUSE", TABLE_TEXT },
    { "code", "CODE", TABLE_NUMBER },
    { "text", "TEXT", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static void put_event_path(struct buf *to, const char *route, long long seq)
{
    buf_put_text(to, "/v1/routes/");
    client_put_encoded(to, route);
    buf_put_format(to, "/events/%lld", seq);
}

static void put_value(struct buf *to, const char *before, const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    if (text && *text) {
        buf_put_text(to, before);
        table_put_safe(to, text, strlen(text));
    }
}

/* " of rabbit, queue orders", as the route stands now; nothing when it is gone. */
static void put_source(struct command *c, struct buf *to, const char *route)
{
    struct client_answer answer = { 0 };
    struct fault why;
    struct buf path;

    buf_init(&path, 1024);
    buf_put_text(&path, "/v1/routes/");
    client_put_encoded(&path, route);
    if (client_ask(command_socket(c), "GET", buf_text(&path), NULL, &answer, &why) == 0) {
        const json_t *source = json_object_get(answer.json, "route");

        put_value(to, " of ", source, "connection");
        put_value(to, ", ", source, "place");
    }
    json_decref(answer.json);
    buf_done(&path);
}

/* "orders@7, id 4711: received 2026-… from orders-0-12 of kafka, topic orders, …; committed" */
static void print_heading(struct command *c, const json_t *row)
{
    const char *route = json_string_value(json_object_get(row, "route"));
    struct buf text;

    buf_init(&text, 65536);
    buf_put_format(&text, "%s@%lld", route ? route : "",
        (long long)json_integer_value(json_object_get(row, "seq")));
    put_value(&text, ", id ", row, "id");
    buf_put_text(&text, ": received ");
    table_put_time(&text, json_integer_value(json_object_get(row, "received_ms")));
    put_value(&text, " from ", row, "origin");
    put_source(c, &text, route ? route : "");
    put_value(&text, ", address ", row, "address");
    buf_put_text(&text, ", ");
    table_put_size(&text, json_integer_value(json_object_get(row, "body_bytes")));
    buf_put_text(&text, "; committed");
    puts(buf_text(&text));
    buf_done(&text);
}

/* One for each event: rows are an event's sinks. */
static void print_headings(struct command *c, const json_t *rows)
{
    const json_t *last = NULL;
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (!last || !json_equal(json_object_get(last, "seq"), json_object_get(row, "seq")) ||
            !json_equal(json_object_get(last, "route"), json_object_get(row, "route")))
            print_heading(c, row);
        last = row;
    }
    putchar('\n');
}

/* Every attempt of every event that rows tell of (a row per event and sink). */
static int fetch_attempts(struct command *c, const json_t *rows, json_t *ret)
{
    const char *last_route = "";
    long long last_seq = -1;
    json_t *row;
    size_t i;
    int code = 0;

    json_array_foreach(rows, i, row)
    {
        const char *route = json_string_value(json_object_get(row, "route"));
        long long seq = json_integer_value(json_object_get(row, "seq"));
        json_t *answer = NULL;
        struct buf path;

        if (!route || (seq == last_seq && strcmp(route, last_route) == 0))
            continue;
        last_route = route;
        last_seq = seq;
        buf_init(&path, 1024);
        put_event_path(&path, route, seq);
        buf_put_text(&path, "/attempts?limit=1000");
        code = command_ask(c, "GET", buf_text(&path), NULL, &answer);
        buf_done(&path);
        if (code != 0)
            break;
        json_array_extend(ret, json_object_get(answer, "rows"));
        json_decref(answer);
    }
    return code;
}

static int print_trace(struct command *c, json_t *rows)
{
    json_t *attempts = json_array();
    int code = fetch_attempts(c, rows, attempts);

    if (code == 0 && c->json) {
        json_t *all = json_pack("{s:O, s:O}", "rows", rows, "attempts", attempts);

        command_print_json(all);
        json_decref(all);
    } else if (code == 0) {
        if (c->terminal)
            print_headings(c, rows);
        table_print(c, c->terminal ? trace_columns : trace_columns_plain, rows, 0);
        if (json_array_size(attempts)) {
            putchar('\n');
            table_print(c, attempt_columns, attempts, 0);
        }
    }
    json_decref(attempts);
    return code;
}

static int trace(struct command *c)
{
    const char *word = c->args.rest[0], *at = strrchr(word, '@');
    bool by_place = at && at[1] && strspn(at + 1, "0123456789") == strlen(at + 1);
    json_t *answer = NULL;
    struct buf path;
    int code;

    buf_init(&path, 16384);
    if (by_place) {
        char route[128];

        (void)snprintf(route, sizeof route, "%.*s", (int)(at - word), word);
        buf_put_text(&path, "/v1/routes/");
        client_put_encoded(&path, route);
        buf_put_format(&path, "/events/%.20s", at + 1);
    } else {
        buf_put_text(&path, "/v1/events/");
        client_put_encoded(&path, word);
    }
    code = command_ask(c, "GET", buf_text(&path), NULL, &answer);
    buf_done(&path);
    if (code == 0)
        code = print_trace(c, json_object_get(answer, "rows"));
    json_decref(answer);
    return code;
}

static int list(
    struct command *c, const char *path, const struct table_column *columns, const char *route)
{
    json_t *arguments = json_object();
    int code = command_selection(c, arguments);

    if (route)
        json_object_set_new(arguments, "route", json_string(route));
    if (args_have(&c->args, "--bodies"))
        json_object_set_new(arguments, "all", json_true());
    if (code == 0)
        code = command_list(c, path, arguments, columns);
    json_decref(arguments);
    return code;
}

/* Pages count places in one log, so several routes are listed one after the other. */
static int events(struct command *c)
{
    json_t *answer = NULL, *row;
    size_t i;
    int code;

    if (args_have(&c->args, "--route"))
        return list(c, "/v1/events", event_columns, NULL);
    code = command_ask(c, "GET", "/v1/store", NULL, &answer);
    if (code == 0)
        json_array_foreach(json_object_get(answer, "rows"), i, row)
        {
            code = list(
                c, "/v1/events", event_columns, json_string_value(json_object_get(row, "route")));
            if (code != 0)
                break;
        }
    json_decref(answer);
    return code;
}

static int gaps(struct command *c)
{
    return list(c, "/v1/gaps", gap_columns, NULL);
}

static int audit(struct command *c)
{
    return list(c, "/v1/audit", audit_columns, NULL);
}

static const struct args_option event_options[] = {
    COMMAND_SELECTION_OPTIONS,
    { "--fate", "FATE", "delivered, pending, held, dead, filtered, at --sink" },
    { "--bodies", NULL, "headers and bodies too (with --json)" },
    { "--limit", "N", "at most so many (a table: 1000)" },
    { NULL, NULL, NULL },
};
static const struct args_option gap_options[] = {
    { "--route", "ROUTE", "of this route" },
    { "--since", "TIME", "begun since" },
    { "--until", "TIME", "begun before" },
    { "--limit", "N", "at most so many (a table: 1000)" },
    { NULL, NULL, NULL },
};

const struct verb verbs_events[] = {
    { "trace", "ID|ROUTE@SEQ", "one event's whole way", "bascule trace orders@1207", NULL, 1, 1,
        trace },
    { "events ls", "", "what the log holds", "bascule events ls --route orders --since 10m",
        event_options, 0, 0, events },
    { "gaps ls", "", "times in which events may have been missed", "bascule gaps ls --since 7d",
        gap_options, 0, 0, gaps },
    { "audit ls", "", "what people and breakers changed", "bascule audit ls --since 1d",
        gap_options, 0, 0, audit },
    { 0 },
};
