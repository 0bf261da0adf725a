/* Names to addresses without keeping the loop waiting: numbers and localhost at once, other names
 * in a thread of their own. */
#ifndef BASCULE_RESOLVE_H
#define BASCULE_RESOLVE_H

#include "bridge/base/fault.h"

#include <netdb.h>
#include <stdbool.h>

struct resolve;

/* Begins. NULL with *why when it cannot. */
struct resolve *resolve_open(const char *host, int port, struct fault *why);
/* True once it is known: *ret gets the addresses (lent until resolve_free) or NULL, then *why says
 * what was wrong. */
bool resolve_done(struct resolve *r, const struct addrinfo **ret, struct fault *why);
void resolve_free(struct resolve *r);

#endif
