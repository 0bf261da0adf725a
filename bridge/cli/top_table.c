#include "bridge/cli/top_table.h"
#include "bridge/cli/status_view.h"

#include <stdlib.h>
#include <strings.h>

#define LINE_MAX_BYTES 8192

const struct table_column top_table_columns[TOP_TABLE_COLUMNS + 1] = {
    { "name", "ROUTE/SINK", TABLE_TEXT },
    { "state", "STATE", TABLE_TEXT },
    { "in", "IN/S", TABLE_RATE },
    { "out", "OUT/S", TABLE_RATE },
    { "all_pending", "PENDING", TABLE_NUMBER },
    { "backlog_bytes", "BACKLOG", TABLE_SIZE },
    { "all_oldest_ms", "OLDEST", TABLE_AGE },
    { "all_parked_keys", "PARKED", TABLE_NUMBER },
    { "all_dead", "DEAD", TABLE_NUMBER },
    { "all_breaker", "BREAKER", TABLE_TEXT },
    { "trouble", "TROUBLE", TABLE_TEXT },
    { NULL, NULL, 0 },
};

int top_table_column(const char *title)
{
    for (int i = 0; i < TOP_TABLE_COLUMNS; i++)
        if (strcasecmp(top_table_columns[i].title, title) == 0)
            return i;
    return -1;
}

/* ---- order ---- */

struct order {
    const json_t *rows;
    const struct table_column *column;
    bool reversed;
};

static bool is_sink(const json_t *row)
{
    return *status_text(row, "sink") != '\0';
}

static int by_number(double a, double b)
{
    return a > b ? -1 : a < b;
}

static int compare_values(const struct table_column *column, const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, column->key), *y = json_object_get(b, column->key);
    double n = json_number_value(x), m = json_number_value(y);

    if (column->kind == TABLE_TEXT)
        return strcmp(json_string_value(x) ? json_string_value(x) : "",
            json_string_value(y) ? json_string_value(y) : "");
    /* What is empty comes last; the older time is the smaller number. */
    if (column->kind == TABLE_AGE)
        return by_number(n > 0 ? -n : -1e18, m > 0 ? -m : -1e18);
    return by_number(n, m);
}

static int compare(const void *a, const void *b, void *arg)
{
    const struct order *o = arg;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    int order = compare_values(o->column, json_array_get(o->rows, i), json_array_get(o->rows, k));

    if (order != 0)
        return o->reversed ? -order : order;
    return i < k ? -1 : i > k;
}

/* The places in `rows` of its routes (or from `first` on, of the sinks that follow there). */
static size_t collect(const json_t *rows, bool sinks, size_t first, size_t *ret)
{
    size_t n = 0;

    for (size_t i = first; i < json_array_size(rows); i++) {
        bool sink = is_sink(json_array_get(rows, i));

        if (sinks && !sink)
            break;
        if (sink == sinks)
            ret[n++] = i;
    }
    return n;
}

json_t *top_table_sort(const json_t *rows, int column, bool reversed)
{
    size_t count = json_array_size(rows), n;
    size_t *routes = calloc(count * 2 + 1, sizeof *routes), *sinks = routes + count;
    struct order order = { rows, &top_table_columns[column < 0 ? 0 : column], reversed };
    json_t *ret = json_array();

    if (!routes || column < 0) {
        json_array_extend(ret, (json_t *)(uintptr_t)rows);
        free(routes);
        return ret;
    }
    n = collect(rows, false, 0, routes);
    qsort_r(routes, n, sizeof *routes, compare, &order);
    for (size_t i = 0; i < n; i++) {
        size_t m = collect(rows, true, routes[i] + 1, sinks);

        qsort_r(sinks, m, sizeof *sinks, compare, &order);
        json_array_append(ret, json_array_get(rows, routes[i]));
        for (size_t k = 0; k < m; k++)
            json_array_append(ret, json_array_get(rows, sinks[k]));
    }
    free(routes);
    return ret;
}

/* ---- lines ---- */

static char *title_of(int column, int sorted_by, bool reversed)
{
    struct buf text;
    char *ret;

    buf_init(&text, 64);
    buf_put_text(&text, top_table_columns[column].title);
    if (column == sorted_by)
        buf_put_text(&text, reversed ? "^" : "*");
    ret = strdup(buf_text(&text));
    buf_done(&text);
    return ret;
}

static char *join(char *const *cells, const size_t *widths)
{
    struct buf line;
    char *ret;

    buf_init(&line, LINE_MAX_BYTES);
    for (int i = 0; i < TOP_TABLE_COLUMNS; i++) {
        const char *text = cells[i] ? cells[i] : "";
        bool right =
            top_table_columns[i].kind != TABLE_TEXT && top_table_columns[i].kind != TABLE_TIME;
        int pad = (int)(widths[i] - table_width(text));

        if (right)
            buf_put_format(&line, "%*s%s  ", pad, "", text);
        else if (i + 1 < TOP_TABLE_COLUMNS)
            buf_put_format(&line, "%s%*s  ", text, pad, "");
        else
            buf_put_text(&line, text);
    }
    ret = strdup(buf_text(&line));
    buf_done(&line);
    return ret;
}

char **top_table_lines(const json_t *rows, int sorted_by, bool reversed, int64_t now_ms)
{
    size_t count = json_array_size(rows) + 1, widths[TOP_TABLE_COLUMNS] = { 0 };
    char **cells = calloc(count * TOP_TABLE_COLUMNS, sizeof *cells);
    char **ret = calloc(count, sizeof *ret);

    for (size_t i = 0; cells && i < count * TOP_TABLE_COLUMNS; i++) {
        int column = (int)(i % TOP_TABLE_COLUMNS);
        size_t row = i / TOP_TABLE_COLUMNS, n;

        cells[i] = row ? table_cell(&top_table_columns[column], json_array_get(rows, row - 1),
                             now_ms, true)
                       : title_of(column, sorted_by, reversed);
        n = table_width(cells[i] ? cells[i] : "");
        widths[column] = n > widths[column] ? n : widths[column];
    }
    for (size_t row = 0; cells && ret && row < count; row++)
        ret[row] = join(cells + row * TOP_TABLE_COLUMNS, widths);
    for (size_t i = 0; cells && i < count * TOP_TABLE_COLUMNS; i++)
        free(cells[i]);
    free(cells);
    return ret;
}

void top_table_lines_free(char **lines, size_t count)
{
    for (size_t i = 0; lines && i < count; i++)
        free(lines[i]);
    free(lines);
}
