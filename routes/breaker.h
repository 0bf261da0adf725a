/* Circuit breaker of one sink: a pure state machine on a given clock. */
#ifndef BASCULE_BREAKER_H
#define BASCULE_BREAKER_H

#include "routes/relay.h"

struct breaker {
    enum relay_breaker state;
    uint32_t failure_threshold; /* 0: never opens by itself */
    int64_t open_for_ms;
    uint32_t failures;   /* counted ones in a row, over different events */
    uint64_t last_event; /* that was counted */
    int64_t until_ms;    /* RELAY_BREAKER_OPEN: monotonic; INT64_MAX: by hand, until closed */
    uint64_t last_probe; /* seq of the last probe, so that the next one is another */
};

void breaker_init(struct breaker *b, uint32_t failure_threshold, int64_t open_for_ms);
/* Moves from open to half-open when its time is over. Returns whether the state changed. */
bool breaker_tick(struct breaker *b, int64_t now_ms);
/* Something was delivered, or failed in a way that counts. Return whether the state changed. */
bool breaker_delivered(struct breaker *b);
bool breaker_failed(struct breaker *b, uint64_t event, int64_t now_ms);
void breaker_set(struct breaker *b, bool open);
const char *breaker_text(enum relay_breaker state); /* "closed", "open", "half-open" */

#endif
