#include "bridge/admin/view.h"
#include "bridge/base/encoding.h"
#include "bridge/base/header.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

json_t *view_bytes(struct bytes b)
{
    struct buf text;
    json_t *ret;

    if (!bytes_present(b))
        return json_null();
    if (encoding_utf8(b))
        return json_stringn((const char *)b.at, b.n);
    buf_init(&text, b.n * 2 + 8);
    encoding_base64(b, &text);
    ret = json_pack("{s:s%}", "base64", text.at ? (const char *)text.at : "", text.n);
    buf_done(&text);
    return ret;
}

json_t *view_unsigned(uint64_t n)
{
    char text[24];

    if (n <= INT64_MAX)
        return json_integer((json_int_t)n);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    return json_string(text);
}

static const char *const type_names[] = { "unset", "null", "bool", "i8", "u8", "i16", "u16", "i32",
    "u32", "i64", "u64", "f32", "f64", "decimal", "text", "bytes", "time", "array", "table" };
static const char *const scope_names[] = { "none", "header", "property", "broker" };

static json_t *view_list(struct bytes headers, unsigned depth);

static json_t *value_json(const struct header_value *v, unsigned depth);

static json_t *array_json(struct bytes items, unsigned depth)
{
    json_t *ret = json_array();
    struct header_value v;

    while (depth < HEADER_DEPTH_MAX && header_next_item(&items, &v) == 1)
        json_array_append_new(ret, json_pack("{s:s, s:o}", "type", type_names[v.type], "value",
                                       value_json(&v, depth + 1)));
    return ret;
}

static json_t *text_json(const struct header_value *v)
{
    struct buf text;
    json_t *ret;

    buf_init(&text, 64);
    (void)header_value_text(v, &text);
    ret = json_string(buf_text(&text));
    buf_done(&text);
    return ret;
}

static json_t *value_json(const struct header_value *v, unsigned depth)
{
    switch (v->type) {
    case HEADER_UNSET:
    case HEADER_NULL:
        return json_null();
    case HEADER_BOOL:
        return json_boolean(v->i != 0);
    case HEADER_U64:
        return view_unsigned(v->u);
    case HEADER_F32:
    case HEADER_F64:
        return isfinite(v->f) ? json_real(v->f) : text_json(v);
    case HEADER_DECIMAL:
        return text_json(v);
    case HEADER_TEXT:
    case HEADER_BYTES:
        return view_bytes(v->bytes);
    case HEADER_ARRAY:
        return array_json(v->bytes, depth);
    case HEADER_TABLE:
        return view_list(v->bytes, depth + 1);
    default:
        return json_integer(v->i);
    }
}

static json_t *view_list(struct bytes headers, unsigned depth)
{
    json_t *ret = json_array();
    struct header h;

    while (depth < HEADER_DEPTH_MAX && header_next(&headers, &h) == 1)
        json_array_append_new(
            ret, json_pack("{s:o, s:s, s:s, s:o}", "name", view_bytes(h.name), "scope",
                     scope_names[h.scope <= HEADER_BROKER ? h.scope : 0], "type",
                     type_names[h.value.type], "value", value_json(&h.value, depth)));
    return ret;
}

json_t *view_headers(struct bytes headers)
{
    return view_list(headers, 0);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static json_t *cell_json(const char *column, const struct cell *c)
{
    if (c->type == CELL_INT)
        return json_integer(c->i);
    if (c->type == CELL_NULL)
        return json_null();
    if (ends_with(column, "headers"))
        return view_headers(c->bytes);
    return view_bytes(c->bytes);
}

json_t *view_rows(const struct rows *r)
{
    json_t *list = json_array(), *after = json_null();

    for (size_t row = 0; row < r->row_count; row++) {
        const struct cell *cells = &r->cells[row * r->column_count];
        json_t *object = json_object();

        for (size_t i = 0; i < r->column_count; i++)
            json_object_set_new(object, r->columns[i], cell_json(r->columns[i], &cells[i]));
        json_array_append_new(list, object);
        if (row + 1 == r->row_count && r->column_count && cells[0].type == CELL_INT)
            after = json_integer(cells[0].i);
    }
    return json_pack("{s:o, s:b, s:o}", "rows", list, "more", r->more, "after", after);
}

const struct cell *view_cell(const struct rows *r, size_t row, const char *column)
{
    for (size_t i = 0; row < r->row_count && i < r->column_count; i++)
        if (strcmp(r->columns[i], column) == 0)
            return &r->cells[row * r->column_count + i];
    return NULL;
}

uint64_t view_cell_number(const struct rows *r, size_t row, const char *column)
{
    const struct cell *c = view_cell(r, row, column);

    return c && c->type == CELL_INT && c->i > 0 ? (uint64_t)c->i : 0;
}

struct bytes view_cell_bytes(const struct rows *r, size_t row, const char *column)
{
    const struct cell *c = view_cell(r, row, column);

    return c && (c->type == CELL_TEXT || c->type == CELL_BYTES) ? bytes_of(c->bytes.at, c->bytes.n)
                                                                : BYTES_NONE;
}

json_t *view_audit(const struct rows *r)
{
    json_t *all = view_rows(r), *list = json_object_get(all, "rows"), *findings = json_array();
    size_t last = json_array_size(list) ? json_array_size(list) - 1 : 0;
    json_t *whole = json_array_get(list, last), *ret;

    for (size_t i = 0; i < last; i++) {
        json_t *one = json_array_get(list, i);

        json_array_append_new(
            findings, json_pack("{s:O, s:O}", "number", json_object_get(one, "number"), "text",
                          json_object_get(one, "finding")));
    }
    ret = json_pack("{s:O, s:O, s:O, s:O, s:O, s:O}", "rows", json_object_get(whole, "rows"),
        "first", json_object_get(whole, "first"), "last", json_object_get(whole, "number"), "head",
        json_object_get(whole, "head"), "expected", json_object_get(whole, "expected"), "findings",
        findings);
    json_decref(findings);
    json_decref(all);
    return ret;
}
