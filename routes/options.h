/* Fills structs by their option tables from a tree, collecting every problem on the way. */
#ifndef BASCULE_OPTIONS_H
#define BASCULE_OPTIONS_H

#include "routes/problem.h"
#include "routes/yaml.h"

/* Flag beside enum option_flag: the values of an OPTION_TEXT_MAP are templates. */
#define OPTIONS_TEMPLATES (1u << 16)

/* One struct to fill. A mapping may fill several at once: ours and a link's. */
struct options_part {
    const struct option *table;
    void *values;
    const struct yaml_node
        *inherited; /* where values come from that the mapping has not; or NULL */
};

struct options {
    struct yaml_file *file;
    struct config_problems *problems;
    const char *what; /* "a kafka sink": where the keys stand */
    /* Explains a key unknown here that stands elsewhere: fills ret and returns true. NULL: none. */
    bool (*elsewhere)(const char *name, char *ret, size_t n);
    bool any_key; /* unknown keys are fine: what the mapping is could not be told */
    bool guarded; /* any of its values may be a secret under a name with a slip in it */
};

/* Fills every part: the value from `node`, else (silently: its problems belong to the mapping that
 * it stands in) from the part's `inherited`, else the default. Both may be NULL. All values are set
 * afterwards and option_done() frees them, whatever problems were added. */
void options_fill(const struct options *o, const struct options_part *parts, size_t count,
    const struct yaml_node *node);

/* Values of their own, as options write them: return 0, or -1 when it is no such value. */
int options_duration(const char *text, int64_t *ret_ms);
int options_size(const char *text, int64_t *ret_bytes);
int options_rate(const char *text, int64_t *ret);

#endif
