#include "bridge/base/address.h"
#include "bridge/base/histogram.h"
#include "bridge/base/backoff.h"
#include "bridge/base/encoding.h"
#include "bridge/base/header.h"
#include "tests/harness.h"

TEST(a_number_is_put_in_its_digits)
{
    struct buf b;

    buf_init(&b, 100);
    buf_put_unsigned(&b, 0);
    buf_put_byte(&b, ' ');
    buf_put_unsigned(&b, 1090);
    buf_put_byte(&b, ' ');
    buf_put_unsigned(&b, UINT64_MAX);
    CHECK_TEXT(buf_text(&b), "0 1090 18446744073709551615");
    buf_done(&b);
}

TEST(a_buffer_never_grows_past_its_maximum)
{
    struct buf b;

    buf_init(&b, 10);
    buf_put_text(&b, "12345678");
    buf_put_text(&b, "abc");
    CHECK(b.failed);
    CHECK_INT(b.n, 8);
    buf_put_byte(&b, 'x'); /* failed stays failed until it is cleared */
    CHECK_INT(b.n, 8);
    buf_clear(&b);
    buf_put_text(&b, "0123456789");
    CHECK(!b.failed);
    buf_done(&b);
}

TEST(varints_come_back_as_they_went_in)
{
    static const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX };

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buf b;
        struct bytes from;
        uint64_t got;

        buf_init(&b, 64);
        buf_put_varint(&b, values[i]);
        from = buf_bytes(&b);
        CHECK_INT(bytes_get_varint(&from, &got), 0);
        CHECK(got == values[i]);
        CHECK_INT(from.n, 0);
        from = bytes_of(b.at, b.n - 1);
        CHECK_INT(bytes_get_varint(&from, &got), -1);
        buf_done(&b);
    }
}

TEST(a_varint_longer_than_64_bits_is_refused)
{
    static const uint8_t bytes[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
    struct bytes from = bytes_of(bytes, sizeof bytes);
    uint64_t got;

    CHECK_INT(bytes_get_varint(&from, &got), -1);
}

static const struct header_value samples[] = {
    { .type = HEADER_NULL },
    { .type = HEADER_BOOL, .i = 1 },
    { .type = HEADER_I8, .i = -128 },
    { .type = HEADER_U8, .i = 255 },
    { .type = HEADER_I16, .i = -32768 },
    { .type = HEADER_U16, .i = 65535 },
    { .type = HEADER_I32, .i = INT32_MIN },
    { .type = HEADER_U32, .i = UINT32_MAX },
    { .type = HEADER_I64, .i = INT64_MIN },
    { .type = HEADER_U64, .u = UINT64_MAX },
    { .type = HEADER_F32, .f = 1.5 },
    { .type = HEADER_F64, .f = -0.1 },
    { .type = HEADER_DECIMAL, .scale = 2, .i = -12345 },
    { .type = HEADER_TEXT, .bytes = { (const uint8_t *)"text", 4 } },
    { .type = HEADER_BYTES, .bytes = { (const uint8_t *)"\0\377", 2 } },
    { .type = HEADER_TIME, .i = 1700000000 },
};

TEST(every_header_type_comes_back_as_it_went_in)
{
    struct buf list;
    struct bytes from;
    struct header h;

    buf_init(&list, 4096);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        header_put(&list, HEADER_USER, bytes_text("same"), &samples[i]);
    from = buf_bytes(&list);
    CHECK(header_valid(from));
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        CHECK_INT(header_next(&from, &h), 1);
        CHECK_INT(h.value.type, samples[i].type);
        CHECK_INT(h.value.scale, samples[i].scale);
        if (h.value.type == HEADER_TEXT || h.value.type == HEADER_BYTES)
            CHECK(bytes_equal(h.value.bytes, samples[i].bytes));
        else
            CHECK(h.value.u == samples[i].u);
    }
    CHECK_INT(header_next(&from, &h), 0);
    buf_done(&list);
}

TEST(a_cut_header_list_is_refused_at_every_length)
{
    struct buf list;

    buf_init(&list, 4096);
    header_put_text(&list, HEADER_USER, "name", bytes_text("a value"));
    for (size_t n = 1; n < list.n; n++)
        CHECK(!header_valid(bytes_of(list.at, n)));
    buf_done(&list);
}

TEST(headers_nested_too_deep_are_refused)
{
    struct buf inner, outer;

    buf_init(&inner, 1 << 20);
    buf_init(&outer, 1 << 20);
    for (int depth = 0; depth < HEADER_DEPTH_MAX + 2; depth++) {
        struct header_value table = { .type = HEADER_TABLE, .bytes = buf_bytes(&inner) };

        CHECK(depth > HEADER_DEPTH_MAX || header_valid(buf_bytes(&inner)));
        buf_clear(&outer);
        header_put(&outer, HEADER_USER, bytes_text("t"), &table);
        buf_clear(&inner);
        buf_put_bytes(&inner, buf_bytes(&outer));
    }
    CHECK(!header_valid(buf_bytes(&inner)));
    buf_done(&inner);
    buf_done(&outer);
}

TEST(a_decimal_shows_its_point_where_it_is)
{
    struct buf b;
    struct header_value v = { .type = HEADER_DECIMAL, .scale = 3, .i = -5 };

    buf_init(&b, 100);
    CHECK_INT(header_value_text(&v, &b), 0);
    CHECK_TEXT(buf_text(&b), "-0.005");
    buf_done(&b);
}

TEST(an_address_is_numbers_and_a_port)
{
    static const char *const bad[] = { "", ":9095", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
        "127.0.0.1:65536", "127.0.0.1:90x", "127.0.0.1:-1", "127.0.0.1:+1", "localhost:9095",
        "::1:9095", "[::1]", "[]:9095", "[127.0.0.1:9095", "1.2.3:4:5" };
    struct address a;
    struct fault why = { 0 };

    CHECK_INT(address_parse("127.0.0.1:9095", &a, &why), 0);
    CHECK_INT(a.at.ss_family, AF_INET);
    CHECK_INT(a.port, 9095);
    CHECK_INT(address_parse("[::1]:65535", &a, &why), 0);
    CHECK_INT(a.at.ss_family, AF_INET6);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (address_parse(bad[i], &a, &why) == 0)
            harness_fail(__FILE__, __LINE__, "'%s' was taken", bad[i]);
    CHECK_INT(why.kind, FAULT_INPUT);
}

TEST(histograms_count_a_duration_in_the_bucket_it_fits)
{
    struct histogram h = { 0 }, sum = { 0 };

    histogram_add(&h, 0);
    histogram_add(&h, 1000);
    histogram_add(&h, 1001);
    histogram_add(&h, INT64_C(3600000000));
    CHECK_INT(h.buckets[0], 2);
    CHECK_INT(h.buckets[1], 1);
    CHECK_INT(h.count, 4);
    CHECK_INT(h.sum_us, 3600002001);
    histogram_join(&sum, &h);
    histogram_join(&sum, &h);
    CHECK_INT(sum.buckets[0], 4);
    CHECK_INT(sum.count, 8);
}

TEST(back_off_stays_within_its_bound_and_grows_to_its_maximum)
{
    struct random r = { 1 };
    struct backoff_spec spec = { .base_ms = 100, .max_ms = 1000, .factor = 2, .jitter = true };
    int64_t most = 0;

    for (int i = 0; i < 1000; i++) {
        int64_t first = backoff_wait_ms(&spec, 1, &r), late = backoff_wait_ms(&spec, 1000000, &r);

        CHECK(first >= 1 && first <= 100);
        CHECK(late >= 1 && late <= 1000);
        most = late > most ? late : most;
    }
    CHECK(most > 900);
    spec.jitter = false;
    CHECK_INT(backoff_wait_ms(&spec, 3, &r), 400);
}

TEST(a_fault_keeps_its_kind_when_it_gets_a_prefix)
{
    struct fault why;

    CHECK_INT(fault_set(&why, FAULT_INPUT, 7, "no topic '%s'", "x"), -1);
    CHECK_INT(fault_prefix(&why, "route '%s'", "r"), -1);
    CHECK_TEXT(why.text, "route 'r': no topic 'x'");
    CHECK_INT(why.kind, FAULT_INPUT);
    CHECK_INT(why.code, 7);
}

TEST(utf8_is_told_from_bytes)
{
    CHECK(encoding_utf8(bytes_text("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")));
    CHECK(!encoding_utf8(bytes_text("\xc0\x80")));
    CHECK(!encoding_utf8(bytes_text("\xed\xa0\x80")));
    CHECK(!encoding_utf8(bytes_text("\xf4\x90\x80\x80")));
    CHECK(!encoding_utf8(bytes_text("\xe2\x82")));
}

TEST(base64_comes_back_as_it_went_in_and_anything_else_is_refused)
{
    static const uint8_t from[] = { 0, 0xff, 'a', 0x80, 7 };
    struct buf text, back;

    for (size_t n = 0; n <= sizeof from; n++) {
        buf_init(&text, 100);
        buf_init(&back, 100);
        encoding_base64(bytes_of(from, n), &text);
        CHECK_INT(encoding_base64_decode(buf_bytes(&text), &back), 0);
        CHECK(bytes_equal(buf_bytes(&back), bytes_of(from, n)));
        buf_done(&text);
        buf_done(&back);
    }
    buf_init(&back, 100);
    CHECK_INT(encoding_base64_decode(bytes_text("AAA"), &back), -1);
    CHECK_INT(encoding_base64_decode(bytes_text("AA*="), &back), -1);
    CHECK_INT(encoding_base64_decode(bytes_text("AA=A"), &back), -1);
    CHECK_INT(encoding_base64_decode(bytes_text("A==="), &back), -1);
    CHECK_INT(encoding_base64_decode(bytes_text("===="), &back), -1);
    buf_done(&back);
}
