/* The machine: its clock, and the limits that the daemon runs under. */
#include "bridge/cli/doctor.h"
#include "bridge/cli/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define PROC_BYTES_MAX 65536
#define CLOCK_STEP_MS 60000 /* as the daemon says a step */
#define CLOCK_FAIL_MS 3600000
/* What the daemon has open beside sockets of its ends: store, WAL, readers, loop, admin clients. */
#define DESCRIPTORS_BASE 128
#define DESCRIPTORS_PER_END 4

static int64_t clock_ms(clockid_t which)
{
    struct timespec t;

    (void)clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A file of /proc or /sys, whole; false when it cannot be read. */
static bool read_text(const char *path, char *ret, size_t n)
{
    FILE *f = fopen(path, "re");
    size_t got = f ? fread(ret, 1, n - 1, f) : 0;

    if (f)
        (void)fclose(f);
    ret[got] = '\0';
    return got > 0;
}

/* ---- clock ---- */

static void look_at_clock(struct doctor *d)
{
    struct timex t = { 0 };
    int state = adjtimex(&t);

    if (state < 0)
        doctor_say(
            d, DOCTOR_CLOCK, VERDICT_SKIPPED, "", "the kernel does not tell: %s", strerror(errno));
    else if (state == TIME_ERROR || t.status & STA_UNSYNC)
        doctor_say(
            d, DOCTOR_CLOCK, VERDICT_WARN, "", "nothing keeps the clock right, says the kernel");
    else
        doctor_say(d, DOCTOR_CLOCK, VERDICT_OK, "",
            "kept right to %.1f ms by the kernel's estimate", (double)t.esterror / 1000);
}

/* Field 22 of /proc/PID/stat, behind the name, which may hold blanks: ticks from boot to start. */
static int64_t started_boot_ms(int64_t pid)
{
    char path[64], text[4096];
    const char *at;
    long long ticks = 0;

    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    if (!read_text(path, text, sizeof text) || !(at = strrchr(text, ')')))
        return -1;
    at++;
    for (int field = 3; field < 22 && at; field++)
        at = strchr(at + 1, ' ');
    return at && sscanf(at, "%lld", &ticks) == 1 ? ticks * 1000 / sysconf(_SC_CLK_TCK) : -1;
}

static void look_at_steps(struct doctor *d)
{
    int64_t pid = doctor_pid(d), start = pid ? started_boot_ms(pid) : -1;
    int64_t told = json_integer_value(json_object_get(d->status, "started_ms")), stepped;

    if (start < 0 || !told)
        return;
    stepped = (clock_ms(CLOCK_REALTIME) - told) - (clock_ms(CLOCK_BOOTTIME) - start);
    doctor_say(d, DOCTOR_CLOCK_STEP,
        llabs(stepped) > CLOCK_FAIL_MS   ? VERDICT_FAIL
        : llabs(stepped) > CLOCK_STEP_MS ? VERDICT_WARN
                                         : VERDICT_OK,
        "", "since the daemon's start the wall clock was set by %.1f s", (double)stepped / 1000);
}

void doctor_clock_broker(
    struct doctor *d, const char *connection, int64_t ahead_ms, int64_t unsure_ms)
{
    int64_t off = llabs(ahead_ms) - unsure_ms;

    doctor_say(d, DOCTOR_CLOCK_BROKER,
        off > CLOCK_STEP_MS ? VERDICT_FAIL
        : off > 1000        ? VERDICT_WARN
                            : VERDICT_OK,
        connection, "%.3f s %s ours, give or take %.3f s", (double)llabs(ahead_ms) / 1000,
        ahead_ms < 0 ? "behind" : "ahead of", (double)unsure_ms / 1000);
}

/* ---- limits ---- */

int64_t doctor_limit(const char *limits, const char *name)
{
    const char *at = strstr(limits, name);
    char word[32];

    if (!at || sscanf(at + strlen(name), " %31s", word) != 1)
        return -1;
    return strcmp(word, "unlimited") == 0 ? INT64_MAX : strtoll(word, NULL, 10);
}

static void look_at_descriptors(struct doctor *d, int64_t limit)
{
    int64_t need = DESCRIPTORS_BASE;

    for (size_t i = 0; d->config && i < d->config->route_count; i++)
        need += DESCRIPTORS_PER_END * (1 + (int64_t)d->config->routes[i].sink_count);
    if (limit == INT64_MAX)
        doctor_say(
            d, DOCTOR_DESCRIPTORS, VERDICT_OK, "", "no limit; %" PRId64 " may be needed", need);
    else
        doctor_say(d, DOCTOR_DESCRIPTORS,
            limit < need / 2 ? VERDICT_FAIL
            : limit < need   ? VERDICT_WARN
                             : VERDICT_OK,
            "", "%" PRId64 " allowed, %" PRId64 " may be needed", limit, need);
}

static void look_at_core(struct doctor *d, int64_t limit)
{
    doctor_say(d, DOCTOR_CORE, limit == 0 ? VERDICT_OK : VERDICT_WARN, "",
        limit == 0 ? "off" : "the daemon may leave one when it crashes");
}

static int64_t kilobytes_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

/* The unit's limit; INT64_MAX: none, or it cannot be read. */
static int64_t unit_limit(int64_t pid)
{
    char path[600], text[512], *group;

    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/cgroup", pid);
    if (!read_text(path, text, sizeof text) || !(group = strstr(text, "0::")))
        return INT64_MAX;
    group += 3;
    group[strcspn(group, "\n")] = '\0';
    (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    if (!read_text(path, text, sizeof text) || strncmp(text, "max", 3) == 0)
        return INT64_MAX;
    return strtoll(text, NULL, 10);
}

static void look_at_memory(struct doctor *d, int64_t pid)
{
    char path[64], text[PROC_BYTES_MAX];
    int64_t used = -1, limit = unit_limit(pid), left = -1, all = -1;
    struct buf say;

    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/status", pid);
    if (read_text(path, text, sizeof text))
        used = kilobytes_of(text, "VmRSS:") * 1024;
    if (read_text("/proc/meminfo", text, sizeof text)) {
        left = kilobytes_of(text, "MemAvailable:") * 1024;
        all = kilobytes_of(text, "MemTotal:") * 1024;
    }
    if (used < 0 || left < 0) {
        doctor_say(d, DOCTOR_MEMORY, VERDICT_SKIPPED, "", "/proc does not tell");
        return;
    }
    buf_init(&say, 256);
    buf_put_text(&say, "the daemon has ");
    table_put_size(&say, used);
    if (limit != INT64_MAX) {
        buf_put_text(&say, " of the ");
        table_put_size(&say, limit);
        buf_put_text(&say, " that its unit may have");
    }
    buf_put_text(&say, "; the machine has ");
    table_put_size(&say, left);
    buf_put_text(&say, " left");
    doctor_say(d, DOCTOR_MEMORY,
        used > limit / 10 * 9 || left < all / 20 ? VERDICT_WARN : VERDICT_OK, "", "%s",
        buf_text(&say));
    buf_done(&say);
}

static void look_at_limits(struct doctor *d)
{
    int64_t pid = doctor_pid(d);
    char path[64], text[PROC_BYTES_MAX];

    if (!pid)
        return; /* ours are no daemon's */
    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/limits", pid);
    if (read_text(path, text, sizeof text)) {
        look_at_descriptors(d, doctor_limit(text, "Max open files"));
        look_at_core(d, doctor_limit(text, "Max core file size"));
    } else {
        doctor_say(d, DOCTOR_DESCRIPTORS, VERDICT_SKIPPED, "", "%s cannot be read", path);
    }
    look_at_memory(d, pid);
}

void doctor_host(struct doctor *d)
{
    look_at_clock(d);
    look_at_steps(d);
    look_at_limits(d);
}
