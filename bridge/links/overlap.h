/* Whether two patterns of names can mean the same name: what a source reads against what a sink's
 * template may become. */
#ifndef BASCULE_OVERLAP_H
#define BASCULE_OVERLAP_H

#include <stdbool.h>

enum overlap_kind {
    OVERLAP_TEMPLATE = 1, /* ${…} stands for any text */
    OVERLAP_NAME,         /* itself alone */
    OVERLAP_GLOB,         /* Redis: * ? [abc] and \ before a byte; a set counts as any byte */
    OVERLAP_AMQP,         /* words between dots: * is one, # any number */
    OVERLAP_NATS,         /* tokens between dots: * is one, > one or more at the end */
};

/* True where some name fits both; also where one is longer than can be looked at (1,023 bytes). */
bool overlap(enum overlap_kind a_kind, const char *a, enum overlap_kind b_kind, const char *b);

#endif
