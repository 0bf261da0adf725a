/* Acknowledgements on their way: sent for each message once its batch is on disk, the last of a
 * batch with a reply, which says that the server has them all; sent again over a new connection. */
#ifndef BASCULE_ACKS_H
#define BASCULE_ACKS_H

#include "bridge/base/buf.h"
#include "bridge/links/nats/wire.h"

struct ack {
    size_t subject; /* where it begins among the texts */
    uint64_t seq;
};

struct ack_job {
    struct ack_job *next;
    uint64_t number; /* of the batch */
    size_t n, sent;
    struct buf texts; /* subjects, each with a NUL */
    int64_t sent_ms;  /* when the last one went out */
    struct ack at[];
};

struct acks {
    struct ack_job *first, **end;
    size_t waiting; /* messages in them */
    uint64_t session;
};

void acks_init(struct acks *a);
void acks_done(struct acks *a);
/* Room for n; NULL: no memory. Then acks_put for each and acks_add. */
struct ack_job *acks_job(uint64_t number, size_t n);
int acks_put(struct ack_job *job, const char *subject, uint64_t seq);
void acks_add(struct acks *a, struct ack_job *job);
/* Sends what the wire takes; the reply of a job's last one goes to PREFIX.NUMBER. Returns when to
 * come again at the latest. */
int64_t acks_step(struct acks *a, struct wire *w, const char *prefix, int64_t now_ms);
/* The server has that job's: takes it out, the caller frees it by ack_job_free. NULL: no such. */
struct ack_job *acks_confirmed(struct acks *a, uint64_t number);
bool acks_has(const struct acks *a, uint64_t number);
void ack_job_free(struct ack_job *job);

#endif
