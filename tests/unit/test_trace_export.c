/* The exporter against a collector that is a thread of the test. */
#include "bridge/trace_export.h"
#include "tests/harness.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct collector {
    int fd;
    char url[64];
    const char *reply;   /* NULL: it takes connections and never answers */
    char request[65536]; /* the last one, its head and what of its body came with it */
    size_t requests;
    pthread_t thread;
};

/* One request at a time, each on a connection of its own. */
static void serve_one(struct collector *c, int fd)
{
    char *body = NULL;
    size_t n = 0, length = 0;
    ssize_t got;

    while ((got = read(fd, c->request + n, sizeof c->request - 1 - n)) > 0) {
        n += (size_t)got;
        c->request[n] = '\0';
        body = strstr(c->request, "\r\n\r\n");
        if (!body)
            continue;
        length = strtoul(strcasestr(c->request, "content-length:") + 15, NULL, 10);
        if (n == sizeof c->request - 1 || n - (size_t)(body + 4 - c->request) >= length)
            break;
    }
    if (!body)
        return;
    c->requests++;
    while (n == sizeof c->request - 1 && recv(fd, c->request + n - 1000, 1000, MSG_DONTWAIT) > 0)
        ;
    (void)!write(fd, c->reply, strlen(c->reply));
}

static void *serve(void *arg)
{
    struct collector *c = arg;
    int fd;

    while ((fd = accept(c->fd, NULL, NULL)) >= 0) {
        serve_one(c, fd);
        (void)close(fd);
    }
    return NULL;
}

static void collector_open(struct collector *c, const char *reply)
{
    struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof where;

    *c = (struct collector){ .fd = socket(AF_INET, SOCK_STREAM, 0), .reply = reply };
    CHECK(bind(c->fd, (struct sockaddr *)&where, n) == 0 && listen(c->fd, 8) == 0 &&
          getsockname(c->fd, (struct sockaddr *)&where, &n) == 0);
    (void)snprintf(c->url, sizeof c->url, "http://127.0.0.1:%d", ntohs(where.sin_port));
    if (reply)
        CHECK_INT(pthread_create(&c->thread, NULL, serve, c), 0);
}

static void collector_close(struct collector *c)
{
    (void)shutdown(c->fd, SHUT_RDWR);
    if (c->reply)
        (void)pthread_join(c->thread, NULL);
    (void)close(c->fd);
}

static struct trace_export *open_export(const char *url, const char *header_value)
{
    struct option_pair header = { (char *)(uintptr_t) "authorization",
        (char *)(uintptr_t)header_value, OPTION_VALUE_TEXT };
    struct config_trace settings = { .endpoint = (char *)(uintptr_t)url,
        .ratio = 1,
        .timeout_ms = 60000,
        .headers = { &header, header_value ? 1 : 0 } };
    struct trace_export *t = NULL;
    struct fault why;

    CHECK_INT(trace_export_open("0123456789abcdef", &t, &why), 0);
    CHECK_INT(trace_export_set(t, &settings, &why), 0);
    return t;
}

static void put(struct trace_export *t, size_t n)
{
    struct tracer *tracer = trace_export_tracer(t);
    struct span s = {
        .kind = SPAN_RECEIVE, .trace_id = { 1 }, .id = { 1 }, .route = "r", .log = "r"
    };

    CHECK(tracer_on(tracer));
    for (size_t i = 0; i < n; i++) {
        s.seq++;
        tracer->put(tracer, &s);
    }
}

static struct trace_status wait_for(struct trace_export *t, uint64_t ended)
{
    struct timespec pause = { .tv_nsec = 1000000 };
    struct trace_status s;

    for (;;) {
        trace_export_status(t, &s);
        if (s.sent + s.refused + s.crowded >= ended)
            return s;
        (void)nanosleep(&pause, NULL);
    }
}

#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"

TEST(spans_reach_the_collector_with_its_headers_at_the_path_of_otlp)
{
    struct collector c;
    struct trace_export *t;
    struct trace_status s;

    collector_open(&c, OK "Content-Length: 2\r\n\r\n{}");
    t = open_export(c.url, "Bearer word");
    put(t, 3);
    s = wait_for(t, 3);
    CHECK_INT(s.sent, 3);
    CHECK_TEXT(s.error, "");
    trace_export_free(t, 0);
    collector_close(&c);
    CHECK_CONTAINS(c.request, "POST /v1/traces HTTP/1.1\r\n");
    CHECK_CONTAINS(c.request, "authorization: Bearer word\r\n");
    CHECK_CONTAINS(c.request, "Content-Type: application/json\r\n");
    CHECK_CONTAINS(c.request, "\"stringValue\":\"r@3\"");
}

TEST(what_is_left_at_the_end_is_still_sent)
{
    struct collector c;
    struct trace_export *t;

    collector_open(&c, OK "Content-Length: 2\r\n\r\n{}");
    t = open_export(c.url, NULL);
    put(t, 1);
    trace_export_free(t, 60000);
    collector_close(&c);
    CHECK_INT(c.requests, 1);
}

TEST(a_collector_that_refuses_costs_its_batch_and_is_named)
{
    struct collector c;
    struct trace_export *t;
    struct trace_status s;

    collector_open(&c, "HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    t = open_export(c.url, NULL);
    put(t, 5);
    s = wait_for(t, 5);
    CHECK_INT(s.refused, 5);
    CHECK_TEXT(s.error, "HTTP status 500");
    trace_export_free(t, 0);
    collector_close(&c);
    CHECK_INT(c.requests, 1);
}

TEST(a_collector_that_cannot_now_is_asked_again)
{
    struct collector c;
    struct trace_export *t;
    struct trace_status s;

    collector_open(&c, "HTTP/1.1 503 Later\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    t = open_export(c.url, NULL);
    put(t, 5);
    s = wait_for(t, 5);
    CHECK_INT(s.refused, 5);
    trace_export_free(t, 0);
    collector_close(&c);
    CHECK_INT(c.requests, TRACE_TRIES);
}

TEST(spans_that_the_collector_took_in_part_are_counted_apart)
{
    struct collector c;
    struct trace_export *t;
    struct trace_status s;

    collector_open(
        &c, OK "Content-Length: 43\r\n\r\n{\"partialSuccess\": {\"rejectedSpans\": \"2\"}} ");
    t = open_export(c.url, NULL);
    put(t, 5);
    s = wait_for(t, 5);
    CHECK_INT(s.sent, 3);
    CHECK_INT(s.refused, 2);
    trace_export_free(t, 0);
    collector_close(&c);
}

TEST(a_collector_that_never_answers_makes_nobody_wait)
{
    struct collector c;
    struct trace_export *t;
    struct trace_status s;

    collector_open(&c, NULL);
    t = open_export(c.url, NULL);
    put(t, (size_t)10 * TRACE_QUEUE_MAX);
    trace_export_status(t, &s);
    CHECK(s.crowded >= 8 * TRACE_QUEUE_MAX);
    CHECK_INT(s.sent, 0);
    trace_export_free(t, 0); /* its request would last a minute */
    collector_close(&c);
}

TEST(tracing_goes_off_and_on_to_another_collector)
{
    struct config_trace none = { .timeout_ms = 1000 };
    struct collector c, d;
    struct config_trace other = { .endpoint = d.url, .ratio = 0.5, .timeout_ms = 60000 };
    struct trace_export *t;
    struct fault why;

    collector_open(&c, OK "Content-Length: 2\r\n\r\n{}");
    collector_open(&d, OK "Content-Length: 2\r\n\r\n{}");
    t = open_export(c.url, NULL);
    put(t, 1);
    (void)wait_for(t, 1);
    CHECK_INT(trace_export_set(t, &none, &why), 0);
    CHECK(!tracer_on(trace_export_tracer(t)));
    CHECK_INT(trace_export_set(t, &other, &why), 0);
    put(t, 1);
    (void)wait_for(t, 2);
    trace_export_free(t, 0);
    collector_close(&c);
    collector_close(&d);
    CHECK_INT(c.requests, 1);
    CHECK_INT(d.requests, 1);
}
