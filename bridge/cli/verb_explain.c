/* explain: what a BSC-nnnn number of `bascule check` or `bascule doctor` means, and what to do. */
#include "bridge/cli/doctor.h"
#include "bridge/cli/table.h"
#include "routes/problem.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

struct entry {
    int code;
    const char *kind, *name, *text, *todo;
};

/* The n-th of all: problems, then checks. */
static bool entry_at(size_t n, struct entry *ret)
{
    const struct problem_entry *p = problem_table;
    const struct doctor_check *c = doctor_table;

    for (; n && p->code; n--)
        p++;
    if (p->code) {
        *ret = (struct entry){ p->code, p->warning ? "warning" : "error", "", p->text, p->todo };
        return true;
    }
    for (; n && c->code; n--)
        c++;
    *ret = (struct entry){ c->code, "check", c->name, c->means, c->todo };
    return c->code != 0;
}

static void print_entry(const struct command *c, const struct entry *e)
{
    if (c->json) {
        char code[16];
        json_t *entry;

        (void)snprintf(code, sizeof code, "BSC-%04d", e->code);
        entry = json_pack("{s:s, s:s, s:s, s:s, s:s}", "code", code, "kind", e->kind, "name",
            e->name, "text", e->text, "todo", e->todo);
        (void)json_dumpf(entry, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        json_decref(entry);
    } else if (c->terminal) {
        printf("BSC-%04d  %s%s%s\n  %s\n  To do: %s\n", e->code, e->kind, *e->name ? ": " : "",
            e->name, e->text, e->todo);
    } else {
        printf("BSC-%04d\t%s\t%s%s%s\t%s\n", e->code, e->kind, e->name, *e->name ? ": " : "",
            e->text, e->todo);
    }
}

/* "BSC-0123", "bsc-123", "123"; 0 when it is none of these. */
static int code_of(const char *word)
{
    char end;
    int code;

    if (strncasecmp(word, "BSC-", 4) == 0)
        word += 4;
    return isdigit((unsigned char)*word) && sscanf(word, "%6d%c", &code, &end) == 1 ? code : 0;
}

static int explain(struct command *c)
{
    const char *word = c->args.rest_count ? c->args.rest[0] : NULL;
    int code = word ? code_of(word) : 0;
    bool found = false;
    struct entry e;

    if (word && code == 0)
        return command_fail(DAEMON_USAGE, "'%s' is not a number like BSC-0123", word);
    for (size_t n = 0; entry_at(n, &e); n++)
        if (!word || e.code == code) {
            print_entry(c, &e);
            found = true;
        }
    return found ? DAEMON_OK : command_fail(DAEMON_DATA, "there is no BSC-%04d", code);
}

const struct verb verbs_explain[] = {
    { "explain", "[BSC-nnnn]",
        "what a number of `bascule check` or `bascule doctor` means and what to do, or all of them",
        "bascule explain BSC-0110", NULL, 0, 1, explain },
    { 0 },
};
