/* Templates: `${address}`, `${key}`, `${id}`, `${route}`, `${header.NAME}`, each with `:-default`;
 * `$${` is a literal `${`. Compiled once, rendered per event. */
#ifndef BASCULE_TEMPLATE_H
#define BASCULE_TEMPLATE_H

#include "bridge/base/buf.h"
#include "bridge/base/event.h"

struct template;

/* Owned by the caller. On -1 (FAULT_INPUT) why->code is the byte offset of the trouble in `text`.
 */
int template_open(const char *text, struct template **ret, struct fault *why);
void template_free(struct template *t);
/* The same texts and values; two NULLs are the same. */
bool template_same(const struct template *a, const struct template *b);
/* It names no value of the event. */
bool template_fixed(const struct template *t);
/* Appends to *to. Returns 0; 1 when a value without a default is missing (*to then holds part of
 * the text, and *missing, lent from the template, names the value). A buffer that failed counts as
 * 0: the caller checks to->failed. Any thread. */
int template_render(const struct template *t, const struct event *e, const char *route,
    struct buf *to, const char **missing);

#endif
