#include "tests/sim/script.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TURNS 300
#define CRASHES_PER_MILLE 15

/* The word in a file, and how many numbers follow it. */
static const struct {
    const char *word;
    int numbers;
} words[ACTION_COUNT] = {
    [ACTION_SINKS] = { "sinks", 1 },
    [ACTION_POSITIONS] = { "positions", 0 },
    [ACTION_PER_KEY] = { "per-key", 1 },
    [ACTION_FALLBACK] = { "fallback", 0 },
    [ACTION_NACK] = { "nack", 2 },
    [ACTION_UNROUTABLE] = { "unroutable", 2 },
    [ACTION_LOSE] = { "lose", 2 },
    [ACTION_BROKER] = { "broker", 2 },
    [ACTION_TIMEOUT] = { "timeout", 2 },
    [ACTION_ECHO] = { "echo", 2 },
    [ACTION_REFUSE] = { "refuse", 2 },
    [ACTION_POISON] = { "poison", 2 },
    [ACTION_FOREVER] = { "forever", 1 },
    [ACTION_EXPIRE] = { "expire", 2 },
    [ACTION_RATE] = { "rate", 2 },
    [ACTION_GIVE_UP] = { "give-up", 1 },
    [ACTION_START] = { "start", 0 },
    [ACTION_TURN] = { "turn", 0 },
    [ACTION_STUCK] = { "stuck", 0 },
    [ACTION_PUBLISH] = { "publish", 1 },
    [ACTION_UP] = { "up", 1 },
    [ACTION_BLOCK] = { "block", 1 },
    [ACTION_SICK] = { "sick", 1 },
    [ACTION_PAUSE] = { "pause", 1 },
    [ACTION_RETRY] = { "retry", 1 },
    [ACTION_DROP] = { "drop", 1 },
    [ACTION_EDIT] = { "edit", 2 },
    [ACTION_MEND] = { "mend", 1 },
    [ACTION_REPLAY] = { "replay", 2 },
    [ACTION_REPLAY_VERB] = { "replay-verb", 2 },
    [ACTION_DRAIN] = { "drain", 1 },
    [ACTION_ROUTE_DRAIN] = { "route-drain", 0 },
    [ACTION_ROUTE_PAUSE] = { "route-pause", 0 },
    [ACTION_ROUTE_RESUME] = { "route-resume", 0 },
    [ACTION_BREAKER] = { "breaker", 2 },
    [ACTION_SILENT] = { "silent", 1 },
    [ACTION_SOURCE] = { "source", 0 },
    [ACTION_GAP] = { "gap", 0 },
    [ACTION_CLOCK] = { "clock", 2 },
    [ACTION_DISK_FULL] = { "disk-full", 0 },
    [ACTION_SYNC_FAILS] = { "sync-fails", 0 },
    [ACTION_WRITE_FAILS] = { "write-fails", 0 },
    [ACTION_STOP] = { "stop", 0 },
    [ACTION_CRASH] = { "crash", 0 },
    [ACTION_CRASH_COMMITTED] = { "crash-committed", 0 },
};

/* ---- a seed's script ---- */

static void add(struct script *s, enum action action, int a, int b)
{
    if (s->n < SCRIPT_LINES_MAX)
        s->lines[s->n] = (struct line){ action, (uint32_t)s->n, a, b };
    s->n += s->n < SCRIPT_LINES_MAX;
}

static int below(struct random *r, uint64_t limit)
{
    return (int)random_below(r, limit);
}

static void add_trouble(struct script *s, struct random *r, int sinks)
{
    static const struct {
        enum action action;
        uint64_t seldom, most;
    } troubles[] = {
        { ACTION_NACK, 3, 200 },
        { ACTION_UNROUTABLE, 3, 200 },
        { ACTION_LOSE, 2, 60 },
        { ACTION_BROKER, 3, 200 },
        { ACTION_TIMEOUT, 3, 100 },
        { ACTION_ECHO, 4, 100 },
    };

    for (int i = 0; i < sinks; i++) {
        for (size_t t = 0; t < sizeof troubles / sizeof *troubles; t++)
            if (random_below(r, troubles[t].seldom) == 0)
                add(s, troubles[t].action, i, 1 + below(r, troubles[t].most));
        if (random_below(r, 3) == 0)
            add(s, ACTION_REFUSE, i, 17);
        if (random_below(r, 4) == 0)
            add(s, ACTION_POISON, i, 23);
        if (random_below(r, 8) == 0)
            add(s, ACTION_FOREVER, i, 0);
        if (random_below(r, 8) == 0)
            add(s, ACTION_EXPIRE, i, 1 + below(r, 200));
        if (random_below(r, 8) == 0)
            add(s, ACTION_RATE, i, 10 + below(r, 100));
    }
}

/* What ends by itself or is ended by the next one of its kind comes once in 70 turns, what stops
 * much for long more seldom. */
static const struct {
    enum action action;
    uint64_t in_turns, numbers; /* of b; 0: none */
} deeds[] = {
    { ACTION_UP, 70, 0 },
    { ACTION_BLOCK, 70, 0 },
    { ACTION_SICK, 70, 0 },
    { ACTION_SILENT, 150, 0 },
    { ACTION_SOURCE, 150, 0 },
    { ACTION_GAP, 150, 0 },
    { ACTION_PUBLISH, 70, 0 },
    { ACTION_PAUSE, 70, 0 },
    { ACTION_DRAIN, 300, 0 },
    { ACTION_ROUTE_PAUSE, 300, 0 },
    { ACTION_ROUTE_DRAIN, 300, 0 },
    { ACTION_ROUTE_RESUME, 100, 0 },
    { ACTION_BREAKER, 150, 2 },
    { ACTION_RETRY, 70, 0 },
    { ACTION_DROP, 70, 0 },
    { ACTION_MEND, 100, 0 },
    { ACTION_REPLAY, 100, 1000 },
    { ACTION_REPLAY_VERB, 150, 96 },
    { ACTION_CLOCK, 300, 61 },
    { ACTION_DISK_FULL, 300, 0 },
    { ACTION_SYNC_FAILS, 600, 0 },
    { ACTION_WRITE_FAILS, 600, 0 },
};

static void add_deed(
    struct script *s, struct random *r, enum action action, int sinks, uint64_t numbers)
{
    int a = 0, b = 0;

    if (words[action].numbers)
        a = below(r, action == ACTION_PUBLISH ? 100 : (uint64_t)sinks);
    if (words[action].numbers > 1)
        b = below(r, numbers);
    add(s, action, a, b);
}

static void add_turn(struct script *s, struct random *r, int sinks)
{
    add(s, random_below(r, 3) ? ACTION_TURN : ACTION_STUCK, 0, 0);
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        if (random_below(r, deeds[i].in_turns) == 0)
            add_deed(s, r, deeds[i].action, sinks, deeds[i].numbers);
    if (random_below(r, 60) == 0)
        add(s, ACTION_EDIT, below(r, (uint64_t)sinks), below(r, 1000));
    if (random_below(r, 1000) < CRASHES_PER_MILLE)
        add(s, random_below(r, 2) ? ACTION_CRASH : ACTION_CRASH_COMMITTED, 0, 0);
    else if (random_below(r, 500) == 0)
        add(s, ACTION_STOP, 0, 0);
}

void script_make(struct script *s, uint64_t seed)
{
    struct random r = { seed };
    int sinks = 1 + below(&r, 3);

    *s = (struct script){ .seed = seed };
    add(s, ACTION_SINKS, sinks, 0);
    if (random_below(&r, 2))
        add(s, ACTION_POSITIONS, 0, 0);
    for (int i = 0; i < sinks; i++)
        if (random_below(&r, 2))
            add(s, ACTION_PER_KEY, i, 0);
    if (sinks == 3 && random_below(&r, 2))
        add(s, ACTION_FALLBACK, 0, 0);
    add_trouble(s, &r, sinks);
    if (random_below(&r, 3) == 0)
        add(s, ACTION_GIVE_UP, 13, 0);
    add(s, ACTION_START, 0, 0);
    add(s, ACTION_PUBLISH, 50 + below(&r, 300), 0);
    for (int i = 0; i < TURNS; i++)
        add_turn(s, &r, sinks);
}

uint64_t script_chance(const struct script *s, const struct line *l)
{
    struct random r = { s->seed ^ (uint64_t)l->number << 32 };

    return random_next(&r);
}

/* ---- as text ---- */

void script_print(const struct script *s, FILE *to)
{
    fprintf(to, "seed %" PRIu64 "\n", s->seed);
    for (size_t i = 0; i < s->n; i++) {
        const struct line *l = &s->lines[i];

        fprintf(to, "%" PRIu32 " %s", l->number, words[l->action].word);
        if (words[l->action].numbers > 0)
            fprintf(to, " %d", l->a);
        if (words[l->action].numbers > 1)
            fprintf(to, " %d", l->b);
        fputc('\n', to);
    }
}

static bool line_fits(const struct line *l)
{
    if (l->a < 0 || l->b < 0 || l->b > 1000)
        return false;
    if (l->action == ACTION_SINKS)
        return l->a >= 1 && l->a <= WORLD_SINKS_MAX;
    return l->action == ACTION_PUBLISH || l->action == ACTION_GIVE_UP || l->a < WORLD_SINKS_MAX;
}

static int line_read(const char *text, struct line *ret)
{
    char word[24];
    int n;

    *ret = (struct line){ 0 };
    n = sscanf(text, "%" SCNu32 " %23s %d %d", &ret->number, word, &ret->a, &ret->b);
    for (size_t i = 1; n >= 2 && i < ACTION_COUNT; i++)
        if (strcmp(word, words[i].word) == 0 && n == 2 + words[i].numbers)
            ret->action = (enum action)i;
    return ret->action != ACTION_NONE && line_fits(ret) ? 0 : -1;
}

/* Its sinks first, one start, and nothing on the wrong side of it. */
static bool place_fits(const struct script *s, enum action action)
{
    bool started = false;

    if (s->n == 0)
        return action == ACTION_SINKS;
    for (size_t i = 0; i < s->n; i++)
        started = started || s->lines[i].action == ACTION_START;
    return action != ACTION_SINKS && started == (action > ACTION_START);
}

int script_read(struct script *s, FILE *from)
{
    char text[128];
    int at = 1;

    *s = (struct script){ 0 };
    if (!fgets(text, sizeof text, from) || sscanf(text, "seed %" SCNu64, &s->seed) != 1)
        return at;
    for (at++; fgets(text, sizeof text, from); at++) {
        if (text[0] == '#' || text[0] == '\n')
            continue;
        if (s->n == SCRIPT_LINES_MAX || line_read(text, &s->lines[s->n]) != 0 ||
            !place_fits(s, s->lines[s->n].action))
            return at;
        s->n++;
    }
    return s->n && s->lines[s->n - 1].action >= ACTION_START ? 0 : at;
}

/* ---- shrinking ---- */

struct shrink {
    struct script *best;
    size_t left, asked;
    bool (*fails)(const struct script *s);
};

/* Keeps `smaller` when it still fails. */
static bool keep(struct shrink *k, const struct script *smaller)
{
    if (k->left == 0)
        return false;
    k->left--;
    k->asked++;
    if (!k->fails(smaller))
        return false;
    *k->best = *smaller;
    return true;
}

static bool needed(const struct line *l)
{
    return l->action == ACTION_SINKS || l->action == ACTION_START;
}

static bool without(const struct script *s, size_t from, size_t n, struct script *ret)
{
    *ret = *s;
    ret->n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (i < from || i >= from + n || needed(&s->lines[i]))
            ret->lines[ret->n++] = s->lines[i];
    return ret->n < s->n;
}

/* Runs of lines, long ones first (Zeller's delta debugging, with complements only), from the end:
 * what came after the failure goes at once. */
static bool shrink_lines(struct shrink *k)
{
    struct script *smaller = malloc(sizeof *smaller);
    bool any = false;

    for (size_t run = k->best->n; smaller && run > 0; run /= 2)
        for (size_t end = k->best->n; end > 0; end = end > run ? end - run : 0) {
            size_t from = end > run ? end - run : 0;

            if (from < k->best->n && without(k->best, from, end - from, smaller))
                any = keep(k, smaller) || any;
        }
    free(smaller);
    return any;
}

static bool shrink_numbers(struct shrink *k)
{
    struct script *smaller = malloc(sizeof *smaller);
    bool any = false;

    for (size_t i = 0; smaller && i < k->best->n; i++) {
        struct line *l = &k->best->lines[i];

        while (l->action == ACTION_PUBLISH && l->a > 1) {
            *smaller = *k->best;
            smaller->lines[i].a = l->a / 2;
            if (!keep(k, smaller))
                break;
            any = true;
        }
    }
    free(smaller);
    return any;
}

size_t script_shrink(struct script *s, size_t tries, bool (*fails)(const struct script *s))
{
    struct shrink k = { s, tries, 0, fails };
    bool again = true;

    while (again && k.left) {
        again = shrink_lines(&k);
        again = shrink_numbers(&k) || again;
    }
    return k.asked;
}
