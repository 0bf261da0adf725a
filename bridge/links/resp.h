/* One Redis connection: a socket that never blocks, plain or TLS, RESP2 both ways, replies tied to
 * their commands. */
#ifndef BASCULE_RESP_H
#define BASCULE_RESP_H

#include "bridge/base/buf.h"

enum resp_type {
    RESP_NONE = 0,
    RESP_TEXT,
    RESP_STATUS,
    RESP_ERROR,
    RESP_INT,
    RESP_NIL,
    RESP_ARRAY
};

struct resp_value {
    enum resp_type type;
    int64_t i;
    struct bytes text; /* TEXT, STATUS, ERROR */
    struct resp_value *items;
    size_t n;
};

struct resp;
struct tls_spec;

struct resp_spec {
    const char *host; /* an address or a name */
    int port;
    size_t max_out_bytes;
    const struct tls_spec *tls; /* lent during resp_open; NULL: plain */
};

/* The reply to one command; `value` NULL: the connection ended first, and `sent` tells whether any
 * byte of the command may have left. value is lent during the call. */
typedef void resp_reply_fn(void *owner, uint64_t arg, const struct resp_value *value, bool sent);

/* Never waits: look-up, connect and handshake are under way or have failed when resp_step says so.
 * Returns NULL and fills why when it cannot even begin. */
struct resp *resp_open(const struct resp_spec *spec, struct fault *why);
/* Every command without a reply gets its call with NULL first. */
void resp_free(struct resp *r);
/* Wipes what was sent: a password, once the login is over. */
void resp_wipe(struct resp *r);
/* -1 while the name is looked up. Another socket (resp_socket_number) may follow while connecting.
 */
int resp_fd(const struct resp *r);
unsigned resp_socket_number(const struct resp *r);
bool resp_connected(const struct resp *r);
bool resp_wants_write(const struct resp *r);
/* Bytes that ever came: a sign of life. */
uint64_t resp_received(const struct resp *r);
/* "TLSv1.3", "" when plain. */
const char *resp_tls_version(const struct resp *r);
/* End of the server's certificate, unix ms; 0: plain. */
int64_t resp_peer_expires_ms(const struct resp *r);
/* Held: reads nothing more after what is at hand. */
void resp_hold(struct resp *r, bool held);
/* Begins a command of n arguments; then n times resp_arg. fn NULL: no reply is expected here (it
 * comes as a push). */
int resp_command(struct resp *r, size_t n, resp_reply_fn *fn, void *owner, uint64_t arg);
void resp_arg(struct resp *r, struct bytes arg);
/* One argument of two parts. */
void resp_arg_joined(struct resp *r, struct bytes first, struct bytes second);
/* Arguments that are the same each time are formatted once, into a buffer, and then put as they
 * are; resp_pair puts one argument behind them. */
void resp_format(struct buf *to, struct bytes arg);
void resp_pair(struct resp *r, struct bytes formatted, struct bytes arg);
void resp_formatted(struct resp *r, struct bytes formatted);
void resp_arg_text(struct resp *r, const char *arg);
void resp_arg_int(struct resp *r, int64_t arg);
/* From now on replies answer no command (pub/sub) and go here. */
void resp_push(struct resp *r, resp_reply_fn *fn, void *owner);
/* During a reply's call: the caller keeps the value and frees it with resp_value_free. */
void resp_take(struct resp *r);
/* Nothing much comes at the moment: gives back memory that is kept for replies. */
void resp_trim(struct resp *r);
/* Only of the whole reply. */
void resp_value_free(void *value);
/* Nothing is called for this owner any more. */
void resp_forget(struct resp *r, const void *owner);
/* Writes what the socket takes now, so that the server may begin. */
void resp_flush(struct resp *r);
/* Writes, reads, calls. Returns 0, or -1 when the connection is over. */
int resp_step(struct resp *r, struct fault *why);

/* The library that parses replies: "hiredis 0.14.1", as it was built against. */
const char *resp_library(void);

#endif
