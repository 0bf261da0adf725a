#include "tests/conformance/rabbit.h"

#include <dirent.h>
#include <time.h>

static const struct connector *const k = &connector_rabbitmq;

struct rabbit rabbit;

int64_t rabbit_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void rabbit_need_broker(void)
{
    if (!getenv("BASCULE_TEST_RABBITMQ_PORT"))
        harness_skip("no RabbitMQ");
    rabbit_link_options(&rabbit.link_options);
}

void rabbit_link(void)
{
    struct link_spec spec = {
        .name = "rabbit", .options = &rabbit.link_options, .store_id = "s", .seed = 7
    };
    struct fault why = { 0 };

    if (k->link_open(&spec, &rabbit.link, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

static void source_open(int64_t window, int64_t max_event_bytes, bool clean)
{
    struct source_spec spec = { .route = "orders",
        .route_id = 1,
        .options = &rabbit.source_options,
        .window_events = window,
        .window_bytes = 64 << 20,
        .max_event_bytes = max_event_bytes,
        .clean_start = clean };
    struct fault why = { 0 };

    if (k->source_open(rabbit.link, &spec, &rabbit.source, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

void rabbit_source(const char *queue, int64_t window, bool clean)
{
    if (queue)
        rabbit_source_options(queue, &rabbit.source_options);
    source_open(window, 16 << 20, clean);
}

void rabbit_source_limited(int64_t max_event_bytes)
{
    source_open(1000, max_event_bytes, true);
}

void rabbit_sink(int i, const char *exchange, int64_t timeout_ms)
{
    struct sink_spec spec = { .route = "orders",
        .name = "out",
        .options = &rabbit.sink_options[i],
        .sink_id = 1,
        .window_events = 2000,
        .window_bytes = 64 << 20,
        .confirm_timeout_ms = timeout_ms };
    struct fault why = { 0 };

    if (exchange)
        rabbit_sink_options(exchange, &rabbit.sink_options[i]);
    if (k->sink_open(rabbit.link, &spec, &rabbit.sinks[i], &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
}

void rabbit_turn(void)
{
    struct pollfd p = { .fd = k->link_pollfd(rabbit.link), .events = POLLIN };
    int64_t due = k->link_step(rabbit.link, rabbit_now_ms(), 0) - rabbit_now_ms();

    (void)poll(&p, 1, due > 50 ? 50 : due < 1 ? 1 : (int)due);
    (void)k->link_step(rabbit.link, rabbit_now_ms(), 0);
    for (int i = 0; i < 2; i++) {
        struct report got[64];
        size_t n = rabbit.sinks[i] ? k->sink_collect(rabbit.sinks[i], got, 64) : 0;

        for (size_t j = 0; j < n; j++) {
            CHECK(rabbit.count < REPORTS_MAX);
            (void)snprintf(rabbit.texts[rabbit.count], sizeof rabbit.texts[0], "%s",
                got[j].text ? got[j].text : "");
            rabbit.reports[rabbit.count++] = got[j];
        }
    }
}

const char *rabbit_last_error(void)
{
    static struct link_status s;

    k->link_status(rabbit.link, &s);
    return s.error;
}

enum link_state rabbit_sink_state(int i)
{
    struct link_status s;

    k->sink_status(rabbit.sinks[i], &s);
    return s.state;
}

struct link_status rabbit_source_now(void)
{
    struct link_status s;

    k->source_status(rabbit.source, &s);
    return s;
}

struct event rabbit_event(const char *body)
{
    return (struct event){ .body = bytes_text(body), .origin = bytes_text(body), .hops = 1 };
}

void rabbit_publish(int i, uint64_t ref, const char *key, const struct event *e)
{
    struct message m = { .ref = ref, .event = e, .fields = { bytes_text(key) } };

    /* Or the message's time begins at the step before, whenever that was. */
    (void)k->link_step(rabbit.link, rabbit_now_ms(), 0);
    WAIT(k->sink_publish(rabbit.sinks[i], &m, 1) == 1);
}

const struct report *rabbit_report_of(uint64_t ref)
{
    for (size_t i = 0; i < rabbit.count; i++)
        if (rabbit.reports[i].ref == ref)
            return &rabbit.reports[i];
    return NULL;
}

const char *rabbit_text_of(uint64_t ref)
{
    for (size_t i = 0; i < rabbit.count; i++)
        if (rabbit.reports[i].ref == ref)
            return rabbit.texts[i];
    return NULL;
}

void rabbit_check_fate(uint64_t ref, enum fate fate, enum cause cause)
{
    WAIT(rabbit_report_of(ref) != NULL);
    if (rabbit_report_of(ref)->fate != fate || rabbit_report_of(ref)->cause != cause)
        harness_fail(__FILE__, __LINE__, "message %llu: fate %d cause %d '%s', not %d %d",
            (unsigned long long)ref, rabbit_report_of(ref)->fate, rabbit_report_of(ref)->cause,
            rabbit_text_of(ref), fate, cause);
}

struct batch *rabbit_receive(size_t limit)
{
    struct batch *b = NULL;

    WAIT((b = k->source_receive(rabbit.source, limit)) != NULL);
    return b;
}

__attribute__((unused)) static size_t thread_count(void)
{
    DIR *d = opendir("/proc/self/task");
    size_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n - 2; /* . and .. */
}

void rabbit_free(void)
{
    fixture_idle = NULL;
    k->source_free(rabbit.source);
    for (int i = 0; i < 2; i++)
        k->sink_free(rabbit.sinks[i]);
    k->link_free(rabbit.link);
#ifndef __SANITIZE_THREAD__ /* which has threads of its own */
    WAIT_FOR(thread_count() == 1);
#endif
    option_done(k->link_options, &rabbit.link_options);
    option_done(k->source_options, &rabbit.source_options);
    option_done(k->sink_options, &rabbit.sink_options[0]);
    option_done(k->sink_options, &rabbit.sink_options[1]);
}

long rabbit_queue_count(const char *queue)
{
    char command[512], line[64] = "";
    FILE *f;

    (void)snprintf(command, sizeof command, CLIENT "count '%s'", queue);
    f = popen(command, "r");
    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    return strtol(line, NULL, 10);
}

void rabbit_broker_eval(const char *erlang)
{
    fixture_shell(BROKER "eval '%s'", erlang);
}

void rabbit_queue_sleeps(const char *queue, bool sleeps)
{
    char erlang[512];

    (void)snprintf(erlang, sizeof erlang,
        "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"%s\">>)), "
        "sys:%s(amqqueue:get_pid(Q)).",
        queue, sleeps ? "suspend" : "resume");
    rabbit_broker_eval(erlang);
}

void rabbit_publish_three(int i, uint64_t ref, const char *const keys[3], const struct event e[3])
{
    struct message m[3];

    for (size_t n = 0; n < 3; n++)
        m[n] =
            (struct message){ .ref = ref + n, .event = &e[n], .fields = { bytes_text(keys[n]) } };
    WAIT(rabbit_sink_state(i) == LINK_UP);
    CHECK_INT(k->sink_publish(rabbit.sinks[i], m, 3), 3);
}

uint64_t rabbit_sink_session(int i)
{
    struct link_status s;

    k->sink_status(rabbit.sinks[i], &s);
    return s.session;
}
