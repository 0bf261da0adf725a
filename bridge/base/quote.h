/* Text between quotation marks, as JSON and logfmt want it. */
#ifndef BASCULE_QUOTE_H
#define BASCULE_QUOTE_H

#include "bridge/base/buf.h"

/* Always a valid JSON string: what is not UTF-8 becomes U+FFFD. What could move a terminal's cursor
 * goes as \u00XX, U+0080 to U+009F too. */
void quote_put(struct buf *to, const char *text);

#endif
