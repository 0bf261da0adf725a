#include "bridge/links/nats/answer.h"

#include <stdio.h>
#include <time.h>

static void blanks(struct bytes *b)
{
    while (b->n && (b->at[0] == ' ' || b->at[0] == '\n' || b->at[0] == '\r' || b->at[0] == '\t'))
        *b = bytes_of(b->at + 1, b->n - 1);
}

static void skip(struct bytes *b, size_t n)
{
    *b = bytes_of(b->at + n, b->n - n);
}

static bool take(struct bytes *b, char c)
{
    blanks(b);
    if (!b->n || b->at[0] != (uint8_t)c)
        return false;
    skip(b, 1);
    return true;
}

/* What stands between the quotes. */
static bool take_string(struct bytes *b, struct bytes *ret)
{
    size_t n = 0;

    if (!take(b, '"'))
        return false;
    while (n < b->n && b->at[n] != '"')
        n += b->at[n] == '\\' ? 2 : 1;
    if (n >= b->n)
        return false;
    *ret = bytes_of(b->at, n);
    skip(b, n + 1);
    return true;
}

static bool take_scalar(struct bytes *b, struct bytes *ret)
{
    size_t n = 0;

    while (n < b->n && ((b->at[n] >= 'a' && b->at[n] <= 'z') || b->at[n] == 'E' ||
                           (b->at[n] >= '0' && b->at[n] <= '9') || b->at[n] == '-' ||
                           b->at[n] == '+' || b->at[n] == '.'))
        n++;
    *ret = bytes_of(b->at, n);
    skip(b, n);
    return n > 0;
}

/* An object or array, to the end that fits its beginning. */
static bool take_nested(struct bytes *b, struct bytes *ret)
{
    struct bytes rest = *b, string;
    unsigned depth = 0;

    while (rest.n) {
        uint8_t c = rest.at[0];
        if (c == '"') {
            if (!take_string(&rest, &string))
                return false;
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (depth > ANSWER_DEPTH_MAX)
            return false;
        skip(&rest, 1);
        if (depth == 0) {
            *ret = bytes_of(b->at, b->n - rest.n);
            *b = rest;
            return true;
        }
    }
    return false;
}

static bool take_value(struct bytes *b, struct bytes *ret)
{
    blanks(b);
    if (!b->n)
        return false;
    if (b->at[0] == '"')
        return take_string(b, ret);
    if (b->at[0] == '{' || b->at[0] == '[')
        return take_nested(b, ret);
    return take_scalar(b, ret);
}

int answer_member(struct bytes *object, struct bytes *name, struct bytes *value)
{
    return (take(object, '{') || take(object, ',')) && take_string(object, name) &&
           take(object, ':') && take_value(object, value);
}

static struct bytes member(struct bytes object, struct bytes name)
{
    struct bytes key, value;

    if (object.n && object.at[0] == ',')
        return BYTES_NONE;
    while (answer_member(&object, &key, &value) == 1)
        if (bytes_equal(key, name))
            return value;
    return BYTES_NONE;
}

struct bytes answer_find(struct bytes object, const char *path)
{
    while (bytes_present(object)) {
        const char *dot = strchr(path, '.');
        object = member(object, bytes_of(path, dot ? (size_t)(dot - path) : strlen(path)));
        if (!dot)
            return object;
        path = dot + 1;
    }
    return BYTES_NONE;
}

int64_t answer_int(struct bytes object, const char *path, int64_t otherwise)
{
    struct bytes text = answer_find(object, path);
    bool minus = text.n && text.at[0] == '-';
    int64_t n = 0;

    if (text.n == (size_t)minus)
        return otherwise;
    for (size_t i = minus; i < text.n; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, text.at[i] - '0', &n))
            return otherwise;
    }
    return minus ? -n : n;
}

uint64_t answer_unsigned(struct bytes object, const char *path)
{
    struct bytes text = answer_find(object, path);
    uint64_t n = 0;

    for (size_t i = 0; i < text.n; i++)
        if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(text.at[i] - '0'), &n))
            return 0;
    return n;
}

bool answer_true(struct bytes object, const char *path)
{
    return bytes_equal(answer_find(object, path), bytes_text("true"));
}

const char *answer_text(struct bytes object, const char *path, char *ret, size_t n)
{
    struct bytes text = answer_find(object, path);
    size_t length = text.n < n - 1 ? text.n : n - 1;

    if (length)
        memcpy(ret, text.at, length);
    ret[length] = 0;
    return ret;
}

/* Four hexadecimal digits. */
static int hex4(const uint8_t *at)
{
    int n = 0;

    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i], low = c | 0x20;
        if (c >= '0' && c <= '9')
            n = n * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            n = n * 16 + (low - 'a' + 10);
        else
            return -1;
    }
    return n;
}

static void put_utf8(struct buf *to, uint32_t c)
{
    if (c < 0x80) {
        buf_put_byte(to, (uint8_t)c);
        return;
    }
    if (c < 0x800) {
        buf_put_byte(to, (uint8_t)(0xc0 | c >> 6));
    } else {
        buf_put_byte(to, (uint8_t)(c < 0x10000 ? 0xe0 | c >> 12 : 0xf0 | c >> 18));
        if (c >= 0x10000)
            buf_put_byte(to, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
        buf_put_byte(to, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    }
    buf_put_byte(to, (uint8_t)(0x80 | (c & 0x3f)));
}

/* What follows "\\u"; two of them for what lies beyond 16 bits. */
static bool take_unicode(struct bytes *text, struct buf *to)
{
    int high = text->n >= 4 ? hex4(text->at) : -1, low = -1;

    if (high < 0)
        return false;
    skip(text, 4);
    if (high < 0xd800 || high > 0xdfff) {
        put_utf8(to, (uint32_t)high);
        return true;
    }
    if (high > 0xdbff || text->n < 6 || text->at[0] != '\\' || text->at[1] != 'u')
        return false;
    low = hex4(text->at + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return false;
    skip(text, 6);
    put_utf8(to, 0x10000 + ((uint32_t)(high - 0xd800) << 10 | (uint32_t)(low - 0xdc00)));
    return true;
}

bool answer_string(struct bytes object, const char *path, struct buf *to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    struct bytes text = answer_find(object, path);

    if (!bytes_present(text))
        return false;
    while (text.n) {
        const char *name = NULL;
        uint8_t c = text.at[0];

        skip(&text, 1);
        if (c != '\\') {
            buf_put_byte(to, c);
            continue;
        }
        if (!text.n)
            return false;
        c = text.at[0];
        skip(&text, 1);
        name = c ? strchr(names, c) : NULL;
        if (name)
            buf_put_byte(to, (uint8_t)values[name - names]);
        else if (c != 'u' || !take_unicode(&text, to))
            return false;
    }
    return !to->failed;
}

int64_t answer_time_ms(struct bytes object, const char *path)
{
    struct tm at = { 0 };
    char text[40];
    int parsed = 0, ms = 0, scale = 100;

    (void)answer_text(object, path, text, sizeof text);
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &at.tm_year, &at.tm_mon, &at.tm_mday, &at.tm_hour,
            &at.tm_min, &at.tm_sec, &parsed) != 6)
        return 0;
    for (const char *c = text + parsed + 1; text[parsed] == '.' && scale && *c >= '0' && *c <= '9';
         c++, scale /= 10)
        ms += (*c - '0') * scale;
    at.tm_year -= 1900;
    at.tm_mon--;
    return (int64_t)timegm(&at) * 1000 + ms;
}

int answer_item(struct bytes *array, struct bytes *ret)
{
    blanks(array);
    if (!array->n || (array->at[0] != '[' && array->at[0] != ','))
        return 0;
    skip(array, 1);
    return take_value(array, ret);
}

void answer_put_string(struct buf *to, const char *text)
{
    buf_put_byte(to, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20)
            buf_put_format(to, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            buf_put_format(to, "\\%c", c);
        else
            buf_put_byte(to, c);
    }
    buf_put_byte(to, '"');
}
