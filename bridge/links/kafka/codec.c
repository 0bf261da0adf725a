#include "bridge/links/kafka/codec.h"

#include <errno.h>
#include <stdlib.h>

static bool text_like(struct bytes b)
{
    for (size_t i = 0; i < b.n;) {
        uint8_t c = b.at[i];
        size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : 3;

        if (c == 0 || (c >= 0x80 && c < 0xc2) || c > 0xf4 || b.n - i <= more)
            return false;
        for (size_t k = 1; k <= more; k++)
            if ((b.at[i + k] & 0xc0) != 0x80)
                return false;
        i += more + 1;
    }
    return true;
}

/* The type's letter in bascule-header-types. */
static char letter_of(const struct header *h)
{
    int base = h->scope == HEADER_PROPERTY ? 'A' : 'a';

    return (char)(base + (int)h->value.type - 1);
}

/* The type that a reader takes a value for without being told. */
static bool type_plain(const struct header_value *v)
{
    if (v->type == HEADER_TEXT)
        return text_like(v->bytes);
    return v->type == HEADER_NULL || (v->type == HEADER_BYTES && !text_like(v->bytes));
}

static bool number_parse(struct bytes b, int64_t *ret)
{
    char text[32];
    char *end;

    if (b.n == 0 || b.n >= sizeof text)
        return false;
    memcpy(text, b.at, b.n);
    text[b.n] = '\0';
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool decimal_parse(struct bytes b, struct header_value *v)
{
    char digits[32];
    size_t n = 0;
    bool point = false;

    for (size_t i = 0; i < b.n; i++) {
        if (b.at[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (n + 1 >= sizeof digits || v->scale == 255)
            return false;
        digits[n++] = (char)b.at[i];
        v->scale = (uint8_t)(v->scale + point);
    }
    return number_parse(bytes_of(digits, n), &v->i);
}

static bool float_parse(struct bytes b, double *ret)
{
    char text[64];
    char *end;

    if (b.n == 0 || b.n >= sizeof text)
        return false;
    memcpy(text, b.at, b.n);
    text[b.n] = '\0';
    *ret = strtod(text, &end);
    return *end == '\0';
}

static bool unsigned_parse(struct bytes b, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < b.n; i++)
        if (b.at[i] < '0' || b.at[i] > '9' || __builtin_mul_overflow(*ret, 10u, ret) ||
            __builtin_add_overflow(*ret, (uint64_t)(b.at[i] - '0'), ret))
            return false;
    return b.n > 0;
}

static bool value_parse(enum header_type type, struct bytes b, struct header_value *ret)
{
    *ret = (struct header_value){ .type = type };
    if (type == HEADER_NULL)
        return !bytes_present(b);
    if (!bytes_present(b))
        return false;
    switch (type) {
    case HEADER_TEXT:
    case HEADER_BYTES:
        ret->bytes = b;
        return true;
    case HEADER_ARRAY:
    case HEADER_TABLE: {
        struct buf probe;
        bool ok;

        ret->bytes = b;
        buf_init(&probe, b.n + 64);
        header_put(&probe, HEADER_USER, bytes_text("x"), ret);
        ok = !probe.failed && header_valid(buf_bytes(&probe));
        buf_done(&probe);
        return ok;
    }
    case HEADER_BOOL:
        ret->i = b.n == 4;
        return bytes_equal(b, bytes_text("true")) || bytes_equal(b, bytes_text("false"));
    case HEADER_F32:
    case HEADER_F64:
        return float_parse(b, &ret->f);
    case HEADER_DECIMAL:
        return decimal_parse(b, ret);
    case HEADER_U64:
        return unsigned_parse(b, &ret->u);
    default:
        return number_parse(b, &ret->i);
    }
}

static bool starts(struct bytes b, const char *with)
{
    size_t n = strlen(with);

    return b.n > n && memcmp(b.at, with, n) == 0;
}

/* One letter: its header, or false when letter and value do not agree. */
static bool typed(char letter, const struct codec_field *f, struct header *ret)
{
    bool property = letter >= 'A' && letter <= 'Z';
    int type = letter - (property ? 'A' : 'a') + 1;

    if (type < HEADER_NULL || type > HEADER_TABLE || (property && !starts(f->name, "amqp-")))
        return false;
    ret->scope = property ? HEADER_PROPERTY : HEADER_USER;
    ret->name = property ? bytes_of(f->name.at + 5, f->name.n - 5) : f->name;
    return value_parse((enum header_type)type, f->value, &ret->value);
}

static bool types_fit(struct bytes types, const struct codec_field *fields, size_t n)
{
    struct header h;

    if (types.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!typed((char)types.at[i], &fields[i], &h))
            return false;
    return true;
}

/* Headers with a place of their own in the event. */
static bool read_known(const struct codec_field *f, struct buf *headers, struct event *event)
{
    uint64_t hops;

    if (!bytes_present(f->value))
        return false;
    if (bytes_equal(f->name, bytes_text("message-id")) && !bytes_present(event->id)) {
        event->id = f->value;
        return true;
    }
    if (bytes_equal(f->name, bytes_text("content-type"))) {
        header_put_text(headers, HEADER_PROPERTY, "content-type", f->value);
        return true;
    }
    if (bytes_equal(f->name, bytes_text("bascule-hops")) && unsigned_parse(f->value, &hops)) {
        event->hops = hops < UINT32_MAX ? (uint32_t)hops : UINT32_MAX;
        return true;
    }
    return false;
}

void kafka_codec_read(
    const struct codec_field *fields, size_t n, struct buf *headers, struct event *event)
{
    size_t first = 0, known = 0;
    struct bytes types = BYTES_NONE;

    for (; known < n; known++)
        if (bytes_equal(fields[known].name, bytes_text("bascule-header-types"))) {
            if (bytes_present(fields[known].value) &&
                types_fit(fields[known].value, fields + known + 1, n - known - 1)) {
                types = fields[known].value;
                first = known + 1;
            }
            break;
        }
    for (size_t i = 0; i < n; i++) {
        struct header h = { .scope = HEADER_USER, .name = fields[i].name };

        if (bytes_present(types) && i == known)
            continue;
        if (bytes_present(types) && i >= first) {
            (void)typed((char)types.at[i - first], &fields[i], &h);
        } else if (read_known(&fields[i], headers, event)) {
            continue;
        } else if (bytes_present(fields[i].value)) {
            h.value.type = text_like(fields[i].value) ? HEADER_TEXT : HEADER_BYTES;
            h.value.bytes = fields[i].value;
        } else {
            h.value.type = HEADER_NULL;
        }
        header_put(headers, h.scope, h.name, &h.value);
    }
}

static bool is_content_type(const struct header *h)
{
    return h->scope == HEADER_PROPERTY && bytes_equal(h->name, bytes_text("content-type")) &&
           h->value.type == HEADER_TEXT;
}

/* Ours are written by us alone; a broker's own are not written at all. */
static bool left_out(const struct header *h)
{
    return h->scope == HEADER_BROKER || is_content_type(h) ||
           bytes_equal(h->name, bytes_text("bascule-hops")) ||
           bytes_equal(h->name, bytes_text("bascule-replay"));
}

static int types_write(struct bytes list, char *types, size_t *ret)
{
    struct header h;
    bool wanted = false;
    size_t n = 0;
    int got;

    while ((got = header_next(&list, &h)) == 1) {
        if (left_out(&h))
            continue;
        if (n == CODEC_FIELDS_MAX)
            return -1;
        wanted |= h.scope == HEADER_PROPERTY || !type_plain(&h.value) ||
                  bytes_equal(h.name, bytes_text("message-id")) ||
                  bytes_equal(h.name, bytes_text("content-type"));
        types[n++] = letter_of(&h);
    }
    *ret = wanted ? n : 0;
    return got;
}

static int value_write(const struct header *h, struct buf *scratch, struct bytes *ret)
{
    const struct header_value *v = &h->value;

    *ret = BYTES_NONE;
    if (v->type == HEADER_NULL)
        return 0;
    if (v->type == HEADER_ARRAY || v->type == HEADER_TABLE || v->type == HEADER_TEXT ||
        v->type == HEADER_BYTES) {
        *ret = v->bytes;
        return 0;
    }
    buf_clear(scratch);
    if (header_value_text(v, scratch) != 0 || scratch->failed)
        return -1;
    *ret = buf_bytes(scratch);
    return 0;
}

static void own_write(
    const struct event *event, bool replay, struct buf *scratch, codec_put *put, void *to)
{
    if (bytes_present(event_id(event)))
        put(to, bytes_text("message-id"), event_id(event));
    if (event->hops) {
        buf_clear(scratch);
        buf_put_unsigned(scratch, event->hops);
        put(to, bytes_text("bascule-hops"), buf_bytes(scratch));
    }
    if (replay)
        put(to, bytes_text("bascule-replay"), bytes_text("1"));
}

int kafka_codec_write(
    const struct event *event, bool replay, struct buf *scratch, codec_put *put, void *to)
{
    char types[CODEC_FIELDS_MAX], name[512];
    struct bytes list = event->headers, value;
    struct header h;
    size_t n = 0;

    if (list.n && types_write(list, types, &n) != 0)
        return -1;
    own_write(event, replay, scratch, put, to);
    while (list.n && header_next(&list, &h) == 1)
        if (is_content_type(&h))
            put(to, h.name, h.value.bytes);
    if (n)
        put(to, bytes_text("bascule-header-types"), bytes_of(types, n));
    list = event->headers;
    while (list.n && header_next(&list, &h) == 1) {
        if (left_out(&h))
            continue;
        if (value_write(&h, scratch, &value) != 0)
            return -1;
        if (h.scope == HEADER_PROPERTY) {
            if (h.name.n > sizeof name - 5)
                return -1;
            memcpy(name, "amqp-", 5);
            memcpy(name + 5, h.name.at, h.name.n);
            h.name = bytes_of(name, h.name.n + 5);
        }
        put(to, h.name, value);
    }
    return 0;
}
