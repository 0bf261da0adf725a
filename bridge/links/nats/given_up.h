/* Messages that the stream's consumer gave up: delivered max_deliver times without an
 * acknowledgement, or terminated by another client. The server tells it once, to whoever listens;
 * each is fetched from the stream and handed over as an event that its source refused. */
#ifndef BASCULE_GIVEN_UP_H
#define BASCULE_GIVEN_UP_H

#include "bridge/links/committed.h"
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/source.h"

/* Told and not fetched yet; more are a gap. */
#define GIVEN_UP_MAX 1024
/* Of our own terminations, those that are not yet told back to us. */
#define GIVEN_UP_OWN 64

enum given_up_cause { GIVEN_UP_DELIVERIES = 0, GIVEN_UP_TERMINATED, GIVEN_UP_CAUSES };

struct given_up_one {
    uint64_t seq, deliveries;
    enum given_up_cause cause;
};

struct given_up {
    struct wire_port *ports[GIVEN_UP_CAUSES];
    struct given_up_one waiting[GIVEN_UP_MAX];
    size_t n;
    uint64_t asked; /* number of the request for the first one; 0: none is out */
    int64_t asked_ms;
    /* Those on disk. A server that starts again may forget that we acknowledged them and tell it
     * anew (tried with 2.9.10), so they are known for as long as the stream has them. */
    struct committed committed;
    char name[288]; /* under which they are stored */
    uint64_t old_number, session;
    uint64_t own[GIVEN_UP_OWN];
    size_t own_at;
    uint64_t seen; /* counted by the consumer at the last look */
};

struct stream;

int given_up_open(struct stream *t, const struct source_spec *spec, struct fault *why);
void given_up_done(struct stream *t);
/* Takes what was told and asks for the next message. Returns when to come again at the latest. */
int64_t given_up_step(struct stream *t);
/* The answer to such a request, by its number. */
void given_up_answered(struct stream *t, uint64_t number, const struct wire_message *m);
/* Is it on disk as given up? */
bool given_up_known(const struct stream *t, uint64_t seq);
/* We terminate it ourselves: to be told so is no news. */
void given_up_own(struct stream *t, uint64_t seq);
/* The stream is another one now. */
void given_up_leave(struct stream *t);
/* What the consumer's own figures say of messages that nobody was told of. */
void given_up_look(struct stream *t, struct bytes consumer_info);

/* A piece of one such event. */
bool given_up_piece(const struct piece *p);
/* Its positions and number; -1: no memory. */
int given_up_lend(struct stream *t, struct piece *p);
void given_up_settle(struct stream *t, struct piece *p, bool kept);

#endif
