/* The service manager's watchdog: fed only while the loop turns and the writer commits. */
#ifndef BASCULE_WATCHDOG_H
#define BASCULE_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct watchdog {
    int64_t limit_ms; /* 0: nobody watches */
    int64_t next_ms, progress_ms;
    uint64_t committed;
};

/* Reads WATCHDOG_USEC and WATCHDOG_PID, as sd_watchdog_enabled(3) says. */
void watchdog_init(struct watchdog *w, int64_t now_ms);
/* Once a turn: whether a transaction is in progress, and the last that was committed. A writer that
 * has been busy with the same one for longer than the limit gets no more food. Returns when it
 * wants the next turn, INT64_MAX: no matter. */
int64_t watchdog_step(struct watchdog *w, int64_t now_ms, bool busy, uint64_t committed);

/* While something blocks that may take long (opening a store that must be upgraded): asks the
 * manager for more time every few seconds, for an hour at most. Between the two calls only. */
void watchdog_extend_begin(void);
void watchdog_extend_end(void);

#endif
