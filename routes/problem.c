#include "routes/problem.h"
#include "routes/memory.h"
#include "routes/yaml.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct problem_entry problem_table[] = {
    { PROBLEM_FILE, false, "A file or directory could not be read.",
        "Check the path, and that the user `bascule` may read it and enter its directories." },
    { PROBLEM_FILE_SIZE, false, "A configuration file may have 1 MiB at most.",
        "Split it: routes may stand in files of their own, in routes.d beside it." },
    { PROBLEM_ENCODING, false, "Configuration files are UTF-8 text without NUL bytes.",
        "Save it as UTF-8; `iconv -f latin1 -t utf8` turns an older file into it." },
    { PROBLEM_SYNTAX, false, "The file is not YAML; the place is where reading stopped.",
        "Look at the place and the line above it: an indentation, a missing ':', a bracket or "
        "quote that is not closed." },
    { PROBLEM_DEPTH, false, "Lists and mappings may be nested 32 deep at most.",
        "Nothing here is nested that deep: a bracket or an indentation is wrong." },
    { PROBLEM_ALIAS, false, "Anchors, aliases and tags are not used; write the value out.",
        "Write the value where it is used. They are refused because a small file of them can "
        "unfold to gigabytes." },
    { PROBLEM_DUPLICATE_KEY, false, "A key stands twice in one mapping; one of them would be lost.",
        "Remove one of them, or put both into one list where the key takes one." },
    { PROBLEM_UNKNOWN_KEY, false, "The key is not known here.",
        "See the hint for the nearest name, bascule.yaml(5) and bascule-routes(5) for all; "
        "`bascule schema` lets an editor complete them." },
    { PROBLEM_VALUE, false, "The value is not of the key's type; sizes and durations carry units.",
        "Write it as the manual says: 64KiB, 10s, 500/s, true; quote what shall be text." },
    { PROBLEM_RANGE, false, "The value is out of the key's range.",
        "Choose one within the range that is told." },
    { PROBLEM_MISSING, false, "A key that must be given is missing.", "Add the key." },
    { PROBLEM_CHOICE, false, "The value is none of the names that the key takes.",
        "Take one of the names that are told." },
    { PROBLEM_PATH, false, "A file that the configuration names cannot be read.",
        "Check the path, and that the user `bascule` may read it; under systemd its sandbox counts "
        "too (ProtectHome=)." },
    { PROBLEM_SHAPE, false, "A mapping, a list or a single value stands where another is expected.",
        "Write a list as [a, b], a mapping as {a: b} or indented below its key." },
    { PROBLEM_ELSEWHERE, false, "The key belongs to another kind of connection or end.",
        "Remove it, or use the connection of the kind that has it." },
    { PROBLEM_SECRET, false, "A loaded value (env, file, credential) is missing or unreadable.",
        "Set the variable (Environment= of the unit), create the file, or add LoadCredential= and "
        "restart the unit; then reload." },
    { PROBLEM_SECRET_OPEN, true, "Every user of this host can read the secret; chmod 0600 it.",
        "chmod 0600 it, and give it to the user `bascule`; if it stood open for long, change the "
        "secret." },
    { PROBLEM_SECRET_LITERAL, true,
        "A secret stands in the configuration; load it by ${env:…}, ${file:…} or "
        "${credential:…}.",
        "Move it into a file of mode 0600 and write ${file:/path} in its place; change the secret "
        "if others could read the configuration." },
    { PROBLEM_REFERENCE, false, "${…} names something unknown, or has no end; $${ is a literal ${.",
        "Loaded values are env:NAME, file:PATH and credential:NAME, in templates also address, "
        "key, id, route and header.NAME; write $${ for a literal ${." },
    { PROBLEM_EVENT_VALUE, false,
        "The key is read once, when the configuration is loaded: no event exists then.",
        "Use it in keys that take templates (`topic`, `routing_key`, `channel`, `key`, `headers`), "
        "or write a fixed value here." },
    { PROBLEM_TEMPLATE, false, "A template cannot be used as it is written.",
        "See the text; a value that may be missing wants a default: ${header.x:-none}." },
    { PROBLEM_CONNECTION, false, "A source or sink names a connection that is not there.",
        "Name one of `connections:`, or add it there." },
    { PROBLEM_DUPLICATE_NAME, false, "Names are unique: connections, routes, sinks of one route.",
        "Rename one. A route that is renamed keeps its log by `was: OLDNAME`." },
    { PROBLEM_NAME, false,
        "Names are 1 to 64 of a-z, 0-9, '_', '.', '-', and begin with a letter or digit.",
        "Choose another name; names stand in metrics, logs and the names of events." },
    { PROBLEM_TYPE, false, "The connection's type is not known.",
        "Take one of the types that are told." },
    { PROBLEM_COMBINATION, false, "These keys do not go together.",
        "The text says which of them to leave out, or what belongs to them." },
    { PROBLEM_TWICE, false, "store, admin and log may stand in one file only.",
        "Keep it in one file, commonly bascule.yaml." },
    { PROBLEM_FALLBACK, false, "fallback: names a sink of the same route marked `only: fallback`.",
        "Mark the other sink `only: fallback`, and name it without its route." },
    { PROBLEM_RETRY, false, "The retry settings contradict each other.",
        "Let max_delay be at least base_delay, and factor at least 1." },
    { PROBLEM_WAS, false, "was: names what a route or sink was called before, which is gone.",
        "Take the name that `bascule status --json` lists under orphans, or remove `was`." },
    { PROBLEM_LOOP, true,
        "A route writes what it reads itself, or routes feed each other: events may go round. "
        "Servers are compared by host, port, virtual host and database, names with the patterns "
        "that are configured; what is bound at the broker alone is not seen.",
        "Read and write different places, or be sure that a filter ends the circle; through ends "
        "without headers the loop guard sees nothing." },
    { PROBLEM_UNUSED, true, "It is configured, but nothing uses it.",
        "Remove it, or use it in a route." },
    { PROBLEM_NO_EFFECT, true, "The setting has no effect here.",
        "Remove it, so that nobody relies on it." },
    { PROBLEM_MEMBER, true,
        "A user or group of that name is not known on this machine, so nobody gets the role by it.",
        "Write it as `getent passwd` or `getent group` does, or as a number." },
    { PROBLEM_RESTART, false, "A reload cannot change this key; restart the daemon.",
        "Put the old value back, or restart the daemon: sources wait for it, nothing is lost." },
    { PROBLEM_GONE, false,
        "A route or sink is gone from the configuration and something of it is not finished. Say "
        "what becomes of it: --drain NAME, --discard NAME, or was: in the YAML.",
        "`bascule plan` shows what is unfinished. --drain finishes it, --discard gives it up, "
        "`was:` keeps it under its new name." },
    { PROBLEM_GONE_NAME, false,
        "--discard and --drain take ROUTE or ROUTE/SINK, of what is gone from the configuration.",
        "Spell it as `bascule plan` does." },
    { PROBLEM_ROLE, false,
        "A sink cannot begin or cease to be `only: fallback`; give it another name.",
        "Give the sink another name; what the old one has is then gone from the files, see "
        "BSC-0151." },
    { PROBLEM_DRAIN, false,
        "Dead letters and replays do not drain: retry, drop or cancel them, or --discard.",
        "`bascule dlq ls --route R` and `bascule replay ls` list them." },
    { PROBLEM_MEMORY, false, "There was not enough memory to read the configuration.",
        "Give the unit or the machine more memory, then try again." },
    { 0 },
};

static const struct problem_entry *entry_find(int code)
{
    const struct problem_entry *e = problem_table;

    while (e->code && e->code != code)
        e++;
    return e;
}

size_t problem_distance(const char *a, const char *b)
{
    size_t rows[3][64] = { 0 };
    size_t an = strnlen(a, 63), bn = strnlen(b, 63);

    for (size_t j = 0; j <= bn; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= an; i++) {
        size_t *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= bn; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[an % 3][bn];
}

const char *problem_nearest(const char *name, const char *const *names)
{
    size_t best = strlen(name) / 3 + 2; /* one slip in a short name, a few in a long one */
    const char *ret = NULL;

    for (; *names; names++) {
        size_t distance = problem_distance(name, *names);

        if (distance < best && distance < strlen(*names)) {
            best = distance;
            ret = *names;
        }
    }
    return ret;
}

void problem_add(struct config_problems *p, enum problem_code code, struct config_place place,
    const char *format, ...)
{
    bool warning = entry_find((int)code)->warning;
    struct config_problem *one;
    va_list ap;

    p->error_count += !warning;
    if (p->n >= PROBLEM_COUNT_MAX)
        return;
    p->at = memory_grow(p->at, p->n, sizeof *p->at);
    one = &p->at[p->n++];
    *one = (struct config_problem){ .code = (int)code, .warning = warning, .place = place };
    one->place.file = memory_text(place.file ? place.file : "");
    va_start(ap, format);
    (void)vsnprintf(one->text, sizeof one->text, format, ap);
    va_end(ap);
}

void problem_hint(struct config_problems *p, const char *format, ...)
{
    va_list ap;

    /* Past the limit the last one kept is not the one that the hint is for. */
    if (p->n == 0 || p->n >= PROBLEM_COUNT_MAX)
        return;
    va_start(ap, format);
    (void)vsnprintf(p->at[p->n - 1].hint, sizeof p->at->hint, format, ap);
    va_end(ap);
}

static size_t file_index(const char *path, struct yaml_file *const *files, size_t count)
{
    size_t i = 0;

    while (i < count && (!files[i] || strcmp(files[i]->path, path) != 0))
        i++;
    return i;
}

struct ranked {
    size_t file, n;
    struct config_problem problem;
};

static int rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    const struct config_place *p = &x->problem.place, *q = &y->problem.place;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (p->line != q->line)
        return p->line < q->line ? -1 : 1;
    if (p->column != q->column)
        return p->column < q->column ? -1 : 1;
    return x->n < y->n ? -1 : 1;
}

void problem_finish(struct config_problems *p, struct yaml_file *const *files, size_t count)
{
    struct ranked *all = memory_array(p->n, sizeof *all);

    for (size_t i = 0; i < p->n; i++)
        all[i] = (struct ranked){ file_index(p->at[i].place.file, files, count), i, p->at[i] };
    qsort(all, p->n, sizeof *all, rank);
    for (size_t i = 0; i < p->n; i++) {
        p->at[i] = all[i].problem;
        if (all[i].file < count)
            yaml_file_line(
                files[all[i].file], p->at[i].place.line, p->at[i].line, sizeof p->at[i].line);
    }
    free(all);
}

void config_problems_done(struct config_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        free((char *)(uintptr_t)p->at[i].place.file);
    free(p->at);
    *p = (struct config_problems){ 0 };
}

/* The place counts characters; tabs and continuation bytes keep the caret under the right one. */
static void put_caret(const struct config_problem *p, struct buf *to)
{
    int column = 1;

    for (const char *c = p->line; *c && column < p->place.column; c++) {
        if (((unsigned char)*c & 0xc0) == 0x80)
            continue;
        buf_put_byte(to, *c == '\t' ? '\t' : ' ');
        column++;
    }
    buf_put_text(to, "^\n");
}

void config_problem_print(const struct config_problem *p, struct buf *to)
{
    buf_put_text(to, p->place.file ? p->place.file : "");
    if (p->place.line > 0)
        buf_put_format(to, ":%d:%d", p->place.line, p->place.column);
    buf_put_format(to, ": %s BSC-%04d: %s\n", p->warning ? "warning" : "error", p->code, p->text);
    if (p->line[0]) {
        buf_put_format(to, "    %s\n    ", p->line);
        put_caret(p, to);
    }
    if (p->hint[0])
        buf_put_format(to, "    %s\n", p->hint);
}
