#include "store/schema.h"
#include "store/store.h"

#include "store/audit.h"
#include "store/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define APPLICATION_ID 0x62617363 /* "basc" */
#define COPY_PAGES 1024

#define SCHEMA_FILE(symbol, file)                                                                  \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"store/sql/" file "\"\n"                                                     \
            ".byte 0\n"                                                                            \
            ".previous\n");                                                                        \
    extern const char symbol[];

SCHEMA_FILE(schema_001, "001.sql")
SCHEMA_FILE(schema_002, "002.sql")
SCHEMA_FILE(schema_003, "003.sql")
SCHEMA_FILE(schema_read_001, "read-001.sql")
SCHEMA_FILE(schema_read_002, "read-002.sql")

static const char *const files[SCHEMA_VERSION] = { schema_001, schema_002, schema_003 };
/* How readers see versions 1, 2, … as the next one. */
static const char *const views[SCHEMA_VERSION - 1] = { schema_read_001, schema_read_002 };
/* The first version whose audit rows have hashes, which SQL cannot make. */
#define VERSION_HASHED 3

int schema_state(
    struct db *d, const char *path, enum schema_state *ret, int *version, struct fault *why)
{
    int64_t application, is, tables;

    if (db_read_int(d, "PRAGMA application_id", &application, why) != 0 ||
        db_read_int(d, "PRAGMA user_version", &is, why) != 0 ||
        db_read_int(d, "SELECT count(*) FROM sqlite_schema", &tables, why) != 0)
        return -1;
    *version = (int)is;
    if (application == 0 && is == 0 && tables == 0) {
        *ret = SCHEMA_EMPTY;
        return 0;
    }
    if (application != APPLICATION_ID || is < 1)
        return fault_set(
            why, FAULT_INPUT, SCHEMA_FOREIGN, "store: %s is not a store of Bascule", path);
    if (is > SCHEMA_VERSION)
        return fault_set(why, FAULT_INPUT, 0,
            "store: %s has schema version %lld, this program knows versions up to %d: a newer "
            "Bascule made it. Start that one again, or give this one the copy that the newer one "
            "left at %s.version-%d",
            path, (long long)is, SCHEMA_VERSION, path, SCHEMA_VERSION);
    *ret = is == SCHEMA_VERSION ? SCHEMA_TODAY : SCHEMA_OLD;
    return 0;
}

static int put_version(struct db *d, int version, struct fault *why)
{
    char sql[100];

    (void)snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
        APPLICATION_ID, version);
    return db_exec(d, sql, why);
}

/* The files of the versions from…to, and what is said then, or nothing of it. digest: NULL where
 * there are no audit rows yet. */
static int apply_files(
    struct db *d, int from, int to, store_digest *digest, const char *then, struct fault *why)
{
    if (db_exec(d, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    for (int version = from; version <= to; version++)
        if (db_exec(d, files[version - 1], why) != 0 ||
            (digest && version == VERSION_HASHED && audit_begin(d, digest, why) != 0))
            goto fail;
    if (put_version(d, to, why) == 0 && (!then || db_exec(d, then, why) == 0) &&
        db_exec(d, "COMMIT", why) == 0)
        return 0;
fail:
    (void)db_exec(d, "ROLLBACK", NULL);
    return fault_prefix(why, "making schema version %d", to);
}

int schema_make(struct db *d, const char *id, struct fault *why)
{
    char put[80];

    (void)snprintf(put, sizeof put, "INSERT INTO meta (name, value) VALUES ('id', '%s')", id);
    return apply_files(d, 1, SCHEMA_VERSION, NULL, put, why);
}

int schema_sync_directory(const char *path, struct fault *why)
{
    char copy[PATH_MAX];
    int fd, result;

    (void)snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(
            why, FAULT_BROKEN, errno, "store: directory of %s: %s", path, strerror(errno));
    result = fsync(fd);
    (void)close(fd);
    if (result != 0)
        return fault_set(why, FAULT_BROKEN, errno, "store: sync of the directory of %s: %s", path,
            strerror(errno));
    return 0;
}

/* The copy, and as much again as the new version's transaction may write into the WAL: none of the
 * files so far rewrites rows, so a tenth of it and the indexes' share is ample. */
static int check_room(struct db *d, const char *path, int from, struct fault *why)
{
    char copy[PATH_MAX];
    struct statvfs fs;
    int64_t pages = 0, needs, free_bytes;

    if (db_read_int(d, "PRAGMA page_count", &pages, why) != 0)
        return -1;
    (void)snprintf(copy, sizeof copy, "%s", path);
    if (statvfs(dirname(copy), &fs) != 0)
        return fault_set(why, FAULT_INPUT, errno, "store: %s: %s", path, strerror(errno));
    needs = pages * db_page_bytes(d) / 10 * 11 + 1048576;
    free_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (free_bytes >= needs)
        return 0;
    return fault_set(why, FAULT_INPUT, ENOSPC,
        "store: %s has schema version %d and must become %d; the copy of it that is made first "
        "needs %lld MiB of free space beside it, there are %lld. Nothing was changed: make room, "
        "or start the Bascule that made it",
        path, from, SCHEMA_VERSION, (long long)(needs >> 20), (long long)(free_bytes >> 20));
}

static int copy_whole(struct db *d, const char *to, struct fault *why)
{
    struct db_copy *copy;
    int left, total, got;

    if (db_copy_start(d, to, &copy, why) != 0)
        return -1;
    do {
        got = db_copy_step(copy, COPY_PAGES, &left, &total, why);
    } while (got == 1);
    if (got != 0) {
        (void)db_copy_end(copy, NULL, NULL);
        return -1;
    }
    return db_copy_end(copy, WAL_DISCLAIM, why);
}

/* Under its name only when it is whole and synced. */
static int back_up(struct db *d, const char *path, const char *backup, struct fault *why)
{
    char part[PATH_MAX + 32];

    (void)snprintf(part, sizeof part, "%s.part", backup);
    (void)unlink(part); /* what a start that was cut off left */
    if (copy_whole(d, part, why) != 0) {
        (void)unlink(part);
        return fault_prefix(why, "copying %s before its upgrade", path);
    }
    if (rename(part, backup) != 0)
        return fault_set(
            why, FAULT_BROKEN, errno, "store: %s to %s: %s", part, backup, strerror(errno));
    return schema_sync_directory(path, why);
}

int schema_upgrade(struct db *d, const char *path, int from, store_digest *digest, char *backup,
    size_t n, struct fault *why)
{
    (void)snprintf(backup, n, "%s.version-%d", path, from);
    if (check_room(d, path, from, why) != 0 || back_up(d, path, backup, why) != 0)
        return -1;
    return schema_bring(d, from, digest, why);
}

int schema_bring(struct db *d, int from, store_digest *digest, struct fault *why)
{
    for (int version = from + 1; version <= SCHEMA_VERSION; version++)
        if (apply_files(d, version, version, digest, NULL, why) != 0)
            return -1;
    return 0;
}

int schema_read(struct db *d, const char *path, bool *hashless, struct fault *why)
{
    enum schema_state state = SCHEMA_NONE;
    int version = 0;

    if (schema_state(d, path, &state, &version, why) != 0)
        return -1;
    if (state == SCHEMA_EMPTY)
        return fault_set(why, FAULT_INPUT, 0, "store: %s is empty", path);
    if (hashless)
        *hashless = version < VERSION_HASHED;
    if (state != SCHEMA_OLD || version < 1)
        return 0;
    if (db_exec(d, "PRAGMA query_only=OFF", why) != 0)
        return -1;
    for (; version < SCHEMA_VERSION; version++)
        if (db_exec(d, views[version - 1], why) != 0)
            return -1;
    return db_exec(d, "PRAGMA query_only=ON", why);
}

int store_version(void)
{
    return SCHEMA_VERSION;
}

static int64_t big_endian(const unsigned char *at)
{
    return (int64_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* The first bytes of the file, where SQLite keeps both numbers
 * (https://www.sqlite.org/fileformat2.html#the_database_header). An upgrade is one transaction and
 * every start empties the WAL, so they are what the next start will see. */
int store_file_version(const char *path, struct fault *why)
{
    unsigned char head[100];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = errno;
    ssize_t n = fd >= 0 ? read(fd, head, sizeof head) : -1;

    if (n < 0 && fd >= 0)
        error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (n == 0 || (fd < 0 && error == ENOENT))
        return 0;
    if (n < 0)
        return fault_set(
            why, FAULT_INPUT, error, "store: cannot read %s: %s", path, strerror(error));
    if (n < (ssize_t)sizeof head || memcmp(head, "SQLite format 3", 16) != 0 ||
        big_endian(head + 68) != APPLICATION_ID)
        return fault_set(why, FAULT_INPUT, 0, "store: %s is no store of Bascule's", path);
    return (int)big_endian(head + 60);
}
