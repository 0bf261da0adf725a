/* Rows for people (aligned columns) or for programs (tab-separated, no heading). */
#ifndef BASCULE_TABLE_H
#define BASCULE_TABLE_H

#include "bridge/cli/command.h"

enum table_kind { TABLE_TEXT = 1, TABLE_NUMBER, TABLE_TIME, TABLE_AGE, TABLE_SIZE, TABLE_RATE };

struct table_column {
    const char *key; /* in the JSON object; "a.b" looks inside a */
    const char *title;
    enum table_kind kind;
};

/* Columns end with a zeroed entry. Ages are told from now_ms (unix). */
void table_print(const struct command *c, const struct table_column *columns, const json_t *rows,
    int64_t now_ms);
/* A table whose rows come one by one: columns grow with what came. */
#define TABLE_COLUMNS_MAX 24
struct table_stream {
    size_t widths[TABLE_COLUMNS_MAX];
    bool begun;
};
void table_stream_row(const struct command *c, const struct table_column *columns,
    struct table_stream *s, const json_t *row, int64_t now_ms);
/* One object, a line a key. */
void table_print_object(const struct command *c, const json_t *object, int64_t now_ms);

/* What stands in that column of a row, as on a terminal; the caller frees it. NULL: no memory. */
char *table_cell(
    const struct table_column *column, const json_t *row, int64_t now_ms, bool terminal);
/* Columns on the screen. */
size_t table_width(const char *text);
/* Text without anything that a terminal would obey. */
void table_put_safe(struct buf *to, const char *text, size_t n);
void table_put_time(struct buf *to, int64_t unix_ms);
void table_put_duration(struct buf *to, int64_t ms);
void table_put_size(struct buf *to, int64_t bytes);

#endif
