/* A store in the test's own directory, and short ways to fill and ask it. */
#ifndef BASCULE_TESTS_STORE_RIG_H
#define BASCULE_TESTS_STORE_RIG_H

#include "bridge/digest.h"
#include "store/query.h"
#include "store/store.h"
#include "tests/harness.h"

#define RIG_STORE "log.db"
#define RIG_TIME 1700000000000

struct store *store_rig_open(void); /* inline_io */
struct store *store_rig_open_with(struct store_spec spec);
int store_rig_try(struct store_spec spec, struct store **ret, struct fault *why);
/* Appends `count` events after *next and moves it on; ids "e-SEQ", keys "k-(SEQ % 7)", bodies of
 * `body` bytes that compression cannot shrink when `random`. */
void store_rig_append(struct store *s, uint64_t route_id, uint64_t *next, size_t count,
    int64_t received_ms, size_t body, bool random);
/* Submits and waits until it is committed (or, with `late`, at least that). */
void store_rig_commit(struct store *s, int64_t unix_ms);
/* Waits for what `done` says, stepping or polling. */
void store_rig_until(struct store *s, bool (*done)(struct store *s, void *arg), void *arg);
/* One answer to the read that was asked last. */
void store_rig_read(struct store *s, struct store_read *ret);
void store_rig_query(struct store *s, const struct query_spec *spec, struct query_answer *ret);
/* All logged events from first on, checked to be dense and as store_rig_append() made them. Returns
 * the one after the last. */
uint64_t store_rig_check_log(struct store *s, uint64_t route_id, uint64_t first);
void store_rig_route(struct store *s, const char *name, struct store_route *ret);
void store_rig_sink(struct store *s, uint64_t route_id, const char *name, struct store_sink *ret);
/* Mounts a small one at `directory`, which it makes, for this process alone; or ends the test as
 * skipped. */
void store_rig_small_disk(const char *directory, const char *options);
const struct cell *store_rig_cell(const struct rows *r, size_t row, const char *column);
const char *store_rig_text(const struct rows *r, size_t row, const char *column);

#endif
