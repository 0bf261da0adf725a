/* Loaded values in configuration text: ${env:NAME}, ${file:PATH}, ${credential:NAME}. */
#ifndef BASCULE_SECRET_H
#define BASCULE_SECRET_H

#include "routes/problem.h"
#include "routes/yaml.h"

#define SECRET_BYTES_MAX 65536

enum secret_mode {
    SECRET_LOADED = 1, /* event values are errors; $${ becomes ${ */
    SECRET_TEMPLATE,   /* event values stay, and so does $${, for template_open() */
};

/* The text with loaded values in their places, owned by the caller; NULL when problems were added
 * (problems NULL: nobody is told). `secret` warns of files that everyone can read. `name` is the
 * option's, for problems. */
char *secret_expand(const struct yaml_file *f, const struct yaml_node *node, const char *name,
    enum secret_mode mode, bool secret, struct config_problems *problems);
/* It holds no loaded value, so what it says stands in the file. */
bool secret_is_literal(const char *text);

#endif
