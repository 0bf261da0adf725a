#include "routes/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_NO_MEMORY 75 /* EX_TEMPFAIL: try later */
/* What may still be asked for between the first failure and the next look at memory_failed(): one
 * file of 1 MiB as text, and what one of its routes is made of. */
#define RESERVE_BYTES (4u << 20)

static _Thread_local struct {
    void *reserve;
    bool failed;
    int64_t fail_in; /* tests: the how manieth allocation fails; 0: none */
} state;

int memory_begin(void)
{
    state.failed = false;
    state.reserve = malloc(RESERVE_BYTES);
    return state.reserve ? 0 : -1;
}

bool memory_failed(void)
{
    return state.failed;
}

bool memory_end(void)
{
    bool failed = state.failed;

    free(state.reserve);
    state.reserve = NULL;
    state.failed = false;
    return failed;
}

void memory_fail_in(int64_t n)
{
    state.fail_in = n;
}

static bool fails_now(void)
{
    return state.fail_in > 0 && --state.fail_in == 0;
}

/* The reserve lets what is under way come to its end. Whoever has none, or has used that up too,
 * cannot go on at all. */
static void use_reserve(void)
{
    static const char text[] = "bascule: out of memory while reading the configuration\n";

    if (!state.reserve) {
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(EXIT_NO_MEMORY);
    }
    free(state.reserve);
    state.reserve = NULL;
    state.failed = true;
}

void *memory_array(size_t n, size_t size)
{
    void *at = fails_now() ? NULL : calloc(n ? n : 1, size ? size : 1);

    while (!at) {
        use_reserve();
        at = calloc(n ? n : 1, size ? size : 1);
    }
    return at;
}

void *memory_grow(void *at, size_t n, size_t size)
{
    if (n == 0 || (n & (n - 1)) == 0) {
        void *more = fails_now() ? NULL : reallocarray(at, n ? n * 2 : 1, size);

        while (!more) {
            use_reserve();
            more = reallocarray(at, n ? n * 2 : 1, size);
        }
        at = more;
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
