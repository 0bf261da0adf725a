/* What a person does to the bridge of a simulation, and what must hold of it in the end. One set at
 * a time: deeds_init() forgets those before. */
#ifndef BASCULE_DEEDS_H
#define BASCULE_DEEDS_H

#include "tests/sim/rig.h"

#define DEEDS_REPLAYS_MAX 32

void deeds_init(void);

/* Pauses the sink, or lets it go on. While the route is just being changed, it is said so. */
void deeds_pause(struct rig *g, size_t sink);
void deeds_pause_route(struct rig *g);
void deeds_resume_route(struct rig *g);
/* `sink` SIZE_MAX: the route. */
void deeds_drain(struct rig *g, size_t sink);
void deeds_breaker(struct rig *g, size_t sink, bool open);
/* Their first dead letter at that sink. Refused is an answer too: two deeds on one dead letter do
 * not meet. */
void deeds_retry(struct rig *g, size_t sink);
void deeds_drop(struct rig *g, size_t sink);
/* Its body becomes another, which is on disk when this returns unless the store is in trouble. */
void deeds_mend(struct rig *g, size_t sink);
/* Plans a replay of a part of the log, `which` (0..999) says of which one, and runs it: at all
 * sinks, or with an odd one at that sink alone. */
void deeds_replay(struct rig *g, size_t sink, int which);
/* Pauses, resumes or cancels one of them. */
void deeds_replay_verb(struct rig *g, int which);

/* Lets go on what a person holds. */
void deeds_end(struct rig *g);
/* No replay is unfinished. */
bool deeds_done(const struct rig *g);
/* Fails the test unless each replay that ended has sent all of its set, or has a dead letter, or
 * says that it dropped it. */
void deeds_check(struct rig *g);

#endif
