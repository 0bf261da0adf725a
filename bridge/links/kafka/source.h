/* A Kafka source from inside: its partitions, its group (group.c), its batches (batch.c). */
#ifndef BASCULE_KAFKA_SOURCE_H
#define BASCULE_KAFKA_SOURCE_H

#include "bridge/base/buf.h"
#include "bridge/links/kafka/assign.h"
#include "bridge/links/kafka/link.h"

#define KAFKA_BATCH_EVENTS_MAX 1024
#define KAFKA_NUMBER_BYTES_MAX 20 /* digits of an offset or a time, with its sign */

struct kafka_part {
    char *topic, *name; /* owned; name is "TOPIC/PARTITION" */
    char *prefix;       /* owned; "TOPIC-PARTITION-" */
    size_t topic_n, name_n, prefix_n;
    int32_t partition;
    bool assigned, revoking, adopting, dirty;
    bool astray;               /* after a seek came another record than the one it was for */
    unsigned rewinds;          /* seeks left to try for it */
    uint32_t out;              /* batches that hold records of it */
    uint64_t epoch;            /* changes with each assignment */
    int64_t next, next_ts;     /* what to receive next; time of the last received */
    int64_t stored, stored_ts; /* as the store has it, -1: not */
};

/* What a batch holds of one partition. */
struct kafka_range {
    size_t part;
    uint64_t epoch;
    int64_t first, next, ts;
};

/* A batch and all that its events point into. */
struct kafka_lent {
    struct batch batch; /* first: settle() gets its address */
    struct kafka_lent *next;
    rd_kafka_message_t **messages;
    size_t message_count;
    struct event *events;
    struct kafka_range *ranges;
    size_t range_count, range_capacity;
    struct position *positions;
    char *values; /* of positions */
    char *origins;
    size_t origins_n, origins_capacity;
    struct buf headers;
    struct source_gap *gaps;
    size_t gap_count, gap_capacity;
    bool adopts; /* offsets chosen by the group or `start`, no records */
};

struct source {
    struct source *next;
    struct link *link;
    struct source_spec spec;
    const struct kafka_source_options *options;
    struct kafka_handle *handle; /* NULL after a stop: it has left its group */
    rd_kafka_queue_t *records;
    struct kafka_part *parts;
    size_t part_count, part_last;
    bool had_positions;
    struct kafka_lent *out, **out_end, *spare;
    size_t out_events, out_bytes;
    rd_kafka_message_t *carry[KAFKA_BATCH_EVENTS_MAX]; /* taken off the queue, did not fit */
    size_t carry_at, carry_n;
    struct assign_job *assigning; /* looked up, waiting for its positions to be kept */
    struct assign_job *asking;    /* to be asked again at ask_ms; else the handle has it */
    int64_t ask_ms, adopt_ms;     /* of the next try; adopt_ms 0: none waits */
    uint32_t tries;
    uint64_t round; /* of the assignment that is wanted */
    bool adopt_batch_due, adopt_commit, astray;
    rd_kafka_topic_partition_list_t *revoking; /* a revoke that waits */
    int64_t revoke_until_ms, rejoin_until_ms, commit_ms;
    bool committing, revoke_commit, paused, draining, stopped;
    int64_t fast_until_ms; /* reads at full speed */
    size_t taken_bytes;    /* since its fetcher was woken last */
    uint64_t answers;      /* of the handle's, when last looked at */
    struct link_status status;
};

/* group.c: membership, positions, commits. */
struct kafka_part *kafka_group_part(struct source *s, const char *topic, int32_t partition);
int64_t kafka_group_step(struct source *s);
/* A person must look: says so, and leaves the group once nothing is out. */
void kafka_group_stop(struct source *s, const char *text);
/* Trouble that passes: LINK_DOWN with the text. */
void kafka_group_down(struct source *s, const char *text);
bool kafka_group_commit(struct source *s, const rd_kafka_topic_partition_list_t *only);
void kafka_group_pause(struct source *s, bool paused);
/* Forgets what was taken off the queue of a partition that is revoked or read again. */
void kafka_group_carry_drop(struct source *s, const struct kafka_part *p);
/* The batch with adopted offsets was settled. */
void kafka_group_adopted(struct source *s, bool kept);
void kafka_group_free(struct source *s);

/* batch.c: records as events. */
struct kafka_lent *kafka_batch_open(struct source *s);
/* Of records that were copied: settling needs only where they stood. */
void kafka_batch_drop_messages(struct kafka_lent *b);
/* Back to the spare ones. */
void kafka_batch_close(struct source *s, struct kafka_lent *b);
void kafka_batch_free(struct kafka_lent *b);
struct kafka_range *kafka_batch_range(
    struct source *s, struct kafka_lent *b, size_t part, int64_t first);
/* Fills from the carried records until the batch is full. Returns 0, or -1: no memory for the next
 * record, which stays carried. */
int kafka_batch_fill(struct source *s, struct kafka_lent *b, size_t limit);
/* Its positions and the places that moved while it grew. -1: no memory. */
int kafka_batch_finish(struct source *s, struct kafka_lent *b);

#endif
