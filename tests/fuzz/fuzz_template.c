/* Any text as a template, rendered for an event with all and with none of its values. */
#include "bridge/base/header.h"
#include "routes/template.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void render(const struct template *t, const struct event *e)
{
    const char *missing = NULL;
    struct buf to;

    buf_init(&to, 1 << 20);
    if (template_render(t, e, "route", &to, &missing) == 1 && !missing)
        abort();
    buf_done(&to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = strndup((const char *)data, n);
    struct event none = { .address = bytes_text("a") }, all = none;
    struct template *t = NULL;
    struct fault why = { 0 };
    struct buf headers;

    if (!text)
        return 0;
    buf_init(&headers, 4096);
    header_put_text(&headers, HEADER_USER, "h", bytes_text("value"));
    all.key = all.id = bytes_text("k");
    all.headers = buf_bytes(&headers);
    if (template_open(text, &t, &why) == 0) {
        render(t, &none);
        render(t, &all);
    } else if (why.code < 0 || (size_t)why.code > strlen(text)) {
        abort();
    }
    template_free(t);
    buf_done(&headers);
    free(text);
    return 0;
}
