/* What the Redis link encodes: addresses, entry ids, the committed set, bodies for channels. */
#include "tests/harness.h"

#include "bridge/base/header.h"
#include "bridge/links/committed.h"
#include "bridge/links/redis/fields.h"
#include "bridge/links/redis/options.h"

static struct redis_url url;

static bool parses(const char *text)
{
    return redis_url_parse(text, &url, NULL) == 0;
}

TEST(redis_url_parts_are_told_apart)
{
    CHECK(parses("rediss://us%40er:p%3Aw@[::1]:6380/3"));
    CHECK(url.tls);
    CHECK_TEXT(url.username, "us@er");
    CHECK_TEXT(url.password, "p:w");
    CHECK_TEXT(url.host, "::1");
    CHECK_INT(url.port, 6380);
    CHECK_INT(url.db, 3);
    CHECK(parses("redis://cache"));
    CHECK(!url.tls);
    CHECK_INT(url.port, 6379);
    CHECK_INT(url.db, -1);
}

TEST(redis_url_that_cannot_be_is_refused)
{
    CHECK(!parses("http://cache"));
    CHECK(!parses("redis://"));
    CHECK(!parses("redis://cache:0"));
    CHECK(!parses("redis://cache:70000"));
    CHECK(!parses("redis://cache/x"));
}

TEST(redis_entry_ids_are_two_whole_numbers)
{
    struct entry_id id;

    CHECK_INT(entry_id_parse(bytes_text("1700000000000-18446744073709551615"), &id), 0);
    CHECK(id.ms == 1700000000000u && id.seq == UINT64_MAX);
    CHECK_INT(entry_id_parse(bytes_text("1-18446744073709551616"), &id), -1);
    CHECK_INT(entry_id_parse(bytes_text("1"), &id), -1);
    CHECK_INT(entry_id_parse(bytes_text("-1"), &id), -1);
    CHECK_INT(entry_id_parse(bytes_text("1-"), &id), -1);
    CHECK_INT(entry_id_parse(bytes_text("1-2-3"), &id), -1);
    CHECK_INT(entry_id_parse(bytes_text(""), &id), -1);
}

TEST(redis_committed_set_comes_back_from_its_positions)
{
    struct committed a = { 0 }, b = { 0 };
    struct entry_id ids[] = { { 5, 1 }, { 1700000000000u, 0 }, { 7, UINT64_MAX } },
                    other = { 5, 2 };
    struct position *p = NULL;
    struct buf text;
    size_t n = 0;

    buf_init(&text, 4096);
    CHECK_INT(committed_add(&a, "in", ids, 3, &p, &n, &text), 1);
    CHECK_INT(n, 1);
    CHECK_INT(committed_load(&b, "in", p, n, NULL), 0);
    CHECK_INT(committed_read_begin(&b), 0);
    for (size_t i = 0; i < 3; i++)
        CHECK(committed_has(&b, &ids[i]));
    CHECK(!committed_has(&b, &other));
    free(p);
    buf_done(&text);
    committed_done(&a);
    committed_done(&b);
}

TEST(redis_confirmed_batch_is_forgotten_only_with_a_kept_later_one)
{
    struct committed c = { 0 };
    struct entry_id id = { 5, 1 };

    for (int i = 1; i <= 4; i++) {
        struct position *p = NULL;
        struct buf text;
        size_t n = 0;
        uint64_t number = 0;

        buf_init(&text, 4096);
        number = committed_add(&c, "in", &id, 1, &p, &n, &text);
        /* 2 forgets 1 and is not kept, so 3 must say it again; 4 has nothing to forget but 3. */
        CHECK_INT(n, i == 1 ? 1 : 2);
        if (i > 1)
            CHECK(bytes_equal(p[1].name, bytes_text(i == 4 ? "in:3" : "in:1")));
        committed_settle(&c, number, i != 2);
        committed_confirm(&c, number);
        free(p);
        buf_done(&text);
    }
    committed_done(&c);
}

TEST(redis_committed_set_of_rubbish_knows_nothing)
{
    struct position p[] = { { bytes_text("in:7"), bytes_text("\xff\xff\xff\xff\xff\xff") },
        { bytes_text("in:x"), bytes_text("a") }, { bytes_text("in:"), BYTES_NONE } };
    struct committed c = { 0 };

    CHECK_INT(committed_load(&c, "in", p, 3, NULL), 0);
    CHECK_INT(committed_read_begin(&c), 0);
    CHECK_INT(c.sorted_n, 0);
    CHECK_INT(c.last, 7);
    committed_done(&c);
}

TEST(redis_foreign_fields_are_headers_and_a_missing_body_is_null)
{
    struct resp_value items[] = {
        { .type = RESP_TEXT, .text = bytes_text("colour") },
        { .type = RESP_TEXT, .text = bytes_text("red") },
        { .type = RESP_TEXT, .text = bytes_text("raw") },
        { .type = RESP_TEXT, .text = bytes_text("\xff") },
        { .type = RESP_TEXT, .text = bytes_text("bascule-hops") },
        { .type = RESP_TEXT, .text = bytes_text("3") },
    };
    struct resp_value list = { .type = RESP_ARRAY, .items = items, .n = 6 };
    struct fields names = fields_of(NULL, NULL, NULL, NULL, NULL);
    struct event e = { 0 };
    struct header h;
    struct buf headers;

    buf_init(&headers, 4096);
    fields_read(&names, &list, &headers, &e);
    CHECK(!bytes_present(e.body));
    CHECK_INT(e.hops, 3);
    CHECK(header_find(buf_bytes(&headers), bytes_text("colour"), &h));
    CHECK_INT(h.value.type, HEADER_TEXT);
    CHECK(header_find(buf_bytes(&headers), bytes_text("raw"), &h));
    CHECK_INT(h.value.type, HEADER_BYTES);
    CHECK(!header_find(buf_bytes(&headers), bytes_text("bascule-hops"), &h));
    buf_done(&headers);
}
