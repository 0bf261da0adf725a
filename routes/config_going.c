/* What is gone from the files and finishes first, over a restart: kept as YAML, read again. */
#include "routes/config_build.h"
#include "routes/memory.h"
#include "routes/problem.h"

#include <stdlib.h>

#define TEXT_BYTES_MAX YAML_FILE_BYTES_MAX

char *config_build_text(const struct yaml_node *node)
{
    struct buf text;
    char *ret;

    buf_init(&text, TEXT_BYTES_MAX);
    yaml_print(node, &text);
    ret = text.failed ? NULL : memory_copy(text.at, text.n);
    buf_done(&text);
    return ret;
}

static bool uses(const struct config_route *r, size_t connection)
{
    for (size_t s = 0; s < r->sink_count; s++)
        if (r->sinks[s].connection == connection)
            return true;
    return r->connection == connection;
}

char *config_going_text(const struct config *c, size_t route)
{
    const struct config_route *r = &c->routes[route];
    struct buf text;
    char *ret;

    buf_init(&text, TEXT_BYTES_MAX);
    buf_put_text(&text, "{connections: {");
    for (size_t i = 0; i < c->connection_count; i++)
        if (uses(r, i) && c->connections[i].text)
            buf_put_format(&text, "\"%s\": ", c->connections[i].name),
                buf_put_text(&text, c->connections[i].text), buf_put_text(&text, ", ");
    buf_put_text(&text, "}, routes: [");
    buf_put_text(&text, r->text ? r->text : "");
    buf_put_text(&text, "]}");
    ret = text.failed ? NULL : strdup(buf_text(&text));
    buf_done(&text);
    return ret;
}

static bool is_there(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->connection_count; i++)
        if (strcmp(c->connections[i].name, name) == 0)
            return true;
    return false;
}

static bool is_used(const struct config_route *r, const struct config_sink *only, size_t connection)
{
    return only ? only->connection == connection : uses(r, connection);
}

static void add_connections(struct config_build *b, const struct yaml_node *map)
{
    for (size_t i = 0; map && i < map->n; i++) {
        struct yaml_node one = { .kind = YAML_MAP, .items = &map->items[i], .n = 1 };
        size_t last = b->config->connection_count;

        if (is_there(b->config, map->items[i]->name))
            continue;
        config_build_connections(b, &one);
        for (; last < b->config->connection_count; last++) {
            b->config->connections[last].place = (struct config_place){ 0 };
            b->config->connections[last].going = true;
        }
    }
}

/* The built-in one is not made anew while the route is read: *c must have it by then. */
static void add_internal(struct config_build *b, const struct yaml_node *root)
{
    const struct yaml_node *routes = yaml_get(root, "routes");
    const struct yaml_node *route =
        routes && routes->kind == YAML_LIST && routes->n ? routes->items[0] : NULL;
    const struct yaml_node *from =
        route && route->kind == YAML_MAP ? yaml_get(route, "from") : NULL;
    struct config *c = b->config;
    size_t last = c->connection_count;

    if (!from || from->kind != YAML_MAP || !config_reads_internal(from) ||
        config_build_internal(b, from) != last)
        return;
    c->connections[last].place = (struct config_place){ 0 };
    c->connections[last].going = true;
}

/* From `first` on; those that nothing uses go, too. */
static void drop_connections(
    struct config *c, size_t first, const struct config_route *r, const struct config_sink *only)
{
    while (c->connection_count > first) {
        struct config_connection *last = &c->connections[c->connection_count - 1];

        if (r && is_used(r, only, c->connection_count - 1))
            return;
        if (last->options)
            option_done(last->connector->link_options, last->options);
        free(last->options);
        free(last->name);
        free(last->text);
        c->connection_count--;
    }
}

static void set_going(struct config_sink *s, uint64_t end_seq)
{
    s->place = (struct config_place){ 0 };
    s->going = true;
    s->going_end = end_seq;
}

static struct config_route *find_route(struct config *c, const char *name)
{
    for (size_t i = 0; i < c->route_count; i++)
        if (strcmp(c->routes[i].name, name) == 0 && !c->routes[i].going)
            return &c->routes[i];
    return NULL;
}

static struct config_sink *find_sink(struct config_route *r, const char *name)
{
    for (size_t s = 0; s < r->sink_count; s++)
        if (strcmp(r->sinks[s].name, name) == 0)
            return &r->sinks[s];
    return NULL;
}

static void move_route(struct config *c, struct config_route *r)
{
    r->going = true;
    r->place = (struct config_place){ 0 };
    for (size_t s = 0; s < r->sink_count; s++)
        set_going(&r->sinks[s], 0);
    c->routes = memory_grow(c->routes, c->route_count, sizeof *r);
    c->routes[c->route_count++] = *r;
    *r = (struct config_route){ 0 };
}

static void move_sink(struct config_route *to, struct config_sink *s, uint64_t end_seq)
{
    struct config_sink *sinks = memory_array(to->sink_count + 1, sizeof *sinks);

    memcpy(sinks, to->sinks, to->sink_count * sizeof *sinks);
    free(to->sinks);
    to->sinks = sinks;
    set_going(s, end_seq);
    s->fallback = SIZE_MAX;
    to->sinks[to->sink_count++] = *s;
    *s = (struct config_sink){ 0 };
}

/* The one sink to the front of its list, which then ends behind it; the list may be put back. NULL:
 * it is not there. */
static struct yaml_node *only_sink(const struct yaml_node *root, const char *name)
{
    const struct yaml_node *routes = yaml_get(root, "routes");
    const struct yaml_node *route =
        routes && routes->kind == YAML_LIST && routes->n ? routes->items[0] : NULL;

    for (size_t i = 0; route && route->kind == YAML_MAP && i < route->n; i++) {
        struct yaml_node *to = route->items[i];

        if (strcmp(to->name, "to") != 0)
            continue;
        for (size_t s = 0; to->kind == YAML_LIST && s < to->n; s++) {
            const struct yaml_node *is = yaml_get(to->items[s], "name");
            struct yaml_node *first = to->items[0];

            if (!is || is->kind != YAML_TEXT || strcmp(is->text, name) != 0)
                continue;
            to->items[0] = to->items[s];
            to->items[s] = first;
            return to;
        }
        return to->kind == YAML_MAP ? to : NULL;
    }
    return NULL;
}

/* The first error, of the whole or only within one part of the text, which is a single line. */
static const char *error_in(const struct config_problems *p, const struct yaml_node *part)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct config_problem *at = &p->at[i];
        bool inside = !part || at->place.line == 0 ||
                      (at->place.column >= part->column && at->place.column < part->end_column);

        /* What it would have fallen back to is gone; it goes without. */
        if (!at->warning && inside && at->code != PROBLEM_FALLBACK)
            return at->text;
    }
    return p->n >= PROBLEM_COUNT_MAX ? "too many problems" : NULL;
}

struct adding {
    struct config *c;
    struct config_build *build;
    const char *sink, *to;
    uint64_t end_seq;
};

/* Of what stands in `own`, which has the connections of *c. */
static int take(const struct adding *a, struct config *own, const struct yaml_node *part,
    size_t connections, struct fault *why)
{
    struct config_route *target = a->sink ? find_route(a->c, a->to) : NULL;
    struct config_sink *found = NULL;
    const char *error = error_in(a->build->problems, part);

    if (own->route_count == 1 && a->sink)
        found = find_sink(&own->routes[0], a->sink);
    if (error || own->route_count != 1 || (a->sink && (!found || !target || !found->options))) {
        drop_connections(a->c, connections, NULL, NULL);
        return fault_set(
            why, FAULT_INPUT, 0, "%s", error ? error : "it is not in what was kept of it");
    }
    drop_connections(a->c, connections, &own->routes[0], found);
    if (a->sink)
        move_sink(target, found, a->end_seq);
    else
        move_route(a->c, &own->routes[0]);
    return 0;
}

static int add(const struct adding *a, struct fault *why)
{
    struct config *c = a->c, own;
    const struct yaml_node *root = a->build->file->root;
    struct yaml_node *part = a->sink && root ? only_sink(root, a->sink) : NULL;
    size_t connections = c->connection_count, sinks = part && part->kind == YAML_LIST ? part->n : 0;
    int result;

    add_connections(a->build, yaml_get(root, "connections"));
    add_internal(a->build, root);
    own = (struct config){ .connections = c->connections,
        .connection_count = c->connection_count,
        .files = c->files,
        .file_count = c->file_count };
    a->build->config = &own;
    if (sinks)
        part->n = 1;
    config_build_routes(a->build, yaml_get(root, "routes"));
    if (sinks)
        part->n = sinks;
    result = take(a, &own, sinks ? part->items[0] : part, connections, why);
    for (size_t i = 0; i < own.route_count; i++)
        config_route_done(&own.routes[i], &own);
    free(own.routes);
    return result;
}

int config_add_going(struct config *c, const char *text, const char *sink, const char *to,
    uint64_t end_seq, struct fault *why)
{
    struct config_problems problems = { 0 };
    struct config_build b = { c, &problems, NULL };
    const struct adding adding = { c, &b, sink, to, end_seq };
    int result;

    if (memory_begin() != 0)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    b.file = yaml_file_open_text("(kept)", text, strlen(text), &problems);
    result = add(&adding, why);
    yaml_file_free(b.file);
    config_problems_done(&problems);
    if (memory_end())
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    return result;
}
