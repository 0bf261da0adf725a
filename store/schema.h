/* The versions of the database: numbered SQL files, and how an older file becomes today's. */
#ifndef BASCULE_SCHEMA_H
#define BASCULE_SCHEMA_H

#include "store/db.h"
#include "store/store.h"

#define SCHEMA_VERSION 3

enum schema_state {
    SCHEMA_NONE = 0,
    SCHEMA_EMPTY, /* a new file */
    SCHEMA_OLD,
    SCHEMA_TODAY,
};

#define SCHEMA_FOREIGN 1 /* the code of a fault: no store of ours */

/* What the file at `path` is. FAULT_INPUT: no store of ours, or one of a newer version. */
int schema_state(
    struct db *d, const char *path, enum schema_state *ret, int *version, struct fault *why);
/* Makes an empty file today's, a store of that id (16 hex digits), in one transaction. */
int schema_make(struct db *d, const char *id, struct fault *why);
/* Makes an older file today's: copies it beside itself first (PATH.version-N, named in *backup,
 * `n` bytes; one that is there is replaced at the end), then one transaction for each version.
 * FAULT_INPUT: no room for it, and nothing was changed. Blocking, O(file). */
int schema_upgrade(struct db *d, const char *path, int from, store_digest *digest, char *backup,
    size_t n, struct fault *why);
/* The same on a copy that may be lost: without another copy. */
int schema_bring(struct db *d, int from, store_digest *digest, struct fault *why);
/* Lets a reader's connection see an older file as if it were today's; nothing is written.
 * *hashless (NULL: not asked): its audit rows have no hashes. */
int schema_read(struct db *d, const char *path, bool *hashless, struct fault *why);
/* Syncs the directory of `path`, so that a name in it survives a power cut. */
int schema_sync_directory(const char *path, struct fault *why);

#endif
