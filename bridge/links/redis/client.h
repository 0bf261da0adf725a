/* One authenticated Redis connection that comes back by itself. */
#ifndef BASCULE_CLIENT_H
#define BASCULE_CLIENT_H

#include "bridge/base/backoff.h"
#include "bridge/connector.h"
#include "bridge/links/redis/options.h"
#include "bridge/links/resp.h"

/* Embedded in whoever uses it. `up` is called after each login, `lost` after the connection ended
 * and every unanswered command had its call. */
struct client {
    const struct redis_link_options *options;
    struct random random;
    struct resp *resp; /* NULL while down */
    int poll_fd;
    bool ready, watching_read, watching_write;
    bool pushes;       /* its replies are pub/sub's: pings are not answered one by one */
    bool readable;     /* by client_poll(); until then nothing is read once it is ready */
    bool held;         /* reads nothing now, on purpose: silence is no sign of death then */
    unsigned watched;  /* number of the socket in the epoll set; 0: none */
    size_t url;        /* the one dialled now or next */
    uint64_t received; /* bytes that had come at answered_ms */
    int64_t answered_unix_ms;
    uint32_t tries;
    size_t greetings; /* login replies still to come */
    int64_t started_ms, answered_ms, pinged_ms, now_ms;
    struct link_status status;
    struct fault trouble; /* of the login */
    void (*up)(void *owner);
    void (*lost)(void *owner);
    void *owner;
};

void client_init(
    struct client *c, const struct redis_link_options *options, uint64_t seed, int poll_fd);
void client_done(struct client *c);
/* Asks the epoll descriptor that clients share which of them have something to read: before their
 * steps. */
void client_poll(int poll_fd);
/* Returns when to call it again at the latest. */
int64_t client_step(struct client *c, int64_t now_ms, int64_t unix_ms);
/* After commands were put outside of a step: they go out, now or when the descriptor is ready. */
void client_watch(struct client *c);
/* Stops or goes on reading, so that the server's own limits bound what waits for us. */
void client_hold(struct client *c, bool held);
/* The connection is useless: ends it at the next step, with these words. */
void client_fail(struct client *c, const char *text, size_t n);
/* The same by a reply that is an error, whose words decide how it goes on. */
void client_fail_reply(struct client *c, const struct resp_value *v);
/* True when the reply is an error of that first word (or words). */
bool client_error_is(const struct resp_value *v, const char *word);

#endif
