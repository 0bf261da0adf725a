/* What goes by its own age, not with the chunks: dead letters that are done with, gaps, audit rows.
 * A few rows at a time. */
#include "store/inside.h"

#include "store/audit.h"

#define ROWS_PER_STEP 64
/* Who changed what is asked long after the events are gone. */
#define AUDIT_KEEP_MS ((int64_t)90 * 86400 * 1000)

static int64_t first_kept(struct store *s, uint64_t route_id)
{
    struct statement *st = db_prepare(s->db,
        "SELECT coalesce((SELECT id FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1),"
        " ?2)",
        NULL);
    int64_t id = CHUNK_ID(route_id, 0);

    if (!st)
        return 0;
    db_bind_int(st, 1, id);
    db_bind_int(st, 2, CHUNK_ID(route_id + 1, 0));
    if (db_step(st, NULL) == 1)
        id = db_int(st, 0);
    db_reset(st);
    return CHUNK_ROUTE(id) == route_id ? (int64_t)CHUNK_SEQ(id) : INT64_MAX;
}

static int run_on_route(struct store *s, const char *sql, uint64_t route_id, int64_t older_ms,
    int64_t third, int64_t *rows, struct fault *why)
{
    struct statement *st = db_prepare(s->db, sql, why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, older_ms);
    db_bind_int(st, 3, ROWS_PER_STEP);
    db_bind_int(st, 4, third);
    if (db_run(st, why) != 0)
        return -1;
    *rows += db_changes(s->db);
    return 0;
}

/* The attempts of an event stay while its chunk does, so that a trace can show them. */
static int age_route(struct store *s, uint64_t route_id, int64_t older_ms, struct fault *why)
{
    static const char attempts[] =
        "DELETE FROM attempt WHERE rowid IN (SELECT a.rowid FROM (SELECT sink_id, seq FROM held"
        " WHERE route_id = ?1 AND state IN (5, 6) AND changed_ms < ?2 ORDER BY changed_ms LIMIT ?3)"
        " h JOIN attempt a ON a.sink_id = h.sink_id AND a.seq = h.seq WHERE a.seq < ?4)";
    static const char held[] =
        "DELETE FROM held WHERE number IN (SELECT number FROM held WHERE route_id = ?1"
        " AND state IN (5, 6) AND changed_ms < ?2 ORDER BY changed_ms LIMIT ?3) AND ?4 IS NOT NULL";
    static const char gaps[] =
        "DELETE FROM gap WHERE id IN (SELECT id FROM gap WHERE route_id = ?1 AND end_ms > 0"
        " AND end_ms < ?2 ORDER BY end_ms LIMIT ?3) AND ?4 IS NOT NULL";
    int64_t first = first_kept(s, route_id), rows = 0;

    if (db_exec(s->db, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    if (run_on_route(s, attempts, route_id, older_ms, first, &rows, why) == 0 &&
        run_on_route(s, held, route_id, older_ms, first, &rows, why) == 0 &&
        run_on_route(s, gaps, route_id, older_ms, first, &rows, why) == 0 &&
        db_exec(s->db, "COMMIT", why) == 0)
        return rows && db_exec(s->db, "PRAGMA incremental_vacuum(256)", why) != 0 ? -1 : rows > 0;
    (void)db_exec(s->db, "ROLLBACK", NULL);
    return -1;
}

/* Is there anything of it? A look at two index entries, so that an idle store writes nothing. */
static int has_old(struct store *s, uint64_t route_id, int64_t older_ms, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT EXISTS (SELECT 1 FROM held WHERE route_id = ?1 AND state IN (5, 6) AND"
        " changed_ms < ?2) OR EXISTS (SELECT 1 FROM gap WHERE route_id = ?1 AND end_ms > 0 AND"
        " end_ms < ?2)",
        why);
    int has;

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, older_ms);
    if (db_step(st, why) != 1)
        return -1;
    has = db_int(st, 0) != 0;
    db_reset(st);
    return has;
}

int age_step_route(struct store *s, const struct known_route *r, int64_t unix_ms, struct fault *why)
{
    int64_t older_ms = unix_ms - r->retain_age_ms;
    int has;

    if (r->retain_age_ms < 0)
        return 0;
    has = has_old(s, r->id, older_ms, why);
    return has > 0 ? age_route(s, r->id, older_ms, why) : has;
}

/* As long as any route's events, and 90 days at least; -1: for ever. */
static int64_t audit_age_ms(const struct store *s)
{
    int64_t age = AUDIT_KEEP_MS;

    for (size_t i = 0; i < s->route_n; i++) {
        if (s->routes[i].retain_age_ms < 0)
            return -1;
        if (s->routes[i].retain_age_ms > age)
            age = s->routes[i].retain_age_ms;
    }
    return age;
}

/* From the oldest end only, and none behind one that stays: what is left has no holes. */
int age_step_audit(struct store *s, int64_t unix_ms, struct fault *why)
{
    int64_t age = audit_age_ms(s), last = 0, rows = 0;
    struct statement *st;
    int got;

    if (age < 0)
        return 0;
    st = db_prepare(s->db, "SELECT id, time_ms FROM audit ORDER BY id LIMIT ?1", why);
    if (!st)
        return -1;
    db_bind_int(st, 1, ROWS_PER_STEP);
    while ((got = db_step(st, why)) == 1 && db_int(st, 1) < unix_ms - age) {
        last = db_int(st, 0);
        rows++;
    }
    db_reset(st);
    if (got < 0 || rows == 0)
        return got < 0 ? -1 : 0;
    return audit_forget(s->db, last, why);
}

/* The first route from `from` on that has chunks; *known: it has a name. 0: there is none. */
static int next_route(struct store *s, uint64_t from, uint64_t *ret, bool *known, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT c.id, EXISTS (SELECT 1 FROM route WHERE id = c.id >> 40) FROM"
        " (SELECT id FROM chunk WHERE id >= ?1 ORDER BY id LIMIT 1) c",
        why);
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, CHUNK_ID(from, 0));
    got = db_step(st, why);
    *ret = got == 1 ? CHUNK_ROUTE(db_int(st, 0)) : 0;
    *known = got == 1 && db_int(st, 1) != 0;
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int forget_route(struct store *s, uint64_t route_id, struct fault *why)
{
    static const char *const steps[] = {
        "DELETE FROM gap WHERE route_id = ?1",
        "DELETE FROM dictionary WHERE route_id = ?1 AND NOT EXISTS"
        " (SELECT 1 FROM chunk WHERE id >= ?1 << 40 AND id < (?1 + 1) << 40)",
    };

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct statement *st = db_prepare(s->db, steps[i], why);

        if (!st)
            return -1;
        db_bind_int(st, 1, (int64_t)route_id);
        if (db_run(st, why) != 0)
            return -1;
    }
    return 0;
}

int age_step_discarded(struct store *s, int64_t unix_ms, struct fault *why)
{
    struct known_route gone = { .retain_age_ms = 0, .retain_bytes = -1 };
    bool known;

    if (next_route(s, s->discarded_at, &gone.id, &known, why) != 0)
        return -1;
    if (gone.id == 0 || known) {
        s->discarded_at = gone.id ? gone.id + 1 : 0;
        return 0;
    }
    if (retain_step(s, &gone, unix_ms, true, why) < 0 || forget_route(s, gone.id, why) != 0)
        return -1;
    /* What a replay still needs stays; others get their turn. */
    s->discarded_at = gone.id + 1;
    return 0;
}
