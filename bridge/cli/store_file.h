/* Which store a verb works on that knows both a live one and a file. */
#ifndef BASCULE_STORE_FILE_H
#define BASCULE_STORE_FILE_H

#include "bridge/cli/command.h"

/* The file to work on without a daemon: --store, or the configuration's when nobody listens on the
 * socket. "" when the daemon is asked instead. Returns 0, or an exit code that was explained: the
 * configuration cannot be read. */
int store_file_find(struct command *c, char *ret, size_t n);
/* The configuration's store.path, whoever has it open. Likewise. */
int store_file_configured(struct command *c, char *ret, size_t n);

#endif
