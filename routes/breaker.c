#include "routes/breaker.h"

void breaker_init(struct breaker *b, uint32_t failure_threshold, int64_t open_for_ms)
{
    *b = (struct breaker){
        .state = RELAY_BREAKER_CLOSED,
        .failure_threshold = failure_threshold,
        .open_for_ms = open_for_ms,
    };
}

bool breaker_tick(struct breaker *b, int64_t now_ms)
{
    if (b->state != RELAY_BREAKER_OPEN || now_ms < b->until_ms)
        return false;
    b->state = RELAY_BREAKER_HALF_OPEN;
    return true;
}

bool breaker_delivered(struct breaker *b)
{
    b->failures = 0;
    b->last_event = 0;
    if (b->state != RELAY_BREAKER_HALF_OPEN)
        return false;
    b->state = RELAY_BREAKER_CLOSED;
    return true;
}

static void open_again(struct breaker *b, int64_t now_ms)
{
    b->state = RELAY_BREAKER_OPEN;
    b->until_ms = now_ms + b->open_for_ms;
}

bool breaker_failed(struct breaker *b, uint64_t event, int64_t now_ms)
{
    if (b->failure_threshold == 0 || b->state == RELAY_BREAKER_OPEN)
        return false;
    if (b->state == RELAY_BREAKER_HALF_OPEN) {
        open_again(b, now_ms);
        return true;
    }
    if (event == b->last_event)
        return false; /* one bad event must not close the way for all the others */
    b->last_event = event;
    if (++b->failures < b->failure_threshold)
        return false;
    open_again(b, now_ms);
    return true;
}

void breaker_set(struct breaker *b, bool open)
{
    b->failures = 0;
    b->last_event = 0;
    b->state = open ? RELAY_BREAKER_OPEN : RELAY_BREAKER_CLOSED;
    b->until_ms = INT64_MAX;
}

const char *breaker_text(enum relay_breaker state)
{
    static const char *const names[] = { "none", "closed", "open", "half-open" };

    return names[state];
}
