/* Bytes as text: is it UTF-8, base64, a string of JSON. */
#ifndef BASCULE_ENCODING_H
#define BASCULE_ENCODING_H

#include "bridge/base/buf.h"

/* Well-formed UTF-8 (Unicode, table 3-7): no overlong forms, surrogates or values past U+10FFFF. */
bool encoding_utf8(struct bytes b);
/* With padding, on one line. */
void encoding_base64(struct bytes from, struct buf *to);
/* -1 on anything that is not base64 with its padding, or when *to failed. */
int encoding_base64_decode(struct bytes text, struct buf *to);
/* With its quotes. What is not UTF-8 (encoding_utf8()) makes no JSON. */
void encoding_json(struct bytes text, struct buf *to);

#endif
