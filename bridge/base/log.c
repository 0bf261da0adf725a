#include "bridge/base/log.h"
#include "bridge/base/buf.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FOLD_MS 10000 /* the same line again within this time is only counted */
#define FOLD_LINES 32 /* different lines watched for repetition */
#define LINE_BYTES_MAX 8192
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

struct folded {
    uint64_t hash;
    int64_t said_ms;
    unsigned repeats; /* since it was said */
    enum log_level level;
    char route[64], sink[64], text[512];
};

/* One process, one standard error: the log is the only module with state of its own. */
static struct {
    pthread_mutex_t lock;
    enum log_level level;
    enum log_format format;
    int journal; /* socket, -1 */
    struct folded lines[FOLD_LINES];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .journal = -1 };

static const char *const level_names[] = { "none", "error", "warn", "info", "debug" };
/* syslog's numbers, which journal and systemd's line prefixes use */
static const int priorities[] = { 6, 3, 4, 6, 7 };

/* The journal gives its stream's inode, so a redirected stderr is told apart. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(enum log_level level, enum log_format format)
{
    (void)pthread_mutex_lock(&state.lock);
    if (format == LOG_FORMAT_AUTO)
        format = stderr_is_journal() ? LOG_FORMAT_JOURNAL : LOG_FORMAT_LOGFMT;
    if (format == LOG_FORMAT_JOURNAL && state.journal < 0)
        state.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    state.level = level;
    state.format = format;
    (void)pthread_mutex_unlock(&state.lock);
}

/* The time on a line decides nothing, so it is the one clock read outside the loop. */
static int64_t clock_ms(clockid_t which)
{
    struct timespec ts;

    (void)clock_gettime(which, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void put_time(struct buf *to)
{
    int64_t now = clock_ms(CLOCK_REALTIME);
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    char text[32];

    if (!gmtime_r(&seconds, &tm))
        return;
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_put_format(to, "%s.%03dZ", text, (int)(now % 1000));
}

/* Both formats escape alike; anything that could move a terminal's cursor goes as \u00XX. */
static void put_quoted(struct buf *to, const char *text)
{
    buf_put_byte(to, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_put_format(to, "\\%c", *c);
        else if (*c == '\n')
            buf_put_text(to, "\\n");
        else if (*c < 0x20 || *c == 0x7f)
            buf_put_format(to, "\\u%04x", *c);
        else
            buf_put_byte(to, *c);
    }
    buf_put_byte(to, '"');
}

static void put_logfmt(struct buf *to, const struct folded *l)
{
    buf_put_text(to, "time=");
    put_time(to);
    buf_put_format(to, " level=%s", level_names[l->level]);
    if (*l->route)
        buf_put_format(to, " route=%s", l->route);
    if (*l->sink)
        buf_put_format(to, " sink=%s", l->sink);
    buf_put_text(to, " msg=");
    put_quoted(to, l->text);
    if (l->repeats)
        buf_put_format(to, " repeated=%u", l->repeats);
    buf_put_byte(to, '\n');
}

static void put_json(struct buf *to, const struct folded *l)
{
    buf_put_text(to, "{\"time\":\"");
    put_time(to);
    buf_put_format(to, "\",\"level\":\"%s\"", level_names[l->level]);
    if (*l->route) {
        buf_put_text(to, ",\"route\":");
        put_quoted(to, l->route);
    }
    if (*l->sink) {
        buf_put_text(to, ",\"sink\":");
        put_quoted(to, l->sink);
    }
    buf_put_text(to, ",\"msg\":");
    put_quoted(to, l->text);
    if (l->repeats)
        buf_put_format(to, ",\"repeated\":%u", l->repeats);
    buf_put_text(to, "}\n");
}

/* A field whose value has a newline goes with a 64-bit length
 * (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). */
static void put_field(struct buf *to, const char *name, const char *value)
{
    size_t n = strlen(value);

    if (n == 0)
        return;
    buf_put_text(to, name);
    if (strchr(value, '\n')) {
        buf_put_byte(to, '\n');
        buf_put_u64(to, n);
    } else {
        buf_put_byte(to, '=');
    }
    buf_put(to, value, n);
    buf_put_byte(to, '\n');
}

static bool send_journal(const struct folded *l, struct buf *to)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };

    buf_put_format(to, "PRIORITY=%d\nSYSLOG_IDENTIFIER=bascule\n", priorities[l->level]);
    put_field(to, "MESSAGE", l->text);
    put_field(to, "BASCULE_ROUTE", l->route);
    put_field(to, "BASCULE_SINK", l->sink);
    if (l->repeats)
        buf_put_format(to, "BASCULE_REPEATED=%u\n", l->repeats);
    return state.journal >= 0 && sendto(state.journal, to->at, to->n, MSG_NOSIGNAL,
                                     (struct sockaddr *)&where, sizeof where) >= 0;
}

static void print(const struct folded *l)
{
    struct buf line;

    buf_init(&line, LINE_BYTES_MAX);
    if (state.format == LOG_FORMAT_JOURNAL && !send_journal(l, &line)) {
        buf_clear(&line);
        buf_put_format(&line, "<%d>", priorities[l->level]);
        put_logfmt(&line, l);
        (void)!write(STDERR_FILENO, line.at, line.n);
    } else if (state.format == LOG_FORMAT_JSON) {
        put_json(&line, l);
        (void)!write(STDERR_FILENO, line.at, line.n);
    } else if (state.format != LOG_FORMAT_JOURNAL) {
        put_logfmt(&line, l);
        (void)!write(STDERR_FILENO, line.at, line.n);
    }
    buf_done(&line);
}

static uint64_t line_hash(const struct folded *l)
{
    return bytes_hash(bytes_text(l->text)) ^ bytes_hash(bytes_text(l->route)) * 3 ^
           bytes_hash(bytes_text(l->sink)) * 5 ^ (uint64_t)l->level;
}

/* Says what was folded once its time is over, then the new line; or counts it. */
static void say_or_fold(struct folded *line)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    struct folded *oldest = &state.lines[0];

    for (size_t i = 0; i < FOLD_LINES; i++) {
        struct folded *l = &state.lines[i];

        if (l->hash && now - l->said_ms >= FOLD_MS) {
            if (l->repeats)
                print(l);
            l->hash = 0;
        }
        if (l->hash == line->hash) {
            l->repeats++;
            return;
        }
        if (oldest->hash && (!l->hash || l->said_ms < oldest->said_ms))
            oldest = l;
    }
    if (oldest->hash && oldest->repeats)
        print(oldest);
    line->said_ms = now;
    *oldest = *line;
    print(line);
}

void log_say(enum log_level level, const char *route, const char *sink, const char *format, ...)
{
    struct folded line = { .level = level };
    va_list ap;

    if (level > state.level || level <= LOG_LEVEL_NONE)
        return;
    va_start(ap, format);
    (void)vsnprintf(line.text, sizeof line.text, format, ap);
    va_end(ap);
    (void)snprintf(line.route, sizeof line.route, "%s", route ? route : "");
    (void)snprintf(line.sink, sizeof line.sink, "%s", sink ? sink : "");
    line.hash = line_hash(&line);
    (void)pthread_mutex_lock(&state.lock);
    say_or_fold(&line);
    (void)pthread_mutex_unlock(&state.lock);
}
