#include "bridge/links/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define OUT_BYTES_MAX (1u << 30)

struct tls {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    struct buf wire;
    bool ready;
};

static int explain(struct fault *why, enum fault_kind kind, const char *what)
{
    unsigned long e = ERR_get_error();
    char text[256] = "unknown error";

    if (e)
        ERR_error_string_n(e, text, sizeof text);
    ERR_clear_error();
    return fault_set(why, kind, 0, "TLS: %s: %s", what, text);
}

static int load(SSL_CTX *c, const struct tls_spec *spec, struct fault *why)
{
    int ok = spec->ca_file ? SSL_CTX_load_verify_locations(c, spec->ca_file, NULL)
                           : SSL_CTX_set_default_verify_paths(c);

    if (ok != 1)
        return explain(why, FAULT_RETRY, spec->ca_file ? spec->ca_file : "system authorities");
    if (spec->cert_file && SSL_CTX_use_certificate_chain_file(c, spec->cert_file) != 1)
        return explain(why, FAULT_RETRY, spec->cert_file);
    if (spec->key_file && SSL_CTX_use_PrivateKey_file(c, spec->key_file, SSL_FILETYPE_PEM) != 1)
        return explain(why, FAULT_RETRY, spec->key_file);
    SSL_CTX_set_verify(c, spec->no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1)
        return explain(why, FAULT_RETRY, "version 1.2");
    return 0;
}

static bool is_address(const char *name)
{
    struct in6_addr address;

    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

static int name_peer(SSL *ssl, const char *name, struct fault *why)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    int ok = 0;

    if (is_address(name))
        ok = X509_VERIFY_PARAM_set1_ip_asc(param, name);
    else
        ok = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
             SSL_set_tlsext_host_name(ssl, name) == 1;
    return ok == 1 ? 0 : explain(why, FAULT_RETRY, "server name");
}

int tls_open(const struct tls_spec *spec, struct tls **ret, struct fault *why)
{
    struct tls *t = calloc(1, sizeof *t);

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    buf_init(&t->wire, OUT_BYTES_MAX);
    t->context = SSL_CTX_new(TLS_client_method());
    if (!t->context || load(t->context, spec, why) != 0) {
        if (!t->context)
            (void)explain(why, FAULT_RETRY, "context");
        tls_free(t);
        return -1;
    }
    t->ssl = SSL_new(t->context);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        BIO_free(t->in);
        BIO_free(t->out);
        tls_free(t);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    SSL_set_mode(t->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (name_peer(t->ssl, spec->server_name, why) != 0) {
        tls_free(t);
        return -1;
    }
    *ret = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->context);
    buf_done(&t->wire);
    free(t);
}

/* An error of the handshake is mostly the certificate's: its own words are better than OpenSSL's.
 */
static int failed(struct tls *t, int code, struct fault *why)
{
    long verified = SSL_get_verify_result(t->ssl);

    if (code == SSL_ERROR_ZERO_RETURN)
        return fault_set(why, FAULT_RETRY, 0, "TLS: the server closed the session");
    if (!t->ready && verified != X509_V_OK) {
        ERR_clear_error();
        return fault_set(why, FAULT_RETRY, 0, "TLS: the server's certificate was refused: %s",
            X509_verify_cert_error_string(verified));
    }
    return explain(why, FAULT_RETRY, t->ready ? "session" : "handshake");
}

static void collect(struct tls *t)
{
    size_t n = BIO_ctrl_pending(t->out);
    uint8_t *to = n ? buf_reserve(&t->wire, n) : NULL;
    int k = to && n <= INT32_MAX ? BIO_read(t->out, to, (int)n) : 0;

    if (k > 0)
        t->wire.n += (size_t)k;
}

/* The one place that reads an outcome: k > 0 as it is, 0 when it must wait, -1 when it is over. */
static int outcome(struct tls *t, int k, struct fault *why)
{
    int code = k > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, k);

    if (k <= 0 && code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE)
        k = failed(t, code, why);
    else if (k < 0)
        k = 0;
    t->ready = SSL_is_init_finished(t->ssl) == 1;
    collect(t);
    if (t->wire.failed)
        return fault_set(why, FAULT_RETRY, 0, "TLS: out of memory");
    return k;
}

int tls_feed(struct tls *t, const void *at, size_t n, struct fault *why)
{
    if (n > INT32_MAX || BIO_write(t->in, at, (int)n) != (int)n)
        return fault_set(why, FAULT_RETRY, 0, "TLS: out of memory");
    return 0;
}

int tls_read(struct tls *t, void *at, int n, struct fault *why)
{
    ERR_clear_error();
    return outcome(t, SSL_read(t->ssl, at, n), why);
}

int tls_write(struct tls *t, const void *at, int n, struct fault *why)
{
    ERR_clear_error();
    return outcome(t, SSL_write(t->ssl, at, n), why);
}

bool tls_ready(const struct tls *t)
{
    return t->ready;
}

struct buf *tls_out(struct tls *t)
{
    return &t->wire;
}

const char *tls_version(const struct tls *t)
{
    return t->ready ? SSL_get_version(t->ssl) : "";
}

int64_t tls_expires_ms(const void *x509)
{
    const ASN1_TIME *end = x509 ? X509_get0_notAfter(x509) : NULL;
    struct tm tm = { 0 };

    return end && ASN1_TIME_to_tm(end, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

int64_t tls_der_expires_ms(const void *at, size_t n)
{
    const unsigned char *der = at;
    X509 *x509 = n <= INT32_MAX ? d2i_X509(NULL, &der, (long)n) : NULL;
    int64_t ret = tls_expires_ms(x509);

    X509_free(x509);
    ERR_clear_error();
    return ret;
}

int64_t tls_peer_expires_ms(const struct tls *t)
{
    return tls_expires_ms(SSL_get0_peer_certificate(t->ssl));
}
