/* Tells the tracer what happens to events: received and committed by an intake, sent by an outflow.
 * Called only while tracing is on (tracer_on()). */
#ifndef BASCULE_SPANS_H
#define BASCULE_SPANS_H

#include "routes/intake.h"
#include "routes/outflow.h"

/* A block of the intake's is on disk. */
void spans_committed(const struct intake *i, const struct intake_block *b);
/* The link took these. */
void spans_sent(const struct outflow *o, struct flight *const *flights, size_t n);
/* What became of one. */
void spans_reported(const struct outflow *o, struct flight *f, const struct report *r);

#endif
