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
    bool ready, watching_write, pinging;
    uint32_t tries;
    size_t greetings; /* login replies still to come */
    int64_t started_ms, answered_ms, now_ms;
    struct link_status status;
    struct fault trouble; /* of the login */
    void (*up)(void *owner);
    void (*lost)(void *owner);
    void *owner;
};

void client_init(
    struct client *c, const struct redis_link_options *options, uint64_t seed, int poll_fd);
void client_done(struct client *c);
/* Returns when to call it again at the latest. */
int64_t client_step(struct client *c, int64_t now_ms);
/* After commands were put outside of a step: makes the descriptor ready, so that they go out. */
void client_watch(struct client *c);
/* The connection is useless: ends it at the next step, with these words. */
void client_fail(struct client *c, const char *text, size_t n);

#endif
