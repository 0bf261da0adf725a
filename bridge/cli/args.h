/* Words of a command line: options by a verb's own table, and the rest. */
#ifndef BASCULE_ARGS_H
#define BASCULE_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#define ARGS_MAX 64

struct args_option {
    const char *name;  /* "--route" */
    const char *value; /* "ROUTE"; NULL: a switch */
    const char *help;
};

struct args {
    struct {
        const char *name, *value; /* lent from argv; a switch's value is "" */
    } options[ARGS_MAX];
    size_t option_count;
    const char *rest[ARGS_MAX];
    size_t rest_count;
};

/* Tables end with a zeroed entry; `common` holds for every verb. Returns 0, or -1 with a sentence
 * in error. "--name=value", "--name value" and "--" are understood. */
int args_parse(const struct args_option *own, const struct args_option *common, int argc,
    char **argv, struct args *ret, char error[256]);
/* The last one given, NULL when absent. */
const char *args_get(const struct args *a, const char *name);
bool args_have(const struct args *a, const char *name);
/* The i-th of a repeated option, NULL when there are fewer. */
const char *args_nth(const struct args *a, const char *name, size_t i);

#endif
