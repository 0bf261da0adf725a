/* Two configurations of the same thing: is it the same, and which keys differ. Values are never
 * told, so that secrets may be among them. */
#ifndef BASCULE_COMPARE_H
#define BASCULE_COMPARE_H

#include "routes/config.h"

enum compare {
    COMPARE_NONE = 0,
    COMPARE_SAME,
    COMPARE_SETTINGS, /* differs in what a running route takes over as it is */
    COMPARE_PARTS,    /* differs in what its source or its sinks were opened with */
};

/* Gets each key that differs, as it would be named in a file: "url", "from.queue",
 * "to.live.retry.max_attempts". */
typedef void compare_say(void *arg, const char *key);

/* Loaded secrets and the contents of the files that it names count. */
enum compare compare_connection(const struct config_connection *a,
    const struct config_connection *b, compare_say *say, void *arg);
/* A connection counts by its name; whether that one changed is the caller's to know. */
enum compare compare_route(const struct config *of_a, const struct config_route *a,
    const struct config *of_b, const struct config_route *b, compare_say *say, void *arg);

/* Whether all that its source was opened with is the same, and its name. */
bool compare_sources(const struct config *of_a, const struct config_route *a,
    const struct config *of_b, const struct config_route *b);
bool compare_trace(const struct config_trace *a, const struct config_trace *b);

#endif
