/* What can be configured for RabbitMQ: the option tables and the structs they fill. */
#ifndef BASCULE_OPTIONS_H
#define BASCULE_OPTIONS_H

#include "bridge/connector.h"

struct options_tls {
    bool set;
    char *ca_file, *cert_file, *key_file, *server_name;
    bool verify;
};

enum options_auth { OPTIONS_AUTH_PLAIN, OPTIONS_AUTH_EXTERNAL };

struct options_link {
    char *url;
    struct option_list urls;
    char *username, *password, *vhost;
    int auth; /* enum options_auth */
    struct options_tls tls;
    int64_t heartbeat_ms, connect_timeout_ms;
};

enum options_declare { OPTIONS_AUTO, OPTIONS_CREATE, OPTIONS_PASSIVE, OPTIONS_NONE };
enum options_queue_type { OPTIONS_QUORUM, OPTIONS_CLASSIC };
enum options_oversize { OPTIONS_STOP, OPTIONS_REJECT };

struct options_binding {
    bool set;
    char *exchange;
    struct option_list keys;
    struct option_map arguments;
};

struct options_source {
    char *queue;
    int declare; /* enum options_declare */
    int type;    /* enum options_queue_type */
    char *exchange;
    struct option_list binding_keys;
    struct option_tables bindings; /* struct options_binding */
    struct option_map arguments, consumer_arguments;
    bool durable, exclusive, single_active;
    int64_t prefetch;
    char *consumer_tag;
    int oversize; /* enum options_oversize */
};

enum options_dedicated {
    OPTIONS_DEDICATED_AUTO,
    OPTIONS_DEDICATED_ALWAYS,
    OPTIONS_DEDICATED_NEVER
};
enum options_exchange_type { OPTIONS_TOPIC, OPTIONS_DIRECT, OPTIONS_FANOUT, OPTIONS_HEADERS };

struct options_sink {
    char *exchange;
    struct option_template routing_key;
    int declare;       /* enum options_declare */
    int exchange_type; /* enum options_exchange_type */
    struct option_map arguments;
    bool mandatory, persistent, token_header;
    int dedicated; /* enum options_dedicated */
};

extern const struct option options_link[], options_source[], options_sink[];

int options_link_check(const void *options, const char **key, struct fault *why);
int options_source_check(const void *options, const char **key, struct fault *why);
int options_sink_check(const void *options, const char **key, struct fault *why);
struct traits options_source_traits(const void *options);
struct traits options_sink_traits(const void *options);
void options_source_place(const void *options, char *ret, size_t n);
void options_sink_place(const void *options, char *ret, size_t n);
void options_source_declares(const void *options, struct buf *to);
void options_sink_declares(const void *options, struct buf *to);
/* connector.h's of the same names. */
bool options_link_same(const void *a, const void *b);
bool options_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source);
bool options_source_shares(const void *a_link, const void *a, const void *b_link, const void *b);
/* What to do about the queue: as said; else create it where bindings are given, and only look for
 * it where not. */
enum options_declare options_source_declare(const struct options_source *o);

#endif
