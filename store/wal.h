/* Is the WAL that lies beside a database its own, whole one? SQLite does not ask: without its WAL a
 * database is an older one, with another's it is rubbish, and what stands behind a damaged frame is
 * dropped as if it had never been committed. So the store writes into the database that a WAL
 * belongs to it, and looks before SQLite does. */
#ifndef BASCULE_WAL_H
#define BASCULE_WAL_H

#include "store/db.h"

/* The fault's code. */
enum { WAL_MISSING = 1, WAL_FOREIGN, WAL_DAMAGED };

/* Before the file is opened for writing, under the store's lock. FAULT_BROKEN: the WAL is missing,
 * another's or damaged, as it says. Reads the whole WAL: up to 16 MiB, about 20 ms. */
int wal_judge(const char *path, const char *vfs, struct fault *why);
/* Writes into the database that it needs the WAL that it has now, and copies that down, so that it
 * stands in the file itself. */
int wal_claim(struct db *d, const char *path, struct fault *why);
/* What a copy says, and a store at its end in order: no WAL is needed, and one that is there must
 * have these words in it. */
#define WAL_DISCLAIM                                                                               \
    "INSERT OR REPLACE INTO meta (name, value) VALUES ('wal', 'none-' || hex(randomblob(8)))"
/* The first write of a start, so that its WAL has them. */
#define WAL_BEGIN "UPDATE meta SET value = value WHERE name = 'wal'"

#endif
