#include "bridge/links/nats/block.h"

#include "bridge/base/encoding.h"
#include "bridge/base/header.h"

#define MAGIC "NATS/1.0"
#define EXACT "bascule-headers"
#define HOPS "bascule-hops"
#define REPLAY "bascule-replay"
#define BODY "bascule-body"
#define RESERVED "nats-"
#define TTL "Nats-TTL"
#define KV "KV-Operation"

static bool is(struct bytes b, const char *text)
{
    return bytes_equal(b, bytes_text(text));
}

static char lower(uint8_t c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static bool servers_own(struct bytes name)
{
    size_t n = sizeof RESERVED - 1;

    if (name.n < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(name.at[i]) != RESERVED[i])
            return false;
    return true;
}

/* ---- reading ---- */

static bool take_line(struct bytes *block, struct bytes *ret)
{
    const uint8_t *end = block->n ? memchr(block->at, '\n', block->n) : NULL;
    size_t n = 0;

    if (!end || end == block->at || end[-1] != '\r')
        return false;
    n = (size_t)(end - block->at) + 1;
    *ret = bytes_of(block->at, n - 2);
    *block = bytes_of(block->at + n, block->n - n);
    return true;
}

static struct bytes trimmed(struct bytes b)
{
    while (b.n && (b.at[0] == ' ' || b.at[0] == '\t'))
        b = bytes_of(b.at + 1, b.n - 1);
    while (b.n && (b.at[b.n - 1] == ' ' || b.at[b.n - 1] == '\t'))
        b.n--;
    return b;
}

int block_begin(struct bytes *block, struct bytes *words)
{
    struct bytes line, rest;
    int status = 0;
    size_t i = 0;

    if (!take_line(block, &line) || line.n < sizeof MAGIC - 1 ||
        memcmp(line.at, MAGIC, sizeof MAGIC - 1) != 0)
        return -1;
    rest = trimmed(bytes_of(line.at + sizeof MAGIC - 1, line.n - (sizeof MAGIC - 1)));
    for (; i < rest.n && i < 3 && rest.at[i] >= '0' && rest.at[i] <= '9'; i++)
        status = status * 10 + (rest.at[i] - '0');
    if (i != 3)
        return rest.n == 0 ? 0 : -1;
    if (words)
        *words = trimmed(bytes_of(rest.at + 3, rest.n - 3));
    return status;
}

int block_next(struct bytes *block, struct block_line *ret)
{
    const uint8_t *colon = NULL;
    struct bytes line;
    size_t n = 0;

    if (!take_line(block, &line))
        return -1;
    if (line.n == 0)
        return block->n == 0 ? 0 : -1;
    colon = memchr(line.at, ':', line.n);
    n = colon ? (size_t)(colon - line.at) : 0;
    if (n == 0)
        return -1;
    ret->name = bytes_of(line.at, n);
    /* Writers put one blank behind the colon; any other belongs to the value. */
    n += n + 1 < line.n && colon[1] == ' ';
    ret->value = bytes_of(line.at + n + 1, line.n - n - 1);
    return 1;
}

static bool read_number(struct bytes text, uint32_t *ret)
{
    uint32_t n = 0;

    if (text.n == 0 || text.n > 9)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text.at[i] - '0');
    }
    *ret = n;
    return true;
}

/* The list that rules, at the end of *headers; false when there is none to be believed. */
static bool read_exact(struct bytes block, struct buf *headers)
{
    struct block_line line;
    size_t from = headers->n;

    while (block_next(&block, &line) == 1) {
        if (!is(line.name, EXACT))
            continue;
        if (encoding_base64_decode(line.value, headers) == 0 &&
            header_valid(bytes_of(headers->at ? headers->at + from : NULL, headers->n - from)))
            return true;
        headers->n = headers->failed ? headers->n : from;
    }
    return false;
}

/* Is this header told by the exact list already? */
static bool told(const struct buf *headers, size_t from, size_t n, struct bytes name)
{
    struct header h;

    return n && header_find(bytes_of(headers->at + from, n), name, &h);
}

static void read_line(const struct block_names *names, const struct block_line *line,
    struct buf *headers, struct event *e)
{
    struct header_value v = { .type = encoding_utf8(line->value) ? HEADER_TEXT : HEADER_BYTES,
        .bytes = line->value };

    if (bytes_equal(line->name, names->id) && !bytes_present(e->id))
        e->id = line->value;
    else if (bytes_equal(line->name, names->key) && !bytes_present(e->key))
        e->key = line->value;
    else if (is(line->name, BODY) && is(line->value, "null"))
        e->body = BYTES_NONE;
    else if (!is(line->name, HOPS) || !read_number(line->value, &e->hops))
        header_put(headers,
            (servers_own(line->name) && !is(line->name, TTL)) || is(line->name, KV) ? HEADER_BROKER
                                                                                    : HEADER_USER,
            line->name, &v);
}

int block_read(
    const struct block_names *names, struct bytes block, struct buf *headers, struct event *e)
{
    struct bytes lines = block, token = BYTES_NONE;
    struct block_line line;
    size_t from = headers->n, exact = 0;
    int got = 0;

    e->headers.n = 0;
    if (!bytes_present(block))
        return 0;
    if (block_begin(&lines, NULL) < 0)
        return -1;
    block = lines;
    exact = read_exact(block, headers) ? headers->n - from : 0;
    while ((got = block_next(&block, &line)) == 1) {
        if (is(line.name, EXACT) && exact)
            continue;
        if (is(line.name, "Nats-Msg-Id"))
            token = line.value;
        if (!told(headers, from, exact, line.name))
            read_line(names, &line, headers, e);
    }
    if (!bytes_present(e->id))
        e->id = token;
    e->headers.n = headers->n - from;
    return got;
}

/* ---- writing ---- */

static bool reserved(const struct block_names *names, struct bytes name)
{
    return bytes_equal(name, names->id) || bytes_equal(name, names->key) || is(name, EXACT) ||
           is(name, HOPS) || is(name, BODY) || is(name, REPLAY) || is(name, KV) ||
           servers_own(name);
}

static bool name_ok(struct bytes name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.at[i] <= ' ' || name.at[i] >= 0x7f || name.at[i] == ':')
            return false;
    return name.n > 0;
}

/* What no reader cuts or takes for more than one line. Blanks at its ends stay, as they would
 * between two NATS clients: some readers trim them, and would have trimmed them without us. */
static bool value_ok(struct bytes value)
{
    for (size_t i = 0; i < value.n; i++)
        if ((value.at[i] < ' ' && value.at[i] != '\t') || value.at[i] == 0x7f)
            return false;
    return encoding_utf8(value);
}

static bool line_ok(const struct block_names *names, const struct header *h)
{
    return h->value.type == HEADER_TEXT && name_ok(h->name) && value_ok(h->value.bytes) &&
           !reserved(names, h->name);
}

static bool plain(const struct block_names *names, const struct header *h)
{
    return h->scope == HEADER_USER && line_ok(names, h);
}

static bool is_ttl(const struct block_names *names, const struct header *h)
{
    return names->pass_ttl && h->scope == HEADER_USER && is(h->name, TTL) &&
           h->value.type == HEADER_TEXT && value_ok(h->value.bytes);
}

static void put_line(struct buf *to, struct bytes name, struct bytes value)
{
    buf_put_bytes(to, name);
    buf_put(to, ": ", 2);
    buf_put_bytes(to, value);
    buf_put(to, "\r\n", 2);
}

static void put_exact(struct bytes headers, struct buf *scratch, struct buf *to)
{
    struct header h;

    buf_clear(scratch);
    while (header_next(&headers, &h) == 1)
        if (h.scope != HEADER_BROKER)
            header_put(scratch, h.scope, h.name, &h.value);
    buf_put_text(to, EXACT ": ");
    encoding_base64(buf_bytes(scratch), to);
    buf_put(to, "\r\n", 2);
}

static void put_own(const struct block_names *names, const struct message *m, struct buf *to)
{
    const struct event *e = m->event;

    /* An id or key that no line can hold is left out: the token still names the event. */
    if (bytes_present(event_id(e)) && value_ok(event_id(e)))
        put_line(to, names->id, event_id(e));
    if (bytes_present(m->key) && value_ok(m->key))
        put_line(to, names->key, m->key);
    if (!bytes_present(e->body))
        put_line(to, bytes_text(BODY), bytes_text("null"));
    if (m->flags & MESSAGE_REPLAY)
        put_line(to, bytes_text(REPLAY), bytes_text("1"));
    if (e->hops > 0) {
        buf_put_text(to, HOPS ": ");
        buf_put_unsigned(to, e->hops);
        buf_put(to, "\r\n", 2);
    }
}

int block_write(
    const struct block_names *names, const struct message *m, struct buf *scratch, struct buf *to)
{
    struct bytes headers = m->event->headers;
    struct header h;
    bool exact = false;
    int got = 0;

    put_own(names, m, to);
    while ((got = header_next(&headers, &h)) == 1)
        exact = exact || (h.scope != HEADER_BROKER && !plain(names, &h) && !is_ttl(names, &h));
    if (got != 0)
        return -1;
    if (exact)
        put_exact(m->event->headers, scratch, to);
    headers = m->event->headers;
    while (header_next(&headers, &h) == 1)
        if (h.scope != HEADER_BROKER && (line_ok(names, &h) || is_ttl(names, &h)))
            put_line(to, h.name, h.value.bytes);
    return to->failed || scratch->failed ? -1 : 0;
}
