#include "bridge/base/backoff.h"

const struct backoff_spec backoff_connect = {
    .base_ms = 200, .max_ms = 30000, .factor = 2, .jitter = true
};

int64_t backoff_wait_ms(const struct backoff_spec *spec, uint32_t tries, struct random *random)
{
    double bound = (double)spec->base_ms;
    int64_t wait;

    for (uint32_t i = 1; i < tries && bound < (double)spec->max_ms; i++)
        bound *= spec->factor;
    if (bound > (double)spec->max_ms)
        bound = (double)spec->max_ms;
    wait = (int64_t)bound;
    if (spec->jitter && wait > 0)
        wait = (int64_t)random_below(random, (uint64_t)wait + 1);
    return wait < 1 ? 1 : wait;
}
