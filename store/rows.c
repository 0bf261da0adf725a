#include "store/rows.h"

#include <stdlib.h>

#define ROWS_BYTES_MAX ((size_t)256 << 20)

void rows_init(struct rows *r, const char *const *columns)
{
    *r = (struct rows){ .columns = columns };
    while (columns[r->column_count])
        r->column_count++;
    buf_init(&r->memory, ROWS_BYTES_MAX);
}

void rows_done(struct rows *r)
{
    free(r->cells);
    buf_done(&r->memory);
    *r = (struct rows){ 0 };
}

/* Until rows_finish(), `i` holds where a text starts: the memory moves while it grows. */
static void put(struct rows *r, enum cell_type type, int64_t i, struct bytes bytes)
{
    size_t at = r->row_count * r->column_count + (size_t)r->filling;
    struct cell *cells;

    if (at == r->cell_capacity) {
        size_t capacity = r->cell_capacity ? r->cell_capacity * 2 : 256;

        cells = realloc(r->cells, capacity * sizeof *cells);
        if (!cells) {
            r->memory.failed = true;
            return;
        }
        r->cells = cells;
        r->cell_capacity = capacity;
    }
    r->cells[at] = (struct cell){ .type = type, .i = i, .bytes = { NULL, bytes.n } };
    r->filling++;
    if (type != CELL_TEXT && type != CELL_BYTES)
        return;
    r->cells[at].i = (int64_t)r->memory.n;
    buf_put_bytes(&r->memory, bytes);
}

void rows_int(struct rows *r, int64_t value)
{
    put(r, CELL_INT, value, BYTES_NONE);
}

void rows_null(struct rows *r)
{
    put(r, CELL_NULL, 0, BYTES_NONE);
}

void rows_textn(struct rows *r, struct bytes text)
{
    put(r, bytes_present(text) ? CELL_TEXT : CELL_NULL, 0, text);
}

void rows_text(struct rows *r, const char *text)
{
    rows_textn(r, bytes_text(text));
}

void rows_bytes(struct rows *r, struct bytes bytes)
{
    put(r, bytes_present(bytes) ? CELL_BYTES : CELL_NULL, 0, bytes);
}

bool rows_end(struct rows *r)
{
    r->filling = 0;
    if (r->memory.failed)
        return false;
    r->row_count++;
    return true;
}

void rows_finish(struct rows *r)
{
    for (size_t i = 0; i < r->row_count * r->column_count; i++) {
        struct cell *c = &r->cells[i];

        if (c->type != CELL_TEXT && c->type != CELL_BYTES)
            continue;
        c->bytes = bytes_of(r->memory.at ? r->memory.at + c->i : NULL, c->bytes.n);
        c->i = 0;
    }
}
