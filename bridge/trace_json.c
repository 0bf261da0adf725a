#include "bridge/trace_json.h"
#include "bridge/base/quote.h"

#include <inttypes.h>
#include <stdio.h>

/* Span.SpanKind and Status.StatusCode of opentelemetry/proto/trace/v1/trace.proto. */
static const struct {
    const char *name, *operation;
    int kind;
} kinds[] = {
    [SPAN_RECEIVE] = { "receive", "receive", 5 }, /* CONSUMER */
    [SPAN_COMMIT] = { "commit", NULL, 1 },        /* INTERNAL */
    [SPAN_DELIVER] = { "deliver", "send", 4 },    /* PRODUCER */
};
#define STATUS_ERROR 2

static void put_hex(struct buf *to, const char *name, const uint8_t *id, size_t n)
{
    buf_put_format(to, ",\"%s\":\"", name);
    for (size_t i = 0; i < n; i++)
        buf_put_format(to, "%02x", id[i]);
    buf_put_byte(to, '"');
}

static void put_text(struct buf *to, const char *name, const char *value, const char *glue)
{
    if (!value || !*value)
        return;
    buf_put_format(to, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", glue, name);
    quote_put(to, value);
    buf_put_text(to, "}}");
}

/* Names by OpenTelemetry's conventions for messaging where it has one. */
static void put_attributes(struct buf *to, const struct span *s)
{
    char event[96];

    (void)snprintf(event, sizeof event, "%s@%" PRIu64, s->log, s->seq);
    buf_put_text(to, ",\"attributes\":[");
    put_text(to, "bascule.event", event, "");
    put_text(to, "bascule.route", s->route, ",");
    put_text(to, "bascule.sink", s->sink, ",");
    put_text(to, "bascule.fate", s->fate, ",");
    put_text(to, "messaging.operation.type", kinds[s->kind].operation, ",");
    if (s->kind != SPAN_COMMIT) {
        put_text(to, "messaging.system", s->system, ",");
        put_text(to, "messaging.destination.name", s->place, ",");
        put_text(to, "messaging.message.id", s->event_id, ",");
    }
    buf_put_byte(to, ']');
}

static void put_span(struct buf *to, const struct span *s)
{
    static const uint8_t none[sizeof s->parent];

    buf_put_format(to, "{\"name\":\"%s %s%s%s\",\"kind\":%d", kinds[s->kind].name, s->route,
        *s->sink ? "/" : "", s->sink, kinds[s->kind].kind);
    put_hex(to, "traceId", s->trace_id, sizeof s->trace_id);
    put_hex(to, "spanId", s->id, sizeof s->id);
    if (memcmp(s->parent, none, sizeof none) != 0)
        put_hex(to, "parentSpanId", s->parent, sizeof s->parent);
    if (*s->tracestate) {
        buf_put_text(to, ",\"traceState\":");
        quote_put(to, s->tracestate);
    }
    buf_put_format(to, ",\"startTimeUnixNano\":\"%" PRId64 "\",\"endTimeUnixNano\":\"%" PRId64 "\"",
        s->start_ns, s->end_ns > s->start_ns ? s->end_ns : s->start_ns);
    put_attributes(to, s);
    if (*s->error) {
        buf_put_format(to, ",\"status\":{\"code\":%d,\"message\":", STATUS_ERROR);
        quote_put(to, s->error);
        buf_put_byte(to, '}');
    }
    buf_put_byte(to, '}');
}

void trace_json(
    const struct trace_json_resource *who, const struct span *spans, size_t n, struct buf *to)
{
    buf_put_text(to, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    put_text(to, "service.name", who->service, "");
    put_text(to, "service.version", BASCULE_VERSION, ",");
    put_text(to, "service.instance.id", who->store, ",");
    buf_put_text(to,
        "]},\"scopeSpans\":[{\"scope\":{\"name\":\"bascule\",\"version\":\"" BASCULE_VERSION
        "\"},\"spans\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_put_byte(to, ',');
        put_span(to, &spans[i]);
    }
    buf_put_text(to, "]}]}]}");
}
