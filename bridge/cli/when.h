/* Times as people write them. */
#ifndef BASCULE_WHEN_H
#define BASCULE_WHEN_H

#include <stdint.h>

/* "2026-05-04T10:00:00Z" (RFC 3339), "2026-05-04", or "10m" (ago; ms s m h d): unix ms, -1 when it
 * is none of these. */
int64_t when_parse(const char *text, int64_t now_ms);

#endif
