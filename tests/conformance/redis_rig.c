#include "tests/conformance/redis_rig.h"

#include "tests/conformance/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_rig redis_rig;

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

int64_t redis_rig_clock(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the server ---- */

/* Bound or connected to a loopback port, -1 when that fails. */
static int loopback(bool listening, uint16_t port, struct sockaddr_in *ret)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) }
    };
    socklen_t n = sizeof *ret;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    if ((listening ? bind(fd, (struct sockaddr *)&at, sizeof at)
                   : connect(fd, (struct sockaddr *)&at, sizeof at)) != 0 ||
        getsockname(fd, (struct sockaddr *)ret, &n) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

void redis_rig_free_port(char ret[8])
{
    struct sockaddr_in at = { 0 };
    int fd = loopback(true, 0, &at);

    CHECK(fd >= 0);
    (void)snprintf(ret, 8, "%u", (unsigned)ntohs(at.sin_port));
    (void)close(fd);
}

static void wait_for_answer(struct redis_rig_server *s)
{
    int64_t end = redis_rig_clock(CLOCK_MONOTONIC) + REDIS_RIG_PATIENCE_MS;
    uint16_t port = (uint16_t)strtoul(s->port, NULL, 10);
    struct sockaddr_in at = { 0 };
    int fd = -1;

    while ((fd = loopback(false, port, &at)) < 0) {
        CHECK(redis_rig_clock(CLOCK_MONOTONIC) < end);
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            harness_fail(__FILE__, __LINE__, "redis-server %s ended by itself", s->name);
        (void)poll(NULL, 0, 10);
    }
    (void)close(fd);
}

void redis_rig_server_again(struct redis_rig_server *s)
{
    char path[64];
    pid_t parent = getpid();

    (void)snprintf(path, sizeof path, "%s/redis.conf", s->name);
    s->pid = fork();
    CHECK(s->pid >= 0);
    if (s->pid == 0) {
        /* However the test ends, the server ends with it. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
            (void)execlp("redis-server", "redis-server", path, (char *)NULL);
        _exit(127);
    }
    wait_for_answer(s);
}

void redis_rig_server_start(struct redis_rig_server *s, const char *name, const char *config)
{
    char path[64], dir[PATH_MAX];
    FILE *f = NULL;

    (void)redis_rig_port(); /* no Redis on this machine: skipped */
    *s = (struct redis_rig_server){ 0 };
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    redis_rig_free_port(s->port);
    (void)snprintf(path, sizeof path, "%s/redis.conf", name);
    CHECK(mkdir(name, 0700) == 0 && getcwd(dir, sizeof dir) && (f = fopen(path, "w")));
    CHECK(fprintf(f,
              "bind 127.0.0.1\nport %s\ndir %s/%s\nlogfile %s/%s/log\ndaemonize no\nsave \"\"\n"
              "enable-debug-command yes\nrepl-diskless-sync-delay 0\n%s",
              s->port, dir, name, dir, name, config) > 0);
    CHECK_INT(fclose(f), 0);
    redis_rig_server_again(s);
}

void redis_rig_server_kill(struct redis_rig_server *s)
{
    CHECK_INT(kill(s->pid, SIGKILL), 0);
    CHECK_INT(waitpid(s->pid, NULL, 0), s->pid);
    s->pid = 0;
}

void redis_rig_use(const struct redis_rig_server *s)
{
    (void)snprintf(g->port, sizeof g->port, "%s", s->port);
}

const char *redis_rig_port(void)
{
    const char *p = getenv("BASCULE_TEST_REDIS_PORT");

    if (!p)
        harness_skip("no Redis: BASCULE_TEST_REDIS_PORT is not set");
    return g->port[0] ? g->port : p;
}

void redis_rig_cli(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    fixture_shell("redis-cli -p %s %s >/dev/null", redis_rig_port(), command);
}

const char *redis_rig_ask(const char *command)
{
    static char line[4096];
    char all[2100];
    FILE *f = NULL;

    (void)snprintf(all, sizeof all, "redis-cli -p %s %s", redis_rig_port(), command);
    f = popen(all, "r");
    CHECK(f != NULL);
    if (!fgets(line, sizeof line, f))
        line[0] = 0;
    (void)pclose(f);
    line[strcspn(line, "\r\n")] = 0;
    return line;
}

/* ---- the link ---- */

void redis_rig_from_stream(void)
{
    static char stream[] = "in", group[] = "g";

    g->from.stream = stream;
    g->from.group = group;
}

void redis_rig_to_stream(bool fixed)
{
    static char out[] = "out";

    g->to.stream = (struct option_template){ out, fixed };
}

void redis_rig_from_channels(void)
{
    static char name[] = "news", pattern[] = "al*";

    g->channels[0] = name;
    g->channels[1] = pattern;
    g->from.channels = (struct option_list){ g->channels, 2 };
}

void redis_rig_open(void)
{
    struct link_spec spec = { "redis", &g->link, "store-1", 1, NULL };

    if (!g->link.url && !g->link.urls.n) {
        (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", redis_rig_port());
        g->link.url = g->url;
        redis_rig_cli("FLUSHALL");
    }
    g->link.db = -1;
    g->link.connect_timeout_ms = 10000;
    if (!g->link.ping_interval_ms)
        g->link.ping_interval_ms = 10000;
    CHECK_INT(c->link_open(&spec, &g->l, NULL), 0);
}

void redis_rig_source(const struct position *positions, size_t n)
{
    g->source_spec = (struct source_spec){ .route = "r",
        .route_id = 1,
        .options = &g->from,
        .positions = positions,
        .position_count = n,
        .window_events = g->source_spec.window_events ? g->source_spec.window_events : 5000,
        .window_bytes = 64 << 20,
        .max_event_bytes =
            g->source_spec.max_event_bytes ? g->source_spec.max_event_bytes : 16 << 20 };
    CHECK_INT(c->source_open(g->l, &g->source_spec, &g->source, NULL), 0);
}

void redis_rig_sink(void)
{
    g->sink_spec = (struct sink_spec){ .route = "r",
        .name = "s",
        .sink_id = 1,
        .options = &g->to,
        .window_events = 1000,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = 20000 };
    CHECK_INT(c->sink_open(g->l, &g->sink_spec, &g->sink, NULL), 0);
}

void redis_rig_close(void)
{
    c->source_free(g->source);
    c->sink_free(g->sink);
    c->link_free(g->l);
    g->source = NULL;
    g->sink = NULL;
    g->l = NULL;
}

void redis_rig_turn(void)
{
    int64_t now = redis_rig_clock(CLOCK_MONOTONIC), left = g->wake - now;
    struct pollfd p = { c->link_pollfd(g->l), POLLIN, 0 };

    (void)poll(&p, 1, left < 0 ? 0 : left < 20 ? (int)left : 20);
    g->wake = c->link_step(g->l, redis_rig_clock(CLOCK_MONOTONIC), redis_rig_clock(CLOCK_REALTIME));
}

struct batch *redis_rig_receive(void)
{
    struct batch *b = NULL;

    UNTIL((b = c->source_receive(g->source, 1000)));
    return b;
}

size_t redis_rig_take(size_t want)
{
    size_t n = 0, gaps = 0;

    while (n < want) {
        struct batch *b = redis_rig_receive();
        n += b->count;
        gaps += b->gap_count;
        c->source_settle(g->source, b, true);
    }
    CHECK_INT(n, want);
    return gaps;
}

struct report redis_rig_publish(struct message *m)
{
    struct report r;

    m->ref = 5;
    UNTIL(c->sink_publish(g->sink, m, 1) == 1);
    UNTIL(c->sink_collect(g->sink, &r, 1) == 1);
    CHECK_INT(r.ref, 5);
    return r;
}

struct message redis_rig_message(struct event *e, const char *place)
{
    struct message m = { .event = e };

    e->body = bytes_text("hello");
    for (size_t i = 0; i < CONNECTOR_FIELDS_MAX; i++)
        m.fields[i] = bytes_text(place);
    return m;
}

void redis_rig_subscribed(void)
{
    struct batch *b = redis_rig_receive();

    CHECK_INT(b->count, 0);
    c->source_settle(g->source, b, true);
}

struct link_status redis_rig_source_status(void)
{
    struct link_status s = { 0 };

    c->source_status(g->source, &s);
    return s;
}

struct link_status redis_rig_sink_status(void)
{
    struct link_status s = { 0 };

    c->sink_status(g->sink, &s);
    return s;
}
