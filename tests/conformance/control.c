/* The tests' line to run.py: one request, one answer, one connection each. */
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void (*fixture_idle)(void);

void fixture_shell(const char *format, ...)
{
    char line[4096];
    va_list args;
    pid_t pid, got = -1;
    int status = -1;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    while (pid > 0 && (got = waitpid(pid, &status, WNOHANG)) == 0) {
        if (fixture_idle)
            fixture_idle();
        else
            (void)poll(NULL, 0, 2);
    }
    if (pid < 0 || got != pid || status != 0)
        harness_fail(__FILE__, __LINE__, "failed: %s", line);
}

void fixture_text(char **at, const char *format, ...)
{
    va_list args;

    free(*at);
    va_start(args, format);
    if (vasprintf(at, format, args) < 0)
        abort();
    va_end(args);
}

static size_t ask(const char *format, ...) __attribute__((format(printf, 1, 2)));

static size_t ask(const char *format, ...)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const char *path = getenv("BASCULE_TEST_CONTROL");
    char line[PATH_MAX + 256], answer[512] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    va_list args;
    size_t n = 0;
    ssize_t got;

    if (!path)
        harness_fail(__FILE__, __LINE__, "started without run.py: no BASCULE_TEST_CONTROL");
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0 ||
        dprintf(fd, "%s\n", line) < 0)
        harness_fail(__FILE__, __LINE__, "run.py does not answer at %s", path);
    while (n + 1 < sizeof answer && (got = read(fd, answer + n, sizeof answer - 1 - n)) > 0)
        n += (size_t)got;
    (void)close(fd);
    if (strncmp(answer, "ok ", 3) != 0)
        harness_fail(__FILE__, __LINE__, "%s: %s", line, answer);
    return strtoul(answer + 3, NULL, 10);
}

void fixture_place(const struct fixture *f, const char *place)
{
    (void)ask("place %s %s", f->end, place);
}

void fixture_feed(const struct fixture *f, const char *place, size_t from, size_t n)
{
    (void)ask("feed %s %s %zu %zu", f->end, place, from, n);
}

void fixture_listen(const struct fixture *f, const char *place)
{
    (void)ask("listen %s %s", f->end, place);
}

size_t fixture_subscribers(const struct fixture *f, const char *place)
{
    return ask("subscribers %s %s", f->end, place);
}

size_t fixture_lacks(const char *file)
{
    char here[PATH_MAX];

    if (!getcwd(here, sizeof here))
        harness_fail(__FILE__, __LINE__, "no directory");
    return ask("heard %s/%s", here, file);
}

void fixture_cut(const struct fixture *f)
{
    (void)ask("cut %s", f->end);
}

void fixture_stop(const struct fixture *f)
{
    (void)ask("stop %s", f->end);
}

void fixture_start(const struct fixture *f)
{
    (void)ask("start %s", f->end);
}
