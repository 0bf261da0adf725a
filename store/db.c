#include "store/db.h"

#include "store/rows.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STATEMENTS_MAX 128
#define PROGRESS_STEPS 4000
#define SETTLE_MS 5000 /* for readers of other processes to end */

struct statement {
    struct db *db;
    const char *sql;
    sqlite3_stmt *stmt;
};

struct db {
    sqlite3 *sqlite;
    const char *vfs;
    struct statement statements[STATEMENTS_MAX];
    size_t n;
    int64_t deadline_ms;
    int64_t wal_pages, page_bytes;
    void *kept;
    void (*free_kept)(void *thing);
};

/* What an SQLite code asks of us: only a full disk, and being asked to stop, are not the end. */
static int db_fault(struct db *d, const char *doing, struct fault *why)
{
    int code = d->sqlite ? sqlite3_extended_errcode(d->sqlite) : SQLITE_NOMEM;
    const char *text = d->sqlite ? sqlite3_errmsg(d->sqlite) : "out of memory";
    enum fault_kind kind = FAULT_BROKEN;

    switch (code & 0xff) {
    case SQLITE_FULL:
        kind = FAULT_FULL;
        break;
    case SQLITE_IOERR:
        /* The one for the WAL's index that says nothing else: it is grown before anything is
         * written, and ENOSPC is all that can hinder that short of a sick disk. */
        if (code == SQLITE_IOERR_SHMSIZE && sqlite3_system_errno(d->sqlite) == ENOSPC)
            kind = FAULT_FULL;
        break;
    case SQLITE_INTERRUPT:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
        kind = FAULT_RETRY;
        break;
    default:
        break;
    }
    return fault_set(why, kind, code, "store: %s: %s (%d)", doing, text, code);
}

static int64_t monotonic_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int progress(void *arg)
{
    const struct db *d = arg;

    return d->deadline_ms && monotonic_ms() > d->deadline_ms;
}

static int committed(void *arg, sqlite3 *sqlite, const char *name, int pages)
{
    struct db *d = arg;

    (void)sqlite, (void)name;
    d->wal_pages = pages;
    return SQLITE_OK;
}

/* Of a new file only: the second is a write each time, and nothing may be written before an old one
 * was judged and settled. Page size first, the second makes the file. 4 KiB, since each commit
 * writes whole pages. */
static const char new_pragmas[] = "PRAGMA page_size=4096;"
                                  "PRAGMA auto_vacuum=INCREMENTAL;";
static const char write_pragmas[] = "PRAGMA journal_mode=WAL;"
                                    "PRAGMA synchronous=FULL;"
                                    "PRAGMA wal_autocheckpoint=0;"
                                    "PRAGMA secure_delete=OFF;"
                                    "PRAGMA cache_size=-2048;"
                                    "PRAGMA temp_store=MEMORY;"
                                    "PRAGMA foreign_keys=OFF;";
static const char read_pragmas[] = "PRAGMA query_only=ON;"
                                   "PRAGMA cache_size=-2048;"
                                   "PRAGMA temp_store=MEMORY;";

/* With it SQLite neither asks whether the file has all pages that its header tells of, nor refuses
 * all tables for the sake of one (https://www.sqlite.org/pragma.html#pragma_writable_schema). */
static const char damaged_pragmas[] = "PRAGMA writable_schema=ON;";

static bool is_empty(struct db *d)
{
    int64_t pages = 1;

    return db_read_int(d, "PRAGMA page_count", &pages, NULL) == 0 && pages == 0;
}

/* As a URI, in which SQLite takes options. */
static void immutable_uri(const char *path, char *ret, size_t n)
{
    size_t at = (size_t)snprintf(ret, n, "file:");

    for (; *path && at + 20 < n; path++) {
        if (strchr("%?#", *path))
            at += (size_t)snprintf(ret + at, n - at, "%%%02x", (unsigned)(uint8_t)*path);
        else
            ret[at++] = *path;
    }
    (void)snprintf(ret + at, n - at, "?immutable=1");
}

static int open_sqlite(const char *path, enum db_mode mode, const char *vfs, sqlite3 **ret)
{
    int flags = SQLITE_OPEN_NOMUTEX | (mode == DB_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                                        : SQLITE_OPEN_READONLY);
    char uri[3 * PATH_MAX + 32];

    if (mode != DB_ALONE && mode != DB_DAMAGED_ALONE)
        return sqlite3_open_v2(path, ret, flags, vfs);
    immutable_uri(path, uri, sizeof uri);
    return sqlite3_open_v2(uri, ret, flags | SQLITE_OPEN_URI, vfs);
}

int db_open(
    const char *path, enum db_mode mode, const char *vfs, struct db **ret, struct fault *why)
{
    struct db *d = calloc(1, sizeof *d);
    int keep = 1;

    if (!d)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (open_sqlite(path, mode, vfs, &d->sqlite) != SQLITE_OK) {
        (void)db_fault(d, path, why);
        db_close(d);
        return -1;
    }
    d->vfs = vfs;
    (void)sqlite3_extended_result_codes(d->sqlite, 1);
    (void)sqlite3_busy_timeout(d->sqlite, mode == DB_READ ? 5000 : 0);
    sqlite3_progress_handler(d->sqlite, PROGRESS_STEPS, progress, d);
    (void)sqlite3_file_control(d->sqlite, NULL, SQLITE_FCNTL_PERSIST_WAL, &keep);
    if ((mode == DB_WRITE && is_empty(d) && db_exec(d, new_pragmas, why) != 0) ||
        (mode >= DB_DAMAGED && db_exec(d, damaged_pragmas, why) != 0) ||
        db_exec(d, mode == DB_WRITE ? write_pragmas : read_pragmas, why) != 0) {
        (void)fault_prefix(why, "%s", path);
        db_close(d);
        return -1;
    }
    (void)sqlite3_wal_hook(d->sqlite, committed, d);
    *ret = d;
    return 0;
}

void db_last_close(struct db *d)
{
    int keep = 0;

    (void)sqlite3_file_control(d->sqlite, NULL, SQLITE_FCNTL_PERSIST_WAL, &keep);
}

void db_close(struct db *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++)
        (void)sqlite3_finalize(d->statements[i].stmt);
    (void)sqlite3_close(d->sqlite);
    if (d->kept)
        d->free_kept(d->kept);
    free(d);
}

int db_exec(struct db *d, const char *sql, struct fault *why)
{
    if (sqlite3_exec(d->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return db_fault(d, "cannot be read or written", why);
}

int64_t db_wal_pages(const struct db *d)
{
    return d->wal_pages;
}

int64_t db_page_bytes(struct db *d)
{
    if (!d->page_bytes && db_read_int(d, "PRAGMA page_size", &d->page_bytes, NULL) != 0)
        return 0;
    return d->page_bytes;
}

int64_t db_used_pages(struct db *d)
{
    int64_t pages = 0, empty = 0;

    if (db_read_int(d, "PRAGMA page_count", &pages, NULL) != 0 ||
        db_read_int(d, "PRAGMA freelist_count", &empty, NULL) != 0)
        return 0;
    return pages - empty;
}

int db_checkpoint(struct db *d, bool *whole, struct fault *why)
{
    int log = 0, done = 0;
    int code = sqlite3_wal_checkpoint_v2(d->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, &log, &done);

    *whole = code == SQLITE_OK && log == done;
    if (*whole)
        d->wal_pages = 0; /* the next commit writes it from its start */
    if (code == SQLITE_OK || code == SQLITE_BUSY)
        return 0;
    return db_fault(d, "checkpoint", why);
}

static int rewrite(sqlite3_file *f, uint8_t *piece, int piece_bytes)
{
    sqlite3_int64 size;
    int code = f->pMethods->xFileSize(f, &size);

    for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size; at += piece_bytes) {
        int n = size - at < piece_bytes ? (int)(size - at) : piece_bytes;

        code = f->pMethods->xRead(f, piece, n, at);
        if (code == SQLITE_OK)
            code = f->pMethods->xWrite(f, piece, n, at);
    }
    return code == SQLITE_OK && size > 0 ? f->pMethods->xSync(f, SQLITE_SYNC_FULL) : code;
}

int db_rewrite_wal(struct db *d, struct fault *why)
{
    enum { PIECE = 1 << 16 }; /* its unix VFS takes 128 KiB at most */
    sqlite3_file *file = NULL;
    uint8_t *piece = malloc(PIECE);
    int code = sqlite3_file_control(d->sqlite, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &file);

    if (!piece)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (code == SQLITE_OK && file && file->pMethods)
        code = rewrite(file, piece, PIECE);
    free(piece);
    if (code != SQLITE_OK)
        return fault_set(why, FAULT_BROKEN, code, "store: writing the WAL again: %s (%d)",
            sqlite3_errstr(code), code);
    return 0;
}

int db_settle(struct db *d, struct fault *why)
{
    sqlite3_file *file = NULL;
    int code;

    (void)sqlite3_busy_timeout(d->sqlite, SETTLE_MS);
    code = sqlite3_wal_checkpoint_v2(d->sqlite, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL);
    (void)sqlite3_busy_timeout(d->sqlite, 0);
    if (code != SQLITE_OK)
        return db_fault(d, "copying the WAL into the database", why);
    d->wal_pages = 0;
    code = sqlite3_file_control(d->sqlite, NULL, SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK && file && file->pMethods)
        code = file->pMethods->xSync(file, SQLITE_SYNC_FULL);
    if (code != SQLITE_OK)
        return fault_set(why, FAULT_BROKEN, code, "store: sync of the database: %s (%d)",
            sqlite3_errstr(code), code);
    return 0;
}

void db_interrupt(struct db *d)
{
    sqlite3_interrupt(d->sqlite);
}

void db_deadline(struct db *d, int64_t at_ms)
{
    d->deadline_ms = at_ms;
}

int db_integrity(
    struct db *d, void (*say)(void *arg, const char *line), void *arg, struct fault *why)
{
    struct statement *s = db_prepare(d, "PRAGMA integrity_check(100)", why);
    int n = 0, got;

    if (!s)
        return -1;
    while ((got = db_step(s, why)) == 1) {
        if (strcmp(db_text(s, 0), "ok") == 0)
            continue;
        say(arg, db_text(s, 0));
        n++;
    }
    db_reset(s);
    return got < 0 ? -1 : n;
}

struct statement *db_prepare(struct db *d, const char *sql, struct fault *why)
{
    struct statement *s;

    for (size_t i = 0; i < d->n; i++) {
        s = &d->statements[i];
        if (s->sql != sql)
            continue;
        db_reset(s);
        return s;
    }
    if (d->n == STATEMENTS_MAX) {
        (void)fault_set(why, FAULT_BROKEN, 0, "store: too many statements");
        return NULL;
    }
    s = &d->statements[d->n];
    *s = (struct statement){ .db = d, .sql = sql };
    if (sqlite3_prepare_v3(d->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt, NULL) !=
        SQLITE_OK) {
        (void)db_fault(d, sql, why);
        return NULL;
    }
    d->n++;
    return s;
}

void db_bind_int(struct statement *s, int at, int64_t value)
{
    (void)sqlite3_bind_int64(s->stmt, at, value);
}

void db_bind_text(struct statement *s, int at, const char *text)
{
    (void)sqlite3_bind_text(s->stmt, at, text, -1, SQLITE_STATIC);
}

void db_bind_bytes(struct statement *s, int at, struct bytes bytes)
{
    if (bytes_present(bytes))
        (void)sqlite3_bind_blob64(s->stmt, at, bytes.at, bytes.n, SQLITE_STATIC);
    else
        (void)sqlite3_bind_null(s->stmt, at);
}

int db_step(struct statement *s, struct fault *why)
{
    int code = sqlite3_step(s->stmt);

    if (code == SQLITE_ROW)
        return 1;
    if (code == SQLITE_DONE)
        return 0;
    (void)db_fault(s->db, s->sql, why);
    (void)sqlite3_reset(s->stmt);
    return -1;
}

int db_run(struct statement *s, struct fault *why)
{
    int got = db_step(s, why);

    db_reset(s);
    return got < 0 ? -1 : 0;
}

void db_reset(struct statement *s)
{
    (void)sqlite3_reset(s->stmt);
    (void)sqlite3_clear_bindings(s->stmt);
}

int64_t db_int(struct statement *s, int column)
{
    return sqlite3_column_int64(s->stmt, column);
}

int db_read_int(struct db *d, const char *sql, int64_t *ret, struct fault *why)
{
    struct statement *s = db_prepare(d, sql, why);
    int got = s ? db_step(s, why) : -1;

    if (got == 0)
        (void)fault_set(why, FAULT_BROKEN, 0, "store: no answer to: %s", sql);
    if (got == 1)
        *ret = db_int(s, 0);
    if (got >= 0)
        db_reset(s);
    return got == 1 ? 0 : -1;
}

const char *db_text(struct statement *s, int column)
{
    return (const char *)sqlite3_column_text(s->stmt, column);
}

struct bytes db_bytes(struct statement *s, int column)
{
    const void *at;

    if (sqlite3_column_type(s->stmt, column) == SQLITE_NULL)
        return BYTES_NONE;
    at = sqlite3_column_blob(s->stmt, column);
    return bytes_of(at, (size_t)sqlite3_column_bytes(s->stmt, column));
}

void db_copy_cell(struct statement *s, int column, struct rows *to)
{
    switch (sqlite3_column_type(s->stmt, column)) {
    case SQLITE_INTEGER:
        rows_int(to, db_int(s, column));
        break;
    case SQLITE_TEXT:
        rows_text(to, db_text(s, column));
        break;
    case SQLITE_NULL:
        rows_null(to);
        break;
    default:
        rows_bytes(to, db_bytes(s, column));
        break;
    }
}

void db_copy_value(struct statement *from, int column, struct statement *to, int at)
{
    (void)sqlite3_bind_value(to->stmt, at, sqlite3_column_value(from->stmt, column));
}

struct db *db_of(const struct statement *s)
{
    return s->db;
}

void db_keep(struct db *d, void *thing, void (*free_thing)(void *thing))
{
    d->kept = thing;
    d->free_kept = free_thing;
}

void *db_kept(const struct db *d)
{
    return d->kept;
}

int64_t db_changes(struct db *d)
{
    /* The 64 bit one came with SQLite 3.37; a statement here changes some thousand rows. */
    return sqlite3_changes(d->sqlite);
}

int64_t db_last_id(struct db *d)
{
    return sqlite3_last_insert_rowid(d->sqlite);
}

/* ---- copy ---- */

struct db_copy {
    sqlite3 *to;
    sqlite3_backup *backup;
};

int db_copy_start(struct db *from, const char *to_path, struct db_copy **ret, struct fault *why)
{
    struct db_copy *c = calloc(1, sizeof *c);

    if (!c)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (sqlite3_open_v2(to_path, &c->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, from->vfs) !=
            SQLITE_OK ||
        !(c->backup = sqlite3_backup_init(c->to, "main", from->sqlite, "main"))) {
        (void)fault_set(why, FAULT_INPUT, sqlite3_errcode(c->to), "backup to %s: %s", to_path,
            sqlite3_errmsg(c->to));
        (void)db_copy_end(c, NULL, NULL);
        return -1;
    }
    *ret = c;
    return 0;
}

int db_copy_step(struct db_copy *c, int pages, int *left, int *total, struct fault *why)
{
    int code = sqlite3_backup_step(c->backup, pages);

    *left = sqlite3_backup_remaining(c->backup);
    *total = sqlite3_backup_pagecount(c->backup);
    if (code == SQLITE_DONE)
        return 0;
    if (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return 1;
    return fault_set(why, FAULT_INPUT, code, "backup: %s", sqlite3_errstr(code));
}

int db_copy_end(struct db_copy *c, const char *then, struct fault *why)
{
    int code = SQLITE_OK;

    if (!c)
        return 0;
    if (c->backup)
        code = sqlite3_backup_finish(c->backup);
    if (code == SQLITE_OK && then)
        code = sqlite3_exec(c->to, then, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        (void)fault_set(why, FAULT_INPUT, code, "backup: %s", sqlite3_errmsg(c->to));
    (void)sqlite3_close(c->to);
    free(c);
    return code == SQLITE_OK ? 0 : -1;
}

const char *db_library(void)
{
    static char text[48];

    (void)snprintf(text, sizeof text, "SQLite %s", sqlite3_libversion());
    return text;
}
