/* Where to read on after an assignment: the store, the group and `start` weighed (design, section 6). */
#ifndef BASCULE_KAFKA_ASSIGN_H
#define BASCULE_KAFKA_ASSIGN_H

#include "bridge/links/kafka/handle.h"

struct assign_found {
    int64_t stored, stored_ts; /* in: -1 none */
    int64_t offset;            /* out */
    bool adopt;                /* out: to the store first, then to the group, then read */
};

struct assign_job {
    struct kafka_job job;
    rd_kafka_topic_partition_list_t *list;
    struct assign_found *found; /* by list index */
    const struct kafka_link_options *link;
    int64_t start;
    bool first_assignment;
    char metadata[200], group[256];
    char trouble[256]; /* out: why a person must decide, "" for none */
};

/* NULL: out of memory. */
struct assign_job *assign_open(const rd_kafka_topic_partition_list_t *list);
void assign_free(struct kafka_job *j);

#endif
