/* explain: what a BSC-nnnn number of `bascule check` means. */
#include "bridge/cli/table.h"
#include "routes/problem.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static void print_entry(const struct command *c, const struct problem_entry *e)
{
    const char *kind = e->warning ? "warning" : "error";

    if (c->json) {
        char code[16];
        json_t *entry;

        (void)snprintf(code, sizeof code, "BSC-%04d", e->code);
        entry = json_pack("{s:s, s:s, s:s}", "code", code, "kind", kind, "text", e->text);
        (void)json_dumpf(entry, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        json_decref(entry);
    } else if (c->terminal) {
        printf("BSC-%04d %-7s  %s\n", e->code, kind, e->text);
    } else {
        printf("BSC-%04d\t%s\t%s\n", e->code, kind, e->text);
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

    if (word && code == 0)
        return command_fail(DAEMON_USAGE, "'%s' is not a number like BSC-0123", word);
    for (const struct problem_entry *e = problem_table; e->code; e++)
        if (!word || e->code == code) {
            print_entry(c, e);
            found = true;
        }
    return found ? DAEMON_OK : command_fail(DAEMON_DATA, "there is no BSC-%04d", code);
}

const struct verb verbs_explain[] = {
    { "explain", "[BSC-nnnn]", "what a number of `bascule check` means, or all of them",
        "bascule explain BSC-0110", NULL, 0, 1, explain },
    { 0 },
};
