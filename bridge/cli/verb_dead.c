/* dlq ls, show, groups, retry, edit, drop. */
#include "bridge/base/encoding.h"
#include "bridge/cli/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BODY_MAX (16u << 20)
#define PAGE 500

static const struct table_column list_columns[] = {
    { "number", "NUMBER", TABLE_NUMBER },
    { "route", "ROUTE", TABLE_TEXT },
    { "sink", "SINK", TABLE_TEXT },
    { "seq", "SEQ", TABLE_NUMBER },
    { "id", "ID", TABLE_TEXT },
    { "state", "STATE", TABLE_TEXT },
    { "reason", "REASON", TABLE_TEXT },
    { "code", "CODE", TABLE_NUMBER },
    { "attempts", "ATTEMPTS", TABLE_NUMBER },
    { "changed_ms", "SINCE", TABLE_TIME },
    { "text", "TEXT", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static const struct table_column group_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "sink", "SINK", TABLE_TEXT },
    { "reason", "REASON", TABLE_TEXT },
    { "code", "CODE", TABLE_NUMBER },
    { "count", "COUNT", TABLE_NUMBER },
    { "first_ms", "FIRST", TABLE_TIME },
    { "last_ms", "LAST", TABLE_TIME },
    { "example", "EXAMPLE", TABLE_NUMBER },
    { "text", "TEXT", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static int list(struct command *c, const char *path, const struct table_column *columns)
{
    json_t *arguments = json_object();
    int code = command_selection(c, arguments);

    if (args_have(&c->args, "--all"))
        json_object_set_new(arguments, "all", json_true());
    if (code == 0)
        code = command_list(c, path, arguments, columns);
    json_decref(arguments);
    return code;
}

static int ls(struct command *c)
{
    return list(c, "/v1/dead-letters", list_columns);
}

static int groups(struct command *c)
{
    return list(c, "/v1/dead-letters/groups", group_columns);
}

static int number_of(const char *text, long long *ret)
{
    char end;

    if (sscanf(text, "%lld%c", ret, &end) != 1 || *ret < 1)
        return command_fail(DAEMON_USAGE, "'%s' is not the number of a dead letter", text);
    return 0;
}

static int fetch(struct command *c, long long number, json_t **ret)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/v1/dead-letters/%lld", number);
    return command_ask(c, "GET", path, NULL, ret);
}

/* The bytes of a JSON value made by view_bytes(). */
static int bytes_of_json(const json_t *value, struct buf *to)
{
    const json_t *base64 = json_object_get(value, "base64");

    if (base64 && !json_is_string(base64))
        return -1;
    if (base64)
        return encoding_base64_decode(bytes_text(json_string_value(base64)), to);
    buf_put(
        to, json_string_value(value) ? json_string_value(value) : "", json_string_length(value));
    return to->failed ? -1 : 0;
}

static const json_t *latest(const json_t *letter, const char *name)
{
    char edited[64];
    const json_t *value;

    (void)snprintf(edited, sizeof edited, "edited_%s", name);
    value = json_object_get(letter, edited);
    return value && !json_is_null(value) ? value : json_object_get(letter, name);
}

static int show(struct command *c)
{
    json_t *letter = NULL;
    struct buf body;
    long long number;
    int code = number_of(c->args.rest[0], &number);

    if (code != 0 || (code = fetch(c, number, &letter)) != 0)
        return code;
    buf_init(&body, BODY_MAX * 2);
    if (args_have(&c->args, "--raw-body")) {
        if (bytes_of_json(latest(letter, "body"), &body) == 0)
            (void)fwrite(body.at, 1, body.n, stdout);
    } else if (c->json) {
        command_print_json(letter);
    } else {
        table_print_object(c, letter, 0);
    }
    buf_done(&body);
    json_decref(letter);
    return 0;
}

/* ---- retry and drop ---- */

static int change_pages(struct command *c, const char *path, json_t *body, long long *changed)
{
    json_t *answer = NULL;
    bool more = true;
    int code = 0;

    json_object_set_new(body, "limit", json_integer(PAGE));
    while (code == 0 && more) {
        const char *stopped;
        long long after;

        code = command_ask(c, "POST", path, body, &answer);
        if (code != 0)
            return code;
        *changed += json_integer_value(json_object_get(answer, "changed"));
        after = json_integer_value(json_object_get(answer, "after"));
        stopped = json_string_value(json_object_get(answer, "stopped"));
        more = json_is_true(json_object_get(answer, "more")) && !json_object_get(body, "number");
        if (json_integer_value(json_object_get(answer, "skipped")) &&
            json_object_get(body, "number"))
            command_fail(DAEMON_DATA, "not changed: %s",
                json_is_string(json_object_get(answer, "why"))
                    ? json_string_value(json_object_get(answer, "why"))
                    : "it is on its way already");
        if (after)
            json_object_set_new(body, "after", json_integer(after));
        /* Too many on their way: they go as the broker confirms, then there is room for more. */
        if (stopped && !command_pause())
            code = command_fail(DAEMON_LATER, "stopped after %lld: %s", *changed, stopped);
        json_decref(answer);
        answer = NULL;
    }
    return code;
}

static int change_numbers(struct command *c, const char *path, json_t *body, long long *changed)
{
    for (size_t i = 0; i < c->args.rest_count; i++) {
        long long number;
        int code = number_of(c->args.rest[i], &number);

        if (code == 0) {
            json_object_set_new(body, "number", json_integer(number));
            code = change_pages(c, path, body, changed);
        }
        if (code != 0)
            return code;
    }
    return 0;
}

static int confirm_many(struct command *c, json_t *selection, const char *verb)
{
    char question[160];

    if (args_have(&c->args, "--yes"))
        return 0;
    if (json_object_size(selection) == 0 && !args_have(&c->args, "--all"))
        return command_fail(DAEMON_USAGE, "give numbers, a filter, or --all");
    (void)snprintf(question, sizeof question, "This will %s every dead letter that matches.", verb);
    if (command_confirm(question, verb))
        return 0;
    return command_fail(DAEMON_USAGE, "not confirmed (--yes does without a question)");
}

/* --group N: what dead letter N died of, at its sink. Told by value, not by number: N itself is the
 * first to be sent again and may soon have died of something else. */
static int put_group(struct command *c, json_t *body)
{
    static const char *const same[] = { "route", "sink", "reason", "code", "text" };
    const char *word = args_get(&c->args, "--group");
    json_t *letter = NULL;
    long long number;
    int code;

    if (!word)
        return 0;
    if ((code = number_of(word, &number)) != 0 || (code = fetch(c, number, &letter)) != 0)
        return code;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (json_is_object(json_object_get(letter, same[i])))
            code = command_fail(DAEMON_DATA,
                "the text of dead letter %lld is not UTF-8: select by --reason", number);
        else
            json_object_set(body, same[i], json_object_get(letter, same[i]));
    json_decref(letter);
    return code;
}

static int change(struct command *c, const char *verb, const char *past)
{
    json_t *body = json_object();
    long long changed = 0;
    char path[64];
    int code = command_selection(c, body);

    if (code == 0)
        code = put_group(c, body);
    command_watch_interrupt();
    (void)snprintf(path, sizeof path, "/v1/dead-letters/%s", verb);
    if (args_have(&c->args, "--because"))
        json_object_set_new(body, "because", json_string(args_get(&c->args, "--because")));
    if (code == 0 && c->args.rest_count)
        code = change_numbers(c, path, body, &changed);
    else if (code == 0 && (code = confirm_many(c, body, verb)) == 0)
        code = change_pages(c, path, body, &changed);
    if (c->json && code == 0)
        printf("{\"changed\": %lld}\n", changed);
    else if (code == 0 || changed)
        printf("%lld\t%s\n", changed, past);
    json_decref(body);
    return code;
}

static int retry(struct command *c)
{
    return change(c, "retry", "on their way");
}

static int drop(struct command *c)
{
    return change(c, "drop", "dropped");
}

/* ---- edit ---- */

static int read_file(const char *path, struct buf *to)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char part[65536];
    size_t n;
    int code = 0;

    if (!f)
        return command_fail(DAEMON_IO, "%s: %s", path, strerror(errno));
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        buf_put(to, part, n);
    if (ferror(f))
        code = command_fail(DAEMON_IO, "%s: cannot read", path);
    else if (to->failed)
        code = command_fail(DAEMON_DATA, "%s: more than 16 MiB", path);
    if (f != stdin)
        (void)fclose(f);
    return code;
}

static int set_body(json_t *to, const struct buf *body)
{
    struct buf text;

    buf_init(&text, BODY_MAX * 2);
    encoding_base64(buf_bytes(body), &text);
    json_object_set_new(to, "body_base64", json_string(buf_text(&text)));
    buf_done(&text);
    return 0;
}

static int write_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->n;) {
        ssize_t n = write(fd, b->at + done, b->n - done);

        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int run_editor(const char *file)
{
    const char *editor = getenv("EDITOR");
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        char script[512];

        (void)snprintf(script, sizeof script, "exec %s \"$1\"", editor && *editor ? editor : "vi");
        execl("/bin/sh", "sh", "-c", script, "sh", file, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return command_fail(DAEMON_IO, "the editor did not end well; nothing was changed");
    return 0;
}

static int edit_by_hand(struct command *c, long long number, json_t *to)
{
    char path[] = "/tmp/bascule-edit-XXXXXX";
    struct buf body;
    json_t *letter = NULL;
    int fd, code = fetch(c, number, &letter);

    if (code != 0)
        return code;
    buf_init(&body, BODY_MAX);
    fd = mkstemp(path);
    if (fd < 0 || bytes_of_json(latest(letter, "body"), &body) != 0 || write_all(fd, &body) != 0)
        code = command_fail(DAEMON_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    buf_clear(&body);
    if (code == 0 && (code = run_editor(path)) == 0 && (code = read_file(path, &body)) == 0)
        code = set_body(to, &body);
    if (fd >= 0)
        (void)unlink(path);
    buf_done(&body);
    json_decref(letter);
    return code;
}

static int put_headers(struct command *c, json_t *to)
{
    json_t *set = json_object(), *remove = json_array();
    const char *text;

    for (size_t i = 0; (text = args_nth(&c->args, "--header", i)) != NULL; i++) {
        const char *equal = strchr(text, '=');
        char *name = equal ? strndup(text, (size_t)(equal - text)) : NULL;

        if (name)
            json_object_set_new(set, name, json_string(equal + 1));
        free(name);
        if (!equal) {
            json_decref(set);
            json_decref(remove);
            return command_fail(DAEMON_USAGE, "--header is NAME=VALUE");
        }
    }
    for (size_t i = 0; (text = args_nth(&c->args, "--remove-header", i)) != NULL; i++)
        json_array_append_new(remove, json_string(text));
    json_object_set_new(to, "set_headers", set);
    json_object_set_new(to, "remove_headers", remove);
    return 0;
}

static int edit(struct command *c)
{
    const char *file = args_get(&c->args, "--body"), *key = args_get(&c->args, "--key");
    json_t *change = json_object(), *answer = NULL;
    struct buf body;
    char path[64];
    long long number = 0;
    int code = number_of(c->args.rest[0], &number);

    buf_init(&body, BODY_MAX);
    if (code == 0 && file && (code = read_file(file, &body)) == 0)
        code = set_body(change, &body);
    if (code == 0 && !c->args.option_count)
        code = edit_by_hand(c, number, change);
    if (key)
        json_object_set_new(change, "key", json_string(key));
    (void)snprintf(path, sizeof path, "/v1/dead-letters/%lld/edit", number);
    if (code == 0 && (code = put_headers(c, change)) == 0)
        code = command_ask(c, "POST", path, change, &answer);
    if (code == 0)
        printf("%lld\tedited; 'bascule dlq retry %lld' sends it\n", number, number);
    json_decref(answer);
    json_decref(change);
    buf_done(&body);
    return code;
}

#define FILTERS                                                                                    \
    { "--route", "ROUTE", "of this route" }, { "--sink", "SINK", "at this sink" },                 \
        { "--event", "ID|ROUTE@SEQ", "of this event" },                                            \
    {                                                                                              \
        "--reason", "REASON",                                                                      \
            "refused, unroutable, nacked, address, timeout, template, expired, source, ..."        \
    }

static const struct args_option list_options[] = {
    FILTERS,
    { "--all", NULL, "resolved, dropped, waiting ones too" },
    { "--limit", "N", "at most so many (a table: 1000)" },
    { NULL, NULL, NULL },
};
static const struct args_option show_options[] = {
    { "--raw-body", NULL, "only the body, as it is" },
    { NULL, NULL, NULL },
};
static const struct args_option change_options[] = {
    FILTERS,
    { "--group", "N", "all of N's group: its route, sink, reason, code and text" },
    { "--all", NULL, "all there are" },
    { "--because", "TEXT", "why, for the record" },
    { "--yes", NULL, "without a question" },
    { NULL, NULL, NULL },
};
static const struct args_option edit_options[] = {
    { "--body", "FILE", "the new body (-: standard input)" },
    { "--header", "N=V", "set a header; may repeat" },
    { "--remove-header", "N", "remove a header; may repeat" },
    { "--key", "K", "the new record key" },
    { NULL, NULL, NULL },
};

const struct verb verbs_dead[] = {
    { "dlq ls", "", "dead letters", "bascule dlq ls --route orders --reason unroutable",
        list_options, 0, 0, ls },
    { "dlq show", "N", "one dead letter: headers, body, every attempt", "bascule dlq show 17",
        show_options, 1, 1, show },
    { "dlq groups", "", "dead letters grouped by cause", "bascule dlq groups", list_options, 0, 0,
        groups },
    { "dlq retry", "[N...]", "send dead letters again", "bascule dlq retry --group 17 --yes",
        change_options, 0, ARGS_MAX, retry },
    { "dlq edit", "N", "change a dead letter; the received event is kept (no option: $EDITOR)",
        "bascule dlq edit 17 --body mended.json --header tenant=blue", edit_options, 1, 1, edit },
    { "dlq drop", "[N...]", "give dead letters up", "bascule dlq drop 17 18 --because 'test order'",
        change_options, 0, ARGS_MAX, drop },
    { 0 },
};
