/* A Redis stream as a sink, on a real server: rules of its own beyond the suite's. */
#include "tests/conformance/redis_rig.h"

#include "bridge/base/header.h"

#include <signal.h>

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

TEST(redis_headers_of_every_kind_come_back_from_a_stream)
{
    struct event e = { 0 };
    struct message m;
    struct buf headers;
    struct batch *b = NULL;
    struct header_value number = { .type = HEADER_I32, .i = -7 };
    struct header h;

    buf_init(&headers, 4096);
    header_put_text(&headers, HEADER_USER, "colour", bytes_text("red"));
    header_put(&headers, HEADER_USER, bytes_text("n"), &number);
    header_put_text(&headers, HEADER_USER, "body", bytes_text("a header of that name"));
    header_put_text(&headers, HEADER_PROPERTY, "content-type", bytes_text("text/plain"));
    m = redis_rig_message(&e, "in");
    e.headers = buf_bytes(&headers);
    e.hops = 12;
    e.id = bytes_text("id-1");
    m.key = bytes_text("k");
    redis_rig_from_stream();
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_sink();
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    b = redis_rig_receive();
    CHECK_INT(b->count, 1);
    CHECK(bytes_equal(b->events[0].headers, e.headers));
    CHECK(bytes_equal(b->events[0].body, e.body));
    CHECK(bytes_equal(b->events[0].id, e.id));
    CHECK(bytes_equal(b->events[0].key, m.key));
    CHECK_INT(b->events[0].hops, 12);
    CHECK(header_find(b->events[0].headers, bytes_text("content-type"), &h));
    redis_rig_close();
    buf_done(&headers);
}

TEST(redis_an_unsure_entry_is_found_by_its_token)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    m.token = bytes_text("s/1/1/1/0");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "1");
    m.flags = MESSAGE_RESEND;
    m.first_sent_ms = redis_rig_clock(CLOCK_REALTIME);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "1");
    m.token = bytes_text("s/1/2/1/0");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "2");
    redis_rig_close();
}

/* Publishes tokens FROM to FROM+N-1 for the first time. */
static void publish_tokens(char (*tokens)[16], size_t from, size_t n)
{
    static struct event e;

    for (size_t i = from; i < from + n; i++) {
        struct message m = redis_rig_message(&e, "out");
        m.ref = i;
        (void)snprintf(tokens[i], sizeof tokens[i], "t%zu", i);
        m.token = bytes_text(tokens[i]);
        UNTIL(c->sink_publish(g->sink, &m, 1) == 1);
    }
}

TEST(redis_a_killed_server_has_each_entry_once_after_a_resend)
{
    enum { THERE = 200, LOST = 200, ALL = THERE + LOST };
    static char tokens[ALL][16];
    struct redis_rig_server s;
    struct event e = { 0 };
    struct report r;
    int64_t begin = redis_rig_clock(CLOCK_REALTIME);
    size_t unsure = 0;

    redis_rig_server_start(&s, "killed", "appendonly yes\nappendfsync always\n");
    redis_rig_use(&s);
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    UNTIL(redis_rig_sink_status().state == LINK_UP);
    /* These go out at once and arrive; as the link makes no step, nobody reads their replies. */
    publish_tokens(tokens, 0, THERE);
    while (strtol(redis_rig_ask("XLEN out"), NULL, 10) < THERE)
        CHECK(redis_rig_clock(CLOCK_REALTIME) < begin + REDIS_RIG_PATIENCE_MS);
    c->sink_abandon(g->sink);
    /* These come when the server no longer looks. */
    CHECK_INT(kill(s.pid, SIGSTOP), 0);
    publish_tokens(tokens, THERE, LOST);
    redis_rig_turn();
    redis_rig_server_kill(&s);
    for (size_t n = 0; n < ALL; n++) {
        UNTIL(c->sink_collect(g->sink, &r, 1) == 1);
        unsure += r.fate == FATE_UNSURE && r.cause == CAUSE_LOST;
    }
    CHECK_INT(unsure, ALL);
    redis_rig_server_again(&s);
    for (size_t i = 0; i < ALL; i++) {
        struct message m = redis_rig_message(&e, "out");
        m.flags = MESSAGE_RESEND;
        m.first_sent_ms = begin;
        m.token = bytes_text(tokens[i]);
        CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    }
    CHECK_INT(strtol(redis_rig_ask("XLEN out"), NULL, 10), ALL);
    redis_rig_close();
}

TEST(redis_a_token_behind_many_pages_is_found)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    m.first_sent_ms = redis_rig_clock(CLOCK_REALTIME);
    redis_rig_cli(
        "EVAL \"for i=1,4000 do redis.call('XADD','out','*','bascule-token','t'..i) end\" 0");
    m.flags = MESSAGE_RESEND;
    m.token = bytes_text("t3999");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "4000");
    redis_rig_close();
}

TEST(redis_errors_have_the_fate_of_their_meaning)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    redis_rig_cli("SET out text");
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_FINAL);
    CHECK_CONTAINS(r.text, "WRONGTYPE");
    redis_rig_cli("DEL out");
    redis_rig_cli("CONFIG SET maxmemory 1");
    r = redis_rig_publish(&m);
    redis_rig_cli("CONFIG SET maxmemory 0");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    redis_rig_cli("CONFIG SET min-replicas-to-write 3");
    r = redis_rig_publish(&m);
    redis_rig_cli("CONFIG SET min-replicas-to-write 0");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    redis_rig_cli("REPLICAOF 127.0.0.1 1");
    r = redis_rig_publish(&m);
    redis_rig_cli("REPLICAOF NO ONE");
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_close();
}

static void forbidden(bool fixed, struct report *ret)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    redis_rig_to_stream(fixed);
    (void)redis_rig_port();
    redis_rig_cli("ACL SETUSER app reset on '>pw' '+@all' '~other'");
    (void)snprintf(g->url, sizeof g->url, "redis://app:pw@127.0.0.1:%s", redis_rig_port());
    g->link.url = g->url;
    redis_rig_open();
    redis_rig_sink();
    *ret = redis_rig_publish(&m);
}

TEST(redis_a_forbidden_fixed_stream_is_an_outage)
{
    struct report r;
    struct link_status status;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    forbidden(true, &r);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_LOST);
    c->sink_status(g->sink, &status);
    CHECK_INT(status.state, LINK_DOWN);
    CHECK_CONTAINS(status.error, "NOPERM");
    redis_rig_cli("ACL SETUSER app '~*'");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    c->sink_status(g->sink, &status);
    CHECK_INT(status.state, LINK_UP);
    redis_rig_close();
}

TEST(redis_a_forbidden_stream_of_a_template_is_refused)
{
    struct report r;

    forbidden(false, &r);
    CHECK_INT(r.fate, FATE_REFUSED);
    CHECK_INT(r.cause, CAUSE_ADDRESS);
    redis_rig_close();
}

TEST(redis_a_wrong_password_is_said_and_takes_nothing)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct link_status status = { 0 };

    redis_rig_to_stream(true);
    (void)snprintf(g->url, sizeof g->url, "redis://nobody:pw@127.0.0.1:%s", redis_rig_port());
    g->link.url = g->url;
    redis_rig_open();
    redis_rig_sink();
    UNTIL((c->link_status(g->l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "WRONGPASS");
    CHECK_INT(c->sink_publish(g->sink, &m, 1), 0);
    redis_rig_close();
}

TEST(redis_too_few_replicas_leave_an_entry_unsure)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    redis_rig_to_stream(true);
    g->to.wait = (struct redis_wait_options){ true, 1, 10 };
    redis_rig_open();
    redis_rig_sink();
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "1");
    redis_rig_close();
}

TEST(redis_the_next_url_is_tried_when_one_is_dead)
{
    static char dead[] = "redis://127.0.0.1:1";
    char *urls[] = { dead, g->url };
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    redis_rig_to_stream(true);
    (void)snprintf(g->url, sizeof g->url, "redis://localhost:%s", redis_rig_port());
    g->link.urls = (struct option_list){ urls, 2 };
    struct link_spec spec = { "redis", &g->link, "store-1", 1, NULL };
    g->link.db = -1;
    g->link.connect_timeout_ms = g->link.ping_interval_ms = 10000;
    CHECK_INT(c->link_open(&spec, &g->l, NULL), 0);
    redis_rig_sink();
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_close();
}
