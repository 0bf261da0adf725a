/* How many messages a producer is given before it has answered: as many as keep it busy, and no
 * more.
 *
 * librdkafka 2.0 keeps one request of an idempotent producer under way for each partition, and
 * while what waits behind it is older than linger.ms its thread polls without sleeping
 * (rd_kafka_toppar_producer_serve() asks for the next wake-up at once). With a window of 10,000
 * always full that was most of the thread's time (strace: 470 of 513 polls were empty). So the
 * window shrinks while answers take longer than they have to, and grows again while they do not. */
#ifndef BASCULE_KAFKA_PACE_H
#define BASCULE_KAFKA_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kafka_pace {
    size_t window, most;
    size_t after;                   /* while it looks how fast answers can be: the window before */
    size_t answers;                 /* of this round; a round is as many as the window */
    int64_t slowest_us, fastest_us; /* of this round */
    /* The fastest answer of the last some rounds, as two halves of which the older one is dropped.
     */
    int64_t base_us[2];
    unsigned rounds;
    bool was_full; /* in this round something had to wait for room */
};

void kafka_pace_init(struct kafka_pace *p, size_t most);
/* One delivery took this long from produce() to its report. */
void kafka_pace_answer(struct kafka_pace *p, int64_t took_us);
/* Is there room beside `out` messages? Notes that there was none. */
bool kafka_pace_room(struct kafka_pace *p, size_t out);

#endif
