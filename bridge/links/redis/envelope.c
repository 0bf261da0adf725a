/* The JSON form of an event for channels, which have no place for anything but one text. */
#include "bridge/links/redis/fields.h"

#include "bridge/base/encoding.h"
#include "bridge/base/header.h"

static void put_text(struct buf *to, struct bytes b)
{
    if (!bytes_present(b)) {
        buf_put_text(to, "null");
    } else if (encoding_utf8(b)) {
        encoding_json(b, to);
    } else {
        buf_put_text(to, "{\"base64\":\"");
        encoding_base64(b, to);
        buf_put_text(to, "\"}");
    }
}

/* Tables, arrays and nulls have no text of their own: their encoding stands as bytes, or null. */
static void put_value(struct buf *to, const struct header_value *v)
{
    struct buf text;

    if (v->type == HEADER_NULL) {
        buf_put_text(to, "null");
        return;
    }
    buf_init(&text, to->max);
    if (header_value_text(v, &text) == 0) {
        put_text(to, buf_bytes(&text));
    } else {
        buf_put_text(to, "{\"base64\":\"");
        encoding_base64(v->bytes, to);
        buf_put_text(to, "\"}");
    }
    to->failed = to->failed || text.failed;
    buf_done(&text);
}

static void put_headers(struct buf *to, struct bytes headers)
{
    struct header h;
    const char *comma = "";

    while (header_next(&headers, &h) == 1) {
        if (h.scope == HEADER_BROKER || !encoding_utf8(h.name))
            continue;
        buf_put_text(to, comma);
        encoding_json(h.name, to);
        buf_put_byte(to, ':');
        put_value(to, &h.value);
        comma = ",";
    }
}

void fields_envelope(const struct message *m, struct buf *to)
{
    const struct event *e = m->event;

    buf_put_text(to, "{\"id\":");
    put_text(to, event_id(e));
    buf_put_text(to, ",\"key\":");
    put_text(to, m->key);
    buf_put_format(
        to, ",\"time\":%lld,\"hops\":%lu", (long long)e->time_ms, (unsigned long)e->hops);
    if (m->flags & MESSAGE_REPLAY)
        buf_put_text(to, ",\"replay\":true");
    buf_put_text(to, ",\"headers\":{");
    put_headers(to, e->headers);
    buf_put_text(to, "},\"body\":");
    put_text(to, e->body);
    buf_put_byte(to, '}');
}
