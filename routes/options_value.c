/* Numbers with units, as configuration writes them. */
#include "routes/options.h"

#include <ctype.h>
#include <stdlib.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
    { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 }, { NULL, 0 } };

static const struct unit sizes[] = { { "", 1 }, { "B", 1 }, { "kB", 1000 }, { "KB", 1000 },
    { "MB", 1000000 }, { "GB", 1000000000 }, { "TB", 1000000000000 }, { "KiB", 1024 },
    { "MiB", 1048576 }, { "GiB", 1073741824 }, { "TiB", 1099511627776 }, { NULL, 0 } };

/* In thousandths of an event a second. */
static const struct unit rates[] = { { "/s", 60000 }, { "/m", 1000 }, { NULL, 0 } };

/* One number and its unit off *at. */
static int take(const char **at, const struct unit *units, int64_t *sum)
{
    int64_t value = 0;
    size_t n;

    if (!isdigit((unsigned char)**at))
        return -1;
    for (; isdigit((unsigned char)**at); (*at)++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, **at - '0', &value))
            return -1;
    }
    for (n = 0; (*at)[n] && !isdigit((unsigned char)(*at)[n]);)
        n++;
    for (; units->name; units++) {
        if (strlen(units->name) != n || strncmp(units->name, *at, n) != 0)
            continue;
        *at += n;
        return __builtin_mul_overflow(value, units->factor, &value) ||
                       __builtin_add_overflow(*sum, value, sum)
                   ? -1
                   : 0;
    }
    return -1;
}

int options_duration(const char *text, int64_t *ret_ms)
{
    int64_t sum = 0;

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do { /* "1h30m" */
        if (take(&text, durations, &sum) != 0)
            return -1;
    } while (*text);
    *ret_ms = sum;
    return 0;
}

static int take_one(const char *text, const struct unit *units, int64_t *ret)
{
    int64_t sum = 0;

    if (take(&text, units, &sum) != 0 || *text)
        return -1;
    *ret = sum;
    return 0;
}

int options_size(const char *text, int64_t *ret_bytes)
{
    return take_one(text, sizes, ret_bytes);
}

int options_rate(const char *text, int64_t *ret)
{
    if (strcmp(text, "0") == 0) {
        *ret = 0;
        return 0;
    }
    if (take_one(text, rates, ret) != 0)
        return -1;
    *ret /= 60;
    return 0;
}
