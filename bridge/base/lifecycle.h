/* What happens to the bridge itself, told as JSON to the routes that read it (`from: { internal
 * }`).
 *
 * Whoever causes something says it here and goes on: it costs no I/O, waits for nobody, and nothing
 * at all while nobody listens. Readers take it when they can. What happens often is folded: for
 * each subject the first is told at once, then at most one a second that says how many there were.
 * Loop thread only. */
#ifndef BASCULE_LIFECYCLE_H
#define BASCULE_LIFECYCLE_H

#include "bridge/base/buf.h"
#include "bridge/base/option.h"

/* What was told and is not read by all yet; past that the oldest is lost to those that did not read
 * it, and they hear how many. About 6000 of them: a bridge of 3000 routes starts within it. */
#define LIFECYCLE_BYTES_MAX (4 << 20)
/* At most one of a subject in this time. */
#define LIFECYCLE_FOLD_MS 1000

enum lifecycle_kind {
    LIFECYCLE_NONE = 0,
    LIFECYCLE_REGISTERED,
    LIFECYCLE_UNREGISTERED,
    LIFECYCLE_HEALTH_CHECK,
    LIFECYCLE_BREAKER_OPENED,
    LIFECYCLE_BREAKER_CLOSED,
    LIFECYCLE_RATE_LIMIT,
    LIFECYCLE_DEAD_LETTER,
    LIFECYCLE_GAP,
    LIFECYCLE_RELOADED,
    LIFECYCLE_RELOAD_REFUSED,
    LIFECYCLE_STORE_FULL,
    LIFECYCLE_STORE_RESUMED,
    LIFECYCLE_PAUSED,
    LIFECYCLE_RESUMED,
    LIFECYCLE_KINDS,
};

const char *lifecycle_type(enum lifecycle_kind kind); /* "integration.registered" */
/* The kinds whose type the pattern fits (fnmatch), as bits 1 << kind; 0: none. */
unsigned lifecycle_kinds(const char *pattern);

struct lifecycle;

struct lifecycle_spec {
    const char *store_id, *host; /* copied; host NULL: "" */
};

int lifecycle_open(const struct lifecycle_spec *spec, int64_t now_ms, int64_t unix_ms,
    struct lifecycle **ret, struct fault *why);
void lifecycle_free(struct lifecycle *l); /* after its readers have left */
/* The clocks of this turn; tells what was folded and is due. Returns when more of it is. */
int64_t lifecycle_step(struct lifecycle *l, int64_t now_ms, int64_t unix_ms);
/* Tells what is folded now, before its time. */
void lifecycle_flush(struct lifecycle *l);
/* Something was told since the last step. */
bool lifecycle_told(const struct lifecycle *l);

/* ---- saying ---- */

struct lifecycle_note {
    enum lifecycle_kind kind;
    const char *route, *sink, *connection; /* whom it is about; NULL: none. Lent */
    uint32_t hops; /* of the event that it is about: what comes round in a loop ends */
};

/* Where the members of `details` go, to be ended by lifecycle_end(). NULL: nobody wants it. */
struct buf *lifecycle_begin(struct lifecycle *l, const struct lifecycle_note *note);
void lifecycle_end(struct lifecycle *l);
/* Members; text NULL: null. What is not UTF-8 in it becomes a question mark. */
void lifecycle_put(struct buf *to, const char *name, const char *text);
void lifecycle_put_number(struct buf *to, const char *name, int64_t value);
/* A member whose value the caller writes next. */
void lifecycle_put_name(struct buf *to, const char *name);
void lifecycle_put_time(struct buf *to, const char *name, int64_t unix_ms);
/* Is there a reader of such a kind? For what costs something to find out. */
bool lifecycle_wanted(const struct lifecycle *l, enum lifecycle_kind kind);

/* ---- reading ---- */

struct lifecycle_entry {
    struct lifecycle_entry *next;
    unsigned refs;
    uint64_t number; /* rising from 1, in this process */
    enum lifecycle_kind kind;
    int64_t time_ms; /* unix ms */
    uint32_t hops;
    size_t bytes;           /* of all of it */
    struct bytes route, id; /* route absent: it is about the whole bridge */
    struct bytes body;
};

/* Owned by the caller, who fills the first part; on the board's list until it leaves. A reader
 * hears nothing about its own route, and nobody hears of the single events (dead letters, gaps,
 * rate limits) of any route that reads here: what tells of trouble must not make more of it. */
struct lifecycle_reader {
    const char *route;                /* its own; kept */
    uint64_t route_id;                /* stays when the name changes */
    unsigned kinds;                   /* that it wants */
    const struct option_list *routes; /* patterns of the routes that it wants; none: all. Kept */

    struct lifecycle_reader *next;
    uint64_t seen; /* number of the last one that it has passed */
    uint64_t done; /* of the last one that nobody who takes its place has to read again */
    uint64_t lost; /* that it wanted */
    int64_t lost_from_ms, lost_until_ms;
};

/* It reads what is told from now on; beside another one of the same route, what that one has not
 * done. */
void lifecycle_listen(struct lifecycle *l, struct lifecycle_reader *r);
void lifecycle_leave(struct lifecycle *l, struct lifecycle_reader *r);
/* What it read, up to that number, is kept elsewhere by now. */
void lifecycle_done(struct lifecycle *l, struct lifecycle_reader *r, uint64_t number);
/* The next one that it wants, a reference of the caller's; NULL: none now. */
struct lifecycle_entry *lifecycle_next(struct lifecycle *l, struct lifecycle_reader *r);
void lifecycle_unref(struct lifecycle_entry *e);

#endif
