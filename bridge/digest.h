/* SHA-256. */
#ifndef BASCULE_DIGEST_H
#define BASCULE_DIGEST_H

#include "store/store.h"

/* A store_digest. */
int digest_sha256(struct bytes of, uint8_t ret[STORE_DIGEST_BYTES]);

#endif
