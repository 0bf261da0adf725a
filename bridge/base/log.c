#include "bridge/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static enum log_level level_wanted = LOG_LEVEL_NONE;

void log_open(enum log_level level, enum log_format format)
{
    (void)format;
    level_wanted = level;
}

void log_say(enum log_level level, const char *route, const char *sink, const char *format, ...)
{
    static const char *const names[] = { "none", "error", "warn", "info", "debug" };
    char line[1024];
    va_list ap;

    if (level > level_wanted)
        return;
    va_start(ap, format);
    (void)vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fprintf(stderr, "level=%s%s%s%s%s msg=\"%s\"\n", names[level], route ? " route=" : "",
        route ? route : "", sink ? " sink=" : "", sink ? sink : "", line);
}
