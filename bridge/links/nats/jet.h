/* JetStream's protocol over plain messages: subjects and texts of its requests, and what can be
 * read from an acknowledgement's subject. */
#ifndef BASCULE_JET_H
#define BASCULE_JET_H

#include "bridge/base/buf.h"
#include "bridge/links/nats/options.h"

#define JET_STREAM_NOT_FOUND 10059
#define JET_CONSUMER_NOT_FOUND 10014

/* Where a message stands, told by the subject on which it wants to be acknowledged. */
struct jet_place {
    uint64_t stream_seq, consumer_seq, deliveries, pending;
    int64_t time_ms; /* when the stream took it, unix */
};

/* -1 when it is no such subject. */
int jet_place_parse(const char *reply, struct jet_place *ret);

enum jet_request {
    JET_STREAM_INFO = 1,
    JET_STREAM_CREATE,
    JET_CONSUMER_INFO,
    JET_CONSUMER_CREATE,
    JET_PULL,
    JET_GET,
};

/* The subject of a request, in `to`. */
void jet_subject(enum jet_request request, const struct nats_link_options *link, const char *stream,
    const char *consumer, struct buf *to);
void jet_stream_config(const struct nats_source_options *o, struct buf *to);
/* `filter`: the subjects are fewer than the stream's own. `resume_at`: begin at this stream
 * sequence, 0: as the options say. */
void jet_consumer_config(const struct nats_source_options *o, bool filter, uint64_t resume_at,
    int64_t max_ack_pending, struct buf *to);
void jet_pull(size_t batch, int64_t expires_ms, int64_t heartbeat_ms, struct buf *to);
/* Do these subjects leave out nothing of a stream with that list of subjects (JSON)? */
bool jet_covers(const struct option_list *subjects, struct bytes stream_subjects);

#endif
