/* The whole JSON Schema of the YAML files: what routes and links say of their keys, in one
 * document. */
#ifndef BASCULE_CONFIG_SCHEMA_H
#define BASCULE_CONFIG_SCHEMA_H

#include <jansson.h>

/* The caller's; NULL: out of memory. */
json_t *config_schema(void);

#endif
