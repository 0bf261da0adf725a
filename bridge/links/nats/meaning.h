/* What an answer to a publish means for the event. */
#ifndef BASCULE_MEANING_H
#define BASCULE_MEANING_H

#include "bridge/connector.h"

struct meaning {
    enum fate fate;
    enum cause cause;
    bool outage; /* the sink's own address: hold back, no attempt */
    int code;
    char text[160];
};

/* JetStream's answer: a block (with a status when nobody listens) and a body of JSON. `fixed`: the
 * subject is the same for all events. `stream`: the one that must have taken it. */
void meaning_of_ack(
    struct bytes headers, struct bytes body, bool fixed, const char *stream, struct meaning *ret);
/* A responder's answer to a request. */
void meaning_of_reply(struct bytes headers, struct meaning *ret);
/* "Permissions Violation for Publish to \"a.b\"": is it about this subject? */
bool meaning_denies(const char *error, const char *subject);
/* The server closed the connection over something that a client sent: the words of its error. */
bool meaning_protocol(const char *last_words);

#endif
