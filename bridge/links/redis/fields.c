#include "bridge/links/redis/fields.h"

#include "bridge/base/encoding.h"
#include "bridge/base/header.h"

#define HEADERS_FIELD "bascule-headers"
#define HOPS_FIELD "bascule-hops"
#define REPLAY_FIELD "bascule-replay"

static struct bytes name_of(const char *given, const char *usual)
{
    return bytes_text(given ? given : usual);
}

struct fields fields_of(
    const char *body, const char *id, const char *key, const char *prefix, const char *token)
{
    struct fields c = { name_of(body, "body"), name_of(id, "message-id"), name_of(key, "key"),
        name_of(prefix, ""), name_of(token, "bascule-token") };

    if (c.token.n == 0)
        c.token = BYTES_NONE;
    return c;
}

#define HEADS_BYTES_MAX (1u << 20)

static struct bytes head(struct fields_heads *h, struct bytes name)
{
    size_t from = h->text.n;

    if (!bytes_present(name))
        return BYTES_NONE;
    resp_format(&h->text, name);
    return (struct bytes){ NULL, h->text.n - from };
}

void fields_heads_init(struct fields_heads *h, const struct fields *c)
{
    struct bytes *all[] = { &h->body, &h->id, &h->key, &h->token };
    const uint8_t *at = NULL;

    buf_init(&h->text, HEADS_BYTES_MAX);
    h->body = head(h, c->body);
    h->id = head(h, c->id);
    h->key = head(h, c->key);
    h->token = head(h, c->token);
    /* Only now the text stands still. */
    at = h->text.at;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        all[i]->at = at;
        at += all[i]->n;
    }
}

void fields_heads_done(struct fields_heads *h)
{
    buf_done(&h->text);
}

static bool is(struct bytes b, const char *text, size_t n)
{
    return b.n == n && memcmp(b.at, text, n) == 0;
}

#define IS(b, text) is(b, text, sizeof text - 1)

static bool same(struct bytes a, struct bytes b)
{
    return a.n == b.n && b.at && memcmp(a.at, b.at, a.n) == 0;
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

static struct bytes without_prefix(const struct fields *c, struct bytes name)
{
    if (c->prefix.n && name.n > c->prefix.n && memcmp(name.at, c->prefix.at, c->prefix.n) == 0)
        return bytes_of(name.at + c->prefix.n, name.n - c->prefix.n);
    return name;
}

static void read_header(const struct fields *c, struct bytes name, struct bytes text,
    struct bytes exact, struct buf *to)
{
    struct header h;
    struct header_value v = { .type = encoding_utf8(text) ? HEADER_TEXT : HEADER_BYTES,
        .bytes = text };

    name = without_prefix(c, name);
    if (!bytes_present(exact) || !header_find(exact, name, &h))
        header_put(to, HEADER_USER, name, &v);
}

void fields_read(
    const struct fields *c, const struct resp_value *fields, struct buf *headers, struct event *e)
{
    struct bytes exact = BYTES_NONE;
    size_t from = headers->n;

    for (size_t i = 0; i + 1 < fields->n; i += 2)
        if (IS(fields->items[i].text, HEADERS_FIELD) && header_valid(fields->items[i + 1].text))
            exact = fields->items[i + 1].text;
    if (bytes_present(exact))
        buf_put_bytes(headers, exact);
    for (size_t i = 0; i + 1 < fields->n; i += 2) {
        struct bytes name = fields->items[i].text, value = fields->items[i + 1].text;
        if (same(name, c->body))
            e->body = value;
        else if (same(name, c->id))
            e->id = value;
        else if (same(name, c->key))
            e->key = value;
        else if (same(name, c->token) || value.at == exact.at)
            continue;
        else if (!IS(name, HOPS_FIELD) || !read_number(value, &e->hops))
            read_header(c, name, value, exact, headers);
    }
    e->headers.n = headers->n - from;
}

static bool reserved(const struct fields *c, struct bytes name)
{
    const struct bytes own[] = { c->body, c->id, c->key, c->token, bytes_text(HEADERS_FIELD),
        bytes_text(HOPS_FIELD) };

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i].at && own[i].n == c->prefix.n + name.n &&
            own[i].n && /* prefix and name make this one */
            (c->prefix.n == 0 || memcmp(own[i].at, c->prefix.at, c->prefix.n) == 0) &&
            memcmp(own[i].at + c->prefix.n, name.at, name.n) == 0)
            return true;
    return false;
}

/* Would come back as it is from a plain field? A name that begins with the prefix by itself would
 * not. */
static bool plain(const struct fields *c, const struct header *h)
{
    if (h->scope != HEADER_USER || reserved(c, h->name))
        return false;
    if (h->value.type == HEADER_TEXT)
        return encoding_utf8(h->value.bytes);
    return h->value.type == HEADER_BYTES && !encoding_utf8(h->value.bytes);
}

/* For people and other programs, beside the exact list. */
static bool shown(const struct fields *c, const struct header *h)
{
    return plain(c, h) ||
           (h->scope == HEADER_PROPERTY && h->value.type == HEADER_TEXT && !reserved(c, h->name));
}

static struct bytes exact_list(struct bytes headers, struct buf *scratch)
{
    struct header h;

    buf_clear(scratch);
    while (header_next(&headers, &h) == 1)
        if (h.scope != HEADER_BROKER)
            header_put(scratch, h.scope, h.name, &h.value);
    return buf_bytes(scratch);
}

struct fields_plan fields_plan(const struct fields *c, const struct message *m, struct buf *scratch)
{
    const struct event *e = m->event;
    struct bytes headers = e->headers;
    struct fields_plan p = { .exact = BYTES_NONE };
    struct header h;
    bool exact = true;

    while (header_next(&headers, &h) == 1) {
        if (h.scope == HEADER_BROKER)
            continue;
        p.pairs += shown(c, &h);
        exact = exact && plain(c, &h);
    }
    if (!exact)
        p.exact = exact_list(e->headers, scratch);
    p.pairs += (size_t)bytes_present(p.exact) + bytes_present(e->body) +
               bytes_present(event_id(e)) + bytes_present(m->key) +
               (c->token.at && bytes_present(m->token)) + (m->flags & MESSAGE_REPLAY ? 1 : 0) +
               (e->hops > 0);
    p.bare = p.pairs == 0;
    p.pairs += p.bare;
    return p;
}

static void write_header(const struct fields *c, const struct header *h, struct resp *to)
{
    resp_arg_joined(to, c->prefix, h->name);
    resp_arg(to, h->value.bytes);
}

void fields_write(const struct fields *c, const struct fields_heads *heads, const struct message *m,
    const struct fields_plan *plan, struct resp *to)
{
    const struct event *e = m->event;
    struct bytes headers = e->headers;
    struct header h;

    if (bytes_present(e->body))
        resp_pair(to, heads->body, e->body);
    if (bytes_present(event_id(e)))
        resp_pair(to, heads->id, event_id(e));
    if (bytes_present(m->key))
        resp_pair(to, heads->key, m->key);
    if (c->token.at && bytes_present(m->token))
        resp_pair(to, heads->token, m->token);
    if (m->flags & MESSAGE_REPLAY) {
        resp_arg_text(to, REPLAY_FIELD);
        resp_arg_text(to, "1");
    }
    if (bytes_present(plan->exact)) {
        resp_arg_text(to, HEADERS_FIELD);
        resp_arg(to, plan->exact);
    }
    if (e->hops > 0 || plan->bare) {
        resp_arg_text(to, HOPS_FIELD);
        resp_arg_int(to, e->hops);
    }
    while (header_next(&headers, &h) == 1)
        if (h.scope != HEADER_BROKER && shown(c, &h))
            write_header(c, &h, to);
}
