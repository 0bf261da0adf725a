#include "routes/check.h"
#include "routes/loops.h"
#include "routes/problem.h"

static const struct connector *connector_at(const struct config *c, size_t connection)
{
    return connection < c->connection_count ? c->connections[connection].connector : NULL;
}

/* ---- rules ---- */

static void sink_check(const struct config_sink *s, struct config_problems *problems)
{
    if (s->retry.base_ms > s->retry.max_ms)
        problem_add(problems, PROBLEM_RETRY, s->place,
            "sink '%.64s': retry.base_delay is longer than retry.max_delay", s->name);
    if (s->max_in_flight_per_key && s->ordering == CONFIG_ORDER_NONE)
        problem_add(problems, PROBLEM_NO_EFFECT, s->place,
            "sink '%.64s': max_in_flight_per_key has no effect with ordering: none", s->name);
    if (s->was && strcmp(s->was, s->name) == 0)
        problem_add(problems, PROBLEM_WAS, s->place, "sink '%.64s': was: names itself", s->name);
}

/* Only of a configuration without errors. */
static void fits_check(
    const struct config *c, const struct config_route *r, struct config_problems *problems)
{
    for (size_t i = 0; i < r->sink_count; i++) {
        const struct config_sink *s = &r->sinks[i];
        const struct config_connection *to = &c->connections[s->connection];
        struct sink_spec spec = { .route = r->name,
            .name = s->name,
            .options = s->options,
            .window_events = s->window_events,
            .window_bytes = s->window_bytes,
            .confirm_timeout_ms = s->confirm_timeout_ms };
        const char *key = NULL;
        struct fault why;

        if (to->connector->sink_fits &&
            to->connector->sink_fits(to->options, &spec, &key, &why) != 0)
            problem_add(problems, PROBLEM_COMBINATION, s->place,
                "sink '%.64s'%s%s does not go with connection '%.64s': %.150s", s->name,
                key ? ": " : "", key ? key : "", to->name, why.text);
    }
}

static void fallbacks_check(const struct config_route *r, struct config_problems *problems)
{
    bool live = false;

    for (size_t i = 0; i < r->sink_count; i++) {
        bool named = false;

        live = live || !r->sinks[i].fallback_only;
        for (size_t k = 0; k < r->sink_count; k++)
            named = named || r->sinks[k].fallback == i;
        if (r->sinks[i].fallback_only && !named)
            problem_add(problems, PROBLEM_UNUSED, r->sinks[i].place,
                "no sink names '%.64s' as its fallback: it gets nothing", r->sinks[i].name);
    }
    if (r->sink_count && !live)
        problem_add(problems, PROBLEM_FALLBACK, r->place,
            "route '%.64s' has fallback sinks only: nothing would be delivered", r->name);
}

static void was_check(
    const struct config *c, const struct config_route *r, struct config_problems *problems)
{
    for (size_t i = 0; r->was && i < c->route_count; i++) {
        if (strcmp(c->routes[i].name, r->was) == 0)
            problem_add(problems, PROBLEM_WAS, r->place,
                "route '%.64s' was '%.64s', but a route of that name is configured", r->name,
                r->was);
        else if (&c->routes[i] > r && c->routes[i].was && strcmp(c->routes[i].was, r->was) == 0)
            problem_add(problems, PROBLEM_WAS, c->routes[i].place,
                "routes '%.64s' and '%.64s' both were '%.64s'", r->name, c->routes[i].name, r->was);
    }
}

static void route_check(
    const struct config *c, const struct config_route *r, struct config_problems *problems)
{
    const struct connector *link = connector_at(c, r->connection);

    if (r->dedupe_redelivered && link && r->source_options &&
        !(link->source_traits(r->source_options).set & TRAIT_KEEPS))
        problem_add(problems, PROBLEM_NO_EFFECT, r->place,
            "route '%.64s': dedupe has no effect, its source redelivers nothing", r->name);
    for (size_t i = 0; i < r->sink_count; i++)
        sink_check(&r->sinks[i], problems);
    fallbacks_check(r, problems);
    was_check(c, r, problems);
}

static bool is_used(const struct config *c, size_t connection)
{
    for (size_t i = 0; i < c->route_count; i++) {
        if (c->routes[i].connection == connection)
            return true;
        for (size_t s = 0; s < c->routes[i].sink_count; s++) {
            if (c->routes[i].sinks[s].connection == connection)
                return true;
        }
    }
    return false;
}

void check_config(const struct config *c, struct config_problems *problems)
{
    /* Where something could not be read at all, what is missing is no news. */
    bool whole = problems->error_count == 0;

    for (size_t i = 0; i < c->route_count; i++)
        route_check(c, &c->routes[i], problems);
    for (size_t i = 0; whole && i < c->route_count; i++)
        fits_check(c, &c->routes[i], problems);
    if (whole)
        loops_check(c, problems);
    for (size_t i = 0; whole && i < c->connection_count; i++) {
        if (!is_used(c, i))
            problem_add(problems, PROBLEM_UNUSED, c->connections[i].place,
                "no route uses connection '%.64s'", c->connections[i].name);
    }
    if (whole && c->route_count == 0)
        problem_add(problems, PROBLEM_UNUSED,
            (struct config_place){ c->file_count ? c->files[0] : "", 0, 0 }, "there are no routes");
}

/* ---- guarantees ---- */

static void source_guarantee(struct traits traits, bool dedupe, struct buf *text)
{
    const char *promise =
        !(traits.set & TRAIT_KEEPS) ? "at least once from the moment it is received"
        : traits.set & TRAIT_SETTLES_POSITION
            ? "at least once; not read twice after a crash: it goes on from its stored position"
        : dedupe ? "at least once; redeliveries that the log has are refused by their id"
                 : "at least once; after a crash some may be read again";

    buf_put_text(text, promise);
    if (traits.why)
        buf_put_format(text, ": %s", traits.why);
    buf_put_byte(text, '\n');
}

static void sink_guarantee(struct traits traits, const char *name, struct buf *text)
{
    const char *promise =
        !(traits.set & TRAIT_CONFIRMS) ? "at most once beyond the send"
        : traits.set & TRAIT_DEDUPES   ? "at least once; repeats after a crash are refused by token"
        : traits.set & TRAIT_CARRIES_ID ? "at least once; a repeat carries the same id"
                                        : "at least once; a repeat cannot be known by an id";

    buf_put_format(text, "  %s: %s", name, promise);
    if (traits.why)
        buf_put_format(text, ": %s", traits.why);
    buf_put_byte(text, '\n');
}

int check_guarantee(const struct config *c, size_t route, struct buf *text)
{
    const struct config_route *r = &c->routes[route];
    const struct connector *from = connector_at(c, r->connection);

    source_guarantee(from->source_traits(r->source_options), r->dedupe_redelivered, text);
    for (size_t i = 0; i < r->sink_count; i++) {
        const struct config_sink *s = &r->sinks[i];

        sink_guarantee(connector_at(c, s->connection)->sink_traits(s->options), s->name, text);
    }
    return text->failed ? -1 : 0;
}
