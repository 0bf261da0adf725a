/* What goes into a codec comes out of it unchanged: headers of every type, nested ones too, made by
 * seeds, through the log and through each broker's own form. */
#include "bridge/base/random.h"
#include "bridge/links/kafka/codec.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/redis/fields.h"
#include "store/chunk.h"
#include "tests/harness.h"

#include <inttypes.h>
#include <zstd.h>

#define SEEDS 500
#define DEPTH_MAX 4
#define HEADERS_MAX 12
#define RAW_MAX (1 << 17)
#define PROPERTIES_MAX 11
#define CHAIN 6

/* ---- made by a seed ---- */

/* RabbitMQ knows no unsigned 64-bit field: those go as signed ones, or as text. */
static bool without_u64;

static void make_list(struct random *r, int depth, bool named, struct buf *to);

/* Bytes that are text three times in four. */
static struct bytes make_bytes(struct random *r, uint8_t room[64])
{
    bool text = random_below(r, 4) > 0;
    size_t n = random_below(r, 40);

    for (size_t i = 0; i < n; i++)
        room[i] = (uint8_t)(text ? 'a' + random_below(r, 26) : random_next(r));
    return bytes_of(room, n);
}

static int64_t make_number(struct random *r, int bits, bool with_sign)
{
    uint64_t low = random_next(r) >> (64 - bits) >> random_below(r, (uint64_t)bits);

    if (random_below(r, 8) == 0)
        low = UINT64_MAX >> 1 >> (63 - bits); /* the largest, and below the smallest */
    return with_sign && random_below(r, 2) ? -(int64_t)low - 1 : (int64_t)low;
}

static float make_float(struct random *r)
{
    uint32_t bits = (uint32_t)random_next(r);
    float f;

    memcpy(&f, &bits, sizeof f);
    return f == f ? f : 0; /* a NaN has many forms and no equal */
}

static double make_double(struct random *r)
{
    uint64_t bits = random_next(r);
    double f;

    memcpy(&f, &bits, sizeof f);
    return f == f ? f : 0;
}

static void make_value(
    struct random *r, int depth, struct header_value *v, uint8_t room[64], struct buf *nested)
{
    static const int bits[] = { [HEADER_I8] = 7,
        [HEADER_U8] = 8,
        [HEADER_I16] = 15,
        [HEADER_U16] = 16,
        [HEADER_I32] = 31,
        [HEADER_U32] = 32,
        [HEADER_I64] = 63 };
    int types = depth < DEPTH_MAX ? HEADER_TABLE : HEADER_TIME;

    *v = (struct header_value){ .type = (enum header_type)(1 + random_below(r, (uint64_t)types)) };
    if (without_u64 && v->type == HEADER_U64)
        v->type = HEADER_I64;
    switch (v->type) {
    case HEADER_BOOL:
        v->i = (int64_t)random_below(r, 2);
        break;
    case HEADER_U64:
        v->u = random_below(r, 8) ? random_next(r) >> random_below(r, 64) : UINT64_MAX;
        break;
    case HEADER_F32:
        v->f = (double)make_float(r);
        break;
    case HEADER_F64:
        v->f = make_double(r);
        break;
    case HEADER_DECIMAL:
        v->i = make_number(r, 31, true);
        v->scale = (uint8_t)random_below(r, 10);
        break;
    case HEADER_TEXT:
    case HEADER_BYTES:
        v->bytes = make_bytes(r, room);
        break;
    case HEADER_TIME:
        v->i = make_number(r, 40, false);
        break;
    case HEADER_ARRAY:
    case HEADER_TABLE:
        make_list(r, depth + 1, v->type == HEADER_TABLE, nested);
        v->bytes = buf_bytes(nested);
        break;
    case HEADER_NULL:
        break;
    default:
        v->i = make_number(r, bits[v->type],
            v->type == HEADER_I8 || v->type == HEADER_I16 || v->type == HEADER_I32 ||
                v->type == HEADER_I64);
        break;
    }
}

static void make_list(struct random *r, int depth, bool named, struct buf *to)
{
    for (uint64_t n = random_below(r, HEADERS_MAX); n; n--) {
        struct header_value v;
        uint8_t room[64];
        struct buf nested;
        char name[24];

        buf_init(&nested, 1 << 20);
        make_value(r, depth, &v, room, &nested);
        /* Names may repeat. */
        (void)snprintf(name, sizeof name, "h-%" PRIu64, random_below(r, 20));
        if (named)
            header_put(to, HEADER_USER, bytes_text(name), &v);
        else
            header_put_item(to, &v);
        buf_done(&nested);
    }
}

/* What a message has beside its headers, by its AMQP names and in that order. */
static void make_properties(struct random *r, struct buf *to)
{
    static const char *const names[] = { "content-type", "content-encoding", "delivery-mode",
        "priority", "correlation-id", "reply-to", "expiration", "type", "user-id", "app-id",
        "cluster-id" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint8_t room[64];
        char ms[16];

        if (random_below(r, 4))
            continue;
        (void)snprintf(ms, sizeof ms, "%" PRIu64, random_below(r, 100000));
        if (i == 2 || i == 3)
            header_put(to, HEADER_PROPERTY, bytes_text(names[i]),
                &(struct header_value){ .type = HEADER_U8, .i = (int64_t)random_below(r, 256) });
        else
            header_put_text(to, HEADER_PROPERTY, names[i],
                strcmp(names[i], "expiration") == 0 ? bytes_text(ms) : make_bytes(r, room));
    }
}

static void for_each_seed(void (*check)(struct random *r, struct bytes headers, uint64_t seed))
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random r = { seed };
        struct buf list;

        buf_init(&list, 1 << 20);
        make_properties(&r, &list);
        make_list(&r, 0, true, &list);
        CHECK(header_valid(buf_bytes(&list)));
        check(&r, buf_bytes(&list), seed);
        buf_done(&list);
    }
}

static void check_same(struct bytes got, struct bytes want, uint64_t seed)
{
    size_t i = 0;

    while (i < got.n && i < want.n && got.at[i] == want.at[i])
        i++;
    if (i < got.n || i < want.n)
        harness_fail(__FILE__, __LINE__,
            "seed %" PRIu64 ": %zu bytes came back from %zu; byte %zu is %d, not %d", seed, got.n,
            want.n, i, i < got.n ? got.at[i] : -1, i < want.n ? want.at[i] : -1);
}

/* ---- the list itself ---- */

static void through_list(struct random *r, struct bytes headers, uint64_t seed)
{
    struct bytes rest = headers;
    struct header h;
    struct buf again;

    (void)r;
    buf_init(&again, 1 << 20);
    while (header_next(&rest, &h) == 1)
        header_put(&again, h.scope, h.name, &h.value);
    check_same(buf_bytes(&again), headers, seed);
    buf_done(&again);
}

TEST(headers_of_every_type_are_read_as_they_were_put)
{
    for_each_seed(through_list);
}

/* ---- the log ---- */

static struct bytes make_run(struct random *r, uint8_t room[64])
{
    return random_below(r, 3) ? make_bytes(r, room) : BYTES_NONE;
}

static void check_event(const struct event *got, const struct event *want, uint64_t seed)
{
    const struct bytes pairs[][2] = { { got->address, want->address }, { got->key, want->key },
        { got->id, want->id }, { got->origin, want->origin }, { got->body, want->body },
        { got->order_key, want->order_key } };

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!bytes_equal(pairs[i][0], pairs[i][1]))
            harness_fail(__FILE__, __LINE__, "seed %" PRIu64 ": run %zu differs", seed, i);
    check_same(got->headers, want->headers, seed);
    CHECK_INT(got->time_ms, want->time_ms);
    CHECK_INT(got->flags, want->flags);
    CHECK_INT(got->hops, want->hops);
    CHECK_INT(got->received_ms, want->received_ms);
}

/* A block to a frame and back. */
static void check_frame(struct block *b, const struct event *want, uint64_t seed)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();
    struct block *again;
    struct event e;
    struct buf frame;
    uint8_t *data;
    struct fault why;

    buf_init(&frame, CHUNK_BYTES_MAX);
    CHECK_INT(chunk_frame(z, b, (struct chunk_dictionary){ 0 }, &frame, &why), 0);
    CHECK_INT(
        chunk_unframe(buf_bytes(&frame), b->bytes, (struct chunk_dictionary){ 0 }, &data, &why), 0);
    CHECK_INT(block_from_data(b->route_id, b->first_seq, b->received_ms, b->count, data, b->bytes,
                  &again, &why),
        0);
    block_event(again, 0, &e);
    check_event(&e, want, seed);
    CHECK_INT(e.seq, 9);
    block_unref(again);
    buf_done(&frame);
    (void)ZSTD_freeCCtx(z);
}

static void through_chunk(struct random *r, struct bytes headers, uint64_t seed)
{
    static uint8_t room[6][64];
    struct event e = {
        .address = make_bytes(r, room[0]),
        .key = make_run(r, room[1]),
        .id = make_run(r, room[2]),
        .origin = make_bytes(r, room[3]),
        .headers = headers,
        .body = make_run(r, room[4]),
        .order_key = make_run(r, room[5]),
        .time_ms = make_number(r, 45, false),
        .received_ms = 1700000000000,
        .flags = (uint32_t)random_below(r, 4),
        .hops = (uint32_t)random_below(r, 20),
    };
    struct block *b;
    struct fault why;

    CHECK_INT(block_open(3, 9, e.received_ms, &e, 1, &b, &why), 0);
    check_frame(b, &e, seed);
    block_unref(b);
}

TEST(an_event_of_any_kind_comes_out_of_the_log_as_it_went_in)
{
    for_each_seed(through_chunk);
}

/* ---- brokers ---- */

struct written {
    struct codec_field fields[64];
    size_t n;
    struct buf bytes;
    size_t at[64][2];
};

static void put(void *to, struct bytes name, struct bytes value)
{
    struct written *w = to;

    CHECK(w->n < 64);
    w->fields[w->n] = (struct codec_field){ { NULL, name.n }, value };
    w->at[w->n][0] = w->bytes.n;
    buf_put_bytes(&w->bytes, name);
    w->at[w->n++][1] = w->bytes.n;
    if (bytes_present(value))
        buf_put_bytes(&w->bytes, value);
}

/* The list as it is after a broker of that kind, appended to *to. */
typedef void broker(struct bytes headers, struct buf *to);

static void check_through(broker *of, struct bytes headers, uint64_t seed)
{
    struct buf again;

    buf_init(&again, 1 << 20);
    of(headers, &again);
    check_same(buf_bytes(&again), headers, seed);
    buf_done(&again);
}

static void kafka(struct bytes headers, struct buf *to)
{
    struct event e = { .headers = headers, .origin = bytes_text("o"), .hops = 0 }, back = { 0 };
    static struct written w;
    struct buf scratch;

    w.n = 0;
    buf_init(&w.bytes, 1 << 20);
    buf_init(&scratch, 1 << 20);
    CHECK_INT(kafka_codec_write(&e, false, &scratch, put, &w), 0);
    for (size_t i = 0; i < w.n; i++) {
        w.fields[i].name = bytes_of(w.bytes.at + w.at[i][0], w.fields[i].name.n);
        if (bytes_present(w.fields[i].value))
            w.fields[i].value = bytes_of(w.bytes.at + w.at[i][1], w.fields[i].value.n);
    }
    kafka_codec_read(w.fields, w.n, to, &back);
    buf_done(&scratch);
    buf_done(&w.bytes);
}

static void through_kafka(struct random *r, struct bytes headers, uint64_t seed)
{
    (void)r;
    check_through(kafka, headers, seed);
}

TEST(headers_of_every_type_go_through_kafka_unchanged)
{
    for_each_seed(through_kafka);
}

/* What was read, but for the exchange that it came from. */
static void without_exchange(struct bytes list, struct buf *to)
{
    struct header h;
    int found = 0;

    while (header_next(&list, &h) == 1) {
        bool exchange = h.scope == HEADER_PROPERTY && bytes_equal(h.name, bytes_text("exchange"));

        found += exchange;
        if (!exchange)
            header_put(to, h.scope, h.name, &h.value);
    }
    CHECK_INT(found, 1);
}

static void amqp(struct bytes headers, struct buf *to)
{
    static const struct codec_rules rules = { .header_bytes = RAW_MAX };
    struct event e = { .headers = headers };
    struct message m = { .event = &e, .token = bytes_text("t") };
    struct arena arena = { 0 };
    amqp_basic_properties_t p;
    struct codec_read read;
    struct buf raw, again;
    amqp_pool_t pool;
    struct fault why;
    void *decoded;

    init_amqp_pool(&pool, 4096);
    buf_init(&raw, RAW_MAX);
    buf_init(&again, 1 << 20);
    CHECK_INT(codec_write(&m, &rules, &arena, &p, &why), 0);
    CHECK_INT(codec_raw(&p, &raw), 0);
    CHECK_INT(
        amqp_decode_properties(AMQP_BASIC_CLASS, &pool, (amqp_bytes_t){ raw.n, raw.at }, &decoded),
        0);
    CHECK_INT(codec_read(decoded, bytes_text("ex"), &again, &read, &why), 0);
    without_exchange(buf_bytes(&again), to);
    buf_done(&again);
    buf_done(&raw);
    arena_done(&arena);
    empty_amqp_pool(&pool);
}

static void through_amqp(struct random *r, struct bytes headers, uint64_t seed)
{
    (void)r;
    check_through(amqp, headers, seed);
}

TEST(headers_of_every_type_but_u64_go_through_amqp_unchanged)
{
    without_u64 = true;
    for_each_seed(through_amqp);
}

/* Written fields as a reader gets them: those of text, and the exact list where one is needed. */
static void redis(struct bytes headers, struct buf *to)
{
    struct event e = { .headers = headers, .body = bytes_text("b") }, back = { 0 };
    struct message m = { .event = &e, .token = bytes_text("t") };
    struct fields names = fields_of(NULL, NULL, NULL, NULL, NULL);
    struct resp_value items[2 * (HEADERS_MAX + PROPERTIES_MAX) + 4];
    struct resp_value list = { .type = RESP_ARRAY, .items = items };
    struct fields_plan plan;
    struct buf scratch;
    struct header h;

    buf_init(&scratch, 1 << 20);
    plan = fields_plan(&names, &m, &scratch);
    items[list.n++] = (struct resp_value){ .type = RESP_TEXT, .text = bytes_text("body") };
    items[list.n++] = (struct resp_value){ .type = RESP_TEXT, .text = e.body };
    if (bytes_present(plan.exact)) {
        items[list.n++] =
            (struct resp_value){ .type = RESP_TEXT, .text = bytes_text("bascule-headers") };
        items[list.n++] = (struct resp_value){ .type = RESP_TEXT, .text = plan.exact };
    }
    for (struct bytes rest = headers; header_next(&rest, &h) == 1;)
        if (!bytes_present(plan.exact)) {
            CHECK(h.value.type == HEADER_TEXT || h.value.type == HEADER_BYTES);
            items[list.n++] = (struct resp_value){ .type = RESP_TEXT, .text = h.name };
            items[list.n++] = (struct resp_value){ .type = RESP_TEXT, .text = h.value.bytes };
        }
    fields_read(&names, &list, to, &back);
    CHECK(bytes_equal(back.body, e.body));
    buf_done(&scratch);
}

static void through_redis(struct random *r, struct bytes headers, uint64_t seed)
{
    (void)r;
    check_through(redis, headers, seed);
}

TEST(headers_of_every_type_go_through_a_redis_stream_unchanged)
{
    for_each_seed(through_redis);
}

static void nats(struct bytes headers, struct buf *to)
{
    const struct block_names names = { bytes_text("message-id"), bytes_text("key"), false };
    struct event e = { .headers = headers, .body = bytes_text("b") }, back = { 0 };
    struct message m = { .event = &e, .token = bytes_text("t") };
    struct buf scratch, block;

    buf_init(&scratch, 1 << 20);
    buf_init(&block, 1 << 20);
    buf_put_text(&block, "NATS/1.0\r\n");
    CHECK_INT(block_write(&names, &m, &scratch, &block), 0);
    buf_put_text(&block, "\r\n");
    CHECK_INT(block_read(&names, buf_bytes(&block), to, &back), 0);
    buf_done(&block);
    buf_done(&scratch);
}

static void through_nats(struct random *r, struct bytes headers, uint64_t seed)
{
    (void)r;
    check_through(nats, headers, seed);
}

TEST(headers_of_every_type_go_through_nats_unchanged)
{
    for_each_seed(through_nats);
}

/* From each broker to each other one, and on. */
static void through_many(struct random *r, struct bytes headers, uint64_t seed)
{
    static broker *const brokers[] = { kafka, amqp, redis, nats };
    struct buf lists[2];

    buf_init(&lists[0], 1 << 20);
    buf_init(&lists[1], 1 << 20);
    buf_put(&lists[0], headers.at, headers.n);
    for (size_t i = 0; i < CHAIN; i++) {
        struct buf *from = &lists[i % 2], *to = &lists[(i + 1) % 2];

        buf_clear(to);
        brokers[random_below(r, 4)](buf_bytes(from), to);
        check_same(buf_bytes(to), headers, seed);
    }
    buf_done(&lists[0]);
    buf_done(&lists[1]);
}

TEST(headers_of_every_type_but_u64_go_through_any_chain_of_brokers_unchanged)
{
    without_u64 = true;
    for_each_seed(through_many);
}
