/* The taps of the admin socket: each is a stream of JSON lines to one client, from a bounded
 * buffer, so that a slow one misses events and is told how many. */
#ifndef BASCULE_API_TAP_H
#define BASCULE_API_TAP_H

#include "routes/relay.h"

/* Lines on their way to one client. */
#define API_TAP_BUFFER (1u << 20)
/* A line at least this often, by which a client knows that we are there and we that it is. */
#define API_TAP_ALIVE_MS 2000

struct api_tap;

struct api_taps {
    struct relay *relay; /* kept */
    struct api_tap *first;
    int64_t unix_ms;
};

/* Hands over what was seen in this turn. */
void api_taps_turn(struct api_taps *ts, int64_t now_ms, int64_t unix_ms);
/* Another configuration runs: those whose route or sink is gone end. */
void api_taps_reloaded(struct api_taps *ts, const char *hash);
/* All of them end. */
void api_taps_stop(struct api_taps *ts);

#endif
