/* What users write for a Redis connection, source and sink. */
#ifndef BASCULE_REDIS_OPTIONS_H
#define BASCULE_REDIS_OPTIONS_H

#include "bridge/base/fault.h"
#include "bridge/base/option.h"

struct redis_tls_options {
    bool set;
    char *ca_file, *cert_file, *key_file, *server_name;
    bool verify;
};

struct redis_link_options {
    char *url, *username, *password;
    struct option_list urls;
    int64_t db, connect_timeout_ms, ping_interval_ms;
    struct redis_tls_options tls;
};

struct redis_source_options {
    char *stream, *group, *consumer;
    int start; /* enum redis_start */
    bool remove;
    int64_t claim_idle_ms;
    int oversize; /* enum redis_oversize */
    struct option_list channels, sharded_channels;
    char *body_field, *id_field, *key_field, *header_prefix;
};

enum redis_start { REDIS_START_OLDEST = 0, REDIS_START_NEW };
enum redis_oversize { REDIS_OVERSIZE_STOP = 0, REDIS_OVERSIZE_SKIP };

struct redis_wait_options {
    bool set;
    int64_t replicas, timeout_ms;
};

struct redis_sink_options {
    struct option_template channel, stream, sharded_channel;
    int64_t maxlen;
    bool maxlen_exact, require_receiver;
    int envelope; /* enum redis_envelope */
    struct redis_wait_options wait;
    char *body_field, *id_field, *key_field, *header_prefix, *token_field;
};

enum redis_envelope { REDIS_ENVELOPE_NONE = 0, REDIS_ENVELOPE_JSON };

enum { REDIS_SLOT_CHANNEL = 0, REDIS_SLOT_STREAM, REDIS_SLOT_SHARDED };

/* redis[s]://[user[:password]@]host[:port][/db], parts with %XX for other bytes; texts point into
 * `text`, which is cut up. */
struct redis_url {
    char text[1024];
    const char *host, *username, *password;
    int port;
    int64_t db; /* -1: none named */
    bool tls;
};

extern const struct option redis_link_table[], redis_source_table[], redis_sink_table[];

size_t redis_url_count(const struct redis_link_options *o);
const char *redis_url_at(const struct redis_link_options *o, size_t i);
int redis_url_parse(const char *url, struct redis_url *ret, struct fault *why);

/* connector.h's of the same names. */
bool redis_link_same(const void *a, const void *b);
bool redis_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source);

#endif
