/* The writer: the only connection that changes the file, and the only one to checkpoint it. */
#include "store/inside.h"

#include "store/chunk.h"
#include "store/schema.h"
#include "store/wal.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* The WAL is copied into the database when it has grown to this; then it is written from its start.
 */
#define WAL_BYTES 16777216
/* Deleted when even finishing has no room left, so that finishing goes on on a full disk: enough to
 * copy a whole WAL into the database, which then is written from its start again. */
#define RESERVE_BYTES (WAL_BYTES + 4194304)

/* Of one route in one round. */
#define MERGES_MAX 16
/* Long enough for what came last to be old enough for joining (merge.c). */
#define BUSY_MS 120000
/* Routes without appends that a step looks at: so many, and at least all of them in so many steps,
 * which come once a second. */
#define IDLE_ROUTES 16
#define IDLE_STEPS 60

void store_signal(struct store *s)
{
    uint64_t one = 1;

    if (s->event_fd >= 0)
        (void)!write(s->event_fd, &one, sizeof one);
}

struct known_route *writer_route(struct store *s, uint64_t route_id)
{
    struct known_route *routes;
    struct statement *st;

    for (size_t i = 0; i < s->route_n; i++)
        if (s->routes[i].id == route_id)
            return &s->routes[i];
    routes = realloc(s->routes, (s->route_n + 1) * sizeof *routes);
    if (!routes)
        return NULL;
    s->routes = routes;
    routes[s->route_n] =
        (struct known_route){ .id = route_id, .retain_age_ms = -1, .retain_bytes = -1 };
    st = db_prepare(s->db,
        "SELECT before_bytes + stored_bytes FROM chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC "
        "LIMIT 1",
        NULL);
    if (!st)
        return NULL;
    db_bind_int(st, 1, CHUNK_ID(route_id, 0));
    db_bind_int(st, 2, CHUNK_ID(route_id + 1, 0) - 1);
    if (db_step(st, NULL) == 1)
        routes[s->route_n].stored_bytes = db_int(st, 0);
    db_reset(st);
    return &s->routes[s->route_n++];
}

/* After a rollback the running sums are read again. */
static void forget_sums(struct store *s)
{
    for (size_t i = 0; i < s->route_n; i++) {
        struct known_route kept = s->routes[i], *again;

        s->routes[i].id = 0;
        again = writer_route(s, kept.id);
        if (again) {
            s->routes[i] = kept;
            s->routes[i].stored_bytes = again->stored_bytes;
            s->route_n--;
        } else {
            s->routes[i] = kept;
        }
    }
}

int writer_frame(struct store *s, struct known_route *r, const struct block *b, struct buf *to,
    struct fault *why)
{
    struct chunk_dictionary with = { 0 };
    struct fault damage;

    if (b->bytes <= DICTIONARY_CHUNK_BYTES) {
        if (dictionary_load(s->db, r->id, &r->dictionary, why) != 0)
            return -1;
        with.number = r->dictionary.number;
    }
    /* One that is damaged is named by whoever reads a chunk made with it. New ones do without, and
     * another one is learnt. */
    if (with.number && !(with.made = dictionary_to_compress(s->db, with.number, &damage)))
        with.number = r->dictionary.number = 0;
    return chunk_frame(s->zstd, b, with, to, why);
}

static bool waits_when_full(const struct op *op)
{
    return op->kind == OP_APPEND || op->kind == OP_POSITION || op->kind == OP_GAP;
}

static int apply_some(
    struct store *s, const struct txn *t, bool appends, bool rest, struct fault *why)
{
    for (size_t i = 0; i < t->n; i++)
        if ((waits_when_full(&t->ops[i]) ? appends : rest) && apply_op(s, t, &t->ops[i], why) != 0)
            return -1;
    return 0;
}

static int64_t used_bytes(struct store *s)
{
    return (db_used_pages(s->db) + db_wal_pages(s->db)) * db_page_bytes(s->db);
}

static int put_counter(struct store *s, const char *name, uint64_t value, struct fault *why)
{
    struct statement *st =
        db_prepare(s->db, "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", why);

    if (!st)
        return -1;
    db_bind_text(st, 1, name);
    db_bind_int(st, 2, (int64_t)value);
    return db_run(st, why);
}

static int put_counters(struct store *s, struct fault *why)
{
    /* Numbers handed out so far: read without a lock on purpose would race, so the loop leaves a
     * copy. */
    uint64_t held, generation, job;

    (void)pthread_mutex_lock(&s->mutex);
    held = s->next_held;
    generation = s->next_generation;
    job = s->next_job;
    (void)pthread_mutex_unlock(&s->mutex);
    return put_counter(s, "next_held", held, why) != 0 ||
                   put_counter(s, "next_generation", generation, why) != 0 ||
                   put_counter(s, "next_job", job, why) != 0
               ? -1
               : 0;
}

static bool needs_counters(const struct txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->ops[i].kind == OP_HELD || t->ops[i].kind == OP_JOB)
            return true;
    return false;
}

/* One SQLite transaction: what waits, in order, and t. */
static int try_all(struct store *s, struct txn *t, struct fault *why)
{
    if (db_exec(s->db, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    for (size_t i = 0; i < s->waiting_n; i++)
        if (apply_some(s, s->waiting[i], true, false, why) != 0)
            return -1;
    if (t && apply_some(s, t, true, true, why) != 0)
        return -1;
    if (t && needs_counters(t) && put_counters(s, why) != 0)
        return -1;
    return db_exec(s->db, "COMMIT", why);
}

static int try_rest(struct store *s, struct txn *t, struct fault *why)
{
    if (db_exec(s->db, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    if (apply_some(s, t, false, true, why) != 0)
        return -1;
    if (needs_counters(t) && put_counters(s, why) != 0)
        return -1;
    return db_exec(s->db, "COMMIT", why);
}

static void rollback(struct store *s)
{
    (void)db_exec(s->db, "ROLLBACK", NULL);
    forget_sums(s);
}

static void reserve_path(const struct store *s, char *ret, size_t n)
{
    (void)snprintf(ret, n, "%s.reserve", s->path);
}

/* False: there is no room for it. */
static bool reserve_make(const struct store *s)
{
    char path[4200];
    bool made;
    int fd;

    reserve_path(s, path, sizeof path);
    if (s->spec.inline_io || access(path, F_OK) == 0)
        return true;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    made = posix_fallocate(fd, 0, RESERVE_BYTES) == 0;
    (void)close(fd);
    if (!made)
        (void)unlink(path);
    return made;
}

bool writer_give_reserve(struct store *s)
{
    char path[4200];

    reserve_path(s, path, sizeof path);
    if (unlink(path) != 0)
        return false;
    s->reserve_given = true;
    return true;
}

/* For the reserve, and for a WAL beside it: or the next commit would want it back. */
static bool has_room(const struct store *s)
{
    char copy[PATH_MAX];
    struct statvfs fs;

    (void)snprintf(copy, sizeof copy, "%s", s->path);
    return statvfs(dirname(copy), &fs) == 0 &&
           (int64_t)fs.f_bavail * (int64_t)fs.f_frsize > RESERVE_BYTES + WAL_BYTES;
}

static void waiting_done(struct store *s)
{
    for (size_t i = 0; i < s->waiting_n; i++)
        txn_free(s->waiting[i]);
    s->waiting_n = 0;
}

static int wait_for_space(struct store *s, struct txn *t, struct fault *why)
{
    struct txn **waiting = realloc(s->waiting, (s->waiting_n + 1) * sizeof(struct txn *));

    if (!waiting)
        return fault_set(why, FAULT_BROKEN, 0, "out of memory on a full disk");
    s->waiting = waiting;
    waiting[s->waiting_n++] = t;
    return 0;
}

/* What needs no space for new events, from the reserve at the last. 1: not even that fits. */
static int commit_rest(struct store *s, struct txn *t, struct fault *why)
{
    bool whole;

    if (try_rest(s, t, why) == 0)
        return 0;
    rollback(s);
    if (why->kind != FAULT_FULL)
        return -1;
    (void)writer_give_reserve(s);
    if (db_checkpoint(s->db, &whole, why) != 0 && why->kind != FAULT_FULL)
        return -1;
    if (try_rest(s, t, why) == 0)
        return 0;
    rollback(s);
    return why->kind == FAULT_FULL ? 1 : -1;
}

/* Commits t, or what of it does not need space for new events. *kept: t's appends wait, t is kept.
 * 1: nothing of it could be committed, it must be tried again. */
static int commit(struct store *s, struct txn *t, bool *kept, struct fault *why)
{
    /* In order, behind those that wait already: or new events would eat up the reserve. */
    bool over = s->waiting_n > 0 ||
                (s->spec.max_size > 0 && t->appends > 0 && used_bytes(s) > s->spec.max_size);
    int got;

    *kept = false;
    if (!over) {
        if (try_all(s, t, why) == 0) {
            waiting_done(s);
            return 0;
        }
        rollback(s);
        if (why->kind != FAULT_FULL)
            return -1;
    }
    got = commit_rest(s, t, why);
    if (got != 0)
        return got;
    if (t->appends == 0)
        return 0;
    *kept = true;
    return wait_for_space(s, t, why);
}

/* The WAL counts to max_size, so a small store has a small one. */
static int checkpoint(struct store *s, struct fault *why)
{
    int64_t above =
        s->spec.max_size > 0 && s->spec.max_size / 8 < WAL_BYTES ? s->spec.max_size / 8 : WAL_BYTES;
    bool whole;

    if (db_wal_pages(s->db) * db_page_bytes(s->db) < above)
        return 0;
    /* On a full disk the WAL keeps it all, and it is tried again. */
    return db_checkpoint(s->db, &whole, why) == 0 || why->kind == FAULT_FULL ? 0 : -1;
}

static int retry_waiting(struct store *s, struct fault *why)
{
    if (s->waiting_n == 0 || (s->spec.max_size > 0 && used_bytes(s) > s->spec.max_size))
        return 0;
    /* The reserve first: what finishing needs goes before new events. */
    if (!reserve_make(s))
        return 0;
    s->reserve_given = false;
    if (try_all(s, NULL, why) == 0) {
        waiting_done(s);
        return 0;
    }
    rollback(s);
    return why->kind == FAULT_FULL ? 0 : -1;
}

static void copy_step(struct store *s)
{
    struct fault why;
    int left, total, got, progress;

    if (!s->copy)
        return;
    got = db_copy_step(s->copy, 256, &left, &total, &why);
    if (got <= 0) {
        if (db_copy_end(s->copy, got == 0 ? WAL_DISCLAIM : NULL, got == 0 ? &why : NULL) != 0)
            got = -1;
        s->copy = NULL;
    }
    /* Its name, and that its journal is gone: one that came back would undo the copy. */
    if (got == 0 && schema_sync_directory(s->copy_path, &why) != 0)
        got = -1;
    progress = got < 0 ? -1 : got == 0 ? 1001 : total ? 1000 * (total - left) / total : 0;
    (void)pthread_mutex_lock(&s->mutex);
    s->copy_progress = progress;
    s->copying = got > 0;
    if (got < 0)
        s->copy_why = why;
    (void)pthread_mutex_unlock(&s->mutex);
}

static bool is_queued(struct store *s)
{
    bool queued;

    (void)pthread_mutex_lock(&s->mutex);
    queued = s->queued != NULL;
    (void)pthread_mutex_unlock(&s->mutex);
    return queued;
}

static int keep_route(
    struct store *s, struct known_route *r, int64_t unix_ms, bool clock_ok, struct fault *why)
{
    int removed = retain_step(s, r, unix_ms, clock_ok, why), aged = 0;

    if (removed < 0 && why->kind != FAULT_FULL)
        return -1;
    if (clock_ok && (aged = age_step_route(s, r, unix_ms, why)) < 0 && why->kind != FAULT_FULL)
        return -1;
    if (r->busy || removed > 0 || aged > 0)
        r->busy_end_ms = unix_ms + BUSY_MS;
    r->busy = false;
    /* A route of many small chunks a second must not run away from it. */
    for (int i = 0; i < MERGES_MAX; i++) {
        int joined = is_queued(s) ? 0 : merge_step(s, r, unix_ms, why);

        if (joined < 0 && why->kind != FAULT_FULL)
            return -1;
        if (joined <= 0)
            return 0;
    }
    r->busy = true;
    return 0;
}

/* A store of many routes that have nothing to do asks for a few of them at a time. */
static bool is_due(const struct store *s, size_t i, int64_t unix_ms)
{
    const struct known_route *r = &s->routes[i];

    return r->busy || unix_ms < r->busy_end_ms ||
           (i + s->route_n - s->house_idle) % s->route_n < IDLE_ROUTES + s->route_n / IDLE_STEPS;
}

/* One small step for each route that is due, or for as many as can be done before somebody wants to
 * commit; then *again, and it goes on where it was. */
static int housekeep(
    struct store *s, int64_t unix_ms, bool clock_ok, bool *again, struct fault *why)
{
    for (; s->house_at < s->route_n; s->house_at++) {
        if (is_queued(s)) {
            *again = true;
            return retry_waiting(s, why);
        }
        if (is_due(s, s->house_at, unix_ms) &&
            keep_route(s, &s->routes[s->house_at], unix_ms, clock_ok, why) != 0)
            return -1;
    }
    s->house_at = 0;
    if (s->route_n)
        s->house_idle = (s->house_idle + IDLE_ROUTES + s->route_n / IDLE_STEPS) % s->route_n;
    if (clock_ok && age_step_audit(s, unix_ms, why) != 0 && why->kind != FAULT_FULL)
        return -1;
    if (clock_ok && age_step_discarded(s, unix_ms, why) != 0 && why->kind != FAULT_FULL)
        return -1;
    if (s->reserve_given && has_room(s))
        s->reserve_given = !reserve_make(s);
    return retry_waiting(s, why);
}

static void tell(struct store *s, struct txn *done, bool kept, int result, const struct fault *why)
{
    (void)pthread_mutex_lock(&s->mutex);
    if (result != 0) {
        s->broken = true;
        s->broken_why = *why;
        s->broken_why.kind = FAULT_BROKEN;
    }
    s->full_now = s->waiting_n > 0 || s->stuck;
    s->usage_now.used_bytes = used_bytes(s);
    s->usage_now.wal_bytes = db_wal_pages(s->db) * db_page_bytes(s->db);
    if (done && result == 0) {
        s->usage_now.commits++;
        s->usage_now.commit_us_last = s->commit_us;
        if (s->commit_us > s->usage_now.commit_us_max)
            s->usage_now.commit_us_max = s->commit_us;
        histogram_add(&s->usage_now.commit_times, s->commit_us);
        s->done_number = done->number;
    }
    if (result == 0)
        s->appended_now = s->waiting_n ? s->waiting[0]->number - 1 : s->done_number;
    (void)pthread_mutex_unlock(&s->mutex);
    if (done && !kept)
        txn_free(done);
    store_signal(s);
}

static int64_t monotonic_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void writer_work(struct store *s)
{
    struct fault why = { 0 };
    struct txn *t;
    bool keep, clock_ok, copying, kept = false, again = false;
    int64_t unix_ms;
    int result = 0;

    (void)pthread_mutex_lock(&s->mutex);
    t = s->queued;
    s->queued = NULL;
    keep = s->housekeep;
    s->housekeep = false;
    unix_ms = s->housekeep_ms;
    clock_ok = s->clock_ok;
    copying = s->copying;
    (void)pthread_mutex_unlock(&s->mutex);
    if (s->broken || (!t && !keep && !copying))
        return;
    (void)pthread_mutex_lock(&s->db_mutex);
    /* While one is stuck the loop submits no other. */
    if (!t && keep) {
        t = s->stuck;
        s->stuck = NULL;
    }
    if (t) {
        int64_t start = monotonic_us();

        result = commit(s, t, &kept, &why);
        s->commit_us = monotonic_us() - start;
    }
    if (result == 1) {
        s->stuck = t;
        t = NULL;
        result = 0;
        keep = true;
    }
    /* What waits on the commit hears of it before the checkpoint. */
    if (t) {
        tell(s, t, kept, result, &why);
        t = NULL;
    }
    if (result == 0 && keep)
        result = housekeep(s, unix_ms, clock_ok, &again, &why);
    if (result == 0)
        result = checkpoint(s, &why);
    copy_step(s);
    (void)pthread_mutex_unlock(&s->db_mutex);
    if (again) {
        (void)pthread_mutex_lock(&s->mutex);
        s->housekeep = true;
        (void)pthread_mutex_unlock(&s->mutex);
    }
    if (keep || result != 0)
        tell(s, NULL, false, result, &why);
}

static void *writer_main(void *arg)
{
    struct store *s = arg;

    (void)pthread_setname_np(pthread_self(), "store-writer");
    for (;;) {
        bool stop;

        (void)pthread_mutex_lock(&s->mutex);
        while (!s->queued && !s->housekeep && !s->stop && (!s->copying || s->broken))
            (void)pthread_cond_wait(&s->writer_wake, &s->mutex);
        stop = s->stop && !s->queued;
        (void)pthread_mutex_unlock(&s->mutex);
        if (stop)
            return NULL;
        writer_work(s);
    }
}

int writer_start(struct store *s, struct fault *why)
{
    if (!s->reserve_given)
        (void)reserve_make(s);
    if (s->spec.inline_io)
        return 0;
    if (pthread_create(&s->writer, NULL, writer_main, s) != 0)
        return fault_set(why, FAULT_RETRY, 0, "store: cannot start the writer thread");
    s->writer_started = true;
    return 0;
}

void writer_stop(struct store *s)
{
    if (s->writer_started) {
        (void)pthread_mutex_lock(&s->mutex);
        s->stop = true;
        (void)pthread_cond_broadcast(&s->writer_wake);
        (void)pthread_mutex_unlock(&s->mutex);
        (void)pthread_join(s->writer, NULL);
        s->writer_started = false;
    }
    if (s->copy)
        (void)db_copy_end(s->copy, NULL, NULL);
    s->copy = NULL;
    txn_free(s->stuck);
    s->stuck = NULL;
    waiting_done(s);
    free(s->waiting);
    s->waiting = NULL;
}
