/* What the program says about itself, on stderr: logfmt, JSON, or journal fields. Never a body,
 * never a secret. Nothing is said before log_open(). */
#ifndef BASCULE_LOG_H
#define BASCULE_LOG_H

enum log_level {
    LOG_LEVEL_NONE = 0,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};
enum log_format { LOG_FORMAT_AUTO = 0, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL };

void log_open(enum log_level level, enum log_format format);
/* route and sink may be NULL. Any thread. One line. */
void log_say(enum log_level level, const char *route, const char *sink, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
