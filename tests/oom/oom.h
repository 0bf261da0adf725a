/* Our own code's allocations and system calls, and SQLite's, made to fail once: the library is
 * linked with other names for them (tests/oom/symbols), SQLite is told by its own interfaces. */
#ifndef BASCULE_OOM_H
#define BASCULE_OOM_H

#include <stdbool.h>
#include <stddef.h>

enum oom_kind { OOM_NONE = 0, OOM_MEMORY, OOM_CALL };

/* Before SQLite is used. */
void oom_init(void);
/* From now on the n-th (from 1) of that kind fails, once; 0: they are only counted. */
void oom_begin(enum oom_kind kind, size_t n);
/* From now on nothing fails. Returns how many there were. */
size_t oom_end(void);
/* One was made to fail. */
bool oom_hit(void);

#endif
