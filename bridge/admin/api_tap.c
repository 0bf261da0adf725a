/* Looking on at a route or a sink: GET …/tap answers JSON lines until one of both sides ends. */
#include "bridge/admin/api_tap.h"
#include "bridge/admin/call.h"

#include <stdlib.h>

/* Room that events leave for what must be told in any case. */
#define RESERVE (16u << 10)
#define COUNTS_MS 1000 /* between two lines about what was not shown */

struct api_tap {
    struct api_taps *all;
    struct api_tap *next;
    struct tap *tap; /* NULL: it has ended, the client may still read */
    struct tap_spec spec;
    struct http_request *request;
    struct buf out;
    size_t at; /* of `out`, what the client has not got yet */
    uint64_t slow;
    struct {
        uint64_t rate, busy, slow;
    } told;
    int64_t now_ms, line_ms, told_ms;
    bool ended;
};

static const char *const whats[] = { "none", "received", "sent", "delivered", "refused", "unsure",
    "unsent", "dead", "filtered", "loop", "diverted" };
static const char *const lanes[] = { "none", "live", "retry", "replay" };

/* ---- lines ---- */

static size_t unread(const struct api_tap *t)
{
    return t->out.n - t->at;
}

/* Takes the line. false: it did not fit. */
static bool put(struct api_tap *t, json_t *line, size_t limit)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    bool fits = text && unread(t) + n + 1 <= limit;

    if (t->at && t->out.n + n + 1 > API_TAP_BUFFER) {
        buf_drop(&t->out, t->at);
        t->at = 0;
    }
    if (fits) {
        buf_put(&t->out, text, n);
        buf_put_byte(&t->out, '\n');
        fits = !t->out.failed;
        t->out.failed = false;
        t->line_ms = t->now_ms;
    }
    free(text);
    json_decref(line);
    return fits;
}

static bool tell(struct api_tap *t, json_t *line)
{
    return put(t, line, API_TAP_BUFFER);
}

/* Not in the middle of a character: that would make text into bytes. */
static struct bytes cut(struct bytes body)
{
    size_t n = TAP_BODY_MAX;

    if (body.n <= n)
        return body;
    for (int i = 0; i < 3 && (body.at[n] & 0xc0) == 0x80; i++)
        n--;
    return bytes_of(body.at, n);
}

static json_t *event_line(const struct api_tap *t, const struct tap_seen *seen)
{
    const struct event *e = seen->event;
    json_t *ret = json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:I}", "what",
        whats[seen->what], "route", seen->route, "seq", view_unsigned(seen->seq), "time_ms",
        (json_int_t)seen->unix_ms, "received_ms", (json_int_t)e->received_ms, "id",
        view_bytes(event_id(e)), "key", view_bytes(e->key), "address", view_bytes(e->address),
        "body_bytes", (json_int_t)e->body.n);

    if (ret && t->spec.sink_id) {
        json_object_set_new(ret, "lane", json_string(lanes[seen->lane]));
        json_object_set_new(
            ret, "took_ms", seen->took_ms < 0 ? json_null() : json_integer(seen->took_ms));
        json_object_set_new(ret, "code", json_integer(seen->code));
        json_object_set_new(ret, "text", view_bytes(bytes_text(seen->text)));
    }
    if (ret && t->spec.bodies) {
        struct bytes body = cut(e->body);

        json_object_set_new(ret, "headers", view_headers(e->headers));
        json_object_set_new(ret, "body", view_bytes(body));
        json_object_set_new(ret, "body_cut", json_boolean(body.n < e->body.n));
    }
    return ret;
}

static void show(void *arg, const struct tap_seen *seen)
{
    struct api_tap *t = arg;

    if (!put(t, event_line(t, seen), API_TAP_BUFFER - RESERVE))
        t->slow++;
}

static void tell_missed(struct api_tap *t, uint64_t now, uint64_t *told, const char *because)
{
    if (now != *told && tell(t, json_pack("{s:s, s:o, s:s}", "what", "not_shown", "count",
                                    view_unsigned(now - *told), "because", because)))
        *told = now;
}

static void tell_counts(struct api_tap *t)
{
    struct tap_missed m = tap_missed(t->tap);

    tell_missed(t, m.rate, &t->told.rate, "rate");
    tell_missed(t, m.busy, &t->told.busy, "busy");
    tell_missed(t, t->slow, &t->told.slow, "slow_client");
    t->told_ms = t->now_ms;
}

static void end(struct api_tap *t, const char *because)
{
    if (t->ended)
        return;
    tell_counts(t);
    relay_tap_close(t->all->relay, t->tap);
    t->tap = NULL;
    t->ended = true;
    (void)tell(t, json_pack("{s:s, s:I, s:s}", "what", "end", "time_ms",
                      (json_int_t)t->all->unix_ms, "because", because));
    http_stream_wake(t->request, true);
}

/* ---- the client's side ---- */

static size_t more(void *arg, char *to, size_t limit)
{
    struct api_tap *t = arg;
    size_t n = unread(t) < limit ? unread(t) : limit;

    memcpy(to, t->out.at + t->at, n);
    t->at += n;
    if (t->at == t->out.n) {
        buf_clear(&t->out);
        t->at = 0;
    }
    return n;
}

static void gone(void *arg)
{
    struct api_tap *t = arg;
    struct api_tap **at = &t->all->first;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    relay_tap_close(t->all->relay, t->tap);
    buf_done(&t->out);
    free(t);
}

static int read_spec(struct call *c, struct tap_spec *ret)
{
    struct selection where;
    int64_t sample, rate;

    if (call_selection(c, &where) != 0 || call_number(c, "sample", 1, &sample) != 0 ||
        call_number(c, "rate", TAP_RATE_DEFAULT, &rate) != 0)
        return -1;
    if (sample < 1 || sample > TAP_SAMPLE_MAX || rate < 1 || rate > TAP_RATE_MAX) {
        call_fail(c, 400, "bad_request", "sample is within 1 and %d, rate within 1 and %d",
            TAP_SAMPLE_MAX, TAP_RATE_MAX);
        return -1;
    }
    *ret = (struct tap_spec){ .where = where,
        .sample = (uint32_t)sample,
        .rate = (uint32_t)rate,
        .sent = call_flag(c, "sent"),
        .bodies = call_flag(c, "bodies"),
        .show = show };
    return 0;
}

void api_tap(struct call *c)
{
    struct api_tap *t;
    struct tap_spec spec;
    struct fault why = { 0 };

    if (read_spec(c, &spec) != 0)
        return;
    t = calloc(1, sizeof *t);
    if (!t) {
        call_fail(c, 503, "try_later", "out of memory");
        return;
    }
    spec.arg = t;
    if (relay_tap_open(c->relay, c->values[0], c->values[1], &spec, &t->tap, &why) != 0) {
        free(t);
        if (why.kind == FAULT_INPUT)
            call_fail(c, 404, "not_found", "%s", why.text);
        else
            call_fault(c, &why);
        return;
    }
    buf_init(&t->out, API_TAP_BUFFER);
    t->all = c->taps;
    t->spec = spec;
    t->request = c->request;
    t->now_ms = t->told_ms = c->now_ms;
    t->next = c->taps->first;
    c->taps->first = t;
    (void)tell(t,
        json_pack("{s:s, s:I, s:s, s:s, s:i, s:i}", "what", "begin", "time_ms",
            (json_int_t)c->unix_ms, "route", c->values[0], "sink", c->values[1] ? c->values[1] : "",
            "sample", (int)spec.sample, "rate", (int)spec.rate));
    call_stream(c, &(struct http_stream_spec){ "application/x-ndjson", more, gone, t });
}

/* ---- turns ---- */

void api_taps_turn(struct api_taps *ts, int64_t now_ms, int64_t unix_ms)
{
    ts->unix_ms = unix_ms;
    for (struct api_tap *t = ts->first; t; t = t->next) {
        t->now_ms = now_ms;
        if (t->ended)
            continue;
        /* A client that is far behind reads of it when it comes there. */
        if (now_ms - t->told_ms >= COUNTS_MS && unread(t) < API_TAP_BUFFER / 2)
            tell_counts(t);
        if (now_ms - t->line_ms >= API_TAP_ALIVE_MS && unread(t) == 0)
            (void)tell(t, json_pack("{s:s, s:I}", "what", "alive", "time_ms", (json_int_t)unix_ms));
        if (unread(t))
            http_stream_wake(t->request, false);
    }
}

void api_taps_reloaded(struct api_taps *ts, const char *hash)
{
    for (struct api_tap *t = ts->first; t; t = t->next) {
        if (t->ended)
            continue;
        (void)tell(t, json_pack("{s:s, s:I, s:s}", "what", "reloaded", "time_ms",
                          (json_int_t)ts->unix_ms, "config_hash", hash));
        if (!relay_tap_stands(ts->relay, &t->spec))
            end(t, "gone");
    }
}

void api_taps_stop(struct api_taps *ts)
{
    for (struct api_tap *t = ts->first; t; t = t->next)
        end(t, "stopping");
}
