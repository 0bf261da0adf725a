/* The table of `top`: columns, and rows in the order that was asked for. */
#ifndef BASCULE_TOP_TABLE_H
#define BASCULE_TOP_TABLE_H

#include "bridge/cli/table.h"

#define TOP_TABLE_COLUMNS 11

extern const struct table_column top_table_columns[TOP_TABLE_COLUMNS + 1];

/* The column of that title, in any case; -1: none. */
int top_table_column(const char *title);
/* Rows (status_view.h) sorted by that column, sinks below their routes; -1: as they are. Numbers go
 * from high to low, ages from old to young, texts from A to Z; `reversed` the other way. New
 * reference. */
json_t *top_table_sort(const json_t *rows, int column, bool reversed);
/* A line for each row and one with the titles first; the caller frees them and the list. The last
 * column is not padded. */
char **top_table_lines(const json_t *rows, int sorted_by, bool reversed, int64_t now_ms);
void top_table_lines_free(char **lines, size_t count);

#endif
