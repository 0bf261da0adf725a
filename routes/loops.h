/* Routes that feed themselves, alone or over others, found in the configuration. */
#ifndef BASCULE_LOOPS_H
#define BASCULE_LOOPS_H

#include "routes/config.h"

/* Adds a warning for each sink that writes what its own route reads, for the shortest round through
 * each set of routes, and for pub/sub in and out of one server, where a round cannot be seen. The
 * configuration must be without errors. */
void loops_check(const struct config *c, struct config_problems *problems);

#endif
