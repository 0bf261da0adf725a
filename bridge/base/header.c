#include "bridge/base/header.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

/* An item is: type byte, then its payload (varint zigzag, varint, fixed bits, or length and bytes).
 * A header is: scope byte, name length varint, name, item. */

static bool type_signed(enum header_type type)
{
    return (type >= HEADER_BOOL && type <= HEADER_I64) || type == HEADER_TIME;
}

static bool type_bytes(enum header_type type)
{
    return type == HEADER_TEXT || type == HEADER_BYTES || type == HEADER_ARRAY ||
           type == HEADER_TABLE;
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

void header_put_item(struct buf *to, const struct header_value *value)
{
    buf_put_byte(to, (uint8_t)value->type);
    if (type_signed(value->type)) {
        buf_put_varint(to, zigzag(value->i));
    } else if (type_bytes(value->type)) {
        buf_put_varint(to, value->bytes.n);
        buf_put_bytes(to, value->bytes);
    } else if (value->type == HEADER_U64) {
        buf_put_varint(to, value->u);
    } else if (value->type == HEADER_F32) {
        float f = (float)value->f;
        uint32_t bits;

        memcpy(&bits, &f, sizeof bits);
        buf_put_u32(to, bits);
    } else if (value->type == HEADER_F64) {
        uint64_t bits;

        memcpy(&bits, &value->f, sizeof bits);
        buf_put_u64(to, bits);
    } else if (value->type == HEADER_DECIMAL) {
        buf_put_byte(to, value->scale);
        buf_put_varint(to, zigzag(value->i));
    }
}

void header_put(
    struct buf *to, enum header_scope scope, struct bytes name, const struct header_value *value)
{
    buf_put_byte(to, (uint8_t)scope);
    buf_put_varint(to, name.n);
    buf_put_bytes(to, name);
    header_put_item(to, value);
}

void header_put_text(struct buf *to, enum header_scope scope, const char *name, struct bytes text)
{
    header_put(
        to, scope, bytes_text(name), &(struct header_value){ .type = HEADER_TEXT, .bytes = text });
}

static int get_float(struct bytes *from, struct header_value *ret)
{
    if (ret->type == HEADER_F32) {
        uint32_t bits;
        float f;

        if (bytes_get_u32(from, &bits) != 0)
            return -1;
        memcpy(&f, &bits, sizeof f);
        ret->f = (double)f;
        return 1;
    }
    uint64_t bits;

    if (bytes_get_u64(from, &bits) != 0)
        return -1;
    memcpy(&ret->f, &bits, sizeof ret->f);
    return 1;
}

int header_next_item(struct bytes *from, struct header_value *ret)
{
    struct bytes byte;
    uint64_t v;

    if (from->n == 0)
        return 0;
    if (bytes_get(from, 1, &byte) != 0)
        return -1;
    *ret = (struct header_value){ .type = (enum header_type)byte.at[0] };
    if (ret->type == HEADER_NULL)
        return 1;
    if (ret->type == HEADER_F32 || ret->type == HEADER_F64)
        return get_float(from, ret);
    if (ret->type == HEADER_DECIMAL) {
        if (bytes_get(from, 1, &byte) != 0 || bytes_get_varint(from, &v) != 0)
            return -1;
        ret->scale = byte.at[0];
        ret->i = unzigzag(v);
        return 1;
    }
    if (ret->type == HEADER_UNSET || ret->type > HEADER_TABLE || bytes_get_varint(from, &v) != 0)
        return -1;
    if (type_bytes(ret->type))
        return v <= from->n && bytes_get(from, (size_t)v, &ret->bytes) == 0 ? 1 : -1;
    if (ret->type == HEADER_U64)
        ret->u = v;
    else
        ret->i = unzigzag(v);
    return 1;
}

int header_next(struct bytes *from, struct header *ret)
{
    struct bytes scope;
    uint64_t n;

    if (from->n == 0)
        return 0;
    if (bytes_get(from, 1, &scope) != 0 || scope.at[0] == HEADER_NONE ||
        scope.at[0] > HEADER_BROKER)
        return -1;
    ret->scope = (enum header_scope)scope.at[0];
    if (bytes_get_varint(from, &n) != 0 || n > from->n ||
        bytes_get(from, (size_t)n, &ret->name) != 0)
        return -1;
    return header_next_item(from, &ret->value) == 1 ? 1 : -1;
}

static bool same_name(struct bytes a, struct bytes b, bool any_case)
{
    return any_case ? a.n == b.n && strncasecmp((const char *)a.at, (const char *)b.at, a.n) == 0
                    : bytes_equal(a, b);
}

static bool find(struct bytes headers, struct bytes name, bool any_case, struct header *ret)
{
    struct header h;
    bool found = false;

    while (header_next(&headers, &h) == 1) {
        if (h.scope == HEADER_BROKER || !same_name(h.name, name, any_case))
            continue;
        if (h.scope == HEADER_USER) {
            *ret = h;
            return true;
        }
        if (!found)
            *ret = h;
        found = true;
    }
    return found;
}

bool header_find(struct bytes headers, struct bytes name, struct header *ret)
{
    return find(headers, name, false, ret);
}

bool header_find_any_case(struct bytes headers, struct bytes name, struct header *ret)
{
    return find(headers, name, true, ret);
}

#define REFUSAL "bascule-refusal"
#define REFUSAL_CODE "bascule-refusal-code"

void header_put_refusal(struct buf *to, int32_t code, const char *text)
{
    header_put_text(to, HEADER_BROKER, REFUSAL, bytes_text(text));
    if (code)
        header_put(to, HEADER_BROKER, bytes_text(REFUSAL_CODE),
            &(struct header_value){ .type = HEADER_I32, .i = code });
}

bool header_refusal(struct bytes headers, int32_t *code, struct bytes *text)
{
    bool found = false;
    struct header h;

    *code = 0;
    while (header_next(&headers, &h) == 1) {
        if (h.scope != HEADER_BROKER)
            continue;
        if (h.value.type == HEADER_TEXT && bytes_equal(h.name, bytes_text(REFUSAL))) {
            *text = h.value.bytes;
            found = true;
        } else if (h.value.type == HEADER_I32 && bytes_equal(h.name, bytes_text(REFUSAL_CODE))) {
            *code = (int32_t)h.value.i;
        }
    }
    return found;
}

static bool items_valid(struct bytes items, int depth);

static bool list_valid(struct bytes list, int depth)
{
    struct header h;
    int got;

    if (depth > HEADER_DEPTH_MAX)
        return false;
    while ((got = header_next(&list, &h)) == 1) {
        if (h.value.type == HEADER_TABLE && !list_valid(h.value.bytes, depth + 1))
            return false;
        if (h.value.type == HEADER_ARRAY && !items_valid(h.value.bytes, depth + 1))
            return false;
    }
    return got == 0;
}

static bool items_valid(struct bytes items, int depth)
{
    struct header_value v;
    int got;

    if (depth > HEADER_DEPTH_MAX)
        return false;
    while ((got = header_next_item(&items, &v)) == 1) {
        if (v.type == HEADER_TABLE && !list_valid(v.bytes, depth + 1))
            return false;
        if (v.type == HEADER_ARRAY && !items_valid(v.bytes, depth + 1))
            return false;
    }
    return got == 0;
}

bool header_valid(struct bytes headers)
{
    return list_valid(headers, 0);
}

static void decimal_text(const struct header_value *value, struct buf *to)
{
    char digits[300];
    uint64_t magnitude = value->i < 0 ? 0 - (uint64_t)value->i : (uint64_t)value->i;
    int n = snprintf(digits, sizeof digits, "%0*" PRIu64, value->scale + 1, magnitude);

    if (value->i < 0)
        buf_put_byte(to, '-');
    buf_put(to, digits, (size_t)n - value->scale);
    if (value->scale) {
        buf_put_byte(to, '.');
        buf_put(to, digits + n - value->scale, value->scale);
    }
}

int header_value_text(const struct header_value *value, struct buf *to)
{
    switch (value->type) {
    case HEADER_BOOL:
        buf_put_text(to, value->i ? "true" : "false");
        return 0;
    case HEADER_U64:
        buf_put_unsigned(to, value->u);
        return 0;
    case HEADER_F32:
        buf_put_format(to, "%.9g", value->f);
        return 0;
    case HEADER_F64:
        buf_put_format(to, "%.17g", value->f);
        return 0;
    case HEADER_DECIMAL:
        decimal_text(value, to);
        return 0;
    case HEADER_TEXT:
    case HEADER_BYTES:
        buf_put_bytes(to, value->bytes);
        return 0;
    case HEADER_UNSET:
    case HEADER_NULL:
    case HEADER_ARRAY:
    case HEADER_TABLE:
        return -1;
    default:
        buf_put_format(to, "%" PRId64, value->i);
        return 0;
    }
}
