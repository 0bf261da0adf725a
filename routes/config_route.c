/* Routes and their sinks. */
#include "routes/config_build.h"
#include "routes/config_tables.h"
#include "routes/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct source_common {
    char *connection;
    int64_t window_events, window_bytes, max_event_bytes;
};

/* What a route gives its sinks as defaults. */
struct sink_shared {
    struct option_template key;
    struct {
        bool set;
        int64_t max_attempts, base_delay, max_delay;
        double factor;
        bool jitter;
    } retry;
    struct {
        bool set;
        int64_t failure_threshold, open_for;
    } breaker;
    int ordering;
    int64_t max_in_flight_per_key, rate_limit, expire_after, confirm_timeout, max_dead_letters;
};

struct sink_common {
    char *name, *was, *connection, *fallback, *begin;
    int only;
    bool enabled;
    int64_t window_events, window_bytes;
    struct option_map headers;
};

struct route_common {
    char *name, *was;
    bool enabled;
    int dedupe;
    int64_t max_backlog;
    struct {
        bool set;
        int64_t age, size;
    } retain;
};

#define IN(type, member) offsetof(struct type, member)
#define WITHIN(type, outer, member)                                                                \
    (offsetof(struct type, outer.member) - offsetof(struct type, outer))
#define KEY(n, t, s, m, d, lo, hi, h)                                                              \
    {                                                                                              \
        .name = n, .type = t, .offset = IN(s, m), .default_text = d, .min = lo, .max = hi,         \
        .help = h                                                                                  \
    }

const struct option config_reads_table[] = {
    { .name = "connection",
        .type = OPTION_TEXT,
        .offset = IN(source_common, connection),
        .flags = OPTION_REQUIRED,
        .help = "The connection that is read." },
    { 0 },
};

const struct option config_source_table[] = {
    KEY("window_events", OPTION_INT, source_common, window_events, "20000", 1, 1000000,
        "Most events received and not yet committed."),
    KEY("window_bytes", OPTION_SIZE, source_common, window_bytes, "16MiB", 65536, 1073741824,
        "Most bytes received and not yet committed."),
    KEY("max_event_bytes", OPTION_SIZE, source_common, max_event_bytes, "16MiB", 1, 134217728,
        "Largest body that is logged."),
    { 0 },
};

static const struct option retry_table[] = {
    { .name = "max_attempts",
        .type = OPTION_INT,
        .offset = WITHIN(sink_shared, retry, max_attempts),
        .default_text = "8",
        .min = 0,
        .max = 1000000,
        .help = "Attempts at one event; 0: for ever." },
    { .name = "base_delay",
        .type = OPTION_DURATION,
        .offset = WITHIN(sink_shared, retry, base_delay),
        .default_text = "1s",
        .min = 1,
        .max = 86400000,
        .help = "Wait after the first attempt." },
    { .name = "max_delay",
        .type = OPTION_DURATION,
        .offset = WITHIN(sink_shared, retry, max_delay),
        .default_text = "60s",
        .min = 1,
        .max = 604800000,
        .help = "Longest wait." },
    { .name = "factor",
        .type = OPTION_NUMBER,
        .offset = WITHIN(sink_shared, retry, factor),
        .default_text = "2",
        .min = 1,
        .max = 100,
        .help = "Growth from wait to wait." },
    { .name = "jitter",
        .type = OPTION_BOOL,
        .offset = WITHIN(sink_shared, retry, jitter),
        .default_text = "true",
        .help = "Wait a random part of it." },
    { 0 },
};

static const struct option breaker_table[] = {
    { .name = "failure_threshold",
        .type = OPTION_INT,
        .default_text = "5",
        .min = 1,
        .max = 1000000,
        .offset = WITHIN(sink_shared, breaker, failure_threshold),
        .help = "Failures in a row that open it." },
    { .name = "open_for",
        .type = OPTION_DURATION,
        .offset = WITHIN(sink_shared, breaker, open_for),
        .default_text = "60s",
        .min = 1,
        .max = 86400000,
        .help = "Wait before a probe." },
    { 0 },
};

static const char *const orderings[] = { "key", "source", "none", NULL };
static const char *const onlies[] = { "always", "fallback", NULL };
static const char *const dedupes[] = { "none", "redelivered", NULL };

const struct option config_shared_table[] = {
    { .name = "key",
        .type = OPTION_TEMPLATE,
        .offset = IN(sink_shared, key),
        .help = "Ordering and record key." },
    { .name = "retry",
        .type = OPTION_TABLE,
        .offset = IN(sink_shared, retry),
        .table = retry_table,
        .help = "When an event is tried again." },
    { .name = "breaker",
        .type = OPTION_TABLE,
        .offset = IN(sink_shared, breaker),
        .table = breaker_table,
        .help = "When a failing sink is left alone." },
    { .name = "ordering",
        .type = OPTION_ENUM,
        .offset = IN(sink_shared, ordering),
        .default_text = "key",
        .choices = orderings,
        .help = "What keeps its order." },
    KEY("max_in_flight_per_key", OPTION_INT, sink_shared, max_in_flight_per_key, "0", 0, 1000000,
        "Events of one key in flight together; 0: no limit."),
    KEY("rate_limit", OPTION_RATE, sink_shared, rate_limit, NULL, 0, 0, "Most events in a time."),
    KEY("expire_after", OPTION_DURATION, sink_shared, expire_after, NULL, 0, 0,
        "Age at which an event becomes a dead letter."),
    KEY("confirm_timeout", OPTION_DURATION, sink_shared, confirm_timeout, "30s", 1, 3600000,
        "Wait for the broker's confirmation."),
    KEY("max_dead_letters", OPTION_INT, sink_shared, max_dead_letters, "100000", 1, 100000000,
        "Open dead letters at which the sink pauses."),
    { 0 },
};

const struct option config_sink_table[] = {
    { .name = "name",
        .type = OPTION_TEXT,
        .offset = IN(sink_common, name),
        .flags = OPTION_REQUIRED,
        .help = "The sink's name, unique in its route." },
    { .name = "connection",
        .type = OPTION_TEXT,
        .offset = IN(sink_common, connection),
        .flags = OPTION_REQUIRED,
        .help = "The connection that is written." },
    KEY("was", OPTION_TEXT, sink_common, was, NULL, 0, 0, "The name it had before."),
    KEY("fallback", OPTION_TEXT, sink_common, fallback, NULL, 0, 0,
        "The sink that gets what this one refuses."),
    { .name = "only",
        .type = OPTION_ENUM,
        .offset = IN(sink_common, only),
        .default_text = "always",
        .choices = onlies,
        .help = "fallback: gets only what another sink hands over." },
    KEY("begin", OPTION_TEXT, sink_common, begin, "now", 0, 0,
        "Where a new sink begins: now, oldest or a time."),
    KEY("enabled", OPTION_BOOL, sink_common, enabled, "true", 0, 0, "Whether it runs."),
    KEY("window_events", OPTION_INT, sink_common, window_events, "10000", 1, 1000000,
        "Most events in flight."),
    KEY("window_bytes", OPTION_SIZE, sink_common, window_bytes, "16MiB", 65536, 1073741824,
        "Most bytes in flight."),
    { .name = "headers",
        .type = OPTION_TEXT_MAP,
        .offset = IN(sink_common, headers),
        .flags = OPTIONS_TEMPLATES,
        .help = "Headers to set, as templates." },
    { 0 },
};

static const struct option route_retain_table[] = {
    { .name = "age",
        .type = OPTION_DURATION,
        .offset = WITHIN(route_common, retain, age),
        .min = 60000,
        .max = INT64_MAX / 2,
        .help = "As store.retain.age, for this route." },
    { .name = "size",
        .type = OPTION_SIZE,
        .offset = WITHIN(route_common, retain, size),
        .help = "As store.retain.size, for this route." },
    { 0 },
};

const struct option config_route_table[] = {
    { .name = "name",
        .type = OPTION_TEXT,
        .offset = IN(route_common, name),
        .flags = OPTION_REQUIRED,
        .help = "The route's name." },
    KEY("was", OPTION_TEXT, route_common, was, NULL, 0, 0, "The name it had before."),
    KEY("enabled", OPTION_BOOL, route_common, enabled, "true", 0, 0, "Whether it runs."),
    { .name = "dedupe",
        .type = OPTION_ENUM,
        .offset = IN(route_common, dedupe),
        .default_text = "none",
        .choices = dedupes,
        .help = "redelivered: refuses redeliveries that the log has." },
    KEY("max_backlog", OPTION_SIZE, route_common, max_backlog, NULL, 0, 0,
        "Most bytes of unfinished events; absent: a fair share."),
    { .name = "retain",
        .type = OPTION_TABLE,
        .offset = IN(route_common, retain),
        .table = route_retain_table,
        .help = "How long its finished events stay." },
    { .name = "from", .type = OPTION_NONE, .flags = OPTION_REQUIRED, .help = "The source." },
    { .name = "to", .type = OPTION_NONE, .flags = OPTION_REQUIRED, .help = "The sinks." },
    { 0 },
};

/* ---- ends ---- */

static bool table_has(const struct option *table, const char *name)
{
    for (; table->name; table++) {
        if (strcmp(table->name, name) == 0)
            return true;
    }
    return false;
}

static bool elsewhere(const char *name, char *ret, size_t n)
{
    if (strcmp(name, "internal") == 0) {
        (void)snprintf(ret, n, "it is a key of a source without `connection`");
        return true;
    }
    for (size_t i = 0; connector_all[i]; i++) {
        const struct connector *c = connector_all[i];
        bool source = table_has(c->source_options, name), sink = table_has(c->sink_options, name);

        if (source || sink)
            (void)snprintf(ret, n, "it is a key of %s %s", c->type,
                source && sink ? "sources and sinks"
                : source       ? "sources"
                               : "sinks");
        if (source || sink)
            return true;
    }
    return false;
}

/* Index of the connection that the mapping names, SIZE_MAX with a problem. */
static size_t connection_of(struct config_build *b, const struct yaml_node *node)
{
    const struct yaml_node *name = yaml_get(node, "connection");
    const struct config *c = b->config;
    const char **names = memory_array(c->connection_count + 1, sizeof *names);
    const char *near;
    size_t ret = SIZE_MAX, n = 0;

    for (size_t i = 0; i < c->connection_count; i++) {
        if (c->connections[i].built_in)
            continue;
        names[n++] = c->connections[i].name;
        if (name && name->kind == YAML_TEXT && strcmp(c->connections[i].name, name->text) == 0)
            ret = i;
    }
    if (ret == SIZE_MAX && name && name->kind == YAML_TEXT) {
        problem_add(b->problems, PROBLEM_CONNECTION, yaml_place(b->file, name),
            "there is no connection '%.64s'", name->text);
        near = problem_nearest(name->text, names);
        if (near)
            problem_hint(b->problems, "did you mean '%s'?", near);
    }
    free(names);
    return ret;
}

static const struct connector *connector_of(const struct config_build *b, size_t connection)
{
    return connection == SIZE_MAX ? NULL : b->config->connections[connection].connector;
}

static void source_read(
    struct config_build *b, struct config_route *r, const struct yaml_node *node)
{
    struct source_common common = { 0 };
    struct options in = { b->file, b->problems, "a source", elsewhere, false, false };
    struct options_part parts[] = { { config_source_table, &common, NULL }, { NULL, NULL, NULL },
        { NULL, NULL, NULL } };
    const struct connector *c;
    size_t errors = b->problems->error_count, n = 1;
    bool internal = config_reads_internal(node);
    char what[80];

    r->connection = internal ? config_build_internal(b, node) : connection_of(b, node);
    c = connector_of(b, r->connection);
    if (!internal)
        parts[n++] = (struct options_part){ config_reads_table, &common, NULL };
    in.any_key = !c;
    if (c) {
        (void)snprintf(what, sizeof what, "%s %s source", internal ? "an" : "a", c->type);
        in.what = what;
        r->source_options = memory_array(1, c->source_options_bytes);
        parts[n++] = (struct options_part){ c->source_options, r->source_options, NULL };
    }
    options_fill(&in, parts, n, node);
    if (c && b->problems->error_count == errors)
        config_build_check(b, node, c->source_check, r->source_options);
    r->window_events = common.window_events;
    r->window_bytes = common.window_bytes;
    r->max_event_bytes = common.max_event_bytes;
    option_done(config_reads_table, &common);
}

/* ---- templates ---- */

static struct template *template_of(
    struct config_build *b, struct config_place place, const char *name, const char *text)
{
    struct template *t = NULL;
    struct fault why = { 0 };

    if (text && template_open(text, &t, &why) != 0)
        problem_add(b->problems, PROBLEM_TEMPLATE, place, "'%.64s': %s", name, why.text);
    return t;
}

static struct config_place value_place(
    const struct config_build *b, const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = yaml_get(map, key);

    return yaml_place(b->file, node ? node : map);
}

static void fields_compile(struct config_build *b, struct config_sink *s, const struct connector *c,
    const struct yaml_node *node)
{
    for (const struct option *o = c->sink_options; o->name; o++) {
        const struct option_template *value = (void *)((char *)s->options + o->offset);

        if (o->type != OPTION_TEMPLATE || s->field_count == CONNECTOR_FIELDS_MAX)
            continue;
        s->fields[s->field_count++] =
            template_of(b, value_place(b, node, o->name), o->name, value->text);
    }
}

static void headers_compile(struct config_build *b, struct config_sink *s,
    const struct option_map *map, const struct yaml_node *node)
{
    const struct yaml_node *headers = yaml_get(node, "headers");

    s->headers = memory_array(map->n, sizeof *s->headers);
    for (size_t i = 0; i < map->n; i++) {
        s->headers[s->header_count++] = (struct config_header){ memory_text(map->at[i].name),
            template_of(
                b, value_place(b, headers, map->at[i].name), map->at[i].name, map->at[i].value) };
    }
}

/* ---- sinks ---- */

/* RFC 3339: 2026-01-31T08:00:00Z, with fraction and offset allowed. */
static int time_parse(const char *text, int64_t *ret_ms)
{
    struct tm tm = { 0 };
    const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0, scale = 100;
    int hours, minutes, n = 0;

    if (!at)
        return -1;
    if (*at == '.') {
        if (at[1] < '0' || at[1] > '9')
            return -1;
        for (at++; *at >= '0' && *at <= '9'; at++, scale /= 10)
            ms += (*at - '0') * scale;
    }
    ms += (int64_t)timegm(&tm) * 1000;
    if (strcmp(at, "Z") != 0) {
        if ((*at != '+' && *at != '-') || sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 ||
            n != 5 || at[6] || hours > 23 || minutes > 59 || hours < 0 || minutes < 0)
            return -1;
        ms += (*at == '+' ? -1 : 1) * (hours * 60 + minutes) * (int64_t)60000;
    }
    *ret_ms = ms;
    return 0;
}

static void begin_set(
    struct config_build *b, struct config_sink *s, const char *text, const struct yaml_node *node)
{
    s->begin = CONFIG_BEGIN_NOW;
    if (!text || strcmp(text, "now") == 0)
        return;
    s->begin = CONFIG_BEGIN_OLDEST;
    if (strcmp(text, "oldest") == 0)
        return;
    s->begin = CONFIG_BEGIN_TIME;
    if (time_parse(text, &s->begin_ms) != 0)
        problem_add(b->problems, PROBLEM_VALUE, value_place(b, node, "begin"),
            "'begin': '%.64s' is not now, oldest or a time as 2026-01-31T08:00:00Z", text);
}

static void shared_keep(struct config_sink *s, const struct sink_shared *from)
{
    s->max_attempts = (uint32_t)from->retry.max_attempts;
    s->retry = (struct backoff_spec){ from->retry.base_delay, from->retry.max_delay,
        from->retry.factor, from->retry.jitter };
    s->failure_threshold = (uint32_t)from->breaker.failure_threshold;
    s->open_for_ms = from->breaker.open_for;
    s->ordering = (enum config_ordering)(from->ordering + 1);
    s->max_in_flight_per_key = (uint32_t)from->max_in_flight_per_key;
    s->rate_limit = from->rate_limit;
    s->expire_after_ms = from->expire_after;
    s->confirm_timeout_ms = from->confirm_timeout;
    s->max_dead_letters = from->max_dead_letters;
}

/* Takes what the tables own where it is kept. */
static void common_keep(struct config_sink *s, struct sink_common *from)
{
    s->name = from->name ? from->name : memory_text("");
    s->was = from->was;
    from->name = from->was = NULL;
    s->enabled = from->enabled;
    s->fallback_only = from->only == 1;
    s->fallback = SIZE_MAX;
    s->window_events = from->window_events;
    s->window_bytes = from->window_bytes;
}

static void sink_read(struct config_build *b, struct config_sink *s, const struct yaml_node *node,
    const struct yaml_node *route)
{
    struct sink_common common = { 0 };
    struct sink_shared shared = { 0 };
    struct options in = { b->file, b->problems, "a sink", elsewhere, false, false };
    struct options_part parts[] = { { config_sink_table, &common, NULL },
        { config_shared_table, &shared, route }, { NULL, NULL, NULL } };
    const struct connector *c;
    size_t errors = b->problems->error_count;
    char what[80];

    s->place = yaml_place(b->file, node);
    s->connection = connection_of(b, node);
    c = connector_of(b, s->connection);
    in.any_key = !c;
    if (c) {
        (void)snprintf(what, sizeof what, "a %s sink", c->type);
        in.what = what;
        s->options = memory_array(1, c->sink_options_bytes);
        parts[2] = (struct options_part){ c->sink_options, s->options, NULL };
    }
    options_fill(&in, parts, c ? 3 : 2, node);
    if (c && b->problems->error_count == errors)
        config_build_check(b, node, c->sink_check, s->options);
    common_keep(s, &common);
    shared_keep(s, &shared);
    s->own_key = yaml_get(node, "key") != NULL;
    if (s->own_key)
        s->key = template_of(b, value_place(b, node, "key"), "key", shared.key.text);
    else if (shared.key.text) /* a bad one was told at the route */
        (void)template_open(shared.key.text, &s->key, NULL);
    if (c)
        fields_compile(b, s, c, node);
    headers_compile(b, s, &common.headers, node);
    begin_set(b, s, common.begin, node);
    option_done(config_sink_table, &common);
    option_done(config_shared_table, &shared);
}

static void sink_name_check(struct config_build *b, const struct config_route *r,
    const struct config_sink *s, const struct yaml_node *node)
{
    struct config_place place = value_place(b, node, "name");

    if (!s->name[0])
        return;
    config_build_name(b, place, s->name);
    for (size_t i = 0; i < r->sink_count; i++) {
        const struct config_sink *other = &r->sinks[i];

        if (other != s && strcmp(other->name, s->name) == 0)
            problem_add(b->problems, PROBLEM_DUPLICATE_NAME, place,
                "sink '%.64s' stands in this route already, in line %d, column %d", s->name,
                other->place.line, other->place.column);
    }
}

static void fallback_set(struct config_build *b, struct config_route *r, struct config_sink *s,
    const struct yaml_node *node)
{
    const struct yaml_node *name = yaml_get(node, "fallback");

    if (!name || name->kind != YAML_TEXT)
        return;
    for (size_t i = 0; i < r->sink_count; i++) {
        if (strcmp(r->sinks[i].name, name->text) == 0)
            s->fallback = i;
    }
    if (s->fallback == SIZE_MAX)
        problem_add(b->problems, PROBLEM_FALLBACK, yaml_place(b->file, name),
            "route '%.64s' has no sink '%.64s'", r->name, name->text);
    else if (s->fallback_only || !r->sinks[s->fallback].fallback_only)
        problem_add(b->problems, PROBLEM_FALLBACK, yaml_place(b->file, name), "%s",
            s->fallback_only ? "a fallback sink cannot have a fallback"
                             : "that sink is not marked `only: fallback`");
}

static void sinks_read(struct config_build *b, struct config_route *r, const struct yaml_node *to,
    const struct yaml_node *route)
{
    size_t n = to->kind == YAML_LIST ? to->n : 1;
    const struct yaml_node **nodes = memory_array(n, sizeof *nodes);

    r->sinks = memory_array(n, sizeof *r->sinks);
    for (size_t i = 0; i < n; i++) {
        const struct yaml_node *node = to->kind == YAML_LIST ? to->items[i] : to;

        if (node->kind != YAML_MAP) {
            problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, node),
                "a sink is a mapping, not %s", yaml_kind_text(node));
            continue;
        }
        nodes[r->sink_count] = node;
        sink_read(b, &r->sinks[r->sink_count], node, route);
        sink_name_check(b, r, &r->sinks[r->sink_count], node);
        r->sink_count++;
    }
    for (size_t i = 0; i < r->sink_count; i++)
        fallback_set(b, r, &r->sinks[i], nodes[i]);
    if (n == 0)
        problem_add(b->problems, PROBLEM_MISSING, yaml_place(b->file, to), "a route needs a sink");
    free(nodes);
}

/* ---- routes ---- */

static void route_keep(struct config_route *r, struct route_common *from)
{
    r->name = from->name ? from->name : memory_text("");
    r->was = from->was;
    from->name = from->was = NULL;
    r->enabled = from->enabled;
    r->dedupe_redelivered = from->dedupe == 1;
    r->max_backlog = from->max_backlog;
    r->retain_age_ms = from->retain.age > 0 ? from->retain.age : -1;
    r->retain_bytes = from->retain.size > 0 ? from->retain.size : -1;
}

static void route_name_check(
    struct config_build *b, const struct config_route *r, const struct yaml_node *node)
{
    struct config_place place = value_place(b, node, "name");

    if (!r->name[0])
        return;
    config_build_name(b, place, r->name);
    for (size_t i = 0; i < b->config->route_count; i++) {
        const struct config_route *other = &b->config->routes[i];

        if (strcmp(other->name, r->name) == 0)
            problem_add(b->problems, PROBLEM_DUPLICATE_NAME, place,
                "route '%.64s' stands in %.128s:%d:%d too", r->name, other->place.file,
                other->place.line, other->place.column);
    }
}

static const struct yaml_node *end_of(
    struct config_build *b, const struct yaml_node *node, const char *name, bool list)
{
    const struct yaml_node *end = yaml_get(node, name);

    if (!end)
        problem_add(
            b->problems, PROBLEM_MISSING, yaml_place(b->file, node), "a route needs '%s'", name);
    else if (end->kind != YAML_MAP && !(list && end->kind == YAML_LIST))
        problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, end), "'%s' takes %s, not %s",
            name, list ? "a list of sinks" : "a mapping", yaml_kind_text(end));
    else
        return end;
    return NULL;
}

static void route_read(struct config_build *b, const struct yaml_node *node)
{
    struct route_common common = { 0 };
    struct sink_shared shared = { 0 };
    struct config_route r = { .place = yaml_place(b->file, node), .connection = SIZE_MAX };
    struct options in = { b->file, b->problems, "a route", elsewhere, false, false };
    struct options_part parts[] = { { config_route_table, &common, NULL },
        { config_shared_table, &shared, NULL } };
    const struct yaml_node *from, *to;

    options_fill(&in, parts, 2, node);
    route_keep(&r, &common);
    r.text = config_build_text(node);
    route_name_check(b, &r, node);
    r.key = template_of(b, value_place(b, node, "key"), "key", shared.key.text);
    from = end_of(b, node, "from", false);
    to = end_of(b, node, "to", true);
    if (from)
        source_read(b, &r, from);
    if (to)
        sinks_read(b, &r, to, node);
    option_done(config_route_table, &common);
    option_done(config_shared_table, &shared);
    b->config->routes = memory_grow(b->config->routes, b->config->route_count, sizeof r);
    b->config->routes[b->config->route_count++] = r;
}

void config_build_routes(struct config_build *b, const struct yaml_node *list)
{
    if (list && list->kind != YAML_LIST) {
        problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, list),
            "'routes' takes a list, not %s", yaml_kind_text(list));
        return;
    }
    for (size_t i = 0; list && i < list->n && !memory_failed(); i++) {
        const struct yaml_node *node = list->items[i];

        if (node->kind == YAML_MAP)
            route_read(b, node);
        else
            problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, node),
                "a route is a mapping, not %s", yaml_kind_text(node));
    }
}

static void sink_done(struct config_sink *s, const struct config *c)
{
    const struct connector *at = s->left;

    if (s->options && !at)
        at = c->connections[s->connection].connector;
    if (s->options)
        option_done(at->sink_options, s->options);
    for (size_t i = 0; i < s->field_count; i++)
        template_free(s->fields[i]);
    for (size_t i = 0; i < s->header_count; i++) {
        free(s->headers[i].name);
        template_free(s->headers[i].value);
    }
    template_free(s->key);
    free(s->headers);
    free(s->options);
    free(s->name);
    free(s->was);
}

void config_route_done(struct config_route *r, const struct config *c)
{
    for (size_t i = 0; i < r->sink_count + r->gone_count; i++)
        sink_done(&r->sinks[i], c);
    if (r->source_options)
        option_done(c->connections[r->connection].connector->source_options, r->source_options);
    template_free(r->key);
    free(r->source_options);
    free(r->sinks);
    free(r->text);
    free(r->name);
    free(r->was);
}
