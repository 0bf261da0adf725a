/* replay plan, run, ls, show, pause, resume, cancel. */
#include "bridge/cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR 40

static int rate_of(const char *text, int64_t *ret)
{
    double n;
    char unit = 's', end;
    int got = sscanf(text, "%lf/%c%c", &n, &unit, &end);

    if ((got != 1 && got != 2) || !(n > 0) || n > 1e9 || (unit != 's' && unit != 'm'))
        return command_fail(DAEMON_USAGE, "--rate '%s': give 500/s or 30/m", text);
    *ret = (int64_t)(n * 1000 / (unit == 'm' ? 60 : 1));
    return 0;
}

static int ask_plan(struct command *c, json_t **ret)
{
    json_t *body = json_object();
    const char *rate = args_get(&c->args, "--rate"), *to = args_get(&c->args, "--to-sink");
    int64_t per_1000s = 0;
    int code = command_selection(c, body);

    if (code == 0 && json_object_size(body) == 0)
        code = command_fail(DAEMON_USAGE, "say which events: --route, --since, --id, ...");
    if (code == 0 && rate)
        code = rate_of(rate, &per_1000s);
    if (to)
        json_object_set_new(body, "to_sink", json_string(to));
    if (args_have(&c->args, "--raw"))
        json_object_set_new(body, "raw", json_true());
    json_object_set_new(body, "rate", json_integer(per_1000s));
    if (code == 0)
        code = command_ask(c, "POST", "/v1/replays", body, ret);
    json_decref(body);
    return code;
}

static long long number_in(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static const struct table_column part_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "count", "EVENTS", TABLE_NUMBER },
    { "bytes", "BYTES", TABLE_SIZE },
    { "keys", "KEYS", TABLE_NUMBER },
    { "first_seq", "FIRST", TABLE_NUMBER },
    { "last_seq", "LAST", TABLE_NUMBER },
    { "first_ms", "RECEIVED FROM", TABLE_TIME },
    { "last_ms", "TO", TABLE_TIME },
    { NULL, NULL, 0 },
};
static const struct table_column leg_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "to_route", "TO ROUTE", TABLE_TEXT },
    { "to_sink", "TO SINK", TABLE_TEXT },
    { "selected", "SELECTED", TABLE_NUMBER },
    { "delivered", "DELIVERED", TABLE_NUMBER },
    { "dead", "DEAD", TABLE_NUMBER },
    { "dropped", "DROPPED", TABLE_NUMBER },
    { "trouble", "TROUBLE", TABLE_TEXT },
    { NULL, NULL, 0 },
};
static const struct table_column job_columns[] = {
    { "number", "NUMBER", TABLE_NUMBER },
    { "state", "STATE", TABLE_TEXT },
    { "selected", "SELECTED", TABLE_NUMBER },
    { "delivered", "DELIVERED", TABLE_NUMBER },
    { "dead", "DEAD", TABLE_NUMBER },
    { "created_ms", "CREATED", TABLE_TIME },
    { "selection", "SELECTION", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static void print_plan(struct command *c, const json_t *plan)
{
    double seconds = json_number_value(json_object_get(plan, "rate")) > 0
                         ? (double)number_in(plan, "selected") * 1000 /
                               json_number_value(json_object_get(plan, "rate"))
                         : 0;

    if (c->json) {
        command_print_json(plan);
        return;
    }
    if (!c->terminal) {
        printf("%lld\t%lld\t%lld\t%lld\n", number_in(plan, "number"), number_in(plan, "selected"),
            number_in(plan, "bytes"), number_in(plan, "left_out"));
        return;
    }
    printf("plan %lld, kept for an hour\n\n", number_in(plan, "number"));
    table_print(c, part_columns, json_object_get(plan, "parts"), 0);
    putchar('\n');
    table_print(c, leg_columns, json_object_get(plan, "legs"), 0);
    printf("\n%lld left out because they are still pending\n", number_in(plan, "left_out"));
    if (seconds > 0)
        printf("takes at least %.0f s at this rate\n", seconds);
    else
        printf("goes as fast as live traffic leaves room (--rate N/s limits it)\n");
}

static int plan(struct command *c)
{
    json_t *answer = NULL;
    int code = ask_plan(c, &answer);

    if (code == 0)
        print_plan(c, answer);
    json_decref(answer);
    return code;
}

/* ---- run ---- */

static void draw(long long number, const json_t *job)
{
    long long all = number_in(job, "selected");
    long long done =
        number_in(job, "delivered") + number_in(job, "dead") + number_in(job, "dropped");
    int full = all > 0 ? (int)(done * BAR / all) : BAR;

    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rreplay %lld [%.*s%*s] %lld/%lld", number, full,
        "########################################", BAR - full, "", done, all);
}

static int job_path(char path[96], long long number, const char *verb)
{
    (void)snprintf(path, 96, "/v1/replays/%lld%s%s", number, *verb ? "/" : "", verb);
    return 0;
}

static int watch(struct command *c, long long number)
{
    char path[96];
    json_t *job = NULL;
    int code;

    (void)job_path(path, number, "");
    command_watch_interrupt();
    for (;;) {
        const char *state;

        code = command_ask(c, "GET", path, NULL, &job);
        if (code != 0)
            return code;
        draw(number, job);
        state = json_string_value(json_object_get(job, "state"));
        if (!state || (strcmp(state, "running") != 0 && strcmp(state, "planned") != 0))
            break;
        json_decref(job);
        if (!command_pause()) {
            fprintf(stderr, "\nreplay %lld goes on in the daemon ('bascule replay show %lld')\n",
                number, number);
            return 0;
        }
    }
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    if (c->json)
        command_print_json(job);
    else
        printf("%lld\t%s\t%lld delivered\t%lld dead\t%lld dropped\n", number,
            json_string_value(json_object_get(job, "state")), number_in(job, "delivered"),
            number_in(job, "dead"), number_in(job, "dropped"));
    json_decref(job);
    return 0;
}

static int confirm(struct command *c, const json_t *plan_json)
{
    char question[128], word[32];

    if (args_have(&c->args, "--yes"))
        return 0;
    (void)snprintf(question, sizeof question, "This sends %lld events again.",
        number_in(plan_json, "selected"));
    (void)snprintf(word, sizeof word, "%lld", number_in(plan_json, "selected"));
    if (command_confirm(question, word))
        return 0;
    return command_fail(DAEMON_USAGE,
        "not confirmed (--yes does without a question); plan %lld is kept",
        number_in(plan_json, "number"));
}

static int number_word(const struct command *c, long long *ret)
{
    char end;

    if (sscanf(c->args.rest[0], "%lld%c", ret, &end) != 1 || *ret < 1)
        return command_fail(DAEMON_USAGE, "'%s' is not the number of a replay", c->args.rest[0]);
    return 0;
}

static int run(struct command *c)
{
    json_t *job = NULL, *answer = NULL;
    long long number = 0;
    char path[96];
    int code;

    if (c->args.rest_count) {
        code = number_word(c, &number);
        if (code == 0 && (code = job_path(path, number, "")) == 0)
            code = command_ask(c, "GET", path, NULL, &job);
    } else if ((code = ask_plan(c, &job)) == 0) {
        number = number_in(job, "number");
        if (!c->json && c->terminal)
            print_plan(c, job);
    }
    if (code == 0 && (code = confirm(c, job)) == 0 && (code = job_path(path, number, "run")) == 0)
        code = command_ask(c, "POST", path, NULL, &answer);
    json_decref(answer);
    json_decref(job);
    return code == 0 ? watch(c, number) : code;
}

/* ---- ls, show, pause, resume, cancel ---- */

static int ls(struct command *c)
{
    json_t *arguments = json_object();
    int code = command_list(c, "/v1/replays", arguments, job_columns);

    json_decref(arguments);
    return code;
}

static int show(struct command *c)
{
    long long number = 0;
    json_t *job = NULL, *legs;
    char path[96];
    int code = number_word(c, &number);

    if (code != 0 || (code = job_path(path, number, "")) != 0 ||
        (code = command_ask(c, "GET", path, NULL, &job)) != 0)
        return code;
    if (c->json) {
        command_print_json(job);
    } else {
        legs = json_incref(json_object_get(job, "legs"));
        json_object_del(job, "legs");
        table_print_object(c, job, 0);
        if (json_is_array(legs))
            table_print(c, leg_columns, legs, 0);
        json_decref(legs);
    }
    json_decref(job);
    return 0;
}

static int change(struct command *c)
{
    const char *verb = strchr(c->verb->name, ' ') + 1;
    long long number = 0;
    json_t *answer = NULL;
    char path[96];
    int code = number_word(c, &number);

    if (code != 0 || (code = job_path(path, number, verb)) != 0 ||
        (code = command_ask(c, "POST", path, NULL, &answer)) != 0)
        return code;
    if (c->json)
        command_print_json(answer);
    else
        printf("%lld\t%s\n", number, verb);
    json_decref(answer);
    return 0;
}

static const struct args_option plan_options[] = {
    COMMAND_SELECTION_OPTIONS,
    { "--rate", "N/s", "at most so fast" },
    { "--to-sink", "ROUTE/SINK", "there, instead of to the original sinks" },
    { "--raw", NULL, "without the route's steps" },
    { NULL, NULL, NULL },
};
static const struct args_option run_options[] = {
    COMMAND_SELECTION_OPTIONS,
    { "--rate", "N/s", "at most so fast" },
    { "--to-sink", "ROUTE/SINK", "there, instead of to the original sinks" },
    { "--raw", NULL, "without the route's steps" },
    { "--yes", NULL, "without a question" },
    { NULL, NULL, NULL },
};
static const struct args_option list_options[] = {
    { "--limit", "N", "at most so many (a table: 1000)" },
    { NULL, NULL, NULL },
};

const struct verb verbs_replay[] = {
    { "replay plan", "", "freeze a set of logged events and show it",
        "bascule replay plan --route orders --since 10m", plan_options, 0, 0, plan },
    { "replay run", "[N]", "send a planned set, or select one and send it",
        "bascule replay run --route orders --since 1m --to-sink audit/copy --yes", run_options, 0,
        1, run },
    { "replay ls", "", "replays", "bascule replay ls", list_options, 0, 0, ls },
    { "replay show", "N", "one replay in detail", "bascule replay show 3", NULL, 1, 1, show },
    { "replay pause", "N", "hold a running replay", "bascule replay pause 3", NULL, 1, 1, change },
    { "replay resume", "N", "go on with a held replay", "bascule replay resume 3", NULL, 1, 1,
        change },
    { "replay cancel", "N", "end a replay; what it sent stays sent", "bascule replay cancel 3",
        NULL, 1, 1, change },
    { 0 },
};
