/* JSON Schema (draft 2020-12) of the YAML files, made from the option tables that also parse them.
 */
#ifndef BASCULE_OPTION_SCHEMA_H
#define BASCULE_OPTION_SCHEMA_H

#include "bridge/base/option.h"

#include <jansson.h>

/* A mapping with the keys of all tables (an array of them, ended by NULL); other keys are errors.
 * Keys of type OPTION_NONE are left to the caller: option_schema_put(). NULL: out of memory.
 * The result is the caller's. */
json_t *option_schema_object(const struct option *const *tables);
/* Describes `name` of such an object; takes over `schema`. */
int option_schema_put(json_t *object, const char *name, json_t *schema);
/* What the schemas of single values refer to; belongs under "$defs" of the document. */
json_t *option_schema_definitions(void);

#endif
