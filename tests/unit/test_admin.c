#include "bridge/admin/access.h"
#include "bridge/admin/endpoints.h"
#include "bridge/admin/http.h"
#include "bridge/admin/view.h"
#include "bridge/base/header.h"
#include "bridge/cli/client.h"
#include "bridge/loop.h"
#include "tests/harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct http_request *later;

/* "/now" is answered at once, "/later" by the next "/now", others tell what they were. */
static void handle(void *arg, struct http_request *q)
{
    char text[256];
    struct http_peer peer = http_peer(q);

    (void)arg;
    if (strcmp(http_path(q), "/later") == 0) {
        later = q;
        return;
    }
    (void)snprintf(text, sizeof text, "{\"path\":\"%s\",\"body\":%zu,\"pid\":%lld,\"a\":\"%s\"}",
        http_path(q), http_body(q).n, (long long)peer.pid,
        http_argument(q, "a") ? http_argument(q, "a") : "");
    if (later)
        http_reply(later, 200, bytes_text("{\"late\":true}"));
    later = NULL;
    http_reply(q, 200, bytes_text(text));
}

static struct http *serve(void)
{
    struct http_spec spec = { .path = "sock", .handle = handle };
    struct http *h = NULL;
    struct fault why = { 0 };

    if (http_open(&spec, &h, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    return h;
}

/* Serves until the child, which runs `ask`, has ended; it must end well. */
static void serve_while(struct http *h, void (*ask)(void))
{
    struct fault why;
    struct loop *l = NULL;
    int ends[2], status;
    char byte;
    pid_t pid;

    CHECK_INT(pipe2(ends, O_NONBLOCK), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        ask();
        exit(0);
    }
    (void)close(ends[1]);
    CHECK_INT(loop_open(&l, &why), 0);
    CHECK_INT(loop_watch(l, ends[0], &why), 0);
    CHECK_INT(loop_watch(l, http_pollfd(h), &why), 0);
    while (read(ends[0], &byte, 1) != 0)
        CHECK_INT(loop_wait(l, http_step(h, loop_now_ms()), &why), 0);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    loop_free(l);
}

static struct client_answer ask(const char *path, json_t *body)
{
    struct client_answer a = { 0 };
    struct fault why;

    if (client_ask("sock", body ? "POST" : "GET", path, body, &a, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    json_decref(body);
    return a;
}

static void ask_two(void)
{
    struct client_answer a = ask("/x%2Fy?a=b%20c", NULL);

    CHECK_INT(a.status, 200);
    CHECK_TEXT(json_string_value(json_object_get(a.json, "path")), "/x/y");
    CHECK_TEXT(json_string_value(json_object_get(a.json, "a")), "b c");
    CHECK_INT(json_integer_value(json_object_get(a.json, "pid")), getpid());
    json_decref(a.json);
    a = ask("/z", json_pack("{s:s}", "k", "value"));
    CHECK_INT(json_integer_value(json_object_get(a.json, "body")), 13);
    json_decref(a.json);
}

TEST(a_request_tells_path_arguments_body_and_peer)
{
    struct http *h = serve();

    serve_while(h, ask_two);
    http_free(h);
}

static void ask_late(void)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct client_answer a = ask("/later", NULL);

        CHECK(json_is_true(json_object_get(a.json, "late")));
        exit(0);
    }
    while (waitpid(pid, &status, WNOHANG) == 0)
        json_decref(ask("/now", NULL).json);
    CHECK_INT(status, 0);
}

TEST(a_reply_may_come_later_while_others_are_served)
{
    struct http *h = serve();

    serve_while(h, ask_late);
    http_free(h);
}

static void ask_beside_silence(void)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    struct client_answer a;
    int silent = socket(AF_UNIX, SOCK_STREAM, 0), broken = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK_INT(connect(silent, (struct sockaddr *)&where, sizeof where), 0);
    CHECK_INT(write(silent, "GET /slo", 8), 8);
    CHECK_INT(connect(broken, (struct sockaddr *)&where, sizeof where), 0);
    CHECK_INT(write(broken, "\0\xff rubbish\r\n\r\n", 14), 14);
    a = ask("/fine", NULL);
    CHECK_INT(a.status, 200);
    json_decref(a.json);
    (void)close(silent);
    (void)close(broken);
}

TEST(silent_and_broken_clients_hold_nobody_up)
{
    struct http *h = serve();

    serve_while(h, ask_beside_silence);
    http_free(h);
}

static void ask_with_large_bodies(void)
{
    char *text = malloc(HTTP_BODY_MAX + 1u);
    struct client_answer a;

    CHECK(text);
    memset(text, 'x', HTTP_BODY_MAX);
    text[HTTP_BODY_MAX] = '\0';
    a = ask("/large", json_pack("{s:s}", "k", text));
    CHECK_INT(a.status, 413);
    CHECK_TEXT(json_string_value(json_object_get(a.json, "code")), "too_large");
    json_decref(a.json);
    text[HTTP_BODY_MAX - 100] = '\0';
    for (int i = 0; i < 4; i++) { /* what a request took is given back with it */
        a = ask("/fits", json_pack("{s:s}", "k", text));
        CHECK_INT(a.status, 200);
        json_decref(a.json);
    }
    free(text);
}

TEST(a_body_over_the_limit_is_a_413_and_others_go_on)
{
    struct http *h = serve();

    serve_while(h, ask_with_large_bodies);
    http_free(h);
}

static void ask_beside_a_crowd(void)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int crowd[HTTP_CONNECTIONS_MAX];
    struct client_answer a;

    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
        crowd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_INT(connect(crowd[i], (struct sockaddr *)&where, sizeof where), 0);
        CHECK_INT(write(crowd[i], "GET /", 5), 5);
    }
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        (void)close(crowd[i]);
    a = ask("/after", NULL); /* waits in the socket's queue for its turn, no longer */
    CHECK_INT(a.status, 200);
    json_decref(a.json);
}

TEST(as_many_silent_clients_as_there_is_room_for_leave_it_open_again)
{
    struct http *h = serve();

    serve_while(h, ask_beside_a_crowd);
    http_free(h);
}

TEST(without_descriptors_it_rests_and_serves_those_who_waited)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct http *h = serve();
    struct pollfd ready = { .fd = http_pollfd(h), .events = POLLIN };
    char answer[512];
    struct rlimit limit, none;
    ssize_t n;

    harness_not_under_valgrind("it accepts, then closes what is over the limit");
    CHECK_INT(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
    CHECK_INT(write(fd, "GET /now HTTP/1.0\r\n\r\n", 21), 21);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK(http_step(h, 5000) > 5000);
    CHECK_INT(poll(&ready, 1, 0), 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int64_t now = 7000; (n = read(fd, answer, sizeof answer)) < 0; now++)
        (void)http_step(h, now);
    CHECK(n > 12);
    CHECK(strncmp(answer, "HTTP/1.1 200", 12) == 0 || strncmp(answer, "HTTP/1.0 200", 12) == 0);
    (void)close(fd);
    http_free(h);
}

TEST(the_socket_is_for_owner_and_group_and_goes_with_the_server)
{
    struct http *h = serve();
    struct stat st;

    CHECK_INT(stat("sock", &st), 0);
    CHECK_INT(st.st_mode & 0777, 0660);
    http_free(h);
    CHECK_INT(access("sock", F_OK), -1);
}

TEST(a_stale_socket_is_replaced_a_living_one_refused)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int old = socket(AF_UNIX, SOCK_STREAM, 0);
    struct http_spec spec = { .path = "sock", .handle = handle };
    struct http *h, *second = NULL;
    struct fault why = { 0 };

    CHECK_INT(bind(old, (struct sockaddr *)&where, sizeof where), 0);
    CHECK_INT(close(old), 0);
    h = serve();
    CHECK_INT(http_open(&spec, &second, &why), -1);
    CHECK_INT(why.kind, FAULT_RETRY);
    CHECK_INT(access("sock", F_OK), 0);
    http_free(h);
}

/* As a service manager does it: our number is the last of those it handed over. */
static int hand_over(int pid)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char text[20];

    CHECK_INT(bind(fd, (struct sockaddr *)&where, sizeof where), 0);
    CHECK_INT(listen(fd, 8), 0);
    (void)snprintf(text, sizeof text, "%d", fd - 2);
    (void)setenv("LISTEN_FDS", text, 1);
    (void)snprintf(text, sizeof text, "%d", pid);
    (void)setenv("LISTEN_PID", text, 1);
    return fd;
}

TEST(a_socket_that_was_handed_over_is_served_and_stays)
{
    int fd = hand_over(getpid());
    struct http *h = serve();
    struct stat st;

    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(stat("sock", &st), 0);
    CHECK_INT(st.st_mode & 0777, 0660);
    serve_while(h, ask_two);
    http_free(h);
    CHECK_INT(access("sock", F_OK), 0);
}

TEST(a_socket_that_was_handed_to_another_process_is_not_ours)
{
    int fd = hand_over(getpid() + 1);
    struct http_spec spec = { .path = "sock", .handle = handle };
    struct http *h = NULL;
    struct fault why = { 0 };

    CHECK_INT(http_open(&spec, &h, &why), -1);
    CHECK_INT(why.kind, FAULT_RETRY);
    (void)close(fd);
}

static int tcp_port;

static int tcp_ask(const char *request, char *answer, size_t n)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)tcp_port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t have = 0;
    ssize_t got;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    CHECK_INT(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    while ((got = read(fd, answer + have, n - 1 - have)) > 0)
        have += (size_t)got;
    answer[have] = '\0';
    (void)close(fd);
    return atoi(answer + strcspn(answer, " "));
}

static void ask_over_tcp(void)
{
    char answer[1024];

    CHECK_INT(tcp_ask("GET /x HTTP/1.0\r\n\r\n", answer, sizeof answer), 200);
    CHECK(strstr(answer, "\"path\":\"/x\",\"body\":0,\"pid\":-1"));
    CHECK_INT(
        tcp_ask("POST /x HTTP/1.0\r\nContent-Length: 1\r\n\r\nb", answer, sizeof answer), 413);
}

TEST(a_tcp_address_is_served_without_bodies_and_without_a_known_peer)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    struct http_spec spec = { .handle = handle };
    struct http *h = NULL, *second = NULL;
    struct fault why = { 0 };
    socklen_t n = sizeof at;
    char address[32];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    (void)close(fd);
    tcp_port = ntohs(at.sin_port);
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", tcp_port);
    spec.address = address;
    if (http_open(&spec, &h, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    CHECK_INT(http_open(&spec, &second, &why), -1);
    CHECK_INT(why.kind, FAULT_RETRY);
    CHECK(strstr(why.text, address));
    serve_while(h, ask_over_tcp);
    http_free(h);
}

/* ---- openapi.yaml ---- */

static const char *openapi(void)
{
    static char text[262144];
    char path[4096];
    const char *end = strstr(__FILE__, "tests/unit/");
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof path, "%s/%.*sbridge/admin/openapi.yaml",
        getenv("BASCULE_SOURCE") ? getenv("BASCULE_SOURCE") : getenv("PWD"), (int)(end - __FILE__),
        __FILE__);
    f = fopen(path, "r");
    if (!f)
        harness_fail(__FILE__, __LINE__, "cannot read %s", path);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    return text;
}

/* The method stands within its path's block, and its role with it. */
static bool described(const char *text, const char *method, const char *path, const char *role)
{
    char line[256], word[64];
    const char *at, *end, *dots = strstr(path, "...}");

    (void)snprintf(line, sizeof line, "\n  \"%.*s%s\":\n", (int)(dots ? dots - path : 200), path,
        dots ? "}" : "");
    (void)snprintf(word, sizeof word, "\n    %s:\n      x-role: %s\n",
        strcmp(method, "GET") == 0 ? "get" : "post", role);
    at = strstr(text, line);
    end = at ? strstr(at + strlen(line), "\n  \"") : NULL;
    at = at ? strstr(at, word) : NULL;
    return at && (!end || at < end);
}

static size_t operations(const char *text)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, "\n    get:\n")) != NULL; at++)
        n++;
    for (const char *at = text; (at = strstr(at, "\n    post:\n")) != NULL; at++)
        n++;
    return n;
}

TEST(openapi_describes_every_endpoint_with_its_role_and_no_other)
{
    const char *text = openapi();
    size_t count = 0;

#define CHECK_ENDPOINT(method, path, role, handle)                                                 \
    count++;                                                                                       \
    if (!described(text, method, path, access_text(CONFIG_ROLE_##role)))                           \
        harness_fail(__FILE__, __LINE__, "openapi.yaml is without %s %s", method, path);
    API_ENDPOINTS(CHECK_ENDPOINT)
    CHECK_INT(operations(text), count);
}

/* ---- view ---- */

TEST(bytes_are_text_where_they_are_utf8_else_base64)
{
    json_t *text = view_bytes(bytes_text("gr\xc3\xbc\xc3\x9f"));
    json_t *other = view_bytes(bytes_of("\xff\0a", 3));

    CHECK_TEXT(json_string_value(text), "gr\xc3\xbc\xc3\x9f");
    CHECK_TEXT(json_string_value(json_object_get(other, "base64")), "/wBh");
    CHECK(json_is_null(view_bytes(BYTES_NONE)));
    json_decref(text);
    json_decref(other);
}

TEST(headers_keep_their_types_as_json)
{
    struct header_value n = { .type = HEADER_U64, .u = UINT64_MAX };
    struct buf b;
    json_t *json;
    char *text;

    buf_init(&b, 1000);
    header_put_text(&b, HEADER_PROPERTY, "content-type", bytes_text("a/b"));
    header_put(&b, HEADER_USER, bytes_text("n"), &n);
    json = view_headers(buf_bytes(&b));
    text = json_dumps(json, JSON_COMPACT);
    CHECK_TEXT(text,
        "[{\"name\":\"content-type\",\"scope\":\"property\",\"type\":\"text\",\"value\":\"a/b\"},"
        "{\"name\":\"n\",\"scope\":\"header\",\"type\":\"u64\",\"value\":\"18446744073709551615\"}"
        "]");
    buf_done(&b);
    json_decref(json);
    free(text);
}

/* ---- roles ---- */

static enum config_role role_of(const struct config *c, int64_t uid, int64_t gid, uint32_t other)
{
    struct http_peer peer = { .uid = uid, .gid = gid, .groups = &other, .group_count = 1 };

    return access_role(c, &peer);
}

TEST(a_peer_has_the_highest_role_that_any_list_gives_it)
{
    uint32_t viewers[] = { 1001, 1002 }, operators[] = { 1002 }, ops[] = { 50, 51 },
             boss[] = { 60 };
    struct config c = { .roles_set = true,
        .roles = { [CONFIG_ROLE_VIEW] = { .uids = viewers, .uid_count = 2 },
            [CONFIG_ROLE_OPERATE] = { operators, ops, 1, 2 },
            [CONFIG_ROLE_ADMIN] = { .gids = boss, .gid_count = 1 } } };

    CHECK_INT(role_of(&c, 1001, 100, 100), CONFIG_ROLE_VIEW);
    CHECK_INT(role_of(&c, 1002, 100, 100), CONFIG_ROLE_OPERATE);
    CHECK_INT(role_of(&c, 1001, 51, 100), CONFIG_ROLE_OPERATE);
    CHECK_INT(role_of(&c, 1001, 100, 60), CONFIG_ROLE_ADMIN);
    CHECK_INT(role_of(&c, 60, 1001, 1001), CONFIG_ROLE_NONE);
    CHECK_INT(role_of(&c, 0, 100, 100), CONFIG_ROLE_ADMIN);
    CHECK_INT(role_of(&c, (int64_t)geteuid(), 100, 100), CONFIG_ROLE_ADMIN);
    CHECK_INT(role_of(&c, -1, -1, UINT32_MAX), CONFIG_ROLE_NONE);
    c.roles_set = false;
    CHECK_INT(role_of(&c, 1003, 100, 100), CONFIG_ROLE_ADMIN);
}

/* Tells who asked, as the kernel says. */
static void handle_who(void *arg, struct http_request *q)
{
    struct http_peer peer = http_peer(q);
    char text[256];
    size_t n;

    (void)arg;
    n = (size_t)snprintf(text, sizeof text, "{\"uid\":%lld,\"gid\":%lld,\"groups\":[",
        (long long)peer.uid, (long long)peer.gid);
    for (size_t i = 0; i < peer.group_count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%u", i ? "," : "", peer.groups[i]);
    (void)snprintf(text + n, sizeof text - n, "]}");
    http_reply(q, 200, bytes_text(text));
}

static void ask_as_somebody(void)
{
    static const gid_t groups[] = { 4001, 4002 };
    struct client_answer a;
    char *text;

    CHECK_INT(setgroups(2, groups), 0);
    CHECK_INT(setresgid(4003, 4003, 4003), 0);
    CHECK_INT(setresuid(4004, 4004, 4004), 0);
    a = ask("/who", NULL);
    text = json_dumps(a.json, JSON_COMPACT);
    CHECK_TEXT(text, "{\"uid\":4004,\"gid\":4003,\"groups\":[4001,4002]}");
    free(text);
    json_decref(a.json);
}

TEST(a_peers_user_group_and_supplementary_groups_are_the_kernels_word)
{
    struct http_spec spec = { .path = "sock", .open = true, .handle = handle_who };
    struct fault why = { 0 };
    struct http *h = NULL;

    if (geteuid() != 0)
        harness_skip("becoming another user needs root");
    CHECK_INT(chmod(".", 0711), 0);
    CHECK_INT(http_open(&spec, &h, &why), 0);
    serve_while(h, ask_as_somebody);
    http_free(h);
}

static enum http_rank rank_of(void *arg, const struct http_peer *peer)
{
    (void)arg;
    return peer->uid == 0 ? HTTP_RANK_FIRST : HTTP_RANK_STRANGER;
}

static int connect_here(void)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK_INT(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
    return fd;
}

/* Strangers hold what they get; root is served beside them. */
static void crowd(void)
{
    int fds[HTTP_STRANGERS_MAX + 2];
    struct pollfd end;
    struct client_answer a;
    char byte;

    CHECK_INT(seteuid(4004), 0);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        fds[i] = connect_here();
    end = (struct pollfd){ .fd = fds[HTTP_STRANGERS_MAX + 1], .events = POLLIN };
    CHECK_INT(poll(&end, 1, 10000), 1);
    CHECK_INT(read(end.fd, &byte, 1), 0);
    CHECK_INT(seteuid(0), 0);
    a = ask("/now", NULL);
    CHECK_INT(a.status, 200);
    json_decref(a.json);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        (void)close(fds[i]);
    /* Their places are free again. */
    CHECK_INT(seteuid(4004), 0);
    for (;;) {
        struct fault why;

        if (client_ask("sock", "GET", "/now", NULL, &a, &why) == 0)
            break;
    }
    json_decref(a.json);
    CHECK_INT(seteuid(0), 0);
}

TEST(a_crowd_of_strangers_leaves_room_for_those_who_may)
{
    struct http_spec spec = { .path = "sock", .open = true, .handle = handle, .rank = rank_of };
    struct fault why = { 0 };
    struct http *h = NULL;

    if (geteuid() != 0)
        harness_skip("becoming another user needs root");
    CHECK_INT(chmod(".", 0711), 0);
    CHECK_INT(http_open(&spec, &h, &why), 0);
    serve_while(h, crowd);
    http_free(h);
}
