#include "tests/sim/desk.h"
#include "bridge/cli/client.h"
#include "tests/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void desk_open(struct desk *d)
{
    struct http_spec http = { .path = "sock", .handle = api_handle };
    struct fault why;
    struct api_spec api;

    rig_start(&d->rig);
    d->path = strdup("store.db");
    d->rig.config.store_path = d->path;
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
    rig_turn(&d->rig, false);
    (void)api_turn(d->api, d->rig.now_ms, d->rig.unix_ms);
    (void)http_step(d->http, d->rig.now_ms);
    (void)api_turn(d->api, d->rig.now_ms, d->rig.unix_ms);
}

struct asking {
    const char *method, *path;
    json_t *body;
    struct client_answer answer;
    struct fault why;
    int result;
    atomic_bool done;
};

static void *ask_thread(void *arg)
{
    struct asking *a = arg;

    a->result = client_ask("sock", a->method, a->path, a->body, &a->answer, &a->why);
    atomic_store(&a->done, true);
    return NULL;
}

json_t *desk_ask(struct desk *d, const char *method, const char *path, json_t *body, int status)
{
    struct asking a = { .method = method, .path = path, .body = body };
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, ask_thread, &a), 0);
    while (!atomic_load(&a.done))
        desk_turn(d);
    CHECK_INT(pthread_join(thread, NULL), 0);
    json_decref(body);
    if (a.result != 0)
        harness_fail(__FILE__, __LINE__, "%s %s: %s", method, path, a.why.text);
    if (a.answer.status != status)
        harness_fail(__FILE__, __LINE__, "%s %s: %d, not %d: %s", method, path, a.answer.status,
            status, json_dumps(a.answer.json, 0));
    return a.answer.json;
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
