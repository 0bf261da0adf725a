#include "routes/options.h"
#include "routes/memory.h"
#include "routes/secret.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define NAMES_MAX 256 /* keys of one mapping that hints are looked for in */

/* Where one option is filled: problems NULL when the value is inherited or a default. */
struct filling {
    const struct options *in;
    const struct option *option;
    const struct yaml_node *node;
    struct config_problems *problems;
};

#define SAY(f, code, at, ...)                                                                      \
    ((f)->problems ? problem_add((f)->problems, code, yaml_place((f)->in->file, at), __VA_ARGS__)  \
                   : (void)0)

static void hint(const struct filling *f, const char *text)
{
    if (f->problems && text)
        problem_hint(f->problems, "%s", text);
}

/* ---- texts ---- */

static bool sounds_secret(const char *name)
{
    return strcasestr(name, "password") || strcasestr(name, "secret") || strcasestr(name, "passwd");
}

static bool url_has_password(const char *text)
{
    const char *at = strstr(text, "://");
    const char *end = at ? strrchr(at + 3, '@') : NULL;

    return end && memchr(at + 3, ':', (size_t)(end - at - 3));
}

static void secret_check(const struct filling *f, const struct yaml_node *node, bool secret)
{
    bool url = f->option->flags & OPTION_CREDENTIAL_URL && url_has_password(node->text);

    /* A URL without its "://" is masked as a whole: where its password begins cannot be told. */
    if (f->in->file && (secret || (f->option->flags & OPTION_CREDENTIAL_URL &&
                                      !strstr(node->text, "://") && strchr(node->text, '@'))))
        yaml_file_hide(f->in->file, node);
    if ((secret || url) && node->text[0] && secret_is_literal(node->text))
        SAY(f, PROBLEM_SECRET_LITERAL, node, "'%.64s' holds its secret literally", f->option->name);
}

/* The loaded text of a scalar, owned by the caller; NULL when there was a problem. */
static char *text_load(const struct filling *f, const struct yaml_node *node)
{
    bool template = f->option->type == OPTION_TEMPLATE || f->option->flags & OPTIONS_TEMPLATES;
    bool secret = f->option->flags & OPTION_SECRET ||
                  (f->option->type == OPTION_TEXT_MAP && node->name && sounds_secret(node->name));

    if (node->kind != YAML_TEXT || (yaml_is_null(node) && !node->quoted)) {
        SAY(f, PROBLEM_SHAPE, node, "'%.64s' %s", f->option->name,
            node->kind == YAML_MAP    ? "takes a single value, not a mapping"
            : node->kind == YAML_LIST ? "takes a single value, not a list"
                                      : "has no value");
        return NULL;
    }
    secret_check(f, node, secret);
    return secret_expand(f->in->file, node, f->option->name,
        template ? SECRET_TEMPLATE : SECRET_LOADED,
        secret || (f->option->flags & OPTION_CREDENTIAL_URL), f->problems);
}

static void path_check(const struct filling *f, const struct yaml_node *node, const char *text)
{
    if (f->option->flags & OPTION_FILE && access(text, R_OK) != 0)
        SAY(f, PROBLEM_PATH, node, "'%.64s': '%.160s' cannot be read: %s", f->option->name, text,
            strerror(errno));
}

/* ---- scalars ---- */

/* What a value looked like, without showing a secret. */
static void value_problem(const struct filling *f, const char *text, const char *wanted)
{
    bool secret = f->option->flags & OPTION_SECRET || !secret_is_literal(f->node->text);

    if (secret)
        SAY(f, PROBLEM_VALUE, f->node, "'%.64s' is not %s", f->option->name, wanted);
    else
        SAY(f, PROBLEM_VALUE, f->node, "'%.64s': '%.64s' is not %s", f->option->name, text, wanted);
}

static int parse_int(const char *text, int64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno || end == text || *end || text[strspn(text, "+-0123456789")] ? -1 : 0;
}

static void in_range(const struct filling *f, double value)
{
    const struct option *o = f->option;

    if ((o->min == 0 && o->max == 0) || (value >= (double)o->min && value <= (double)o->max))
        return;
    SAY(f, PROBLEM_RANGE, f->node, "'%.64s' is out of its range %lld to %lld%s", o->name,
        (long long)o->min, (long long)o->max,
        o->type == OPTION_DURATION ? " ms"
        : o->type == OPTION_SIZE   ? " bytes"
        : o->type == OPTION_RATE   ? " events per 1000 s"
                                   : "");
}

static void take_number(const struct filling *f, const char *text, int64_t *ret)
{
    static const struct {
        int (*parse)(const char *text, int64_t *ret);
        const char *wanted;
    } kinds[] = {
        [OPTION_INT] = { parse_int, "a whole number" },
        [OPTION_SIZE] = { options_size, "a size, as 512, 64KiB, 16MiB, 20GiB" },
        [OPTION_DURATION] = { options_duration, "a duration, as 500ms, 10s, 5m, 1h, 7d" },
        [OPTION_RATE] = { options_rate, "a rate, as 500/s, 30/m" },
    };
    int64_t value;

    if (f->option->type > OPTION_RATE || !kinds[f->option->type].parse)
        return;
    if (kinds[f->option->type].parse(text, &value) != 0) {
        value_problem(f, text, kinds[f->option->type].wanted);
        return;
    }
    in_range(f, (double)value);
    *ret = value;
}

static void take_double(const struct filling *f, const char *text, double *ret)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value)) {
        value_problem(f, text, "a number");
        return;
    }
    in_range(f, value);
    *ret = value;
}

static void take_bool(const struct filling *f, const char *text, bool *ret)
{
    if (strcasecmp(text, "true") == 0)
        *ret = true;
    else if (strcasecmp(text, "false") == 0)
        *ret = false;
    else
        value_problem(f, text, "true or false");
}

static void take_choice(const struct filling *f, const char *text, int *ret)
{
    char all[160] = "one of: ";
    const char *near;
    int i = 0;

    for (; f->option->choices[i]; i++) {
        if (strcmp(f->option->choices[i], text) == 0) {
            *ret = i;
            return;
        }
        (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "",
            f->option->choices[i]);
    }
    SAY(f, PROBLEM_CHOICE, f->node, "'%.64s': '%.64s' is not known", f->option->name, text);
    near = problem_nearest(text, f->option->choices);
    if (near && f->problems)
        problem_hint(f->problems, "did you mean '%s'?", near);
    else
        hint(f, all);
}

static void take_template(char *text, struct option_template *ret)
{
    const char *at = strstr(text, "${");

    while (at && at > text && at[-1] == '$')
        at = strstr(at + 2, "${");
    ret->text = text;
    ret->fixed = !at;
}

static void take_scalar(const struct filling *f, void *at)
{
    char *text = text_load(f, f->node);

    if (!text)
        return;
    switch (f->option->type) {
    case OPTION_TEXT:
        path_check(f, f->node, text);
        *(char **)at = text;
        return;
    case OPTION_TEMPLATE:
        take_template(text, at);
        return;
    case OPTION_BOOL:
        take_bool(f, text, at);
        break;
    case OPTION_NUMBER:
        take_double(f, text, at);
        break;
    case OPTION_ENUM:
        take_choice(f, text, at);
        break;
    default:
        take_number(f, text, at);
        break;
    }
    memory_wipe(text);
}

/* ---- lists and maps ---- */

static void list_add(const struct filling *f, const struct yaml_node *node, struct option_list *ret)
{
    char *text = text_load(f, node);

    if (!text)
        return;
    path_check(f, node, text);
    ret->at = memory_grow(ret->at, ret->n, sizeof *ret->at);
    ret->at[ret->n++] = text;
}

static void take_list(const struct filling *f, struct option_list *ret)
{
    if (f->node->kind != YAML_LIST) {
        list_add(f, f->node, ret);
        return;
    }
    for (size_t i = 0; i < f->node->n; i++)
        list_add(f, f->node->items[i], ret);
}

static enum option_value_kind value_kind(const struct yaml_node *node, const char *text)
{
    int64_t number;

    if (node->quoted)
        return OPTION_VALUE_TEXT;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return OPTION_VALUE_BOOL;
    return parse_int(text, &number) == 0 ? OPTION_VALUE_INT : OPTION_VALUE_TEXT;
}

static void take_map(const struct filling *f, struct option_map *ret)
{
    if (f->node->kind != YAML_MAP) {
        SAY(f, PROBLEM_SHAPE, f->node, "'%.64s' takes a mapping, not %s", f->option->name,
            yaml_kind_text(f->node));
        return;
    }
    for (size_t i = 0; i < f->node->n; i++) {
        const struct yaml_node *item = f->node->items[i];
        char *text = text_load(f, item);

        if (!text)
            continue;
        ret->at = memory_grow(ret->at, ret->n, sizeof *ret->at);
        ret->at[ret->n++] = (struct option_pair){ memory_text(item->name), text,
            f->option->type == OPTION_VALUE_MAP ? value_kind(item, text) : OPTION_VALUE_TEXT };
    }
}

/* ---- tables ---- */

/* The mapping of a nested table, NULL (with a problem) when it is none. */
static const struct yaml_node *table_node(const struct filling *f, const struct yaml_node *node)
{
    if (node->kind == YAML_MAP)
        return node;
    SAY(f, PROBLEM_SHAPE, node, "'%.64s' takes a mapping, not %s", f->option->name,
        yaml_is_null(node) ? "nothing" : yaml_kind_text(node));
    return NULL;
}

static void fill_nested(const struct filling *f, void *at, const struct yaml_node *node,
    const struct yaml_node *inherited)
{
    struct options in = *f->in;
    struct options_part part = { f->option->table, at, inherited };
    char what[80];

    (void)snprintf(what, sizeof what, "'%.64s'", f->option->name);
    in.what = what;
    in.problems = f->problems;
    in.elsewhere = NULL;
    in.any_key = false;
    options_fill(&in, &part, 1, node);
    *(bool *)at = node || inherited;
}

static void take_tables(const struct filling *f, struct option_tables *ret)
{
    bool one = f->node->kind != YAML_LIST;
    size_t n = one ? 1 : f->node->n;

    ret->at = memory_array(n, f->option->item_bytes);
    for (size_t i = 0; i < n; i++) {
        const struct yaml_node *node = table_node(f, one ? f->node : f->node->items[i]);

        if (node)
            fill_nested(f, (char *)ret->at + ret->n++ * f->option->item_bytes, node, NULL);
    }
}

/* Whatever shape it has; and the values of a client library's own properties. */
static void hide(const struct filling *f)
{
    bool properties = f->option->type == OPTION_TEXT_MAP && !(f->option->flags & OPTIONS_TEMPLATES);

    if (f->in->file && (properties || f->option->flags & OPTION_SECRET))
        yaml_file_hide(f->in->file, f->node);
}

static void take(const struct filling *f, void *at)
{
    hide(f);
    switch (f->option->type) {
    case OPTION_TEXT_LIST:
        take_list(f, at);
        break;
    case OPTION_TEXT_MAP:
    case OPTION_VALUE_MAP:
        take_map(f, at);
        break;
    case OPTION_TABLE_LIST:
        take_tables(f, at);
        break;
    default:
        take_scalar(f, at);
        break;
    }
}

static void fill_default(const struct options *in, const struct option *option, void *at)
{
    struct yaml_node node = { .kind = YAML_TEXT, .text = (char *)(uintptr_t)option->default_text };
    struct filling f = { in, option, &node, NULL };

    if (option->default_text)
        take(&f, at);
}

static void fill_table(const struct options *in, const struct option *option, void *at,
    const struct yaml_node *own, const struct yaml_node *inherited)
{
    struct filling f = { in, option, own, in->problems };

    own = own ? table_node(&f, own) : NULL;
    inherited = inherited && inherited->kind == YAML_MAP ? inherited : NULL;
    fill_nested(&f, at, own, inherited);
}

static bool is_owned(enum option_type type)
{
    return type == OPTION_TEXT || type == OPTION_TEMPLATE || type == OPTION_TEXT_LIST ||
           type == OPTION_TEXT_MAP || type == OPTION_VALUE_MAP || type == OPTION_TABLE_LIST;
}

static void fill_option(const struct options *in, const struct option *option, void *values,
    const struct yaml_node *node, const struct yaml_node *inherited)
{
    const struct yaml_node *own = yaml_get(node, option->name);
    const struct yaml_node *theirs = yaml_get(inherited, option->name);
    struct filling f = { in, option, own ? own : theirs, own ? in->problems : NULL };
    void *at = (char *)values + option->offset;

    if (option->type == OPTION_NONE) /* read by the caller */
        return;
    if (option->type == OPTION_TABLE) {
        fill_table(in, option, at, own, theirs);
        return;
    }
    if (!f.node || !is_owned(option->type))
        fill_default(in, option, at); /* also what stays when the value cannot be read */
    if (f.node)
        take(&f, at);
    else if (option->flags & OPTION_REQUIRED && in->problems && node)
        problem_add(in->problems, PROBLEM_MISSING, yaml_place(in->file, node), "%s needs '%s'",
            in->what, option->name);
}

/* ---- unknown keys ---- */

static size_t names_of(const struct options_part *parts, size_t count, const char *names[])
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        for (const struct option *o = parts[i].table; o->name && n < NAMES_MAX - 1; o++)
            names[n++] = o->name;
    }
    names[n] = NULL;
    return n;
}

static bool is_known(const char *name, const struct options_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (const struct option *o = parts[i].table; o->name; o++) {
            if (strcmp(o->name, name) == 0)
                return true;
        }
    }
    return false;
}

/* Elsewhere what stands deeper may be a connection's. */
static void hide_unknown(const struct options *in, const struct yaml_node *item)
{
    if (in->guarded || sounds_secret(item->name))
        yaml_file_hide(in->file, item);
    for (size_t i = 0; i < item->n; i++)
        for (size_t j = 0; j < item->items[i]->n; j++)
            yaml_file_hide(in->file, item->items[i]->items[j]);
}

static void unknown_key(const struct options *in, const struct options_part *parts, size_t count,
    const struct yaml_node *item)
{
    const char *names[NAMES_MAX], *near;
    char text[200];

    hide_unknown(in, item);
    if (in->elsewhere && in->elsewhere(item->name, text, sizeof text)) {
        problem_add(in->problems, PROBLEM_ELSEWHERE, yaml_name_place(in->file, item),
            "'%.64s' does not belong to %s: %s", item->name, in->what, text);
        return;
    }
    problem_add(in->problems, PROBLEM_UNKNOWN_KEY, yaml_name_place(in->file, item),
        "'%.64s' is not a key of %s", item->name, in->what);
    (void)names_of(parts, count, names);
    near = problem_nearest(item->name, names);
    if (near)
        problem_hint(in->problems, "did you mean '%s'?", near);
}

void options_fill(const struct options *in, const struct options_part *parts, size_t count,
    const struct yaml_node *node)
{
    for (size_t i = 0; node && in->problems && !in->any_key && i < node->n; i++) {
        if (!is_known(node->items[i]->name, parts, count))
            unknown_key(in, parts, count, node->items[i]);
    }
    for (size_t i = 0; i < count; i++) {
        for (const struct option *o = parts[i].table; o->name; o++)
            fill_option(in, o, parts[i].values, node, parts[i].inherited);
    }
}
