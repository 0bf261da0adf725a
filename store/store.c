/* Opening the store, its names, and what the loop takes in from the threads. */
#include "store/inside.h"

#include "store/chunk.h"
#include "store/schema.h"
#include "store/wal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

/* ---- lock ---- */

static int lock_taken(const char *path, int fd, struct fault *why)
{
    char pid[32] = { 0 };

    (void)!pread(fd, pid, sizeof pid - 1, 0);
    pid[strcspn(pid, "\n")] = 0;
    return fault_set(why, FAULT_INPUT, EWOULDBLOCK, "store %s is in use by process %s", path,
        pid[0] ? pid : "(unknown)");
}

int store_lock_file(const char *path, int *ret, struct fault *why)
{
    char lock[PATH_MAX], pid[32];
    int fd, n;

    (void)snprintf(lock, sizeof lock, "%s.lock", path);
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_set(
            why, FAULT_INPUT, errno, "store: cannot open %s: %s", lock, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)lock_taken(path, fd, why);
        (void)close(fd);
        return -1;
    }
    n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
        /* The lock is held; only its owner's number is missing. */
    }
    *ret = fd;
    return 0;
}

/* ---- meta ---- */

static int64_t meta_int(struct store *s, const char *name, int64_t otherwise)
{
    struct statement *st = db_prepare(s->db, "SELECT value FROM meta WHERE name = ?1", NULL);
    int64_t value = otherwise;

    if (!st)
        return otherwise;
    db_bind_text(st, 1, name);
    if (db_step(st, NULL) == 1)
        value = db_int(st, 0);
    db_reset(st);
    return value;
}

static int meta_put(
    struct store *s, const char *name, const char *text, int64_t value, struct fault *why)
{
    struct statement *st =
        db_prepare(s->db, "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", why);

    if (!st)
        return -1;
    db_bind_text(st, 1, name);
    if (text)
        db_bind_text(st, 2, text);
    else
        db_bind_int(st, 2, value);
    return db_run(st, why);
}

static void was_free(struct store *s)
{
    for (size_t i = 0; s->was && s->was[i]; i++)
        free(s->was[i]);
    free(s->was);
    s->was = NULL;
}

static int load_was(struct store *s, struct fault *why)
{
    struct statement *st = db_prepare(
        s->db, "SELECT substr(name, 5) FROM meta WHERE name GLOB 'was.?*' ORDER BY 1", why);
    size_t n = 0;
    int got = -1;

    was_free(s); /* a start on a full disk opens twice */
    s->was = calloc(1, sizeof *s->was);
    while (st && s->was && (got = db_step(st, why)) == 1) {
        char **more = realloc(s->was, (n + 2) * sizeof *more);

        if (more)
            s->was = more;
        if (!more || !(more[n] = strdup(db_text(st, 0)))) {
            got = -1;
            break;
        }
        more[++n] = NULL;
    }
    if (st)
        db_reset(st);
    if (got < 0 && why->kind == FAULT_NONE)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    return got < 0 ? -1 : 0;
}

static int load_meta(struct store *s, bool made, struct fault *why)
{
    struct statement *st = db_prepare(s->db, "SELECT value FROM meta WHERE name = 'id'", why);

    if (!st || db_step(st, why) != 1)
        return fault_set(why, FAULT_BROKEN, 0, "store: it has no id");
    (void)snprintf(s->id, sizeof s->id, "%s", db_text(st, 0));
    db_reset(st);
    if (load_was(s, why) != 0)
        return -1;
    s->was_clean = made || meta_int(s, "clean", 0) == 1;
    s->next_held = (uint64_t)meta_int(s, "next_held", 1);
    s->next_generation = (uint64_t)meta_int(s, "next_generation", 1);
    s->next_job = (uint64_t)meta_int(s, "next_job", 1);
    if (db_exec(s->db, WAL_BEGIN, why) != 0 || meta_put(s, "clean", NULL, 0, why) != 0 ||
        wal_claim(s->db, s->path, why) != 0)
        return -1;
    s->claimed = true;
    return 0;
}

/* ---- open ---- */

static int make_or_upgrade(struct store *s, enum schema_state state, int version, struct fault *why)
{
    char id[17];

    switch (state) {
    case SCHEMA_EMPTY:
        (void)snprintf(id, sizeof id, "%016llx", (unsigned long long)s->spec.seed);
        return schema_make(s->db, id, why);
    case SCHEMA_OLD:
        s->upgraded_from = version;
        return schema_upgrade(
            s->db, s->path, version, s->spec.digest, s->upgrade_copy, sizeof s->upgrade_copy, why);
    default:
        return 0;
    }
}

static int check_tails(struct store *s, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT c.id, c.count, c.received_ms, c.raw_bytes, c.frame FROM route r JOIN chunk c ON "
        "c.id ="
        " (SELECT max(id) FROM chunk WHERE id >= r.id << 40 AND id < (r.id + 1) << 40)",
        why);
    int got;

    if (!st)
        return -1;
    while ((got = db_step(st, why)) == 1) {
        struct block *b;

        if (read_chunk(st, &b, why) != 0) {
            (void)fault_prefix(why, "store %s is damaged", s->path);
            db_reset(st);
            return -1;
        }
        block_unref(b);
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

/* The directory first: a rollback journal that SQLite deleted just now (it makes a new file with
 * one) must not come back after a power cut, when the file has gone on: it would be rolled back.
 * Nor may anything rest on WAL frames whose own sync failed. So the WAL is written again (or a cut
 * while it is copied could leave half of a transaction in the database that the WAL on the disk
 * does not have), and copied whole and synced before an upgrade copies the file, and before the
 * first acknowledgement. */
static int open_file(struct store *s, struct fault *why)
{
    enum schema_state state = SCHEMA_NONE;
    int version = 0;

    if (wal_judge(s->path, s->spec.vfs, why) != 0 ||
        db_open(s->path, DB_WRITE, s->spec.vfs, &s->db, why) != 0 ||
        schema_state(s->db, s->path, &state, &version, why) != 0 ||
        schema_sync_directory(s->path, why) != 0 || db_rewrite_wal(s->db, why) != 0 ||
        db_settle(s->db, why) != 0)
        return -1;
    /* Nothing is written before this. */
    if (state != SCHEMA_EMPTY && check_tails(s, why) != 0)
        return -1;
    if (state != SCHEMA_TODAY &&
        (make_or_upgrade(s, state, version, why) != 0 || db_settle(s->db, why) != 0))
        return -1;
    return load_meta(s, state == SCHEMA_EMPTY, why);
}

/* On a full disk not even what an open writes may fit: then what was kept for that goes. */
static int open_file_at_last(struct store *s, struct fault *why)
{
    if (open_file(s, why) == 0)
        return 0;
    if (why->kind != FAULT_FULL || !writer_give_reserve(s))
        return -1;
    db_close(s->db);
    s->db = NULL;
    return open_file(s, why);
}

int store_open(
    const struct store_spec *spec, int64_t unix_ms, struct store **ret, struct fault *why)
{
    struct store *s = calloc(1, sizeof *s);

    assert(spec->digest);
    (void)unix_ms;
    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->spec = *spec;
    s->lock_fd = s->event_fd = -1;
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_mutex_init(&s->db_mutex, NULL);
    (void)pthread_cond_init(&s->writer_wake, NULL);
    (void)pthread_cond_init(&s->reader_wake, NULL);
    s->path = strdup(spec->path);
    s->filling = txn_open();
    s->zstd = ZSTD_createCCtx();
    if (!s->path || !s->filling || !s->zstd) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    s->filling->number = 1;
    if (!spec->inline_io && (s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        (void)fault_set(why, FAULT_RETRY, errno, "store: eventfd: %s", strerror(errno));
        goto fail;
    }
    if (store_lock_file(spec->path, &s->lock_fd, why) != 0 || open_file_at_last(s, why) != 0 ||
        writer_start(s, why) != 0 || readers_start(s, why) != 0)
        goto fail;
    *ret = s;
    return 0;
fail:
    store_free(s, false);
    return -1;
}

/* With nothing in the WAL that the database does not have; whether all was drained is another
 * matter. Where it cannot be, the WAL stays, and the next start sees to it. */
static void end_in_order(struct store *s, bool drained)
{
    bool whole = false;

    if (drained && meta_put(s, "clean", NULL, 1, NULL) != 0)
        return;
    if (db_exec(s->db, WAL_DISCLAIM, NULL) == 0 && db_checkpoint(s->db, &whole, NULL) == 0 && whole)
        db_last_close(s->db);
}

void store_free(struct store *s, bool clean)
{
    if (!s)
        return;
    writer_stop(s);
    readers_stop(s);
    if (s->claimed && !s->broken)
        end_in_order(s, clean);
    db_close(s->db);
    txn_free(s->filling);
    txn_free(s->queued);
    (void)ZSTD_freeCCtx(s->zstd);
    if (s->event_fd >= 0)
        (void)close(s->event_fd);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    (void)pthread_cond_destroy(&s->reader_wake);
    (void)pthread_cond_destroy(&s->writer_wake);
    (void)pthread_mutex_destroy(&s->db_mutex);
    (void)pthread_mutex_destroy(&s->mutex);
    was_free(s);
    free(s->routes);
    free(s->path);
    free(s);
}

const char *const *store_was(const struct store *s)
{
    return (const char *const *)s->was;
}

const char *store_id(const struct store *s)
{
    return s->id;
}

const char *store_upgraded(const struct store *s, int *from, int *to)
{
    *from = s->upgraded_from;
    *to = SCHEMA_VERSION;
    return s->upgraded_from ? s->upgrade_copy : NULL;
}

bool store_was_clean(const struct store *s)
{
    return s->was_clean;
}

/* ---- submit, collect: loop thread ---- */

uint64_t store_filling(const struct store *s)
{
    return s->filling->number;
}

uint64_t store_committed(const struct store *s)
{
    return s->committed;
}

uint64_t store_appended(const struct store *s)
{
    return s->appended;
}

bool store_full(const struct store *s)
{
    return s->full;
}

bool store_empty(const struct store *s)
{
    return s->filling->n == 0;
}

bool store_busy(const struct store *s)
{
    return s->running != NULL;
}

int store_pollfd(const struct store *s)
{
    return s->event_fd;
}

static uint64_t next_number(struct store *s, uint64_t *counter)
{
    uint64_t number;

    (void)pthread_mutex_lock(&s->mutex);
    number = (*counter)++;
    (void)pthread_mutex_unlock(&s->mutex);
    return number;
}

uint64_t store_next_held(struct store *s)
{
    return next_number(s, &s->next_held);
}

uint64_t store_next_generation(struct store *s)
{
    return next_number(s, &s->next_generation);
}

uint64_t store_next_job(struct store *s)
{
    return next_number(s, &s->next_job);
}

bool store_submit(struct store *s, int64_t unix_ms)
{
    struct txn *next;

    /* Half of one is never committed: store_collect() ends the process over it. */
    if (s->running || s->filling->failed)
        return false;
    if (s->filling->n == 0)
        return true;
    next = txn_open();
    if (!next)
        return false;
    next->number = s->filling->number + 1;
    s->filling->unix_ms = unix_ms;
    s->running = s->filling;
    s->filling = next;
    (void)pthread_mutex_lock(&s->mutex);
    s->queued = s->running;
    (void)pthread_cond_signal(&s->writer_wake);
    (void)pthread_mutex_unlock(&s->mutex);
    return true;
}

void store_step(struct store *s)
{
    struct question *q;

    if (!s->spec.inline_io)
        return;
    writer_work(s);
    while (
        (q = question_take(&s->asked_by_sinks)) != NULL || (q = question_take(&s->asked)) != NULL) {
        reader_work(s, s->db, q);
        question_put(&s->answered, q);
    }
}

int store_collect(struct store *s, struct fault *why)
{
    struct question *q;
    uint64_t count, done;
    bool broken, failed;

    if (s->event_fd >= 0)
        (void)!read(s->event_fd, &count, sizeof count);
    failed = s->filling->failed;
    (void)pthread_mutex_lock(&s->mutex);
    broken = s->broken;
    if (broken)
        *why = s->broken_why;
    done = s->done_number;
    s->appended = s->appended_now;
    s->full = s->full_now;
    s->usage.used_bytes = s->usage_now.used_bytes;
    s->usage.wal_bytes = s->usage_now.wal_bytes;
    s->usage.commits = s->usage_now.commits;
    s->usage.commit_us_last = s->usage_now.commit_us_last;
    s->usage.commit_us_max = s->usage_now.commit_us_max;
    s->usage.commit_times = s->usage_now.commit_times;
    while ((q = question_take(&s->answered)) != NULL)
        question_put(q->is_query ? &s->taken_queries : &s->taken_reads, q);
    (void)pthread_mutex_unlock(&s->mutex);
    if (done > s->committed) {
        s->committed = done;
        s->running = NULL;
    }
    if (failed)
        return fault_set(why, FAULT_BROKEN, 0, "store: out of memory for a transaction");
    return broken ? -1 : 0;
}

void store_housekeep(struct store *s, int64_t unix_ms, bool clock_ok)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->housekeep = true;
    s->housekeep_ms = unix_ms;
    s->clock_ok = clock_ok;
    (void)pthread_cond_signal(&s->writer_wake);
    (void)pthread_mutex_unlock(&s->mutex);
}

void store_usage(const struct store *s, struct store_usage *ret)
{
    *ret = s->usage;
    ret->max_bytes = s->spec.max_size;
}

/* ---- backup ---- */

int store_backup_start(struct store *s, const char *new_path, struct fault *why)
{
    int result;

    if (access(new_path, F_OK) == 0)
        return fault_set(why, FAULT_INPUT, EEXIST, "backup: %s is there already", new_path);
    (void)pthread_mutex_lock(&s->db_mutex);
    result = s->copy ? fault_set(why, FAULT_RETRY, 0, "a backup is running already")
                     : db_copy_start(s->db, new_path, &s->copy, why);
    if (result == 0)
        (void)snprintf(s->copy_path, sizeof s->copy_path, "%s", new_path);
    /* Before the writer can step it. */
    (void)pthread_mutex_lock(&s->mutex);
    if (result == 0) {
        s->copying = true;
        s->copy_progress = 0;
    }
    (void)pthread_cond_signal(&s->writer_wake);
    (void)pthread_mutex_unlock(&s->mutex);
    (void)pthread_mutex_unlock(&s->db_mutex);
    return result;
}

int store_backup_progress(struct store *s, struct fault *why)
{
    int progress;

    (void)pthread_mutex_lock(&s->mutex);
    progress = s->copy_progress;
    if (progress < 0)
        *why = s->copy_why;
    (void)pthread_mutex_unlock(&s->mutex);
    return progress;
}

const char *store_library(void)
{
    return db_library();
}
