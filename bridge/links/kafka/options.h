/* What a `type: kafka` connection, its sources and its sinks can be told. */
#ifndef BASCULE_KAFKA_OPTIONS_H
#define BASCULE_KAFKA_OPTIONS_H

#include "bridge/base/fault.h"
#include "bridge/base/option.h"

enum kafka_mechanism { KAFKA_PLAIN = 0, KAFKA_SCRAM_256, KAFKA_SCRAM_512, KAFKA_OAUTHBEARER };
enum kafka_oversize { KAFKA_OVERSIZE_STOP = 0, KAFKA_OVERSIZE_SKIP };
enum kafka_dedicated { KAFKA_DEDICATED_AUTO = 0, KAFKA_DEDICATED_ALWAYS, KAFKA_DEDICATED_NEVER };

struct kafka_sasl {
    bool set;
    int mechanism; /* enum kafka_mechanism */
    char *username, *password;
    char *token_url, *token_ca_file, *client_id, *client_secret, *scope; /* OAUTHBEARER */
};

struct kafka_tls {
    bool set, verify;
    char *ca_file, *cert_file, *key_file, *key_password;
};

struct kafka_link_options {
    struct option_list brokers;
    struct kafka_sasl sasl;
    struct kafka_tls tls;
    struct option_map properties;
};

struct kafka_source_options {
    struct option_list topics;
    char *group, *start;
    int isolation; /* 0: read_committed */
    int oversize;  /* enum kafka_oversize */
};

struct kafka_sink_options {
    struct option_template topic, partition; /* slots 0 and 1 */
    int compression;
    int dedicated; /* enum kafka_dedicated */
};

extern const struct option kafka_link_table[], kafka_source_table[], kafka_sink_table[];
extern const char *const kafka_mechanisms[], *const kafka_isolations[], *const kafka_compressions[];

#define KAFKA_START_EARLIEST (-2) /* librdkafka's own numbers */
#define KAFKA_START_LATEST (-1)

/* "earliest", "latest", "2026-01-31T12:00:00Z" or unix ms. Returns 0 with one of the numbers above
 * or unix ms, or -1. */
int kafka_start_parse(const char *text, int64_t *ret);

/* connector.h's of the same names. */
bool kafka_link_same(const void *a, const void *b);
bool kafka_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source);

#endif
