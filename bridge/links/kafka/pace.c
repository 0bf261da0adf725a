#include "bridge/links/kafka/pace.h"

#define WINDOW_LEAST 1000
#define ROUNDS_KEPT 256 /* some seconds at full speed */
/* An answer may take this many times the fastest one: the request before it, and its own. */
#define PATIENCE 2

void kafka_pace_init(struct kafka_pace *p, size_t most)
{
    *p = (struct kafka_pace){ .window = most, .most = most, .fastest_us = INT64_MAX };
    p->base_us[0] = p->base_us[1] = INT64_MAX;
}

static size_t least_of(const struct kafka_pace *p)
{
    return p->most < WINDOW_LEAST ? p->most : WINDOW_LEAST;
}

static void adjust(struct kafka_pace *p)
{
    size_t step = p->window / 8, least = least_of(p);
    int64_t base = p->base_us[0] < p->base_us[1] ? p->base_us[0] : p->base_us[1];

    if (p->slowest_us / PATIENCE > base)
        p->window = p->window - step > least ? p->window - step : least;
    else if (p->was_full)
        p->window = p->window + step < p->most ? p->window + step : p->most;
}

static void round_end(struct kafka_pace *p)
{
    if (p->fastest_us < p->base_us[0])
        p->base_us[0] = p->fastest_us;
    if (p->after) {
        p->window = p->after;
        p->after = 0;
    } else {
        adjust(p);
    }
    /* A queue that never empties hides how fast an answer can be: one round with a short one. */
    if (++p->rounds % (ROUNDS_KEPT / 2) == 0) {
        p->base_us[1] = p->base_us[0];
        p->base_us[0] = INT64_MAX;
        p->after = p->window;
        p->window = least_of(p);
    }
    p->answers = 0;
    p->slowest_us = 0;
    p->fastest_us = INT64_MAX;
    p->was_full = false;
}

void kafka_pace_answer(struct kafka_pace *p, int64_t took_us)
{
    if (took_us < 0)
        return; /* librdkafka does not know */
    if (took_us > p->slowest_us)
        p->slowest_us = took_us;
    if (took_us < p->fastest_us)
        p->fastest_us = took_us;
    if (++p->answers >= p->window)
        round_end(p);
}

bool kafka_pace_room(struct kafka_pace *p, size_t out)
{
    if (out < p->window)
        return true;
    p->was_full = true;
    return false;
}
