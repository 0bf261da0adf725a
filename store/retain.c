/* Retention: removes old chunks in small steps, never past a sink that is not through or a replay.
 */
#include "store/inside.h"

#include <stdlib.h>

#define CHUNKS_PER_STEP 64

/* The lowest seq of the route that somebody still needs. */
static int needed_seq(
    struct store *s, uint64_t route_id, int64_t unix_ms, uint64_t *ret, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT coalesce(min(frontier), -1) FROM sink WHERE route_id = ?1 AND NOT fallback", why);
    struct store_job *jobs;
    size_t count;

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    if (db_step(st, why) != 1)
        return -1;
    *ret = (uint64_t)db_int(st, 0);
    db_reset(st);
    if (jobs_load(s->db, &jobs, &count, why) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bool pins = jobs[i].state != JOB_PLANNED || jobs[i].expires_ms > unix_ms;

        for (size_t l = 0; pins && l < jobs[i].leg_count; l++)
            if (jobs[i].legs[l].route_id == route_id && jobs[i].legs[l].set.n &&
                jobs[i].legs[l].frontier < *ret)
                *ret = jobs[i].legs[l].frontier;
        store_job_done(&jobs[i]);
    }
    free(jobs);
    return 0;
}

static int64_t stored_bytes(struct store *s, uint64_t route_id)
{
    struct statement *st = db_prepare(s->db,
        "SELECT (SELECT before_bytes + stored_bytes FROM chunk WHERE id < ?2 ORDER BY id DESC "
        "LIMIT 1)"
        " - (SELECT before_bytes FROM chunk WHERE id >= ?1 ORDER BY id LIMIT 1)"
        " WHERE EXISTS (SELECT 1 FROM chunk WHERE id >= ?1 AND id < ?2)",
        NULL);
    int64_t bytes = 0;

    if (!st)
        return 0;
    db_bind_int(st, 1, CHUNK_ID(route_id, 0));
    db_bind_int(st, 2, CHUNK_ID(route_id + 1, 0));
    if (db_step(st, NULL) == 1)
        bytes = db_int(st, 0);
    db_reset(st);
    return bytes;
}

/* What describes events below `seq` goes with them. Dead letters that are done with go by their own
 * age (age.c) where there is one, unless it is for the size. */
static int forget_below(
    struct store *s, uint64_t route_id, uint64_t seq, bool dead_too, struct fault *why)
{
    static const char *const steps[] = {
        "DELETE FROM outcome WHERE sink_id IN (SELECT id FROM sink WHERE route_id = ?1) AND "
        "last_seq < ?2",
        "DELETE FROM attempt WHERE sink_id IN (SELECT id FROM sink WHERE route_id = ?1) AND seq < "
        "?2"
        " AND NOT EXISTS (SELECT 1 FROM held h WHERE h.sink_id = attempt.sink_id AND h.seq = "
        "attempt.seq)",
        "DELETE FROM mark WHERE sink_id IN (SELECT id FROM sink WHERE route_id = ?1) AND frontier "
        "< ?2",
        "DELETE FROM held WHERE route_id = ?1 AND seq < ?2 AND state IN (5, 6)",
    };

    for (size_t i = 0; i < sizeof steps / sizeof *steps - !dead_too; i++) {
        struct statement *st = db_prepare(s->db, steps[i], why);

        if (!st)
            return -1;
        db_bind_int(st, 1, (int64_t)route_id);
        db_bind_int(st, 2, (int64_t)seq);
        if (db_run(st, why) != 0)
            return -1;
    }
    return 0;
}

/* When no chunk is left: where the next event stands, and the time that none may go below. */
static int keep_end(
    struct store *s, uint64_t route_id, uint64_t next, int64_t last_ms, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('next_seq.' || ?1, ?2),"
        " ('last_ms.' || ?1, ?3)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)next);
    db_bind_int(st, 3, last_ms);
    return db_run(st, why);
}

/* Deletes from the oldest on what is too old or too much. *removed: how many. */
static int remove_old(struct store *s, const struct known_route *r, int64_t unix_ms, bool clock_ok,
    int *removed, struct fault *why)
{
    struct statement *find = db_prepare(s->db,
        "SELECT id, count, last_ms, stored_bytes FROM chunk WHERE id >= ?1 AND id < ?2 ORDER "
        "BY id"
        " LIMIT 1",
        why);
    int64_t over = r->retain_bytes > 0 ? stored_bytes(s, r->id) - r->retain_bytes : 0;
    uint64_t needed, end = 0;
    bool for_size = false;
    int64_t end_ms = 0;

    if (!find || needed_seq(s, r->id, unix_ms, &needed, why) != 0)
        return -1;
    for (*removed = 0; *removed < CHUNKS_PER_STEP; ++*removed) {
        struct statement *drop;
        int64_t id, bytes;
        bool old;

        find = db_prepare(s->db,
            "SELECT id, count, last_ms, stored_bytes FROM chunk WHERE id >= ?1 AND id < ?2 "
            "ORDER BY id"
            " LIMIT 1",
            why);
        if (!find)
            return -1;
        db_bind_int(find, 1, CHUNK_ID(r->id, 0));
        db_bind_int(find, 2, CHUNK_ID(r->id + 1, 0));
        if (db_step(find, why) != 1)
            break;
        id = db_int(find, 0);
        bytes = db_int(find, 3);
        old = clock_ok && r->retain_age_ms >= 0 && db_int(find, 2) + r->retain_age_ms < unix_ms;
        if (CHUNK_SEQ(id) + (uint64_t)db_int(find, 1) > needed || (!old && over <= 0)) {
            db_reset(find);
            break;
        }
        for_size = for_size || !old;
        end = CHUNK_SEQ(id) + (uint64_t)db_int(find, 1);
        end_ms = db_int(find, 2);
        db_reset(find);
        drop = db_prepare(s->db, "DELETE FROM chunk WHERE id = ?1", why);
        if (!drop)
            return -1;
        db_bind_int(drop, 1, id);
        if (db_run(drop, why) != 0)
            return -1;
        over -= bytes;
    }
    db_reset(find);
    if (end == 0)
        return 0;
    if (dictionary_forget(s->db, r->id, end, why) != 0)
        return -1;
    return keep_end(s, r->id, end, end_ms, why) != 0 ||
                   forget_below(s, r->id, end, for_size, why) != 0
               ? -1
               : 0;
}

int retain_step(
    struct store *s, const struct known_route *r, int64_t unix_ms, bool clock_ok, struct fault *why)
{
    int removed = 0;

    if (r->retain_age_ms < 0 && r->retain_bytes <= 0)
        return 0;
    if (db_exec(s->db, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    if (remove_old(s, r, unix_ms, clock_ok, &removed, why) != 0 ||
        db_exec(s->db, "COMMIT", why) != 0) {
        (void)db_exec(s->db, "ROLLBACK", NULL);
        return -1;
    }
    if (removed && db_exec(s->db, "PRAGMA incremental_vacuum(256)", why) != 0)
        return -1;
    return removed > 0;
}
