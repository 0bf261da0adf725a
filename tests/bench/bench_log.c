/* The log alone: what the store makes of chunks of events, against a bare SQLite loop that inserts
 * the same bytes as zstd chunk rows with the same pragmas.
 *
 *   bench_log store|bare DIRECTORY EVENTS CHUNK GROUP
 *   bench_log check-store|check-bare DIRECTORY EVENTS
 *
 * GROUP chunks of CHUNK events make one transaction of the bare loop; the store is given as many at
 * most while a transaction is in progress. Prints one JSON line. The check reads a log back and
 * compares each event. */
#include "bridge/digest.h"
#include "store/chunk.h"
#include "store/store.h"
#include "tests/bench/body.h"

#include <poll.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <zstd.h>

/* Made once, given again and again: making them is not what is measured. */
#define DISTINCT 65536
#define CHUNK_BYTES                                                                                \
    ((size_t)16 << 20) /* decoded, read at once: above the largest chunk that is made */

struct texts {
    char body[BODY_BYTES + 1], key[32], origin[32];
};

static struct texts *texts;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_log: %s: %s\n", what, why);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_texts(void)
{
    texts = calloc(DISTINCT, sizeof *texts);
    if (!texts)
        die("events", "out of memory");
    for (uint64_t i = 0; i < DISTINCT; i++) {
        body_put(texts[i].body, i);
        (void)body_key(texts[i].key, i);
        (void)snprintf(texts[i].origin, sizeof texts[i].origin, "in-0-%llu", (unsigned long long)i);
    }
}

static void fill(struct event *e, uint64_t number)
{
    const struct texts *t = &texts[number % DISTINCT];

    *e = (struct event){
        .address = bytes_of("in", 2),
        .key = bytes_text(t->key),
        .origin = bytes_text(t->origin),
        .body = bytes_of(t->body, BODY_BYTES),
        .time_ms = 1700000000000 + (int64_t)number / 1000,
    };
}

/* ---- the store ---- */

static void wait_for(struct store *s)
{
    struct pollfd p = { .fd = store_pollfd(s), .events = POLLIN };
    struct fault why;

    (void)poll(&p, 1, 1000);
    if (store_collect(s, &why) != 0)
        die("store", why.text);
}

static struct store *store_start(const char *directory, struct store_route *route)
{
    char path[4200];
    struct store_spec spec = {
        .path = path, .max_size = (int64_t)1 << 40, .readers = 2, .seed = 1, .digest = digest_sha256
    };
    struct store *s;
    struct fault why;

    (void)snprintf(path, sizeof path, "%s/log.db", directory);
    if (store_open(&spec, 1, &s, &why) != 0 || store_route_open(s, "bench", NULL, route, &why) != 0)
        die("store", why.text);
    return s;
}

static void run_store(const char *directory, uint64_t events, size_t chunk, size_t group)
{
    struct store_route route;
    struct store *s = store_start(directory, &route);
    struct event *list = calloc(chunk, sizeof *list);
    uint64_t seq = route.next_seq, end = seq + events;
    size_t filled = 0;
    struct fault why;

    if (!list)
        die("events", "out of memory");
    while (seq < end) {
        size_t n = end - seq < chunk ? (size_t)(end - seq) : chunk;
        struct block *b;

        for (size_t i = 0; i < n; i++)
            fill(&list[i], seq + i);
        if (block_open(route.id, seq, 1, list, n, &b, &why) != 0)
            die("block", why.text);
        store_append(s, b);
        block_unref(b);
        seq += n;
        if (++filled < group)
            continue;
        while (store_busy(s))
            wait_for(s);
        (void)store_submit(s, 1);
        filled = 0;
    }
    while (store_busy(s))
        wait_for(s);
    (void)store_submit(s, 1);
    while (store_busy(s))
        wait_for(s);
    free(list);
    store_free(s, true); /* copies the WAL into the database, as closing the bare one does */
}

/* ---- the bare loop ---- */

static void sql(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        die(text, sqlite3_errmsg(db));
}

static sqlite3 *bare_open(const char *directory)
{
    char path[4200];
    sqlite3 *db;

    (void)snprintf(path, sizeof path, "%s/bare.db", directory);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path, sqlite3_errmsg(db));
    sql(db, "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;"
            "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2048; PRAGMA cache_size=-8192;"
            "CREATE TABLE IF NOT EXISTS chunk (id INTEGER PRIMARY KEY, count INTEGER, raw INTEGER, "
            "frame BLOB)");
    return db;
}

static size_t bare_encode(uint8_t *to, uint64_t first, size_t n)
{
    uint8_t *at = to;

    for (size_t i = 0; i < n; i++) {
        struct event e;

        fill(&e, first + i);
        at += chunk_event_put(at, &e, 0);
    }
    return (size_t)(at - to);
}

static void run_bare(const char *directory, uint64_t events, size_t chunk, size_t group)
{
    sqlite3 *db = bare_open(directory);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    size_t bound = ZSTD_compressBound(chunk * 512), grouped = 0;
    uint8_t *raw = malloc(chunk * 512), *frame = malloc(bound);
    sqlite3_stmt *insert;

    if (!z || !raw || !frame ||
        sqlite3_prepare_v2(db, "INSERT INTO chunk VALUES (?1, ?2, ?3, ?4)", -1, &insert, NULL) != 0)
        die("bare", "out of memory");
    (void)ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 1);
    (void)ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    for (uint64_t seq = 0; seq < events; seq += chunk) {
        size_t n = events - seq < chunk ? (size_t)(events - seq) : chunk;
        size_t bytes = bare_encode(raw, seq, n),
               framed = ZSTD_compress2(z, frame, bound, raw, bytes);

        if (grouped == 0)
            sql(db, "BEGIN IMMEDIATE");
        (void)sqlite3_bind_int64(insert, 1, (sqlite3_int64)seq + 1);
        (void)sqlite3_bind_int64(insert, 2, (sqlite3_int64)n);
        (void)sqlite3_bind_int64(insert, 3, (sqlite3_int64)bytes);
        (void)sqlite3_bind_blob64(insert, 4, frame, framed, SQLITE_STATIC);
        if (sqlite3_step(insert) != SQLITE_DONE)
            die("insert", sqlite3_errmsg(db));
        (void)sqlite3_reset(insert);
        if (++grouped == group || seq + n >= events) {
            sql(db, "COMMIT");
            grouped = 0;
        }
    }
    (void)sqlite3_finalize(insert);
    (void)sqlite3_close(db);
    (void)ZSTD_freeCCtx(z);
    free(raw);
    free(frame);
}

/* ---- what stands in them then ---- */

static uint64_t same(const struct event *e, uint64_t number)
{
    struct event want;

    fill(&want, number);
    return bytes_equal(e->body, want.body) && bytes_equal(e->key, want.key) &&
           bytes_equal(e->origin, want.origin) && bytes_equal(e->address, want.address);
}

static uint64_t check_store(const char *directory)
{
    struct store_route route;
    struct store *s = store_start(directory, &route);
    uint64_t first = 1, found = 0;
    struct store_read r;

    for (uint64_t seq = first; seq < route.next_seq;) {
        uint64_t from = seq;

        if (store_read_blocks(s, 1, route.id, seq, CHUNK_BYTES, false) != 0)
            die("read", "out of memory");
        while (!store_read_next(s, &r))
            wait_for(s);
        if (r.failed)
            die("read", r.why.text);
        for (size_t k = 0; k < r.count; k++)
            for (uint32_t i = 0; i < r.blocks[k]->count; i++, seq++) {
                struct event e;

                block_event(r.blocks[k], i, &e);
                found += same(&e, seq);
            }
        store_read_done(&r);
        if (seq == from)
            die("read", "a hole");
    }
    store_free(s, true);
    return found;
}

static uint64_t check_bare(const char *directory)
{
    sqlite3 *db = bare_open(directory);
    uint8_t *raw = malloc(CHUNK_BYTES);
    uint64_t found = 0;
    sqlite3_stmt *rows = NULL;

    if (!raw || sqlite3_prepare_v2(db, "SELECT id, raw, frame FROM chunk ORDER BY id", -1, &rows,
                    NULL) != SQLITE_OK)
        die("check", "out of memory");
    while (sqlite3_step(rows) == SQLITE_ROW) {
        uint64_t number = (uint64_t)sqlite3_column_int64(rows, 0) - 1;
        size_t bytes = ZSTD_decompress(
            raw, CHUNK_BYTES, sqlite3_column_blob(rows, 2), (size_t)sqlite3_column_bytes(rows, 2));
        struct bytes left = bytes_of(raw, bytes);
        struct event e;

        if (ZSTD_isError(bytes))
            die("check", ZSTD_getErrorName(bytes));
        for (; left.n && chunk_event_get(&left, &e) == 0; number++)
            found += same(&e, number);
    }
    (void)sqlite3_finalize(rows);
    (void)sqlite3_close(db);
    free(raw);
    return found;
}

static int check(const char *which, const char *directory, uint64_t events)
{
    uint64_t found;

    make_texts();
    found = strcmp(which, "check-store") == 0 ? check_store(directory) : check_bare(directory);
    free(texts);
    (void)printf("{\"events\":%llu,\"missing\":%lld}\n", (unsigned long long)events,
        (long long)(events - found));
    return 0;
}

int main(int n, char **args)
{
    double began, took, cpu;
    struct rusage usage;
    uint64_t events;
    size_t chunk, group;

    if (n == 4 && strncmp(args[1], "check-", 6) == 0)
        return check(args[1], args[2], strtoull(args[3], NULL, 10));
    if (n != 6)
        die("usage", "bench_log store|bare DIRECTORY EVENTS CHUNK GROUP");
    events = strtoull(args[3], NULL, 10);
    chunk = strtoull(args[4], NULL, 10);
    group = strtoull(args[5], NULL, 10);
    if (!events || !chunk || chunk > BLOCK_EVENTS_MAX || !group)
        die("usage", "numbers above 0");
    make_texts();
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    began = seconds(CLOCK_MONOTONIC);
    (strcmp(args[1], "store") == 0 ? run_store : run_bare)(args[2], events, chunk, group);
    took = seconds(CLOCK_MONOTONIC) - began;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf(
        "{\"events\":%llu,\"seconds\":%.4f,\"rate\":%.0f,\"cpu_us\":%.3f,\"peak_kib\":%ld}\n",
        (unsigned long long)events, took, (double)events / took, cpu * 1e6 / (double)events,
        usage.ru_maxrss);
    free(texts);
    return 0;
}
