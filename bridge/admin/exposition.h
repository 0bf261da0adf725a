/* Lines of Prometheus text (exposition format 0.0.4,
 * https://prometheus.io/docs/instrumenting/exposition_formats/). A failed put shows in the buffer.
 */
#ifndef BASCULE_EXPOSITION_H
#define BASCULE_EXPOSITION_H

#include "bridge/base/buf.h"
#include "bridge/base/histogram.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Before all lines of that name. */
void exposition_family(struct buf *to, const char *name, const char *type, const char *help);
/* Labels: names and values in turn, ended by NULL; NULL: none. */
void exposition_line(struct buf *to, const char *name, const char *const *labels, double value);
void exposition_histogram(
    struct buf *to, const char *name, const char *const *labels, const struct histogram *h);
/* A family of one line without labels. */
void exposition_plain(
    struct buf *to, const char *name, const char *type, const char *help, double value);

#endif
