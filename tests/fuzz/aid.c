#include "tests/fuzz/aid.h"

#include "tests/harness.h"

#include <stdarg.h>
#include <unistd.h>

void aid_enter_directory(void)
{
    const char *tmp = getenv("TMPDIR");
    char dir[4096];

    (void)snprintf(dir, sizeof dir, "%s/bascule-fuzz-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir) || chdir(dir) != 0)
        abort();
}

/* ---- what the simulation's parts need of the harness, whose main function is not here ---- */

const struct harness_test *harness_current;

void harness_fail(const char *file, int line, const char *format, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
