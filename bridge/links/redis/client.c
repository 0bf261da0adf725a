#include "bridge/links/redis/client.h"

#include "bridge/links/tls.h"

#include <stdio.h>
#include <sys/epoll.h>

#define OUT_BYTES_MAX (256u << 20)
/* A name's look-up has no descriptor to wait for. */
#define LOOKUP_POLL_MS 20
/* Others that are ready come next time: the kernel hands them out in turn. */
#define EVENTS_PER_POLL 128

void client_init(
    struct client *c, const struct redis_link_options *options, uint64_t seed, int poll_fd)
{
    *c = (struct client){ .options = options, .random = { seed }, .poll_fd = poll_fd };
    c->status.lag = -1;
}

bool client_error_is(const struct resp_value *v, const char *word)
{
    size_t n = strlen(word);

    return v->type == RESP_ERROR && v->text.n >= n && memcmp(v->text.at, word, n) == 0;
}

static void set_state(struct client *c, enum link_state state)
{
    if (c->status.state != state)
        c->status.since_ms = c->now_ms;
    c->status.state = state;
}

void client_fail(struct client *c, const char *text, size_t n)
{
    if (!c->trouble.kind)
        (void)fault_set(&c->trouble, FAULT_RETRY, 0, "%.*s", (int)(n < 400 ? n : 400), text);
}

void client_fail_reply(struct client *c, const struct resp_value *v)
{
    static const char cluster[] = "MOVED: the server is a cluster, which this link cannot use";

    if (client_error_is(v, "MOVED"))
        client_fail(c, cluster, sizeof cluster - 1);
    else
        client_fail(c, (const char *)v->text.at, v->text.n);
}

static void client_close(struct client *c, const struct fault *why)
{
    struct resp *r = c->resp;
    bool was_up = c->ready;
    size_t urls = redis_url_count(c->options);

    c->resp = NULL;
    c->ready = c->held = c->pushes = c->readable = false;
    c->watched = 0;
    resp_free(r); /* closing takes it out of the epoll set */
    (void)snprintf(c->status.error, sizeof c->status.error, "%.255s", why->text);
    c->tries = was_up ? 1 : c->tries + 1;
    c->url = urls ? (c->url + 1) % urls : 0;
    /* Only a whole round of addresses that failed is worth a longer wait. */
    c->status.retry_ms = c->now_ms;
    if (urls < 2 || c->url == 0 || was_up)
        c->status.retry_ms += backoff_wait_ms(&backoff_connect, c->tries, &c->random);
    set_state(c, strncmp(why->text, "MOVED", 5) == 0 ? LINK_STOPPED : LINK_DOWN);
    if (was_up && c->lost)
        c->lost(c->owner);
}

void client_done(struct client *c)
{
    struct resp *r = c->resp;

    c->resp = NULL;
    resp_free(r);
}

static void greeted(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct client *c = owner;

    (void)arg;
    (void)sent;
    if (!v)
        return;
    if (v->type == RESP_ERROR)
        client_fail_reply(c, v);
    if (--c->greetings > 0 || c->trouble.kind)
        return;
    resp_wipe(c->resp);
    c->ready = true;
    c->tries = 0;
    c->status.error[0] = 0;
    c->status.reconnects += c->status.session > 0;
    c->status.session++;
    set_state(c, LINK_UP);
}

/* Any byte is a sign of life (see alive()), so its own reply says nothing more. */
static void ponged(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    (void)owner;
    (void)arg;
    (void)v;
    (void)sent;
}

static void greet(struct client *c, const struct redis_url *url)
{
    const char *user = c->options->username ? c->options->username : url->username;
    const char *password = c->options->password ? c->options->password : url->password;
    int64_t db = c->options->db >= 0 ? c->options->db : url->db;

    c->greetings = 1;
    if (password && resp_command(c->resp, user ? 3 : 2, greeted, c, 0) == 0) {
        c->greetings++;
        resp_arg_text(c->resp, "AUTH");
        if (user)
            resp_arg_text(c->resp, user);
        resp_arg_text(c->resp, password);
    }
    if (db > 0 && resp_command(c->resp, 2, greeted, c, 0) == 0) {
        c->greetings++;
        resp_arg_text(c->resp, "SELECT");
        resp_arg_int(c->resp, db);
    }
    if (resp_command(c->resp, 1, greeted, c, 0) == 0)
        resp_arg_text(c->resp, "PING");
}

static int dial(struct client *c, struct fault *why)
{
    const struct redis_tls_options *o = &c->options->tls;
    struct redis_url url;
    struct tls_spec tls = { 0 };

    if (redis_url_parse(redis_url_at(c->options, c->url), &url, why) != 0)
        return -1;
    if (o->set)
        tls =
            (struct tls_spec){ o->ca_file, o->cert_file, o->key_file, o->server_name, !o->verify };
    if (!tls.server_name)
        tls.server_name = url.host;
    (void)snprintf(c->status.peer, sizeof c->status.peer, "%.100s:%d", url.host, url.port);
    c->resp = resp_open(
        &(struct resp_spec){ url.host, url.port, OUT_BYTES_MAX, url.tls ? &tls : NULL }, why);
    if (!c->resp)
        return fault_prefix(why, "%s", c->status.peer);
    c->started_ms = c->answered_ms = c->pinged_ms = c->now_ms;
    c->received = 0;
    greet(c, &url);
    return 0;
}

void client_watch(struct client *c)
{
    if (!c->resp || resp_fd(c->resp) < 0)
        return;
    resp_flush(c->resp);
    bool write = resp_wants_write(c->resp), read = !c->held;
    bool added = c->watched == resp_socket_number(c->resp);
    struct epoll_event event = { .events = (read ? EPOLLIN : 0u) | (write ? EPOLLOUT : 0u),
        .data.ptr = c };

    if (added && write == c->watching_write && read == c->watching_read)
        return;
    /* The edge of a hang-up would be reported for ever while held: then nothing is watched. */
    if (added && event.events == 0)
        event.events = EPOLLET;
    if (epoll_ctl(c->poll_fd, added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, resp_fd(c->resp), &event) !=
        0) {
        client_fail(c, "epoll refused the socket", 24);
        return;
    }
    c->watched = resp_socket_number(c->resp);
    c->watching_write = write;
    c->watching_read = read;
}

void client_poll(int poll_fd)
{
    struct epoll_event events[EVENTS_PER_POLL];
    int n = epoll_wait(poll_fd, events, EVENTS_PER_POLL, 0);

    for (int i = 0; i < n; i++)
        ((struct client *)events[i].data.ptr)->readable = true;
}

void client_hold(struct client *c, bool held)
{
    if (!c->resp || c->held == held)
        return;
    c->held = held;
    resp_hold(c->resp, held);
    c->answered_ms = c->now_ms;
    client_watch(c);
}

static int alive(struct client *c, int64_t unix_ms, struct fault *why)
{
    int64_t quiet = 0, interval = c->options->ping_interval_ms;

    if (resp_received(c->resp) != c->received || c->held) {
        c->received = resp_received(c->resp);
        c->answered_ms = c->now_ms;
        c->answered_unix_ms = c->held ? c->answered_unix_ms : unix_ms;
    }
    quiet = c->now_ms - c->answered_ms;
    if (!c->ready && c->now_ms - c->started_ms > c->options->connect_timeout_ms)
        return fault_set(why, FAULT_RETRY, 0, "no connection within %lld ms",
            (long long)c->options->connect_timeout_ms);
    if (c->ready && quiet > 3 * interval)
        return fault_set(why, FAULT_RETRY, 0, "no answer for %lld ms", (long long)quiet);
    if (c->ready && quiet > interval && c->now_ms - c->pinged_ms > interval &&
        resp_command(c->resp, 1, c->pushes ? NULL : ponged, c, 0) == 0) {
        c->pinged_ms = c->now_ms;
        resp_arg_text(c->resp, "PING");
    }
    return 0;
}

static void describe(struct client *c)
{
    const char *version = resp_tls_version(c->resp);
    size_t n = strlen(c->status.peer);

    c->status.peer_expires_ms = resp_peer_expires_ms(c->resp);
    if (*version)
        (void)snprintf(c->status.peer + n, sizeof c->status.peer - n, ", %s", version);
}

static int move(struct client *c, int64_t unix_ms, struct fault *why)
{
    bool was_ready = c->ready, idle = c->ready && !c->readable && !resp_wants_write(c->resp);

    c->readable = false;
    if (!idle && resp_step(c->resp, why) != 0) {
        /* What the server said last is the better reason. */
        if (c->trouble.kind)
            *why = c->trouble;
        else
            (void)fault_prefix(why, "%s", c->status.peer);
        return -1;
    }
    if (alive(c, unix_ms, why) != 0)
        return -1;
    if (c->ready && !was_ready) {
        describe(c);
        if (c->up)
            c->up(c->owner);
    }
    client_watch(c);
    if (c->trouble.kind) {
        *why = c->trouble;
        return -1;
    }
    return 0;
}

int64_t client_step(struct client *c, int64_t now_ms, int64_t unix_ms)
{
    struct fault why = { 0 };
    int64_t interval = c->options->ping_interval_ms;

    c->now_ms = now_ms;
    if (c->status.state == LINK_STOPPED)
        return INT64_MAX;
    if (!c->resp && now_ms < c->status.retry_ms)
        return c->status.retry_ms;
    if (!c->resp) {
        c->trouble = (struct fault){ 0 };
        set_state(c, LINK_CONNECTING);
        if (dial(c, &why) != 0) {
            client_close(c, &why);
            return c->status.retry_ms;
        }
    }
    if (move(c, unix_ms, &why) != 0) {
        client_close(c, &why);
        return c->status.retry_ms;
    }
    if (resp_fd(c->resp) < 0)
        return now_ms + LOOKUP_POLL_MS;
    if (!c->ready)
        return c->started_ms + c->options->connect_timeout_ms + 1;
    return (c->pinged_ms > c->answered_ms ? c->pinged_ms : c->answered_ms) + interval + 1;
}
