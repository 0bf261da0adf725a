#include "bridge/links/redis/lookup.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE 500
#define ENTRIES_MAX 10000
#define EARLIER_MS 1000
#define SCANS_MAX 64
#define TOKENS_BYTES_MAX (16u << 20)

struct scan {
    struct scan *next;
    struct lookup *lookup;
    struct client *client;
    bool done;
    int64_t from_ms, asked_ms; /* our clock: earliest first send it covers; when it was begun */
    int64_t server_from_ms;
    size_t seen;
    char after[48]; /* "(ID" of the next page */
    struct buf tokens;
    uint64_t *hashes;
    size_t *places, n;
    struct bytes stream; /* behind the struct */
};

static void scan_free(struct scan *s)
{
    buf_done(&s->tokens);
    free(s->hashes);
    free(s->places);
    free(s);
}

void lookup_clear(struct lookup *l, struct client *c)
{
    while (l->scans) {
        struct scan *s = l->scans;
        l->scans = s->next;
        if (c->resp)
            resp_forget(c->resp, s);
        scan_free(s);
    }
    l->count = 0;
}

static void ask_page(struct scan *s);

static void keep(struct scan *s, struct bytes token)
{
    size_t place = s->tokens.n;

    buf_put_varint(&s->tokens, token.n);
    buf_put_bytes(&s->tokens, token);
    if (s->tokens.failed || s->n == ENTRIES_MAX)
        return;
    s->hashes[s->n] = bytes_hash(token);
    s->places[s->n++] = place;
}

static void read_entry(struct scan *s, const struct resp_value *entry)
{
    const struct resp_value *fields = NULL;

    if (entry->type != RESP_ARRAY || entry->n != 2 || entry->items[0].type != RESP_TEXT)
        return;
    (void)snprintf(s->after, sizeof s->after, "(%.*s",
        (int)(entry->items[0].text.n < 46 ? entry->items[0].text.n : 46),
        (const char *)entry->items[0].text.at);
    fields = &entry->items[1];
    for (size_t i = 0; fields->type == RESP_ARRAY && i + 1 < fields->n; i += 2)
        if (fields->items[i].type == RESP_TEXT && fields->items[i + 1].type == RESP_TEXT &&
            bytes_equal(fields->items[i].text, s->lookup->token_field))
            keep(s, fields->items[i + 1].text);
}

static void page(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct scan *s = owner;

    (void)arg;
    (void)sent;
    if (!v)
        return;
    /* Not allowed to look, or no such stream: then nothing is known and all is sent again. */
    if (v->type != RESP_ARRAY || v->n == 0) {
        s->done = true;
        return;
    }
    for (size_t i = 0; i < v->n; i++)
        read_entry(s, &v->items[i]);
    s->seen += v->n;
    s->done = v->n < PAGE || s->seen >= ENTRIES_MAX;
    if (!s->done)
        ask_page(s);
}

static void ask_page(struct scan *s)
{
    struct resp *r = s->client->resp;

    if (!r || resp_command(r, 6, page, s, 0) != 0) {
        s->done = true;
        return;
    }
    resp_arg_text(r, "XRANGE");
    resp_arg(r, s->stream);
    if (s->after[0])
        resp_arg_text(r, s->after);
    else
        resp_arg_int(r, s->server_from_ms);
    resp_arg_text(r, "+");
    resp_arg_text(r, "COUNT");
    resp_arg_int(r, PAGE);
}

/* Entry ids are the server's time, first sends ours: the difference is asked for. */
static void told_time(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct scan *s = owner;
    int64_t server_ms = 0;

    (void)arg;
    (void)sent;
    if (!v)
        return;
    if (v->type == RESP_ARRAY && v->n == 2 && v->items[0].type == RESP_TEXT)
        server_ms = strtoll((const char *)v->items[0].text.at, NULL, 10) * 1000;
    s->server_from_ms = s->from_ms - EARLIER_MS;
    if (server_ms > 0)
        s->server_from_ms += server_ms - s->asked_ms;
    s->server_from_ms = s->server_from_ms > 0 ? s->server_from_ms : 0;
    ask_page(s);
}

static struct scan *begin(
    struct lookup *l, struct client *c, struct bytes stream, int64_t from_ms, int64_t unix_ms)
{
    struct scan *s = calloc(1, sizeof *s + stream.n + 1);

    if (!s)
        return NULL;
    buf_init(&s->tokens, TOKENS_BYTES_MAX);
    s->hashes = calloc(ENTRIES_MAX, sizeof *s->hashes);
    s->places = calloc(ENTRIES_MAX, sizeof *s->places);
    if (!s->hashes || !s->places || resp_command(c->resp, 1, told_time, s, 0) != 0) {
        scan_free(s);
        return NULL;
    }
    resp_arg_text(c->resp, "TIME");
    if (stream.n)
        memcpy(s + 1, stream.at, stream.n);
    s->stream = bytes_of(s + 1, stream.n);
    s->lookup = l;
    s->client = c;
    s->from_ms = from_ms;
    s->asked_ms = unix_ms;
    s->next = l->scans;
    l->scans = s;
    l->count++;
    client_watch(c);
    return s;
}

static bool has(const struct scan *s, struct bytes token)
{
    uint64_t hash = bytes_hash(token), n = 0;

    for (size_t i = 0; i < s->n; i++) {
        struct bytes at = bytes_of(s->tokens.at + s->places[i], s->tokens.n - s->places[i]), one;
        if (s->hashes[i] == hash && bytes_get_varint(&at, &n) == 0 && n <= at.n &&
            bytes_get(&at, (size_t)n, &one) == 0 && bytes_equal(one, token))
            return true;
    }
    return false;
}

enum lookup_answer lookup_ask(struct lookup *l, struct client *c, struct bytes stream,
    struct bytes token, int64_t first_sent_ms, int64_t unix_ms)
{
    struct scan **at = &l->scans, *s = NULL;

    while (*at && !bytes_equal((*at)->stream, stream))
        at = &(*at)->next;
    s = *at;
    if (s && !s->done)
        return LOOKUP_WAIT;
    if (s && first_sent_ms < s->from_ms) {
        *at = s->next;
        l->count--;
        scan_free(s);
        s = NULL;
    }
    if (!s) {
        if (l->count >= SCANS_MAX)
            lookup_clear(l, c);
        /* Without memory nothing can be looked up: sent again rather than never. */
        return begin(l, c, stream, first_sent_ms, unix_ms) ? LOOKUP_WAIT : LOOKUP_ABSENT;
    }
    return has(s, token) ? LOOKUP_FOUND : LOOKUP_ABSENT;
}
