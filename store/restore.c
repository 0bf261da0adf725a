/* A copy that begins a life of its own: under another id, in its own file. */
#include "store/inside.h"

#include "store/audit.h"
#include "store/schema.h"
#include "store/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_PAGES 1024

int identity_renew(struct db *d, struct fault *why)
{
    static const char *const keep[] = {
        "INSERT OR REPLACE INTO meta (name, value) SELECT 'was.' || value, 1 FROM meta WHERE name "
        "= 'id'",
        /* A number that was handed out must not be handed out again. */
        "INSERT OR REPLACE INTO meta (name, value) SELECT 'next_held', max((SELECT "
        "coalesce(max(number), 0)"
        " FROM held) + 1, coalesce((SELECT value FROM meta WHERE name = 'next_held'), 1)) + 1000",
        "UPDATE meta SET value = value + 1000 WHERE name IN ('next_generation', 'next_job')",
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('clean', 0)",
        WAL_DISCLAIM,
    };
    uint64_t id = 0;
    char text[17];
    struct statement *st;

    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        if (db_exec(d, keep[i], why) != 0)
            return -1;
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        return fault_set(why, FAULT_RETRY, errno, "no random number for the new store");
    (void)snprintf(text, sizeof text, "%016" PRIx64, id);
    st = db_prepare(d, "INSERT OR REPLACE INTO meta (name, value) VALUES ('id', ?1)", why);
    if (!st)
        return -1;
    db_bind_text(st, 1, text);
    return db_run(st, why);
}

static void no_line(void *arg, int severity, const char *line)
{
    struct fault *why = arg;

    if (severity == 2 && why->kind == FAULT_NONE)
        (void)fault_set(why, FAULT_BROKEN, 0, "%s", line);
}

/* What is restored will be trusted for ever: it is read as a whole first. */
static int check_source(const char *path, struct fault *why)
{
    struct fault damage = { 0 };
    int damages = store_check_file(path, no_line, &damage, why);

    if (damages <= 0)
        return damages;
    return fault_set(why, FAULT_BROKEN, 0,
        "%s is damaged (%d damages, the first: %.300s). `bascule store check --store %s --salvage "
        "NEWFILE` saves what can be read",
        path, damages, damage.text, path);
}

static int copy_pages(const char *path, const char *part, struct fault *why)
{
    struct db *from = NULL;
    struct db_copy *copy = NULL;
    int left, total, got = -1;

    if (db_open(path, DB_READ, NULL, &from, why) == 0 && db_copy_start(from, part, &copy, why) == 0)
        do {
            got = db_copy_step(copy, COPY_PAGES, &left, &total, why);
        } while (got == 1);
    if (copy && db_copy_end(copy, got == 0 ? WAL_DISCLAIM : NULL, got == 0 ? why : NULL) != 0)
        got = -1;
    db_close(from);
    return got;
}

/* The id that it had, in `was`. */
static int begin_life(struct db *d, const char *path, store_digest *digest, int64_t unix_ms,
    int64_t uid, struct store_restored *ret, struct fault *why)
{
    struct statement *st;
    char detail[PATH_MAX + 100];
    struct audit_entry e = { .unix_ms = unix_ms,
        .uid = uid,
        .pid = getpid(),
        .what = "store_restore",
        .object = path,
        .detail = detail,
        .result = "done" };

    st = db_prepare(d, "SELECT value FROM meta WHERE name = 'id'", why);
    if (!st || db_step(st, why) != 1)
        return fault_set(why, FAULT_BROKEN, 0, "store: %s has no id", path);
    (void)snprintf(ret->was, sizeof ret->was, "%s", db_text(st, 0) ? db_text(st, 0) : "");
    db_reset(st);
    (void)snprintf(detail, sizeof detail, "a copy of store %s goes on as another", ret->was);
    if (identity_renew(d, why) != 0 || audit_append(d, digest, &e, why) != 0)
        return -1;
    if (db_step(st, why) == 1)
        (void)snprintf(ret->id, sizeof ret->id, "%s", db_text(st, 0));
    db_reset(st);
    return 0;
}

static int make_it_another(const char *part, const char *path, store_digest *digest,
    int64_t unix_ms, int64_t uid, struct store_restored *ret, struct fault *why)
{
    enum schema_state state = SCHEMA_NONE;
    int version = 0;
    bool whole = false;
    struct db *d = NULL;
    int result = -1;

    if (db_open(part, DB_WRITE, NULL, &d, why) == 0 &&
        schema_state(d, part, &state, &version, why) == 0 &&
        (state != SCHEMA_OLD || schema_bring(d, version, digest, why) == 0) &&
        db_exec(d, "BEGIN IMMEDIATE", why) == 0 &&
        begin_life(d, path, digest, unix_ms, uid, ret, why) == 0 &&
        db_exec(d, "COMMIT", why) == 0 && db_checkpoint(d, &whole, why) == 0) {
        db_last_close(d);
        result = 0;
    }
    db_close(d);
    return result;
}

static int refuse_present(const char *path, struct fault *why)
{
    static const char *const behind[] = { "", "-wal", "-journal" };
    char name[PATH_MAX];

    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        (void)snprintf(name, sizeof name, "%s%s", path, behind[i]);
        if (access(name, F_OK) == 0)
            return fault_set(why, FAULT_INPUT, EEXIST,
                "%s is there already; a restore never replaces a store: move it away first", name);
    }
    return 0;
}

int restore_give(const char *file, const char *new_path, struct fault *why)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(new_path, '/');
    struct stat st;

    (void)snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - new_path) + 1 : 1,
        slash ? new_path : ".");
    if (geteuid() != 0 || stat(directory, &st) != 0)
        return 0;
    if (chown(file, st.st_uid, st.st_gid) == 0)
        return 0;
    return fault_set(why, FAULT_INPUT, errno, "%s cannot be given to the owner of %s: %s", file,
        directory, strerror(errno));
}

int store_restore_file(const char *path, const char *new_path, store_digest *digest,
    int64_t unix_ms, int64_t uid, struct store_restored *ret, struct fault *why)
{
    char part[PATH_MAX], locked[PATH_MAX + 8];
    int lock = -1, result = -1;

    *ret = (struct store_restored){ 0 };
    if (snprintf(part, sizeof part, "%s.part", new_path) >= (int)sizeof part)
        return fault_set(why, FAULT_INPUT, 0, "the new name is too long");
    if (refuse_present(new_path, why) != 0 || store_lock_file(new_path, &lock, why) != 0)
        return -1;
    (void)snprintf(locked, sizeof locked, "%s.lock", new_path);
    (void)unlink(part); /* what a restore that was cut off left */
    if (check_source(path, why) == 0 && copy_pages(path, part, why) == 0 &&
        make_it_another(part, path, digest, unix_ms, uid, ret, why) == 0 &&
        restore_give(part, new_path, why) == 0 && restore_give(locked, new_path, why) == 0) {
        if (link(part, new_path) == 0)
            result = schema_sync_directory(new_path, why);
        else
            (void)fault_set(
                why, FAULT_INPUT, errno, "store: %s to %s: %s", part, new_path, strerror(errno));
    }
    (void)unlink(part);
    (void)close(lock);
    return result;
}
