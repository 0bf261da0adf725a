/* A run of the simulation as a list of lines: what the bridge is, what trouble its brokers make,
 * and one line per turn, publish, outage or crash. A seed makes one; a failing one is shrunk to
 * what it needs, printed, and read again from a file. Each line draws its chances from its own
 * number, so that a line that is taken out leaves those of the others as they were. */
#ifndef BASCULE_SCRIPT_H
#define BASCULE_SCRIPT_H

#include "tests/sim/world.h"

#include <stdio.h>

#define SCRIPT_LINES_MAX 2048

enum action {
    ACTION_NONE = 0,
    /* Before the start. `a`, `b`: their numbers. */
    ACTION_SINKS,     /* a */
    ACTION_POSITIONS, /* the source goes on from a stored position */
    ACTION_PER_KEY,   /* sink a: one in flight per key */
    ACTION_FALLBACK,  /* the last sink is the first one's fallback */
    ACTION_NACK,      /* sink a: b in 1000 messages, as all up to ECHO */
    ACTION_UNROUTABLE,
    ACTION_LOSE,
    ACTION_BROKER,
    ACTION_TIMEOUT,
    ACTION_ECHO,
    ACTION_REFUSE, /* sink a: each b-th event */
    ACTION_POISON,
    ACTION_FOREVER, /* sink a: max_attempts 0 */
    ACTION_EXPIRE,  /* sink a: expire_after b * 20 ms */
    ACTION_RATE,    /* sink a: b * 10 events a second */
    ACTION_GIVE_UP, /* the source's broker gives up each a-th event */
    ACTION_START,
    /* After it. */
    ACTION_TURN,
    ACTION_STUCK,   /* a turn in which the store does nothing */
    ACTION_PUBLISH, /* a events */
    ACTION_UP,      /* sink a: up, or down if it was up; so the next two */
    ACTION_BLOCK,
    ACTION_SICK,
    ACTION_PAUSE,       /* sink a, by a person; or it goes on */
    ACTION_RETRY,       /* sink a: a person's retry of its first dead letter */
    ACTION_DROP,        /* sink a: a person drops its first dead letter */
    ACTION_EDIT,        /* sink a: the files change, b says what, and are loaded */
    ACTION_MEND,        /* sink a: a person edits its first dead letter */
    ACTION_REPLAY,      /* sink a: a part of the log again, b says which */
    ACTION_REPLAY_VERB, /* b says which replay, and what of it */
    ACTION_DRAIN,       /* sink a, by a person */
    ACTION_ROUTE_DRAIN,
    ACTION_ROUTE_PAUSE,
    ACTION_ROUTE_RESUME, /* with its sinks, whatever held them */
    ACTION_BREAKER,      /* sink a: open (b 1) or closed by hand */
    ACTION_SILENT,       /* sink a: takes and does not answer, or answers again */
    ACTION_SOURCE,       /* the source's connection is lost, or back */
    ACTION_GAP,          /* the source missed something */
    ACTION_CLOCK,        /* the wall clock steps, b - 30 hours */
    ACTION_DISK_FULL,    /* or has room again */
    ACTION_SYNC_FAILS,   /* until the process has ended and begun anew */
    ACTION_WRITE_FAILS,
    ACTION_STOP, /* an orderly end and a new start */
    ACTION_CRASH,
    ACTION_CRASH_COMMITTED, /* after a commit of which nobody heard */
    ACTION_COUNT
};

struct line {
    enum action action;
    uint32_t number; /* its place in the first form of the script */
    int a, b;
};

struct script {
    uint64_t seed;
    size_t n;
    struct line lines[SCRIPT_LINES_MAX];
};

void script_make(struct script *s, uint64_t seed);
/* The state of the world's random numbers for one line. */
uint64_t script_chance(const struct script *s, const struct line *l);
void script_print(const struct script *s, FILE *to);
/* Returns 0, or the number of the line that cannot be. */
int script_read(struct script *s, FILE *from);
/* Takes out lines and lowers numbers as long as `fails` says that it still does, at most `tries`
 * times. Returns how often it asked. */
size_t script_shrink(struct script *s, size_t tries, bool (*fails)(const struct script *s));

#endif
