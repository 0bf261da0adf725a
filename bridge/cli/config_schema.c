#include "bridge/cli/config_schema.h"

#include "bridge/connector.h"
#include "routes/config_tables.h"
#include "schemas/option_schema.h"

#include <string.h>

#define TABLES_MAX 4
#define DIALECT "https://json-schema.org/draft/2020-12/schema"

enum end { END_CONNECTION, END_SOURCE, END_SINK };

static const char *const end_names[] = { "connection", "source", "sink" };

static const struct option *link_table(const struct connector *c, enum end end)
{
    return end == END_CONNECTION ? c->link_options
           : end == END_SOURCE   ? c->source_options
                                 : c->sink_options;
}

/* One end of one broker: its own keys beside those that every such end has. */
static json_t *end_schema(const struct connector *c, enum end end)
{
    const struct option *const common[][2] = { { config_connection_table, NULL },
        { config_reads_table, config_source_table }, { config_sink_table, config_shared_table } };
    const struct option *tables[TABLES_MAX] = { link_table(c, end), common[end][0], common[end][1],
        NULL };
    json_t *ret = option_schema_object(tables);

    if (!ret)
        return NULL;
    json_object_set_new(ret, "title", json_sprintf("%s %s", c->type, end_names[end]));
    if (end == END_CONNECTION)
        option_schema_put(ret, "type", json_pack("{s:s}", "const", c->type));
    return ret;
}

/* The bridge itself: no connection. */
static json_t *internal_schema(void)
{
    const struct option *const tables[] = { connector_internal.source_options, config_source_table,
        NULL };
    json_t *ret = option_schema_object(tables);

    if (ret)
        json_object_set_new(ret, "title", json_sprintf("%s source", connector_internal.type));
    return ret;
}

/* A connection's type stands in another place than its use, often in another file: any may fit. */
static json_t *ends_schema(enum end end)
{
    json_t *any = json_array();

    for (const struct connector *const *c = connector_all; *c; c++)
        json_array_append_new(any, end_schema(*c, end));
    if (end == END_SOURCE)
        json_array_append_new(any, internal_schema());
    return json_pack("{s:o}", "anyOf", any);
}

static json_t *definition(const char *name)
{
    return json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", name));
}

static json_t *route_schema(void)
{
    const struct option *const tables[] = { config_route_table, config_shared_table, NULL };
    json_t *ret = option_schema_object(tables);

    if (!ret)
        return NULL;
    option_schema_put(ret, "from", definition("source"));
    option_schema_put(ret, "to",
        json_pack("{s:[{s:s, s:i, s:o}, o]}", "anyOf", "type", "array", "minItems", 1, "items",
            definition("sink"), definition("sink")));
    return ret;
}

json_t *config_schema(void)
{
    const struct option *const tables[] = { config_top_table, NULL };
    json_t *ret = option_schema_object(tables), *definitions = option_schema_definitions();

    if (!ret || !definitions) {
        json_decref(ret);
        json_decref(definitions);
        return NULL;
    }
    for (enum end end = END_CONNECTION; end <= END_SINK; end++)
        json_object_set_new(definitions, end_names[end], ends_schema(end));
    json_object_set_new(definitions, "route", route_schema());
    option_schema_put(ret, "connections",
        json_pack("{s:s, s:o, s:s}", "type", "object", "additionalProperties",
            definition("connection"), "description", "Brokers by the name that routes use."));
    option_schema_put(ret, "routes",
        json_pack("{s:s, s:o, s:s}", "type", "array", "items", definition("route"), "description",
            "From one source to one sink or several."));
    json_object_set_new(ret, "$schema", json_string(DIALECT));
    json_object_set_new(ret, "title", json_string("Bascule"));
    json_object_set_new(ret, "$defs", definitions);
    return ret;
}
