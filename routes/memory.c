#include "routes/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_NO_MEMORY 75 /* EX_TEMPFAIL: try later */

static void out_of_memory(void)
{
    static const char text[] = "bascule: out of memory while reading the configuration\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(EXIT_NO_MEMORY);
    _exit(EXIT_NO_MEMORY);
}

void *memory_array(size_t n, size_t size)
{
    void *at = calloc(n ? n : 1, size ? size : 1);

    if (!at)
        out_of_memory();
    return at;
}

void *memory_grow(void *at, size_t n, size_t size)
{
    if (n == 0 || (n & (n - 1)) == 0) {
        at = reallocarray(at, n ? n * 2 : 1, size);
        if (!at)
            out_of_memory();
    }
    memset((char *)at + n * size, 0, size);
    return at;
}

char *memory_copy(const void *at, size_t n)
{
    char *copy = memory_array(n + 1, 1);

    if (n)
        memcpy(copy, at, n);
    return copy;
}

char *memory_text(const char *text)
{
    return memory_copy(text, strlen(text));
}

void memory_wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}
