/* Questions that read the log itself: events, traces, and the frozen set of a replay. */
#ifndef BASCULE_QUERY_LOG_H
#define BASCULE_QUERY_LOG_H

#include "store/db.h"
#include "store/query.h"

/* QUERY_EVENTS, QUERY_TRACE, QUERY_PLAN. */
int query_log(struct db *db, const struct query_spec *q, struct query_answer *a);

#endif
