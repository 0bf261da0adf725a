/* plan, reload: another configuration for the running daemon. */
#include "bridge/cli/client.h"
#include "bridge/cli/table.h"

#include <stdio.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static json_t *names_of(const struct command *c, const char *option)
{
    json_t *ret = json_array();
    const char *name;

    for (size_t i = 0; (name = args_nth(&c->args, option, i)) != NULL; i++)
        json_array_append_new(ret, json_string(name));
    return ret;
}

static void put_number(struct buf *to, const json_t *change, const char *key, const char *what)
{
    long long n = json_integer_value(json_object_get(change, key));

    if (n)
        buf_put_format(to, "%s%lld %s", to->n ? ", " : "", n, what);
}

static void put_joined(struct buf *to, const json_t *list)
{
    json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (i)
            buf_put_text(to, ", ");
        table_put_safe(to, json_string_value(item), json_string_length(item));
    }
}

/* A line a change: what of it waits, and what becomes of that. */
static json_t *lines_of(const json_t *changes)
{
    json_t *ret = json_array(), *change;
    size_t i;

    json_array_foreach(changes, i, change)
    {
        const char *was = text_of(change, "was");
        struct buf backlog, keys, makes;

        buf_init(&backlog, 1024);
        buf_init(&keys, 65536);
        buf_init(&makes, 65536);
        put_joined(&makes, json_object_get(change, "declares"));
        put_number(&backlog, change, "pending", "pending");
        put_number(&backlog, change, "held", "held");
        put_number(&backlog, change, "dead", "dead letters");
        put_number(&backlog, change, "jobs", "replays");
        if (backlog.n && strcmp(text_of(change, "change"), "removed") == 0)
            buf_put_format(&backlog, ": %s", text_of(change, "backlog"));
        if (*was)
            buf_put_format(&keys, "was %s", was);
        if (*was && json_array_size(json_object_get(change, "keys")))
            buf_put_text(&keys, ", ");
        put_joined(&keys, json_object_get(change, "keys"));
        json_array_append_new(ret,
            json_pack("{s:O, s:O, s:O, s:s, s:s, s:s}", "change", json_object_get(change, "change"),
                "what", json_object_get(change, "what"), "name", json_object_get(change, "name"),
                "keys", buf_text(&keys), "makes", buf_text(&makes), "backlog", buf_text(&backlog)));
        buf_done(&makes);
        buf_done(&backlog);
        buf_done(&keys);
    }
    return ret;
}

static const struct table_column columns[] = {
    { "change", "CHANGE", TABLE_TEXT },
    { "what", "WHAT", TABLE_TEXT },
    { "name", "NAME", TABLE_TEXT },
    { "keys", "KEYS", TABLE_TEXT },
    { "makes", "MAKES AT ITS BROKER", TABLE_TEXT },
    { "backlog", "BACKLOG", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static void print_warnings(const json_t *warnings)
{
    json_t *one;
    size_t i;

    json_array_foreach(warnings, i, one) fputs(text_of(one, "text"), stderr);
}

static void print_answer(struct command *c, const json_t *answer, bool planned)
{
    json_t *lines = lines_of(json_object_get(answer, "changes"));

    if (json_is_string(json_object_get(answer, "note")))
        fprintf(stderr, "note: %s\n", text_of(answer, "note"));
    print_warnings(json_object_get(answer, "warnings"));
    if (json_array_size(lines))
        table_print(c, columns, lines, 0);
    else
        fputs("nothing differs\n", stderr);
    if (!planned)
        printf("configuration\t%s\n", text_of(answer, "hash"));
    json_decref(lines);
}

static int ask(struct command *c, const char *path, bool planned)
{
    json_t *body = json_pack(
        "{s:o, s:o}", "discard", names_of(c, "--discard"), "drain", names_of(c, "--drain"));
    json_t *answer = NULL;
    int code = command_ask(c, "POST", path, body, &answer);

    json_decref(body);
    if (code != 0)
        return code;
    if (c->json)
        command_print_json(answer);
    else
        print_answer(c, answer, planned);
    json_decref(answer);
    return 0;
}

static int plan(struct command *c)
{
    return ask(c, "/v1/plan", true);
}

static int reload(struct command *c)
{
    return ask(c, "/v1/reload", false);
}

static const struct args_option options[] = {
    { "--discard", "NAME", "ROUTE or ROUTE/SINK that is gone: give up what is not finished" },
    { "--drain", "NAME", "ROUTE or ROUTE/SINK that is gone: finish it first, then it goes" },
    { NULL, NULL, NULL },
};

const struct verb verbs_reload[] = {
    { "plan", "", "what a reload would change, and what would stop it", "bascule plan", options, 0,
        0, plan },
    { "reload", "", "go over to the configuration files as they are now, wholly or not at all",
        "bascule reload --discard orders/old", options, 0, 0, reload },
    { 0 },
};
