/* What the program says about itself: fields of systemd's journal, else logfmt or JSON on stderr.
 * Never a body, never a secret; nothing is said before log_open(). Nobody waits for whoever reads
 * it: a line that cannot be written at once is lost, counted, and the count is said. */
#ifndef BASCULE_LOG_H
#define BASCULE_LOG_H

#include "bridge/base/event.h"
#include "bridge/base/fault.h"

enum log_level {
    LOG_LEVEL_NONE = 0,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};
enum log_format { LOG_FORMAT_AUTO = 0, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL };

/* The same line again within this time is only counted; then the count is said. */
#define LOG_FOLD_MS 10000

struct log_spec {
    enum log_level level;
    enum log_format format;
    const char *journal; /* path of its socket, for tests; NULL: systemd's */
};

/* What a line concerns; anything may be absent. */
struct log_about {
    const char *route, *sink;
    const char *code;          /* "BSC-0123", a broker's number; NULL or "": none */
    const char *log;           /* the route whose log holds `event` */
    const struct event *event; /* the one event that it concerns: its name, id, correlation-id and
                                * traceparent go along; NULL: none */
};

/* May be called again: the new settings hold from then on. */
void log_open(const struct log_spec *spec);
/* Says what was only counted. */
void log_close(void);
/* BASCULE_LOG_LEVEL and BASCULE_LOG_FORMAT over what *spec says. -1, FAULT_INPUT: no such value. */
int log_environment(struct log_spec *spec, struct fault *why);

/* route and sink may be NULL. Any thread. One line. */
void log_say(enum log_level level, const char *route, const char *sink, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void log_about(enum log_level level, const struct log_about *about, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Whether a line of that level is said, for what costs something to put together. */
bool log_wants(enum log_level level);

/* Says counts whose time is over. Returns when to call it again (monotonic ms), INT64_MAX: not
 * before the next line. */
int64_t log_step(int64_t now_ms);

/* A person's own level, until that time (monotonic ms, INT64_MAX: until the process ends), whatever
 * is configured meanwhile. LOG_LEVEL_NONE: the configured one again. */
void log_level_set(enum log_level level, int64_t until_ms);

struct log_status {
    enum log_level level, configured;
    int64_t until_ms; /* of a person's level; 0: the configured one holds */
    enum log_format format;
    uint64_t lost; /* lines that nobody took */
};
void log_status(struct log_status *ret);

/* "warn"; LOG_LEVEL_NONE when it is no level. */
const char *log_level_text(enum log_level level);
enum log_level log_level_parse(const char *text);
const char *log_format_text(enum log_format format);

#endif
