#include "bridge/admin/exposition.h"

#include <inttypes.h>
#include <stdio.h>

void exposition_family(struct buf *to, const char *name, const char *type, const char *help)
{
    buf_put_format(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(struct buf *to, const char *name, const char *value)
{
    buf_put_format(to, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_put_byte(to, '\\');
        if (*value == '\n')
            buf_put_text(to, "\\n");
        else
            buf_put_byte(to, (uint8_t)*value);
    }
    buf_put_byte(to, '"');
}

/* `le`: NULL, or the bucket's label. */
static void put_name(
    struct buf *to, const char *name, const char *suffix, const char *const *labels, const char *le)
{
    static const char *const none[] = { NULL };
    const char *const *at = labels ? labels : none;

    buf_put_format(to, "%s%s", name, suffix);
    if (!at[0] && !le)
        return;
    buf_put_byte(to, '{');
    for (; at[0]; at += 2) {
        put_label(to, at[0], at[1]);
        if (at[2] || le)
            buf_put_byte(to, ',');
    }
    if (le)
        put_label(to, "le", le);
    buf_put_byte(to, '}');
}

void exposition_line(struct buf *to, const char *name, const char *const *labels, double value)
{
    put_name(to, name, "", labels, NULL);
    buf_put_format(to, " %.15g\n", value);
}

void exposition_histogram(
    struct buf *to, const char *name, const char *const *labels, const struct histogram *h)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        char le[32];

        (void)snprintf(le, sizeof le, "%g", (double)histogram_bounds_us[i] / 1e6);
        sum += h->buckets[i];
        put_name(to, name, "_bucket", labels, le);
        buf_put_format(to, " %" PRIu64 "\n", sum);
    }
    put_name(to, name, "_bucket", labels, "+Inf");
    buf_put_format(to, " %" PRIu64 "\n", h->count);
    put_name(to, name, "_sum", labels, NULL);
    buf_put_format(to, " %.15g\n", (double)h->sum_us / 1e6);
    put_name(to, name, "_count", labels, NULL);
    buf_put_format(to, " %" PRIu64 "\n", h->count);
}

void exposition_plain(
    struct buf *to, const char *name, const char *type, const char *help, double value)
{
    exposition_family(to, name, type, help);
    exposition_line(to, name, NULL, value);
}
