/* Waiting: descriptors, signals and the clocks of one thread. Nothing else in the program reads a
 * clock or waits for a descriptor on the loop thread. */
#ifndef BASCULE_LOOP_H
#define BASCULE_LOOP_H

#include "bridge/base/fault.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Blocks SIGTERM, SIGINT and SIGHUP for the process (call before any thread starts) to read them
 * here, and ignores SIGPIPE. */
int loop_open(struct loop **ret, struct fault *why);
void loop_free(struct loop *l);

int64_t loop_now_ms(void);  /* monotonic */
int64_t loop_unix_ms(void); /* wall clock */

/* Wakes loop_wait() while the descriptor is readable; it stays the caller's. */
int loop_watch(struct loop *l, int fd, struct fault *why);

/* Waits until a watched descriptor is readable, a signal came, or monotonic `until_ms` is reached
 * (past: only looks; INT64_MAX: no limit). */
int loop_wait(struct loop *l, int64_t until_ms, struct fault *why);

/* The next signal that came, 0 when there is none. */
int loop_signal(struct loop *l);

#endif
