#include "routes/yaml.h"
#include "routes/memory.h"
#include "routes/problem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

struct reading {
    struct yaml_file *file;
    struct config_problems *problems;
    yaml_parser_t parser;
    struct yaml_node *open[YAML_DEPTH_MAX]; /* lists and maps around the current place */
    size_t depth;
    char *name; /* a key whose value comes next */
    int name_line, name_column;
};

struct config_place yaml_place(const struct yaml_file *f, const struct yaml_node *node)
{
    return (struct config_place){ f->path, node->line, node->column };
}

struct config_place yaml_name_place(const struct yaml_file *f, const struct yaml_node *node)
{
    if (!node->name)
        return yaml_place(f, node);
    return (struct config_place){ f->path, node->name_line, node->name_column };
}

static struct config_place mark_place(const struct reading *r, const yaml_mark_t *mark)
{
    return (struct config_place){ r->file->path, (int)mark->line + 1, (int)mark->column + 1 };
}

/* ---- bytes ---- */

/* Length of the UTF-8 character at `at`, 0 when it is none (overlong, surrogate, past U+10FFFF). */
static size_t character_bytes(const unsigned char *at, size_t n)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t bytes = *at < 0x80             ? 1
                   : (*at & 0xe0) == 0xc0 ? 2
                   : (*at & 0xf0) == 0xe0 ? 3
                   : (*at & 0xf8) == 0xf0 ? 4
                                          : 0;
    uint32_t code = bytes > 1 ? *at & (0x7fu >> bytes) : *at;

    if (bytes == 0 || bytes > n)
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    if (code < least[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    return bytes;
}

static bool encoding_check(struct yaml_file *f, struct config_problems *problems)
{
    const unsigned char *at = (const unsigned char *)f->text;
    int line = 1, column = 1;

    for (size_t i = 0; i < f->n;) {
        struct config_place place = { f->path, line, column };
        size_t bytes = character_bytes(at + i, f->n - i);

        if (at[i] == 0 || bytes == 0) {
            problem_add(problems, PROBLEM_ENCODING, place,
                at[i] ? "byte 0x%02x is not UTF-8" : "NUL byte (0x%02x)", at[i]);
            return false;
        }
        column = at[i] == '\n' ? 1 : column + 1;
        line += at[i] == '\n';
        i += bytes;
    }
    return true;
}

/* ---- tree ---- */

static void node_free(struct yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n; i++)
        node_free(node->items[i]);
    free(node->items);
    free(node->name);
    memory_wipe(node->text);
    free(node);
}

static int by_name(const void *a, const void *b)
{
    const struct yaml_node *x = *(struct yaml_node *const *)a, *y = *(struct yaml_node *const *)b;
    int order = strcmp(x->name, y->name);

    if (order != 0)
        return order;
    if (x->name_line != y->name_line)
        return x->name_line < y->name_line ? -1 : 1;
    return x->name_column < y->name_column ? -1 : x->name_column > y->name_column;
}

/* Sorted, so that a file full of keys costs no square. */
static void duplicates_check(struct reading *r, const struct yaml_node *map)
{
    struct yaml_node **sorted = memory_array(map->n, sizeof *sorted);

    if (map->n)
        memcpy(sorted, map->items, map->n * sizeof *sorted);
    qsort(sorted, map->n, sizeof *sorted, by_name);
    for (size_t i = 1; i < map->n; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) != 0)
            continue;
        problem_add(r->problems, PROBLEM_DUPLICATE_KEY, yaml_name_place(r->file, sorted[i]),
            "'%.64s' stands twice; first in line %d, column %d", sorted[i]->name,
            sorted[i - 1]->name_line, sorted[i - 1]->name_column);
        yaml_file_hide(r->file, sorted[i]); /* nobody will look what kind of value it is */
    }
    free(sorted);
}

/* Takes the node. */
static void node_attach(struct reading *r, struct yaml_node *node)
{
    struct yaml_node *around = r->depth ? r->open[r->depth - 1] : NULL;

    node->name = r->name;
    node->name_line = r->name_line;
    node->name_column = r->name_column;
    r->name = NULL;
    if (!around) {
        r->file->root = node;
        return;
    }
    around->items = memory_grow(around->items, around->n, sizeof *around->items);
    around->items[around->n++] = node;
}

static struct yaml_node *node_new(enum yaml_kind kind, const yaml_event_t *event)
{
    struct yaml_node *node = memory_array(1, sizeof *node);

    node->kind = kind;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    node->end_line = (int)event->end_mark.line + 1;
    node->end_column = (int)event->end_mark.column + 1;
    return node;
}

static int marks_check(
    struct reading *r, const yaml_event_t *event, const void *anchor, const void *tag)
{
    if (!anchor && !tag)
        return 0;
    problem_add(r->problems, PROBLEM_ALIAS, mark_place(r, &event->start_mark),
        anchor ? "anchors (&name) are not used here" : "tags (!name) are not used here");
    return -1;
}

static int scalar_take(struct reading *r, const yaml_event_t *event)
{
    const struct yaml_node *around = r->depth ? r->open[r->depth - 1] : NULL;
    const char *text = (const char *)event->data.scalar.value;
    size_t n = event->data.scalar.length;
    struct yaml_node *node;

    if (marks_check(r, event, event->data.scalar.anchor, event->data.scalar.tag) != 0)
        return -1;
    if (memchr(text, 0, n)) { /* "\0" in double quotes */
        problem_add(r->problems, PROBLEM_ENCODING, mark_place(r, &event->start_mark),
            "the text holds a NUL");
        return -1;
    }
    if (around && around->kind == YAML_MAP && !r->name) {
        r->name = memory_copy(text, n);
        r->name_line = (int)event->start_mark.line + 1;
        r->name_column = (int)event->start_mark.column + 1;
        return 0;
    }
    node = node_new(YAML_TEXT, event);
    node->text = memory_copy(text, n);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node_attach(r, node);
    return 0;
}

static int group_take(struct reading *r, const yaml_event_t *event, enum yaml_kind kind)
{
    const struct yaml_node *around = r->depth ? r->open[r->depth - 1] : NULL;
    struct yaml_node *node;

    if (around && around->kind == YAML_MAP && !r->name) {
        problem_add(r->problems, PROBLEM_SHAPE, mark_place(r, &event->start_mark),
            "a key must be text, not a list or mapping");
        return -1;
    }
    if (r->depth == YAML_DEPTH_MAX) {
        problem_add(r->problems, PROBLEM_DEPTH, mark_place(r, &event->start_mark),
            "nested more than %d deep", YAML_DEPTH_MAX);
        return -1;
    }
    node = node_new(kind, event);
    node_attach(r, node);
    r->open[r->depth++] = node;
    return 0;
}

static void group_end(struct reading *r, const yaml_event_t *event)
{
    struct yaml_node *node = r->open[--r->depth];

    node->end_line = (int)event->end_mark.line + 1;
    node->end_column = (int)event->end_mark.column + 1;
    if (node->kind == YAML_MAP)
        duplicates_check(r, node);
}

/* Returns 1 at the end, 0 to go on, -1 when a problem was added that ends the reading. */
static int event_take(struct reading *r, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return scalar_take(r, event);
    case YAML_SEQUENCE_START_EVENT:
        if (marks_check(
                r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag) != 0)
            return -1;
        return group_take(r, event, YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        if (marks_check(
                r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag) != 0)
            return -1;
        return group_take(r, event, YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        group_end(r, event);
        return 0;
    case YAML_ALIAS_EVENT:
        problem_add(r->problems, PROBLEM_ALIAS, mark_place(r, &event->start_mark),
            "aliases (*name) are not used here");
        return -1;
    case YAML_DOCUMENT_START_EVENT:
        if (!r->file->root)
            return 0;
        problem_add(r->problems, PROBLEM_SYNTAX, mark_place(r, &event->start_mark),
            "a second document (---) in one file");
        return -1;
    default:
        return event->type == YAML_STREAM_END_EVENT;
    }
}

static void syntax_problem(struct reading *r)
{
    const yaml_parser_t *p = &r->parser;

    problem_add(r->problems, PROBLEM_SYNTAX, mark_place(r, &p->problem_mark), "%s%s%s",
        p->problem ? p->problem : "cannot be read", p->context ? ", " : "",
        p->context ? p->context : "");
}

static void parse(struct yaml_file *f, struct config_problems *problems)
{
    struct reading r = { .file = f, .problems = problems };
    int end = 0;

    if (!yaml_parser_initialize(&r.parser)) {
        problem_add(
            problems, PROBLEM_FILE, (struct config_place){ f->path, 0, 0 }, "out of memory");
        return;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)f->text, f->n);
    while (end == 0) {
        yaml_event_t event;

        if (!yaml_parser_parse(&r.parser, &event)) {
            syntax_problem(&r);
            break;
        }
        end = memory_failed() ? -1 : event_take(&r, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&r.parser);
    free(r.name);
    if (end != 1) { /* half a tree would only raise problems that are none */
        node_free(f->root);
        f->root = NULL;
    }
}

/* ---- files ---- */

struct yaml_file *yaml_file_open_text(
    const char *path, const void *text, size_t n, struct config_problems *problems)
{
    struct yaml_file *f = memory_array(1, sizeof *f);

    f->path = memory_text(path);
    if (n > YAML_FILE_BYTES_MAX) {
        problem_add(problems, PROBLEM_FILE_SIZE, (struct config_place){ path, 0, 0 },
            "the file is larger than %d bytes", YAML_FILE_BYTES_MAX);
        return f;
    }
    f->text = memory_copy(text, n);
    f->n = n;
    if (encoding_check(f, problems))
        parse(f, problems);
    return f;
}

struct yaml_file *yaml_file_open(const char *path, struct config_problems *problems)
{
    /* One byte more than allowed tells a file that is too large; no size is believed beforehand. */
    char *text = memory_array(YAML_FILE_BYTES_MAX + 1, 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct yaml_file *f;
    ssize_t got = fd < 0 ? -1 : 1;
    size_t n = 0;

    while (got > 0 && n <= YAML_FILE_BYTES_MAX) {
        got = read(fd, text + n, YAML_FILE_BYTES_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        problem_add(problems, PROBLEM_FILE, (struct config_place){ path, 0, 0 },
            "cannot be read: %s", strerror(errno));
    f = yaml_file_open_text(path, text, got < 0 ? 0 : n, problems);
    if (fd >= 0)
        (void)close(fd);
    explicit_bzero(text, n);
    free(text);
    return f;
}

void yaml_file_free(struct yaml_file *f)
{
    if (!f)
        return;
    node_free(f->root);
    memory_wipe(f->text);
    free(f->secrets);
    free(f->path);
    free(f);
}

void yaml_file_hide(struct yaml_file *f, const struct yaml_node *node)
{
    for (size_t i = 0; i < node->n; i++)
        yaml_file_hide(f, node->items[i]);
    if (node->kind != YAML_TEXT)
        return;
    f->secrets = memory_grow(f->secrets, f->secret_count, sizeof *f->secrets);
    f->secrets[f->secret_count++] =
        (struct yaml_secret){ node->line, node->column, node->end_line, node->end_column };
}

const struct yaml_node *yaml_get(const struct yaml_node *node, const char *name)
{
    for (size_t i = 0; node && node->kind == YAML_MAP && i < node->n; i++) {
        if (strcmp(node->items[i]->name, name) == 0)
            return node->items[i];
    }
    return NULL;
}

const char *yaml_kind_text(const struct yaml_node *node)
{
    return node->kind == YAML_MAP ? "a mapping" : node->kind == YAML_LIST ? "a list" : "text";
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_TEXT && !node->quoted &&
           (!node->text[0] || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}
