/* A YAML file as a small tree in which everything knows its line and column. */
#ifndef BASCULE_YAML_H
#define BASCULE_YAML_H

#include "routes/config.h"

#define YAML_FILE_BYTES_MAX (1024 * 1024)
#define YAML_DEPTH_MAX 32

enum yaml_kind { YAML_UNSET = 0, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line, column, end_line, end_column; /* from 1; the end lies behind the last character */
    char *name;                             /* in a map: the key */
    int name_line, name_column;
    char *text;  /* YAML_TEXT; no NUL inside */
    bool quoted; /* never null, number or bool */
    struct yaml_node **items;
    size_t n;
};

/* A run of characters that problems must not show. */
struct yaml_secret {
    int line, column, end_line, end_column;
};

struct yaml_file {
    char *path; /* owned */
    char *text; /* as read, NULL when it could not be */
    size_t n;
    struct yaml_node *root; /* NULL: empty, or not YAML */
    struct yaml_secret *secrets;
    size_t secret_count;
};

/* Reads and parses; problems are added to *problems. Never NULL; owned by the caller. */
struct yaml_file *yaml_file_open(const char *path, struct config_problems *problems);
/* The same on a text in memory (tests, fuzzing). */
struct yaml_file *yaml_file_open_text(
    const char *path, const void *text, size_t n, struct config_problems *problems);
void yaml_file_free(struct yaml_file *f);
/* Where the value stands, where the key of it stands. */
struct config_place yaml_place(const struct yaml_file *f, const struct yaml_node *node);
struct config_place yaml_name_place(const struct yaml_file *f, const struct yaml_node *node);
/* From now on problems show stars in its place. */
void yaml_file_hide(struct yaml_file *f, const struct yaml_node *node);
/* The line, cut at n - 1 bytes, control characters as spaces, secrets as stars. */
void yaml_file_line(const struct yaml_file *f, int line, char *ret, size_t n);
/* The item of a map, NULL when it is absent; `node` may be NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *node, const char *name);
/* "a mapping", "a list", "text". */
const char *yaml_kind_text(const struct yaml_node *node);
/* The value on one line as YAML that reads as it does; without its own name. */
void yaml_print(const struct yaml_node *node, struct buf *to);
/* An unquoted nothing: `key:`, `key: ~`, `key: null`. */
bool yaml_is_null(const struct yaml_node *node);

#endif
