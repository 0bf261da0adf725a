#include "bridge/base/encoding.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Length of the character at b[i], 0 when it is none. */
static size_t character(struct bytes b, size_t i)
{
    uint8_t c = b.at[i];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

    if (c >= 0x80 && (c < 0xc2 || c > 0xf4))
        return 0;
    if (n > b.n - i || (n > 1 && (b.at[i + 1] < low || b.at[i + 1] > high)))
        return 0;
    for (size_t k = 2; k < n; k++)
        if ((b.at[i + k] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool encoding_utf8(struct bytes b)
{
    for (size_t i = 0, n = 0; i < b.n; i += n) {
        n = character(b, i);
        if (n == 0)
            return false;
    }
    return true;
}

void encoding_base64(struct bytes from, struct buf *to)
{
    for (size_t i = 0; i < from.n; i += 3) {
        size_t left = from.n - i;
        unsigned v = (unsigned)from.at[i] << 16 | (left > 1 ? (unsigned)from.at[i + 1] << 8 : 0) |
                     (left > 2 ? from.at[i + 2] : 0u);
        buf_put_byte(to, (uint8_t)digits[v >> 18]);
        buf_put_byte(to, (uint8_t)digits[v >> 12 & 63]);
        buf_put_byte(to, left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
        buf_put_byte(to, left > 2 ? (uint8_t)digits[v & 63] : '=');
    }
}

int encoding_base64_decode(struct bytes text, struct buf *to)
{
    if (text.n % 4)
        return -1;
    for (size_t i = 0; i < text.n; i += 4) {
        const uint8_t *four = text.at + i;
        size_t pad = i + 4 < text.n ? 0 : (size_t)(four[3] == '=') + (four[2] == '=');
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            const char *at = k < 4 - pad ? memchr(digits, four[k], 64) : digits;
            if (!at || (k >= 4 - pad && four[k] != '='))
                return -1;
            v = v << 6 | (uint32_t)(at - digits);
        }
        for (size_t k = 0; k < 3 - pad; k++)
            buf_put_byte(to, (uint8_t)(v >> (16 - 8 * k)));
    }
    return to->failed ? -1 : 0;
}

void encoding_json(struct bytes text, struct buf *to)
{
    size_t from = 0;

    buf_put_byte(to, '"');
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.at[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_put(to, text.at + from, i - from);
        from = i + 1;
        if (c < 0x20)
            buf_put_format(to, "\\u%04x", c);
        else
            buf_put_format(to, "\\%c", c);
    }
    buf_put(to, text.at + from, text.n - from);
    buf_put_byte(to, '"');
}
