/* Disk bytes an event: a slow route, event by event, by a made-up clock, with the
 * housekeeping of each second.
 *
 *   bench_disk PATH EVENTS-PER-SECOND SECONDS [EVENTS-A-CHUNK [letters|order]]
 *   bench_disk columns letters|order
 *
 * Prints one JSON line: bytes an event of the used pages, of the frames with their filters, and of
 * the bodies; the longest CPU time of one housekeeping step. Needs no fast disk: /dev/shm will do.
 * `columns`: where the bytes of a chunk of 1,000 events go, by compressing each part of the events
 * alone, and all but the bodies' own. */
#include "bridge/digest.h"
#include "store/chunk.h"
#include "store/query.h"
#include "store/store.h"
#include "tests/bench/body.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#define START_MS 1700000000000
#define CHUNK_MAX 1000

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_disk: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void work(struct store *s)
{
    struct fault why;

    store_step(s);
    if (store_collect(s, &why) != 0)
        die("store", why.text);
}

static bool orders;
static uint64_t body_bytes;

static size_t put_body(char to[BODY_ORDER_MAX + 1], uint64_t seq)
{
    size_t n = BODY_BYTES;

    if (orders)
        n = (size_t)body_put_order(to, seq);
    else
        body_put(to, seq);
    body_bytes += n;
    return n;
}

/* Lent until the next call. */
static const struct event *make(uint64_t seq, size_t n, int64_t ms)
{
    static char bodies[CHUNK_MAX][BODY_ORDER_MAX + 1], keys[CHUNK_MAX][32], origins[CHUNK_MAX][32];
    static struct event events[CHUNK_MAX];

    for (size_t i = 0; i < n; i++) {
        size_t bytes = put_body(bodies[i], seq + i);

        (void)body_key(keys[i], seq + i);
        (void)snprintf(origins[i], sizeof origins[i], "in-0-%" PRIu64, seq + i);
        events[i] = (struct event){ .address = bytes_of("in", 2),
            .key = bytes_text(keys[i]),
            .origin = bytes_text(origins[i]),
            .body = bytes_of(bodies[i], bytes),
            .time_ms = ms };
    }
    return events;
}

static void append(struct store *s, uint64_t route_id, uint64_t seq, size_t n, int64_t ms)
{
    struct fault why;
    struct block *b;

    if (block_open(route_id, seq, ms, make(seq, n, ms), n, &b, &why) != 0)
        die("block", why.text);
    store_append(s, b);
    block_unref(b);
    if (!store_submit(s, ms))
        die("submit", "busy");
    work(s);
}

static void report(struct store *s, uint64_t events, int64_t longest_us)
{
    struct query_spec spec = { .kind = QUERY_STATS, .limit = 10 };
    struct query_answer a;
    struct store_usage usage;
    int64_t chunks = 0, frames = 0;

    store_query(s, 1, &spec);
    work(s);
    if (!store_query_next(s, &a) || a.failed)
        die("stats", a.why.text);
    for (size_t c = 0; c < a.rows.column_count; c++) {
        chunks = strcmp(a.rows.columns[c], "chunks") == 0 ? a.rows.cells[c].i : chunks;
        frames = strcmp(a.rows.columns[c], "bytes") == 0 ? a.rows.cells[c].i : frames;
    }
    query_answer_done(&a);
    store_usage(s, &usage);
    (void)printf("{\"events\": %llu, \"chunks\": %lld, \"frame_bytes\": %.1f, \"disk_bytes\": %.1f,"
                 " \"body_bytes\": %.1f, \"disk_of_body\": %.3f, \"longest_step_us\": %lld}\n",
        (unsigned long long)events, (long long)chunks, (double)frames / (double)events,
        (double)(usage.used_bytes - usage.wal_bytes) / (double)events,
        (double)body_bytes / (double)events,
        (double)(usage.used_bytes - usage.wal_bytes) / (double)body_bytes, (long long)longest_us);
}

/* ---- where the bytes go ---- */

static void column(const char *name, const struct buf *raw)
{
    struct block b = { .count = CHUNK_MAX, .data = raw->at, .bytes = raw->n };
    ZSTD_CCtx *z = ZSTD_createCCtx();
    struct buf frame;
    struct fault why;

    buf_init(&frame, CHUNK_BYTES_MAX);
    if (!z || raw->failed || chunk_frame(z, &b, (struct chunk_dictionary){ 0 }, &frame, &why) != 0)
        die(name, "out of memory");
    (void)printf("\"%s\": [%.1f, %.1f]%s", name, (double)raw->n / CHUNK_MAX,
        (double)frame.n / CHUNK_MAX, strcmp(name, "all") == 0 ? "}\n" : ", ");
    (void)ZSTD_freeCCtx(z);
    buf_done(&frame);
}

/* Each part alone; what stands in the whole more than once (a key is in the body too) costs less
 * there. */
static void columns(void)
{
    enum { BODIES, KEYS, ORIGINS, REST, ALL, COLUMNS };
    static const char *const names[] = { "bodies", "keys", "origins", "rest", "all" };
    const struct event *events = make(1, CHUNK_MAX, START_MS);
    struct buf raw[COLUMNS];

    for (int i = 0; i < COLUMNS; i++)
        buf_init(&raw[i], CHUNK_BYTES_MAX);
    for (size_t i = 0; i < CHUNK_MAX; i++) {
        const struct event *e = &events[i];
        uint8_t whole[2 * BODY_ORDER_MAX];
        size_t n = chunk_event_put(whole, e, 0);

        buf_put(&raw[BODIES], e->body.at, e->body.n);
        buf_put(&raw[KEYS], e->key.at, e->key.n);
        buf_put(&raw[ORIGINS], e->origin.at, e->origin.n);
        buf_put(&raw[REST], whole, n - e->body.n - e->key.n - e->origin.n);
        buf_put(&raw[ALL], whole, n);
    }
    (void)printf("{");
    for (int i = 0; i < COLUMNS; i++) {
        column(names[i], &raw[i]);
        buf_done(&raw[i]);
    }
}

int main(int argc, char **argv)
{
    double rate = argc > 3 ? strtod(argv[2], NULL) : 0;
    uint64_t seconds = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, seq = 1;
    size_t chunk = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
    struct store_spec spec = {
        .path = argv[1], .inline_io = true, .seed = 1, .digest = digest_sha256
    };
    struct store_route route;
    struct store *s;
    struct fault why;
    int64_t longest = 0;

    orders = (argc == 3 || argc > 5) && strcmp(argv[argc - 1], "order") == 0;
    if (argc == 3 && strcmp(argv[1], "columns") == 0) {
        columns();
        return 0;
    }
    if (argc < 4 || rate <= 0 || chunk < 1 || chunk > CHUNK_MAX ||
        (argc > 5 && !orders && strcmp(argv[5], "letters") != 0))
        die("usage", "PATH EVENTS-PER-SECOND SECONDS [EVENTS-A-CHUNK [letters|order]]");
    if (store_open(&spec, START_MS, &s, &why) != 0 ||
        store_route_open(s, "slow", NULL, &route, &why) != 0)
        die("store", why.text);
    for (uint64_t at = 0; at < seconds; at++) {
        int64_t ms = START_MS + (int64_t)at * 1000, begun;

        for (; (double)(seq - 1) < rate * (double)(at + 1); seq += chunk)
            append(s, route.id, seq, chunk, ms);
        begun = now_us();
        store_housekeep(s, ms, true);
        work(s);
        if (now_us() - begun > longest)
            longest = now_us() - begun;
    }
    /* What is young is not joined yet; an hour later all is that can be. */
    for (int i = 0; i < 100; i++) {
        store_housekeep(s, START_MS + (int64_t)seconds * 1000 + 3600000 + i, true);
        work(s);
    }
    report(s, seq - 1, longest);
    store_free(s, true);
    return 0;
}
