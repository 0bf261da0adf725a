#include "bridge/cli/status_view.h"
#include "bridge/cli/table.h"
#include "bridge/cli/top.h"

static void put_safe(struct buf *to, const char *text)
{
    table_put_safe(to, text, strlen(text));
}

static long long number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void put_ago(struct buf *to, const char *what, int64_t then_ms, int64_t now_ms)
{
    if (then_ms <= 0)
        return;
    buf_put_format(to, "; %s ", what);
    table_put_duration(to, now_ms > then_ms ? now_ms - then_ms : 0);
    buf_put_text(to, " ago");
}

static void put_link(struct buf *to, const json_t *of)
{
    const json_t *link = json_object_get(of, "link");

    buf_put_format(to, "%s for ", status_text(link, "state"));
    table_put_duration(to, number(link, "for_ms"));
    if (*status_text(link, "peer")) {
        buf_put_text(to, ", ");
        put_safe(to, status_text(link, "peer"));
    }
    if (number(link, "reconnects"))
        buf_put_format(to, ", %lld reconnects", number(link, "reconnects"));
    if (number(link, "retry_in_ms")) {
        buf_put_text(to, ", tries again in ");
        table_put_duration(to, number(link, "retry_in_ms"));
    }
}

static void put_pause(struct buf *to, const json_t *of, int64_t now_ms)
{
    if (!json_is_true(json_object_get(of, "paused")))
        return;
    buf_put_text(to, "  paused by ");
    put_safe(to, status_text(of, "paused_by"));
    put_ago(to, "since", number(of, "paused_since_ms"), now_ms);
    buf_put_byte(to, '\n');
}

static void put_trouble(struct buf *to, const json_t *of)
{
    static const char *const keys[] = { "held_back", "error" };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (*status_text(of, keys[i])) {
            buf_put_text(to, "  ! ");
            put_safe(to, status_text(of, keys[i]));
            buf_put_byte(to, '\n');
        }
}

static void put_source(struct buf *to, const json_t *route, int64_t now_ms)
{
    buf_put_text(to, "from ");
    put_safe(to, status_text(route, "connection"));
    buf_put_text(to, ": ");
    put_safe(to, status_text(route, "place"));
    buf_put_text(to, "\n  ");
    put_link(to, route);
    buf_put_format(to, "\n  %.1f/s in, %lld accepted, %lld duplicates refused, %lld gaps",
        json_real_value(json_object_get(route, "rate")), number(route, "accepted"),
        number(route, "duplicates"), number(route, "gaps"));
    put_ago(to, "last received", number(route, "last_received_ms"), now_ms);
    buf_put_text(to, "\n  backlog ");
    table_put_size(to, number(route, "backlog_bytes"));
    buf_put_text(to, " of ");
    table_put_size(to, number(route, "max_backlog_bytes"));
    buf_put_byte(to, '\n');
    put_pause(to, route, now_ms);
    put_trouble(to, route);
}

static void put_sink(struct buf *to, const json_t *sink, int64_t now_ms)
{
    const json_t *n = json_object_get(sink, "counts");
    long long dropped = number(n, "dropped_filter") + number(n, "dropped_loop") +
                        number(n, "dropped_person") + number(n, "dropped_discard");

    buf_put_format(to, "\nto %s, ", status_text(sink, "name"));
    put_safe(to, status_text(sink, "connection"));
    buf_put_text(to, ": ");
    put_safe(to, status_text(sink, "place"));
    buf_put_text(to, "\n  ");
    put_link(to, sink);
    buf_put_format(to, "; breaker %s\n  %.1f/s out, %lld in flight, %lld pending, %lld parked keys",
        status_text(sink, "breaker"), json_real_value(json_object_get(sink, "rate")),
        number(sink, "in_flight"), number(sink, "pending"), number(sink, "parked_keys"));
    put_ago(to, "oldest", number(sink, "oldest_pending_ms"), now_ms);
    buf_put_format(to,
        "\n  %lld accepted = %lld delivered + %lld pending + %lld dead + %lld dropped + %lld "
        "diverted; %lld retries\n",
        number(n, "accepted"), number(n, "delivered"), number(sink, "pending"), number(n, "dead"),
        dropped, number(n, "diverted"), number(n, "retries"));
    put_pause(to, sink, now_ms);
    put_trouble(to, sink);
}

static void put_dead(struct buf *to, const json_t *dead, int64_t now_ms)
{
    json_t *row;
    size_t i;

    buf_put_format(to, "\nnewest dead letters%s\n",
        !dead                   ? ": asking"
        : json_array_size(dead) ? ""
                                : ": none");
    json_array_foreach(dead, i, row)
    {
        buf_put_format(to, "  %lld  %s@%lld at %s, ", number(row, "number"),
            status_text(row, "route"), number(row, "seq"), status_text(row, "sink"));
        table_put_duration(to, now_ms - number(row, "changed_ms"));
        buf_put_format(to, " ago, %s: ", status_text(row, "reason"));
        put_safe(to, status_text(row, "text"));
        buf_put_byte(to, '\n');
    }
}

void top_look(const json_t *route, const json_t *dead, int64_t now_ms, struct buf *to)
{
    json_t *sink;
    size_t i;

    put_source(to, route, now_ms);
    json_array_foreach(json_object_get(route, "sinks"), i, sink) put_sink(to, sink, now_ms);
    put_dead(to, dead, now_ms);
}
