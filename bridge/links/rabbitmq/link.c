#include "bridge/links/rabbitmq/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bridge/links/rabbitmq/probe.h"
#include "bridge/links/rabbitmq/sink.h"
#include "bridge/links/rabbitmq/source.h"

#define STEADY_MS 5000 /* up for this long: the next trouble is a new one */
#define STUCK_MS 4000  /* one send that takes this long, while neighbours wait for it */

static int link_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    struct link *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (dial_init(&l->dial, spec->name, spec->options, why) != 0) {
        free(l);
        return -1;
    }
    l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->bell < 0) {
        dial_done(&l->dial);
        free(l);
        return fault_set(why, FAULT_RETRY, 0, "no eventfd");
    }
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)snprintf(l->store_id, sizeof l->store_id, "%s", spec->store_id ? spec->store_id : "");
    l->refs = 1;
    l->random.state = spec->seed;
    *ret = l;
    return 0;
}

static void link_free(struct link *l)
{
    if (!l)
        return;
    for (struct io *io = l->ios; io; io = io->next)
        io_stop(io);
    link_unref(l);
}

static int link_pollfd(const struct link *l)
{
    return l->bell;
}

void link_add(struct link *l, struct channel *c, struct io *io)
{
    c->next_all = l->channels;
    l->channels = c;
    io_attach(io, c);
}

void link_remove(struct channel *c)
{
    struct link *l = c->io->link;
    struct channel **at = &l->channels;

    while (*at != c)
        at = &(*at)->next_all;
    *at = c->next_all;
    if (c->left)
        io_attach(c->io, c); /* it was between two connections */
    pthread_mutex_lock(&l->lock);
    c->wanted = false;
    c->gone = true;
    io_wake(c->io);
    pthread_mutex_unlock(&l->lock);
}

/* [lock] One sink's exchange is flow-controlled, and the broker reads nothing more of the
 * connection that it shares: neither can leave it in order. Each goes again with a connection of
 * its own. */
static bool is_crowded(const struct io *io)
{
    for (const struct channel *c = io->channels; c; c = c->next)
        if (c->crowded)
            return true;
    return false;
}

/* [lock] The library waits without end where a socket takes nothing, and hears no heartbeats while
 * it does. A broker that is silent meanwhile is gone; one that blocks us still sends its own. */
static int64_t io_watch(struct io *io, int64_t now_ms)
{
    int64_t bound_ms = 2000 * (int64_t)io->link->dial.heartbeat_s;
    int unread = 0;

    if (io->state != IO_UP || io->fd < 0)
        return INT64_MAX;
    (void)ioctl(io->fd, FIONREAD, &unread);
    if (!io->sending || io->sends != io->sends_seen || unread != io->unread_seen)
        io->alive_ms = now_ms;
    if (!io->sending || io->sends != io->sends_seen || io->blocked)
        io->sent_ms = now_ms;
    io->sends_seen = io->sends;
    io->unread_seen = unread;
    if (now_ms - io->alive_ms > bound_ms || (now_ms - io->sent_ms > STUCK_MS && is_crowded(io)))
        (void)shutdown(io->fd, SHUT_RDWR);
    return now_ms + (bound_ms / 4 < STUCK_MS / 2 ? bound_ms / 4 : STUCK_MS / 2);
}

/* [lock] */
static int64_t io_step(struct io *io, int64_t now_ms)
{
    struct link *l = io->link;

    if (io->state != io->state_seen) {
        if (io->state == IO_UP)
            io->up_ms = now_ms;
        io->state_seen = io->state;
        io->since_ms = now_ms;
    }
    if (io->failures != io->failures_seen) {
        bool steady = io->up_ms > 0 && now_ms - io->up_ms >= STEADY_MS;

        io->failures_seen = io->failures;
        io->tries = steady ? 1 : io->tries + 1;
        io->up_ms = 0;
        io->retry_ms = now_ms + backoff_wait_ms(&backoff_connect, io->tries, &l->random);
    }
    if (io->state != IO_IDLE || io->dial_wanted || !io->channels || io->stop)
        return io_watch(io, now_ms);
    if (now_ms < io->retry_ms)
        return io->retry_ms;
    io->dial_wanted = true;
    io_wake(io);
    return INT64_MAX;
}

/* [lock] */
static int64_t channel_step(struct channel *c, int64_t now_ms)
{
    int64_t due_ms = c->ops->step(c, now_ms);

    if (c->state != c->state_seen) {
        if (c->state == CHANNEL_UP)
            c->up_ms = now_ms;
        c->state_seen = c->state;
        c->since_ms = now_ms;
    }
    if (c->failures != c->failures_seen) {
        bool steady = c->up_ms > 0 && now_ms - c->up_ms >= STEADY_MS;

        c->failures_seen = c->failures;
        c->tries = steady ? 1 : c->tries + 1;
        c->up_ms = 0;
        /* A lost connection has its own wait. */
        if (c->io->state == IO_UP)
            c->retry_ms =
                now_ms + backoff_wait_ms(&backoff_connect, c->tries, &c->io->link->random);
    }
    if (c->state != CHANNEL_DOWN || c->wanted || c->hold || c->left || c->io->state != IO_UP)
        return due_ms;
    if (now_ms < c->retry_ms)
        return due_ms < c->retry_ms ? due_ms : c->retry_ms;
    c->session++;
    c->wanted = true;
    io_wake(c->io);
    return due_ms;
}

static int64_t link_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    int64_t due_ms = INT64_MAX, at;
    uint64_t count;

    (void)unix_ms;
    pthread_mutex_lock(&l->lock);
    l->now_ms = now_ms;
    if (l->rung && read(l->bell, &count, sizeof count) > 0)
        l->rung = false;
    for (struct io *io = l->ios; io; io = io->next)
        if ((at = io_step(io, now_ms)) < due_ms)
            due_ms = at;
    for (struct channel *c = l->channels; c; c = c->next_all)
        if ((at = channel_step(c, now_ms)) < due_ms)
            due_ms = at;
    pthread_mutex_unlock(&l->lock);
    return due_ms;
}

/* [lock] */
static void io_status(const struct io *io, struct link_status *ret)
{
    *ret = (struct link_status){
        .state = io->state == IO_UP ? io->blocked ? LINK_BLOCKED : LINK_UP
                 /* Nothing failed yet: it has not begun. */
                 : io->state == IO_CONNECTING || io->dial_wanted || !io->error[0] ? LINK_CONNECTING
                                                                                  : LINK_DOWN,
        .since_ms = io->since_ms,
        .retry_ms = io->retry_ms,
        .session = io->connects,
        .reconnects = io->connects > 0 ? io->connects - 1 : 0,
        .lag = -1
    };
    memcpy(ret->error, io->error, sizeof ret->error);
    memcpy(ret->peer, io->peer.text, sizeof ret->peer);
    ret->peer_expires_ms = io->peer.expires_ms;
}

void link_channel_status(const struct channel *c, struct link_status *ret)
{
    io_status(c->io, ret);
    if (ret->state == LINK_UP || ret->state == LINK_BLOCKED) {
        ret->state = c->state == CHANNEL_UP      ? LINK_UP
                     : c->wanted || !c->error[0] ? LINK_CONNECTING
                                                 : LINK_DOWN;
        ret->retry_ms = c->retry_ms;
        ret->since_ms = c->since_ms;
    }
    if (c->error[0])
        memcpy(ret->error, c->error, sizeof ret->error);
    ret->session = c->session;
}

static void link_status(const struct link *l, struct link_status *ret)
{
    struct link_status one;
    bool any = false;

    *ret = (struct link_status){ .state = LINK_CONNECTING, .lag = -1 };
    pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&l->lock);
    /* The worst of its connections speaks for it. */
    for (const struct io *io = l->ios; io; io = io->next) {
        if (io->stop)
            continue;
        io_status(io, &one);
        if (!any || one.state == LINK_DOWN || (ret->state == LINK_UP && one.state != LINK_UP))
            *ret = one;
        any = true;
    }
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&l->lock);
}

const struct connector connector_rabbitmq = {
    .type = "rabbitmq",
    .link_options = options_link,
    .source_options = options_source,
    .sink_options = options_sink,
    .link_options_bytes = sizeof(struct options_link),
    .source_options_bytes = sizeof(struct options_source),
    .sink_options_bytes = sizeof(struct options_sink),
    .link_check = options_link_check,
    .source_check = options_source_check,
    .sink_check = options_sink_check,
    .source_traits = options_source_traits,
    .sink_traits = options_sink_traits,
    .source_place = options_source_place,
    .sink_place = options_sink_place,
    .link_same = options_link_same,
    .feeds = options_feeds,
    .source_shares = options_source_shares,
    .source_declares = options_source_declares,
    .sink_declares = options_sink_declares,
    .link_open = link_open,
    .link_free = link_free,
    .link_pollfd = link_pollfd,
    .link_step = link_step,
    .link_status = link_status,
    .link_probe = probe_run,
    .link_facts = probe_facts,
    .library = probe_library,
    .source_open = source_open,
    .source_receive = source_receive,
    .source_settle = source_settle,
    .source_pause = source_pause,
    .source_drain = source_drain,
    .source_status = source_status,
    .source_free = source_free,
    .sink_open = sink_open,
    .sink_publish = sink_publish,
    .sink_collect = sink_collect,
    .sink_abandon = sink_abandon,
    .sink_status = sink_status,
    .sink_free = sink_free,
};
