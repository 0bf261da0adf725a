#include "bridge/base/header.h"
#include "routes/template.h"
#include "tests/harness.h"

static const char *rendered(const char *text, const struct event *e, struct buf *to, int want)
{
    struct template *t = NULL;
    const char *missing = NULL;

    buf_clear(to);
    CHECK_INT(template_open(text, &t, NULL), 0);
    CHECK_INT(template_render(t, e, "orders", to, &missing), want);
    template_free(t);
    return buf_text(to);
}

TEST(template_renders_values_defaults_and_literals)
{
    struct event e = { .address = bytes_text("order.new"), .origin = bytes_text("o-1") };
    struct buf to, headers;

    buf_init(&to, 1024);
    buf_init(&headers, 1024);
    header_put_text(&headers, HEADER_USER, "who", bytes_text("ann"));
    e.headers = buf_bytes(&headers);
    CHECK_TEXT(rendered("x.${address}/${id}@${route}", &e, &to, 0), "x.order.new/o-1@orders");
    CHECK_TEXT(rendered("${header.who}${header.no:-none}", &e, &to, 0), "annnone");
    CHECK_TEXT(rendered("$5 $${address}", &e, &to, 0), "$5 ${address}");
    CHECK_TEXT(rendered("a${key}", &e, &to, 1), "a");
    buf_done(&headers);
    buf_done(&to);
}

TEST(template_trouble_is_told_with_its_offset)
{
    struct template *t = NULL;
    struct fault why = { 0 };

    CHECK_INT(template_open("ab${adress}", &t, &why), -1);
    CHECK_INT(why.code, 2);
    CHECK_CONTAINS(why.text, "did you mean 'address'");
    CHECK_INT(template_open("${env:X}", &t, &why), -1);
    CHECK_CONTAINS(why.text, "loaded");
    CHECK_INT(template_open("${key", &t, &why), -1);
    CHECK_CONTAINS(why.text, "no '}'");
}
