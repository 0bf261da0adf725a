/* The public half of an NKey, from the file that holds its seed. */
#ifndef BASCULE_NKEY_H
#define BASCULE_NKEY_H

#include "bridge/base/fault.h"

/* Reads the first line that begins with "SU" (NATS' seeds of users). Fills the public key, a text
 * of 56 characters. Any thread. */
int nkey_public(const char *seed_file, char *ret, size_t n, struct fault *why);
/* The same from the seed's text. */
int nkey_public_of(const char *seed, char *ret, size_t n, struct fault *why);

#endif
