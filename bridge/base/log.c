#include "bridge/base/log_line.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FOLD_LINES 32    /* different lines watched for repetition */
#define LOST_SAY_MS 1000 /* between tries to say that lines were lost */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

struct folded {
    bool used;
    uint64_t hash;
    int64_t said_ms;
    struct log_line line; /* repeats: since it was said */
};

/* One process, one standard error: the log is the only module with state of its own. */
static struct {
    pthread_mutex_t lock;
    atomic_int level;  /* that holds */
    atomic_bool waits; /* log_step() has something to do */
    enum log_level configured;
    int64_t until_ms; /* of a person's level; 0: none */
    enum log_format format;
    bool is_socket, is_file; /* what stderr is */
    int journal;             /* socket, -1 */
    char journal_path[sizeof((struct sockaddr_un *)0)->sun_path];
    struct folded lines[FOLD_LINES];
    uint64_t lost, unsaid; /* lines; unsaid: those that the log itself does not tell yet */
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .journal = -1 };

static const char *const levels[] = { "none", "error", "warn", "info", "debug" };
static const char *const formats[] = { "auto", "logfmt", "json", "journal" };

const char *log_level_text(enum log_level level)
{
    return levels[level];
}

const char *log_format_text(enum log_format format)
{
    return formats[format];
}

enum log_level log_level_parse(const char *text)
{
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
        if (strcmp(text, levels[i]) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_NONE;
}

/* ---- settings ---- */

int log_environment(struct log_spec *spec, struct fault *why)
{
    const char *level = getenv("BASCULE_LOG_LEVEL"), *format = getenv("BASCULE_LOG_FORMAT");

    if (level && *level && (spec->level = log_level_parse(level)) == LOG_LEVEL_NONE)
        return fault_set(why, FAULT_INPUT, 0,
            "BASCULE_LOG_LEVEL: '%.64s' is not one of error, warn, info, debug", level);
    if (!format || !*format)
        return 0;
    for (int i = LOG_FORMAT_AUTO; i <= LOG_FORMAT_JOURNAL; i++)
        if (strcmp(format, formats[i]) == 0) {
            spec->format = (enum log_format)i;
            return 0;
        }
    return fault_set(why, FAULT_INPUT, 0,
        "BASCULE_LOG_FORMAT: '%.64s' is not one of auto, logfmt, json, journal", format);
}

/* The journal gives its stream's inode, so a redirected stderr is told apart. */
static bool is_journal(const struct stat *st)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && st->st_dev == device &&
           st->st_ino == inode;
}

static void level_hold(enum log_level level)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

void log_open(const struct log_spec *spec)
{
    struct stat st = { 0 };

    (void)pthread_mutex_lock(&state.lock);
    (void)fstat(STDERR_FILENO, &st);
    state.is_socket = S_ISSOCK(st.st_mode);
    state.is_file = S_ISREG(st.st_mode);
    state.format = spec->format != LOG_FORMAT_AUTO ? spec->format
                   : is_journal(&st)               ? LOG_FORMAT_JOURNAL
                                                   : LOG_FORMAT_LOGFMT;
    (void)snprintf(state.journal_path, sizeof state.journal_path, "%s",
        spec->journal ? spec->journal : JOURNAL_SOCKET);
    if (state.format == LOG_FORMAT_JOURNAL && state.journal < 0)
        state.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    state.configured = spec->level;
    if (!state.until_ms)
        level_hold(spec->level);
    (void)pthread_mutex_unlock(&state.lock);
}

void log_level_set(enum log_level level, int64_t until_ms)
{
    (void)pthread_mutex_lock(&state.lock);
    state.until_ms = level == LOG_LEVEL_NONE ? 0 : until_ms;
    level_hold(level == LOG_LEVEL_NONE ? state.configured : level);
    if (state.until_ms)
        atomic_store(&state.waits, true);
    (void)pthread_mutex_unlock(&state.lock);
}

void log_status(struct log_status *ret)
{
    (void)pthread_mutex_lock(&state.lock);
    *ret = (struct log_status){ .level = (enum log_level)atomic_load(&state.level),
        .configured = state.configured,
        .until_ms = state.until_ms,
        .format = state.format,
        .lost = state.lost };
    (void)pthread_mutex_unlock(&state.lock);
}

/* ---- writing; under the lock ---- */

/* The time on a line decides nothing, so it is the one clock read outside the loop. */
static int64_t clock_ms(clockid_t which)
{
    struct timespec ts;

    (void)clock_gettime(which, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Whoever reads standard error may have stopped: a write that could wait is not begun. A pipe that
 * has room takes a line whole (LOG_LINE_BYTES_MAX). A file never says that it has no room. */
static bool stderr_write(const struct buf *line)
{
    struct pollfd out = { STDERR_FILENO, POLLOUT, 0 };
    ssize_t n;

    if (line->failed)
        return false;
    if (state.is_socket)
        n = send(STDERR_FILENO, line->at, line->n, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (!state.is_file && (poll(&out, 1, 0) <= 0 || !(out.revents & POLLOUT)))
        return false;
    else
        n = write(STDERR_FILENO, line->at, line->n);
    return n == (ssize_t)line->n;
}

static bool journal_send(const struct log_line *l, struct buf *to)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };

    memcpy(where.sun_path, state.journal_path, sizeof where.sun_path);
    log_line_journal(l, to);
    return !to->failed && state.journal >= 0 &&
           sendto(state.journal, to->at, to->n, MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&where, sizeof where) >= 0;
}

/* Without the journal's socket its stream still takes lines, each with its priority. */
static bool line_write(const struct log_line *l)
{
    int64_t now = clock_ms(CLOCK_REALTIME);
    struct buf line;
    bool written;

    buf_init(&line, (size_t)4 * LOG_LINE_BYTES_MAX);
    if (state.format == LOG_FORMAT_JOURNAL) {
        written = journal_send(l, &line);
        if (!written) {
            buf_clear(&line);
            buf_put_format(&line, "<%d>", log_line_priority(l));
            log_line_logfmt(l, now, &line);
            written = stderr_write(&line);
        }
    } else {
        if (state.format == LOG_FORMAT_JSON)
            log_line_json(l, now, &line);
        else
            log_line_logfmt(l, now, &line);
        written = stderr_write(&line);
    }
    buf_done(&line);
    return written;
}

static bool lost_say(void)
{
    struct log_line l = { .level = LOG_LEVEL_WARN };

    if (!state.unsaid)
        return true;
    (void)snprintf(l.text, sizeof l.text,
        "%" PRIu64 " lines of this log were lost: whoever reads it did not keep up", state.unsaid);
    if (!line_write(&l))
        return false;
    state.unsaid = 0;
    return true;
}

static void print(const struct log_line *l)
{
    if (lost_say() && line_write(l))
        return;
    state.lost++;
    state.unsaid++;
    atomic_store(&state.waits, true);
}

/* ---- folding; under the lock ---- */

/* A line that is watched for its time; its repeats are said when that is over. */
static void fold_end(struct folded *f)
{
    if (f->used && f->line.repeats)
        print(&f->line);
    f->used = false;
}

static void say_or_fold(const struct log_line *line, int64_t now)
{
    struct folded *place = &state.lines[0];
    uint64_t hash = log_line_hash(line);

    for (size_t i = 0; i < FOLD_LINES; i++) {
        struct folded *f = &state.lines[i];

        if (f->used && now - f->said_ms >= LOG_FOLD_MS)
            fold_end(f);
        if (f->used && f->hash == hash && log_line_equal(&f->line, line)) {
            f->line.repeats++;
            atomic_store(&state.waits, true);
            return;
        }
        if (place->used && (!f->used || f->said_ms < place->said_ms))
            place = f;
    }
    fold_end(place);
    *place = (struct folded){ .used = true, .hash = hash, .said_ms = now, .line = *line };
    print(line);
}

static void say(struct log_line *line, const char *format, va_list ap)
{
    (void)vsnprintf(line->text, sizeof line->text, format, ap);
    (void)pthread_mutex_lock(&state.lock);
    say_or_fold(line, clock_ms(CLOCK_MONOTONIC));
    (void)pthread_mutex_unlock(&state.lock);
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&state.level, memory_order_relaxed) &&
           level > LOG_LEVEL_NONE;
}

void log_say(enum log_level level, const char *route, const char *sink, const char *format, ...)
{
    struct log_about about = { .route = route, .sink = sink };
    struct log_line line = { .level = level };
    va_list ap;

    if (!log_wants(level))
        return;
    log_line_concerns(&line, &about);
    va_start(ap, format);
    say(&line, format, ap);
    va_end(ap);
}

void log_about(enum log_level level, const struct log_about *about, const char *format, ...)
{
    struct log_line line = { .level = level };
    va_list ap;

    if (!log_wants(level))
        return;
    log_line_concerns(&line, about);
    va_start(ap, format);
    say(&line, format, ap);
    va_end(ap);
}

/* ---- what becomes due by itself ---- */

static int64_t folds_step(int64_t now_ms)
{
    int64_t wake = INT64_MAX;

    for (size_t i = 0; i < FOLD_LINES; i++) {
        struct folded *f = &state.lines[i];

        if (!f->used || !f->line.repeats)
            continue;
        if (now_ms - f->said_ms >= LOG_FOLD_MS)
            fold_end(f);
        else if (f->said_ms + LOG_FOLD_MS < wake)
            wake = f->said_ms + LOG_FOLD_MS;
    }
    return wake;
}

static void level_end(void)
{
    struct log_line line = { .level = LOG_LEVEL_INFO };

    state.until_ms = 0;
    level_hold(state.configured);
    (void)snprintf(line.text, sizeof line.text, "log level is %s again", levels[state.configured]);
    if (log_wants(line.level))
        print(&line);
}

int64_t log_step(int64_t now_ms)
{
    int64_t wake;

    if (!atomic_load_explicit(&state.waits, memory_order_relaxed))
        return INT64_MAX;
    (void)pthread_mutex_lock(&state.lock);
    wake = folds_step(now_ms);
    if (state.until_ms && now_ms >= state.until_ms)
        level_end();
    if (state.until_ms && state.until_ms < wake)
        wake = state.until_ms;
    if (!lost_say() && now_ms + LOST_SAY_MS < wake)
        wake = now_ms + LOST_SAY_MS;
    if (wake == INT64_MAX)
        atomic_store(&state.waits, false);
    (void)pthread_mutex_unlock(&state.lock);
    return wake;
}

void log_close(void)
{
    (void)pthread_mutex_lock(&state.lock);
    for (size_t i = 0; i < FOLD_LINES; i++)
        fold_end(&state.lines[i]);
    (void)lost_say();
    (void)pthread_mutex_unlock(&state.lock);
}
