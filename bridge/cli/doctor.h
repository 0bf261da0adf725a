/* A check-up of the whole installation: what is looked at, what it means, what was found. Each
 * doctor_*.c file looks at one side of it; none changes anything. */
#ifndef BASCULE_DOCTOR_H
#define BASCULE_DOCTOR_H

#include "bridge/cli/command.h"
#include "routes/problem.h"

/* Public numbers (BSC-nnnn), beside those of routes/problem.h: add, never renumber. */
enum doctor_code {
    DOCTOR_NONE = 0,
    DOCTOR_CONFIG = 500,
    DOCTOR_DAEMON = 501,
    DOCTOR_RELOAD = 502,
    DOCTOR_WORK = 503,
    DOCTOR_CREDENTIAL = 504,
    DOCTOR_CLOCK = 510,
    DOCTOR_CLOCK_STEP = 511,
    DOCTOR_CLOCK_BROKER = 512,
    DOCTOR_SYNC = 520,
    DOCTOR_SPACE = 521,
    DOCTOR_FILE_SYSTEM = 522,
    DOCTOR_STORE = 523,
    DOCTOR_DESCRIPTORS = 530,
    DOCTOR_MEMORY = 531,
    DOCTOR_CORE = 532,
    DOCTOR_MODE = 540,
    DOCTOR_CERTIFICATE = 550,
    DOCTOR_BROKER = 560,
    DOCTOR_ROUTE = 561,
    DOCTOR_LIBRARY = 570,
};

struct doctor_check {
    int code;
    const char *name;  /* "disk sync" */
    int exit;          /* what the command returns when it fails */
    const char *means; /* a sentence or two */
    const char *todo;
};

/* All of them, ended by code 0. */
extern const struct doctor_check doctor_table[];

enum verdict { VERDICT_NONE = 0, VERDICT_OK, VERDICT_WARN, VERDICT_FAIL, VERDICT_SKIPPED };

struct doctor_finding {
    const struct doctor_check *check;
    enum verdict verdict;
    char subject[160]; /* a connection, a file; "" */
    char text[480];
};

struct doctor {
    const char *config_path;
    const struct config *config; /* NULL: it has errors */
    const char *socket;
    json_t *status; /* what the daemon says; NULL: it does not answer */
    int64_t unix_ms;
    struct doctor_finding *at;
    size_t n;
    bool failed; /* out of memory: findings are missing */
};

/* Beyond memory, what was found is counted as missing. */
void doctor_say(struct doctor *d, enum doctor_code code, enum verdict verdict, const char *subject,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
const char *doctor_verdict_text(enum verdict v);
/* 0 when nothing failed, else what the first check that failed returns: DAEMON_LATER, which is
 * mostly what follows from another one, when there is no other. */
int doctor_exit(const struct doctor *d);
void doctor_done(struct doctor *d);
/* The daemon's process; 0: it does not run. */
int64_t doctor_pid(const struct doctor *d);

/* Fills d->status; false when nobody answers. */
bool doctor_find_daemon(struct doctor *d);
void doctor_daemon(struct doctor *d);
void doctor_host(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_files(struct doctor *d, const struct config_problems *problems);
void doctor_brokers(struct doctor *d);
void doctor_libraries(struct doctor *d);

/* The directory of the credentials that systemd gave to a process; false: none, or not for us to
 * see. */
bool doctor_credentials_directory(int64_t pid, char *ret, size_t n);

/* Parts that tests look at alone. */

/* Lines "name:path" of a unit's LoadCredential=, against what was loaded into the directory. */
void doctor_credentials(struct doctor *d, const char *directory, const char *lines);

/* "2.0.2" as 2000002; 0: no version. */
int64_t doctor_version(const char *text);
/* What is known of a library that names itself so: "librdkafka 2.0.2". */
void doctor_library(struct doctor *d, const char *name);
/* The same of a broker: "Redis 7.0.15". */
void doctor_broker_version(struct doctor *d, const char *connection, const char *name);
/* What a file system's number (statfs) means for a store. */
enum verdict doctor_file_system(int64_t type, char *ret, size_t n);
/* What the times of syncs (µs, any order; sorted by this) mean. */
void doctor_sync_times(struct doctor *d, const char *where, int64_t *us, size_t n);
/* Files that others may change or read. `secret`: others must not read it. */
void doctor_mode(struct doctor *d, const char *path, bool secret);
/* A line of /proc/PID/limits: its soft limit, INT64_MAX: none, -1: not there. */
int64_t doctor_limit(const char *limits, const char *name);
void doctor_certificate(
    struct doctor *d, const char *connection, const char *which, int64_t expires_ms);
void doctor_clock_broker(
    struct doctor *d, const char *connection, int64_t ahead_ms, int64_t unsure_ms);

#endif
