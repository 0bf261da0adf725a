/* run, check, status, version, pause, resume, drain, breaker. */
#include "bridge/cli/client.h"
#include "bridge/cli/probe.h"
#include "bridge/cli/status_view.h"
#include "bridge/cli/table.h"
#include "routes/check.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS 20000
#define GUARANTEE_MAX 65536

/* ---- run and check ---- */

static void print_problems(const struct config_problems *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct buf text;

        buf_init(&text, 8192);
        config_problem_print(&p->at[i], &text);
        fprintf(stderr, "%s", buf_text(&text));
        if (!text.n || text.at[text.n - 1] != '\n')
            fputc('\n', stderr);
        buf_done(&text);
    }
}

static int load(const char *const *paths, size_t count, struct config **ret)
{
    struct config_problems problems = { 0 };
    int result = config_load(paths, count, ret, &problems);

    print_problems(&problems);
    if (result != 0)
        fprintf(
            stderr, "%zu error%s\n", problems.error_count, problems.error_count == 1 ? "" : "s");
    config_problems_done(&problems);
    return result == 0 ? DAEMON_OK : DAEMON_CONFIG;
}

static int run(struct command *c)
{
    const char *path = command_config_path(c), *socket = args_get(&c->args, "--socket");
    const char *seconds = args_get(&c->args, "--drain-seconds");
    struct daemon_spec spec = { .socket = socket ? socket : getenv("BASCULE_SOCKET"),
        .drain_ms = seconds ? strtoll(seconds, NULL, 10) * 1000 : DRAIN_MS };
    struct config *config = NULL;
    int code;

    daemon_forbid_core();
    code = load(&path, 1, &config);
    if (code != 0)
        return code;
    if (spec.socket && !*spec.socket)
        spec.socket = NULL;
    spec.config = config;
    spec.path = path;
    return daemon_run(&spec);
}

static void print_guarantees(const struct command *c, const struct config *config)
{
    json_t *routes = json_array();

    for (size_t i = 0; i < config->route_count; i++) {
        struct buf text;

        buf_init(&text, GUARANTEE_MAX);
        (void)check_guarantee(config, i, &text);
        if (c->json)
            json_array_append_new(routes, json_pack("{s:s, s:s}", "route", config->routes[i].name,
                                              "guarantee", buf_text(&text)));
        else
            printf("%s\n%s%s", config->routes[i].name, buf_text(&text),
                text.n && text.at[text.n - 1] == '\n' ? "" : "\n");
        buf_done(&text);
    }
    if (c->json)
        command_print_json(routes);
    json_decref(routes);
}

static int check(struct command *c)
{
    const char *path = command_config_path(c);
    struct config *config = NULL;
    int code = c->args.rest_count ? load(c->args.rest, c->args.rest_count, &config)
                                  : load(&path, 1, &config);

    if (code != 0)
        return code;
    print_guarantees(c, config);
    if (args_have(&c->args, "--connect") && probe_all(config) != 0)
        code = DAEMON_UNREACHABLE;
    config_free(config);
    return code;
}

/* ---- status ---- */

static const struct table_column status_columns[] = {
    { "name", "ROUTE/SINK", TABLE_TEXT },
    { "state", "STATE", TABLE_TEXT },
    { "rate", "IN, OUT/S", TABLE_RATE },
    { "pending", "PENDING", TABLE_NUMBER },
    { "backlog_bytes", "BACKLOG", TABLE_SIZE },
    { "oldest_pending_ms", "OLDEST", TABLE_AGE },
    { "parked_keys", "PARKED KEYS", TABLE_NUMBER },
    { "dead", "DEAD", TABLE_NUMBER },
    { "breaker", "BREAKER", TABLE_TEXT },
    { "trouble", "TROUBLE", TABLE_TEXT },
    { NULL, NULL, 0 },
};

/* One sentence first: is it working? */
static void print_verdict(const json_t *answer, const json_t *rows)
{
    struct buf text;

    buf_init(&text, 65536);
    status_verdict(answer, rows, &text);
    printf("%s\n\n", buf_text(&text));
    buf_done(&text);
}

static int status_route(struct command *c, const char *name)
{
    json_t *answer = NULL, *route, *sink;
    struct buf path;
    int64_t now;
    size_t i;
    int code;

    buf_init(&path, 1024);
    buf_put_text(&path, "/v1/routes/");
    client_put_encoded(&path, name);
    code = command_ask(c, "GET", buf_text(&path), NULL, &answer);
    buf_done(&path);
    if (code != 0)
        return code;
    route = json_object_get(answer, "route");
    now = json_integer_value(json_object_get(answer, "now_ms"));
    if (c->json) {
        command_print_json(route);
    } else {
        json_t *sinks = json_incref(json_object_get(route, "sinks"));

        json_object_del(route, "sinks");
        table_print_object(c, route, now);
        json_array_foreach(sinks, i, sink)
        {
            putchar('\n');
            table_print_object(c, sink, now);
        }
        json_decref(sinks);
    }
    json_decref(answer);
    return 0;
}

static int status(struct command *c)
{
    json_t *answer = NULL, *lines;
    int code;

    if (c->args.rest_count)
        return status_route(c, c->args.rest[0]);
    code = command_ask(c, "GET", "/v1/status", NULL, &answer);
    if (code != 0)
        return code;
    lines = status_rows(json_object_get(answer, "routes"));
    if (c->json) {
        command_print_json(answer);
    } else {
        if (c->terminal)
            print_verdict(answer, lines);
        table_print(
            c, status_columns, lines, json_integer_value(json_object_get(answer, "now_ms")));
    }
    json_decref(lines);
    json_decref(answer);
    return 0;
}

static int version(struct command *c)
{
    if (c->json)
        printf("{\"version\": \"%s\"}\n", BASCULE_VERSION);
    else
        printf("bascule %s\n", BASCULE_VERSION);
    return 0;
}

/* ---- pause, resume, drain, breaker ---- */

static int change(
    struct command *c, const char *object, const char *verb, bool needs_sink, json_t *body)
{
    const char *slash = strchr(object, '/');
    char *route = slash ? strndup(object, (size_t)(slash - object)) : strdup(object);
    json_t *answer = NULL;
    struct buf path;
    int code;

    if (needs_sink && !slash) {
        free(route);
        return command_fail(DAEMON_USAGE, "'%s': give ROUTE/SINK", object);
    }
    buf_init(&path, 1024);
    buf_put_text(&path, "/v1/routes/");
    client_put_encoded(&path, route ? route : "");
    if (slash) {
        buf_put_text(&path, "/sinks/");
        client_put_encoded(&path, slash + 1);
    }
    buf_put_format(&path, "/%s", verb);
    code = command_ask(c, "POST", buf_text(&path), body, &answer);
    if (code == 0 && c->json)
        command_print_json(answer);
    else if (code == 0)
        printf("%s\t%s\n", status_text(answer, "object"), status_text(answer, "done"));
    json_decref(answer);
    buf_done(&path);
    free(route);
    return code;
}

static int pause_verb(struct command *c)
{
    return change(c, c->args.rest[0], "pause", false, NULL);
}

static int resume_verb(struct command *c)
{
    return change(c, c->args.rest[0], "resume", false, NULL);
}

static int drain_verb(struct command *c)
{
    return change(c, c->args.rest[0], "drain", false, NULL);
}

static int breaker_verb(struct command *c)
{
    json_t *body = json_pack("{s:b}", "open", strcmp(c->verb->name, "breaker open") == 0);
    int code = change(c, c->args.rest[0], "breaker", true, body);

    json_decref(body);
    return code;
}

static const struct args_option run_options[] = {
    { "--drain-seconds", "N", "longest orderly end after SIGTERM (20)" },
    { NULL, NULL, NULL },
};
static const struct args_option check_options[] = {
    { "--connect", NULL, "dial every broker and look for queues, exchanges, topics, permissions" },
    { NULL, NULL, NULL },
};

const struct verb verbs_operate[] = {
    { "run", "", "run the bridge in the foreground",
        "bascule run --config /etc/bascule/bascule.yaml", run_options, 0, 0, run },
    { "check", "[FILE...]", "all problems of the configuration, and each route's guarantee",
        "bascule check --connect", check_options, 0, ARGS_MAX, check },
    { "status", "[ROUTE]", "is it working: rates, backlog, dead letters, breakers, troubles",
        "bascule status orders", NULL, 0, 1, status },
    { "version", "", "this program's version", "bascule version", NULL, 0, 0, version },
    { "pause", "ROUTE[/SINK]", "stop reading a route, or feeding one sink, until resumed",
        "bascule pause orders/analytics", NULL, 1, 1, pause_verb },
    { "resume", "ROUTE[/SINK]", "go on with what was paused", "bascule resume orders/analytics",
        NULL, 1, 1, resume_verb },
    { "drain", "ROUTE[/SINK]", "take nothing new, finish what is in flight", "bascule drain orders",
        NULL, 1, 1, drain_verb },
    { "breaker reset", "ROUTE/SINK", "close a sink's circuit breaker",
        "bascule breaker reset orders/analytics", NULL, 1, 1, breaker_verb },
    { "breaker open", "ROUTE/SINK", "open a sink's circuit breaker by hand",
        "bascule breaker open orders/analytics", NULL, 1, 1, breaker_verb },
    { 0 },
};
