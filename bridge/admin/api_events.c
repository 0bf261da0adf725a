/* What the log holds and what became of it: events, traces, gaps, audit rows. */
#include "bridge/admin/call.h"
#include "bridge/digest.h"

#include <errno.h>
#include <stdlib.h>

/* Whether events with some text in them exist tells the text, letter by letter. */
static bool tells_content(struct call *c)
{
    return call_flag(c, "all") || call_text(c, "match") || call_text(c, "header_name") ||
           call_text(c, "header_value");
}

static void ask_page(struct call *c, enum query_kind kind)
{
    struct query_spec spec = { .kind = kind, .all = call_flag(c, "all") };

    if (call_selection(c, &spec.where) == 0 && call_page(c, &spec) == 0)
        call_ask(c, &spec, call_reply_rows);
}

/* `after` is a place in one route's log. */
void api_events(struct call *c)
{
    if (call_text(c, "after") && !call_text(c, "route"))
        call_fail(c, 400, "bad_request", "after is a place in the log of one route: name it");
    else if (!tells_content(c) || call_need(c, CONFIG_ROLE_OPERATE))
        ask_page(c, QUERY_EVENTS);
}

void api_gaps(struct call *c)
{
    ask_page(c, QUERY_GAPS);
}

void api_audit(struct call *c)
{
    ask_page(c, QUERY_AUDIT);
}

static void verified(struct call *c, struct query_answer *a)
{
    call_reply(c, view_audit(&a->rows));
}

void api_audit_verify(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_AUDIT_VERIFY,
        .digest = digest_sha256,
        .text = call_text(c, "expect"),
        .limit = CALL_LIMIT_MAX };

    call_ask(c, &spec, verified);
}

static void reply_found(struct call *c, struct query_answer *a)
{
    if (a->rows.row_count == 0)
        call_fail(c, 404, "not_found", "the log holds no such event");
    else
        call_reply_rows(c, a);
}

void api_trace_id(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_TRACE, .where.id = c->values[0] };

    if (call_page(c, &spec) == 0)
        call_ask(c, &spec, reply_found);
}

static int event_name(struct call *c, struct query_spec *spec)
{
    char *end;

    errno = 0;
    spec->where.route = c->values[0];
    spec->where.first_seq = spec->where.last_seq = strtoull(c->values[1], &end, 10);
    if (errno || *end || spec->where.first_seq == 0) {
        call_fail(c, 400, "bad_request", "'%s' is not a place in a log (1, 2, …)", c->values[1]);
        return -1;
    }
    return call_page(c, spec);
}

void api_trace_seq(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_TRACE };

    if (event_name(c, &spec) == 0)
        call_ask(c, &spec, reply_found);
}

void api_attempts(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_ATTEMPTS };

    if (event_name(c, &spec) == 0)
        call_ask(c, &spec, call_reply_rows);
}
