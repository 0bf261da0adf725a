#include "bridge/cli/args.h"

#include <stdio.h>
#include <string.h>

static const struct args_option *find(const struct args_option *table, const char *name, size_t n)
{
    for (; table && table->name; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0)
            return table;
    return NULL;
}

static int fail(char error[256], const char *what, const char *word)
{
    (void)snprintf(error, 256, "%s: %.200s", what, word);
    return -1;
}

int args_parse(const struct args_option *own, const struct args_option *common, int argc,
    char **argv, struct args *ret, char error[256])
{
    bool only_rest = false;

    *ret = (struct args){ 0 };
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *equal = strchr(word, '=');
        size_t n = equal ? (size_t)(equal - word) : strlen(word);
        const struct args_option *o;

        if (ret->rest_count == ARGS_MAX || ret->option_count == ARGS_MAX)
            return fail(error, "too many words", word);
        if (only_rest || word[0] != '-' || !word[1]) {
            ret->rest[ret->rest_count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_rest = true;
            continue;
        }
        o = find(own, word, n);
        if (!o)
            o = find(common, word, n);
        if (!o)
            return fail(error, "unknown option", word);
        if (!o->value && equal)
            return fail(error, "takes no value", o->name);
        if (o->value && !equal && i + 1 == argc)
            return fail(error, "needs a value", o->name);
        ret->options[ret->option_count].name = o->name;
        ret->options[ret->option_count++].value = !o->value ? "" : equal ? equal + 1 : argv[++i];
    }
    return 0;
}

const char *args_get(const struct args *a, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < a->option_count; i++)
        if (strcmp(a->options[i].name, name) == 0)
            value = a->options[i].value;
    return value;
}

bool args_have(const struct args *a, const char *name)
{
    return args_get(a, name) != NULL;
}

const char *args_nth(const struct args *a, const char *name, size_t nth)
{
    for (size_t i = 0; i < a->option_count; i++)
        if (strcmp(a->options[i].name, name) == 0 && nth-- == 0)
            return a->options[i].value;
    return NULL;
}
