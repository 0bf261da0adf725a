/* What a trial finds out, and its clock: it waits beside no loop that would give it the time. */
#ifndef BASCULE_FINDINGS_H
#define BASCULE_FINDINGS_H

#include "bridge/connector.h"

struct findings {
    struct finding *at; /* lent */
    size_t n, limit;
};

/* One more, where there is room for it. */
void findings_add(struct findings *f, bool is_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Monotonic. */
int64_t findings_clock_ms(void);

#endif
