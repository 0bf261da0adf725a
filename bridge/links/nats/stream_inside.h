/* What the two sides of a stream share: its messages (stream.c), and what JetStream's API says of
 * it (stream_api.c). */
#ifndef BASCULE_STREAM_INSIDE_H
#define BASCULE_STREAM_INSIDE_H

#include "bridge/links/nats/acks.h"
#include "bridge/links/nats/given_up.h"
#include "bridge/links/nats/mark.h"
#include "bridge/links/nats/seqs.h"
#include "bridge/links/nats/source.h"

#define STREAM_ANSWER_MS 5000
#define STREAM_INFO_MS 10000
#define STREAM_PULLS_MAX 8

enum stage {
    STAGE_STREAM = 1, /* look whether the stream is there */
    STAGE_MAKE_STREAM,
    STAGE_CONSUMER,
    STAGE_MAKE_CONSUMER,
    STAGE_READING,
};

struct pull {
    uint64_t number;
    size_t left;
};

struct stream {
    struct source s;                /* first */
    struct nats_source_options own; /* a bucket's stream is named here */
    char bucket_stream[272], bucket_subject[272];
    struct wire_port *port;
    char inbox[224];
    enum stage stage;
    uint64_t session, asked, answered; /* number of the last request; 0: none is out */
    bool asked_info;                   /* that request is a look beside reading */
    int64_t asked_ms, info_ms;
    struct committed committed;
    struct entry_id *ids; /* scratch */
    size_t ids_capacity;
    struct acks acks, resting; /* resting: confirmed, and not forgotten yet */
    struct seqs held;
    struct pull pulls[STREAM_PULLS_MAX];
    size_t pull_n, wanted, pull_most;
    uint64_t number; /* of pulls and requests */
    int64_t heard_ms, working_ms, ack_wait_ms;
    struct mark mark;    /* as the next set will be stored with */
    uint64_t old_number; /* batches up to this one came from an earlier stream */
    char stream_made[64];
    uint64_t first_seq, last_seq, last_consumer_seq; /* delivered to whom it may be */
    uint64_t newest_seq;                             /* taken */
    bool filtered, one_each;
    struct given_up given_up;
    struct buf text, subject;
};

static inline const char *stream_name(const struct stream *t)
{
    return t->s.options->stream;
}

/* Asks for everything anew, at once or, with `text` (the trouble; NULL: none), a while later. */
void stream_start_over(struct stream *t, const char *text);
/* Records messages that are lost now. */
void stream_note(struct stream *t, uint64_t count, const char *cause);
/* In hand, or on disk and not known to be acknowledged. */
bool stream_has(struct stream *t, uint64_t seq);
/* Takes the job: acknowledged, and known to us for a while still. */
void stream_rest(struct stream *t, struct ack_job *job);
/* What has rested long enough is not known any more. */
void stream_forget(struct stream *t);
/* The next request of its stage. */
void stream_ask(struct stream *t);
/* A look at the stream and its consumer, when it is time for one; beside reading. */
void stream_look(struct stream *t);
/* Starts over when an answer is overdue. */
void stream_await(struct stream *t);
/* An answer of JetStream's API. */
void stream_answered(struct stream *t, const struct wire_message *m);

#endif
