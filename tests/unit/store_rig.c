#include "tests/unit/store_rig.h"

#include "bridge/base/random.h"

#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

int store_rig_try(struct store_spec spec, struct store **ret, struct fault *why)
{
    if (!spec.path)
        spec.path = RIG_STORE;
    if (!spec.max_size)
        spec.max_size = 1 << 30;
    spec.readers = 2;
    spec.seed = 42;
    spec.digest = digest_sha256;
    return store_open(&spec, RIG_TIME, ret, why);
}

struct store *store_rig_open_with(struct store_spec spec)
{
    struct store *s = NULL;
    struct fault why = { 0 };

    if (store_rig_try(spec, &s, &why) != 0)
        harness_fail(__FILE__, __LINE__, "store_open: %s", why.text);
    return s;
}

struct store *store_rig_open(void)
{
    return store_rig_open_with((struct store_spec){ .inline_io = true });
}

static void fill_body(uint8_t *at, size_t n, uint64_t seq, bool hard)
{
    struct random random = { seq };

    for (size_t i = 0; i < n; i++)
        at[i] = hard ? (uint8_t)random_next(&random) : (uint8_t)('a' + seq % 26);
}

void store_rig_append(struct store *s, uint64_t route_id, uint64_t *next, size_t count,
    int64_t received_ms, size_t body, bool hard)
{
    struct event *events = calloc(count, sizeof *events);
    char(*names)[2][32] = calloc(count, sizeof *names);
    uint8_t *bodies = malloc(count * body + 1);
    struct fault why = { 0 };
    struct block *b = NULL;

    for (size_t i = 0; i < count; i++) {
        uint64_t seq = *next + i;

        (void)snprintf(names[i][0], 32, "e-%llu", (unsigned long long)seq);
        (void)snprintf(names[i][1], 32, "k-%llu", (unsigned long long)(seq % 7));
        fill_body(bodies + i * body, body, seq, hard);
        events[i] = (struct event){ .address = bytes_text("orders.new"),
            .id = bytes_text(names[i][0]),
            .key = bytes_text(names[i][1]),
            .origin = bytes_text("tag"),
            .body = bytes_of(bodies + i * body, body),
            .time_ms = received_ms - 5 };
    }
    if (block_open(route_id, *next, received_ms, events, count, &b, &why) != 0)
        harness_fail(__FILE__, __LINE__, "block_open: %s", why.text);
    store_append(s, b);
    block_unref(b);
    *next += count;
    free(bodies);
    free(names);
    free(events);
}

void store_rig_until(struct store *s, bool (*done)(struct store *s, void *arg), void *arg)
{
    for (int i = 0; i < 100000; i++) {
        struct fault why = { 0 };
        struct pollfd p = { .fd = store_pollfd(s), .events = POLLIN };

        if (p.fd < 0)
            store_step(s);
        if (store_collect(s, &why) != 0)
            harness_fail(__FILE__, __LINE__, "store_collect: %s", why.text);
        if (done(s, arg))
            return;
        if (p.fd >= 0)
            (void)poll(&p, 1, 50);
    }
    harness_fail(__FILE__, __LINE__, "the store never came to it");
}

static bool is_committed(struct store *s, void *arg)
{
    return store_committed(s) >= *(const uint64_t *)arg && !store_busy(s);
}

void store_rig_commit(struct store *s, int64_t unix_ms)
{
    uint64_t number = store_filling(s);

    CHECK(!store_empty(s));
    CHECK(store_submit(s, unix_ms));
    store_rig_until(s, is_committed, &number);
}

static bool take_read(struct store *s, void *arg)
{
    return store_read_next(s, arg);
}

void store_rig_read(struct store *s, struct store_read *ret)
{
    store_rig_until(s, take_read, ret);
}

static bool take_query(struct store *s, void *arg)
{
    return store_query_next(s, arg);
}

void store_rig_query(struct store *s, const struct query_spec *spec, struct query_answer *ret)
{
    CHECK_INT(store_query(s, 1, spec), 0);
    store_rig_until(s, take_query, ret);
    if (ret->failed)
        harness_fail(__FILE__, __LINE__, "query: %s", ret->why.text);
}

static void check_event(const struct event *e, uint64_t seq)
{
    char id[32];

    (void)snprintf(id, sizeof id, "e-%llu", (unsigned long long)seq);
    CHECK_INT(e->seq, seq);
    CHECK(bytes_equal(e->id, bytes_text(id)));
    (void)snprintf(id, sizeof id, "k-%llu", (unsigned long long)(seq % 7));
    CHECK(bytes_equal(e->key, bytes_text(id)));
    CHECK_INT(e->time_ms, e->received_ms - 5);
}

uint64_t store_rig_check_log(struct store *s, uint64_t route_id, uint64_t first)
{
    for (;;) {
        struct store_read r;
        uint64_t began = first;

        CHECK_INT(store_read_blocks(s, 9, route_id, first, 1 << 20, true), 0);
        store_rig_read(s, &r);
        if (r.failed)
            harness_fail(__FILE__, __LINE__, "read: %s", r.why.text);
        CHECK_INT(r.tag, 9);
        for (size_t i = 0; i < r.count; i++) {
            const struct block *b = r.blocks[i];

            CHECK(b->first_seq <= first);
            for (uint32_t k = (uint32_t)(first - b->first_seq); k < b->count; k++, first++) {
                struct event e;

                block_event(b, k, &e);
                check_event(&e, first);
            }
        }
        store_read_done(&r);
        if (first == began)
            return first;
    }
}

void store_rig_route(struct store *s, const char *name, struct store_route *ret)
{
    struct fault why = { 0 };

    if (store_route_open(s, name, NULL, ret, &why) != 0)
        harness_fail(__FILE__, __LINE__, "store_route_open: %s", why.text);
}

void store_rig_sink(struct store *s, uint64_t route_id, const char *name, struct store_sink *ret)
{
    struct fault why = { 0 };

    if (store_sink_open(s, route_id, name, NULL, STORE_BEGIN_OLDEST, 0, ret, &why) != 0)
        harness_fail(__FILE__, __LINE__, "store_sink_open: %s", why.text);
}

void store_rig_small_disk(const char *directory, const char *options)
{
    CHECK_INT(mkdir(directory, 0700), 0);
    /* In a namespace of its own, so that it goes with this process. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", directory, "tmpfs", 0, options) != 0)
        harness_skip("needs the right to mount a small disk");
}

const struct cell *store_rig_cell(const struct rows *r, size_t row, const char *column)
{
    for (size_t c = 0; c < r->column_count; c++)
        if (strcmp(r->columns[c], column) == 0 && row < r->row_count)
            return &r->cells[row * r->column_count + c];
    harness_fail(__FILE__, __LINE__, "no cell '%s' in row %zu", column, row);
}

const char *store_rig_text(const struct rows *r, size_t row, const char *column)
{
    static char texts[4][512];
    static int turn;
    const struct cell *c = store_rig_cell(r, row, column);
    char *text = texts[turn++ % 4];

    if (c->type == CELL_NULL)
        return "(null)";
    if (c->type == CELL_INT)
        (void)snprintf(text, 512, "%lld", (long long)c->i);
    else
        (void)snprintf(text, 512, "%.*s", (int)(c->bytes.n < 500 ? c->bytes.n : 500), c->bytes.at);
    return text;
}
