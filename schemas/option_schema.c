#include "schemas/option_schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Numbers, truths and words of a choice may also be loaded: ${env:NAME}. */
#define LOADED "^\\$\\{(env|file|credential):"
#define DURATION "^(0|([0-9]+(ms|s|m|h|d|w))+)$"
#define SIZE "^[0-9]+([kKMGT]B|[KMGT]iB|B)?$"
#define RATE "^(0|[0-9]+/[sm])$"

/* A text of that form; takes any scalar where there is no pattern. */
static json_t *description_of(const char *pattern, const char *description)
{
    json_t *ret = pattern ? json_pack("{s:s, s:s}", "type", "string", "pattern", pattern)
                          : json_pack("{s:[s,s,s]}", "type", "string", "number", "boolean");

    if (ret && description)
        json_object_set_new(ret, "description", json_string(description));
    return ret;
}

json_t *option_schema_definitions(void)
{
    static const char *const values[][3] = { { "loaded", LOADED, NULL }, { "text", NULL, NULL },
        { "template", NULL, "A text with values of the event, such as ${address}." },
        { "duration", DURATION, "A number with ms, s, m, h, d or w." },
        { "size", SIZE, "Bytes, with kB, MB, KiB, MiB, …" },
        { "rate", RATE, "Events a second or minute: 500/s, 30/m." } };
    json_t *ret = json_object();

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        json_object_set_new(ret, values[i][0], description_of(values[i][1], values[i][2]));
    return ret;
}

static json_t *reference(const char *name)
{
    return json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", name));
}

static json_t *or_loaded(json_t *schema)
{
    return json_pack("{s:[o,o]}", "anyOf", schema, reference("loaded"));
}

static json_t *whole(const char *type, const struct option *o)
{
    json_t *ret = json_pack("{s:s}", "type", type);

    if (ret && (o->min || o->max)) {
        json_object_set_new(ret, "minimum", json_integer(o->min));
        json_object_set_new(ret, "maximum", json_integer(o->max));
    }
    return ret;
}

static json_t *choice(const struct option *o)
{
    json_t *names = json_array();

    for (const char *const *c = o->choices; names && *c; c++)
        json_array_append_new(names, json_string(*c));
    return json_pack("{s:o}", "enum", names);
}

static json_t *map_of(json_t *values)
{
    return json_pack("{s:s, s:o}", "type", "object", "additionalProperties", values);
}

static json_t *list_of(json_t *items)
{
    return json_pack("{s:s, s:o}", "type", "array", "items", items);
}

static json_t *nested(const struct option *o)
{
    const struct option *const tables[] = { o->table, NULL };

    return option_schema_object(tables);
}

static json_t *value_schema(const struct option *o)
{
    switch (o->type) {
    case OPTION_BOOL:
        return or_loaded(json_pack("{s:s}", "type", "boolean"));
    case OPTION_INT:
        return or_loaded(whole("integer", o));
    case OPTION_NUMBER:
        return or_loaded(whole("number", o));
    case OPTION_SIZE:
        return json_pack(
            "{s:[o,o,o]}", "anyOf", whole("integer", o), reference("size"), reference("loaded"));
    case OPTION_DURATION:
        return json_pack(
            "{s:[{s:i},o,o]}", "anyOf", "const", 0, reference("duration"), reference("loaded"));
    case OPTION_RATE:
        return json_pack(
            "{s:[{s:i},o,o]}", "anyOf", "const", 0, reference("rate"), reference("loaded"));
    case OPTION_ENUM:
        return or_loaded(choice(o));
    case OPTION_TEXT_LIST:
        return json_pack("{s:[o,o]}", "anyOf", list_of(reference("text")), reference("text"));
    case OPTION_TEXT_MAP:
    case OPTION_VALUE_MAP:
        return map_of(reference("text"));
    case OPTION_TABLE:
        return nested(o);
    case OPTION_TABLE_LIST:
        return list_of(nested(o));
    case OPTION_TEMPLATE:
        return reference("template");
    case OPTION_TEXT:
    case OPTION_NONE:
        break;
    }
    return reference("text");
}

/* As YAML would read it. */
static json_t *default_value(const struct option *o)
{
    char *end;
    long long whole_number;

    switch (o->type) {
    case OPTION_BOOL:
        return json_boolean(strcmp(o->default_text, "true") == 0);
    case OPTION_NUMBER:
        return json_real(strtod(o->default_text, NULL));
    case OPTION_INT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        errno = 0;
        whole_number = strtoll(o->default_text, &end, 10);
        return *end || errno ? json_string(o->default_text) : json_integer(whole_number);
    default:
        return json_string(o->default_text);
    }
}

int option_schema_put(json_t *object, const char *name, json_t *schema)
{
    return json_object_set_new(json_object_get(object, "properties"), name, schema);
}

static int put_option(json_t *object, const struct option *o)
{
    json_t *schema = value_schema(o);

    if (!schema)
        return -1;
    if (o->help)
        json_object_set_new(schema, "description", json_string(o->help));
    if (o->default_text)
        json_object_set_new(schema, "default", default_value(o));
    return option_schema_put(object, o->name, schema);
}

json_t *option_schema_object(const struct option *const *tables)
{
    json_t *required = json_array();
    json_t *ret =
        json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties", 0);

    for (; ret && required && *tables; tables++)
        for (const struct option *o = *tables; o->name; o++) {
            if (o->flags & OPTION_REQUIRED)
                json_array_append_new(required, json_string(o->name));
            if (o->type == OPTION_NONE || o->flags & OPTION_HIDDEN)
                continue;
            if (put_option(ret, o) != 0) {
                json_decref(ret);
                ret = NULL;
                break;
            }
        }
    if (ret && json_array_size(required) > 0)
        json_object_set(ret, "required", required);
    json_decref(required);
    return ret;
}
