#include "bridge/base/log_line.h"
#include "bridge/base/header.h"
#include "bridge/base/quote.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* ---- filling ---- */

#define COPY(to, text) ((void)snprintf(to, sizeof(to), "%s", (text) ? (text) : ""))

/* Cut to its place; a NUL inside would end it. */
static void copy_bytes(char *to, size_t limit, struct bytes from)
{
    size_t n = from.n < limit - 1 ? from.n : limit - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = from.at[i] ? (char)from.at[i] : '?';
    to[n] = '\0';
}

static void copy_header(char *to, size_t limit, const struct event *e, const char *name)
{
    struct header h;
    struct buf text;

    if (*to || !header_find_any_case(e->headers, bytes_text(name), &h))
        return;
    buf_init(&text, 4096);
    if (header_value_text(&h.value, &text) == 0 && !text.failed)
        copy_bytes(to, limit, buf_bytes(&text));
    buf_done(&text);
}

void log_line_concerns(struct log_line *l, const struct log_about *about)
{
    const struct event *e = about->event;

    COPY(l->route, about->route);
    COPY(l->sink, about->sink);
    COPY(l->code, about->code);
    if (!e)
        return;
    if (about->log && e->seq)
        (void)snprintf(l->event, sizeof l->event, "%.130s@%" PRIu64, about->log, e->seq);
    copy_bytes(l->event_id, sizeof l->event_id, event_id(e));
    copy_header(l->correlation_id, sizeof l->correlation_id, e, "correlation-id");
    copy_header(l->correlation_id, sizeof l->correlation_id, e, "x-correlation-id");
    copy_header(l->traceparent, sizeof l->traceparent, e, "traceparent");
}

/* ---- the fields of each format ---- */

struct field {
    const char *name, *journal;
    size_t offset;
};

#define FIELD(name, journal)                                                                       \
    {                                                                                              \
#name, journal, offsetof(struct log_line, name)                                            \
    }
static const struct field fields[] = { FIELD(route, "ROUTE"), FIELD(sink, "SINK"),
    FIELD(code, "CODE"), FIELD(event, "EVENT"), FIELD(event_id, "EVENT_ID"),
    FIELD(correlation_id, "CORRELATION_ID"), FIELD(traceparent, "TRACEPARENT") };
#define FIELDS (sizeof fields / sizeof *fields)

static const char *field_of(const struct log_line *l, size_t i)
{
    return (const char *)l + fields[i].offset;
}

uint64_t log_line_hash(const struct log_line *l)
{
    uint64_t hash = bytes_hash(bytes_text(l->text)) + (uint64_t)l->level;

    for (size_t i = 0; i < FIELDS; i++)
        hash = hash * 31 + bytes_hash(bytes_text(field_of(l, i)));
    return hash;
}

bool log_line_equal(const struct log_line *a, const struct log_line *b)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(field_of(a, i), field_of(b, i)) != 0)
            return false;
    return a->level == b->level && strcmp(a->text, b->text) == 0;
}

int log_line_priority(const struct log_line *l)
{
    static const int priorities[] = { 6, 3, 4, 6, 7 };

    return priorities[l->level];
}

static void put_time(struct buf *to, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[32];

    if (!gmtime_r(&seconds, &tm))
        return;
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_put_format(to, "%s.%03dZ", text, (int)(unix_ms % 1000));
}

/* A value that reads the same without quotes has none. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '\\' || *text == '=')
            return false;
    return true;
}

static void put_logfmt(const struct log_line *l, int64_t unix_ms, struct buf *to)
{
    buf_put_text(to, "time=");
    put_time(to, unix_ms);
    buf_put_format(to, " level=%s", log_level_text(l->level));
    for (size_t i = 0; i < FIELDS; i++) {
        const char *value = field_of(l, i);

        if (!*value)
            continue;
        buf_put_format(to, " %s=", fields[i].name);
        if (is_plain(value))
            buf_put_text(to, value);
        else
            quote_put(to, value);
    }
    buf_put_text(to, " msg=");
    quote_put(to, l->text);
    if (l->repeats)
        buf_put_format(to, " repeated=%u", l->repeats);
    buf_put_byte(to, '\n');
}

static void put_json(const struct log_line *l, int64_t unix_ms, struct buf *to)
{
    buf_put_text(to, "{\"time\":\"");
    put_time(to, unix_ms);
    buf_put_format(to, "\",\"level\":\"%s\"", log_level_text(l->level));
    for (size_t i = 0; i < FIELDS; i++) {
        if (!*field_of(l, i))
            continue;
        buf_put_format(to, ",\"%s\":", fields[i].name);
        quote_put(to, field_of(l, i));
    }
    buf_put_text(to, ",\"msg\":");
    quote_put(to, l->text);
    if (l->repeats)
        buf_put_format(to, ",\"repeated\":%u", l->repeats);
    buf_put_text(to, "}\n");
}

/* Escapes make six bytes of one: such a line does without what strangers chose. */
static void put_whole(const struct log_line *l, int64_t unix_ms, struct buf *to,
    void (*put)(const struct log_line *l, int64_t unix_ms, struct buf *to))
{
    size_t before = to->n;
    struct log_line cut;

    put(l, unix_ms, to);
    if (!to->failed && to->n - before <= LOG_LINE_BYTES_MAX)
        return;
    cut = *l;
    cut.event_id[0] = cut.correlation_id[0] = cut.traceparent[0] = '\0';
    cut.text[sizeof cut.text / 4] = '\0';
    to->n = before;
    to->failed = false;
    put(&cut, unix_ms, to);
}

void log_line_logfmt(const struct log_line *l, int64_t unix_ms, struct buf *to)
{
    put_whole(l, unix_ms, to, put_logfmt);
}

void log_line_json(const struct log_line *l, int64_t unix_ms, struct buf *to)
{
    put_whole(l, unix_ms, to, put_json);
}

/* A value with a newline in it goes with a 64-bit length. */
static void put_field(struct buf *to, const char *name, const char *value)
{
    size_t n = strlen(value);

    if (n == 0)
        return;
    buf_put_text(to, name);
    if (strchr(value, '\n')) {
        buf_put_byte(to, '\n');
        buf_put_u64(to, n);
    } else {
        buf_put_byte(to, '=');
    }
    buf_put(to, value, n);
    buf_put_byte(to, '\n');
}

void log_line_journal(const struct log_line *l, struct buf *to)
{
    char text[sizeof l->text + 32]; /* 32: what is put behind */

    buf_put_format(to, "PRIORITY=%d\nSYSLOG_IDENTIFIER=bascule\n", log_line_priority(l));
    for (size_t i = 0; i < FIELDS; i++)
        put_field(to, fields[i].journal, field_of(l, i));
    if (l->repeats)
        buf_put_format(to, "REPEATED=%u\n", l->repeats);
    (void)snprintf(text, sizeof text, "%s", l->text);
    if (l->repeats)
        (void)snprintf(text + strlen(text), 32, " (repeated %u times)", l->repeats);
    put_field(to, "MESSAGE", text);
}
