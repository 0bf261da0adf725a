#include "store/audit.h"

#include "store/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#define ROW_BYTES_MAX (64u << 20)
#define DOMAIN "bascule audit 1" /* with its NUL */
#define ANCHOR_BYTES (8 + STORE_DIGEST_BYTES)

/* A place in the chain. */
struct link {
    int64_t id;
    uint8_t hash[STORE_DIGEST_BYTES];
};

static void put_text(struct buf *to, struct bytes text)
{
    buf_put_byte(to, bytes_present(text));
    if (!bytes_present(text))
        return;
    buf_put_u32(to, (uint32_t)text.n);
    buf_put_bytes(to, text);
}

/* Of the row in columns 0-7 of `st`: id, time_ms, uid, pid, what, object, detail, result. */
static int hash_row(struct statement *st, store_digest *digest, const uint8_t *before, uint8_t *ret,
    struct fault *why)
{
    struct buf b;
    int result;

    buf_init(&b, ROW_BYTES_MAX);
    buf_put(&b, DOMAIN, sizeof DOMAIN);
    buf_put(&b, before, STORE_DIGEST_BYTES);
    for (int c = 0; c < 4; c++)
        buf_put_u64(&b, (uint64_t)db_int(st, c));
    for (int c = 4; c < 8; c++)
        put_text(&b, db_bytes(st, c));
    result = b.failed ? -1 : digest(buf_bytes(&b), ret);
    buf_done(&b);
    return result == 0 ? 0
                       : fault_set(why, FAULT_RETRY, 0, "store: no memory to hash an audit row");
}

static const char rows_sql[] =
    "SELECT id, time_ms, uid, pid, what, object, detail, result, hash FROM audit"
    " WHERE id >= ?1 ORDER BY id";

/* ---- the anchor ---- */

/* One that is damaged reads as none: then the oldest row does not follow from it, which shows. */
static int anchor_read(struct db *d, struct link *ret, struct fault *why)
{
    struct statement *st = db_prepare(d, "SELECT value FROM meta WHERE name = 'audit_anchor'", why);
    struct bytes value;
    uint64_t id = 0;
    int got;

    *ret = (struct link){ 0 };
    if (!st)
        return -1;
    got = db_step(st, why);
    value = got == 1 ? db_bytes(st, 0) : BYTES_NONE;
    if (value.n == ANCHOR_BYTES && bytes_get_u64(&value, &id) == 0) {
        ret->id = (int64_t)id;
        memcpy(ret->hash, value.at, sizeof ret->hash);
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static int anchor_put(struct db *d, const struct link *at, struct fault *why)
{
    struct statement *st =
        db_prepare(d, "INSERT OR REPLACE INTO meta (name, value) VALUES ('audit_anchor', ?1)", why);
    struct buf value;
    int result;

    if (!st)
        return -1;
    buf_init(&value, ANCHOR_BYTES);
    buf_put_u64(&value, (uint64_t)at->id);
    buf_put(&value, at->hash, sizeof at->hash);
    db_bind_bytes(st, 1, buf_bytes(&value));
    result = value.failed ? fault_set(why, FAULT_RETRY, 0, "out of memory") : db_run(st, why);
    buf_done(&value);
    return result;
}

/* ---- writing ---- */

static int hash_put(struct db *d, const struct link *at, struct fault *why)
{
    struct statement *st = db_prepare(d, "UPDATE audit SET hash = ?2 WHERE id = ?1", why);

    if (!st)
        return -1;
    db_bind_int(st, 1, at->id);
    db_bind_bytes(st, 2, bytes_of(at->hash, sizeof at->hash));
    return db_run(st, why);
}

/* What the next row follows. */
static int last_read(struct db *d, struct link *ret, struct fault *why)
{
    struct statement *st =
        db_prepare(d, "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1", why);
    int got;

    *ret = (struct link){ 0 };
    if (!st)
        return -1;
    got = db_step(st, why);
    if (got == 1) {
        struct bytes hash = db_bytes(st, 1);

        ret->id = db_int(st, 0);
        if (hash.n == sizeof ret->hash)
            memcpy(ret->hash, hash.at, hash.n);
    }
    db_reset(st);
    return got < 0 ? -1 : got == 1 ? 0 : anchor_read(d, ret, why);
}

/* Hashes the rows from `first` on, the oldest of which follows `before`. */
static int hash_from(
    struct db *d, store_digest *digest, int64_t first, const struct link *before, struct fault *why)
{
    struct statement *st = db_prepare(d, rows_sql, why);
    struct link at = *before;
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, first);
    while ((got = db_step(st, why)) == 1) {
        uint8_t hash[STORE_DIGEST_BYTES];

        if ((got = hash_row(st, digest, at.hash, hash, why)) != 0)
            break;
        at.id = db_int(st, 0);
        memcpy(at.hash, hash, sizeof hash);
        if ((got = hash_put(d, &at, why)) != 0)
            break;
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

int audit_append(struct db *d, store_digest *digest, const struct audit_entry *e, struct fault *why)
{
    struct statement *st;
    struct link before;

    if (last_read(d, &before, why) != 0)
        return -1;
    st = db_prepare(d,
        "INSERT INTO audit (time_ms, uid, pid, what, object, detail, result)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        why);
    if (!st)
        return -1;
    db_bind_int(st, 1, e->unix_ms);
    db_bind_int(st, 2, e->uid);
    db_bind_int(st, 3, e->pid);
    db_bind_text(st, 4, e->what);
    db_bind_text(st, 5, e->object);
    db_bind_text(st, 6, e->detail);
    db_bind_text(st, 7, e->result);
    if (db_run(st, why) != 0)
        return -1;
    /* Read back: the hash is over what the row holds, not over what was meant. */
    return hash_from(d, digest, db_last_id(d), &before, why);
}

int audit_begin(struct db *d, store_digest *digest, struct fault *why)
{
    struct link anchor = { 0 };

    /* Where all rows are gone for their age, numbers go on all the same. */
    if (db_read_int(d,
            "SELECT coalesce((SELECT min(id) - 1 FROM audit),"
            " (SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)",
            &anchor.id, why) != 0)
        return -1;
    return anchor_put(d, &anchor, why) != 0 ? -1 : hash_from(d, digest, 0, &anchor, why);
}

static int forget(struct db *d, int64_t last, struct fault *why)
{
    struct statement *st = db_prepare(d, "SELECT hash FROM audit WHERE id = ?1", why);
    struct link anchor = { .id = last };
    struct bytes hash;
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, last);
    got = db_step(st, why);
    hash = got == 1 ? db_bytes(st, 0) : BYTES_NONE;
    if (hash.n == sizeof anchor.hash)
        memcpy(anchor.hash, hash.at, hash.n);
    db_reset(st);
    if (got < 0 || anchor_put(d, &anchor, why) != 0)
        return -1;
    st = db_prepare(d, "DELETE FROM audit WHERE id <= ?1", why);
    if (!st)
        return -1;
    db_bind_int(st, 1, last);
    return db_run(st, why);
}

int audit_forget(struct db *d, int64_t last, struct fault *why)
{
    if (db_exec(d, "BEGIN IMMEDIATE", why) != 0)
        return -1;
    if (forget(d, last, why) == 0 && db_exec(d, "COMMIT", why) == 0)
        return 0;
    (void)db_exec(d, "ROLLBACK", NULL);
    return -1;
}

/* ---- looking ---- */

static const char *const verify_columns[] = { "number", "finding", "rows", "first", "head",
    "expected", NULL };

struct verify {
    const struct query_spec *q;
    struct rows *rows;
    struct link at; /* the row before */
    int64_t first, count, expected;
    size_t findings;
};

static void hex(const uint8_t *hash, char ret[2 * STORE_DIGEST_BYTES + 1])
{
    for (size_t i = 0; i < STORE_DIGEST_BYTES; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", hash[i]);
}

static void find(struct verify *v, int64_t id, const char *text)
{
    if (v->findings++ >= v->q->limit)
        return;
    rows_int(v->rows, id);
    rows_text(v->rows, text);
    for (int i = 0; i < 4; i++)
        rows_null(v->rows);
    (void)rows_end(v->rows);
}

static void find_missing(struct verify *v, int64_t from, int64_t to, const char *where)
{
    char text[200];

    if (from == to)
        (void)snprintf(text, sizeof text, "row %" PRId64 " was removed%s", from, where);
    else
        (void)snprintf(
            text, sizeof text, "rows %" PRId64 " to %" PRId64 " were removed%s", from, to, where);
    find(v, from, text);
}

static void find_changed(struct verify *v, struct statement *st, bool hashed)
{
    char text[400];
    const char *what = db_text(st, 4), *object = db_text(st, 5);

    (void)snprintf(text, sizeof text,
        "row %" PRId64 " (%.40s %.120s by uid %" PRId64 ") was changed, put in or moved: %s",
        db_int(st, 0), what ? what : "", object ? object : "", db_int(st, 2),
        hashed ? "its hash does not follow from the row before it" : "it has no hash");
    find(v, db_int(st, 0), text);
}

static void look_for_expected(struct verify *v)
{
    char now[2 * STORE_DIGEST_BYTES + 1];

    hex(v->at.hash, now);
    if (v->q->text && strcasecmp(v->q->text, now) == 0)
        v->expected = v->at.id;
}

static int verify_row(struct verify *v, struct statement *st, struct fault *why)
{
    struct bytes is = db_bytes(st, 8);
    uint8_t should[STORE_DIGEST_BYTES];
    int64_t id = db_int(st, 0);

    if (id > v->at.id + 1)
        find_missing(v, v->at.id + 1, id - 1, v->count ? "" : " at the beginning");
    else if (hash_row(st, v->q->digest, v->at.hash, should, why) != 0)
        return -1;
    else if (is.n != sizeof should || memcmp(is.at, should, is.n) != 0)
        find_changed(v, st, is.n == sizeof should);
    if (v->count++ == 0)
        v->first = id;
    v->at = (struct link){ .id = id };
    if (is.n == sizeof v->at.hash)
        memcpy(v->at.hash, is.at, is.n);
    look_for_expected(v);
    return 0;
}

static int verify_rows(struct db *d, struct verify *v, struct fault *why)
{
    struct statement *st = db_prepare(d, rows_sql, why);
    int got;

    if (!st)
        return -1;
    db_bind_int(st, 1, INT64_MIN);
    while ((got = db_step(st, why)) == 1)
        if (verify_row(v, st, why) != 0) {
            got = -1;
            break;
        }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static void summary(struct verify *v)
{
    char head[2 * STORE_DIGEST_BYTES + 1];

    hex(v->at.hash, head);
    rows_int(v->rows, v->at.id);
    rows_null(v->rows);
    rows_int(v->rows, v->count);
    rows_int(v->rows, v->first);
    rows_text(v->rows, head);
    if (v->expected >= 0)
        rows_int(v->rows, v->expected);
    else
        rows_null(v->rows);
    (void)rows_end(v->rows);
}

/* Within one transaction of reading: rows come in meanwhile. */
static int verify(struct db *d, struct verify *v, struct fault *why)
{
    int64_t last = 0, version = 0;

    if (db_read_int(d, "PRAGMA user_version", &version, why) != 0)
        return -1;
    if (version < 3)
        return fault_set(why, FAULT_INPUT, 0,
            "the store has schema version %" PRId64
            ", in which audit rows have no hashes; the upgrade makes them",
            version);
    if (anchor_read(d, &v->at, why) != 0)
        return -1;
    look_for_expected(v);
    if (verify_rows(d, v, why) != 0 ||
        db_read_int(d, "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)",
            &last, why) != 0)
        return -1;
    if (last > v->at.id)
        find_missing(v, v->at.id + 1, last, " at the end");
    if (v->q->text && v->expected < 0)
        find(v, 0, "no row has the expected hash: what was up to it is gone or was made anew");
    summary(v);
    return 0;
}

int audit_verify(struct db *d, const struct query_spec *q, struct rows *rows, struct fault *why)
{
    struct verify v = { .q = q, .rows = rows, .expected = -1 };
    int result;

    rows_init(rows, verify_columns);
    if (db_exec(d, "BEGIN", why) != 0)
        return -1;
    result = verify(d, &v, why);
    (void)db_exec(d, "ROLLBACK", NULL); /* it only read */
    return result;
}
