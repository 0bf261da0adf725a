/* Memory while a configuration is read. A file has 1 MiB at most, so what is asked for is small;
 * when even that is not there the process ends, since no part of it could go on. */
#ifndef BASCULE_MEMORY_H
#define BASCULE_MEMORY_H

#include <stddef.h>

/* Zeroed; never NULL. */
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
