/* What drains: rows of `meta`, "drain.ROUTE.SINK" where a person asked for it, "gone.ROUTE.SINK"
 * with the end and the YAML of what is gone from the files. */
#include "store/inside.h"

#include <stdio.h>
#include <stdlib.h>

int drain_apply(
    struct store *s, uint64_t route_id, uint64_t sink_id, bool drains, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        drains ? "INSERT OR REPLACE INTO meta (name, value) VALUES ('drain.' || ?1 || '.' || ?2, 1)"
               : "DELETE FROM meta WHERE name = 'drain.' || ?1 || '.' || ?2",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)sink_id);
    return db_run(st, why);
}

static int put_gone(struct store *s, uint64_t route_id, uint64_t sink_id, uint64_t end_seq,
    const char *text, struct fault *why)
{
    struct statement *st = db_prepare(s->db,
        text ? "INSERT OR REPLACE INTO meta (name, value)"
               " VALUES ('gone.' || ?1 || '.' || ?2, ?3 || ' ' || ?4)"
             : "DELETE FROM meta WHERE name = 'gone.' || ?1 || '.' || ?2",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)sink_id);
    if (text) {
        db_bind_int(st, 3, (int64_t)end_seq);
        db_bind_text(st, 4, text);
    }
    return db_run(st, why);
}

int store_gone_put(struct store *s, uint64_t route_id, uint64_t sink_id, uint64_t end_seq,
    const char *text, struct fault *why)
{
    bool own = !s->changing;

    if (own && store_change_begin(s, why) != 0)
        return -1;
    if (put_gone(s, route_id, sink_id, end_seq, text, why) != 0) {
        if (own)
            store_change_undo(s);
        return -1;
    }
    return own ? store_change_commit(s, why) : 0;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static int get(struct statement *st, struct store_drain *d)
{
    const char *sink = db_text(st, 3), *value = db_text(st, 4);
    char *end = NULL;

    *d = (struct store_drain){
        .route_id = (uint64_t)db_int(st, 0),
        .sink_id = (uint64_t)db_int(st, 1),
        .route = copy(db_text(st, 2)),
        .sink = copy(sink),
    };
    if (value) {
        d->end_seq = strtoull(value, &end, 10);
        d->text = copy(*end == ' ' ? end + 1 : end);
    }
    return d->route && (!sink || d->sink) && (!value || d->text) ? 0 : -1;
}

int store_drains(struct store *s, struct store_drain **ret, size_t *count, struct fault *why)
{
    static const char sql[] =
        "WITH part (route_id, sink_id, route, sink) AS (SELECT id, 0, name, NULL FROM route"
        " UNION ALL SELECT r.id, k.id, r.name, k.name FROM sink k JOIN route r ON r.id = "
        "k.route_id)"
        " SELECT route_id, sink_id, route, sink, NULL FROM part"
        " WHERE EXISTS (SELECT 1 FROM meta WHERE name = 'drain.' || route_id || '.' || sink_id)"
        " UNION ALL SELECT route_id, sink_id, route, sink, value FROM part"
        " JOIN meta ON meta.name = 'gone.' || route_id || '.' || sink_id ORDER BY 1, 2";
    struct statement *st;
    int got = -1;

    *ret = NULL;
    *count = 0;
    store_db_lock(s);
    st = db_prepare(s->db, sql, why);
    while (st && (got = db_step(st, why)) == 1) {
        struct store_drain *at = realloc(*ret, (*count + 1) * sizeof *at);

        if (at)
            *ret = at;
        if (!at || get(st, &at[(*count)++]) != 0) {
            got = fault_set(why, FAULT_RETRY, 0, "out of memory");
            break;
        }
    }
    if (st)
        db_reset(st);
    store_db_unlock(s);
    if (got >= 0)
        return 0;
    store_drains_free(*ret, *count);
    *ret = NULL;
    *count = 0;
    return -1;
}

void store_drains_free(struct store_drain *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(at[i].route);
        free(at[i].sink);
        free(at[i].text);
    }
    free(at);
}
