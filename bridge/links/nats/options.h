/* What users write for a NATS connection, source and sink. */
#ifndef BASCULE_NATS_OPTIONS_H
#define BASCULE_NATS_OPTIONS_H

#include "bridge/base/fault.h"
#include "bridge/base/option.h"

struct nats_tls_options {
    bool set;
    char *ca_file, *cert_file, *key_file, *server_name;
    bool verify;
};

struct nats_link_options {
    char *url, *username, *password, *token, *nkey_seed, *creds, *inbox_prefix, *domain;
    struct option_list urls;
    int64_t connect_timeout_ms, ping_interval_ms;
    struct nats_tls_options tls;
};

enum nats_declare { NATS_DECLARE_CREATE = 0, NATS_DECLARE_PASSIVE, NATS_DECLARE_NONE };
enum nats_start { NATS_START_ALL = 0, NATS_START_NEW, NATS_START_LAST };
enum nats_oversize { NATS_OVERSIZE_STOP = 0, NATS_OVERSIZE_SKIP };

struct nats_source_options {
    char *stream, *bucket, *durable, *queue_group, *start_time, *id_header, *key_header;
    struct option_list subjects;
    int declare;  /* enum nats_declare */
    int start;    /* enum nats_start */
    int oversize; /* enum nats_oversize */
    int64_t start_sequence, ack_wait_ms;
};

struct nats_sink_options {
    struct option_template subject, bucket_key;
    char *stream, *bucket, *id_header, *key_header;
    bool require_reply, pass_ttl;
};

enum { NATS_SLOT_SUBJECT = 0, NATS_SLOT_BUCKET_KEY };

extern const struct option nats_link_table[], nats_source_table[], nats_sink_table[];

size_t nats_url_count(const struct nats_link_options *o);
const char *nats_url_at(const struct nats_link_options *o, size_t i);

int nats_link_check(const void *options, const char **key, struct fault *why);
int nats_source_check(const void *options, const char **key, struct fault *why);
int nats_sink_check(const void *options, const char **key, struct fault *why);

/* Dots apart, no empty part, no blank; with `wild` also * and a last >. */
bool nats_subject_valid(const char *subject, size_t n, bool wild);

/* connector.h's of the same names. */
bool nats_link_same(const void *a, const void *b);
bool nats_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source);
bool nats_source_shares(const void *a_link, const void *a, const void *b_link, const void *b);

#endif
