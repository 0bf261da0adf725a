#include "bridge/links/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void findings_add(struct findings *f, bool is_error, const char *format, ...)
{
    va_list args;

    if (f->n == f->limit)
        return;
    f->at[f->n].is_error = is_error;
    va_start(args, format);
    (void)vsnprintf(f->at[f->n].text, sizeof f->at->text, format, args);
    va_end(args);
    f->n++;
}

int64_t findings_clock_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
