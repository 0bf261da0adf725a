/* The side of a wire that may block: dials, publishes, takes down; and what the library calls. */
#include "bridge/links/nats/nkey.h"
#include "bridge/links/nats/wire_inside.h"

#include <stdio.h>
#include <stdlib.h>

/* A server that takes nothing for so long is as good as gone. */
#define WRITE_DEADLINE_MS 10000
#define FLUSH_TIMEOUT_MS 30000
#define PINGS_OUT_MAX 2
/* Messages that wait in the library beside their limit in bytes: its own default. */
#define PENDING_MAX 65536

struct hand {
    struct box *box;
    natsConnection *nc;
    struct wire_port *ports;
    char **known; /* servers that others told us of */
    int known_n;
};

/* ---- what the library calls, each on a thread of its own ---- */

static void on_closed(natsConnection *nc, void *closure)
{
    struct box *b = closure;
    const char *text = NULL;

    (void)pthread_mutex_lock(&b->lock);
    b->closed = true;
    if (natsConnection_GetLastError(nc, &text) != NATS_OK && text && *text)
        (void)snprintf(b->error, sizeof b->error, "%s", text);
    else
        (void)snprintf(b->error, sizeof b->error, "the connection was closed");
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *closure)
{
    struct box *b = closure;
    const char *text = NULL;

    (void)sub;
    if (status == NATS_SLOW_CONSUMER)
        return; /* its port counts */
    (void)natsConnection_GetLastError(nc, &text);
    (void)pthread_mutex_lock(&b->lock);
    if (b->error_end - b->error_first < WIRE_ERRORS_MAX) {
        char *to = b->errors[b->error_end++ % WIRE_ERRORS_MAX];
        (void)snprintf(
            to, sizeof b->errors[0], "%s", text && *text ? text : natsStatus_GetText(status));
        box_signal(b);
    }
    (void)pthread_mutex_unlock(&b->lock);
}

static void on_lame_duck(natsConnection *nc, void *closure)
{
    struct box *b = closure;

    (void)nc;
    (void)pthread_mutex_lock(&b->lock);
    b->leaving = true;
    box_signal(b);
    (void)pthread_mutex_unlock(&b->lock);
}

/* The library keeps a received header block in front of the body, and gives no function to read it
 * in its order. Where it does not lie there, false. */
static bool raw_headers(const natsMsg *msg, struct bytes *ret)
{
    static const char magic[] = "NATS/1.0";
    const char *before = natsMsg_GetReply(msg) ? natsMsg_GetReply(msg) : natsMsg_GetSubject(msg);
    const char *from = before + strlen(before) + 1, *body = natsMsg_GetData(msg);
    ptrdiff_t n = (ptrdiff_t)((intptr_t)body - (intptr_t)from) - 1;

    *ret = BYTES_NONE;
    if (n == -1)
        return true;
    if (n < (ptrdiff_t)sizeof magic + 3 || n > INT32_MAX ||
        memcmp(from, magic, sizeof magic - 1) != 0 || memcmp(from + n - 2, "\r\n", 2) != 0)
        return false;
    *ret = bytes_of(from, (size_t)n);
    return true;
}

/* By the library's own functions: names lose their order, their values do not. */
static void put_together(natsMsg *msg, struct wire_message *m)
{
    const char **names = NULL, **values = NULL;
    int name_n = 0, value_n = 0;
    struct buf text;

    buf_init(&text, 1u << 26);
    if (natsMsgHeader_Keys(msg, &names, &name_n) != NATS_OK)
        return;
    buf_put_text(&text, "NATS/1.0\r\n");
    for (int i = 0; i < name_n; i++) {
        if (natsMsgHeader_Values(msg, names[i], &values, &value_n) != NATS_OK)
            continue;
        for (int k = 0; k < value_n; k++)
            buf_put_format(&text, "%s: %s\r\n", names[i], values[k]);
        free(values);
    }
    free(names);
    buf_put_text(&text, "\r\n");
    if (text.failed) {
        buf_done(&text);
        return;
    }
    m->made = text.at;
    m->headers = buf_bytes(&text);
}

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    struct wire_port *p = closure;
    struct box *b = p->box;
    struct wire_message *m = calloc(1, sizeof *m);
    int64_t dropped = 0;

    (void)nc;
    if (m) {
        m->subject = natsMsg_GetSubject(msg);
        m->reply = natsMsg_GetReply(msg);
        m->body = bytes_of(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg));
        m->held = msg;
        if (!raw_headers(msg, &m->headers))
            put_together(msg, m);
    }
    if (p->limit_bytes)
        (void)natsSubscription_GetDropped(sub, &dropped);
    (void)pthread_mutex_lock(&b->lock);
    p->dropped = p->dropped_before + (uint64_t)dropped + (m ? 0 : 1);
    p->dropped_before += m ? 0 : 1;
    while (
        p->limit && p->waiting >= (size_t)p->limit && !p->over && !b->closed && b->phase == WIRE_UP)
        (void)pthread_cond_wait(&b->changed, &b->lock);
    if (m && !p->over) {
        m->session = b->session;
        *p->end = m;
        p->end = &m->next;
        p->waiting++;
        m = NULL;
        msg = NULL;
        box_signal(b);
    }
    (void)pthread_mutex_unlock(&b->lock);
    if (m)
        wire_message_free(m);
    else if (msg)
        natsMsg_Destroy(msg);
}

static void on_complete(void *closure)
{
    struct wire_port *p = closure;
    struct box *b = p->box;

    (void)pthread_mutex_lock(&b->lock);
    p->running = false;
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
}

/* ---- ports ---- */

static natsStatus listen(struct hand *h, struct wire_port *p)
{
    natsStatus s = NATS_OK;

    (void)pthread_mutex_lock(&h->box->lock);
    p->running = true;
    p->dropped_before = p->dropped;
    (void)pthread_mutex_unlock(&h->box->lock);
    s = p->queue
            ? natsConnection_QueueSubscribe(&p->sub, h->nc, p->subject, p->queue, on_message, p)
            : natsConnection_Subscribe(&p->sub, h->nc, p->subject, on_message, p);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(
            p->sub, p->limit_bytes ? PENDING_MAX : -1, p->limit_bytes ? p->limit_bytes : -1);
    if (s == NATS_OK)
        s = natsSubscription_SetOnCompleteCB(p->sub, on_complete, p);
    if (s != NATS_OK && !p->sub)
        on_complete(p);
    return s;
}

/* Ends the subscription and waits for its thread, which then calls nobody any more. */
static void deafen(struct hand *h, struct wire_port *p)
{
    if (!p->sub)
        return;
    (void)natsSubscription_Unsubscribe(p->sub);
    (void)pthread_mutex_lock(&h->box->lock);
    (void)pthread_cond_broadcast(&h->box->changed);
    while (p->running)
        (void)pthread_cond_wait(&h->box->changed, &h->box->lock);
    (void)pthread_mutex_unlock(&h->box->lock);
    natsSubscription_Destroy(p->sub);
    p->sub = NULL;
}

static void messages_free(struct wire_message *m)
{
    while (m) {
        struct wire_message *next = m->next;
        wire_message_free(m);
        m = next;
    }
}

static void port_free(struct wire_port *p)
{
    messages_free(p->first);
    messages_free(p->taken); /* the loop has let go */
    free(p->subject);
    free(p->queue);
    free(p);
}

static void port_end(struct hand *h, struct wire_port *p)
{
    struct wire_port **at = &h->ports;

    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    deafen(h, p);
    port_free(p);
}

/* ---- connections ---- */

static void take_down(struct hand *h)
{
    struct box *b = h->box;

    if (!h->nc)
        return;
    natsConnection_Close(h->nc);
    (void)pthread_mutex_lock(&b->lock);
    while (!b->closed)
        (void)pthread_cond_wait(&b->changed, &b->lock);
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
    for (struct wire_port *p = h->ports; p; p = p->next)
        deafen(h, p);
    natsConnection_Destroy(h->nc);
    h->nc = NULL;
}

static natsStatus set_servers(struct hand *h, natsOptions *to)
{
    const struct nats_link_options *o = &h->box->options;
    size_t n = nats_url_count(o), all = n + (size_t)h->known_n;
    const char **list = calloc(all, sizeof *list);
    natsStatus s = NATS_NO_MEMORY;

    if (!list)
        return s;
    for (size_t i = 0; i < all; i++)
        list[i] = i < n ? nats_url_at(o, i) : h->known[i - n];
    s = natsOptions_SetServers(to, list, (int)all);
    free((void *)list);
    return s;
}

static natsStatus set_login(struct hand *h, natsOptions *to, struct fault *why)
{
    const struct nats_link_options *o = &h->box->options;
    natsStatus s = NATS_OK;
    char public[64];

    if (o->username)
        s = natsOptions_SetUserInfo(to, o->username, o->password);
    if (s == NATS_OK && o->token)
        s = natsOptions_SetToken(to, o->token);
    if (s == NATS_OK && o->creds)
        s = natsOptions_SetUserCredentialsFromFiles(to, o->creds, NULL);
    if (s == NATS_OK && o->nkey_seed) {
        if (nkey_public(o->nkey_seed, public, sizeof public, why) != 0)
            return NATS_ERR;
        s = natsOptions_SetNKeyFromSeed(to, public, o->nkey_seed);
    }
    return s;
}

static natsStatus set_tls(struct hand *h, natsOptions *to)
{
    const struct nats_tls_options *o = &h->box->options.tls;
    natsStatus s = NATS_OK;

    if (!o->set)
        return NATS_OK;
    s = natsOptions_SetSecure(to, true);
    if (s == NATS_OK && o->ca_file)
        s = natsOptions_LoadCATrustedCertificates(to, o->ca_file);
    if (s == NATS_OK && o->cert_file)
        s = natsOptions_LoadCertificatesChain(to, o->cert_file, o->key_file);
    if (s == NATS_OK && o->server_name)
        s = natsOptions_SetExpectedHostname(to, o->server_name);
    if (s == NATS_OK && !o->verify)
        s = natsOptions_SkipServerVerification(to, true);
    return s;
}

static natsStatus set_rest(struct hand *h, natsOptions *to)
{
    const struct nats_link_options *o = &h->box->options;
    struct box *b = h->box;
    natsStatus s = natsOptions_SetAllowReconnect(to, false);

    if (s == NATS_OK)
        s = natsOptions_SetNoRandomize(to, true);
    if (s == NATS_OK)
        s = natsOptions_SetName(to, b->name);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(to, o->connect_timeout_ms);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(to, o->ping_interval_ms);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPingsOut(to, PINGS_OUT_MAX);
    if (s == NATS_OK)
        s = natsOptions_SetWriteDeadline(to, WRITE_DEADLINE_MS);
    if (s == NATS_OK)
        s = natsOptions_SetClosedCB(to, on_closed, b);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(to, on_error, b);
    if (s == NATS_OK)
        s = natsOptions_SetLameDuckModeCB(to, on_lame_duck, b);
    return s;
}

/* The servers that the cluster told us of are tried too, after those that were written down. */
static void learn_servers(struct hand *h)
{
    char **list = NULL;
    int n = 0;

    if (natsConnection_GetDiscoveredServers(h->nc, &list, &n) != NATS_OK || n == 0) {
        free((void *)list); /* the library makes one for none too */
        return;
    }
    for (int i = 0; i < h->known_n; i++)
        free(h->known[i]);
    free((void *)h->known);
    h->known = list;
    h->known_n = n;
}

static void tell_up(struct hand *h)
{
    struct box *b = h->box;
    char url[128] = "";

    (void)natsConnection_GetConnectedUrl(h->nc, url, sizeof url);
    learn_servers(h);
    (void)pthread_mutex_lock(&b->lock);
    /* The library's own word for a user in a url. */
    (void)snprintf(b->peer, sizeof b->peer, "%s", strrchr(url, '@') ? strrchr(url, '@') + 1 : url);
    b->max_payload = natsConnection_GetMaxPayload(h->nc);
    b->session++;
    b->phase = b->closed ? WIRE_END : WIRE_UP;
    b->error[0] = b->closed ? b->error[0] : 0;
    b->denied[0] = 0;
    box_signal(b);
    (void)pthread_mutex_unlock(&b->lock);
}

/* The library puts the place in its own source before the words: "(conn.c:2088): ". */
static const char *plain_words(const char *text)
{
    const char *end = text[0] == '(' ? strstr(text, "): ") : NULL;

    return end ? end + 3 : text;
}

static void tell_failed(struct hand *h, const char *text)
{
    struct box *b = h->box;

    (void)pthread_mutex_lock(&b->lock);
    (void)snprintf(b->error, sizeof b->error, "%.255s", plain_words(text));
    b->phase = WIRE_ENDED;
    box_signal(b);
    (void)pthread_mutex_unlock(&b->lock);
}

static void dial(struct hand *h)
{
    natsOptions *options = NULL;
    struct fault why = { 0 };
    natsStatus s = natsOptions_Create(&options);

    if (s == NATS_OK)
        s = set_servers(h, options);
    if (s == NATS_OK)
        s = set_login(h, options, &why);
    if (s == NATS_OK)
        s = set_tls(h, options);
    if (s == NATS_OK)
        s = set_rest(h, options);
    if (s == NATS_OK)
        s = natsConnection_Connect(&h->nc, options);
    natsOptions_Destroy(options);
    if (s != NATS_OK) {
        const char *text = nats_GetLastError(NULL);
        h->nc = NULL;
        tell_failed(h, why.kind ? why.text : text && *text ? text : natsStatus_GetText(s));
        return;
    }
    for (struct wire_port *p = h->ports; s == NATS_OK && p; p = p->next)
        s = listen(h, p);
    if (s == NATS_OK)
        /* What the ports listen to is known to the server before anybody publishes to them. */
        s = natsConnection_FlushTimeout(h->nc, h->box->options.connect_timeout_ms);
    if (s == NATS_OK) {
        tell_up(h);
        return;
    }
    take_down(h);
    tell_failed(h, natsStatus_GetText(s));
}

/* ---- what goes out ---- */

/* The server answers a flush behind its errors on what came before; the library keeps the last. */
static bool flush(struct hand *h, uint64_t number)
{
    struct box *b = h->box;
    bool ok = natsConnection_FlushTimeout(h->nc, FLUSH_TIMEOUT_MS) == NATS_OK;
    const char *text = NULL;
    natsStatus last = natsConnection_GetLastError(h->nc, &text);

    (void)pthread_mutex_lock(&b->lock);
    if (ok && !b->closed) {
        b->flushed = number;
        b->flushes++;
        (void)snprintf(b->denied, sizeof b->denied, "%s", last == NATS_NOT_PERMITTED ? text : "");
    }
    box_signal(b);
    (void)pthread_mutex_unlock(&b->lock);
    return ok;
}

static bool send_one(struct hand *h, struct wire_out *o, uint64_t session)
{
    struct box *b = h->box;
    bool ok = true;

    switch (o->kind) {
    case WIRE_OPEN_PORT:
        o->port->next = h->ports;
        h->ports = o->port;
        o->port = NULL;
        ok = !h->nc || listen(h, h->ports) == NATS_OK;
        break;
    case WIRE_CLOSE_PORT:
        port_end(h, o->port);
        break;
    case WIRE_FLUSH:
        if (!h->nc || o->session != session)
            break;
        ok = flush(h, o->number);
        break;
    case WIRE_MESSAGE:
        if (!h->nc || o->session != session)
            break;
        /* Before the call: a message whose write broke in the middle may have arrived. */
        if (!b->closed)
            b->handed = o->number;
        ok = natsConnection_PublishMsg(h->nc, o->msg) == NATS_OK;
        break;
    }
    return ok;
}

static void send_all(struct hand *h, struct wire_out *list, uint64_t session)
{
    bool ok = true;

    while (list) {
        struct wire_out *o = list;
        list = o->next;
        if (!send_one(h, o, ok ? session : 0)) {
            ok = false;
            (void)pthread_mutex_lock(&h->box->lock);
            h->box->phase = h->box->phase == WIRE_UP ? WIRE_END : h->box->phase;
            if (!h->box->error[0])
                (void)snprintf(h->box->error, sizeof h->box->error, "publishing failed");
            (void)pthread_mutex_unlock(&h->box->lock);
        }
        wire_out_free(o);
    }
}

/* One thing to do, with the lock held on entry and return. */
static void deed(struct hand *h)
{
    struct box *b = h->box;
    struct wire_out *list = b->out;
    uint64_t session = b->session;

    if (b->phase == WIRE_UP && b->closed)
        b->phase = WIRE_END;
    if (b->phase == WIRE_END) {
        (void)pthread_mutex_unlock(&b->lock);
        take_down(h);
        (void)pthread_mutex_lock(&b->lock);
        b->phase = WIRE_ENDED;
        box_signal(b);
        return;
    }
    b->out = NULL;
    b->out_end = &b->out;
    b->out_n = b->out_bytes = 0;
    if (b->starved)
        box_signal(b);
    b->starved = false;
    if (!list && b->phase == WIRE_DIAL) {
        b->phase = WIRE_DIALLING;
        b->closed = b->leaving = false;
        (void)pthread_mutex_unlock(&b->lock);
        dial(h);
    } else {
        (void)pthread_mutex_unlock(&b->lock);
        send_all(h, list, session);
    }
    (void)pthread_mutex_lock(&b->lock);
}

void *hand_run(void *box)
{
    struct hand h = { .box = box };
    struct box *b = box;
    struct wire_out *list = NULL;
    uint64_t session = 0;

    (void)pthread_mutex_lock(&b->lock);
    while (!b->stop) {
        if (b->out || b->phase == WIRE_DIAL || b->phase == WIRE_END ||
            (b->phase == WIRE_UP && b->closed))
            deed(&h);
        else
            (void)pthread_cond_wait(&b->changed, &b->lock);
    }
    /* What was handed over before the end goes out; what the server does with it nobody asks. */
    list = b->out;
    session = b->session;
    b->out = NULL;
    b->out_end = &b->out;
    (void)pthread_mutex_unlock(&b->lock);
    send_all(&h, list, session);
    take_down(&h);
    while (h.ports)
        port_end(&h, h.ports);
    for (int i = 0; i < h.known_n; i++)
        free(h.known[i]);
    free((void *)h.known);
    nats_ReleaseThreadMemory();
    box_release(b);
    return NULL;
}
