#include "bridge/cli/table.h"
#include "bridge/base/encoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CELL_MAX 4096

void table_put_safe(struct buf *to, const char *text, size_t n)
{
    bool utf8 = encoding_utf8(bytes_of(text, n));

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        /* U+0080..U+009F: control characters too, in two bytes */
        bool c1 = utf8 && c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0;

        if (c == '\n')
            buf_put_text(to, "\\n");
        else if (c == '\t')
            buf_put_text(to, "\\t");
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            buf_put_format(to, "\\x%02x", c);
        else if (c1)
            buf_put_format(to, "\\x%02x", (unsigned char)text[++i]);
        else
            buf_put_byte(to, c);
    }
}

void table_put_time(struct buf *to, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    char text[40];
    struct tm tm;

    if (unix_ms <= 0 || !gmtime_r(&seconds, &tm)) {
        buf_put_byte(to, '-');
        return;
    }
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_put_format(to, "%s.%03dZ", text, (int)(unix_ms % 1000));
}

void table_put_duration(struct buf *to, int64_t ms)
{
    if (ms < 1000)
        buf_put_format(to, "%lldms", (long long)ms);
    else if (ms < 120000)
        buf_put_format(to, "%llds", (long long)(ms / 1000));
    else if (ms < 7200000)
        buf_put_format(to, "%lldm", (long long)(ms / 60000));
    else if (ms < 172800000)
        buf_put_format(to, "%lldh", (long long)(ms / 3600000));
    else
        buf_put_format(to, "%lldd", (long long)(ms / 86400000));
}

void table_put_size(struct buf *to, int64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double n = (double)bytes;
    size_t unit = 0;

    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    buf_put_format(to, unit && n < 10 ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static const json_t *look_up(const json_t *object, const char *key)
{
    const char *dot = strchr(key, '.');
    char first[64];

    if (!dot)
        return json_object_get(object, key);
    (void)snprintf(first, sizeof first, "%.*s", (int)(dot - key), key);
    return look_up(json_object_get(object, first), dot + 1);
}

static void put_value(struct buf *to, const json_t *value)
{
    char *text;

    if (json_is_string(value)) {
        table_put_safe(to, json_string_value(value), json_string_length(value));
    } else if (json_is_boolean(value)) {
        buf_put_text(to, json_is_true(value) ? "yes" : "no");
    } else if (!value || json_is_null(value)) {
        buf_put_byte(to, '-');
    } else {
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        table_put_safe(to, text ? text : "", text ? strlen(text) : 0);
        free(text);
    }
}

/* Programs get plain numbers where people get units. */
static void put_cell(struct buf *to, const struct table_column *column, const json_t *value,
    int64_t now_ms, bool terminal)
{
    int64_t n = json_integer_value(value);

    if (json_is_string(value) && !json_string_length(value))
        buf_put_byte(to, '-');
    else if (json_is_real(value))
        buf_put_format(to, "%.1f", json_real_value(value));
    else if (!json_is_integer(value))
        put_value(to, value);
    else if (column->kind == TABLE_TIME)
        table_put_time(to, n);
    else if (column->kind == TABLE_AGE && terminal && n > 0)
        table_put_duration(to, now_ms > n ? now_ms - n : 0);
    else if (column->kind == TABLE_AGE && n > 0)
        buf_put_format(to, "%lld", (long long)(now_ms > n ? now_ms - n : 0));
    else if (column->kind == TABLE_SIZE && terminal)
        table_put_size(to, n);
    else
        buf_put_format(to, "%lld", (long long)n);
}

/* Bytes that start a character. */
size_t table_width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_padded(const char *text, size_t to, bool right, bool last)
{
    size_t have = table_width(text), pad = to > have ? to - have : 0;

    if (right)
        printf("%*s", (int)pad, "");
    fputs(text, stdout);
    if (!right && !last)
        printf("%*s", (int)pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

static bool is_right(const struct table_column *column)
{
    return column->kind != TABLE_TEXT && column->kind != TABLE_TIME;
}

char *table_cell(
    const struct table_column *column, const json_t *row, int64_t now_ms, bool terminal)
{
    struct buf text;
    char *ret;

    buf_init(&text, CELL_MAX);
    put_cell(&text, column, look_up(row, column->key), now_ms, terminal);
    ret = strdup(buf_text(&text));
    buf_done(&text);
    return ret;
}

static void print_titles(
    const struct command *c, const struct table_column *columns, size_t count, const size_t *widths)
{
    if (c->color)
        fputs("\033[1m", stdout);
    for (size_t i = 0; i < count; i++)
        print_padded(columns[i].title, widths[i], is_right(&columns[i]), i + 1 == count);
    if (c->color)
        fputs("\033[0m", stdout);
}

static void print_aligned(const struct command *c, const struct table_column *columns, size_t count,
    char **cells, size_t row_count)
{
    size_t widths[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < count; i++) {
        widths[i] = table_width(columns[i].title);
        for (size_t row = 0; row < row_count; row++) {
            size_t n = table_width(cells[row * count + i] ? cells[row * count + i] : "");

            if (n > widths[i])
                widths[i] = n;
        }
    }
    print_titles(c, columns, count, widths);
    for (size_t row = 0; row < row_count; row++)
        for (size_t i = 0; i < count; i++)
            print_padded(cells[row * count + i] ? cells[row * count + i] : "", widths[i],
                is_right(&columns[i]), i + 1 == count);
}

static size_t column_count(const struct table_column *columns)
{
    size_t count = 0;

    while (columns[count].key && count < TABLE_COLUMNS_MAX)
        count++;
    return count;
}

void table_stream_row(const struct command *c, const struct table_column *columns,
    struct table_stream *s, const json_t *row, int64_t now_ms)
{
    size_t count = column_count(columns);
    char *cells[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < count; i++) {
        size_t n;

        cells[i] = table_cell(&columns[i], row, now_ms, c->terminal);
        n = table_width(cells[i] ? cells[i] : "");
        if (s->widths[i] < table_width(columns[i].title))
            s->widths[i] = table_width(columns[i].title);
        if (s->widths[i] < n)
            s->widths[i] = n;
    }
    if (c->terminal && !s->begun)
        print_titles(c, columns, count, s->widths);
    s->begun = true;
    for (size_t i = 0; i < count; i++) {
        const char *text = cells[i] ? cells[i] : "";

        if (c->terminal)
            print_padded(text, s->widths[i], is_right(&columns[i]), i + 1 == count);
        else
            printf("%s%c", text, i + 1 < count ? '\t' : '\n');
        free(cells[i]);
    }
}

void table_print(
    const struct command *c, const struct table_column *columns, const json_t *rows, int64_t now_ms)
{
    size_t count = column_count(columns), row_count = json_array_size(rows);
    char **cells;

    cells = calloc(row_count * count + 1, sizeof *cells);
    if (!cells)
        return;
    for (size_t i = 0; i < row_count * count; i++)
        cells[i] =
            table_cell(&columns[i % count], json_array_get(rows, i / count), now_ms, c->terminal);
    if (c->terminal)
        print_aligned(c, columns, count, cells, row_count);
    else
        for (size_t i = 0; i < row_count * count; i++)
            printf("%s%c", cells[i] ? cells[i] : "", (i + 1) % count ? '\t' : '\n');
    for (size_t i = 0; i < row_count * count; i++)
        free(cells[i]);
    free(cells);
}

static void print_value(
    const struct command *c, const char *name, int width, const json_t *value, int64_t now_ms)
{
    size_t n = strlen(name);
    bool is_time =
        n > 3 && strcmp(name + n - 3, "_ms") == 0 && json_integer_value(value) > 1000000000000;
    bool is_size = n > 6 && strcmp(name + n - 6, "_bytes") == 0;
    struct table_column column = { name, name,
        is_time   ? TABLE_TIME
        : is_size ? TABLE_SIZE
                  : TABLE_TEXT };
    struct buf text;

    buf_init(&text, 64u << 20);
    put_cell(&text, &column, value, now_ms, c->terminal);
    if (c->terminal)
        printf("%-*s  %s\n", width, name, buf_text(&text));
    else
        printf("%s\t%s\n", name, buf_text(&text));
    buf_done(&text);
}

/* Objects inside go as "link.state"; bytes that are no text ({"base64": …}) stay one value. */
static bool is_nested(const json_t *value)
{
    return json_is_object(value) && json_object_size(value) && !json_object_get(value, "base64");
}

static void print_members(const struct command *c, const char *prefix, int width,
    const json_t *object, int64_t now_ms, int *widest)
{
    const char *key;
    json_t *value, *item;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[256];
        int n = snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);

        if (is_nested(value)) {
            print_members(c, name, width, value, now_ms, widest);
            continue;
        }
        *widest = n > *widest ? n : *widest;
        if (width < 0)
            continue;
        if (!json_is_array(value) || !json_array_size(value))
            print_value(c, name, width, value, now_ms);
        else
            json_array_foreach(value, i, item) print_value(c, name, width, item, now_ms);
    }
}

void table_print_object(const struct command *c, const json_t *object, int64_t now_ms)
{
    int widest = 0;

    print_members(c, "", -1, object, now_ms, &widest);
    print_members(c, "", widest, object, now_ms, &widest);
}
