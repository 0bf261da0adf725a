/* What the store knows, as JSON: rows of a query, typed headers, bytes that may not be text. */
#ifndef BASCULE_VIEW_H
#define BASCULE_VIEW_H

#include "store/query.h"

#include <jansson.h>

/* A string where it is UTF-8, else {"base64": "…"}; absent: null. New reference, as all here. */
json_t *view_bytes(struct bytes b);
/* Numbers above 2^63-1 go as text. */
json_t *view_unsigned(uint64_t n);
/* An encoded list as [{"name","scope","type","value"}…]; what cannot be read ends the list. */
json_t *view_headers(struct bytes headers);
/* {"rows": [{column: value}…], "more": bool, "after": first column of the last row or null} */
json_t *view_rows(const struct rows *r);

/* Of QUERY_AUDIT_VERIFY: {"rows", "first", "last", "head", "expected", "findings": [{"number",
 * "text"}…]}; expected null: it was not asked for, or is not there. */
json_t *view_audit(const struct rows *r);

/* The cell of that column, NULL when there is no such column. */
const struct cell *view_cell(const struct rows *r, size_t row, const char *column);
uint64_t view_cell_number(const struct rows *r, size_t row, const char *column);
/* Absent unless it is text or bytes. */
struct bytes view_cell_bytes(const struct rows *r, size_t row, const char *column);

#endif
