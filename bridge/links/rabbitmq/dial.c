#include "bridge/links/rabbitmq/dial.h"
#include "bridge/links/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define FRAME_BYTES 131072
#define CHANNELS_MAX 2047

/* A process may end while a thread dials. OpenSSL's clean-up at exit would take away under it what
 * it works with; before main(), because the first who uses the library sets that clean-up.
 * https://www.openssl.org/docs/man3.0/man3/OPENSSL_init_crypto.html */
__attribute__((constructor)) static void keep_openssl(void)
{
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static int host_init(struct dial_host *h, const char *url, struct fault *why)
{
    struct amqp_connection_info info;

    h->url = strdup(url);
    if (!h->url)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    amqp_default_connection_info(&info);
    /* The URL may hold a password: it is never part of the text. */
    if (amqp_parse_url(h->url, &info) != AMQP_STATUS_OK)
        return fault_set(why, FAULT_INPUT, 0,
            "not an AMQP URL: amqp[s]://USER:PASSWORD@HOST:PORT/VHOST, other bytes as %%XX");
    h->host = info.host;
    h->user = info.user;
    h->password = info.password;
    /* By the letter host:port/ names a vhost without a name; whoever writes it means the default.
     */
    h->vhost = *info.vhost ? info.vhost : "/";
    h->port = info.port;
    h->tls = info.ssl;
    return 0;
}

static int copy(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return from && !*to ? -1 : 0;
}

int dial_init(struct dial *d, const char *name, const struct options_link *o, struct fault *why)
{
    size_t n = o->url ? 1 : o->urls.n;

    *d = (struct dial){ .verify = !o->tls.set || o->tls.verify,
        .external = o->auth == OPTIONS_AUTH_EXTERNAL,
        .heartbeat_s = o->heartbeat_ms > 0 ? (int)((o->heartbeat_ms + 999) / 1000) : 10,
        .timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : 10000 };
    if (n == 0)
        return fault_set(why, FAULT_INPUT, 0, "no url");
    d->hosts = calloc(n, sizeof *d->hosts);
    if (!d->hosts || copy(&d->name, name) || copy(&d->user, o->username) ||
        copy(&d->password, o->password) || copy(&d->vhost, o->vhost) ||
        copy(&d->ca_file, o->tls.ca_file) || copy(&d->cert_file, o->tls.cert_file) ||
        copy(&d->key_file, o->tls.key_file) || copy(&d->server_name, o->tls.server_name)) {
        dial_done(d);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    for (; d->count < n; d->count++) {
        if (host_init(&d->hosts[d->count], o->url ? o->url : o->urls.at[d->count], why) != 0) {
            d->count++;
            dial_done(d);
            return -1;
        }
    }
    return 0;
}

void dial_done(struct dial *d)
{
    for (size_t i = 0; d->hosts && i < d->count; i++)
        free(d->hosts[i].url);
    free(d->hosts);
    free(d->name);
    free(d->user);
    free(d->password);
    free(d->vhost);
    free(d->ca_file);
    free(d->cert_file);
    free(d->key_file);
    free(d->server_name);
    *d = (struct dial){ 0 };
}

const char *dial_login(const struct dial *d)
{
    if (d->external)
        return NULL;
    return d->user ? d->user : d->hosts[0].user;
}

void dial_explain(amqp_rpc_reply_t reply, int *code, char *ret, size_t n)
{
    *code = 0;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
        (void)snprintf(ret, n, "%s", amqp_error_string2(reply.library_error));
    } else if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
               reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *c = reply.reply.decoded;

        *code = c->reply_code;
        (void)snprintf(ret, n, "%.*s (%d)", (int)c->reply_text.len,
            (const char *)c->reply_text.bytes, c->reply_code);
    } else if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
               reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *c = reply.reply.decoded;

        *code = c->reply_code;
        (void)snprintf(ret, n, "%.*s (%d)", (int)c->reply_text.len,
            (const char *)c->reply_text.bytes, c->reply_code);
    } else {
        (void)snprintf(ret, n, "the connection ended");
    }
}

/* Why the certificate of this thread's last dial was refused; the handshake's own error says only
 * that it was. */
static _Thread_local int verify_error;
/* End of the certificate that the broker showed in it; 0: none. */
static _Thread_local int64_t peer_expires_ms;

static void look_at_peer(X509_STORE_CTX *c)
{
    if (X509_STORE_CTX_get_error_depth(c) == 0)
        peer_expires_ms = tls_expires_ms(X509_STORE_CTX_get_current_cert(c));
}

static int verified(int ok, X509_STORE_CTX *c)
{
    look_at_peer(c);
    if (!ok)
        verify_error = X509_STORE_CTX_get_error(c);
    return ok;
}

static int unverified(int ok, X509_STORE_CTX *c)
{
    (void)ok;
    look_at_peer(c);
    return 1;
}

/* In the handshake, before anything of ours is sent, and against server_name: the library's own
 * check comes after it and knows only the host that it dialled. */
static int tls_verify(SSL_CTX *context, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);

    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, verified);
    return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ||
                   X509_VERIFY_PARAM_set1_host(param, name, 0) == 1
               ? 0
               : -1;
}

static int tls_set(
    const struct dial *d, const struct dial_host *h, amqp_socket_t *socket, struct fault *why)
{
    SSL_CTX *context = amqp_ssl_socket_get_context(socket);
    const char *name = d->server_name ? d->server_name : h->host;

    ERR_clear_error();
    verify_error = X509_V_OK;
    peer_expires_ms = 0;
    if (d->ca_file ? amqp_ssl_socket_set_cacert(socket, d->ca_file) != AMQP_STATUS_OK
                   : SSL_CTX_set_default_verify_paths(context) != 1)
        return fault_set(why, FAULT_RETRY, 0, "CA file %s cannot be used",
            d->ca_file ? d->ca_file : "of the system");
    if (d->cert_file &&
        amqp_ssl_socket_set_key(socket, d->cert_file, d->key_file) != AMQP_STATUS_OK)
        return fault_set(why, FAULT_RETRY, 0, "certificate %s with key %s cannot be used",
            d->cert_file, d->key_file);
    amqp_ssl_socket_set_verify_peer(socket, 0);
    amqp_ssl_socket_set_verify_hostname(socket, 0);
    (void)amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
    if (!d->verify)
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, unverified);
    if (d->verify && tls_verify(context, name) != 0)
        return fault_set(why, FAULT_RETRY, 0, "server_name %s cannot be used", name);
    return 0;
}

/* The library says that a handshake failed, OpenSSL says why. */
static int reach_fault(const struct dial_host *h, int status, struct fault *why)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    bool refused = h->tls && verify_error != X509_V_OK;

    return fault_set(why, FAULT_RETRY, 0, "%s:%d: %s%s%s%s%s", h->host, h->port,
        amqp_error_string2(status), h->tls && reason ? ": " : "", h->tls && reason ? reason : "",
        refused ? ": " : "", refused ? X509_verify_cert_error_string(verify_error) : "");
}

static amqp_table_entry_t entry_bool(const char *name)
{
    return (amqp_table_entry_t){ .key = amqp_cstring_bytes(name),
        .value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value = { .boolean = 1 } } };
}

static amqp_table_entry_t entry_text(const char *name, const char *text)
{
    return (amqp_table_entry_t){ .key = amqp_cstring_bytes(name),
        .value = { .kind = AMQP_FIELD_KIND_UTF8, .value = { .bytes = amqp_cstring_bytes(text) } } };
}

static int login(const struct dial *d, const struct dial_host *h, const char *purpose,
    amqp_connection_state_t amqp, struct fault *why)
{
    amqp_table_entry_t able[] = { entry_bool("connection.blocked"), entry_bool("basic.nack"),
        entry_bool("publisher_confirms"), entry_bool("consumer_cancel_notify"),
        entry_bool("authentication_failure_close"), entry_bool("exchange_exchange_bindings") };
    char shown[160] = "";
    /* The name first: its length is taken with the entry. */
    (void)snprintf(shown, sizeof shown, "bascule %.100s (%s)", d->name, purpose);
    amqp_table_entry_t own[] = { entry_text("product", "Bascule"),
        entry_text("version", BASCULE_VERSION), entry_text("information", ""),
        entry_text("copyright", ""), entry_text("connection_name", shown),
        { .key = amqp_cstring_bytes("capabilities"),
            .value = { .kind = AMQP_FIELD_KIND_TABLE,
                .value = { .table = { sizeof able / sizeof *able, able } } } } };
    amqp_table_t properties = { sizeof own / sizeof *own, own };
    const char *vhost = d->vhost ? d->vhost : h->vhost;
    amqp_rpc_reply_t reply;
    char text[256];
    int code;

    /* RabbitMQ takes the name from the certificate; the library cannot send an empty one. */
    if (d->external)
        reply = amqp_login_with_properties(amqp, vhost, CHANNELS_MAX, FRAME_BYTES, d->heartbeat_s,
            &properties, AMQP_SASL_METHOD_EXTERNAL, d->user ? d->user : "-");
    else
        reply = amqp_login_with_properties(amqp, vhost, CHANNELS_MAX, FRAME_BYTES, d->heartbeat_s,
            &properties, AMQP_SASL_METHOD_PLAIN, d->user ? d->user : h->user,
            d->password ? d->password : h->password);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return 0;
    dial_explain(reply, &code, text, sizeof text);
    return fault_set(why, FAULT_RETRY, code, "login as '%s' to vhost '%s' at %s:%d: %s",
        d->external ? "(certificate)"
        : d->user   ? d->user
                    : h->user,
        vhost, h->host, h->port, text);
}

static void peer_text(
    const struct dial_host *h, amqp_connection_state_t amqp, struct dial_peer *peer)
{
    const amqp_table_t *properties = amqp_get_server_properties(amqp);
    char product[40] = "AMQP", version[40] = "";

    for (int i = 0; i < properties->num_entries; i++) {
        const amqp_table_entry_t *e = &properties->entries[i];
        char *to = e->key.len == 7 && memcmp(e->key.bytes, "product", 7) == 0   ? product
                   : e->key.len == 7 && memcmp(e->key.bytes, "version", 7) == 0 ? version
                                                                                : NULL;

        if (to && e->value.kind == AMQP_FIELD_KIND_UTF8)
            (void)snprintf(to, 40, "%.*s",
                (int)(e->value.value.bytes.len < 39 ? e->value.value.bytes.len : 39),
                (const char *)e->value.value.bytes.bytes);
    }
    (void)snprintf(peer->product, sizeof peer->product, "%.20s %.39s", product, version);
    peer->expires_ms = h->tls ? peer_expires_ms : 0;
    (void)snprintf(peer->text, sizeof peer->text, "%.50s:%d, %.20s %.20s%s", h->host, h->port,
        product, version, h->tls ? ", TLS" : "");
}

int dial_open(const struct dial *d, size_t which, const char *purpose,
    void (*reached)(void *context, int fd), void *context, amqp_connection_state_t *ret,
    struct dial_peer *peer, struct fault *why)
{
    const struct dial_host *h = &d->hosts[which % d->count];
    struct timeval bound = { (time_t)(d->timeout_ms / 1000),
        (suseconds_t)(d->timeout_ms % 1000 * 1000) };
    amqp_connection_state_t amqp = amqp_new_connection();
    amqp_socket_t *socket = NULL;
    int status;

    if (amqp)
        socket = h->tls ? amqp_ssl_socket_new(amqp) : amqp_tcp_socket_new(amqp);
    if (!socket) {
        fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    if (h->tls && tls_set(d, h, socket, why) != 0)
        goto fail;
    (void)amqp_set_handshake_timeout(amqp, &bound);
    (void)amqp_set_rpc_timeout(amqp, &bound);
    status = amqp_socket_open_noblock(socket, h->host, h->port, &bound);
    if (status != AMQP_STATUS_OK) {
        (void)reach_fault(h, status, why);
        goto fail;
    }
    reached(context, amqp_get_sockfd(amqp));
    if (login(d, h, purpose, amqp, why) != 0) {
        reached(context, -1);
        goto fail;
    }
    peer_text(h, amqp, peer);
    *ret = amqp;
    return 0;
fail:
    if (amqp)
        (void)amqp_destroy_connection(amqp);
    return -1;
}
