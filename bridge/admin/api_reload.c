/* Another configuration: what it would change, and going over to it. */
#include "bridge/admin/call.h"

#include <stdio.h>

#define NAMES_MAX 100

static json_t *keys_json(const char *keys)
{
    json_t *ret = json_array();

    while (*keys) {
        size_t n = strcspn(keys, "\n");

        json_array_append_new(ret, json_stringn(keys, n));
        keys += n + (keys[n] == '\n');
    }
    return ret;
}

static json_t *plan_json(const struct relay_plan *p)
{
    static const char *const things[] = { "none", "connection", "route", "sink", "daemon" };
    static const char *const kinds[] = { "none", "added", "removed", "changed", "settings",
        "orphaned" };
    json_t *ret = json_array();

    for (size_t i = 0; i < p->n; i++) {
        const struct relay_change *c = &p->at[i];

        json_array_append_new(
            ret, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "what",
                     things[c->of], "change", kinds[c->kind], "name", c->name, "was", c->was,
                     "keys", keys_json(c->keys ? c->keys : ""), "declares",
                     keys_json(c->declares ? c->declares : ""), "pending",
                     view_unsigned(c->pending), "held", view_unsigned(c->held), "dead",
                     view_unsigned(c->dead), "jobs", view_unsigned(c->jobs), "backlog",
                     c->discard ? "discard"
                     : c->drain ? "drain"
                                : "keep"));
    }
    return ret;
}

static json_t *problems_json(const struct config_problems *p, bool warnings)
{
    json_t *ret = json_array();

    for (size_t i = 0; i < p->n; i++) {
        const struct config_problem *at = &p->at[i];
        struct buf text;
        char code[16];

        if (at->warning && !warnings)
            continue;
        (void)snprintf(code, sizeof code, "BSC-%04d", at->code);
        buf_init(&text, 8192);
        config_problem_print(at, &text);
        json_array_append_new(
            ret, json_pack("{s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "code", code, "severity",
                     at->warning ? "warning" : "error", "file",
                     at->place.file ? at->place.file : "", "line", at->place.line, "column",
                     at->place.column, "message", view_bytes(bytes_text(at->text)), "hint",
                     view_bytes(bytes_text(at->hint)), "text", view_bytes(buf_bytes(&text))));
        buf_done(&text);
    }
    return ret;
}

static void ended(struct call *c, struct query_answer *a)
{
    const struct reload_result *r = reload_last(c->reload);

    (void)a;
    switch (r->outcome) {
    case RELOAD_PLANNED:
    case RELOAD_DONE:
        call_reply(c, json_pack("{s:s, s:s, s:o, s:s?, s:o, s:o}", "done",
                          r->kind == RELOAD_PLAN ? "plan" : "reload", "hash", r->hash, "summary",
                          view_bytes(bytes_text(r->text)), "note", r->note, "changes",
                          plan_json(&r->plan), "warnings", problems_json(&r->problems, true)));
        return;
    case RELOAD_REFUSED:
        call_refuse(c, 422, "refused", r->text, problems_json(&r->problems, true));
        return;
    default:
        call_refuse(c, 503, "reload_failed", r->text, json_null());
    }
}

static void begin(struct call *c, enum reload_kind kind)
{
    const char *discard[NAMES_MAX], *drain[NAMES_MAX];
    struct http_peer who = http_peer(c->request);
    struct reload_ask ask = { .kind = kind,
        .names = { .discard = discard, .drain = drain },
        .uid = who.uid,
        .pid = who.pid };
    int n = call_texts(c, "discard", discard, NAMES_MAX), m;
    struct fault why;

    if (n < 0 || (m = call_texts(c, "drain", drain, NAMES_MAX)) < 0)
        return;
    ask.names.discard_count = (size_t)n;
    ask.names.drain_count = (size_t)m;
    if (!c->reload)
        call_fail(c, 404, "not_found", "this daemon cannot reload");
    else if (reload_begin(c->reload, &ask, &why) != 0)
        call_fault(c, &why);
    else
        call_hold(c, ended);
}

void api_plan(struct call *c)
{
    begin(c, RELOAD_PLAN);
}

void api_reload(struct call *c)
{
    begin(c, RELOAD_GO);
}
