/* How far a consumer group is behind its stream, and what was trimmed before it was read, from the
 * server's own counters (Redis 7; an older server has none and nothing is known). */
#ifndef BASCULE_BACKLOG_H
#define BASCULE_BACKLOG_H

#include "bridge/links/committed.h"
#include "bridge/links/resp.h"

struct backlog {
    struct bytes group; /* kept */
    int64_t waiting;    /* entries that the group has not read, -1 unknown */
    /* Entries lost since the last time that this was set to 0; between the ids next to them. */
    uint64_t lost;
    struct entry_id before, after;
    /* How much the server's counter of read entries is known to be behind: it does not count what
     * was trimmed unread. */
    uint64_t told;
    /* of the XINFO STREAM that came last */
    bool counted, has_first;
    uint64_t added, length;
    struct entry_id first, last;
};

void backlog_init(struct backlog *b, const char *group);
/* Puts the questions; answers come before those of anything put later on this connection, so they
 * tell of the time between two readings. Owner of the replies is `b`. */
void backlog_ask(struct backlog *b, struct resp *r, const char *stream);

#endif
