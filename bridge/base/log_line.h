/* One line of the log, and how it is written in each format. */
#ifndef BASCULE_LOG_LINE_H
#define BASCULE_LOG_LINE_H

#include "bridge/base/buf.h"
#include "bridge/base/log.h"

/* A pipe takes as much whole or not at all (PIPE_BUF in pipe(7)). */
#define LOG_LINE_BYTES_MAX 4096

struct log_line {
    enum log_level level;
    unsigned repeats; /* 0: said for the first time */
    char route[128], sink[128], code[32];
    char event[160], event_id[160], correlation_id[160], traceparent[64];
    char text[640];
};

void log_line_concerns(struct log_line *l, const struct log_about *about);
uint64_t log_line_hash(const struct log_line *l);
bool log_line_equal(const struct log_line *a, const struct log_line *b);
/* Puts it whole, with its line end; what is too long is cut. */
void log_line_logfmt(const struct log_line *l, int64_t unix_ms, struct buf *to);
void log_line_json(const struct log_line *l, int64_t unix_ms, struct buf *to);
/* As a datagram for the journal's socket (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). */
void log_line_journal(const struct log_line *l, struct buf *to);
/* syslog's number, which the journal and systemd's line prefixes use. */
int log_line_priority(const struct log_line *l);

#endif
