#include "bridge/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 16 /* who is ready does not matter: every turn steps everybody */

struct loop {
    int epoll, signals;
};

static int64_t read_clock(clockid_t which)
{
    struct timespec ts;

    (void)clock_gettime(which, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t loop_now_ms(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t loop_unix_ms(void)
{
    return read_clock(CLOCK_REALTIME);
}

int loop_open(struct loop **ret, struct fault *why)
{
    struct loop *l = calloc(1, sizeof *l);
    sigset_t set;

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->signals < 0 || l->epoll < 0) {
        fault_set(why, FAULT_BROKEN, errno, "cannot make the loop: %s", strerror(errno));
        goto fail;
    }
    if (loop_watch(l, l->signals, why) != 0)
        goto fail;
    *ret = l;
    return 0;
fail:
    loop_free(l);
    return -1;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->signals >= 0)
        (void)close(l->signals);
    if (l->epoll >= 0)
        (void)close(l->epoll);
    free(l);
}

int loop_watch(struct loop *l, int fd, struct fault *why)
{
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) != 0 && errno != EEXIST)
        return fault_set(
            why, FAULT_BROKEN, errno, "cannot watch descriptor %d: %s", fd, strerror(errno));
    return 0;
}

int loop_wait(struct loop *l, int64_t until_ms, struct fault *why)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int timeout = -1;

    if (until_ms != INT64_MAX) {
        int64_t left = until_ms - loop_now_ms();

        timeout = left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
    }
    if (epoll_wait(l->epoll, events, EVENTS_PER_WAIT, timeout) < 0 && errno != EINTR)
        return fault_set(why, FAULT_BROKEN, errno, "cannot wait: %s", strerror(errno));
    return 0;
}

int loop_signal(struct loop *l)
{
    struct signalfd_siginfo info;

    if (read(l->signals, &info, sizeof info) != sizeof info)
        return 0;
    return (int)info.ssi_signo;
}
