/* Rules between the parts of a configuration, and what each route promises. */
#ifndef BASCULE_CHECK_H
#define BASCULE_CHECK_H

#include "routes/config.h"

/* Adds the problems of a whole configuration; also of one that has errors already. */
void check_config(const struct config *c, struct config_problems *problems);

/* What a route promises and why, a line for the source and one for each sink. Returns 0, or -1 when
 * the text did not fit. */
int check_guarantee(const struct config *c, size_t route, struct buf *text);

#endif
