/* The test harness: every TEST is a sentence, runs in a process and an empty directory of its own,
 * and only failures print. */
#ifndef BASCULE_HARNESS_H
#define BASCULE_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct harness_test {
    const char *name, *file;
    void (*run)(void);
    struct harness_test *next;
};

void harness_add(struct harness_test *t);
/* The test that runs, for one function behind several tests. */
extern const struct harness_test *harness_current;
void harness_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
/* Ends the test as skipped, with the reason. */
void harness_skip(const char *why) __attribute__((noreturn));
/* Ends it as skipped under Valgrind, with the reason why that cannot show what is asked. */
void harness_not_under_valgrind(const char *why);
/* For Valgrind: bytes that went to a disk and came back have a value, whatever they were before. */
void harness_mark_defined(void *at, size_t n);
/* For Valgrind: this process ends in the middle of a call, and what is held then is not lost. */
void harness_ends_in_a_call(void);

#define TEST(name)                                                                                 \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void add_##name(void)                                      \
    {                                                                                              \
        static struct harness_test t = { #name, __FILE__, test_##name, NULL };                     \
        harness_add(&t);                                                                           \
    }                                                                                              \
    static void test_##name(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            harness_fail(__FILE__, __LINE__, "%s", #condition);                                    \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_)                                                                         \
            harness_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);           \
    } while (0)

#define CHECK_TEXT(got, want)                                                                      \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (!got_ || strcmp(got_, want_) != 0)                                                     \
            harness_fail(                                                                          \
                __FILE__, __LINE__, "%s is '%s', not '%s'", #got, got_ ? got_ : "(null)", want_);  \
    } while (0)

#define CHECK_CONTAINS(got, part)                                                                  \
    do {                                                                                           \
        const char *got_ = (got), *part_ = (part);                                                 \
        if (!got_ || !strstr(got_, part_))                                                         \
            harness_fail(__FILE__, __LINE__, "%s is '%s', without '%s'", #got,                     \
                got_ ? got_ : "(null)", part_);                                                    \
    } while (0)

#endif
