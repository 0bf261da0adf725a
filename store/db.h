/* The only file pair that knows SQLite: connections, statements, and what its errors mean. */
#ifndef BASCULE_DB_H
#define BASCULE_DB_H

#include "bridge/base/buf.h"
#include "bridge/base/fault.h"

struct db;
struct statement; /* prepared once per connection and text, kept by the connection */

/* DB_ALONE: reads the file as if it had no WAL and nobody changed it. DB_DAMAGED, also _ALONE:
 * reads what can be read of a file that was cut short or whose schema is damaged. */
enum db_mode { DB_NONE = 0, DB_WRITE, DB_READ, DB_ALONE, DB_DAMAGED, DB_DAMAGED_ALONE };

/* DB_WRITE creates the file when it is not there. vfs NULL: the default. FAULT_BROKEN: no database,
 * or damaged. */
int db_open(
    const char *path, enum db_mode mode, const char *vfs, struct db **ret, struct fault *why);
/* A writing one leaves its WAL where it is, unless db_last_close() was said before. */
void db_close(struct db *d);
void db_last_close(struct db *d);
/* Several statements of plain SQL. */
int db_exec(struct db *d, const char *sql, struct fault *why);
/* Copies the whole WAL into the database and syncs it; false in *whole when a reader was in the
 * way. */
int db_checkpoint(struct db *d, bool *whole, struct fault *why);
/* At start, before anything rests on the WAL: writes all of it again and syncs it. After a sync
 * that failed, what it should have written may only be in memory, marked as written. */
int db_rewrite_wal(struct db *d, struct fault *why);
/* At start: all of the WAL is in the database, and that is synced through SQLite's own descriptor.
 */
int db_settle(struct db *d, struct fault *why);
/* Pages in the WAL after the last commit, and bytes a page. */
int64_t db_wal_pages(const struct db *d);
int64_t db_page_bytes(struct db *d);
/* Pages that hold something. */
int64_t db_used_pages(struct db *d);
/* Ends what runs on this connection with FAULT_RETRY. Any thread. */
void db_interrupt(struct db *d);
/* Steps end with FAULT_RETRY after that monotonic time (0: none). */
void db_deadline(struct db *d, int64_t monotonic_ms);
/* A whole-file structure check; damages go to `say`. Returns their number or -1. */
int db_integrity(
    struct db *d, void (*say)(void *arg, const char *line), void *arg, struct fault *why);

/* The statement for that text, reset and without bindings. The text's address is its name: use
 * literals. NULL with *why. */
struct statement *db_prepare(struct db *d, const char *sql, struct fault *why);
void db_bind_int(struct statement *s, int at, int64_t value);
void db_bind_text(struct statement *s, int at, const char *text); /* NULL allowed; lent until run */
void db_bind_bytes(
    struct statement *s, int at, struct bytes bytes); /* absent: NULL; lent until run */
/* 1 a row, 0 done, -1 fault. */
int db_step(struct statement *s, struct fault *why);
/* Step to the end, expecting no row. */
int db_run(struct statement *s, struct fault *why);
void db_reset(struct statement *s);
int64_t db_int(struct statement *s, int column);
/* A query of one number, without bindings. */
int db_read_int(struct db *d, const char *sql, int64_t *ret, struct fault *why);
const char *db_text(struct statement *s, int column); /* NULL when null; lent until the next step */
struct bytes db_bytes(struct statement *s, int column); /* absent when null; likewise */
struct rows;
/* Adds the column to the row as what it is. */
void db_copy_cell(struct statement *s, int column, struct rows *to);
/* Binds the column's value, as what it is, to a statement of another connection; lent until run. */
void db_copy_value(struct statement *from, int column, struct statement *to, int at);
int64_t db_changes(struct db *d);
struct db *db_of(const struct statement *s);
/* One thing that goes with the connection, for whom it belongs to; taken over. */
void db_keep(struct db *d, void *thing, void (*free_thing)(void *thing));
void *db_kept(const struct db *d);
int64_t db_last_id(struct db *d);

/* Online copy, a step at a time on the connection that writes. */
struct db_copy;
int db_copy_start(struct db *from, const char *to_path, struct db_copy **ret, struct fault *why);
/* 1 more to do, 0 done, -1. */
int db_copy_step(struct db_copy *c, int pages, int *left, int *total, struct fault *why);
/* `then` (NULL: nothing) is done on the copy once it is whole. */
int db_copy_end(struct db_copy *c, const char *then, struct fault *why);

/* "SQLite 3.40.1" */
const char *db_library(void);

#endif
