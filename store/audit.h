/* The chain of the audit rows: each row's hash covers the row and the hash before it, so that a row
 * that was changed, removed, put in or moved by hand shows.
 *
 * The hash of row N is SHA-256 over "bascule audit 1" and a NUL, the hash of row N-1 (of the anchor
 * for the oldest row), then id, time_ms, uid, pid as 64 bits little-endian, then what, object,
 * detail, result: each a byte 1, its length as 32 bits little-endian and its bytes, or a byte 0 for
 * NULL. The anchor stands in `meta` (audit_anchor: id as 64 bits little-endian, then the hash) and
 * is the last row that was removed for its age; a new store's is 0 and 32 bytes 0. Ids are dense.
 *
 * Who can write the file can make a whole chain anew. Against that stands only a hash that was
 * noted elsewhere. */
#ifndef BASCULE_STORE_AUDIT_H
#define BASCULE_STORE_AUDIT_H

#include "store/db.h"
#include "store/query.h"

/* One row with its hash, in the transaction that is open. */
struct audit_entry {
    int64_t unix_ms, uid, pid;
    const char *what, *object, *detail, *result; /* lent; NULL allowed but for `what` */
};
int audit_append(
    struct db *d, store_digest *digest, const struct audit_entry *e, struct fault *why);
/* Hashes all rows, from the oldest on, which gets a new anchor. For rows that have none. */
int audit_begin(struct db *d, store_digest *digest, struct fault *why);
/* Removes the rows up to `last`, which becomes the anchor. A transaction of its own. */
int audit_forget(struct db *d, int64_t last, struct fault *why);
/* QUERY_AUDIT_VERIFY */
int audit_verify(struct db *d, const struct query_spec *q, struct rows *rows, struct fault *why);

#endif
