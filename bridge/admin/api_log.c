/* The log of the running process: its level, and what it lost. */
#include "bridge/admin/call.h"
#include "bridge/base/log.h"

#include <stdio.h>

/* A level for longer than that is configured. */
#define FOR_MS_MAX (7 * INT64_C(86400000))

static json_t *log_json(const struct call *c)
{
    struct log_status s;
    bool timed;

    log_status(&s);
    timed = s.until_ms && s.until_ms != INT64_MAX;
    return json_pack("{s:s, s:s, s:b, s:o, s:s, s:o}", "level", log_level_text(s.level),
        "configured", log_level_text(s.configured), "overridden", s.until_ms != 0, "until_ms",
        timed ? json_integer(c->unix_ms + s.until_ms - c->now_ms) : json_null(), "format",
        log_format_text(s.format), "lost_lines", view_unsigned(s.lost));
}

void api_log(struct call *c)
{
    call_reply(c, log_json(c));
}

void api_log_level(struct call *c)
{
    const char *name = call_text(c, "level");
    enum log_level level = name ? log_level_parse(name) : LOG_LEVEL_NONE;
    char who[128], detail[64] = "until the process ends";
    int64_t for_ms;

    if (call_number(c, "for_ms", 0, &for_ms) != 0)
        return;
    if (for_ms > FOR_MS_MAX) {
        call_fail(c, 400, "bad_request", "for_ms: at most 7 days; for longer, configure it");
        return;
    }
    if (level == LOG_LEVEL_NONE && (!name || strcmp(name, "configured") != 0)) {
        call_fail(c, 400, "bad_request", "level: error, warn, info, debug or configured");
        return;
    }
    if (level == LOG_LEVEL_NONE)
        detail[0] = '\0';
    else if (for_ms)
        (void)snprintf(detail, sizeof detail, "for %lld s", (long long)(for_ms + 999) / 1000);
    /* Said while the wider of both levels holds, so that the log itself tells why it changes. */
    if (level < LOG_LEVEL_INFO)
        log_say(LOG_LEVEL_INFO, NULL, NULL, "log level: %s, by %s", name, call_who(c, who));
    log_level_set(level, for_ms ? c->now_ms + for_ms : INT64_MAX);
    if (level >= LOG_LEVEL_INFO)
        log_say(
            LOG_LEVEL_INFO, NULL, NULL, "log level: %s %s, by %s", name, detail, call_who(c, who));
    call_audit(c, "log_level", "log", detail, name);
    call_reply(c, log_json(c));
}
