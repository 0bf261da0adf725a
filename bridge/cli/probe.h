/* Dialling every broker that a configuration names, without a daemon. */
#ifndef BASCULE_PROBE_H
#define BASCULE_PROBE_H

#include "routes/config.h"

/* Prints findings, a line each. Returns the number of errors among them. */
size_t probe_all(const struct config *config);

#endif
