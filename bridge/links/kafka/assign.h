/* Where to read on after an assignment: the store, the group and `start` weighed (design, section
 * 6). */
#ifndef BASCULE_KAFKA_ASSIGN_H
#define BASCULE_KAFKA_ASSIGN_H

#include "bridge/links/kafka/handle.h"

struct assign_found {
    int64_t stored, stored_ts; /* in: -1 none */
    int64_t offset;            /* out */
    bool adopt;                /* out: to the store first, then to the group, then read */
};

enum assign_result {
    ASSIGN_NONE = 0,
    ASSIGN_FOUND,
    ASSIGN_AGAIN, /* no answer: `trouble` says of what; ask later */
    ASSIGN_DOUBT, /* a person must decide; `trouble` says why */
};

/* One try on the handle's thread; posted again it is the next one. */
struct assign_job {
    struct kafka_job job;
    rd_kafka_topic_partition_list_t *list;
    struct assign_found *found; /* by list index */
    rd_kafka_conf_t *conf;      /* of a reader without the group, for looking at a record */
    uint64_t round;             /* the caller's own */
    int64_t start;
    bool first_assignment;
    const char *store_id;         /* whose commits are our own; lent, as the next one */
    const char *const *store_was; /* and those ones' */
    uint64_t route_id;
    enum assign_result result; /* out */
    char trouble[256], peer[128];
};

/* The list is copied. NULL: out of memory. */
struct assign_job *assign_open(const rd_kafka_topic_partition_list_t *list,
    const struct kafka_link_options *link, const char *group);
/* What a commit of that store for that route says. */
void assign_metadata(const char *store_id, uint64_t route_id, char *ret, size_t n);
void assign_free(struct kafka_job *j);

#endif
