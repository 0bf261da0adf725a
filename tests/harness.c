/* Runs all tests linked in, or those whose name contains an argument. Usage: BINARY [-v] [-x] [-l]
 * [PART…]; -v: names and output of all, -x: ends after the first failure, -l: only says the names.
 * Last line: "N passed, N failed, N skipped". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_DEFINED(at, n) ((void)(at), (void)(n))
#endif
#ifndef VALGRIND_CLO_CHANGE
#define VALGRIND_CLO_CHANGE(option) ((void)(option))
#endif

/* A hang is a failure; no test is measured against it. Valgrind is tens of times slower. */
#define TEST_SECONDS_MAX (RUNNING_ON_VALGRIND ? 6000 : 600)
#define EXIT_SKIPPED 77

static struct harness_test *tests;
const struct harness_test *harness_current;

void harness_add(struct harness_test *t)
{
    struct harness_test **at = &tests;

    while (*at && strcmp((*at)->file, t->file) <= 0)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
}

void harness_fail(const char *file, int line, const char *format, ...)
{
    va_list ap;

    fprintf(stderr, "  %s:%d: ", file, line);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void harness_skip(const char *why)
{
    fprintf(stderr, "  skipped: %s\n", why);
    exit(EXIT_SKIPPED);
}

void harness_not_under_valgrind(const char *why)
{
    if (RUNNING_ON_VALGRIND)
        harness_skip(why);
}

void harness_mark_defined(void *at, size_t n)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(at, n);
}

void harness_ends_in_a_call(void)
{
    VALGRIND_CLO_CHANGE("--leak-check=no");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int run_forked(const struct harness_test *t, const char *dir, int log)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        (void)dup2(log, STDOUT_FILENO);
        (void)dup2(log, STDERR_FILENO);
        if (chdir(dir) != 0)
            exit(1);
        (void)alarm(TEST_SECONDS_MAX);
        harness_current = t;
        t->run();
        exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status)) {
        dprintf(log, "  ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return 1;
    }
    return WEXITSTATUS(status);
}

static void print_log(int log)
{
    char part[4096];
    ssize_t n;

    (void)lseek(log, 0, SEEK_SET);
    while ((n = read(log, part, sizeof part)) > 0)
        (void)!write(STDOUT_FILENO, part, (size_t)n);
}

static bool wanted(const struct harness_test *t, char *const *parts)
{
    if (!*parts)
        return true;
    for (; *parts; parts++)
        if (strstr(t->name, *parts) || strstr(t->file, *parts))
            return true;
    return false;
}

static int run_one(const struct harness_test *t, bool verbose)
{
    const char *tmp = getenv("TMPDIR");
    char dir[PATH_MAX];
    FILE *log = tmpfile();
    int code;

    (void)snprintf(dir, sizeof dir, "%s/bascule-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!log || !mkdtemp(dir)) {
        perror("test directory");
        exit(1);
    }
    if (verbose)
        printf("%s\n", t->name);
    fflush(stdout);
    code = run_forked(t, dir, fileno(log));
    if (code != 0 || verbose) {
        if (code != 0)
            printf("%s %s (%s)\n", code == EXIT_SKIPPED ? "SKIP" : "FAIL", t->name, t->file);
        fflush(stdout);
        print_log(fileno(log));
    }
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    (void)fclose(log);
    return code;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;
    bool verbose = false, one = false, list = false;

    for (; argc > 1 && argv[1][0] == '-'; argv++, argc--) {
        verbose = verbose || strcmp(argv[1], "-v") == 0;
        one = one || strcmp(argv[1], "-x") == 0;
        list = list || strcmp(argv[1], "-l") == 0;
    }
    for (const struct harness_test *t = tests; t && !(one && failed); t = t->next) {
        int code;

        if (!wanted(t, argv + 1))
            continue;
        if (list) {
            puts(t->name);
            continue;
        }
        code = run_one(t, verbose);
        passed += code == 0;
        skipped += code == EXIT_SKIPPED;
        failed += code != 0 && code != EXIT_SKIPPED;
    }
    if (!list)
        printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}
