#include "routes/template.h"
#include "bridge/base/header.h"
#include "routes/memory.h"
#include "routes/problem.h"

#include <stdlib.h>

enum part_kind {
    PART_NONE = 0,
    PART_LITERAL,
    PART_ADDRESS,
    PART_KEY,
    PART_ID,
    PART_ROUTE,
    PART_HEADER
};

struct part {
    enum part_kind kind;
    char *text;    /* PART_LITERAL: the bytes; else what the value is called, for people */
    char *header;  /* PART_HEADER: its name */
    char *missing; /* instead of a missing value; NULL: none */
};

struct template
{
    struct part *parts;
    size_t n;
};

static const struct {
    const char *name;
    enum part_kind kind;
} values[] = { { "address", PART_ADDRESS }, { "key", PART_KEY }, { "id", PART_ID },
    { "route", PART_ROUTE } };

static struct part *part_add(struct template *t, enum part_kind kind, const char *text, size_t n)
{
    t->parts = memory_grow(t->parts, t->n, sizeof *t->parts);
    t->parts[t->n] = (struct part){ .kind = kind, .text = memory_copy(text, n) };
    return &t->parts[t->n++];
}

static int value_unknown(const char *name, int offset, struct fault *why)
{
    static const char *const names[] = { "address", "key", "id", "route", "header", "header.NAME",
        NULL };
    const char *near = problem_nearest(name, names);

    if (!strncmp(name, "env:", 4) || !strncmp(name, "file:", 5) ||
        !strncmp(name, "credential:", 11))
        return fault_set(why, FAULT_INPUT, offset,
            "'${%.64s}' is loaded with the configuration; here are values of the event only", name);
    if (near)
        return fault_set(why, FAULT_INPUT, offset,
            "'${%.64s}' is no value of an event; did you mean '%s'?", name, near);
    return fault_set(why, FAULT_INPUT, offset,
        "'${%.64s}' is no value of an event: address, key, id, route, header.NAME", name);
}

/* What stands between ${ and }. `inside` is cut up. */
static int value_add(struct template *t, char *inside, int offset, struct fault *why)
{
    char *missing = strstr(inside, ":-");
    struct part *part;

    if (missing) {
        *missing = '\0';
        missing += 2;
    }
    if (!strncmp(inside, "header.", 7) && inside[7]) {
        part = part_add(t, PART_HEADER, inside, strlen(inside));
        part->header = memory_text(inside + 7);
        part->missing = missing ? memory_text(missing) : NULL;
        return 0;
    }
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (strcmp(values[i].name, inside) != 0)
            continue;
        part = part_add(t, values[i].kind, inside, strlen(inside));
        part->missing = missing ? memory_text(missing) : NULL;
        return 0;
    }
    return value_unknown(inside, offset, why);
}

static int compile(struct template *t, const char *text, struct fault *why)
{
    const char *at = text, *end;

    while (*at) {
        size_t n = strcspn(at, "$");
        char *inside;
        int failed;

        if (n == 0 && !strncmp(at, "$${", 3)) {
            (void)part_add(t, PART_LITERAL, "${", 2);
            at += 3;
            continue;
        }
        if (n > 0 || at[1] != '{') {
            n += n == 0; /* a dollar alone is itself */
            (void)part_add(t, PART_LITERAL, at, n);
            at += n;
            continue;
        }
        end = strchr(at, '}');
        if (!end)
            return fault_set(why, FAULT_INPUT, (int)(at - text), "'${' has no '}'");
        inside = memory_copy(at + 2, (size_t)(end - at - 2));
        failed = value_add(t, inside, (int)(at - text), why);
        free(inside);
        if (failed)
            return -1;
        at = end + 1;
    }
    return 0;
}

int template_open(const char *text, struct template **ret, struct fault *why)
{
    struct template *t = memory_array(1, sizeof *t);

    if (compile(t, text, why) != 0) {
        template_free(t);
        return -1;
    }
    *ret = t;
    return 0;
}

void template_free(struct template *t)
{
    for (size_t i = 0; t && i < t->n; i++) {
        memory_wipe(t->parts[i].text); /* loaded values stand in it */
        free(t->parts[i].header);
        memory_wipe(t->parts[i].missing);
    }
    if (t)
        free(t->parts);
    free(t);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool template_same(const struct template *a, const struct template *b)
{
    bool same = a && b ? a->n == b->n : a == b;

    for (size_t i = 0; same && a && i < a->n; i++) {
        const struct part *x = &a->parts[i], *y = &b->parts[i];

        same = x->kind == y->kind && same_text(x->text, y->text) &&
               same_text(x->header, y->header) && same_text(x->missing, y->missing);
    }
    return same;
}

bool template_fixed(const struct template *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->parts[i].kind != PART_LITERAL)
            return false;
    }
    return true;
}

static int header_render(const struct part *part, const struct event *e, struct buf *to)
{
    struct header h;

    if (!header_find(e->headers, bytes_text(part->header), &h))
        return -1;
    return header_value_text(&h.value, to);
}

static int bytes_render(struct bytes value, struct buf *to)
{
    if (!bytes_present(value))
        return -1;
    buf_put_bytes(to, value);
    return 0;
}

static int part_render(
    const struct part *part, const struct event *e, const char *route, struct buf *to)
{
    switch (part->kind) {
    case PART_ADDRESS:
        return bytes_render(e->address, to);
    case PART_KEY:
        return bytes_render(e->key, to);
    case PART_ID:
        return bytes_render(event_id(e), to);
    case PART_ROUTE:
        return bytes_render(bytes_text(route), to);
    case PART_HEADER:
        return header_render(part, e, to);
    default:
        buf_put_text(to, part->text);
        return 0;
    }
}

int template_render(const struct template *t, const struct event *e, const char *route,
    struct buf *to, const char **missing)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct part *part = &t->parts[i];

        if (part_render(part, e, route, to) == 0)
            continue;
        if (!part->missing) {
            if (missing)
                *missing = part->text;
            return 1;
        }
        buf_put_text(to, part->missing);
    }
    return 0;
}
