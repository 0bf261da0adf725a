/* One TLS client session between two runs of bytes, without a socket of its own: what came from the
 * network is fed in, what must go out is taken out, so that the owner's socket code stays one. */
#ifndef BASCULE_TLS_H
#define BASCULE_TLS_H

#include "bridge/base/buf.h"

/* All texts are lent during tls_open. */
struct tls_spec {
    const char *ca_file;              /* NULL: the system's authorities */
    const char *cert_file, *key_file; /* our own certificate, PEM; NULL: none */
    const char *server_name;          /* checked in the peer's certificate: a name or an address */
    bool no_verify;
};

struct tls;

int tls_open(const struct tls_spec *spec, struct tls **ret, struct fault *why);
void tls_free(struct tls *t);
/* Bytes from the network. */
int tls_feed(struct tls *t, const void *at, size_t n, struct fault *why);
/* Decrypted bytes: returns how many (0: none now), -1 with *why when the session is over. Moves the
 * handshake too. */
int tls_read(struct tls *t, void *at, int n, struct fault *why);
/* Takes up to n bytes to encrypt: returns how many, 0 before the handshake is over, -1. */
int tls_write(struct tls *t, const void *at, int n, struct fault *why);
bool tls_ready(const struct tls *t);
/* What must go to the network; the owner drops (buf_drop) what it has sent. */
struct buf *tls_out(struct tls *t);
/* "TLSv1.3" once ready. */
const char *tls_version(const struct tls *t);
/* End of the peer's certificate, unix ms; 0 before it has come. */
int64_t tls_peer_expires_ms(const struct tls *t);
/* The same of a certificate at hand: an X509 of OpenSSL, or one in DER. 0: it cannot be read. */
int64_t tls_expires_ms(const void *x509);
int64_t tls_der_expires_ms(const void *at, size_t n);

#endif
