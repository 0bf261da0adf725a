#include "tests/sim/desk.h"
#include "bridge/cli/client.h"
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

void desk_open(struct desk *d)
{
    struct http_spec http = {
        .path = "sock", .open = d->roles != NULL, .handle = api_handle, .rank = api_rank
    };
    struct fault why;
    struct api_spec api;

    rig_start(&d->rig);
    d->path = strdup("store.db");
    d->rig.config.store_path = d->path;
    d->rig.config.roles_set = d->roles != NULL;
    if (d->roles)
        memcpy(d->rig.config.roles, d->roles, sizeof d->rig.config.roles);
    api = (struct api_spec){ .relay = d->rig.relay,
        .store = d->rig.store,
        .config = &d->rig.config,
        .started_ms = d->rig.unix_ms };
    if (api_open(&api, &d->api, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    http.arg = d->api;
    if (http_open(&http, &d->http, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

void desk_close(struct desk *d)
{
    http_free(d->http);
    api_free(d->api);
    rig_done(&d->rig);
    free(d->path);
}

void desk_turn(struct desk *d)
{
    int64_t unix_ms;

    rig_turn(&d->rig, d->stuck);
    unix_ms = d->unix_ms ? d->unix_ms : d->rig.unix_ms;
    (void)api_turn(d->api, d->rig.now_ms, unix_ms);
    (void)http_step(d->http, d->rig.now_ms);
    (void)api_turn(d->api, d->rig.now_ms, unix_ms);
}

struct asking {
    const char *method, *path;
    json_t *body;
    uint32_t uid;
    struct client_answer answer;
    struct fault why;
    int result;
    atomic_bool done;
};

static void *ask_thread(void *arg)
{
    struct asking *a = arg;

    /* The bare call changes this thread alone; it ends as that user. */
    if (a->uid && syscall(SYS_setresuid, a->uid, a->uid, a->uid) != 0)
        a->result = fault_set(&a->why, FAULT_BROKEN, errno, "cannot become %u", a->uid);
    else
        a->result = client_ask("sock", a->method, a->path, a->body, &a->answer, &a->why);
    atomic_store(&a->done, true);
    return NULL;
}

int desk_try(struct desk *d, const char *method, const char *path, json_t *body, json_t **ret)
{
    struct asking a = { .method = method, .path = path, .body = body, .uid = d->ask_as };
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, ask_thread, &a), 0);
    while (!atomic_load(&a.done))
        desk_turn(d);
    CHECK_INT(pthread_join(thread, NULL), 0);
    json_decref(body);
    if (a.result != 0)
        harness_fail(__FILE__, __LINE__, "%s %s: %s", method, path, a.why.text);
    *ret = a.answer.json;
    return a.answer.status;
}

json_t *desk_ask(struct desk *d, const char *method, const char *path, json_t *body, int status)
{
    json_t *ret;
    int got = desk_try(d, method, path, body, &ret);

    if (got != status)
        harness_fail(__FILE__, __LINE__, "%s %s: %d, not %d: %s", method, path, got, status,
            json_dumps(ret, 0));
    return ret;
}

json_t *desk_get(struct desk *d, const char *path)
{
    return desk_ask(d, "GET", path, NULL, 200);
}

json_t *desk_post(struct desk *d, const char *path, json_t *body)
{
    return desk_ask(d, "POST", path, body, 200);
}

char *desk_text(struct desk *d, const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    static char answer[1 << 20];
    char request[256];
    size_t n = 0;
    ssize_t got = -1;

    (void)snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    CHECK_INT(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    while (got != 0) {
        desk_turn(d);
        got = read(fd, answer + n, sizeof answer - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    answer[n] = '\0';
    return answer;
}
