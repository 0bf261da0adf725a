/* A step of a sink's way: validate, filter or transform, one interface for all. */
#ifndef BASCULE_STEP_H
#define BASCULE_STEP_H

#include "bridge/base/buf.h"
#include "bridge/base/event.h"

enum step_result {
    STEP_NONE = 0,
    STEP_PASS,
    STEP_DROP, /* filtered: finished here, on purpose */
    STEP_FAIL, /* dead letter of reason `step` with the fault's text */
    STEP_WAIT, /* not finished yet: ask again later; events behind it of the same key wait */
};

/* `event` is changed in place; bytes it points to afterwards are lent from before, from the step,
 * or from *scratch, to which a step may append once (it may move: point into it only after the last
 * put). Loop thread; a step whose time is not bounded answers STEP_WAIT while a worker has it. */
struct step {
    const char *name;
    enum step_result (*run)(
        struct step *s, struct event *event, struct buf *scratch, struct fault *why);
    void *arg;
};

#endif
