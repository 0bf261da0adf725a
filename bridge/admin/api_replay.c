/* Replay jobs: planned from a selection, run, watched, stopped. */
#include "bridge/admin/call.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const job_states[] = { "none", "planned", "running", "paused", "done",
    "cancelled" };

static json_t *legs_json(const struct call *c, const struct store_job *j)
{
    json_t *ret = json_array();

    for (size_t i = 0; i < j->leg_count; i++) {
        const struct store_leg *l = &j->legs[i];
        const char *to_route, *to_sink = call_sink_name(c, l->sink_id, &to_route);

        json_array_append_new(ret,
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s?}", "route",
                call_route_name(c, l->route_id), "to_route", to_route, "to_sink", to_sink,
                "selected", view_unsigned(l->selected), "delivered", view_unsigned(l->delivered),
                "dead", view_unsigned(l->dead), "dropped", view_unsigned(l->dropped), "trouble",
                relay_replay_trouble(c->relay, j->number, i)));
    }
    return ret;
}

static json_t *job_json(const struct call *c, const struct store_job *j)
{
    uint64_t selected = 0, delivered = 0, dead = 0, dropped = 0;
    const char *trouble = NULL;

    for (size_t i = 0; i < j->leg_count; i++) {
        if (!trouble)
            trouble = relay_replay_trouble(c->relay, j->number, i);
        selected += j->legs[i].selected;
        delivered += j->legs[i].delivered;
        dead += j->legs[i].dead;
        dropped += j->legs[i].dropped;
    }
    return json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:o, s:o, s:s?}",
        "number", view_unsigned(j->number), "state", job_states[j->state], "selected",
        view_unsigned(selected), "delivered", view_unsigned(delivered), "dead", view_unsigned(dead),
        "dropped", view_unsigned(dropped), "created_ms", (json_int_t)j->created_ms, "changed_ms",
        (json_int_t)j->changed_ms, "expires_ms", (json_int_t)j->expires_ms, "rate",
        (json_int_t)j->rate, "raw", j->raw, "uid", (json_int_t)j->uid, "bytes",
        (json_int_t)j->bytes, "selection", view_bytes(bytes_text(j->selection)), "legs",
        legs_json(c, j), "trouble", trouble);
}

void api_replay_list(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_JOBS, .all = call_flag(c, "all") };

    if (call_page(c, &spec) == 0)
        call_ask(c, &spec, call_reply_rows);
}

static int job_number(struct call *c, uint64_t *ret)
{
    unsigned long long n;
    char end;

    if (sscanf(c->values[0], "%llu%c", &n, &end) != 1 || n == 0) {
        call_fail(c, 400, "bad_request", "'%s' is not the number of a replay", c->values[0]);
        return -1;
    }
    *ret = n;
    return 0;
}

static void stored_job(struct call *c, struct query_answer *a)
{
    json_t *rows;

    if (a->rows.row_count == 0) {
        call_fail(c, 404, "not_found", "there is no replay %s", c->values[0]);
        return;
    }
    rows = view_rows(&a->rows);
    call_reply(c, json_incref(json_array_get(json_object_get(rows, "rows"), 0)));
    json_decref(rows);
}

void api_replay_show(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_JOBS, .limit = 1, .all = true };
    const struct store_job *j;

    if (job_number(c, &spec.number) != 0)
        return;
    j = relay_replay_find(c->relay, spec.number);
    if (j)
        call_reply(c, job_json(c, j));
    else
        call_ask(c, &spec, stored_job);
}

/* ---- plan ---- */

static json_t *parts_json(const struct query_answer *a)
{
    json_t *ret = json_array();

    for (size_t i = 0; i < a->part_count; i++) {
        const struct plan_part *p = &a->parts[i];
        size_t n = p->set.n;

        json_array_append_new(
            ret, json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "route", p->route, "count",
                     view_unsigned(p->count), "keys", view_unsigned(p->keys), "bytes",
                     (json_int_t)p->bytes, "first_ms", (json_int_t)p->first_ms, "last_ms",
                     (json_int_t)p->last_ms, "first_seq", view_unsigned(n ? p->set.at[0].first : 0),
                     "last_seq", view_unsigned(n ? p->set.at[n - 1].last : 0)));
    }
    return ret;
}

static void reply_plan(
    struct call *c, const struct query_answer *a, uint64_t number, uint64_t left_out)
{
    const struct store_job *j = relay_replay_find(c->relay, number);
    json_t *ret = j ? job_json(c, j) : json_pack("{s:o}", "number", view_unsigned(number));
    char digest[20];

    (void)snprintf(digest, sizeof digest, "%016llx", (unsigned long long)a->digest);
    json_object_set_new(ret, "left_out", view_unsigned(left_out));
    json_object_set_new(ret, "digest", json_string(digest));
    json_object_set_new(ret, "parts", parts_json(a));
    call_audit(c, "replay_plan", json_string_value(c->kept), NULL, "done");
    call_reply(c, ret);
}

static void plan(struct call *c, struct query_answer *a)
{
    const char *to = call_text(c, "to_sink");
    char to_route[64] = "", to_sink[64] = "";
    struct relay_replay ask = { .plan = a,
        .sink = call_text(c, "sink"),
        .selection = json_string_value(c->kept),
        .raw = call_flag(c, "raw"),
        .uid = http_peer(c->request).uid };
    uint64_t number = 0, left_out = 0;
    struct fault why = { 0 };

    if (call_number(c, "rate", 0, &ask.rate) != 0)
        return;
    if (to && sscanf(to, "%63[^/]/%63[^/]", to_route, to_sink) != 2) {
        call_fail(c, 400, "bad_request", "to_sink is ROUTE/SINK, not '%s'", to);
        return;
    }
    if (to) {
        ask.to_route = to_route;
        ask.to_sink = to_sink;
    }
    if (a->part_count == 0)
        call_fail(c, 404, "nothing_selected", "the log holds no such event");
    else if (relay_replay_plan(c->relay, &ask, c->unix_ms, &number, &left_out, &why) != 0)
        call_fault(c, &why);
    else
        reply_plan(c, a, number, left_out);
}

/* `sink` says where to send, not which events: the relay leaves out what is still pending there. */
void api_replay_plan(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_PLAN, .limit = CALL_LIMIT_MAX };
    char *asked;

    if (call_selection(c, &spec.where) != 0)
        return;
    if (!spec.where.fate)
        spec.where.sink = NULL;
    asked = json_dumps(c->body, JSON_COMPACT);
    c->kept = view_bytes(bytes_text(asked ? asked : "{}"));
    free(asked);
    call_ask(c, &spec, plan);
}

/* ---- run, pause, resume, cancel ---- */

void api_replay_do(struct call *c)
{
    static const struct {
        const char *name;
        enum relay_replay_verb verb;
    } verbs[] = { { "run", RELAY_REPLAY_RUN }, { "pause", RELAY_REPLAY_PAUSE },
        { "resume", RELAY_REPLAY_RESUME }, { "cancel", RELAY_REPLAY_CANCEL } };
    enum relay_replay_verb verb = RELAY_REPLAY_NONE;
    struct fault why = { 0 };
    char what[32];
    uint64_t number;
    int result;

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, c->values[1]) == 0)
            verb = verbs[i].verb;
    if (verb == RELAY_REPLAY_NONE) {
        call_fail(c, 404, "not_found", "a replay cannot '%s'", c->values[1]);
        return;
    }
    if (job_number(c, &number) != 0)
        return;
    (void)snprintf(what, sizeof what, "replay_%s", c->values[1]);
    result = relay_replay_do(c->relay, number, verb, c->unix_ms, &why);
    call_audit(c, what, c->values[0], NULL, result == 0 ? "done" : why.text);
    if (result == 0)
        call_reply(
            c, json_pack("{s:s, s:o}", "done", c->values[1], "number", view_unsigned(number)));
    else
        call_fault(c, &why);
}
