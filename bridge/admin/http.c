#include "bridge/admin/http.h"
#include "bridge/base/address.h"
#include "bridge/base/buf.h"
#include "bridge/base/log.h"
#include "bridge/handed.h"

#include <errno.h>
#include <grp.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_AGAIN_MS 1000          /* after the system refused a descriptor */
#define CONNECTION_MEMORY (64u << 10) /* for one request's line and headers */
#define STREAM_BLOCK (16u << 10)

struct http {
    struct MHD_Daemon *daemon;
    int listener, epoll, server_epoll;
    bool listening;                                         /* the listener is in our epoll set */
    bool handed;                                            /* its file is the service manager's */
    int64_t accept_ms;                                      /* not before */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": TCP */
    char name[160];                                         /* for people */
    size_t body_max;
    bool open;
    http_handle *handle;
    http_rank *rank;
    void *arg;
    size_t strangers, known; /* connections */
    size_t body_bytes;       /* of all requests */
    struct http_request *requests;
};

enum request_state {
    REQUEST_READING = 1,
    REQUEST_ASKED,
    REQUEST_SUSPENDED,
    REQUEST_REPLIED,
    REQUEST_STREAMING
};

struct http_request {
    struct http *http;
    struct http_request *next, **here;
    struct MHD_Connection *connection;
    enum request_state state;
    bool too_large;
    char *method, *path;
    struct buf body;
    struct http_peer peer;
    uint32_t *groups; /* the peer's */
    struct MHD_Response *response;
    unsigned status;
    struct http_stream_spec stream; /* STREAMING */
    bool waiting, ending;           /* suspended until there is more; nothing comes after that */
};

/* ---- the socket ---- */

/* A socket file nobody listens on is left from a crash. */
static bool is_stale(const struct sockaddr_un *where)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = false;

    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)where, sizeof *where) != 0)
        stale = errno == ECONNREFUSED;
    (void)close(fd);
    return stale;
}

static void give_to_group(const char *path, const char *name)
{
    struct group *g = name && *name ? getgrnam(name) : NULL;
    struct stat now;

    if (name && *name && !g)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "admin socket: there is no group '%s'", name);
    /* Where a service manager runs us in that group it has it already, and may forbid chown. */
    if (g && stat(path, &now) == 0 && now.st_gid == g->gr_gid)
        return;
    if (g && chown(path, (uid_t)-1, g->gr_gid) != 0)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "admin socket: cannot give %s to group '%s': %s", path,
            name, strerror(errno));
}

static int listen_at(struct http *h, const char *group, struct fault *why)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    mode_t mask;
    int bound;

    memcpy(where.sun_path, h->path, sizeof where.sun_path);
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->listener < 0)
        return fault_set(why, FAULT_BROKEN, errno, "admin socket: %s", strerror(errno));
    mask = umask(h->open ? 0111 : 0117); /* 0666 or 0660 from its first moment on */
    bound = bind(h->listener, (struct sockaddr *)&where, sizeof where);
    if (bound != 0 && errno == EADDRINUSE && is_stale(&where) && unlink(h->path) == 0)
        bound = bind(h->listener, (struct sockaddr *)&where, sizeof where);
    (void)umask(mask);
    if (bound != 0)
        return fault_set(why, errno == EADDRINUSE ? FAULT_RETRY : FAULT_BROKEN, errno,
            "admin socket %s: %s", h->path, strerror(errno));
    give_to_group(h->path, group);
    if (listen(h->listener, HTTP_CONNECTIONS_MAX) != 0)
        return fault_set(why, FAULT_BROKEN, errno, "admin socket %s: %s", h->path, strerror(errno));
    return 0;
}

static int listen_path(struct http *h, const char *path, const char *group, struct fault *why)
{
    if (strlen(path) >= sizeof h->path)
        return fault_set(why, FAULT_INPUT, 0, "admin socket %s: the path is longer than %zu bytes",
            path, sizeof h->path - 1);
    memcpy(h->path, path, strlen(path));
    (void)snprintf(h->name, sizeof h->name, "admin socket %s", path);
    h->listener = handed_socket(path);
    h->handed = h->listener >= 0;
    if (h->handed) {
        if (chmod(path, h->open ? 0666 : 0660) != 0)
            log_say(LOG_LEVEL_WARN, NULL, NULL, "%s: its mode: %s", h->name, strerror(errno));
        return 0;
    }
    if (listen_at(h, group, why) == 0)
        return 0;
    h->path[0] = '\0'; /* what stands there is not ours */
    return -1;
}

static int listen_tcp(struct http *h, const char *text, struct fault *why)
{
    struct address where;
    int one = 1;

    (void)snprintf(h->name, sizeof h->name, "admin.http %s", text);
    if (address_parse(text, &where, why) != 0)
        return -1;
    h->listener =
        socket(where.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    /* Connections of the last process that linger are no reason not to listen. */
    if (h->listener < 0 ||
        setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(h->listener, (struct sockaddr *)&where.at, where.n) != 0 ||
        listen(h->listener, HTTP_CONNECTIONS_MAX) != 0)
        return fault_set(why, errno == EADDRINUSE ? FAULT_RETRY : FAULT_BROKEN, errno, "%s: %s",
            h->name, strerror(errno));
    return 0;
}

/* ---- requests ---- */

/* Groups beyond what memory there is count as none: that can only take a role away. */
static size_t read_groups(int fd, uint32_t **ret)
{
    socklen_t n = 0;

    *ret = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &n) == 0 || errno != ERANGE || n == 0)
        return 0;
    *ret = malloc(n);
    if (*ret && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, *ret, &n) == 0)
        return n / sizeof **ret;
    return 0;
}

static struct http_peer read_peer(int fd, uint32_t **groups)
{
    struct http_peer ret = { -1, -1, -1, NULL, 0 };
    struct ucred who;
    socklen_t n = sizeof who;

    *groups = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
        return ret;
    ret = (struct http_peer){ .uid = (int64_t)who.uid, .gid = (int64_t)who.gid, .pid = who.pid };
    ret.group_count = read_groups(fd, groups);
    ret.groups = *groups;
    return ret;
}

static void know_peer(struct http_request *q)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    q->peer = (struct http_peer){ -1, -1, -1, NULL, 0 };
    if (q->http->path[0] && info)
        q->peer = read_peer(info->connect_fd, &q->groups);
}

static struct http_request *request_open(
    struct http *h, struct MHD_Connection *connection, const char *url, const char *method)
{
    struct http_request *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    q->http = h;
    q->connection = connection;
    q->state = REQUEST_READING;
    q->method = strdup(method);
    q->path = strdup(url);
    buf_init(&q->body, h->body_max);
    q->next = h->requests;
    q->here = &h->requests;
    if (q->next)
        q->next->here = &q->next;
    h->requests = q;
    know_peer(q);
    return q;
}

static void request_free(struct http_request *q)
{
    if (q->state == REQUEST_STREAMING)
        q->stream.gone(q->stream.arg);
    *q->here = q->next;
    if (q->next)
        q->next->here = q->here;
    q->http->body_bytes -= q->body.n;
    if (q->response)
        MHD_destroy_response(q->response);
    buf_done(&q->body);
    free(q->groups);
    free(q->method);
    free(q->path);
    free(q);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **closure,
    enum MHD_RequestTerminationCode code)
{
    (void)arg, (void)connection, (void)code;
    if (*closure)
        request_free(*closure);
    *closure = NULL;
}

static void take_body(struct http_request *q, const char *at, size_t n)
{
    if (q->too_large || q->http->body_bytes + n > HTTP_BODIES_MAX) {
        q->too_large = true;
        return;
    }
    buf_put(&q->body, at, n);
    if (q->body.failed)
        q->too_large = true;
    else
        q->http->body_bytes += n;
}

static void reply_text(struct http_request *q, unsigned status, const char *json)
{
    http_reply(q, status, bytes_text(json));
}

static void ask(struct http_request *q)
{
    q->state = REQUEST_ASKED;
    if (!q->method || !q->path)
        reply_text(
            q, 503, "{\"code\":\"no_memory\",\"message\":\"out of memory\",\"details\":null}");
    else if (q->too_large)
        reply_text(q, 413,
            "{\"code\":\"too_large\",\"message\":\"the request's body is too "
            "large\",\"details\":null}");
    else
        q->http->handle(q->http->arg, q);
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_bytes,
    void **closure)
{
    struct http_request *q = *closure;

    (void)version;
    if (!q) {
        *closure = request_open(arg, connection, url, method);
        return *closure ? MHD_YES : MHD_NO;
    }
    if (*upload_bytes) {
        take_body(q, upload, *upload_bytes);
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (q->state == REQUEST_READING)
        ask(q);
    if (q->state == REQUEST_REPLIED || q->state == REQUEST_STREAMING)
        return q->response ? MHD_queue_response(connection, q->status, q->response) : MHD_NO;
    q->state = REQUEST_SUSPENDED;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

const char *http_method(const struct http_request *q)
{
    return q->method;
}

const char *http_path(const struct http_request *q)
{
    return q->path;
}

const char *http_argument(const struct http_request *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct bytes http_body(const struct http_request *q)
{
    return buf_bytes(&q->body);
}

struct http_peer http_peer(const struct http_request *q)
{
    return q->peer;
}

void http_reply(struct http_request *q, unsigned status, struct bytes json)
{
    http_reply_as(q, status, "application/json", json);
}

void http_reply_as(
    struct http_request *q, unsigned status, const char *content_type, struct bytes body)
{
    bool suspended = q->state == REQUEST_SUSPENDED;

    /* libmicrohttpd copies; its parameter is not const for older callers only. */
    q->response =
        MHD_create_response_from_buffer(body.n, (void *)(uintptr_t)body.at, MHD_RESPMEM_MUST_COPY);
    if (q->response)
        (void)MHD_add_response_header(q->response, "Content-Type", content_type);
    q->status = status;
    q->state = REQUEST_REPLIED;
    if (suspended)
        MHD_resume_connection(q->connection);
}

/* ---- streams ---- */

static ssize_t read_stream(void *arg, uint64_t position, char *to, size_t limit)
{
    struct http_request *q = arg;
    size_t n = q->stream.more(q->stream.arg, to, limit);

    (void)position;
    if (n)
        return (ssize_t)n;
    if (q->ending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    q->waiting = true;
    MHD_suspend_connection(q->connection);
    return 0;
}

void http_stream(struct http_request *q, const struct http_stream_spec *spec)
{
    bool suspended = q->state == REQUEST_SUSPENDED;

    q->stream = *spec;
    q->response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, q, NULL);
    if (q->response)
        (void)MHD_add_response_header(q->response, "Content-Type", spec->content_type);
    (void)MHD_set_connection_option(
        q->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)HTTP_STREAM_TIMEOUT_S);
    q->status = 200;
    q->state = REQUEST_STREAMING;
    if (suspended)
        MHD_resume_connection(q->connection);
}

void http_stream_wake(struct http_request *q, bool end)
{
    q->ending = q->ending || end;
    if (q->waiting)
        MHD_resume_connection(q->connection);
    q->waiting = false;
}

/* ---- accepting ---- */

/* Not left to the server: without a descriptor for its first connection it goes on trying without
 * a pause (MHD_accept_connection: "Will try busy waiting"). */
static void set_listening(struct http *h, bool on)
{
    struct epoll_event e = { .events = EPOLLIN };

    if (on == h->listening)
        return;
    if (epoll_ctl(h->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, h->listener, &e) == 0)
        h->listening = on;
}

static bool has_room(const struct http *h)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info && info->num_connections < HTTP_CONNECTIONS_MAX;
}

/* What the server keeps for a connection: whose share it takes, NULL: nobody's. */
static size_t *share_of(struct http *h, int fd)
{
    uint32_t *groups = NULL;
    struct http_peer peer;
    size_t *ret = NULL;

    if (!h->rank || !h->path[0])
        return NULL;
    peer = read_peer(fd, &groups);
    switch (h->rank(h->arg, &peer)) {
    case HTTP_RANK_STRANGER:
        ret = &h->strangers;
        break;
    case HTTP_RANK_KNOWN:
        ret = &h->known;
        break;
    default:
        break;
    }
    free(groups);
    return ret;
}

static bool share_is_full(const struct http *h, const size_t *share)
{
    return (share == &h->strangers && h->strangers >= HTTP_STRANGERS_MAX) ||
           (share && h->strangers + h->known >= HTTP_KNOWN_MAX);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **closure,
    enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (code == MHD_CONNECTION_NOTIFY_STARTED && info) {
        size_t *share = share_of(arg, info->connect_fd);

        if (share)
            ++*share;
        *closure = share;
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *closure) {
        --*(size_t *)*closure;
        *closure = NULL;
    }
}

static void take_connection(
    struct http *h, int fd, const struct sockaddr_storage *from, socklen_t n)
{
    if (share_is_full(h, share_of(h, fd)))
        (void)close(fd);
    else
        (void)MHD_add_connection(h->daemon, fd, (const struct sockaddr *)from, n);
}

/* Who finds no room waits in the listener's queue. */
static void accept_waiting(struct http *h, int64_t now_ms)
{
    bool room;

    if (h->accept_ms > now_ms)
        return;
    while ((room = has_room(h))) {
        struct sockaddr_storage from;
        socklen_t n = sizeof from;
        int fd = accept4(h->listener, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            take_connection(h, fd, &from, n);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (h->accept_ms == 0)
                log_say(LOG_LEVEL_WARN, NULL, NULL, "%s: takes no connection: %s", h->name,
                    strerror(errno));
            h->accept_ms = now_ms + ACCEPT_AGAIN_MS;
            set_listening(h, false);
            return;
        }
    }
    h->accept_ms = 0;
    set_listening(h, room);
}

/* ---- the whole ---- */

static int daemon_start(struct http *h, struct fault *why)
{
    const union MHD_DaemonInfo *info;
    struct epoll_event e = { .events = EPOLLIN };

    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
        on_access, h, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (!h->daemon)
        return fault_set(why, FAULT_BROKEN, errno, "%s: HTTP server does not start: %s", h->name,
            strerror(errno));
    info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0)
        return fault_set(why, FAULT_BROKEN, 0, "%s: HTTP server without epoll", h->name);
    h->server_epoll = info->epoll_fd;
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (h->epoll < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->server_epoll, &e) != 0)
        return fault_set(
            why, FAULT_BROKEN, errno, "%s: cannot be watched: %s", h->name, strerror(errno));
    set_listening(h, true);
    return 0;
}

int http_open(const struct http_spec *spec, struct http **ret, struct fault *why)
{
    struct http *h = calloc(1, sizeof *h);

    if (!h)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    h->listener = h->epoll = -1;
    h->open = spec->open;
    h->handle = spec->handle;
    h->rank = spec->rank;
    h->arg = spec->arg;
    h->body_max = spec->address ? 0 : HTTP_BODY_MAX;
    if (spec->address ? listen_tcp(h, spec->address, why) != 0
                      : listen_path(h, spec->path, spec->group, why) != 0)
        goto fail;
    if (daemon_start(h, why) != 0)
        goto fail;
    *ret = h;
    return 0;
fail:
    http_free(h);
    return -1;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    for (struct http_request *q = h->requests; q; q = q->next)
        if (q->state == REQUEST_STREAMING)
            http_stream_wake(q, true);
        else if (q->state == REQUEST_SUSPENDED)
            reply_text(q, 503,
                "{\"code\":\"stopping\",\"message\":\"bascule is stopping\",\"details\":null}");
    if (h->daemon) {
        (void)MHD_run(h->daemon); /* the 503s go out, as far as they can at once */
        MHD_stop_daemon(h->daemon);
    }
    if (h->epoll >= 0)
        (void)close(h->epoll);
    if (h->listener >= 0)
        (void)close(h->listener);
    if (h->path[0] && !h->handed)
        (void)unlink(h->path);
    free(h);
}

int http_pollfd(const struct http *h)
{
    return h->epoll;
}

int64_t http_step(struct http *h, int64_t now_ms)
{
    unsigned long long timeout;
    int64_t wake = INT64_MAX;

    accept_waiting(h, now_ms);
    (void)MHD_run(h->daemon);
    if (!h->listening && h->accept_ms == 0)
        accept_waiting(h, now_ms); /* a connection may have ended */
    if (MHD_get_timeout(h->daemon, &timeout) == MHD_YES)
        wake = now_ms + (int64_t)(timeout > 60000 ? 60000 : timeout);
    return h->accept_ms && h->accept_ms < wake ? h->accept_ms : wake;
}
