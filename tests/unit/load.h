/* A store under load, what of it was acknowledged, and a judge of what a crash left: for the tests
 * of power cuts and of kills. */
#ifndef BASCULE_TESTS_LOAD_H
#define BASCULE_TESTS_LOAD_H

#include "bridge/base/random.h"
#include "tests/unit/store_rig.h"

#define LOAD_ROUTES 2
#define LOAD_RETAIN_MS 300000 /* of the second route */

/* What was submitted, or what of it was acknowledged. */
struct load_sum {
    uint64_t next, frontier, held;
};

struct load {
    struct store *store;
    struct random dice;
    int64_t now_ms;
    uint64_t route_id[LOAD_ROUTES], sink_id[LOAD_ROUTES];
    struct load_sum asked[LOAD_ROUTES], acked[LOAD_ROUTES];
    bool known;      /* the routes are there for sure */
    bool broken;     /* a write failed, and the store took no more */
    bool stays_open; /* steps do not close and open it */
    uint64_t copied; /* of route 0 in the backup that is done; 0: none */
    int backups;
    void (*judge)(struct load *w);
};

void load_begin(struct load *w, uint64_t seed);
/* A small WAL, so that it is copied and begun again often. */
void load_open(struct load *w);
/* Some seconds of a made-up clock: events, cursors, held events; now and then housekeeping, and an
 * end with a start behind it. `small`: chunks of one event. */
void load_step(struct load *w, bool small);
void load_append(struct load *w, size_t route, bool single);
void load_commit(struct load *w);
void load_keep_house(struct load *w);
/* A whole backup, "copy-N.db", under load. */
void load_back_up(struct load *w);

/* In the directory of what is left: all that was acknowledged is there, whole, and it goes on. */
void load_judge(struct load *w);
void load_judge_route(struct store *s, struct load *w, size_t route, struct load_sum *found);
/* Of a store that began as old_stores_put(0): old or new, and the copy is there when it is new. */
void load_judge_upgrade(struct load *w);
void load_no_damage(void *arg, int severity, const char *line);
/* A number of the environment. */
int64_t load_setting(const char *name, int64_t otherwise);

#endif
