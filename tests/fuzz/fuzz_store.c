/* A store's file with any of its bytes changed: it is asked, opened, read, checked and salvaged,
 * or refused, and nothing else. The input is a list of changes, five bytes each: where (three
 * bytes), how (what to add to the byte there), how many bytes from there on. */
#include "bridge/digest.h"
#include "store/query.h"
#include "store/store.h"
#include "tests/fuzz/aid.h"
#include "tests/sim/rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHANGE_BYTES 5
#define STEPS_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint8_t *whole;
static size_t whole_bytes;

/* A store with a bit of everything. */
static void make_store(void)
{
    static struct rig g;
    struct relay_dead dead;
    char text[2][64];
    struct fault why;

    rig_init(&g, 1, 2);
    g.world.sinks[0].refuse_every = 5;
    g.world.sinks[1].unroutable = 100;
    rig_start(&g);
    world_publish(&g.world, 300);
    for (int i = 0; i < 40; i++)
        rig_turn(&g, false);
    if (rig_dead(&g, 0, text, &dead))
        (void)relay_dead_retry(g.relay, &dead, g.unix_ms, &why);
    for (int i = 0; i < 10; i++)
        rig_turn(&g, false);
    rig_stop(&g);
    rig_done(&g);
}

static void load_store(void)
{
    FILE *f;

    aid_enter_directory();
    make_store();
    f = fopen("store.db", "r");
    whole = malloc(8 << 20);
    if (!f || !whole)
        abort();
    whole_bytes = fread(whole, 1, 8 << 20, f);
    (void)fclose(f);
    if (whole_bytes == 0)
        abort();
}

static void say_nothing(void *arg, int level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void each_held(void *arg, const struct held *h, size_t bytes)
{
    (void)arg, (void)h, (void)bytes;
}

static void read_log(struct store *s, uint64_t route_id)
{
    struct store_read read;
    struct fault why;

    if (store_read_blocks(s, 1, route_id, 1, 1 << 20, true) != 0)
        return;
    for (int i = 0; i < STEPS_MAX; i++) {
        store_step(s);
        if (store_collect(s, &why) != 0)
            return;
        if (store_read_next(s, &read)) {
            store_read_done(&read);
            return;
        }
    }
    abort(); /* every question has an answer */
}

/* What people ask of a store, of the file itself. */
static void ask_store(void)
{
    for (enum query_kind kind = QUERY_DEAD; kind <= QUERY_PLAN; kind++) {
        struct query_spec spec = { .kind = kind,
            .where = { .route = "orders" },
            .number = kind == QUERY_DEAD_SHOW,
            .all = true,
            .digest = digest_sha256,
            .limit = 1000,
            .deadline_ms = 60000 };
        struct query_answer a;
        struct fault why;

        if (kind == QUERY_TRACE || kind == QUERY_ATTEMPTS)
            spec.where.first_seq = spec.where.last_seq = 4;
        if (store_query_file("fuzzed.db", &spec, &a, &why) == 0)
            query_answer_done(&a);
    }
}

static void use_store(void)
{
    struct store_spec spec = { .path = "fuzzed.db",
        .max_size = 1 << 26,
        .readers = 2,
        .inline_io = true,
        .seed = 1,
        .digest = digest_sha256 };
    struct store_position *positions;
    struct store_job *jobs;
    struct store_route route;
    struct store_sink sink = { 0 };
    struct fault why;
    struct store *s;
    size_t count;

    if (store_open(&spec, 1700000000000, &s, &why) != 0)
        return;
    if (store_route_open(s, "orders", NULL, &route, &why) == 0 &&
        store_sink_open(s, route.id, "one", NULL, STORE_BEGIN_OLDEST, 0, &sink, &why) == 0) {
        (void)store_held_load(s, sink.id, each_held, NULL, &why);
        if (store_positions(s, route.id, "world", &positions, &count, &why) == 0)
            store_positions_free(positions, count);
        read_log(s, route.id);
    }
    if (store_jobs_load(s, &jobs, &count, &why) == 0) {
        for (size_t i = 0; i < count; i++)
            store_job_done(&jobs[i]);
        free(jobs);
    }
    store_housekeep(s, 1700000100000, true);
    store_step(s);
    ranges_done(&sink.above);
    store_free(s, true);
}

static void forget(const char *name)
{
    static const char *const ends[] = { "", "-wal", "-shm", ".lock", ".reserve" };
    char path[64];

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        (void)snprintf(path, sizeof path, "%s%s", name, ends[i]);
        (void)unlink(path);
    }
}

static void write_changed(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(whole_bytes);
    int fd = open("fuzzed.db", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (!copy || fd < 0)
        abort();
    memcpy(copy, whole, whole_bytes);
    for (; n >= CHANGE_BYTES; n -= CHANGE_BYTES, data += CHANGE_BYTES) {
        size_t at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % whole_bytes;

        for (size_t i = at; i <= at + data[4] && i < whole_bytes; i++)
            copy[i] = (uint8_t)(copy[i] + data[3]);
    }
    /* What is left over cuts the file. */
    if (write(fd, copy, n ? whole_bytes * data[0] / 256 : whole_bytes) < 0)
        abort();
    (void)close(fd);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fault why;

    if (!whole)
        load_store();
    forget("fuzzed.db");
    forget("saved.db");
    write_changed(data, n);
    (void)store_check_file("fuzzed.db", say_nothing, NULL, &why);
    (void)store_salvage_file("fuzzed.db", "saved.db", digest_sha256, say_nothing, NULL, &why);
    ask_store();
    use_store();
    return 0;
}
