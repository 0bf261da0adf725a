/* Option tables: one description of a configuration key feeds the parser, the errors, the JSON
 * Schema, the manual and `status`. */
#ifndef BASCULE_OPTION_H
#define BASCULE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The C type that the key is stored as stands behind each. */
enum option_type {
    OPTION_NONE = 0,
    OPTION_TEXT,       /* char *, NULL when absent */
    OPTION_BOOL,       /* bool */
    OPTION_INT,        /* int64_t */
    OPTION_SIZE,       /* int64_t, bytes; "64KiB", "1MB", "512" */
    OPTION_DURATION,   /* int64_t, ms; "500ms", "10s", "5m", "1h", "7d" */
    OPTION_RATE,       /* int64_t, events per second times 1000; "500/s", "30/m" */
    OPTION_NUMBER,     /* double; min and max are whole numbers */
    OPTION_ENUM,       /* int, an index into `choices` */
    OPTION_TEXT_LIST,  /* struct option_list; a single text is a list of one */
    OPTION_TEXT_MAP,   /* struct option_map, in the file's order */
    OPTION_TEMPLATE,   /* struct option_template */
    OPTION_TABLE,      /* a nested struct whose first member is `bool set` */
    OPTION_TABLE_LIST, /* struct option_tables of such structs */
    OPTION_VALUE_MAP,  /* struct option_map of typed scalars: text as written in YAML (AMQP
                        * arguments);  kinds[] tells text, int, bool */
};

enum option_flag {
    OPTION_REQUIRED = 1u << 0,
    OPTION_SECRET = 1u << 1,         /* never logged, never shown */
    OPTION_CREDENTIAL_URL = 1u << 2, /* a URL that may hold a password; shown without it */
    OPTION_FILE = 1u << 3,   /* a path that must be readable when the configuration is loaded */
    OPTION_HIDDEN = 1u << 4, /* accepted, not documented */
};

struct option_list {
    char **at;
    size_t n;
};

enum option_value_kind {
    OPTION_VALUE_NONE = 0,
    OPTION_VALUE_TEXT,
    OPTION_VALUE_INT,
    OPTION_VALUE_BOOL
};

struct option_pair {
    char *name, *value;
    enum option_value_kind kind; /* OPTION_VALUE_TEXT in a TEXT_MAP */
};

struct option_map {
    struct option_pair *at;
    size_t n;
};

/* A text in which ${…} names values of the event. Rendered by the route for each event; the link
 * finds the result in message.fields[slot], where slot is this option's place among the
 * OPTION_TEMPLATE options of its table, counted from 0. */
struct option_template {
    char *text; /* NULL: the key is absent, the field is absent */
    bool fixed; /* it holds no event value, so every event gets the same */
};

struct option_tables {
    void *at; /* n structs of option.item_bytes each */
    size_t n;
};

/* One key. A table is an array ended by a zeroed entry. */
struct option {
    const char *name;
    enum option_type type;
    size_t offset;            /* of the member in the struct that the table fills */
    const char *default_text; /* as it would be written in YAML; NULL: absent (false, 0, empty) */
    int64_t min, max; /* of numbers, sizes (bytes), durations (ms), rates; both 0: no limits */
    const char *const *choices; /* OPTION_ENUM: names, ended by NULL */
    const struct option *table; /* OPTION_TABLE, OPTION_TABLE_LIST */
    size_t item_bytes;          /* OPTION_TABLE_LIST: size of one struct */
    unsigned flags;             /* enum option_flag */
    const char *help;           /* one sentence, without the default */
};

/* Frees what the table's keys own inside *values and zeroes it; *values itself is the caller's. */
void option_done(const struct option *table, void *values);

#endif
