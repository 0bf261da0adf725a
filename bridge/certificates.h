/* Until when the certificates of all connections are good: those in files, as they were loaded, and
 * those that brokers showed. */
#ifndef BASCULE_CERTIFICATES_H
#define BASCULE_CERTIFICATES_H

#include "routes/relay.h"

/* Days ahead at which a certificate is warned of. */
#define CERTIFICATES_WARN_DAYS 30

struct certificate {
    const char *connection; /* lent from the configuration, as all text here */
    const char *which;      /* "ca_file", "cert_file"; "peer": the broker's own */
    const char *path;       /* NULL: of a broker */
    int64_t expires_ms;     /* unix ms */
};

struct certificates {
    struct certificate *at;
    size_t n;
};

/* 0, or -1 without memory. The caller frees them with certificates_done(). */
int certificates_read(
    const struct relay *relay, const struct config *config, struct certificates *ret);
void certificates_done(struct certificates *c);

/* Whole days from now until then, rounded down: -1 on the day after it ended. */
int64_t certificates_days(int64_t expires_ms, int64_t unix_ms);
/* Whether it is to be warned of. */
bool certificates_near(int64_t expires_ms, int64_t unix_ms);

/* Says in the log, once a day each, which are near their end. */
struct certificates_watch;
int certificates_watch_open(struct certificates_watch **ret, struct fault *why);
void certificates_watch_free(struct certificates_watch *w);
void certificates_watch_look(
    struct certificates_watch *w, const struct certificates *all, int64_t unix_ms);

#endif
