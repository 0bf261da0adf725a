/* Building the rows of a query's answer. */
#ifndef BASCULE_ROWS_H
#define BASCULE_ROWS_H

#include "store/query.h"

/* `columns` is static and ended by NULL. */
void rows_init(struct rows *r, const char *const *columns);
/* The cells of a row are added from left to right. */
void rows_int(struct rows *r, int64_t value);
void rows_text(struct rows *r, const char *text);    /* NULL: null */
void rows_bytes(struct rows *r, struct bytes bytes); /* absent: null */
void rows_textn(struct rows *r, struct bytes text);  /* as text; absent: null */
void rows_null(struct rows *r);
/* Ends a row. False: there was no memory for it. */
bool rows_end(struct rows *r);
/* Points the cells at the bytes; after the last row. */
void rows_finish(struct rows *r);

#endif
