#include "bridge/links/redis/client.h"

#include <stdio.h>
#include <sys/epoll.h>

#define OUT_BYTES_MAX (256u << 20)

void client_init(
    struct client *c, const struct redis_link_options *options, uint64_t seed, int poll_fd)
{
    *c = (struct client){ .options = options, .random = { seed }, .poll_fd = poll_fd };
    c->status.lag = -1;
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

static void client_close(struct client *c, const struct fault *why)
{
    struct resp *r = c->resp;
    bool was_up = c->ready;

    c->resp = NULL;
    c->ready = false;
    resp_free(r); /* closing takes it out of the epoll set */
    (void)snprintf(c->status.error, sizeof c->status.error, "%.255s", why->text);
    c->tries = was_up ? 1 : c->tries + 1;
    c->status.retry_ms = c->now_ms + backoff_wait_ms(&backoff_connect, c->tries, &c->random);
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
        client_fail(c, (const char *)v->text.at, v->text.n);
    if (--c->greetings > 0 || c->trouble.kind)
        return;
    c->ready = true;
    c->tries = 0;
    c->status.error[0] = 0;
    c->status.reconnects += c->status.session > 0;
    c->status.session++;
    set_state(c, LINK_UP);
}

static void ponged(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct client *c = owner;

    (void)arg;
    (void)sent;
    c->pinging = false;
    if (v)
        c->answered_ms = c->now_ms;
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
    struct redis_url url;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };

    if (redis_url_parse(c->options->url, &url, why) != 0)
        return -1;
    c->resp = resp_open(url.host, url.port, OUT_BYTES_MAX, why);
    if (!c->resp)
        return -1;
    if (epoll_ctl(c->poll_fd, EPOLL_CTL_ADD, resp_fd(c->resp), &event) != 0)
        return fault_set(why, FAULT_RETRY, 0, "epoll refused the socket");
    c->watching_write = true;
    c->started_ms = c->answered_ms = c->now_ms;
    (void)snprintf(c->status.peer, sizeof c->status.peer, "%.100s:%d", url.host, url.port);
    greet(c, &url);
    return 0;
}

void client_watch(struct client *c)
{
    if (!c->resp)
        return;
    bool write = resp_wants_write(c->resp);
    struct epoll_event event = { .events = EPOLLIN | (write ? EPOLLOUT : 0u) };
    if (write != c->watching_write &&
        epoll_ctl(c->poll_fd, EPOLL_CTL_MOD, resp_fd(c->resp), &event) == 0)
        c->watching_write = write;
}

static int move(struct client *c, struct fault *why)
{
    bool was_ready = c->ready;
    int64_t quiet = c->now_ms - c->answered_ms, interval = c->options->ping_interval_ms;

    if (resp_step(c->resp, why) != 0)
        return -1;
    if (c->trouble.kind) {
        *why = c->trouble;
        return -1;
    }
    if (c->ready && !was_ready && c->up)
        c->up(c->owner);
    if (!c->ready && c->now_ms - c->started_ms > c->options->connect_timeout_ms)
        return fault_set(why, FAULT_RETRY, 0, "no connection within %lld ms",
            (long long)c->options->connect_timeout_ms);
    if (c->ready && quiet > 3 * interval)
        return fault_set(why, FAULT_RETRY, 0, "no answer for %lld ms", (long long)quiet);
    if (c->ready && quiet > interval && !c->pinging &&
        resp_command(c->resp, 1, ponged, c, 0) == 0) {
        c->pinging = true;
        resp_arg_text(c->resp, "PING");
    }
    return 0;
}

int64_t client_step(struct client *c, int64_t now_ms)
{
    struct fault why = { 0 };

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
    if (move(c, &why) != 0) {
        client_close(c, &why);
        return c->status.retry_ms;
    }
    client_watch(c);
    return now_ms + (c->ready ? c->options->ping_interval_ms : c->options->connect_timeout_ms);
}
