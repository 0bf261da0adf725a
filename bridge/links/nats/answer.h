/* Members of the JSON objects that JetStream answers with; a reader, not a checker: what it cannot
 * follow it does not find. */
#ifndef BASCULE_ANSWER_H
#define BASCULE_ANSWER_H

#include "bridge/base/buf.h"

/* Deepest nesting that is followed. */
#define ANSWER_DEPTH_MAX 32

/* The text of the member `path` ("state.last_seq"), as it stands: numbers, literals and nested ones
 * whole, strings without their quotes and not unescaped. Absent when it is not there. */
struct bytes answer_find(struct bytes object, const char *path);
/* Members of an object, one after the other: 1, 0 at the end or where it cannot be followed. */
int answer_member(struct bytes *object, struct bytes *name, struct bytes *value);
/* A whole number; `otherwise` when it is not there or none. */
int64_t answer_int(struct bytes object, const char *path, int64_t otherwise);
uint64_t answer_unsigned(struct bytes object, const char *path);
bool answer_true(struct bytes object, const char *path);
/* The value of a string, cut to n-1 bytes; "" when it is not there. Escapes stay as they are. */
const char *answer_text(struct bytes object, const char *path, char *ret, size_t n);
/* A string with its escapes resolved, appended; false when it is not there or damaged. */
bool answer_string(struct bytes object, const char *path, struct buf *to);
/* A time as the server writes it (2006-01-02T15:04:05.123456789Z) in unix ms, 0 when it is none. */
int64_t answer_time_ms(struct bytes object, const char *path);
/* Items of an array, one after the other: 1, 0 at the end or where it cannot be followed. */
int answer_item(struct bytes *array, struct bytes *ret);
/* A string in quotes. */
void answer_put_string(struct buf *to, const char *text);

#endif
