/* The problems of a configuration: one list of codes, and how a problem is collected and shown. */
#ifndef BASCULE_PROBLEM_H
#define BASCULE_PROBLEM_H

#include "routes/config.h"

struct yaml_file;

/* Public numbers (BSC-nnnn): add, never renumber. */
enum problem_code {
    PROBLEM_NONE = 0,
    PROBLEM_FILE = 100,
    PROBLEM_FILE_SIZE = 101,
    PROBLEM_ENCODING = 102,
    PROBLEM_SYNTAX = 103,
    PROBLEM_DEPTH = 104,
    PROBLEM_ALIAS = 105,
    PROBLEM_DUPLICATE_KEY = 106,
    PROBLEM_UNKNOWN_KEY = 110,
    PROBLEM_VALUE = 111,
    PROBLEM_RANGE = 112,
    PROBLEM_MISSING = 113,
    PROBLEM_CHOICE = 114,
    PROBLEM_PATH = 115,
    PROBLEM_SHAPE = 116,
    PROBLEM_ELSEWHERE = 117,
    PROBLEM_SECRET = 120,
    PROBLEM_SECRET_OPEN = 121,
    PROBLEM_SECRET_LITERAL = 122,
    PROBLEM_REFERENCE = 123,
    PROBLEM_EVENT_VALUE = 124,
    PROBLEM_TEMPLATE = 125,
    PROBLEM_CONNECTION = 130,
    PROBLEM_DUPLICATE_NAME = 131,
    PROBLEM_NAME = 132,
    PROBLEM_TYPE = 133,
    PROBLEM_COMBINATION = 134,
    PROBLEM_TWICE = 135,
    PROBLEM_FALLBACK = 140,
    PROBLEM_RETRY = 141,
    PROBLEM_WAS = 142,
    PROBLEM_LOOP = 143,
    PROBLEM_UNUSED = 144,
    PROBLEM_NO_EFFECT = 145,
    PROBLEM_MEMBER = 146,
    PROBLEM_RESTART = 150,
    PROBLEM_GONE = 151,
    PROBLEM_GONE_NAME = 152,
    PROBLEM_ROLE = 153,
    PROBLEM_DRAIN = 154,
    PROBLEM_MEMORY = 155,
};

struct problem_entry {
    int code;
    bool warning;
    const char *text; /* what it means and why it is so, a sentence or two */
    const char *todo; /* what to do */
};

/* All codes, ended by code 0. */
extern const struct problem_entry problem_table[];

/* At most this many are kept of one run; errors beyond are still counted. */
#define PROBLEM_COUNT_MAX 1000

/* The name in `names` (ended by NULL) nearest to `name`, NULL when none is near. */
const char *problem_nearest(const char *name, const char *const *names);
/* Edit distance with swaps of neighbours; texts are looked at up to 63 bytes. */
size_t problem_distance(const char *a, const char *b);

/* Whether it is a warning is the table's word. */
void problem_add(struct config_problems *p, enum problem_code code, struct config_place place,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Gives the problem that was added last a hint. */
void problem_hint(struct config_problems *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Puts the problems into the order of `files`, then lines, and copies each one's line, masked. */
void problem_finish(struct config_problems *p, struct yaml_file *const *files, size_t count);

#endif
