/* top, and tap: events as they come. */
#include "bridge/cli/table.h"
#include "bridge/cli/top.h"

#include <stdio.h>
#include <stdlib.h>

struct tapping {
    struct command *c;
    const struct table_column *columns;
    struct table_stream table;
    bool bodies;
    long long left; /* -1: no end */
    int code;       /* it ended by itself: the exit code */
    bool ended;
};

static const struct table_column source_columns[] = {
    { "time_ms", "TIME", TABLE_TIME },
    { "event", "EVENT", TABLE_TEXT },
    { "key", "KEY", TABLE_TEXT },
    { "id", "ID", TABLE_TEXT },
    { "address", "ADDRESS", TABLE_TEXT },
    { "body_bytes", "BODY", TABLE_SIZE },
    { NULL, NULL, 0 },
};
static const struct table_column sink_columns[] = {
    { "time_ms", "TIME", TABLE_TIME },
    { "event", "EVENT", TABLE_TEXT },
    { "what", "WHAT", TABLE_TEXT },
    { "took_ms", "MS", TABLE_NUMBER },
    { "key", "KEY", TABLE_TEXT },
    { "id", "ID", TABLE_TEXT },
    { "address", "ADDRESS", TABLE_TEXT },
    { "body_bytes", "BODY", TABLE_SIZE },
    { "text", "TEXT", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* ---- lines ---- */

static void print_body(const json_t *line)
{
    const json_t *body = json_object_get(line, "body"), *base64 = json_object_get(body, "base64");
    const char *cut = json_is_true(json_object_get(line, "body_cut")) ? " (the beginning)" : "";
    struct buf text;

    buf_init(&text, 8u << 20);
    if (json_is_string(body))
        table_put_safe(&text, json_string_value(body), json_string_length(body));
    else if (base64)
        buf_put_format(&text, "base64 %s", json_string_value(base64));
    else
        buf_put_text(&text, "(null)");
    printf("  %s%s\n", buf_text(&text), cut);
    buf_done(&text);
}

static void print_event(struct tapping *t, json_t *line)
{
    struct buf name;

    buf_init(&name, 1024);
    buf_put_format(&name, "%s@%lld", text_of(line, "route"),
        (long long)json_integer_value(json_object_get(line, "seq")));
    json_object_set_new(line, "event", json_string(buf_text(&name)));
    buf_done(&name);
    table_stream_row(t->c, t->columns, &t->table, line, 0);
    if (t->bodies)
        print_body(line);
}

static void say_not_shown(const json_t *line)
{
    const char *because = text_of(line, "because");
    long long n = json_integer_value(json_object_get(line, "count"));

    if (strcmp(because, "rate") == 0)
        fprintf(
            stderr, "(%lld not shown: they come faster than --rate; --sample 1/N thins them)\n", n);
    else if (strcmp(because, "busy") == 0)
        fprintf(
            stderr, "(%lld not looked at: more than a tap may cost; --sample 1/N thins them)\n", n);
    else
        fprintf(stderr, "(%lld not shown: this end reads too slowly)\n", n);
}

static void end(struct tapping *t, const char *because)
{
    t->ended = true;
    t->code = strcmp(because, "gone") == 0
                  ? command_fail(DAEMON_DATA, "the route or sink is gone from the configuration")
                  : command_fail(DAEMON_UNREACHABLE, "the daemon ends");
}

static bool is_event(const char *what)
{
    static const char *const others[] = { "begin", "alive", "not_shown", "reloaded", "end" };

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(what, others[i]) == 0)
            return false;
    return true;
}

static void take(struct tapping *t, json_t *line, const char *text, size_t n)
{
    const char *what = text_of(line, "what");
    bool event = is_event(what);

    if (strcmp(what, "end") == 0)
        end(t, text_of(line, "because"));
    if (t->c->json && strcmp(what, "alive") != 0)
        printf("%.*s\n", (int)n, text);
    else if (event)
        print_event(t, line);
    else if (strcmp(what, "not_shown") == 0)
        say_not_shown(line);
    else if (strcmp(what, "reloaded") == 0)
        fprintf(stderr, "(another configuration runs now)\n");
    (void)fflush(stdout);
    if (event && t->left > 0)
        t->left--;
}

static bool on_line(void *arg, const char *text, size_t n)
{
    struct tapping *t = arg;
    json_t *line = text ? json_loadb(text, n, JSON_ALLOW_NUL, NULL) : NULL;

    if (line)
        take(t, line, text, n);
    json_decref(line);
    return !command_interrupted() && t->left != 0 && !ferror(stdout) && !t->ended;
}

/* ---- the verb ---- */

/* "1/100", or "100". */
static int put_sample(json_t *arguments, const char *text)
{
    long long n;
    char after;

    if (!text)
        return 0;
    if (sscanf(text, "1/%lld%c", &n, &after) != 1 || n < 1)
        return command_fail(DAEMON_USAGE, "--sample '%s': write 1/100 for one of a hundred", text);
    json_object_set_new(arguments, "sample", json_integer(n));
    return 0;
}

static int put_rate(json_t *arguments, const char *text)
{
    long long n;
    char s, after;
    int got = text ? sscanf(text, "%lld/%c%c", &n, &s, &after) : 0;

    if (!text)
        return 0;
    if ((got != 1 || strchr(text, '/')) && (got != 2 || s != 's'))
        return command_fail(DAEMON_USAGE, "--rate '%s': write 50/s", text);
    json_object_set_new(arguments, "rate", json_integer(n));
    return 0;
}

static int put_path(struct command *c, json_t *arguments, struct buf *ret)
{
    const char *object = c->args.rest[0], *slash = strchr(object, '/');
    struct buf path;
    int code;

    buf_init(&path, 4096);
    buf_put_text(&path, "/v1/routes/");
    if (slash) {
        char *route = strndup(object, (size_t)(slash - object));

        client_put_encoded(&path, route ? route : "");
        free(route);
        buf_put_text(&path, "/sinks/");
        client_put_encoded(&path, slash + 1);
    } else {
        client_put_encoded(&path, object);
    }
    buf_put_text(&path, "/tap");
    code = command_query(buf_text(&path), arguments, ret);
    buf_done(&path);
    return code;
}

static int tap(struct command *c)
{
    const char *count = args_get(&c->args, "--count");
    struct tapping t = { .c = c,
        .columns = strchr(c->args.rest[0], '/') ? sink_columns : source_columns,
        .bodies = args_have(&c->args, "--body"),
        .left = count ? strtoll(count, NULL, 10) : -1 };
    json_t *arguments = json_object();
    struct buf path;
    int code;

    if (count && t.left < 1)
        code = command_fail(DAEMON_USAGE, "--count is a number from 1 on");
    else if ((code = command_selection(c, arguments)) == 0 &&
             (code = put_sample(arguments, args_get(&c->args, "--sample"))) == 0)
        code = put_rate(arguments, args_get(&c->args, "--rate"));
    if (t.bodies)
        json_object_set_new(arguments, "bodies", json_true());
    if (args_have(&c->args, "--sent"))
        json_object_set_new(arguments, "sent", json_true());
    buf_init(&path, 32768);
    if (code == 0)
        code = put_path(c, arguments, &path);
    if (code == 0) {
        command_watch_interrupt();
        code = command_lines(c, buf_text(&path), on_line, &t);
    }
    buf_done(&path);
    json_decref(arguments);
    if (code != 0 || t.ended)
        return code ? code : t.code;
    if (ferror(stdout))
        return DAEMON_IO;
    if (t.left != 0 && !command_interrupted())
        return command_fail(DAEMON_UNREACHABLE, "the daemon went away");
    return 0;
}

static const struct args_option tap_options[] = {
    { "--id", "ID", "with this id" },
    { "--key", "KEY", "with this key" },
    { "--header", "N=V", "with this header" },
    { "--match", "TEXT", "with this text in the body" },
    { "--sample", "1/N", "one event of N, the same ones at a route and at its sinks" },
    { "--rate", "N/s", "show at most so many (100/s; 1000/s); the others are counted" },
    { "--sent", NULL, "at a sink: when it is given to the broker too" },
    { "--body", NULL, "headers (with --json) and bodies too, 64 KiB of each" },
    { "--count", "N", "end after so many" },
    { NULL, NULL, NULL },
};

const struct verb verbs_live[] = {
    { "top", "", "all routes on a screen that is alive, or plain tables where there is none",
        "bascule top --sort pending", top_options, 0, 0, top_run },
    { "tap", "ROUTE[/SINK]", "show events as they are received, or what becomes of them at a sink",
        "bascule tap orders/analytics --key 4711 --body", tap_options, 1, 1, tap },
    { 0 },
};
