/* Connections, and what connections and routes share: names, places, a link's own checks. */
#include "routes/config_build.h"
#include "routes/config_tables.h"
#include "routes/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct connection_options {
    char *type;
};

const struct option config_connection_table[] = {
    { .name = "type",
        .type = OPTION_TEXT,
        .offset = offsetof(struct connection_options, type),
        .flags = OPTION_REQUIRED,
        .help = "What broker it is." },
    { 0 },
};

void config_build_name(struct config_build *b, struct config_place place, const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    if (n > 0 && n <= 64 && !name[n] && !strchr("_.-", name[0]))
        return;
    problem_add(b->problems, PROBLEM_NAME, place, "'%.80s' is no name", name);
    problem_hint(
        b->problems, "names are 1 to 64 of a-z 0-9 _ . - and begin with a letter or digit");
}

struct config_place config_build_place(
    const struct config_build *b, const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = key ? yaml_get(map, key) : NULL;

    return node ? yaml_name_place(b->file, node) : yaml_place(b->file, map);
}

void config_build_check(struct config_build *b, const struct yaml_node *map,
    int (*check)(const void *options, const char **key, struct fault *why), const void *options)
{
    const char *key = NULL;
    struct fault why = { 0 };

    if (check && check(options, &key, &why) != 0)
        problem_add(
            b->problems, PROBLEM_COMBINATION, config_build_place(b, map, key), "%s", why.text);
}

static void type_unknown(struct config_build *b, const struct yaml_node *node, const char *type)
{
    const char *names[64];
    size_t n = 0;
    const char *near;

    while (connector_all[n] && n < 63) {
        names[n] = connector_all[n]->type;
        n++;
    }
    names[n] = NULL;
    problem_add(b->problems, PROBLEM_TYPE, config_build_place(b, node, "type"),
        "'%.64s' is no type of connection", type);
    near = problem_nearest(type, names);
    if (near)
        problem_hint(b->problems, "did you mean '%s'?", near);
}

static bool is_taken(struct config_build *b, const struct yaml_node *node)
{
    const struct config *c = b->config;

    for (size_t i = 0; i < c->connection_count; i++) {
        const struct config_place *p = &c->connections[i].place;

        if (strcmp(c->connections[i].name, node->name) != 0)
            continue;
        if (p->file != b->file->path) /* in one file it is a duplicate key already */
            problem_add(b->problems, PROBLEM_DUPLICATE_NAME, yaml_name_place(b->file, node),
                "connection '%.64s' stands in %.128s:%d:%d too", node->name, p->file, p->line,
                p->column);
        return true;
    }
    return false;
}

/* What is kept outside of the files must not hold a secret. */
static char *text_keep(const struct config_build *b, const struct yaml_node *node, size_t before)
{
    const struct config_problems *p = b->problems;
    bool literal = p->n >= PROBLEM_COUNT_MAX;

    for (size_t i = before; i < p->n; i++)
        literal = literal || p->at[i].code == PROBLEM_SECRET_LITERAL;
    return literal ? NULL : config_build_text(node);
}

static void connection_read(struct config_build *b, const struct yaml_node *node)
{
    struct config_connection one = { .place = yaml_name_place(b->file, node) };
    struct connection_options own = { 0 };
    struct options in = {
        .file = b->file, .problems = b->problems, .what = "a connection", .guarded = true
    };
    struct options_part parts[] = { { config_connection_table, &own, NULL }, { NULL, NULL, NULL } };
    const struct yaml_node *type = yaml_get(node, "type");
    char what[80];
    size_t before = b->problems->n;
    int errors = b->problems->error_count > 0 ? (int)b->problems->error_count : 0;

    if (type && type->kind == YAML_TEXT)
        one.connector = connector_find(type->text);
    if (type && type->kind == YAML_TEXT && !one.connector)
        type_unknown(b, node, type->text);
    /* Which of its values are secrets cannot be told then. */
    for (size_t i = 0; !one.connector && i < node->n; i++)
        if (strcmp(node->items[i]->name, "type") != 0)
            yaml_file_hide(b->file, node->items[i]);
    in.any_key = !one.connector;
    if (one.connector) {
        (void)snprintf(what, sizeof what, "a %s connection", one.connector->type);
        in.what = what;
        one.options = memory_array(1, one.connector->link_options_bytes);
        parts[1] = (struct options_part){ one.connector->link_options, one.options, NULL };
    }
    options_fill(&in, parts, one.connector ? 2 : 1, node);
    option_done(config_connection_table, &own);
    if (one.connector && (int)b->problems->error_count == errors)
        config_build_check(b, node, one.connector->link_check, one.options);
    if (one.connector)
        config_build_files(&one);
    one.name = memory_text(node->name);
    one.text = text_keep(b, node, before);
    b->config->connections =
        memory_grow(b->config->connections, b->config->connection_count, sizeof one);
    b->config->connections[b->config->connection_count++] = one;
}

bool config_reads_internal(const struct yaml_node *from)
{
    return yaml_get(from, "internal") && !yaml_get(from, "connection");
}

size_t config_build_internal(struct config_build *b, const struct yaml_node *from)
{
    struct config *c = b->config;
    struct config_connection one = {
        .place = yaml_place(b->file, from), .connector = &connector_internal, .built_in = true
    };

    for (size_t i = 0; i < c->connection_count; i++)
        if (c->connections[i].built_in)
            return i;
    one.name = memory_text(CONFIG_INTERNAL);
    one.options = memory_array(1, connector_internal.link_options_bytes);
    c->connections = memory_grow(c->connections, c->connection_count, sizeof one);
    c->connections[c->connection_count] = one;
    return c->connection_count++;
}

void config_build_connections(struct config_build *b, const struct yaml_node *map)
{
    if (map && map->kind != YAML_MAP) {
        problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, map),
            "'connections' takes a mapping of names, not %s", yaml_kind_text(map));
        yaml_file_hide(b->file, map);
        return;
    }
    for (size_t i = 0; map && i < map->n && !memory_failed(); i++) {
        const struct yaml_node *node = map->items[i];

        config_build_name(b, yaml_name_place(b->file, node), node->name);
        if (node->kind != YAML_MAP)
            yaml_file_hide(b->file, node);
        if (node->kind != YAML_MAP)
            problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, node),
                "connection '%.64s' takes a mapping, not %s", node->name, yaml_kind_text(node));
        else if (!is_taken(b, node))
            connection_read(b, node);
    }
}
