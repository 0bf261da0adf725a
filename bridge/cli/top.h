/* `top`: all routes on a screen that is alive, or as plain tables one after the other. */
#ifndef BASCULE_TOP_H
#define BASCULE_TOP_H

#include "bridge/cli/command.h"

int top_run(struct command *c);
extern const struct args_option top_options[];

/* top_look.c: one route in lines of text: its ends, its sinks, its newest dead letters. `dead`:
 * rows, NULL when they are not known yet. The buffer holds lines. */
void top_look(const json_t *route, const json_t *dead, int64_t now_ms, struct buf *to);

#endif
