/* What users write for a Redis connection, source and sink. */
#ifndef BASCULE_REDIS_OPTIONS_H
#define BASCULE_REDIS_OPTIONS_H

#include "bridge/base/fault.h"
#include "bridge/base/option.h"

struct redis_link_options {
    char *url, *username, *password;
    int64_t db, connect_timeout_ms, ping_interval_ms;
};

struct redis_source_options {
    char *stream, *group, *consumer;
    int start; /* enum redis_start */
    bool remove;
};

enum redis_start { REDIS_START_OLDEST = 0, REDIS_START_NEW };

struct redis_sink_options {
    struct option_template channel, stream;
    int64_t maxlen;
    bool maxlen_exact, require_receiver;
};

enum { REDIS_SLOT_CHANNEL = 0, REDIS_SLOT_STREAM };

/* redis://[user[:password]@]host[:port][/db]; texts point into `text`, which is cut up. */
struct redis_url {
    char text[1024];
    const char *host, *username, *password;
    int port;
    int64_t db; /* -1: none named */
};

extern const struct option redis_link_table[], redis_source_table[], redis_sink_table[];

int redis_url_parse(const char *url, struct redis_url *ret, struct fault *why);

#endif
