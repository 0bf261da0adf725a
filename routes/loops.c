#include "routes/loops.h"
#include "routes/problem.h"

#include <stdio.h>
#include <stdlib.h>

#define NOWHERE SIZE_MAX
#define ROUND_TEXT_MAX 200 /* of a problem's text; a long round is cut */

/* What flows between routes, as tables of all by all. */
struct flows {
    const struct config *config;
    size_t n, connections;
    bool *same;     /* connection by connection: of one server */
    size_t *reader; /* route: the first that reads the same queue or stream */
    size_t *sink;   /* route by reader: the sink that feeds it, NOWHERE: none */
    size_t *before; /* route: where a search came from */
    size_t *queue;
};

static const struct config_connection *connection_of(const struct flows *f, size_t route)
{
    return &f->config->connections[f->config->routes[route].connection];
}

static bool flows_init(struct flows *f, const struct config *c)
{
    *f = (struct flows){ .config = c, .n = c->route_count, .connections = c->connection_count };
    f->same = calloc(f->connections * f->connections + 1, sizeof *f->same);
    f->reader = calloc(f->n + 1, sizeof *f->reader);
    f->sink = calloc(f->n * f->n + 1, sizeof *f->sink);
    f->before = calloc(f->n + 1, sizeof *f->before);
    f->queue = calloc(f->n + 1, sizeof *f->queue);
    return f->same && f->reader && f->sink && f->before && f->queue;
}

static void flows_done(struct flows *f)
{
    free(f->same);
    free(f->reader);
    free(f->sink);
    free(f->before);
    free(f->queue);
}

static void find_servers(struct flows *f)
{
    for (size_t a = 0; a < f->connections; a++)
        for (size_t b = 0; b < f->connections; b++) {
            const struct config_connection *x = &f->config->connections[a],
                                           *y = &f->config->connections[b];

            f->same[a * f->connections + b] =
                a == b || (x->connector == y->connector && x->connector->link_same &&
                              x->connector->link_same(x->options, y->options));
        }
}

static bool one_server(const struct flows *f, size_t a, size_t b)
{
    return f->same[a * f->connections + b];
}

static bool shares(const struct flows *f, size_t a, size_t b)
{
    const struct config_route *x = &f->config->routes[a], *y = &f->config->routes[b];
    const struct config_connection *p = connection_of(f, a), *q = connection_of(f, b);

    return one_server(f, x->connection, y->connection) && p->connector->source_shares &&
           p->connector->source_shares(
               p->options, x->source_options, q->options, y->source_options);
}

static void find_readers(struct flows *f)
{
    for (size_t i = 0; i < f->n; i++) {
        f->reader[i] = i;
        for (size_t k = 0; k < i; k++)
            if (f->reader[k] == k && shares(f, k, i)) {
                f->reader[i] = k;
                break;
            }
    }
}

static bool feeds(const struct flows *f, const struct config_sink *s, size_t route)
{
    const struct config_connection *to = &f->config->connections[s->connection],
                                   *from = connection_of(f, route);

    return s->enabled && f->config->routes[route].enabled &&
           one_server(f, s->connection, f->config->routes[route].connection) &&
           to->connector->feeds &&
           to->connector->feeds(
               to->options, s->options, from->options, f->config->routes[route].source_options);
}

static void find_flows(struct flows *f)
{
    for (size_t i = 0; i < f->n * f->n; i++)
        f->sink[i] = NOWHERE;
    for (size_t a = 0; a < f->n; a++) {
        const struct config_route *r = &f->config->routes[a];

        for (size_t b = 0; r->enabled && b < f->n; b++)
            for (size_t s = 0; s < r->sink_count; s++) {
                size_t *at = &f->sink[a * f->n + f->reader[b]];

                if (*at == NOWHERE && feeds(f, &r->sinks[s], b))
                    *at = s;
            }
    }
}

static size_t sink_between(const struct flows *f, size_t from, size_t to)
{
    return f->sink[from * f->n + f->reader[to]];
}

/* ---- one route ---- */

/* Also over what another route of the same queue has bound to it. */
static bool feeds_own(const struct flows *f, const struct config_sink *s, size_t route)
{
    for (size_t b = 0; b < f->n; b++)
        if (f->reader[b] == f->reader[route] && feeds(f, s, b))
            return true;
    return false;
}

/* Whether the hop count goes with an event from a sink to a source. */
static bool is_counted(const struct flows *f, size_t route, size_t sink, size_t reader)
{
    const struct config_sink *s = &f->config->routes[route].sinks[sink];
    const struct connector *to = f->config->connections[s->connection].connector;
    struct traits from = connection_of(f, reader)->connector->source_traits(
        f->config->routes[reader].source_options);

    return to->sink_traits(s->options).set & TRAIT_CARRIES_HEADERS &&
           from.set & TRAIT_READS_HEADERS;
}

static const char *outcome(bool counted)
{
    return counted ? "the hop count ends it" : "no hop count travels there, so nothing ends it";
}

static void own_sink_check(
    const struct flows *f, size_t route, size_t sink, struct config_problems *problems)
{
    const struct config_route *r = &f->config->routes[route];
    const struct config_sink *s = &r->sinks[sink];
    const struct connector *link = connection_of(f, route)->connector;
    bool unseen = one_server(f, r->connection, s->connection) &&
                  !(link->source_traits(r->source_options).set & TRAIT_KEEPS) &&
                  !(link->sink_traits(s->options).set & TRAIT_CARRIES_HEADERS);
    char from[256] = "", to[256] = "";
    bool feeds_itself = feeds_own(f, s, route);

    if (!unseen && !feeds_itself)
        return;
    link->source_place(r->source_options, from, sizeof from);
    link->sink_place(s->options, to, sizeof to);
    if (feeds_itself)
        problem_add(problems, PROBLEM_LOOP, s->place,
            "route '%.64s' writes %.80s, which it reads itself (%.80s): %s", r->name, to, from,
            outcome(is_counted(f, route, sink, route)));
    else
        problem_add(problems, PROBLEM_LOOP, s->place,
            "route '%.64s' reads %.80s and writes %.80s of one server: a loop there cannot be seen",
            r->name, from, to);
}

/* ---- over several ---- */

/* The shortest way from `start` back to it through later routes, of which each round has one start
 * only. Returns the last route before it, NOWHERE when there is no way. */
static size_t search(struct flows *f, size_t start)
{
    size_t head = 0, tail = 0;

    for (size_t i = 0; i < f->n; i++)
        f->before[i] = NOWHERE;
    f->queue[tail++] = start;
    while (head < tail) {
        size_t at = f->queue[head++];

        if (at != start && sink_between(f, at, start) != NOWHERE)
            return at;
        for (size_t next = start + 1; next < f->n; next++)
            if (f->before[next] == NOWHERE && sink_between(f, at, next) != NOWHERE) {
                f->before[next] = at;
                f->queue[tail++] = next;
            }
    }
    return NOWHERE;
}

static void round_report(
    struct flows *f, size_t start, size_t last, struct config_problems *problems)
{
    char names[ROUND_TEXT_MAX] = "";
    size_t n = 0, second = last;
    bool counted = true;

    for (size_t at = last, to = start; at != NOWHERE; to = at, at = f->before[at]) {
        counted = counted && is_counted(f, at, sink_between(f, at, to), to);
        second = at == start ? to : second;
        f->queue[n++] = at;
    }
    for (size_t used = 0; n > 0; n--) {
        const char *name = f->config->routes[f->queue[n - 1]].name;
        bool fits = used + strlen(name) < ROUND_TEXT_MAX - 20;

        used += (size_t)snprintf(
            names + used, sizeof names - used, "%s \xe2\x86\x92 ", fits ? name : "\xe2\x80\xa6");
        if (!fits)
            break;
    }
    problem_add(problems, PROBLEM_LOOP,
        f->config->routes[start].sinks[sink_between(f, start, second)].place,
        "routes feed each other: %s%.64s: %s", names, f->config->routes[start].name,
        outcome(counted));
}

void loops_check(const struct config *c, struct config_problems *problems)
{
    struct flows f;

    if (!flows_init(&f, c))
        goto end; /* only a warning less; what needs memory next says so */
    find_servers(&f);
    find_readers(&f);
    find_flows(&f);
    for (size_t i = 0; i < f.n; i++) {
        size_t last = search(&f, i);

        for (size_t s = 0; s < c->routes[i].sink_count; s++)
            own_sink_check(&f, i, s, problems);
        if (last != NOWHERE)
            round_report(&f, i, last, problems);
    }
end:
    flows_done(&f);
}
