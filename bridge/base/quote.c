#include "bridge/base/quote.h"

/* Bytes of the UTF-8 character at c, 0 when there is none (RFC 3629). */
static size_t utf8(const unsigned char *c)
{
    size_t n = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) || (*c == 0xf0 && c[1] < 0x90) ||
        (*c == 0xf4 && c[1] > 0x8f))
        return 0;
    return n;
}

void quote_put(struct buf *to, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    buf_put_byte(to, '"');
    while (*c) {
        size_t n = utf8(c);

        if (n == 0)
            buf_put_text(to, "\\ufffd");
        else if (*c == '"' || *c == '\\')
            buf_put_format(to, "\\%c", *c);
        else if (*c == '\n')
            buf_put_text(to, "\\n");
        else if (*c < 0x20 || *c == 0x7f)
            buf_put_format(to, "\\u%04x", *c);
        else if (*c == 0xc2 && c[1] < 0xa0)
            buf_put_format(to, "\\u%04x", c[1]);
        else
            buf_put(to, c, n);
        c += n ? n : 1;
    }
    buf_put_byte(to, '"');
}
