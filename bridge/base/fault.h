/* What went wrong, for the caller to decide on and a person to read. */
#ifndef BASCULE_FAULT_H
#define BASCULE_FAULT_H

#include <stddef.h>

/* Zero is never a kind that was set. The kind decides what the caller does. */
enum fault_kind {
    FAULT_NONE = 0,
    FAULT_RETRY,  /* wait and try again */
    FAULT_INPUT,  /* a person must change something; the text names file, line and key */
    FAULT_BROKEN, /* the object is finished */
    FAULT_FULL,   /* no space; waits for space */
};

struct fault {
    enum fault_kind kind;
    int code;       /* the broker's or system's own number, 0 when it has none */
    char text[496]; /* what was tried, on what, and what came back; cut at this length */
};

/* Fills *why (NULL is allowed: nobody wants to know) and returns -1, so that a function can end
 * with `return fault_set(...)`. */
int fault_set(struct fault *why, enum fault_kind kind, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "PREFIX: " in front of the text; kind and code stay. Returns -1. */
int fault_prefix(struct fault *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
