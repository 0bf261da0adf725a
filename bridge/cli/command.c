#include "bridge/cli/command.h"
#include "bridge/cli/client.h"
#include "bridge/cli/table.h"
#include "bridge/cli/when.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_PATH "/etc/bascule/bascule.yaml"
#define SOCKET_PATH "/run/bascule/admin.sock"
#define PAGE 1000
#define POLL_MS 200

static volatile sig_atomic_t interrupted;

const struct args_option command_common[] = {
    { "--config", "FILE", "configuration (BASCULE_CONFIG; " CONFIG_PATH ")" },
    { "--socket", "PATH", "the daemon's admin socket (BASCULE_SOCKET)" },
    { "--json", NULL, "print JSON: lists as one object a line, as it comes" },
    { "--help", NULL, "print this" },
    { NULL, NULL, NULL },
};

static const struct verb *const groups[] = { verbs_operate, verbs_reload, verbs_dead, verbs_replay,
    verbs_events, verbs_audit, verbs_live, verbs_store, verbs_log, verbs_doctor, verbs_explain,
    verbs_schema };

int command_fail(int code, const char *format, ...)
{
    va_list ap;

    fputs("bascule: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

/* ---- finding the verb ---- */

static size_t words_matching(const struct verb *v, int argc, char **argv)
{
    size_t n = strlen(argv[0]);
    const char *second = strchr(v->name, ' ');

    if (!second)
        return strcmp(v->name, argv[0]) == 0 ? 1 : 0;
    return argc > 1 && (size_t)(second - v->name) == n && memcmp(v->name, argv[0], n) == 0 &&
                   strcmp(second + 1, argv[1]) == 0
               ? 2
               : 0;
}

static const struct verb *find(int argc, char **argv, int *used)
{
    for (size_t g = 0; argc && g < sizeof groups / sizeof *groups; g++)
        for (const struct verb *v = groups[g]; v->name; v++) {
            size_t n = words_matching(v, argc, argv);

            if (n) {
                *used = (int)n;
                return v;
            }
        }
    return NULL;
}

static void print_options(const struct args_option *o, FILE *to)
{
    for (; o && o->name; o++) {
        char left[64];

        (void)snprintf(
            left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        fprintf(to, "  %-22s %s\n", left, o->help);
    }
}

static void print_help(const struct verb *v)
{
    printf("usage: bascule %s%s%s [OPTION...]\n\n%s\n\noptions:\n", v->name, *v->words ? " " : "",
        v->words, v->help);
    print_options(v->options, stdout);
    print_options(command_common, stdout);
    printf("\nexample:\n  %s\n", v->example);
}

static void print_usage(FILE *to, const char *prefix)
{
    fputs("usage: bascule VERB [WORD...] [OPTION...]\n\n", to);
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (const struct verb *v = groups[g]; v->name; v++)
            if (!prefix || strncmp(v->name, prefix, strlen(prefix)) == 0)
                fprintf(to, "  %-16s %s\n", v->name, v->help);
    fputs("\n'bascule VERB --help' shows its options and an example.\n"
          "Environment: BASCULE_CONFIG and BASCULE_SOCKET; for 'run' BASCULE_LOG_LEVEL (error, "
          "warn,\n"
          "info, debug) and BASCULE_LOG_FORMAT (auto, logfmt, json, journal), which go over the "
          "files.\n",
        to);
}

const char *command_config_path(const struct command *c)
{
    const char *path = args_get(&c->args, "--config");

    if (!path)
        path = getenv("BASCULE_CONFIG");
    return path && *path ? path : CONFIG_PATH;
}

/* The configuration may be unreadable for whoever may use the socket; then the usual place counts.
 */
const char *command_socket(struct command *c)
{
    const char *path = args_get(&c->args, "--socket"), *file = command_config_path(c);
    struct config_problems problems = { 0 };
    struct config *config = NULL;

    if (c->socket[0])
        return c->socket;
    if (!path)
        path = getenv("BASCULE_SOCKET");
    if ((!path || !*path) && access(file, R_OK) == 0) {
        if (config_load(&file, 1, &config, &problems) == 0)
            path = config->admin_socket;
        config_problems_done(&problems);
    }
    (void)snprintf(c->socket, sizeof c->socket, "%s", path && *path ? path : SOCKET_PATH);
    config_free(config);
    return c->socket;
}

/* "dlq", "dlq --help": the verbs of a group. */
static bool is_group(const char *word)
{
    size_t n = strlen(word);

    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (const struct verb *v = groups[g]; v->name; v++)
            if (strncmp(v->name, word, n) == 0 && v->name[n] == ' ')
                return true;
    return false;
}

static int unknown(int argc, char **argv)
{
    bool group = is_group(argv[1]), help = group && argc > 2 && strcmp(argv[2], "--help") == 0;

    if (!help)
        command_fail(DAEMON_USAGE, "unknown verb '%s%s%s'", argv[1], group && argc > 2 ? " " : "",
            group && argc > 2 ? argv[2] : "");
    print_usage(help ? stdout : stderr, group ? argv[1] : NULL);
    return help ? DAEMON_OK : DAEMON_USAGE;
}

static int usage(const char *text, const struct verb *v)
{
    return command_fail(DAEMON_USAGE, "%s\nusage: bascule %s %s (see 'bascule %s --help')", text,
        v->name, v->words, v->name);
}

int command_main(int argc, char **argv)
{
    struct command c = { .terminal = isatty(STDOUT_FILENO) };
    const char *no_color = getenv("NO_COLOR");
    char error[256];
    int used = 0;

    /* Stores, backups and what is saved of them hold events: whatever this program makes is its
     * user's alone. */
    (void)umask(umask(0077) | 0077);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(argc < 2 ? stderr : stdout, NULL);
        return argc < 2 ? DAEMON_USAGE : DAEMON_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        argv[1] += 2;
    c.verb = find(argc - 1, argv + 1, &used);
    if (!c.verb)
        return unknown(argc, argv);
    if (args_parse(
            c.verb->options, command_common, argc - 1 - used, argv + 1 + used, &c.args, error) != 0)
        return usage(error, c.verb);
    if (args_have(&c.args, "--help")) {
        print_help(c.verb);
        return DAEMON_OK;
    }
    if (c.args.rest_count < c.verb->least || c.args.rest_count > c.verb->most)
        return usage(
            c.args.rest_count < c.verb->least ? "a word is missing" : "too many words", c.verb);
    c.json = args_have(&c.args, "--json");
    c.color = c.terminal && !(no_color && *no_color);
    return c.verb->run(&c);
}

/* ---- asking ---- */

static int exit_of_status(int status)
{
    return status < 400    ? DAEMON_OK
           : status == 403 ? DAEMON_PERMISSION
           : status == 422 ? DAEMON_CONFIG
           : status < 500  ? DAEMON_DATA
           : status == 500 ? DAEMON_IO
                           : DAEMON_LATER;
}

/* Problems of a configuration, as `check` prints them. */
static void print_details(const json_t *details)
{
    json_t *one;
    size_t i;

    json_array_foreach(details, i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));

        fputs(text ? text : "", stderr);
    }
}

static int unanswered(const struct fault *why)
{
    int code = why->kind == FAULT_INPUT ? DAEMON_USAGE
               : why->code == EACCES    ? DAEMON_PERMISSION
                                        : DAEMON_UNREACHABLE;

    return command_fail(code, "%s%s", why->text,
        code == DAEMON_PERMISSION ? " (members of the socket's group may)" : "");
}

/* 0, or the exit code after saying why it was refused; then its JSON is freed. */
static int judge(const struct command *c, struct client_answer *answer)
{
    int code = exit_of_status(answer->status);

    if (code == DAEMON_OK)
        return 0;
    if (c->json)
        command_print_json(answer->json);
    else
        print_details(json_object_get(answer->json, "details"));
    command_fail(code, "%s", json_string_value(json_object_get(answer->json, "message")));
    json_decref(answer->json);
    return code;
}

int command_ask(struct command *c, const char *method, const char *path, json_t *body, json_t **ret)
{
    struct client_answer answer = { 0 };
    struct fault why = { 0 };
    int code;

    if (client_ask(command_socket(c), method, path, body, &answer, &why) != 0)
        return unanswered(&why);
    code = judge(c, &answer);
    if (code == 0)
        *ret = answer.json;
    return code;
}

int command_lines(struct command *c, const char *path, client_line *line, void *arg)
{
    struct client_answer answer;
    struct fault why = { 0 };

    if (client_lines(command_socket(c), path, line, arg, &answer, &why) != 0)
        return unanswered(&why);
    return judge(c, &answer);
}

void command_print_json(const json_t *json)
{
    (void)json_dumpf(json, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
}

int command_query(const char *path, json_t *arguments, struct buf *ret)
{
    const char *name;
    json_t *value;
    char glue = '?';

    buf_put_text(ret, path);
    json_object_foreach(arguments, name, value)
    {
        char number[32];
        const char *text = json_string_value(value);

        if (json_is_integer(value)) {
            (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
            text = number;
        } else if (json_is_true(value)) {
            text = "true";
        }
        if (!text)
            continue;
        buf_put_byte(ret, (uint8_t)glue);
        buf_put_text(ret, name);
        buf_put_byte(ret, '=');
        client_put_encoded(ret, text);
        glue = '&';
    }
    return ret->failed ? command_fail(DAEMON_USAGE, "the selection is too long") : 0;
}

static int fetch_page(
    struct command *c, const char *path, json_t *arguments, long long left, json_t **ret)
{
    struct buf query;
    int code;

    json_object_set_new(arguments, "limit", json_integer(left < PAGE ? left : PAGE));
    buf_init(&query, 32768);
    code = command_query(path, arguments, &query);
    if (code == 0)
        code = command_ask(c, "GET", buf_text(&query), NULL, ret);
    buf_done(&query);
    return code;
}

static void print_page(struct command *c, const struct table_column *columns, const json_t *rows)
{
    json_t *row;
    size_t i;

    if (c->json)
        json_array_foreach(rows, i, row)
        {
            (void)json_dumpf(row, stdout, JSON_COMPACT);
            fputc('\n', stdout);
        }
    else
        table_print(c, columns, rows, 0);
}

int command_list(
    struct command *c, const char *path, json_t *arguments, const struct table_column *columns)
{
    const char *limit_text = args_get(&c->args, "--limit");
    bool table = c->terminal && !c->json, more = true;
    long long left = limit_text ? strtoll(limit_text, NULL, 10) : table ? PAGE : LLONG_MAX;
    json_t *kept = json_array();
    int code = 0;

    if (left < 1)
        code = command_fail(DAEMON_USAGE, "--limit is a number from 1 on");
    while (code == 0 && more && left > 0 && !ferror(stdout)) {
        json_t *answer = NULL, *rows;

        if ((code = fetch_page(c, path, arguments, left, &answer)) != 0)
            break;
        rows = json_object_get(answer, "rows");
        left -= (long long)json_array_size(rows);
        if (table)
            json_array_extend(kept, rows);
        else
            print_page(c, columns, rows);
        more = json_is_true(json_object_get(answer, "more")) &&
               json_is_integer(json_object_get(answer, "after"));
        json_object_set(arguments, "after", json_object_get(answer, "after"));
        json_decref(answer);
    }
    if (code == 0 && table)
        print_page(c, columns, kept);
    json_decref(kept);
    if (code == 0 && more && table)
        fprintf(stderr, "(there is more: --limit N)\n");
    return code == 0 && ferror(stdout) ? DAEMON_IO : code;
}

/* ---- times and selections ---- */

static int put_time(struct command *c, json_t *body, const char *option, const char *name)
{
    const char *text = args_get(&c->args, option);
    int64_t when;

    if (!text)
        return 0;
    when = when_parse(text, (int64_t)time(NULL) * 1000);
    if (when < 0)
        return command_fail(DAEMON_USAGE,
            "%s '%s': a time is 2026-05-04T10:00:00Z, or 10m, 2h, 7d ago", option, text);
    json_object_set_new(body, name, json_integer(when));
    return 0;
}

/* "17", "17-20", and "ROUTE@17" of --event. */
static int put_seq(json_t *body, const char *text)
{
    long long first, last;
    char end;

    if (sscanf(text, "%lld-%lld%c", &first, &last, &end) != 2) {
        if (sscanf(text, "%lld%c", &first, &end) != 1)
            return command_fail(
                DAEMON_USAGE, "'%s' is not a place in the log (17, or 17-20)", text);
        last = first;
    }
    if (first < 1 || last < first)
        return command_fail(DAEMON_USAGE, "'%s': places go from 1 on, upwards", text);
    json_object_set_new(body, "first_seq", json_integer(first));
    json_object_set_new(body, "last_seq", json_integer(last));
    return 0;
}

static int put_event(json_t *body, const char *text)
{
    const char *at = strrchr(text, '@');

    if (!at || !at[1] || strspn(at + 1, "0123456789") != strlen(at + 1)) {
        json_object_set_new(body, "id", json_string(text));
        return 0;
    }
    json_object_set_new(body, "route", json_stringn(text, (size_t)(at - text)));
    return put_seq(body, at + 1);
}

int command_selection(struct command *c, json_t *body)
{
    static const char *const texts[] = { "--route", "--sink", "--id", "--key", "--match", "--fate",
        "--reason" };
    const char *header = args_get(&c->args, "--header"),
               *equal = header ? strchr(header, '=') : NULL;
    const char *seq = args_get(&c->args, "--seq"), *event = args_get(&c->args, "--event");
    int code = 0;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (args_have(&c->args, texts[i])) {
            json_t *text = json_string(args_get(&c->args, texts[i]));

            if (!text)
                return command_fail(DAEMON_USAGE, "%s is not UTF-8", texts[i]);
            json_object_set_new(body, texts[i] + 2, text);
        }
    if (header && !equal)
        return command_fail(DAEMON_USAGE, "--header is NAME=VALUE");
    if (header) {
        json_object_set_new(body, "header_name", json_stringn(header, (size_t)(equal - header)));
        json_object_set_new(body, "header_value", json_string(equal + 1));
    }
    if ((code = put_time(c, body, "--since", "since_ms")) != 0 ||
        (code = put_time(c, body, "--until", "until_ms")) != 0)
        return code;
    if (seq && (code = put_seq(body, seq)) != 0)
        return code;
    return event ? put_event(body, event) : 0;
}

/* ---- people ---- */

bool command_confirm(const char *question, const char *word)
{
    char line[128];
    size_t n;

    if (!isatty(STDIN_FILENO))
        return false;
    fprintf(stderr, "%s\nType '%s' to go on: ", question, word);
    if (!fgets(line, sizeof line, stdin))
        return false;
    n = strcspn(line, "\r\n");
    line[n] = '\0';
    return strcmp(line, word) == 0;
}

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

void command_watch_interrupt(void)
{
    struct sigaction action = { .sa_handler = on_interrupt };

    (void)sigaction(SIGINT, &action, NULL);
}

bool command_interrupted(void)
{
    return interrupted;
}

bool command_pause(void)
{
    struct timespec wait = { .tv_nsec = POLL_MS * 1000000L };

    (void)nanosleep(&wait, NULL);
    return !interrupted;
}
