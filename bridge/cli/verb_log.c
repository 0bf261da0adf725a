/* log-level: how much the running daemon says. */
#include "bridge/cli/table.h"
#include "routes/options.h"

#include <stdio.h>

static const char *text_of(const json_t *answer, const char *key)
{
    const char *text = json_string_value(json_object_get(answer, key));

    return text ? text : "";
}

static void print(struct command *c, const json_t *answer)
{
    json_int_t until = json_integer_value(json_object_get(answer, "until_ms"));
    json_int_t lost = json_integer_value(json_object_get(answer, "lost_lines"));

    if (c->json) {
        command_print_json(answer);
        return;
    }
    printf("%s\n", text_of(answer, "level"));
    if (json_is_true(json_object_get(answer, "overridden"))) {
        struct buf text;

        buf_init(&text, 256);
        if (until) {
            buf_put_text(&text, " until ");
            table_put_time(&text, until);
        }
        fprintf(stderr, "by hand%s; '%s' is configured\n", buf_text(&text),
            text_of(answer, "configured"));
        buf_done(&text);
    }
    if (lost)
        fprintf(stderr, "%lld lines were lost: whoever reads the log did not keep up\n",
            (long long)lost);
}

static int log_level(struct command *c)
{
    const char *wanted = c->args.rest_count ? c->args.rest[0] : NULL;
    const char *time = args_get(&c->args, "--for");
    json_t *body = NULL, *answer = NULL;
    int64_t for_ms = 0;
    int code;

    if (time && !wanted)
        return command_fail(DAEMON_USAGE, "--for goes with a level");
    if (time && (options_duration(time, &for_ms) != 0 || for_ms <= 0))
        return command_fail(DAEMON_USAGE, "--for '%s': a time is 30s, 10m, 2h", time);
    if (wanted)
        body = json_pack("{s:s, s:I}", "level", wanted, "for_ms", (json_int_t)for_ms);
    if (wanted && !body)
        return command_fail(DAEMON_USAGE, "the level is not UTF-8");
    code = command_ask(c, wanted ? "POST" : "GET", "/v1/log", body, &answer);
    json_decref(body);
    if (code == 0)
        print(c, answer);
    json_decref(answer);
    return code;
}

static const struct args_option options[] = {
    { "--for", "TIME", "only for that long (30s, 10m, 2h), then the configured level again" },
    { NULL, NULL, NULL },
};

const struct verb verbs_log[] = {
    { "log-level", "[LEVEL]",
        "how much the daemon logs: show it, or set error, warn, info, debug or configured",
        "bascule log-level debug --for 10m", options, 0, 1, log_level },
    { 0 },
};
