#include "tests/harness.h"

#include "bridge/links/kafka/codec.h"

TEST(kafka_types_header_that_does_not_fit_is_a_header_like_any_other)
{
    struct codec_field fields[] = { { bytes_text("bascule-header-types"), bytes_text("gg") },
        { bytes_text("n"), bytes_text("x") } };
    struct event e = { 0 };
    struct buf to;
    struct header h;

    buf_init(&to, 4096);
    kafka_codec_read(fields, 2, &to, &e);
    CHECK(header_find(buf_bytes(&to), bytes_text("bascule-header-types"), &h));
    CHECK(header_find(buf_bytes(&to), bytes_text("n"), &h));
    CHECK_INT(h.value.type, HEADER_TEXT);
    buf_done(&to);
}

TEST(kafka_keeps_duplicate_and_null_headers)
{
    struct codec_field fields[] = { { bytes_text("a"), bytes_text("1") },
        { bytes_text("a"), BYTES_NONE }, { bytes_text("a"), bytes_of("\xff", 1) } };
    enum header_type want[] = { HEADER_TEXT, HEADER_NULL, HEADER_BYTES };
    struct event e = { 0 };
    struct buf to;
    struct bytes list;
    struct header h;

    buf_init(&to, 4096);
    kafka_codec_read(fields, 3, &to, &e);
    list = buf_bytes(&to);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(header_next(&list, &h), 1);
        CHECK_INT(h.value.type, want[i]);
    }
    CHECK_INT(header_next(&list, &h), 0);
    buf_done(&to);
}
