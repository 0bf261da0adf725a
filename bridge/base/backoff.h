/* The one place that decides how long to wait before trying again: exponential, full jitter. */
#ifndef BASCULE_BACKOFF_H
#define BASCULE_BACKOFF_H

#include "bridge/base/random.h"

#include <stdbool.h>

struct backoff_spec {
    int64_t base_ms, max_ms;
    double factor;
    bool jitter;
};

/* What connections use: 200 ms doubling to 30 s. */
extern const struct backoff_spec backoff_connect;

/* Wait before try number `tries` + 1 (tries >= 1 have failed): between 0 and
 * min(max, base * factor^(tries-1)) with jitter, that bound itself without; never less than 1 ms.
 */
int64_t backoff_wait_ms(const struct backoff_spec *spec, uint32_t tries, struct random *random);

#endif
