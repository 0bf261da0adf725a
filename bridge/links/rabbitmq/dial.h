/* From options to a logged-in AMQP connection. Blocks: for I/O threads only. */
#ifndef BASCULE_DIAL_H
#define BASCULE_DIAL_H

#include "bridge/links/rabbitmq/options.h"

#include <amqp.h>

/* What a broker said of itself. */
struct dial_peer {
    char text[128];     /* "rabbit-1:5671, RabbitMQ 3.10.8, TLS" */
    char product[64];   /* "RabbitMQ 3.10.8" */
    int64_t expires_ms; /* end of its certificate, unix ms; 0: none */
};

struct dial_host {
    char *url; /* holds the texts below, cut apart */
    char *host, *user, *password;
    const char *vhost;
    int port;
    bool tls;
};

/* Own copies of all that is needed, since a thread may outlive the link's options. */
struct dial {
    struct dial_host *hosts;
    size_t count;
    char *name; /* the connection's */
    char *user, *password, *vhost, *ca_file, *cert_file, *key_file, *server_name;
    bool verify, external;
    int heartbeat_s;
    int64_t timeout_ms;
};

int dial_init(struct dial *d, const char *name, const struct options_link *o, struct fault *why);
void dial_done(struct dial *d);
/* Who we log in as at the first host; NULL when the certificate says it. */
const char *dial_login(const struct dial *d);
/* Reaches host number `which` and logs in. `reached` hears the socket as soon as there is one, so
 * that another thread can shut it down. FAULT_RETRY on any trouble. */
int dial_open(const struct dial *d, size_t which, const char *purpose,
    void (*reached)(void *context, int fd), void *context, amqp_connection_state_t *ret,
    struct dial_peer *peer, struct fault *why);
/* What a failed call said. */
void dial_explain(amqp_rpc_reply_t reply, int *code, char *ret, size_t n);

#endif
