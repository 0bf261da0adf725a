#include "bridge/digest.h"

#include <openssl/evp.h>

int digest_sha256(struct bytes of, uint8_t ret[STORE_DIGEST_BYTES])
{
    return EVP_Digest(of.at, of.n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}
