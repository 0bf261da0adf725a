#include "bridge/links/rabbitmq/codec.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUES_MAX 65536 /* entries of one table: more than any frame can hold */

static const char *const broker_names[] = {
    "CC",
    "BCC",
    "x-death",
    "x-received-from",
    "x-delivery-count",
    "x-acquired-count",
    "x-stream-offset",
    "x-opt-rabbitmq-received-time",
    "x-routed-to-queues",
};

static bool broker_owned(struct bytes name)
{
    static const char first[] = "x-first-death-", last[] = "x-last-death-";

    for (size_t i = 0; i < sizeof broker_names / sizeof *broker_names; i++)
        if (bytes_equal(name, bytes_text(broker_names[i])))
            return true;
    return (name.n >= sizeof first - 1 && memcmp(name.at, first, sizeof first - 1) == 0) ||
           (name.n >= sizeof last - 1 && memcmp(name.at, last, sizeof last - 1) == 0);
}

static struct bytes bytes_from(amqp_bytes_t b)
{
    return bytes_of(b.bytes, b.bytes ? b.len : 0);
}

/* ---- reading ---- */

static int read_table(const amqp_table_t *from, int depth, struct buf *to);

static int read_nested(const amqp_field_value_t *from, int depth, struct buf *to);

/* Everything but arrays and tables. */
static int read_scalar(const amqp_field_value_t *from, struct header_value *to)
{
    switch (from->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        *to = (struct header_value){ .type = HEADER_BOOL, .i = from->value.boolean != 0 };
        return 0;
    case AMQP_FIELD_KIND_I8:
        *to = (struct header_value){ .type = HEADER_I8, .i = from->value.i8 };
        return 0;
    case AMQP_FIELD_KIND_U8:
        *to = (struct header_value){ .type = HEADER_U8, .i = from->value.u8 };
        return 0;
    case AMQP_FIELD_KIND_I16:
        *to = (struct header_value){ .type = HEADER_I16, .i = from->value.i16 };
        return 0;
    case AMQP_FIELD_KIND_U16:
        *to = (struct header_value){ .type = HEADER_U16, .i = from->value.u16 };
        return 0;
    case AMQP_FIELD_KIND_I32:
        *to = (struct header_value){ .type = HEADER_I32, .i = from->value.i32 };
        return 0;
    case AMQP_FIELD_KIND_U32:
        *to = (struct header_value){ .type = HEADER_U32, .i = from->value.u32 };
        return 0;
    case AMQP_FIELD_KIND_I64:
        *to = (struct header_value){ .type = HEADER_I64, .i = from->value.i64 };
        return 0;
    case AMQP_FIELD_KIND_U64:
        *to = (struct header_value){ .type = HEADER_U64, .u = from->value.u64 };
        return 0;
    case AMQP_FIELD_KIND_F32:
        *to = (struct header_value){ .type = HEADER_F32, .f = (double)from->value.f32 };
        return 0;
    case AMQP_FIELD_KIND_F64:
        *to = (struct header_value){ .type = HEADER_F64, .f = from->value.f64 };
        return 0;
    case AMQP_FIELD_KIND_DECIMAL:
        *to = (struct header_value){ .type = HEADER_DECIMAL,
            .scale = from->value.decimal.decimals,
            .i = (int32_t)from->value.decimal.value };
        return 0;
    case AMQP_FIELD_KIND_UTF8:
        *to = (struct header_value){ .type = HEADER_TEXT, .bytes = bytes_from(from->value.bytes) };
        return 0;
    case AMQP_FIELD_KIND_BYTES:
        *to = (struct header_value){ .type = HEADER_BYTES, .bytes = bytes_from(from->value.bytes) };
        return 0;
    case AMQP_FIELD_KIND_TIMESTAMP:
        *to = (struct header_value){ .type = HEADER_TIME, .i = (int64_t)from->value.u64 };
        return 0;
    case AMQP_FIELD_KIND_VOID:
        *to = (struct header_value){ .type = HEADER_NULL };
        return 0;
    default:
        return -1;
    }
}

/* `nested` keeps what *to lends from. */
static int read_value(
    const amqp_field_value_t *from, int depth, struct buf *nested, struct header_value *to)
{
    if (from->kind != AMQP_FIELD_KIND_TABLE && from->kind != AMQP_FIELD_KIND_ARRAY)
        return read_scalar(from, to);
    if (depth >= HEADER_DEPTH_MAX || read_nested(from, depth + 1, nested) != 0)
        return -1;
    to->type = from->kind == AMQP_FIELD_KIND_TABLE ? HEADER_TABLE : HEADER_ARRAY;
    to->bytes = buf_bytes(nested);
    return nested->failed ? -1 : 0;
}

static int read_nested(const amqp_field_value_t *from, int depth, struct buf *to)
{
    if (from->kind == AMQP_FIELD_KIND_TABLE)
        return read_table(&from->value.table, depth, to);
    for (int i = 0; i < from->value.array.num_entries; i++) {
        struct header_value v = { 0 };
        struct buf nested;
        int failed;

        buf_init(&nested, to->max);
        failed = read_value(&from->value.array.entries[i], depth, &nested, &v);
        if (!failed)
            header_put_item(to, &v);
        buf_done(&nested);
        if (failed)
            return -1;
    }
    return to->failed ? -1 : 0;
}

static int read_entry(
    const amqp_table_entry_t *from, enum header_scope scope, int depth, struct buf *to)
{
    struct header_value v = { 0 };
    struct buf nested;
    int failed;

    buf_init(&nested, to->max);
    failed = read_value(&from->value, depth, &nested, &v);
    if (!failed)
        header_put(to, scope, bytes_from(from->key), &v);
    buf_done(&nested);
    return failed || to->failed ? -1 : 0;
}

static int read_table(const amqp_table_t *from, int depth, struct buf *to)
{
    for (int i = 0; i < from->num_entries; i++)
        if (read_entry(&from->entries[i], HEADER_USER, depth, to) != 0)
            return -1;
    return 0;
}

/* Ours, counted along the way; anything else under that name stays a header. */
static bool read_hops(const amqp_table_entry_t *from, uint32_t *ret)
{
    struct header_value v;

    if (!bytes_equal(bytes_from(from->key), bytes_text("bascule-hops")))
        return false;
    if (read_scalar(&from->value, &v) != 0 || v.type < HEADER_I8 || v.type > HEADER_I64 || v.i < 0)
        return false;
    *ret = v.i > UINT32_MAX ? UINT32_MAX : (uint32_t)v.i;
    return true;
}

static void put_property(struct buf *to, const amqp_basic_properties_t *from, amqp_flags_t flag,
    const char *name, amqp_bytes_t value)
{
    if (from->_flags & flag)
        header_put_text(to, HEADER_PROPERTY, name, bytes_from(value));
}

static void put_small(struct buf *to, const amqp_basic_properties_t *from, amqp_flags_t flag,
    const char *name, uint8_t value)
{
    if (from->_flags & flag)
        header_put(to, HEADER_PROPERTY, bytes_text(name),
            &(struct header_value){ .type = HEADER_U8, .i = value });
}

static void read_properties(const amqp_basic_properties_t *from, struct buf *to)
{
    put_property(to, from, AMQP_BASIC_CONTENT_TYPE_FLAG, "content-type", from->content_type);
    put_property(
        to, from, AMQP_BASIC_CONTENT_ENCODING_FLAG, "content-encoding", from->content_encoding);
    put_small(to, from, AMQP_BASIC_DELIVERY_MODE_FLAG, "delivery-mode", from->delivery_mode);
    put_small(to, from, AMQP_BASIC_PRIORITY_FLAG, "priority", from->priority);
    put_property(to, from, AMQP_BASIC_CORRELATION_ID_FLAG, "correlation-id", from->correlation_id);
    put_property(to, from, AMQP_BASIC_REPLY_TO_FLAG, "reply-to", from->reply_to);
    put_property(to, from, AMQP_BASIC_EXPIRATION_FLAG, "expiration", from->expiration);
    put_property(to, from, AMQP_BASIC_TYPE_FLAG, "type", from->type);
    put_property(to, from, AMQP_BASIC_USER_ID_FLAG, "user-id", from->user_id);
    put_property(to, from, AMQP_BASIC_APP_ID_FLAG, "app-id", from->app_id);
    put_property(to, from, AMQP_BASIC_CLUSTER_ID_FLAG, "cluster-id", from->cluster_id);
}

/* Seconds of any size arrive; what no time in ms can hold is no time. */
static int64_t read_time(uint64_t seconds)
{
    return seconds > (uint64_t)INT64_MAX / 1000 ? 0 : (int64_t)seconds * 1000;
}

int codec_read(const amqp_basic_properties_t *from, struct bytes exchange, struct buf *headers,
    struct codec_read *ret, struct fault *why)
{
    *ret = (struct codec_read){ 0 };
    if (from->_flags & AMQP_BASIC_MESSAGE_ID_FLAG && from->message_id.len > 0)
        ret->id = bytes_from(from->message_id);
    if (from->_flags & AMQP_BASIC_TIMESTAMP_FLAG)
        ret->time_ms = read_time(from->timestamp);
    read_properties(from, headers);
    header_put_text(headers, HEADER_PROPERTY, "exchange", exchange);
    for (int i = 0; from->_flags & AMQP_BASIC_HEADERS_FLAG && i < from->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &from->headers.entries[i];
        enum header_scope scope = broker_owned(bytes_from(e->key)) ? HEADER_BROKER : HEADER_USER;

        if (read_hops(e, &ret->hops))
            continue;
        if (read_entry(e, scope, 0, headers) != 0)
            return fault_set(why, FAULT_INPUT, 0,
                "header '%.*s' cannot be read: nested deeper than %d, or too large",
                (int)e->key.len, (const char *)e->key.bytes, HEADER_DEPTH_MAX);
    }
    return headers->failed ? fault_set(why, FAULT_INPUT, 0, "headers are too large") : 0;
}

/* ---- writing ---- */

/* What one writing carries along. */
struct writer {
    struct arena *arena;
    size_t bytes; /* encoded so far */
    struct fault *why;
};

static int no_memory(struct fault *why)
{
    return fault_set(why, FAULT_RETRY, 0, "out of memory");
}

static int write_bytes(struct writer *w, struct bytes from, amqp_bytes_t *ret)
{
    uint8_t *at = arena_copy(w->arena, from.at, from.n);

    if (!at)
        return no_memory(w->why);
    *ret = (amqp_bytes_t){ from.n, at };
    return 0;
}

static int write_short(struct writer *w, const char *what, struct bytes from, amqp_bytes_t *ret)
{
    if (from.n > CODEC_SHORT_MAX)
        return fault_set(w->why, FAULT_INPUT, 0, "%s has %zu bytes, AMQP allows %d", what, from.n,
            CODEC_SHORT_MAX);
    w->bytes += 1 + from.n;
    return write_bytes(w, from, ret);
}

static int write_table(struct writer *w, struct bytes from, int depth, amqp_table_t *ret);
static int write_array(struct writer *w, struct bytes from, int depth, amqp_array_t *ret);

static int write_text(struct writer *w, const char *text, amqp_field_value_t *to)
{
    to->kind = AMQP_FIELD_KIND_UTF8;
    w->bytes += 4 + strlen(text);
    return write_bytes(w, bytes_text(text), &to->value.bytes);
}

/* RabbitMQ closes the connection over an unsigned 64-bit field: it goes as signed where it fits,
 * else as text. */
static int write_u64(struct writer *w, uint64_t u, amqp_field_value_t *to)
{
    char text[24];

    if (u <= INT64_MAX) {
        to->kind = AMQP_FIELD_KIND_I64;
        to->value.i64 = (int64_t)u;
        w->bytes += 8;
        return 0;
    }
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)u);
    return write_text(w, text, to);
}

/* Over a field that is no number, or infinite, it closes the connection as well. */
static int write_float(struct writer *w, const struct header_value *v, amqp_field_value_t *to)
{
    if (!isfinite(v->f))
        return write_text(w, isnan(v->f) ? "nan" : v->f < 0 ? "-inf" : "inf", to);
    if (v->type == HEADER_F32) {
        to->kind = AMQP_FIELD_KIND_F32;
        to->value.f32 = (float)v->f;
        w->bytes += 4;
    } else {
        to->kind = AMQP_FIELD_KIND_F64;
        to->value.f64 = v->f;
        w->bytes += 8;
    }
    return 0;
}

static int write_number(struct writer *w, const struct header_value *v, amqp_field_value_t *to)
{
    static const struct {
        enum header_type type;
        uint8_t kind;
        size_t bytes;
    } widths[] = {
        { HEADER_BOOL, AMQP_FIELD_KIND_BOOLEAN, 1 },
        { HEADER_I8, AMQP_FIELD_KIND_I8, 1 },
        { HEADER_U8, AMQP_FIELD_KIND_U8, 1 },
        { HEADER_I16, AMQP_FIELD_KIND_I16, 2 },
        { HEADER_U16, AMQP_FIELD_KIND_U16, 2 },
        { HEADER_I32, AMQP_FIELD_KIND_I32, 4 },
        { HEADER_U32, AMQP_FIELD_KIND_U32, 4 },
        { HEADER_I64, AMQP_FIELD_KIND_I64, 8 },
        { HEADER_TIME, AMQP_FIELD_KIND_TIMESTAMP, 8 },
    };
    size_t i = 0;

    while (i < sizeof widths / sizeof *widths && widths[i].type != v->type)
        i++;
    if (i == sizeof widths / sizeof *widths)
        return fault_set(w->why, FAULT_INPUT, 0, "a header has no type that AMQP knows");
    to->kind = widths[i].kind;
    w->bytes += widths[i].bytes;
    switch (v->type) {
    case HEADER_BOOL:
        to->value.boolean = v->i != 0;
        break;
    case HEADER_I8:
        to->value.i8 = (int8_t)v->i;
        break;
    case HEADER_U8:
        to->value.u8 = (uint8_t)v->i;
        break;
    case HEADER_I16:
        to->value.i16 = (int16_t)v->i;
        break;
    case HEADER_U16:
        to->value.u16 = (uint16_t)v->i;
        break;
    case HEADER_I32:
        to->value.i32 = (int32_t)v->i;
        break;
    case HEADER_U32:
        to->value.u32 = (uint32_t)v->i;
        break;
    case HEADER_I64:
        to->value.i64 = v->i;
        break;
    default:
        to->value.u64 = (uint64_t)v->i;
        break;
    }
    return 0;
}

static int write_value(
    struct writer *w, const struct header_value *v, int depth, amqp_field_value_t *to)
{
    w->bytes += 1;
    switch (v->type) {
    case HEADER_NULL:
        to->kind = AMQP_FIELD_KIND_VOID;
        return 0;
    case HEADER_U64:
        return write_u64(w, v->u, to);
    case HEADER_F32:
    case HEADER_F64:
        return write_float(w, v, to);
    case HEADER_DECIMAL:
        to->kind = AMQP_FIELD_KIND_DECIMAL;
        to->value.decimal = (amqp_decimal_t){ v->scale, (uint32_t)(int32_t)v->i };
        w->bytes += 5;
        return 0;
    case HEADER_TEXT:
    case HEADER_BYTES:
        to->kind = v->type == HEADER_TEXT ? AMQP_FIELD_KIND_UTF8 : AMQP_FIELD_KIND_BYTES;
        w->bytes += 4 + v->bytes.n;
        return write_bytes(w, v->bytes, &to->value.bytes);
    case HEADER_TABLE:
        to->kind = AMQP_FIELD_KIND_TABLE;
        return write_table(w, v->bytes, depth + 1, &to->value.table);
    case HEADER_ARRAY:
        to->kind = AMQP_FIELD_KIND_ARRAY;
        return write_array(w, v->bytes, depth + 1, &to->value.array);
    default:
        return write_number(w, v, to);
    }
}

/* Entries of a list whose end may want `more` of ours. -1 when it is no list. */
static int list_count(struct bytes list, bool named)
{
    struct header h;
    int n = 0, got;

    while ((got = named ? header_next(&list, &h) : header_next_item(&list, &h.value)) == 1)
        if (++n > VALUES_MAX)
            return -1;
    return got == 0 ? n : -1;
}

static int too_deep(struct writer *w)
{
    return fault_set(
        w->why, FAULT_INPUT, 0, "headers are damaged or nested deeper than %d", HEADER_DEPTH_MAX);
}

static int write_array(struct writer *w, struct bytes from, int depth, amqp_array_t *ret)
{
    int n = depth > HEADER_DEPTH_MAX ? -1 : list_count(from, false);
    struct header_value v;

    if (n < 0)
        return too_deep(w);
    w->bytes += 4;
    ret->num_entries = 0;
    ret->entries = arena_get(w->arena, (size_t)(n ? n : 1) * sizeof *ret->entries);
    if (!ret->entries)
        return no_memory(w->why);
    while (header_next_item(&from, &v) == 1)
        if (write_value(w, &v, depth, &ret->entries[ret->num_entries++]) != 0)
            return -1;
    return 0;
}

static int write_entry(
    struct writer *w, struct bytes name, const struct header_value *v, int depth, amqp_table_t *to)
{
    amqp_table_entry_t *e = &to->entries[to->num_entries++];

    if (write_short(w, "a header's name", name, &e->key) != 0)
        return -1;
    return write_value(w, v, depth, &e->value);
}

static int write_table(struct writer *w, struct bytes from, int depth, amqp_table_t *ret)
{
    int n = depth > HEADER_DEPTH_MAX ? -1 : list_count(from, true);
    struct header h;

    if (n < 0)
        return too_deep(w);
    w->bytes += 4;
    ret->num_entries = 0;
    ret->entries = arena_get(w->arena, (size_t)(n ? n : 1) * sizeof *ret->entries);
    if (!ret->entries)
        return no_memory(w->why);
    while (header_next(&from, &h) == 1)
        if (write_entry(w, h.name, &h.value, depth, ret) != 0)
            return -1;
    return 0;
}

static bool expiration_valid(struct bytes b)
{
    uint64_t ms = 0;

    if (b.n == 0 || b.n > 10)
        return false;
    for (size_t i = 0; i < b.n; i++) {
        if (b.at[i] < '0' || b.at[i] > '9')
            return false;
        ms = ms * 10 + (uint64_t)(b.at[i] - '0');
    }
    return ms <= UINT32_MAX;
}

static int property_check(struct writer *w, const struct header *h, const struct codec_rules *rules)
{
    struct bytes v = h->value.bytes;

    if (bytes_equal(h->name, bytes_text("expiration")) && !expiration_valid(v))
        return fault_set(w->why, FAULT_INPUT, 0,
            "expiration '%.*s' is not a number of milliseconds below 2^32",
            (int)(v.n > 40 ? 40 : v.n), (const char *)v.at);
    if (bytes_equal(h->name, bytes_text("user-id")) && rules->login &&
        !bytes_equal(v, bytes_text(rules->login)))
        return fault_set(w->why, FAULT_INPUT, 0,
            "user-id '%.*s' is not the login '%s': RabbitMQ would close the channel",
            (int)(v.n > 40 ? 40 : v.n), (const char *)v.at, rules->login);
    return 0;
}

static int write_property(struct writer *w, const struct header *h, const struct codec_rules *rules,
    amqp_basic_properties_t *to)
{
    const struct {
        const char *name;
        amqp_flags_t flag;
        amqp_bytes_t *at;
    } texts[] = {
        { "content-type", AMQP_BASIC_CONTENT_TYPE_FLAG, &to->content_type },
        { "content-encoding", AMQP_BASIC_CONTENT_ENCODING_FLAG, &to->content_encoding },
        { "correlation-id", AMQP_BASIC_CORRELATION_ID_FLAG, &to->correlation_id },
        { "reply-to", AMQP_BASIC_REPLY_TO_FLAG, &to->reply_to },
        { "expiration", AMQP_BASIC_EXPIRATION_FLAG, &to->expiration },
        { "type", AMQP_BASIC_TYPE_FLAG, &to->type },
        { "user-id", AMQP_BASIC_USER_ID_FLAG, &to->user_id },
        { "app-id", AMQP_BASIC_APP_ID_FLAG, &to->app_id },
        { "cluster-id", AMQP_BASIC_CLUSTER_ID_FLAG, &to->cluster_id },
    };
    const struct header_value *v = &h->value;

    if (v->type == HEADER_U8 && bytes_equal(h->name, bytes_text("priority"))) {
        to->_flags |= AMQP_BASIC_PRIORITY_FLAG;
        to->priority = (uint8_t)v->i;
    } else if (v->type == HEADER_U8 && bytes_equal(h->name, bytes_text("delivery-mode")) &&
               !rules->persistent) {
        to->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
        to->delivery_mode = (uint8_t)v->i;
    }
    if (v->type != HEADER_TEXT && v->type != HEADER_BYTES)
        return 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!bytes_equal(h->name, bytes_text(texts[i].name)))
            continue;
        if (property_check(w, h, rules) != 0)
            return -1;
        to->_flags |= texts[i].flag;
        return write_short(w, texts[i].name, v->bytes, texts[i].at);
    }
    return 0;
}

/* Set by ourselves below, so a copy that came along is not sent. */
static bool ours(const struct message *m, const struct codec_rules *rules, struct bytes name)
{
    return bytes_equal(name, bytes_text("bascule-hops")) ||
           (m->flags & MESSAGE_REPLAY && bytes_equal(name, bytes_text("bascule-replay"))) ||
           (rules->token_header && bytes_equal(name, bytes_text("bascule-token")));
}

static int write_ours(
    struct writer *w, const struct message *m, const struct codec_rules *rules, amqp_table_t *to)
{
    struct header_value hops = { .type = HEADER_I64, .i = m->event->hops };
    struct header_value yes = { .type = HEADER_BOOL, .i = 1 };
    struct header_value token = { .type = HEADER_TEXT, .bytes = m->token };

    if (m->event->hops > 0 && write_entry(w, bytes_text("bascule-hops"), &hops, 0, to) != 0)
        return -1;
    if (m->flags & MESSAGE_REPLAY && write_entry(w, bytes_text("bascule-replay"), &yes, 0, to) != 0)
        return -1;
    if (rules->token_header && bytes_present(m->token))
        return write_entry(w, bytes_text("bascule-token"), &token, 0, to);
    return 0;
}

static int write_headers(struct writer *w, const struct message *m, const struct codec_rules *rules,
    amqp_basic_properties_t *to)
{
    struct bytes list = m->event->headers;
    int n = list_count(list, true);
    struct header h;

    if (n < 0)
        return too_deep(w);
    to->headers.num_entries = 0;
    to->headers.entries = arena_get(w->arena, (size_t)(n + 3) * sizeof *to->headers.entries);
    if (!to->headers.entries)
        return no_memory(w->why);
    w->bytes += 4;
    while (header_next(&list, &h) == 1) {
        if (h.scope == HEADER_PROPERTY && write_property(w, &h, rules, to) != 0)
            return -1;
        if (h.scope == HEADER_USER && !ours(m, rules, h.name) &&
            write_entry(w, h.name, &h.value, 0, &to->headers) != 0)
            return -1;
    }
    if (write_ours(w, m, rules, &to->headers) != 0)
        return -1;
    if (to->headers.num_entries > 0)
        to->_flags |= AMQP_BASIC_HEADERS_FLAG;
    return 0;
}

int codec_write(const struct message *m, const struct codec_rules *rules, struct arena *arena,
    amqp_basic_properties_t *ret, struct fault *why)
{
    struct writer w = { .arena = arena, .bytes = 16, .why = why };
    struct bytes id = event_id(m->event);

    *ret = (amqp_basic_properties_t){ 0 };
    if (rules->persistent) {
        ret->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
        ret->delivery_mode = AMQP_DELIVERY_PERSISTENT;
    }
    if (id.n > 0) {
        ret->_flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        if (write_short(&w, "the event's id", id, &ret->message_id) != 0)
            return -1;
    }
    if (m->event->time_ms > 0) {
        ret->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        ret->timestamp = (uint64_t)(m->event->time_ms / 1000);
        w.bytes += 8;
    }
    if (write_headers(&w, m, rules, ret) != 0)
        return -1;
    if (w.bytes > rules->header_bytes)
        return fault_set(why, FAULT_INPUT, 0, "headers take %zu bytes, one AMQP frame holds %zu",
            w.bytes, rules->header_bytes);
    return 0;
}

int codec_raw(const amqp_basic_properties_t *from, struct buf *to)
{
    uint8_t *at = buf_reserve(to, to->max - to->n);
    int n;

    if (!at)
        return -1;
    n = amqp_encode_properties(
        AMQP_BASIC_CLASS, (void *)(uintptr_t)from, (amqp_bytes_t){ to->max - to->n, at });
    if (n < 0)
        return -1;
    to->n += (size_t)n;
    return 0;
}

static int argument_value(const struct option_pair *p, struct writer *w, amqp_field_value_t *to)
{
    char *end;

    if (p->kind == OPTION_VALUE_TEXT) {
        to->kind = AMQP_FIELD_KIND_UTF8;
        return write_bytes(w, bytes_text(p->value), &to->value.bytes);
    }
    if (p->kind == OPTION_VALUE_BOOL) {
        to->kind = AMQP_FIELD_KIND_BOOLEAN;
        to->value.boolean = strcmp(p->value, "true") == 0;
        return 0;
    }
    errno = 0;
    to->kind = AMQP_FIELD_KIND_I64;
    to->value.i64 = strtoll(p->value, &end, 10);
    if (errno || *end || end == p->value)
        return fault_set(w->why, FAULT_INPUT, 0, "argument '%s': '%s' is not a 64-bit number",
            p->name, p->value);
    return 0;
}

int codec_arguments(
    const struct option_map *from, struct arena *arena, amqp_table_t *ret, struct fault *why)
{
    struct writer w = { .arena = arena, .why = why };

    ret->num_entries = 0;
    ret->entries =
        arena_get(arena, (from->n + 4) * sizeof *ret->entries); /* room for the caller's */
    if (!ret->entries || from->n > VALUES_MAX)
        return no_memory(why);
    for (size_t i = 0; i < from->n; i++) {
        amqp_table_entry_t *e = &ret->entries[ret->num_entries++];

        if (write_short(&w, "an argument's name", bytes_text(from->at[i].name), &e->key) != 0 ||
            argument_value(&from->at[i], &w, &e->value) != 0)
            return -1;
    }
    return 0;
}
