#include "bridge/links/overlap.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 1024 /* names of brokers end at 255 bytes; a template may be longer */

/* A pattern as a line of steps: what one byte may be, and whether it may be left out or repeated.
 */
enum step_kind {
    STEP_END = 0,
    STEP_BYTE,    /* this one */
    STEP_ONE,     /* any */
    STEP_ONE_BUT, /* any except a dot */
    STEP_ANY,     /* any number of any */
    STEP_ANY_BUT, /* any number of any except a dot */
    STEP_OPTION,  /* the two steps after it may be left out */
};

struct step {
    enum step_kind kind;
    char byte;
};

struct line {
    struct step at[STEPS_MAX];
    size_t n;
    bool cut;
};

static void put(struct line *l, enum step_kind kind, char byte)
{
    if (l->n + 1 < STEPS_MAX)
        l->at[l->n++] = (struct step){ kind, byte };
    else
        l->cut = true;
}

static const char *put_template(struct line *l, const char *p)
{
    const char *end = p[0] == '$' && p[1] == '{' ? strchr(p, '}') : NULL;

    put(l, end ? STEP_ANY : STEP_BYTE, *p);
    return end ? end + 1 : p + 1;
}

static const char *put_glob(struct line *l, const char *p)
{
    const char *end = *p == '[' ? strchr(p + 1, ']') : NULL;

    if (*p == '\\' && p[1])
        put(l, STEP_BYTE, *++p);
    else
        put(l, *p == '*' ? STEP_ANY : *p == '?' || end ? STEP_ONE : STEP_BYTE, *p);
    return end ? end + 1 : p + 1;
}

static bool is_word(const char *p, const char *start, char what)
{
    return *p == what && (p == start || p[-1] == '.') && (p[1] == '.' || !p[1]);
}

/* "#" with the dot on one side of it may be nothing at all: "a.#" fits "a". */
static const char *put_amqp(struct line *l, const char *p, const char *start)
{
    if (*p == '.' && is_word(p + 1, start, '#')) {
        put(l, STEP_OPTION, 0);
        put(l, STEP_BYTE, '.');
        put(l, STEP_ANY, 0);
        return p + 2;
    }
    if (is_word(p, start, '#') && p[1]) {
        put(l, STEP_OPTION, 0);
        put(l, STEP_ANY, 0);
        put(l, STEP_BYTE, '.');
        return p + 2;
    }
    put(l,
        is_word(p, start, '#')   ? STEP_ANY
        : is_word(p, start, '*') ? STEP_ANY_BUT
                                 : STEP_BYTE,
        *p);
    return p + 1;
}

static const char *put_nats(struct line *l, const char *p, const char *start)
{
    bool all = is_word(p, start, '>'), one = is_word(p, start, '*');

    if (all || one)
        put(l, all ? STEP_ONE : STEP_ONE_BUT, 0);
    put(l, all ? STEP_ANY : one ? STEP_ANY_BUT : STEP_BYTE, *p);
    return p + 1;
}

static void line_init(struct line *l, enum overlap_kind kind, const char *text)
{
    l->n = 0;
    l->cut = false;
    for (const char *p = text; *p && !l->cut;)
        p = kind == OVERLAP_TEMPLATE ? put_template(l, p)
            : kind == OVERLAP_GLOB   ? put_glob(l, p)
            : kind == OVERLAP_AMQP   ? put_amqp(l, p, text)
            : kind == OVERLAP_NATS   ? put_nats(l, p, text)
                                     : (put(l, STEP_BYTE, *p), p + 1);
    l->at[l->n].kind = STEP_END;
}

static bool repeats(const struct step *s)
{
    return s->kind == STEP_ANY || s->kind == STEP_ANY_BUT;
}

static bool common(const struct step *a, const struct step *b)
{
    bool no_dot = a->kind == STEP_ONE_BUT || a->kind == STEP_ANY_BUT || b->kind == STEP_ONE_BUT ||
                  b->kind == STEP_ANY_BUT;

    if (a->kind == STEP_END || b->kind == STEP_END || a->kind == STEP_OPTION ||
        b->kind == STEP_OPTION)
        return false;
    if (a->kind == STEP_BYTE && b->kind == STEP_BYTE)
        return a->byte == b->byte;
    return !(no_dot && ((a->kind == STEP_BYTE && a->byte == '.') ||
                           (b->kind == STEP_BYTE && b->byte == '.')));
}

/* Every place pair that can be reached lies behind the one it is reached from, so one pass over the
 * table in order finds them all. */
static void walk(const struct line *a, const struct line *b, size_t i, size_t j, bool *table)
{
    const struct step *x = &a->at[i], *y = &b->at[j];
    size_t width = b->n + 1;

    if (x->kind == STEP_OPTION || repeats(x))
        table[(i + 1) * width + j] = true;
    if (x->kind == STEP_OPTION)
        table[(i + 3) * width + j] = true;
    if (y->kind == STEP_OPTION || repeats(y))
        table[i * width + j + 1] = true;
    if (y->kind == STEP_OPTION)
        table[i * width + j + 3] = true;
    if (common(x, y))
        table[(i + !repeats(x)) * width + j + !repeats(y)] = true;
}

static bool lines_meet(const struct line *a, const struct line *b)
{
    size_t n = (a->n + 1) * (b->n + 1);
    bool *table, met;

    /* Most pairs of a large configuration part at their first byte. */
    if (a->at[0].kind == STEP_BYTE && b->at[0].kind == STEP_BYTE && a->at[0].byte != b->at[0].byte)
        return false;
    table = calloc(n, sizeof *table);
    if (!table)
        return true;
    table[0] = true;
    for (size_t at = 0; at < n; at++)
        if (table[at])
            walk(a, b, at / (b->n + 1), at % (b->n + 1), table);
    met = table[n - 1];
    free(table);
    return met;
}

bool overlap(enum overlap_kind a_kind, const char *a, enum overlap_kind b_kind, const char *b)
{
    struct line x, y;

    line_init(&x, a_kind, a);
    line_init(&y, b_kind, b);
    return x.cut || y.cut || lines_meet(&x, &y);
}
