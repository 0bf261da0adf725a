/* Any bytes from a client of the admin socket, over a whole bridge with dead letters, a replay and
 * scripted brokers: HTTP, paths, arguments and JSON bodies. */
#include "bridge/admin/api.h"
#include "tests/fuzz/aid.h"
#include "tests/sim/rig.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Jobs and pauses add up. */
#define RUNS_PER_BRIDGE 1000
#define TURNS_MAX 200
#define INPUT_MAX 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct {
    struct rig rig;
    struct api *api;
    struct http *http;
    int runs;
} d;

static void bridge_open(void)
{
    struct http_spec http = { .path = "sock", .handle = api_handle };
    struct fault why;
    struct api_spec api;

    (void)unlink("store.db");
    (void)unlink("store.db-wal");
    rig_init(&d.rig, 1, 2);
    d.rig.world.sinks[0].refuse_every = 5;
    rig_start(&d.rig);
    d.rig.config.store_path = "store.db";
    world_publish(&d.rig.world, 50);
    for (int i = 0; i < 100; i++)
        rig_turn(&d.rig, false);
    api = (struct api_spec){ .relay = d.rig.relay,
        .store = d.rig.store,
        .config = &d.rig.config,
        .started_ms = d.rig.unix_ms };
    if (api_open(&api, &d.api, &why) != 0)
        abort();
    http.arg = d.api;
    if (http_open(&http, &d.http, &why) != 0)
        abort();
}

static void bridge_close(void)
{
    http_free(d.http);
    api_free(d.api);
    rig_done(&d.rig);
    d.http = NULL;
}

static void turn(void)
{
    (void)http_step(d.http, d.rig.now_ms);
    rig_turn(&d.rig, false);
    (void)api_turn(d.api, d.rig.now_ms, d.rig.unix_ms);
}

/* All of it, and then what comes back until the end. */
static void ask(const uint8_t *data, size_t n)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    char answer[4096];
    ssize_t got = -1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        abort();
    (void)send(fd, data, n, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < TURNS_MAX && got != 0; i++) {
        turn();
        while ((got = recv(fd, answer, sizeof answer, 0)) > 0)
            ;
    }
    (void)close(fd);
    turn();
}

/* A backup is written where the request says; so it must not ask for one, escaped or not. */
static bool harmless(const uint8_t *data, size_t n)
{
    static char text[INPUT_MAX];
    size_t length = 0;

    for (size_t i = 0; i < n; length++) {
        char hex[3] = { 0 };
        char *end = hex;

        if (data[i] == '%' && n - i > 2) {
            memcpy(hex, data + i + 1, 2);
            text[length] = (char)strtoul(hex, &end, 16);
        }
        if (end != hex + 2)
            text[length] = (char)data[i];
        i += end == hex + 2 ? 3 : 1;
    }
    return !memmem(text, length, "backup", 6) && !memmem(data, n, "backup", 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!d.http) {
        if (d.runs == 0)
            aid_enter_directory();
        bridge_open();
    }
    if (n > INPUT_MAX || !harmless(data, n))
        return 0;
    ask(data, n);
    if (++d.runs % RUNS_PER_BRIDGE == 0)
        bridge_close();
    return 0;
}
