#include "bridge/watchdog.h"
#include "bridge/notify.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EXTEND_EVERY_S 5
#define EXTEND_BY_S 30
#define EXTEND_FOR_S 3600

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool running, end;
} extension = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

void watchdog_init(struct watchdog *w, int64_t now_ms)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    long long limit = usec ? strtoll(usec, NULL, 10) : 0;

    *w = (struct watchdog){ .progress_ms = now_ms };
    if (pid && strtoll(pid, NULL, 10) != getpid())
        return;
    if (limit >= 1000)
        w->limit_ms = limit / 1000;
}

int64_t watchdog_step(struct watchdog *w, int64_t now_ms, bool busy, uint64_t committed)
{
    if (w->limit_ms == 0)
        return INT64_MAX;
    if (!busy || committed != w->committed)
        w->progress_ms = now_ms;
    w->committed = committed;
    if (now_ms >= w->next_ms) {
        if (now_ms - w->progress_ms < w->limit_ms)
            notify_send("WATCHDOG=1");
        /* A third of it: one late turn is no death. */
        w->next_ms = now_ms + w->limit_ms / 3;
    }
    return w->next_ms;
}

static void *extend(void *arg)
{
    char text[64];

    (void)arg;
    (void)pthread_setname_np(pthread_self(), "start-timeout");
    (void)snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%d000000", EXTEND_BY_S);
    (void)pthread_mutex_lock(&extension.lock);
    for (int passed = 0; passed < EXTEND_FOR_S; passed += EXTEND_EVERY_S) {
        struct timespec until;

        notify_send(text);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += EXTEND_EVERY_S;
        while (!extension.end &&
               pthread_cond_timedwait(&extension.ended, &extension.lock, &until) == 0)
            ;
        if (extension.end)
            break;
    }
    (void)pthread_mutex_unlock(&extension.lock);
    return NULL;
}

void watchdog_extend_begin(void)
{
    sigset_t all, before;

    if (!getenv("NOTIFY_SOCKET"))
        return;
    /* Signals belong to the loop's thread. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    extension.end = false;
    extension.running = pthread_create(&extension.thread, NULL, extend, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void watchdog_extend_end(void)
{
    if (!extension.running)
        return;
    (void)pthread_mutex_lock(&extension.lock);
    extension.end = true;
    (void)pthread_cond_signal(&extension.ended);
    (void)pthread_mutex_unlock(&extension.lock);
    (void)pthread_join(extension.thread, NULL);
    extension.running = false;
}
