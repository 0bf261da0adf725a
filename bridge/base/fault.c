#include "bridge/base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *why, enum fault_kind kind, int code, const char *format, ...)
{
    va_list ap;

    if (!why)
        return -1;
    why->kind = kind;
    why->code = code;
    va_start(ap, format);
    (void)vsnprintf(why->text, sizeof why->text, format, ap);
    va_end(ap);
    return -1;
}

int fault_prefix(struct fault *why, const char *format, ...)
{
    struct fault old;
    size_t n, rest;
    va_list ap;

    if (!why)
        return -1;
    old = *why;
    va_start(ap, format);
    (void)vsnprintf(why->text, sizeof why->text - 2, format, ap);
    va_end(ap);
    n = strlen(why->text);
    memcpy(why->text + n, ": ", 3);
    n += 2;
    rest = strnlen(old.text, sizeof why->text - n - 1);
    memcpy(why->text + n, old.text, rest);
    why->text[n + rest] = 0;
    return -1;
}
