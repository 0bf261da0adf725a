/* Which of our tokens a stream holds already: asked once a session and stream, before anything is
 * sent again there after a lost reply. */
#ifndef BASCULE_LOOKUP_H
#define BASCULE_LOOKUP_H

#include "bridge/links/redis/client.h"

enum lookup_answer {
    LOOKUP_NONE = 0,
    LOOKUP_WAIT,   /* being read: ask again later */
    LOOKUP_FOUND,  /* it is there */
    LOOKUP_ABSENT, /* not there, or farther than is looked */
};

struct scan;

struct lookup {
    struct scan *scans;
    size_t count;
    struct bytes token_field; /* kept */
};

/* Is `token` in `stream`, first sent at unix ms `first_sent_ms` by our clock? Begins the reading
 * where none is there; `unix_ms` now. */
enum lookup_answer lookup_ask(struct lookup *l, struct client *c, struct bytes stream,
    struct bytes token, int64_t first_sent_ms, int64_t unix_ms);
/* What was read says nothing any more: the session ended, or a send became unsure after it. */
void lookup_clear(struct lookup *l, struct client *c);

#endif
