/* Which events a person means: for questions to the log, and for looking on while they move. */
#ifndef BASCULE_SELECTION_H
#define BASCULE_SELECTION_H

#include "bridge/base/event.h"

/* Which events. Absent, NULL and 0 mean "any". Text is lent until the query is answered, so the
 * asker keeps the struct's strings alive (query_open copies them). */
struct selection {
    const char *route, *sink;     /* names */
    int64_t since_ms, until_ms;   /* unix ms of receipt; until is outside */
    uint64_t first_seq, last_seq; /* both inside */
    const char *id;
    struct bytes key;
    const char *header_name, *header_value;
    const char *match; /* text in the body */
    const char *fate;  /* "delivered", "pending", "held", "dead", "filtered", … at `sink` */
};

/* An owned copy, whole or not at all: a filter that is lost would select more than was asked. -1:
 * no memory. */
int selection_copy(const struct selection *from, struct selection *ret);
void selection_done(struct selection *s); /* of a copy */

/* The event is one of these, as far as it tells itself: route, sink and fate are the caller's. */
bool selection_fits(const struct selection *s, const struct event *e);

#endif
