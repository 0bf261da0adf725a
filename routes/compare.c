#include "routes/compare.h"
#include "routes/config_build.h"

#include <stdio.h>

struct comparing {
    compare_say *say;
    void *arg;
    const char *prefix; /* "to.live."; "" at the top */
    enum compare result;
};

static void differs(struct comparing *c, enum compare how, const char *key)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s%s", c->prefix, key);
    c->say(c->arg, path);
    c->result = how > c->result ? how : c->result;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* ---- by option tables ---- */

static bool same_list(const struct option_list *a, const struct option_list *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = same_text(a->at[i], b->at[i]);
    return same;
}

static bool same_map(const struct option_map *a, const struct option_map *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = a->at[i].kind == b->at[i].kind && same_text(a->at[i].name, b->at[i].name) &&
               same_text(a->at[i].value, b->at[i].value);
    return same;
}

static void compare_table(
    struct comparing *c, const struct option *table, const void *a, const void *b);

static void say_nothing(void *arg, const char *key)
{
    (void)arg;
    (void)key;
}

static bool same_tables(
    const struct option *o, const struct option_tables *a, const struct option_tables *b)
{
    struct comparing c = { say_nothing, NULL, "", COMPARE_SAME };

    for (size_t i = 0; a->n == b->n && i < a->n; i++)
        compare_table(&c, o->table, (const char *)a->at + i * o->item_bytes,
            (const char *)b->at + i * o->item_bytes);
    return a->n == b->n && c.result == COMPARE_SAME;
}

static bool same_value(const struct option *o, const void *a, const void *b)
{
    const struct option_template *x = a, *y = b;

    switch (o->type) {
    case OPTION_TEXT:
        return same_text(*(char *const *)a, *(char *const *)b);
    case OPTION_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case OPTION_ENUM:
        return *(const int *)a == *(const int *)b;
    case OPTION_NUMBER:
        return !(*(const double *)a < *(const double *)b) &&
               !(*(const double *)a > *(const double *)b);
    case OPTION_TEMPLATE:
        return same_text(x->text, y->text);
    case OPTION_TEXT_LIST:
        return same_list(a, b);
    case OPTION_TEXT_MAP:
    case OPTION_VALUE_MAP:
        return same_map(a, b);
    case OPTION_TABLE_LIST:
        return same_tables(o, a, b);
    case OPTION_NONE:
    case OPTION_TABLE:
        return true;
    default:
        return *(const int64_t *)a == *(const int64_t *)b;
    }
}

static void compare_nested(
    struct comparing *c, const struct option *o, const void *a, const void *b)
{
    struct comparing inner = *c;
    char prefix[200];

    if (*(const bool *)a != *(const bool *)b) {
        differs(c, COMPARE_PARTS, o->name);
        return;
    }
    (void)snprintf(prefix, sizeof prefix, "%s%s.", c->prefix, o->name);
    inner.prefix = prefix;
    compare_table(&inner, o->table, a, b);
    c->result = inner.result;
}

static void compare_table(
    struct comparing *c, const struct option *table, const void *a, const void *b)
{
    for (const struct option *o = table; o && o->name; o++) {
        const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;

        if (o->type == OPTION_TABLE)
            compare_nested(c, o, x, y);
        else if (!same_value(o, x, y))
            differs(c, COMPARE_PARTS, o->name);
    }
}

/* ---- connections ---- */

enum compare compare_connection(const struct config_connection *a,
    const struct config_connection *b, compare_say *say, void *arg)
{
    struct comparing c = { say, arg, "", COMPARE_SAME };

    if (a->connector != b->connector) {
        differs(&c, COMPARE_PARTS, "type");
        return c.result;
    }
    if (a->options && b->options)
        compare_table(&c, a->connector->link_options, a->options, b->options);
    if (strcmp(a->files, b->files) != 0)
        differs(&c, COMPARE_PARTS, "(what a file holds that it names)");
    return c.result;
}

/* ---- routes and sinks ---- */

/* Members that are compared as they are. */
struct member {
    const char *key;
    size_t offset, bytes;
};

#define MEMBER(type, key, member)                                                                  \
    {                                                                                              \
        key, offsetof(struct type, member), sizeof(((struct type *)0)->member)                     \
    }

static const struct member sink_members[] = {
    MEMBER(config_sink, "key", own_key),
    MEMBER(config_sink, "enabled", enabled),
    MEMBER(config_sink, "only", fallback_only),
    MEMBER(config_sink, "fallback", fallback),
    MEMBER(config_sink, "retry.max_attempts", max_attempts),
    MEMBER(config_sink, "retry.base_delay", retry.base_ms),
    MEMBER(config_sink, "retry.max_delay", retry.max_ms),
    MEMBER(config_sink, "retry.factor", retry.factor),
    MEMBER(config_sink, "retry.jitter", retry.jitter),
    MEMBER(config_sink, "breaker.failure_threshold", failure_threshold),
    MEMBER(config_sink, "breaker.open_for", open_for_ms),
    MEMBER(config_sink, "ordering", ordering),
    MEMBER(config_sink, "max_in_flight_per_key", max_in_flight_per_key),
    MEMBER(config_sink, "rate_limit", rate_limit),
    MEMBER(config_sink, "expire_after", expire_after_ms),
    MEMBER(config_sink, "window_events", window_events),
    MEMBER(config_sink, "window_bytes", window_bytes),
    MEMBER(config_sink, "confirm_timeout", confirm_timeout_ms),
    MEMBER(config_sink, "max_dead_letters", max_dead_letters),
    { 0 },
};

static const struct member route_members[] = {
    MEMBER(config_route, "enabled", enabled),
    MEMBER(config_route, "dedupe", dedupe_redelivered),
    MEMBER(config_route, "from.window_events", window_events),
    MEMBER(config_route, "from.window_bytes", window_bytes),
    MEMBER(config_route, "from.max_event_bytes", max_event_bytes),
    { 0 },
};

static const struct member route_settings[] = {
    MEMBER(config_route, "retain.age", retain_age_ms),
    MEMBER(config_route, "retain.size", retain_bytes),
    MEMBER(config_route, "max_backlog", max_backlog),
    { 0 },
};

static void compare_members(struct comparing *c, enum compare how, const struct member *members,
    const void *a, const void *b)
{
    for (const struct member *m = members; m->key; m++)
        if (memcmp((const char *)a + m->offset, (const char *)b + m->offset, m->bytes) != 0)
            differs(c, how, m->key);
}

static void compare_template(
    struct comparing *c, const char *key, const struct template *a, const struct template *b)
{
    if (!template_same(a, b))
        differs(c, COMPARE_PARTS, key);
}

static void compare_headers(
    struct comparing *c, const struct config_sink *a, const struct config_sink *b)
{
    bool same = a->header_count == b->header_count;

    for (size_t i = 0; same && i < a->header_count; i++)
        same = same_text(a->headers[i].name, b->headers[i].name) &&
               template_same(a->headers[i].value, b->headers[i].value);
    if (!same)
        differs(c, COMPARE_PARTS, "headers");
}

/* Fields are compiled from the options; where there are none (a test's own sink) they stand alone.
 */
static void compare_fields(
    struct comparing *c, const struct config_sink *a, const struct config_sink *b)
{
    bool same = a->field_count == b->field_count;

    for (size_t i = 0; same && i < a->field_count; i++)
        same = template_same(a->fields[i], b->fields[i]);
    if (!same && c->result == COMPARE_SAME)
        differs(c, COMPARE_PARTS, "(templates)");
}

static const char *connection_name(const struct config *c, size_t i)
{
    return c->connections[i].name;
}

static void compare_sink(struct comparing *c, const struct config *of_a,
    const struct config_sink *a, const struct config *of_b, const struct config_sink *b)
{
    struct comparing inner = *c;
    const struct connector *x = of_a->connections[a->connection].connector;
    const struct connector *y = of_b->connections[b->connection].connector;
    char prefix[100];

    (void)snprintf(prefix, sizeof prefix, "to.%s.", b->name);
    inner.prefix = prefix;
    inner.result = COMPARE_SAME;
    if (!same_text(connection_name(of_a, a->connection), connection_name(of_b, b->connection)))
        differs(&inner, COMPARE_PARTS, "connection");
    if (x != y)
        differs(&inner, COMPARE_PARTS, "(its options)");
    else if (a->options && b->options)
        compare_table(&inner, x->sink_options, a->options, b->options);
    compare_members(&inner, COMPARE_PARTS, sink_members, a, b);
    if (a->own_key || b->own_key || !a->key != !b->key)
        compare_template(&inner, "key", a->key, b->key);
    compare_headers(&inner, a, b);
    compare_fields(&inner, a, b);
    c->result = inner.result > c->result ? inner.result : c->result;
}

static void compare_source(struct comparing *c, const struct config *of_a,
    const struct config_route *a, const struct config *of_b, const struct config_route *b)
{
    struct comparing inner = *c;
    const struct connector *x = of_a->connections[a->connection].connector;
    const struct connector *y = of_b->connections[b->connection].connector;

    inner.prefix = "from.";
    if (!same_text(connection_name(of_a, a->connection), connection_name(of_b, b->connection)))
        differs(&inner, COMPARE_PARTS, "connection");
    if (x != y)
        differs(&inner, COMPARE_PARTS, "(its options)");
    else if (a->source_options && b->source_options)
        compare_table(&inner, x->source_options, a->source_options, b->source_options);
    c->result = inner.result;
}

bool compare_sources(const struct config *of_a, const struct config_route *a,
    const struct config *of_b, const struct config_route *b)
{
    struct comparing c = { say_nothing, NULL, "", COMPARE_SAME };

    compare_source(&c, of_a, a, of_b, b);
    compare_members(&c, COMPARE_PARTS, route_members, a, b);
    compare_template(&c, "key", a->key, b->key);
    return c.result == COMPARE_SAME && same_text(a->name, b->name);
}

static bool same_sinks(const struct config_route *a, const struct config_route *b)
{
    bool same = a->sink_count == b->sink_count;

    for (size_t i = 0; same && i < a->sink_count; i++)
        same = same_text(a->sinks[i].name, b->sinks[i].name);
    return same;
}

enum compare compare_route(const struct config *of_a, const struct config_route *a,
    const struct config *of_b, const struct config_route *b, compare_say *say, void *arg)
{
    struct comparing c = { say, arg, "", COMPARE_SAME };

    if (!same_text(a->name, b->name))
        differs(&c, COMPARE_PARTS, "name");
    compare_source(&c, of_a, a, of_b, b);
    compare_members(&c, COMPARE_PARTS, route_members, a, b);
    compare_template(&c, "key", a->key, b->key);
    compare_members(&c, COMPARE_SETTINGS, route_settings, a, b);
    if (!same_sinks(a, b))
        differs(&c, COMPARE_PARTS, "to");
    for (size_t i = 0; i < b->sink_count; i++)
        for (size_t k = 0; k < a->sink_count; k++)
            if (same_text(a->sinks[k].name, b->sinks[i].name))
                compare_sink(&c, of_a, &a->sinks[k], of_b, &b->sinks[i]);
    return c.result;
}

bool compare_trace(const struct config_trace *a, const struct config_trace *b)
{
    struct comparing c = { say_nothing, NULL, "", COMPARE_SAME };

    compare_table(&c, config_trace_table, a, b);
    return c.result == COMPARE_SAME;
}
