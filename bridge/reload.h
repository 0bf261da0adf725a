/* Another configuration for the running daemon: reads the files on a thread of its own, compares,
 * goes over, and remembers how that ended. */
#ifndef BASCULE_RELOAD_H
#define BASCULE_RELOAD_H

#include "routes/relay.h"

struct reload;

struct reload_spec {
    const char *path;    /* of the configuration's first file; NULL: it cannot be read again */
    struct relay *relay; /* kept, as the store */
    struct store *store;
};

enum reload_kind { RELOAD_NONE = 0, RELOAD_PLAN, RELOAD_GO };

struct reload_ask {
    enum reload_kind kind;
    struct relay_reload_ask names; /* copied */
    int64_t uid, pid;              /* who asks; -1: a signal */
};

enum reload_outcome {
    RELOAD_OUTCOME_NONE = 0,
    RELOAD_PLANNED, /* a plan that a reload would do */
    RELOAD_DONE,
    RELOAD_REFUSED, /* by the files, or by what would be lost: see problems */
    RELOAD_FAILED,  /* while going over; everything is as before */
};

struct reload_result {
    enum reload_kind kind;
    enum reload_outcome outcome;
    int64_t unix_ms;  /* when it ended */
    char hash[65];    /* of the files as read; "" when they could not be */
    char text[512];   /* a sentence */
    const char *note; /* what this reload could not take up; NULL: nothing */
    struct relay_plan plan;
    struct config_problems problems; /* warnings too */
};

int reload_open(const struct reload_spec *spec, struct reload **ret, struct fault *why);
/* Before the relay. Waits for the thread. */
void reload_free(struct reload *l);
/* Readable when the thread is done. */
int reload_pollfd(const struct reload *l);
/* FAULT_RETRY: another one is in progress. */
int reload_begin(struct reload *l, const struct reload_ask *ask, struct fault *why);
bool reload_busy(const struct reload *l);
/* After relay_turn(). Returns true when it has just ended. *old: the configuration that runs no
 * more, the caller's; else NULL. */
bool reload_turn(struct reload *l, int64_t unix_ms, struct config **old);
/* Of the one that ended last, and of the last one that was not a plan; outcome NONE: there was
 * none.
 */
const struct reload_result *reload_last(const struct reload *l);
void reload_last_go(
    const struct reload *l, enum reload_outcome *outcome, int64_t *unix_ms, const char **text);
const char *reload_outcome_text(enum reload_outcome outcome);

#endif
