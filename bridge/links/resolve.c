#include "bridge/links/resolve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Held by its owner and, while a thread works on it, by that thread: the later one to let go frees
 * it, since a look-up cannot be broken off. */
struct resolve {
    atomic_int holders;
    atomic_bool done;
    int error;
    struct addrinfo *all;
    char service[16], host[];
};

static void look(struct resolve *r, int flags)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };

    r->error = getaddrinfo(r->host, r->service, &hints, &r->all);
    if (r->error)
        r->all = NULL;
}

void resolve_free(struct resolve *r)
{
    if (!r || atomic_fetch_sub(&r->holders, 1) > 1)
        return;
    if (r->all)
        freeaddrinfo(r->all);
    free(r);
}

static void *work(void *at)
{
    struct resolve *r = at;

    (void)pthread_setname_np(pthread_self(), "resolve");
    look(r, 0);
    atomic_store(&r->done, true);
    resolve_free(r);
    return NULL;
}

struct resolve *resolve_open(const char *host, int port, struct fault *why)
{
    struct resolve *r = calloc(1, sizeof *r + strlen(host) + 1);
    pthread_t thread;
    int error = 0;

    if (!r) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        return NULL;
    }
    memcpy(r->host, host, strlen(host) + 1);
    (void)snprintf(r->service, sizeof r->service, "%d", port);
    atomic_store(&r->holders, 1);
    look(r, strcasecmp(host, "localhost") == 0 ? 0 : AI_NUMERICHOST);
    if (!r->error) {
        atomic_store(&r->done, true);
        return r;
    }
    atomic_store(&r->holders, 2);
    error = pthread_create(&thread, NULL, work, r);
    if (error == 0) {
        (void)pthread_detach(thread);
        return r;
    }
    atomic_store(&r->holders, 1);
    resolve_free(r);
    (void)fault_set(why, FAULT_RETRY, error, "no thread to look up %s: %s", host, strerror(error));
    return NULL;
}

bool resolve_done(struct resolve *r, const struct addrinfo **ret, struct fault *why)
{
    if (!atomic_load(&r->done))
        return false;
    *ret = r->all;
    if (!r->all)
        (void)fault_set(why, FAULT_RETRY, r->error, "%s: %s", r->host, gai_strerror(r->error));
    return true;
}
