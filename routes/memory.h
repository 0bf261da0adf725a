/* Memory while a configuration is read: asking for it never fails in the middle. When there is none
 * left, a reserve lets the reading come to its end, which is an error then. Each thread has its
 * own.
 */
#ifndef BASCULE_MEMORY_H
#define BASCULE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Around all that follows. -1: there is not even the reserve. */
int memory_begin(void);
/* The reserve is in use: stop asking for more, what has been read counts for nothing. */
bool memory_failed(void);
/* Gives the reserve back. Returns whether it was in use. */
bool memory_end(void);
/* For tests: the n-th allocation from now on finds no memory. */
void memory_fail_in(int64_t n);

/* Zeroed; never NULL. Without memory_begin() the process ends when there is none. */
void *memory_array(size_t n, size_t size);
/* Room for one more behind n items of an array that only this function grew (doubling); the new one
 * is zeroed. */
void *memory_grow(void *at, size_t n, size_t size);
/* A copy, ended by NUL. */
char *memory_copy(const void *at, size_t n);
char *memory_text(const char *text);
/* Overwrites, then frees; NULL is fine. For what may hold secrets. */
void memory_wipe(char *text);

#endif
