#include "bridge/links/rabbitmq/codec.h"
#include "tests/harness.h"

static const struct codec_rules rules = {
    .persistent = true, .login = "app", .header_bytes = 100000
};

static amqp_bytes_t text(const char *t)
{
    return amqp_cstring_bytes(t);
}

static struct bytes read_all(amqp_basic_properties_t *p, struct buf *to, struct codec_read *ret)
{
    struct fault why;

    buf_init(to, 1 << 20);
    CHECK_INT(codec_read(p, bytes_text("ex"), to, ret, &why), 0);
    CHECK(header_valid(buf_bytes(to)));
    return buf_bytes(to);
}

static int write_one(const struct event *e, unsigned flags, struct arena *a,
    amqp_basic_properties_t *ret, struct fault *why)
{
    struct message m = { .event = e, .flags = flags, .token = bytes_text("tok") };

    return codec_write(&m, &rules, a, ret, why);
}

TEST(rabbitmq_codec_scalars_go_there_and_back)
{
    amqp_table_entry_t entries[] = {
        { text("t"), { .kind = 't', .value.boolean = 1 } },
        { text("b"), { .kind = 'b', .value.i8 = -128 } },
        { text("B"), { .kind = 'B', .value.u8 = 255 } },
        { text("s"), { .kind = 's', .value.i16 = -32768 } },
        { text("u"), { .kind = 'u', .value.u16 = 65535 } },
        { text("I"), { .kind = 'I', .value.i32 = INT32_MIN } },
        { text("i"), { .kind = 'i', .value.u32 = UINT32_MAX } },
        { text("l"), { .kind = 'l', .value.i64 = INT64_MIN } },
        { text("f"), { .kind = 'f', .value.f32 = 1.5f } },
        { text("d"), { .kind = 'd', .value.f64 = 0.1 } },
        { text("D"), { .kind = 'D', .value.decimal = { 2, (uint32_t)-150 } } },
        { text("T"), { .kind = 'T', .value.u64 = 981173106 } },
        { text("S"), { .kind = 'S', .value.bytes = text("text") } },
        { text("x"), { .kind = 'x', .value.bytes = { 2, (void *)(uintptr_t) "\0\xff" } } },
        { text("V"), { .kind = 'V' } },
    };
    size_t n = sizeof entries / sizeof *entries;
    amqp_basic_properties_t p = { ._flags = AMQP_BASIC_HEADERS_FLAG,
        .headers = { (int)n, entries } };
    amqp_basic_properties_t back;
    struct codec_read read;
    struct event e = { 0 };
    struct arena a = { 0 };
    struct fault why;
    struct buf h, one, two;

    e.headers = read_all(&p, &h, &read);
    CHECK_INT(write_one(&e, 0, &a, &back, &why), 0);
    back._flags = AMQP_BASIC_HEADERS_FLAG;
    buf_init(&one, 4096);
    buf_init(&two, 4096);
    CHECK_INT(codec_raw(&p, &one), 0);
    CHECK_INT(codec_raw(&back, &two), 0);
    CHECK(bytes_equal(buf_bytes(&one), buf_bytes(&two)));
    buf_done(&one);
    buf_done(&two);
    buf_done(&h);
    arena_done(&a);
}

/* Tables in tables, `depth` of them below the headers. */
static void nest(amqp_table_entry_t *e, int depth)
{
    for (int i = 0; i < depth; i++) {
        e[i].key = text("d");
        e[i].value.kind = AMQP_FIELD_KIND_TABLE;
        e[i].value.value.table = (amqp_table_t){ 1, &e[i + 1] };
    }
    e[depth] = (amqp_table_entry_t){ text("end"), { .kind = 'V' } };
}

TEST(rabbitmq_codec_depth_has_a_bound)
{
    amqp_table_entry_t e[HEADER_DEPTH_MAX + 3];
    amqp_basic_properties_t p = { ._flags = AMQP_BASIC_HEADERS_FLAG, .headers = { 1, e } };
    struct codec_read read;
    struct fault why;
    struct buf h;

    nest(e, HEADER_DEPTH_MAX);
    (void)read_all(&p, &h, &read);
    buf_clear(&h);
    nest(e, HEADER_DEPTH_MAX + 1);
    CHECK_INT(codec_read(&p, bytes_text(""), &h, &read, &why), -1);
    CHECK_CONTAINS(why.text, "nested");
    buf_done(&h);
}

TEST(rabbitmq_codec_broker_headers_are_kept_and_not_sent)
{
    amqp_table_entry_t entries[] = {
        { text("x-death"), { .kind = 'S', .value.bytes = text("a") } },
        { text("CC"), { .kind = 'S', .value.bytes = text("b") } },
        { text("x-first-death-queue"), { .kind = 'S', .value.bytes = text("c") } },
        { text("x-mine"), { .kind = 'S', .value.bytes = text("d") } },
        { text("bascule-hops"), { .kind = 'l', .value.i64 = 3 } },
    };
    amqp_basic_properties_t p = { ._flags = AMQP_BASIC_HEADERS_FLAG, .headers = { 5, entries } };
    amqp_basic_properties_t back;
    struct codec_read read;
    struct header found;
    struct event e = { .hops = 4 };
    struct arena a = { 0 };
    struct fault why;
    struct buf h;

    e.headers = read_all(&p, &h, &read);
    CHECK_INT(read.hops, 3);
    CHECK(!header_find(e.headers, bytes_text("bascule-hops"), &found));
    CHECK_INT(write_one(&e, MESSAGE_REPLAY, &a, &back, &why), 0);
    CHECK_INT(back.headers.num_entries, 3);
    CHECK(memcmp(back.headers.entries[0].key.bytes, "x-mine", 6) == 0);
    CHECK_INT(back.headers.entries[1].value.value.i64, 4);
    CHECK(memcmp(back.headers.entries[2].key.bytes, "bascule-replay", 14) == 0);
    buf_done(&h);
    arena_done(&a);
}

TEST(rabbitmq_codec_refuses_what_amqp_cannot_hold)
{
    static const struct {
        enum header_scope scope;
        const char *name, *value;
        bool fits;
    } cases[] = {
        { HEADER_PROPERTY, "expiration", "60000", true },
        { HEADER_PROPERTY, "expiration", "4294967295", true },
        { HEADER_PROPERTY, "expiration", "4294967296", false },
        { HEADER_PROPERTY, "expiration", "-1", false },
        { HEADER_PROPERTY, "expiration", "", false },
        { HEADER_PROPERTY, "user-id", "app", true },
        { HEADER_PROPERTY, "user-id", "App", false },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amqp_basic_properties_t p;
        struct event e = { 0 };
        struct arena a = { 0 };
        struct fault why;
        struct buf h;

        buf_init(&h, 4096);
        header_put_text(&h, cases[i].scope, cases[i].name, bytes_text(cases[i].value));
        e.headers = buf_bytes(&h);
        CHECK_INT(write_one(&e, 0, &a, &p, &why), cases[i].fits ? 0 : -1);
        buf_done(&h);
        arena_done(&a);
    }
}

TEST(rabbitmq_codec_damaged_lists_are_refused)
{
    static const uint8_t junk[] = { HEADER_USER, 200, 'x' };
    struct event e = { .headers = { junk, sizeof junk } };
    amqp_basic_properties_t p;
    struct arena a = { 0 };
    struct fault why;

    CHECK_INT(write_one(&e, 0, &a, &p, &why), -1);
    arena_done(&a);
}

TEST(rabbitmq_codec_counts_bytes_like_the_encoder)
{
    struct codec_rules tight = rules;
    amqp_basic_properties_t p;
    struct arena a = { 0 };
    struct fault why;
    struct buf h, raw;
    struct event e = { .hops = 1, .time_ms = 1000, .origin = bytes_text("origin") };
    struct message m = { .event = &e };

    buf_init(&h, 4096);
    buf_init(&raw, 4096);
    header_put_text(&h, HEADER_USER, "a", bytes_text("some text"));
    header_put_text(&h, HEADER_PROPERTY, "type", bytes_text("kind"));
    e.headers = buf_bytes(&h);
    CHECK_INT(codec_write(&m, &rules, &a, &p, &why), 0);
    CHECK_INT(codec_raw(&p, &raw), 0);
    tight.header_bytes = raw.n - 1;
    CHECK_INT(codec_write(&m, &tight, &a, &p, &why), -1);
    CHECK_CONTAINS(why.text, "frame");
    buf_done(&h);
    buf_done(&raw);
    arena_done(&a);
}
