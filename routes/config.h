/* The whole configuration as typed values, checked, with the place of everything in its file. */
#ifndef BASCULE_CONFIG_H
#define BASCULE_CONFIG_H

#include "bridge/base/backoff.h"
#include "bridge/base/buf.h"
#include "bridge/connector.h"
#include "routes/template.h"

struct config_place {
    const char *file; /* lent from the config */
    int line, column; /* from 1 */
};

/* A file of certificates that a connection names, as it was when the configuration was read. */
struct config_certificate {
    const char *key;    /* "ca_file"; the connector's, or the connection's own option text */
    const char *path;   /* the connection's own option text */
    int64_t expires_ms; /* unix ms: earliest end of those in it */
};

#define CONFIG_CERTIFICATES_MAX 8

struct config_connection {
    char *name;
    struct config_place place;
    const struct connector *connector;
    void *options;  /* connector->link_options_bytes */
    char files[65]; /* hash of what the files hold that it names (certificates, keys), hex; "": it
                     * names none */
    char *text;     /* itself as YAML, as written; NULL when it holds a secret literally */
    struct config_certificate certificates[CONFIG_CERTIFICATES_MAX];
    size_t certificate_count;
    bool going;    /* gone from the files: what is going still uses it */
    bool built_in; /* the bridge itself, for `from: { internal }`: it stands in no file */
};

/* No connection of a file can have it. */
#define CONFIG_INTERNAL "(internal)"

enum config_ordering { CONFIG_ORDER_KEY = 1, CONFIG_ORDER_SOURCE, CONFIG_ORDER_NONE };

enum config_begin { CONFIG_BEGIN_NOW = 1, CONFIG_BEGIN_OLDEST, CONFIG_BEGIN_TIME };

struct config_header {
    char *name;
    struct template *value;
};

/* One sink of a route, after the route's defaults were applied. */
struct config_sink {
    char *name, *was; /* was: NULL, or the name it had in the store */
    struct config_place place;
    size_t connection; /* index into config.connections */
    void *options;     /* connector->sink_options_bytes */
    struct template
        *fields[CONNECTOR_FIELDS_MAX]; /* compiled OPTION_TEMPLATEs by slot, NULL: absent */
    size_t field_count;
    struct template *key; /* NULL: the source's record key */
    bool own_key;         /* key: stands on the sink itself, not on the route */
    struct config_header *headers;
    size_t header_count;
    bool enabled;
    const struct connector *left; /* it was going and is gone: whose options it has; its connection
                                   * may be gone too. Else NULL */
    bool going;                   /* gone from the files: it finishes what it had, then it goes */
    uint64_t going_end; /* restored as going: it gets what came before this seq; 0: not restored */
    bool fallback_only; /* only: fallback */
    size_t fallback;    /* index into the route's sinks, SIZE_MAX: none */
    enum config_begin begin;
    int64_t begin_ms;      /* unix ms, CONFIG_BEGIN_TIME */
    uint32_t max_attempts; /* 0: for ever */
    struct backoff_spec retry;
    uint32_t failure_threshold;
    int64_t open_for_ms;
    enum config_ordering ordering;
    uint32_t max_in_flight_per_key; /* 0: no limit */
    int64_t rate_limit;             /* events per 1000 s; 0: none */
    int64_t expire_after_ms;        /* 0: never */
    int64_t window_events, window_bytes, confirm_timeout_ms;
    int64_t max_dead_letters;
};

struct config_route {
    char *name, *was;
    struct config_place place;
    size_t connection;
    void *source_options;
    struct template *key; /* the route's key:, NULL: the source's record key */
    bool enabled;
    bool dedupe_redelivered;             /* dedupe: redelivered */
    int64_t retain_age_ms, retain_bytes; /* -1: as the store's */
    int64_t max_backlog;                 /* bytes; 0: its fair share of max_size */
    int64_t window_events, window_bytes; /* of its source */
    int64_t max_event_bytes;
    struct config_sink *sinks;
    size_t sink_count;
    char *text;        /* itself as YAML, as written */
    size_t gone_count; /* of those that were going: they stand behind the others */
    bool going;        /* as of a sink */
};

enum config_log_format {
    CONFIG_LOG_AUTO = 0,
    CONFIG_LOG_LOGFMT,
    CONFIG_LOG_JSON,
    CONFIG_LOG_JOURNAL
};

/* What a peer of the admin socket may do; each may what those before it may. */
enum config_role {
    CONFIG_ROLE_NONE = 0,
    CONFIG_ROLE_VIEW,
    CONFIG_ROLE_OPERATE,
    CONFIG_ROLE_ADMIN,
    CONFIG_ROLE_COUNT
};

/* Who has a role, by number. */
struct config_members {
    uint32_t *uids, *gids;
    size_t uid_count, gid_count;
};

/* `trace:`; no endpoint: nothing is traced. */
struct config_trace {
    bool set;
    char *endpoint, *service, *ca_file;
    double ratio;
    int64_t timeout_ms;
    struct option_map headers; /* secrets, as a rule */
};

struct config {
    struct config_connection *connections;
    size_t connection_count;
    struct config_route *routes;
    size_t route_count;
    char *store_path;
    int64_t store_max_size, retain_age_ms, retain_bytes;
    char *admin_socket, *admin_group;
    char *admin_http; /* address of the public endpoints; NULL: none */
    bool roles_set;   /* false: whoever reaches the admin socket may all */
    struct config_members roles[CONFIG_ROLE_COUNT];
    int log_level; /* enum log_level, base/log.h */
    enum config_log_format log_format;
    struct config_trace trace;
    char hash[65]; /* of all files read, hex; names this configuration */
    char **files;  /* that were read, in order */
    size_t file_count;
};

/* One problem, as printed: "file:line:col: error BSC-0123: what", the line, a caret, a hint. */
struct config_problem {
    int code; /* BSC-nnnn */
    bool warning;
    struct config_place place;
    char text[320]; /* what */
    char hint[160]; /* "did you mean 'topic'?", "" for none */
    char line[200]; /* the line of the file, cut, secrets in it masked; "" for none */
};

struct config_problems {
    struct config_problem *at; /* in file and line order */
    size_t n, error_count;
};

/* Reads PATH (a file; with it routes.d, all .yaml in it, beside it), or the COUNT files of PATHS as
 * one configuration. All problems of all files are found in one run. Returns 0 with *ret (there may
 * be warnings), or -1 when there are errors; *problems is filled either way and the caller's to
 * free. */
int config_load(
    const char *const *paths, size_t count, struct config **ret, struct config_problems *problems);
void config_free(struct config *c);
/* Adds what is gone from the files and finishes first: of the one route in `text` all, or only
 * `sink` (else NULL), behind the sinks of the configured route `to`. The text is a configuration;
 * of its connections those count that the files do not have. Before anything holds pointers into
 * *c. FAULT_INPUT: it can never work as things are. */
int config_add_going(struct config *c, const char *text, const char *sink, const char *to,
    uint64_t end_seq, struct fault *why);
/* Such a text of route i: itself, and the connections that may be shown. Owned by the caller; NULL:
 * out of memory. */
char *config_going_text(const struct config *c, size_t route);
/* The same people may do the same. */
bool config_roles_equal(const struct config *a, const struct config *b);
void config_problems_done(struct config_problems *p);
/* As a person reads it, with file:line:col, the line and a caret. */
void config_problem_print(const struct config_problem *p, struct buf *to);

#endif
