#include "bridge/cli/when.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t ago(const char *text, int64_t now_ms)
{
    char *end;
    double n = strtod(text, &end);
    double unit = strcmp(end, "ms") == 0  ? 1
                  : strcmp(end, "s") == 0 ? 1e3
                  : strcmp(end, "m") == 0 ? 6e4
                  : strcmp(end, "h") == 0 ? 36e5
                  : strcmp(end, "d") == 0 ? 864e5
                                          : -1;

    if (end == text || unit < 0 || !(n >= 0) || n * unit > 1e15)
        return -1;
    return now_ms - (int64_t)(n * unit);
}

int64_t when_parse(const char *text, int64_t now_ms)
{
    struct tm tm = { 0 };
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    int64_t zone = 0, fraction = 0, scale = 100;
    int hours, minutes, n = 0;

    if (!rest)
        return ago(text, now_ms);
    if (*rest == 'T' || *rest == ' ') {
        const char *clock = strptime(rest + 1, "%H:%M:%S", &tm);

        if (!clock)
            return -1;
        rest = clock;
    }
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10)
            fraction += (*rest - '0') * scale;
    if (*rest == 'Z') {
        rest++;
    } else if (*rest == '+' || *rest == '-') {
        if (sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5)
            return -1;
        zone = (hours * 60 + minutes) * 60000LL * (*rest == '-' ? -1 : 1);
        rest += 6;
    }
    return *rest ? -1 : (int64_t)timegm(&tm) * 1000 + fraction - zone;
}
