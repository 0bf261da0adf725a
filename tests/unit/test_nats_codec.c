#include "bridge/base/header.h"
#include "bridge/links/nats/acks.h"
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/meaning.h"
#include "bridge/links/nats/nkey.h"
#include "bridge/links/nats/seqs.h"
#include "tests/harness.h"

static const struct block_names names = { { (const uint8_t *)"message-id", 10 },
    { (const uint8_t *)"key", 3 }, false };

static struct bytes text(const char *t)
{
    return bytes_text(t);
}

/* Headers of an event as a block, the way a server hands it on. */
static void write(const struct block_names *n, const struct message *m, struct buf *to)
{
    struct buf scratch;

    buf_init(&scratch, 1 << 20);
    buf_init(to, 1 << 20);
    buf_put_text(to, "NATS/1.0\r\n");
    CHECK_INT(block_write(n, m, &scratch, to), 0);
    buf_put_text(to, "\r\n");
    buf_done(&scratch);
}

static void read(struct bytes block, struct buf *headers, struct event *e)
{
    buf_init(headers, 1 << 20);
    *e = (struct event){ .body = bytes_text("body") };
    CHECK_INT(block_read(&names, block, headers, e), 0);
    e->headers = bytes_of(headers->at, e->headers.n);
}

static void next_is(struct bytes *headers, enum header_scope scope, const char *name,
    enum header_type type, const char *value)
{
    struct header h;

    CHECK_INT(header_next(headers, &h), 1);
    CHECK(bytes_equal(h.name, text(name)));
    CHECK_INT(h.scope, scope);
    CHECK_INT(h.value.type, type);
    CHECK(bytes_equal(h.value.bytes, text(value)));
}

TEST(nats_headers_keep_their_order_case_and_repeats)
{
    struct event e;
    struct buf headers;
    struct bytes list;

    read(text("NATS/1.0\r\nb: 2\r\nA: 1\r\nb:  two \r\nB:\r\n\r\n"), &headers, &e);
    list = e.headers;
    next_is(&list, HEADER_USER, "b", HEADER_TEXT, "2");
    next_is(&list, HEADER_USER, "A", HEADER_TEXT, "1");
    next_is(&list, HEADER_USER, "b", HEADER_TEXT, " two ");
    next_is(&list, HEADER_USER, "B", HEADER_TEXT, "");
    CHECK_INT(list.n, 0);
    CHECK(!bytes_present(e.id));
    buf_done(&headers);
}

TEST(nats_ids_keys_and_hops_have_places_of_their_own)
{
    struct event e;
    struct buf headers;

    read(text("NATS/1.0\r\nNats-Msg-Id: t\r\nmessage-id: m\r\nkey: k\r\nbascule-hops: 3\r\n\r\n"),
        &headers, &e);
    CHECK(bytes_equal(e.id, text("m")));
    CHECK(bytes_equal(e.key, text("k")));
    CHECK_INT(e.hops, 3);
    buf_done(&headers);
    read(text("NATS/1.0\r\nNats-Msg-Id: t\r\n\r\n"), &headers, &e);
    CHECK(bytes_equal(e.id, text("t")));
    buf_done(&headers);
}

TEST(nats_headers_of_the_server_are_kept_and_not_sent_on)
{
    struct event e;
    struct message m = { .event = &e };
    struct buf headers, block;
    struct bytes list;

    read(text("NATS/1.0\r\nNats-Stream: S\r\nnats-x: y\r\nplain: z\r\nNats-TTL: 5m\r\n\r\n"),
        &headers, &e);
    list = e.headers;
    next_is(&list, HEADER_BROKER, "Nats-Stream", HEADER_TEXT, "S");
    next_is(&list, HEADER_BROKER, "nats-x", HEADER_TEXT, "y");
    write(&names, &m, &block);
    CHECK(!strstr(buf_text(&block), "ats-Stream"));
    CHECK(!strstr(buf_text(&block), "nats-x"));
    CHECK_CONTAINS(buf_text(&block), "plain: z\r\n");
    CHECK(!strstr(buf_text(&block), "\r\nNats-TTL"));
    buf_done(&block);
    write(&(struct block_names){ names.id, names.key, true }, &m, &block);
    CHECK_CONTAINS(buf_text(&block), "\r\nNats-TTL: 5m\r\n");
    buf_done(&block);
    buf_done(&headers);
}

/* Writes e's headers, reads them back, and wants the same list. */
static void goes_round(struct event *e)
{
    struct message m = { .event = e };
    struct event back;
    struct buf block, headers;

    write(&names, &m, &block);
    read(buf_bytes(&block), &headers, &back);
    CHECK(bytes_equal(back.headers, e->headers));
    buf_done(&block);
    buf_done(&headers);
}

TEST(nats_gives_back_every_type_of_header_that_went_in)
{
    struct header_value v[] = { { .type = HEADER_I32, .i = -7 }, { .type = HEADER_NULL },
        { .type = HEADER_BYTES, .bytes = bytes_of("\xff\0\r\n", 4) },
        { .type = HEADER_TEXT, .bytes = bytes_text("two\r\nlines") },
        { .type = HEADER_TEXT, .bytes = bytes_text(" blanks ") },
        { .type = HEADER_F64, .f = 0.1 } };
    struct event e = { .body = bytes_text("") };
    struct buf list;

    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        buf_init(&list, 10000);
        header_put_text(&list, HEADER_USER, "first", bytes_text("plain"));
        header_put(&list, HEADER_USER, bytes_text("x"), &v[i]);
        header_put_text(&list, HEADER_USER, "first", bytes_text("again"));
        e.headers = buf_bytes(&list);
        goes_round(&e);
        buf_done(&list);
    }
    buf_init(&list, 10000);
    header_put_text(&list, HEADER_PROPERTY, "content-type", bytes_text("text/plain"));
    header_put_text(&list, HEADER_USER, "a name: with all", bytes_text("x"));
    header_put_text(&list, HEADER_USER, "message-id", bytes_text("not the id"));
    header_put_text(&list, HEADER_USER, "Nats-Expected-Stream", bytes_text("of another broker"));
    e.headers = buf_bytes(&list);
    goes_round(&e);
    buf_done(&list);
}

TEST(nats_writes_headers_of_text_as_they_are)
{
    struct event e = { .body = bytes_text(""), .id = bytes_text("i"), .hops = 2 };
    struct message m = { .event = &e, .key = bytes_text("k"), .flags = MESSAGE_REPLAY };
    struct buf list, block;

    buf_init(&list, 1000);
    header_put_text(&list, HEADER_USER, "traceparent", bytes_text("00-a-b-01"));
    header_put_text(&list, HEADER_USER, "umlaut", bytes_text("\xc3\xa9"));
    e.headers = buf_bytes(&list);
    write(&names, &m, &block);
    CHECK_TEXT(buf_text(&block),
        "NATS/1.0\r\nmessage-id: i\r\nkey: k\r\nbascule-replay: 1\r\nbascule-hops: 2\r\n"
        "traceparent: 00-a-b-01\r\numlaut: \xc3\xa9\r\n\r\n");
    buf_done(&list);
    buf_done(&block);
}

TEST(nats_tells_a_null_body_from_an_empty_one)
{
    struct event e = { .body = BYTES_NONE }, back;
    struct message m = { .event = &e };
    struct buf block, headers;

    write(&names, &m, &block);
    read(buf_bytes(&block), &headers, &back);
    CHECK(!bytes_present(back.body));
    buf_done(&block);
    buf_done(&headers);
    e.body = bytes_of("", 0);
    write(&names, &m, &block);
    read(buf_bytes(&block), &headers, &back);
    CHECK(bytes_present(back.body));
    buf_done(&block);
    buf_done(&headers);
}

TEST(nats_blocks_that_are_none_are_refused)
{
    static const char *const bad[] = { "", "NATS/1.0", "NATS/1.0\r\n", "HTTP/1.0\r\n\r\n",
        "NATS/1.0\r\nno colon\r\n\r\n", "NATS/1.0\r\n: x\r\n\r\n", "NATS/1.0\r\na: b\n\r\n",
        "NATS/1.0\r\na: b\r\n\r\nmore", "NATS/1.0 what\r\n\r\n" };
    struct event e = { 0 };
    struct buf headers;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_init(&headers, 1000);
        if (block_read(&names, text(bad[i]), &headers, &e) == 0)
            harness_fail(__FILE__, __LINE__, "taken: '%s'", bad[i]);
        buf_done(&headers);
    }
}

TEST(nats_an_exact_list_that_cannot_be_read_is_a_header)
{
    struct event e;
    struct buf headers;
    struct bytes list;

    read(text("NATS/1.0\r\nbascule-headers: !!\r\na: b\r\n\r\n"), &headers, &e);
    list = e.headers;
    next_is(&list, HEADER_USER, "bascule-headers", HEADER_TEXT, "!!");
    next_is(&list, HEADER_USER, "a", HEADER_TEXT, "b");
    buf_done(&headers);
}

TEST(nats_answers_are_found_by_their_path)
{
    struct bytes o =
        text("{\"type\" : \"x\", \"a\":[1,{\"b\":\"}\"}], \"s\": {\"n\": -5, \"t\":true,"
             "\"q\":\"say \\\"hi\\\"\"},\n \"seq\":18446744073709551615 }");
    struct bytes list = text("[\"a.>\", \"b\" ]"), item;
    char words[8];

    CHECK(bytes_equal(answer_find(o, "type"), text("x")));
    CHECK_INT(answer_int(o, "s.n", 0), -5);
    CHECK(answer_true(o, "s.t"));
    CHECK(bytes_equal(answer_find(o, "s.q"), text("say \\\"hi\\\"")));
    CHECK(answer_unsigned(o, "seq") == UINT64_MAX);
    CHECK_INT(answer_int(o, "seq", -1), -1);
    CHECK(!bytes_present(answer_find(o, "s.none")));
    CHECK(!bytes_present(answer_find(o, "type.deeper")));
    CHECK_TEXT(answer_text(o, "s.q", words, sizeof words), "say \\\"h");
    CHECK_INT(answer_item(&list, &item), 1);
    CHECK(bytes_equal(item, text("a.>")));
    CHECK_INT(answer_item(&list, &item), 1);
    CHECK(bytes_equal(item, text("b")));
    CHECK_INT(answer_item(&list, &item), 0);
}

TEST(nats_strings_and_times_of_answers_are_read)
{
    static const char *const damaged[] = { "{\"a\":\"\\ud83d\"}", "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\ude00\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\ud83d\\u0041\"}", "{}" };
    struct bytes o = text("{\"s\":\"a\\u0026b\\\"\\/\\n\\u00e4\\u20AC\\ud83d\\ude00\","
                          "\"t\":\"2026-11-21T18:38:39.303912725Z\","
                          "\"u\":\"1970-01-01T00:00:01Z\"}");
    struct buf to;

    buf_init(&to, 100);
    CHECK(answer_string(o, "s", &to));
    CHECK(bytes_equal(buf_bytes(&to), text("a&b\"/\n\u00e4\u20ac\U0001f600")));
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++)
        CHECK(!answer_string(text(damaged[i]), "a", &to));
    buf_done(&to);
    CHECK_INT(answer_time_ms(o, "t"), 1795286319303);
    CHECK_INT(answer_time_ms(o, "u"), 1000);
    CHECK_INT(answer_time_ms(o, "s"), 0);
    CHECK_INT(answer_time_ms(o, "none"), 0);
}

TEST(nats_answers_cut_anywhere_are_read_without_harm)
{
    static const char whole[] =
        "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"max\\"
        "\"imum\"},\"stream\":\"S\",\"seq\":[{\"a\":1}]}";

    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *cut = malloc(n ? n : 1); /* so that a read past its end is seen */
        memcpy(cut, whole, n);
        (void)answer_find(bytes_of(cut, n), "seq");
        (void)answer_int(bytes_of(cut, n), "error.err_code", 0);
        free(cut);
    }
}

TEST(nats_places_are_read_from_old_and_new_ack_subjects)
{
    struct jet_place p;

    CHECK_INT(jet_place_parse("$JS.ACK.S.c.2.10.11.1600000000123456789.4", &p), 0);
    CHECK_INT(p.deliveries, 2);
    CHECK_INT(p.stream_seq, 10);
    CHECK_INT(p.consumer_seq, 11);
    CHECK_INT(p.time_ms, 1600000000123);
    CHECK_INT(p.pending, 4);
    CHECK_INT(jet_place_parse("$JS.ACK.hub.HASH.S.c.1.7.8.1600000000000000000.0.RANDOM", &p), 0);
    CHECK_INT(p.stream_seq, 7);
    CHECK_INT(jet_place_parse("$JS.ACK.hub.HASH.S.c.1.9.8.1600000000000000000.3", &p), 0);
    CHECK_INT(p.stream_seq, 9);
    CHECK_INT(p.pending, 3);
    CHECK_INT(jet_place_parse("$JS.ACK.S.c.1.x.1.1.1", &p), -1);
    CHECK_INT(jet_place_parse("$JS.ACK.S.c.1.1.1", &p), -1);
    CHECK_INT(jet_place_parse("$JS.ACK.S.c.1..1.1.1", &p), -1);
    CHECK_INT(jet_place_parse("some.where.else", &p), -1);
}

static struct meaning ack(const char *headers, const char *body, bool fixed)
{
    struct meaning m;

    meaning_of_ack(headers ? text(headers) : BYTES_NONE, text(body), fixed, "S", &m);
    return m;
}

TEST(nats_an_ack_of_the_stream_is_delivered_and_a_repeat_too)
{
    CHECK_INT(ack(NULL, "{\"stream\":\"S\", \"seq\":1}", true).fate, FATE_DELIVERED);
    CHECK_INT(
        ack(NULL, "{\"stream\":\"S\", \"seq\":1,\"duplicate\": true}", true).fate, FATE_DELIVERED);
}

TEST(nats_anything_but_an_ack_of_the_stream_is_not_delivered)
{
    static const char *const bodies[] = { "", "{}", "ok", "{\"stream\":\"T\",\"seq\":1}",
        "{\"stream\":\"S\"}", "{\"stream\":\"S\",\"seq\":0}",
        "{\"error\":{},\"stream\":\"S\",\"seq\":1}" };

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        CHECK(ack(NULL, bodies[i], i % 2).fate > FATE_DELIVERED);
}

static struct meaning error(int code, int number, const char *words, bool fixed)
{
    char body[200];

    (void)snprintf(body, sizeof body,
        "{\"error\":{\"code\":%d,\"err_code\":%d,\"description\":\"%s\"}}", code, number, words);
    return ack(NULL, body, fixed);
}

TEST(nats_errors_are_final_for_now_or_a_wait_by_their_meaning)
{
    struct meaning m = error(503, 10077, "maximum bytes exceeded", true);

    CHECK_INT(m.fate, FATE_UNSENT); /* full */
    CHECK_INT(m.cause, CAUSE_BROKER);
    CHECK_INT(m.code, 10077);
    CHECK_TEXT(m.text, "maximum bytes exceeded");
    CHECK_INT(error(503, 10077, "maximum messages per subject exceeded", true).cause, CAUSE_NACK);
    CHECK_INT(error(400, 10054, "message size", true).cause, CAUSE_FINAL);
    CHECK_INT(error(400, 10109, "sealed", true).fate, FATE_UNSENT);
    CHECK_INT(error(400, 10060, "expected stream", false).cause, CAUSE_ADDRESS);
    m = error(400, 10060, "expected stream", true);
    CHECK_INT(m.fate, FATE_UNSENT);
    CHECK_INT(m.cause, CAUSE_LOST);
    CHECK(m.outage);
    CHECK_INT(error(400, 19999, "nobody knows", true).cause, CAUSE_FINAL);
    CHECK_INT(error(500, 19999, "nobody knows", true).cause, CAUSE_BROKER);
}

TEST(nats_nobody_listening_is_an_outage_of_a_fixed_subject_only)
{
    static const char none[] = "NATS/1.0 503\r\n\r\n";
    struct meaning m = ack(none, "", true);

    CHECK(m.outage);
    CHECK_INT(m.fate, FATE_UNSENT);
    m = ack(none, "", false);
    CHECK_INT(m.fate, FATE_REFUSED);
    CHECK_INT(m.cause, CAUSE_ADDRESS);
    meaning_of_reply(text(none), &m);
    CHECK_INT(m.cause, CAUSE_UNROUTABLE);
}

TEST(nats_a_services_error_is_a_refusal_for_now)
{
    struct meaning m;

    meaning_of_reply(text("NATS/1.0\r\nNats-Service-Error-Code: 500\r\n\r\n"), &m);
    CHECK_INT(m.fate, FATE_REFUSED);
    CHECK_INT(m.cause, CAUSE_NACK);
    meaning_of_reply(BYTES_NONE, &m);
    CHECK_INT(m.fate, FATE_DELIVERED);
}

TEST(nats_a_forbidden_subject_is_told_from_another)
{
    static const char words[] = "Permissions Violation for Publish to \"a.b\"";

    CHECK(meaning_denies(words, "a.b"));
    CHECK(!meaning_denies(words, "a"));
    CHECK(!meaning_denies(words, "a.b.c"));
    CHECK(!meaning_denies("Permissions Violation for Subscription to \"a.b\"", "a.b"));
    CHECK(meaning_protocol("Maximum Payload Violation"));
    CHECK(!meaning_protocol("Stale Connection"));
}

TEST(nats_sequences_are_found_after_others_were_removed)
{
    struct seqs s = { 0 };

    CHECK(!seqs_has(&s, 1));
    seqs_remove(&s, 1);
    for (uint64_t i = 1; i <= 5000; i++)
        CHECK_INT(seqs_add(&s, i * 7), 1);
    CHECK_INT(seqs_add(&s, 7), 0);
    for (uint64_t i = 1; i <= 5000; i += 3)
        seqs_remove(&s, i * 7);
    for (uint64_t i = 1; i <= 5000; i++)
        CHECK_INT(seqs_has(&s, i * 7), i % 3 != 1);
    CHECK_INT(s.n, 5000 - 1667);
    seqs_done(&s);
}

TEST(nats_public_keys_follow_from_their_seeds)
{
    char key[64];

    /* The pair of
     * https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
     */
    CHECK_INT(nkey_public_of("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", key,
                  sizeof key, NULL),
        0);
    CHECK_TEXT(key, "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
    CHECK_INT(nkey_public_of("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VA", key,
                  sizeof key, NULL),
        -1);
    CHECK_INT(nkey_public_of("UDXU", key, sizeof key, NULL), -1);
}

TEST(nats_subjects_are_judged_by_their_parts)
{
    CHECK(nats_subject_valid("a.b", 3, false));
    CHECK(nats_subject_valid("$JS.x-1_>y", 10, false));
    CHECK(!nats_subject_valid("", 0, true));
    CHECK(!nats_subject_valid("a..b", 4, true));
    CHECK(!nats_subject_valid(".a", 2, true));
    CHECK(!nats_subject_valid("a.", 2, true));
    CHECK(!nats_subject_valid("a b", 3, true));
    CHECK(!nats_subject_valid("a\r\nPUB", 6, true));
    CHECK(!nats_subject_valid("a.*", 3, false));
    CHECK(nats_subject_valid("a.*.b.>", 7, true));
    CHECK(!nats_subject_valid("a.>.b", 5, true));
}

static const char *wrong_source(struct nats_source_options o)
{
    static struct fault why;
    const char *key = NULL;

    return nats_source_check(&o, &key, &why) == 0 ? NULL : key ? key : "?";
}

TEST(nats_options_that_cannot_work_together_are_refused)
{
    char *list[] = { (char *)(uintptr_t) "a.>" };
    struct option_list subjects = { list, 1 };
    char *stream = (char *)(uintptr_t) "S", *durable = (char *)(uintptr_t) "d";

    CHECK(!wrong_source((struct nats_source_options){ .stream = stream, .durable = durable }));
    CHECK(!wrong_source((struct nats_source_options){ .subjects = subjects }));
    CHECK_TEXT(wrong_source((struct nats_source_options){ 0 }), "subjects");
    CHECK_TEXT(wrong_source((struct nats_source_options){ .stream = stream }), "durable");
    CHECK_TEXT(
        wrong_source((struct nats_source_options){ .subjects = subjects, .durable = durable }),
        "durable");
    CHECK_TEXT(wrong_source((struct nats_source_options){
                   .stream = stream, .durable = durable, .queue_group = durable }),
        "queue_group");
    CHECK_TEXT(
        wrong_source((struct nats_source_options){
            .stream = stream, .durable = durable, .start = NATS_START_NEW, .start_sequence = 4 }),
        "start");
    CHECK_TEXT(wrong_source(
                   (struct nats_source_options){ .subjects = subjects, .start = NATS_START_LAST }),
        "start");
}

TEST(nats_a_consumer_is_made_as_the_options_say)
{
    char *list[] = { (char *)(uintptr_t) "a.\"x", (char *)(uintptr_t) "b" };
    struct nats_source_options o = { .stream = (char *)(uintptr_t) "S",
        .durable = (char *)(uintptr_t) "d",
        .subjects = { list, 1 },
        .start_sequence = 5,
        .ack_wait_ms = 2000 };
    struct buf b;

    buf_init(&b, 1000);
    jet_consumer_config(&o, true, 0, 100, &b);
    CHECK_TEXT(buf_text(&b),
        "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"d\",\"deliver_policy\":"
        "\"by_start_sequence\",\"opt_start_seq\":5,\"ack_policy\":\"explicit\",\"replay_policy\":"
        "\"instant\",\"ack_wait\":2000000000,\"max_ack_pending\":100,\"filter_subject\":"
        "\"a.\\\"x\"}}");
    o.subjects.n = 2;
    jet_consumer_config(&o, true, 0, 100, &b);
    jet_consumer_config(&o, true, 9, 100, &b);
    CHECK_CONTAINS(buf_text(&b), "\"opt_start_seq\":9,");
    CHECK_CONTAINS(buf_text(&b), "\"filter_subjects\":[\"a.\\\"x\",\"b\"]");
    o.start_sequence = 0;
    o.start = NATS_START_NEW;
    jet_consumer_config(&o, false, 0, 100, &b);
    CHECK_CONTAINS(buf_text(&b), "\"deliver_policy\":\"new\"");
    CHECK(jet_covers(&o.subjects, text("[\"b\"]")));
    CHECK(!jet_covers(&o.subjects, text("[\"b\",\"c\"]")));
    buf_done(&b);
}
