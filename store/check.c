/* Is everything that the store says of itself true? Reads only. */
#include "store/inside.h"

#include "store/schema.h"
#include "store/wal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

struct check {
    struct db *db;
    store_say *say;
    void *arg;
    int damages;
};

static void report(struct check *c, int severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void report(struct check *c, int severity, const char *format, ...)
{
    char line[700];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    c->damages += severity == 2;
    c->say(c->arg, severity, line);
}

static void integrity_line(void *arg, const char *line)
{
    report(arg, 2, "database: %s", line);
}

/* Every chunk: its checksum, its events, and that it begins where the one before it ended. */
static int check_chunks(struct check *c, struct fault *why)
{
    struct statement *st = db_prepare(
        c->db, "SELECT id, count, received_ms, raw_bytes, frame FROM chunk ORDER BY id", why);
    uint64_t route = 0, next = 0, chunks = 0, events = 0;
    int got;

    if (!st)
        return -1;
    while ((got = db_step(st, why)) == 1) {
        int64_t id = db_int(st, 0);
        struct fault damage;
        struct block *b;

        if (CHUNK_ROUTE(id) == route && CHUNK_SEQ(id) != next)
            report(c, 2, "route %" PRIu64 ": events %" PRIu64 " to %" PRIu64 " are missing", route,
                next, CHUNK_SEQ(id) - 1);
        route = CHUNK_ROUTE(id);
        next = CHUNK_SEQ(id) + (uint64_t)db_int(st, 1);
        if (read_chunk(st, &b, &damage) != 0)
            report(c, 2, "%s", damage.text);
        else
            block_unref(b);
        chunks++;
        events += (uint64_t)db_int(st, 1);
    }
    db_reset(st);
    if (got == 0)
        report(c, 0, "%" PRIu64 " events in %" PRIu64 " chunks read", events, chunks);
    return got;
}

static void check_sink(struct check *c, struct statement *st)
{
    const char *route = db_text(st, 0), *sink = db_text(st, 1);
    int64_t begin = db_int(st, 2), frontier = db_int(st, 3), next = db_int(st, 12);
    int64_t accepted = db_int(st, 5), delivered = db_int(st, 6), held = db_int(st, 7);
    int64_t dead = db_int(st, 8), dropped = db_int(st, 9), diverted = db_int(st, 10);
    bool fallback = db_int(st, 14) != 0;
    struct ranges above;
    int64_t finished;

    if (ranges_decode(db_bytes(st, 4), &above) != 0) {
        report(c, 2, "%s/%s: its cursor is damaged", route, sink);
        return;
    }
    finished = frontier - begin + (int64_t)ranges_count(&above);
    if (!fallback && (frontier > next || (above.n && (int64_t)above.at[above.n - 1].last >= next)))
        report(c, 2, "%s/%s: its cursor stands at %" PRId64 ", the log ends before %" PRId64, route,
            sink, frontier, next);
    if (fallback)
        finished = accepted;
    if (finished != delivered + held + dead + dropped + diverted)
        report(c, 2,
            "%s/%s: the conservation sum does not hold: %" PRId64 " finished or held, but %" PRId64
            " delivered + %" PRId64 " held + %" PRId64 " dead + %" PRId64 " dropped + %" PRId64
            " diverted",
            route, sink, finished, delivered, held, dead, dropped, diverted);
    if (held != db_int(st, 11) || dead != db_int(st, 13))
        report(c, 2,
            "%s/%s: counts %" PRId64 " held and %" PRId64 " dead, but there are %" PRId64
            " and %" PRId64 " rows",
            route, sink, held, dead, db_int(st, 11), db_int(st, 13));
    ranges_done(&above);
}

static int check_sinks(struct check *c, struct fault *why)
{
    struct statement *st = db_prepare(c->db,
        "SELECT r.name, k.name, k.begin_seq, k.frontier, k.above, k.accepted, k.delivered, k.held, "
        "k.dead,"
        " k.dropped_filter + k.dropped_loop + k.dropped_person + k.dropped_discard, k.diverted,"
        " (SELECT count(*) FROM held WHERE sink_id = k.id AND state IN (1, 2) AND job = 0),"
        " coalesce((SELECT (id & 0xffffffffff) + count FROM chunk WHERE id >= r.id << 40 AND"
        " id < (r.id + 1) << 40 ORDER BY id DESC LIMIT 1),"
        " (SELECT value FROM meta WHERE name = 'next_seq.' || r.id), 1),"
        " (SELECT count(*) FROM held WHERE sink_id = k.id AND state IN (3, 4) AND job = 0),"
        " k.fallback FROM sink k JOIN route r ON r.id = k.route_id ORDER BY 1, 2",
        why);
    int got;

    if (!st)
        return -1;
    while ((got = db_step(st, why)) == 1)
        check_sink(c, st);
    db_reset(st);
    return got;
}

int check_wal(const char *path, struct fault *why)
{
    struct fault busy;
    int fd, result;

    if (store_lock_file(path, &fd, &busy) != 0)
        return 0;
    result = wal_judge(path, NULL, why);
    (void)close(fd);
    return result;
}

int store_check_file(const char *path, store_say *say, void *arg, struct fault *why)
{
    struct check c = { .say = say, .arg = arg };
    int integrity;

    if (access(path, R_OK) != 0)
        return fault_set(why, FAULT_INPUT, 0, "there is no store at %s that can be read", path);
    /* First: opening it makes an empty WAL where there is none. */
    if (check_wal(path, why) != 0)
        report(&c, 2, "%s", why->text);
    if (db_open(path, DB_READ, NULL, &c.db, why) != 0)
        return -1;
    if (schema_read(c.db, path, NULL, why) != 0) {
        db_close(c.db);
        return -1;
    }
    integrity = db_integrity(c.db, integrity_line, &c, why);
    if (integrity >= 0 && (check_chunks(&c, why) < 0 || check_sinks(&c, why) < 0)) {
        report(&c, 2, "%s", why->text);
        integrity = 0;
    }
    db_close(c.db);
    return integrity < 0 ? -1 : c.damages;
}
