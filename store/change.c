/* Names against a changed configuration: what the store knows, what it gives up, all of one reload
 * in one transaction. */
#include "store/inside.h"

#include <stdio.h>
#include <stdlib.h>

/* Within a change the loop thread has the writer's connection for itself already. */
void store_db_lock(struct store *s)
{
    if (!s->changing)
        (void)pthread_mutex_lock(&s->db_mutex);
}

void store_db_unlock(struct store *s)
{
    if (!s->changing)
        (void)pthread_mutex_unlock(&s->db_mutex);
}

int store_change_begin(struct store *s, struct fault *why)
{
    (void)pthread_mutex_lock(&s->db_mutex);
    if (db_exec(s->db, "BEGIN IMMEDIATE", why) != 0) {
        (void)pthread_mutex_unlock(&s->db_mutex);
        return -1;
    }
    s->changing = true;
    return 0;
}

static void change_end(struct store *s)
{
    s->changing = false;
    (void)pthread_mutex_unlock(&s->db_mutex);
}

void store_change_undo(struct store *s)
{
    (void)db_exec(s->db, "ROLLBACK", NULL);
    change_end(s);
}

int store_change_commit(struct store *s, struct fault *why)
{
    if (db_exec(s->db, "COMMIT", why) != 0) {
        store_change_undo(s);
        return -1;
    }
    change_end(s);
    return 0;
}

void store_limit(struct store *s, int64_t max_size)
{
    store_db_lock(s);
    s->spec.max_size = max_size;
    store_db_unlock(s);
}

static int known_row(
    struct store *s, struct statement *st, struct store_known *k, struct fault *why)
{
    struct store_route route = { .id = (uint64_t)db_int(st, 0) };
    int64_t frontier = db_int(st, 4);

    *k = (struct store_known){
        .route_id = route.id,
        .sink_id = (uint64_t)db_int(st, 1),
        .held = (uint64_t)db_int(st, 5),
        .dead = (uint64_t)db_int(st, 6),
    };
    (void)snprintf(k->route, sizeof k->route, "%s", db_text(st, 2));
    (void)snprintf(k->sink, sizeof k->sink, "%s", db_text(st, 3) ? db_text(st, 3) : "");
    if (k->sink_id == 0)
        return 0;
    if (store_route_seqs(s, &route, why) != 0)
        return -1;
    k->pending = route.next_seq > (uint64_t)frontier && frontier > 0
                     ? route.next_seq - (uint64_t)frontier
                     : 0;
    return 0;
}

static int load_known(struct store *s, struct store_known **ret, size_t *count, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        "SELECT r.id, 0, r.name, NULL, 0, 0, 0 FROM route r UNION ALL"
        " SELECT r.id, k.id, r.name, k.name, iif(k.fallback, 0, k.frontier), k.held, k.dead"
        " FROM sink k JOIN route r ON r.id = k.route_id ORDER BY 1, 2",
        why);
    int got;

    if (!st)
        return -1;
    while ((got = db_step(st, why)) == 1) {
        struct store_known *at = realloc(*ret, (*count + 1) * sizeof *at);

        if (!at) {
            got = fault_set(why, FAULT_RETRY, 0, "out of memory");
            break;
        }
        *ret = at;
        if (known_row(s, st, &at[*count], why) != 0) {
            got = -1;
            break;
        }
        ++*count;
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static bool unfinished(const struct store_leg *l)
{
    return l->set.n && l->frontier <= l->set.at[l->set.n - 1].last;
}

/* Replays that are not through: at a sink, or with events of a route. */
static int count_jobs(struct store *s, struct store_known *known, size_t n, struct fault *why)
{
    struct store_job *jobs;
    size_t count;

    if (jobs_load(s->db, &jobs, &count, why) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < count; j++) {
            bool is = false;

            for (size_t l = 0; l < jobs[j].leg_count; l++)
                is = is || (unfinished(&jobs[j].legs[l]) &&
                               (known[i].sink_id ? known[i].sink_id == jobs[j].legs[l].sink_id
                                                 : known[i].route_id == jobs[j].legs[l].route_id));
            known[i].jobs += is;
        }
    for (size_t j = 0; j < count; j++)
        store_job_done(&jobs[j]);
    free(jobs);
    return 0;
}

int store_known(struct store *s, struct store_known **ret, size_t *count, struct fault *why)
{
    int result;

    *ret = NULL;
    *count = 0;
    store_db_lock(s);
    result = load_known(s, ret, count, why);
    if (result == 0)
        result = count_jobs(s, *ret, *count, why);
    store_db_unlock(s);
    if (result != 0) {
        free(*ret);
        *ret = NULL;
        *count = 0;
    }
    return result;
}

static int run_ids(
    struct store *s, const char *sql, uint64_t route_id, uint64_t sink_id, struct fault *why)
{
    struct statement *st = db_prepare(s->db, sql, why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)sink_id);
    return db_run(st, why);
}

static int discard(struct store *s, uint64_t route_id, uint64_t sink_id, struct fault *why)
{
    static const char *const steps[] = {
        ("DELETE FROM held WHERE sink_id IN"
         " (SELECT id FROM sink WHERE route_id = ?1 AND ?2 IN (0, id))"),
        ("DELETE FROM outcome WHERE sink_id IN"
         " (SELECT id FROM sink WHERE route_id = ?1 AND ?2 IN (0, id))"),
        ("DELETE FROM attempt WHERE sink_id IN"
         " (SELECT id FROM sink WHERE route_id = ?1 AND ?2 IN (0, id))"),
        ("DELETE FROM mark WHERE sink_id IN"
         " (SELECT id FROM sink WHERE route_id = ?1 AND ?2 IN (0, id))"),
        "DELETE FROM pause WHERE route_id = ?1 AND ?2 IN (0, sink_id)",
        "DELETE FROM meta WHERE name GLOB 'drain.' || ?1 || '.' || iif(?2 = 0, '*', ?2)",
        "DELETE FROM meta WHERE name GLOB 'gone.' || ?1 || '.' || iif(?2 = 0, '*', ?2)",
        "DELETE FROM sink WHERE route_id = ?1 AND ?2 IN (0, id)",
        "DELETE FROM position WHERE route_id = ?1 AND ?2 = 0",
        "DELETE FROM route WHERE id = ?1 AND ?2 = 0",
    };

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (run_ids(s, steps[i], route_id, sink_id, why) != 0)
            return -1;
    return 0;
}

int store_discard(struct store *s, uint64_t route_id, uint64_t sink_id, struct fault *why)
{
    bool own = !s->changing;

    if (own && store_change_begin(s, why) != 0)
        return -1;
    if (discard(s, route_id, sink_id, why) != 0) {
        if (own)
            store_change_undo(s);
        return -1;
    }
    return own ? store_change_commit(s, why) : 0;
}
