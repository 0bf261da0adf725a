/* Messages on their way: the ring of those sent, by delivery tag, and the reports on them. */
#ifndef BASCULE_JOBS_H
#define BASCULE_JOBS_H

#include "bridge/links/rabbitmq/publisher.h"

void jobs_free(struct job *j);

/* ---- [lock] ---- */

/* There is always room: it was made when the message was taken. The text is copied. */
void jobs_report(struct sink *s, struct report r, size_t bytes, const char *text);
/* The job's one report; later ones are passed over. */
void jobs_tell(struct sink *s, struct job *j, enum fate fate, enum cause cause, int code,
    bool alone, const char *text);
/* Where the ring has the tag's job, NULL there: none (any more). */
struct job **jobs_at(const struct sink *s, uint64_t tag);
/* Doubles the ring. -1: no memory. */
int jobs_grow(struct sink *s);
void jobs_put(struct sink *s, struct job *j);

/* ---- [io] ---- */

/* An ack or nack of the broker. -1: the connection failed. */
int jobs_confirm(struct sink *s, uint64_t tag, bool multiple, bool ack);

#endif
