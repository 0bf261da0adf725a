#include "bridge/base/header.h"
#include "bridge/trace_json.h"
#include "tests/harness.h"

#include <jansson.h>

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static bool parse(const char *text, struct span *ret, bool *sampled)
{
    return span_parse(bytes_text(text), ret, sampled);
}

TEST(a_traceparent_gives_trace_parent_and_the_senders_word_on_sampling)
{
    struct span s = { .kind = SPAN_RECEIVE };
    bool sampled = false;

    CHECK(parse(PARENT, &s, &sampled) && sampled);
    CHECK(memcmp(s.trace_id, "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c",
              16) == 0);
    CHECK(memcmp(s.parent, "\xb7\xad\x6b\x71\x69\x20\x33\x31", 8) == 0);
    CHECK(
        parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", &s, &sampled) && !sampled);
    /* A later version may say more. */
    CHECK(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more", &s, &sampled) &&
          sampled);
}

TEST(what_is_no_traceparent_is_none)
{
    static const char *const odd[] = { "", "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g", NULL };
    struct span s = { .kind = SPAN_RECEIVE };
    bool sampled;

    for (size_t i = 0; odd[i]; i++)
        if (parse(odd[i], &s, &sampled))
            harness_fail(__FILE__, __LINE__, "'%s' was taken", odd[i]);
}

static size_t begun(const struct tracer *t, size_t n)
{
    size_t ret = 0;

    for (uint64_t seq = 1; seq <= n; seq++) {
        struct event e = { .seq = seq };
        struct span s = { .kind = SPAN_RECEIVE };

        ret += span_begin(t, 3, &e, &s);
    }
    return ret;
}

TEST(of_events_without_a_traceparent_the_ratio_is_traced)
{
    struct tracer t = { .on = true, .ratio = 0.1, .seed = 1 };

    CHECK(begun(&t, 100000) > 9000 && begun(&t, 100000) < 11000);
    t.ratio = 0;
    CHECK_INT(begun(&t, 1000), 0);
    t.ratio = 1;
    CHECK_INT(begun(&t, 1000), 1000);
}

TEST(a_traceparent_is_found_whether_its_letters_are_large_or_small)
{
    struct tracer t = { .ratio = 0, .seed = 1 };
    struct event e = { .seq = 1 };
    struct span s = { .kind = SPAN_RECEIVE };
    struct buf headers;

    buf_init(&headers, 1000);
    header_put_text(&headers, HEADER_USER, "Traceparent", bytes_text(PARENT));
    e.headers = buf_bytes(&headers);
    CHECK(span_begin(&t, 3, &e, &s));
    CHECK_INT(s.trace_id[0], 0x0a);
    buf_done(&headers);
}

TEST(made_up_ids_are_the_same_for_whoever_asks_again_and_of_this_store_alone)
{
    struct tracer t = { .ratio = 1, .seed = 1 }, other = { .ratio = 1, .seed = 2 };
    struct event e = { .seq = 5 };
    struct span a = { .kind = SPAN_RECEIVE }, b = a, c = a, d = a;
    uint8_t first[8], second[8];

    CHECK(span_begin(&t, 3, &e, &a) && span_begin(&t, 3, &e, &b));
    CHECK(span_begin(&other, 3, &e, &c) && span_begin(&t, 4, &e, &d));
    CHECK(memcmp(a.trace_id, b.trace_id, 16) == 0);
    CHECK(memcmp(a.trace_id, c.trace_id, 16) != 0 && memcmp(a.trace_id, d.trace_id, 16) != 0);
    span_id(&t, 3, 5, SPAN_DELIVER, 1, first);
    span_id(&t, 3, 5, SPAN_DELIVER, 2, second);
    CHECK(memcmp(first, second, 8) != 0);
}

/* ---- OTLP ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "(none)";
}

static const char *attribute(const json_t *of, const char *key)
{
    json_t *one;
    size_t i;

    json_array_foreach(json_object_get(of, "attributes"), i, one)
    {
        if (strcmp(text_of(one, "key"), key) == 0)
            return text_of(json_object_get(one, "value"), "stringValue");
    }
    return "(none)";
}

static json_t *first(json_t *in, const char *key)
{
    return json_array_get(json_object_get(in, key), 0);
}

TEST(spans_are_written_as_otlp_wants_them)
{
    struct span s[] = {
        { .kind = SPAN_RECEIVE,
            .trace_id = { 1 },
            .id = { 2 },
            .start_ns = 1700000000123456789,
            .end_ns = 1700000000123456790,
            .seq = 7,
            .route = "orders",
            .log = "orders",
            .system = "kafka",
            .place = "t\"1",
            .event_id = "id\xff",
            .tracestate = "a=1,b=2" },
        { .kind = SPAN_DELIVER,
            .trace_id = { 1 },
            .id = { 3 },
            .parent = { 2 },
            .start_ns = 5,
            .end_ns = 4,
            .seq = 7,
            .route = "orders",
            .sink = "live",
            .log = "orders",
            .system = "redis",
            .fate = "refused",
            .error = "no room" },
    };
    struct trace_json_resource who = { "shop", "0123456789abcdef" };
    struct buf text;
    json_t *whole, *resource, *spans, *one;

    buf_init(&text, 65536);
    trace_json(&who, s, 2, &text);
    whole = json_loadb((const char *)text.at, text.n, 0, NULL);
    resource = first(whole, "resourceSpans");
    CHECK_TEXT(attribute(json_object_get(resource, "resource"), "service.name"), "shop");
    CHECK_TEXT(attribute(json_object_get(resource, "resource"), "service.instance.id"), who.store);
    spans = json_object_get(first(resource, "scopeSpans"), "spans");
    CHECK_INT(json_array_size(spans), 2);
    one = json_array_get(spans, 0);
    CHECK_TEXT(text_of(one, "name"), "receive orders");
    CHECK_INT(json_integer_value(json_object_get(one, "kind")), 5);
    CHECK_TEXT(text_of(one, "traceId"), "01000000000000000000000000000000");
    CHECK_TEXT(text_of(one, "spanId"), "0200000000000000");
    CHECK(json_object_get(one, "parentSpanId") == NULL && json_object_get(one, "status") == NULL);
    CHECK_TEXT(text_of(one, "traceState"), "a=1,b=2");
    CHECK_TEXT(text_of(one, "startTimeUnixNano"), "1700000000123456789");
    CHECK_TEXT(text_of(one, "endTimeUnixNano"), "1700000000123456790");
    CHECK_TEXT(attribute(one, "bascule.event"), "orders@7");
    CHECK_TEXT(attribute(one, "messaging.system"), "kafka");
    CHECK_TEXT(attribute(one, "messaging.destination.name"), "t\"1");
    CHECK_TEXT(attribute(one, "messaging.message.id"), "id\xef\xbf\xbd");
    CHECK_TEXT(attribute(one, "bascule.sink"), "(none)");
    one = json_array_get(spans, 1);
    CHECK_TEXT(text_of(one, "name"), "deliver orders/live");
    CHECK_TEXT(text_of(one, "parentSpanId"), "0200000000000000");
    CHECK_TEXT(text_of(one, "endTimeUnixNano"), "5"); /* a clock may be set back */
    CHECK_TEXT(attribute(one, "bascule.fate"), "refused");
    CHECK_INT(json_integer_value(json_object_get(json_object_get(one, "status"), "code")), 2);
    CHECK_TEXT(text_of(json_object_get(one, "status"), "message"), "no room");
    json_decref(whole);
    buf_done(&text);
}
