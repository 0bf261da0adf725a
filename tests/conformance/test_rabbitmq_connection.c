/* RabbitMQ's connections: TLS, heartbeats, pressure, and the probe of `check --connect`. */
#include "tests/conformance/rabbit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <time.h>

static const struct connector *const k = &connector_rabbitmq;

TEST(rabbitmq_tls_with_a_client_certificate)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    const char *names[] = { "ca.pem", "client.pem", "client.key", "other-ca.pem" };
    struct event e = rabbit_event("x");
    struct link_status s;
    char path[4][512], url[2][128];

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.tls '{}' t.tlss");
    for (int i = 0; i < 4; i++)
        (void)snprintf(path[i], sizeof path[i], "%s/%s", d, names[i]);
    free(rabbit.link_options.url);
    rabbit.link_options.url = NULL;
    /* The first of the hosts is not there. */
    (void)snprintf(url[0], sizeof url[0], "amqps://127.0.0.1:1");
    (void)snprintf(
        url[1], sizeof url[1], "amqps://localhost:%s", getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    rabbit.link_options.urls.at = calloc(2, sizeof(char *));
    rabbit.link_options.urls.n = 2;
    for (int i = 0; i < 2; i++)
        rabbit.link_options.urls.at[i] = strdup(url[i]);
    rabbit.link_options.auth = OPTIONS_AUTH_EXTERNAL;
    rabbit.link_options.tls = (struct options_tls){ .set = true,
        .verify = true,
        .ca_file = strdup(path[0]),
        .cert_file = strdup(path[1]),
        .key_file = strdup(path[2]) };
    rabbit_link();
    rabbit_sink(0, "t.tlss", 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    k->sink_status(rabbit.sinks[0], &s);
    CHECK_CONTAINS(s.peer, "TLS");
    /* The tests' certificates are good for ten years from when they were made. */
    CHECK(s.peer_expires_ms / 1000 > time(NULL) + 3600LL * 24 * 3600);
    CHECK(s.peer_expires_ms / 1000 < time(NULL) + 3651LL * 24 * 3600);
    rabbit_free();
}

TEST(rabbitmq_tls_refuses_a_broker_of_another_ca)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    struct link_status s;
    char path[512], url[128];

    rabbit_need_broker();
    (void)snprintf(path, sizeof path, "%s/other-ca.pem", d);
    (void)snprintf(url, sizeof url, "amqps://app:secret@localhost:%s",
        getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    free(rabbit.link_options.url);
    rabbit.link_options.url = strdup(url);
    rabbit.link_options.tls =
        (struct options_tls){ .set = true, .verify = true, .ca_file = strdup(path) };
    rabbit_link();
    rabbit_sink(0, "t.tlsx", 30000);
    do {
        rabbit_turn();
        k->sink_status(rabbit.sinks[0], &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "certificate verify failed");
    rabbit_free();
}

static void tls_link(const char *host, const char *ca_file, const char *server_name)
{
    char url[128];

    (void)snprintf(url, sizeof url, "amqps://app:secret@%s:%s", host,
        getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    free(rabbit.link_options.url);
    rabbit.link_options.url = strdup(url);
    rabbit.link_options.tls = (struct options_tls){ .set = true,
        .verify = true,
        .ca_file = ca_file ? strdup(ca_file) : NULL,
        .server_name = server_name ? strdup(server_name) : NULL };
    rabbit_link();
}

TEST(rabbitmq_tls_without_a_ca_file_trusts_the_systems)
{
    char path[512];

    rabbit_need_broker();
    (void)snprintf(path, sizeof path, "%s/ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    (void)setenv("SSL_CERT_FILE", path, 1); /* where OpenSSL's system CAs are, here */
    tls_link("127.0.0.1", NULL, NULL);
    rabbit_sink(0, "t.tlsy", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP);
    rabbit_free();
}

TEST(rabbitmq_tls_wants_the_server_name_that_is_given)
{
    struct link_status s;
    char path[512];

    rabbit_need_broker();
    (void)snprintf(path, sizeof path, "%s/ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    tls_link("127.0.0.1", path, "rabbit.example");
    rabbit_sink(0, "t.tlsz", 30000);
    do {
        rabbit_turn();
        k->sink_status(rabbit.sinks[0], &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "certificate verify failed");
    k->sink_free(rabbit.sinks[0]);
    k->link_free(rabbit.link);
    option_done(k->link_options, &rabbit.link_options);
    option_done(k->sink_options, &rabbit.sink_options[0]);
    memset(&rabbit, 0, sizeof rabbit);
    rabbit_link_options(&rabbit.link_options);
    tls_link("127.0.0.1", path, "localhost");
    rabbit_sink(0, "t.tlsz", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP);
    rabbit_free();
}

/* The broker's certificate from then on; what it has cached of the old one is forgotten. */
static void broker_certificate(const char *name)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");

    fixture_shell("cp '%s/%s' '%s/new.pem' && mv '%s/new.pem' '%s/server.pem'", d, name, d, d, d);
    rabbit_broker_eval("ssl:clear_pem_cache().");
}

TEST(rabbitmq_an_expired_certificate_is_refused_until_it_is_renewed)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    struct link_status s;
    char path[512];

    rabbit_need_broker();
    fixture_shell("cp -n '%s/server.pem' '%s/good.pem'", d, d);
    broker_certificate("expired.pem");
    (void)snprintf(path, sizeof path, "%s/ca.pem", d);
    tls_link("localhost", path, NULL);
    rabbit_sink(0, "t.expired", 30000);
    do {
        rabbit_turn();
        k->sink_status(rabbit.sinks[0], &s);
    } while (!s.error[0]);
    broker_certificate("good.pem");
    CHECK(s.state != LINK_UP);
    CHECK_CONTAINS(s.error, "certificate has expired");
    WAIT(rabbit_sink_state(0) == LINK_UP);
    rabbit_free();
}

TEST(rabbitmq_a_client_certificate_is_read_again_for_each_connection)
{
    const char *d = getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES");
    struct event e = rabbit_event("x");
    struct link_status s;
    char path[512];

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.rotated '{}' t.rotates");
    fixture_shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "
                  "/CN=bascule -keyout mine.key -out mine.pem 2>/dev/null");
    (void)snprintf(path, sizeof path, "%s/ca.pem", d);
    fixture_text(
        &rabbit.link_options.url, "amqps://localhost:%s", getenv("BASCULE_TEST_RABBITMQ_TLS_PORT"));
    rabbit.link_options.auth = OPTIONS_AUTH_EXTERNAL;
    rabbit.link_options.tls = (struct options_tls){ .set = true,
        .verify = true,
        .ca_file = strdup(path),
        .cert_file = strdup("mine.pem"),
        .key_file = strdup("mine.key") };
    rabbit_link();
    rabbit_sink(0, "t.rotates", 30000);
    do {
        rabbit_turn();
        k->sink_status(rabbit.sinks[0], &s);
    } while (!s.error[0]);
    CHECK(s.state != LINK_UP);
    fixture_shell("cp '%s/client.key' mine.key && cp '%s/client.pem' mine.pem", d, d);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_hosts_are_tried_in_turn)
{
    struct event e = rabbit_event("x");
    struct link_status s;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.hosts '{}' t.hostses");
    rabbit.link_options.urls = (struct option_list){ calloc(4, sizeof(char *)), 4 };
    /* Nobody listens, no such vhost, a wrong password, and one that works. */
    rabbit.link_options.urls.at[0] = strdup("amqp://app:secret@127.0.0.1:1");
    fixture_text(&rabbit.link_options.urls.at[1], "%s/nowhere", rabbit.link_options.url);
    fixture_text(&rabbit.link_options.urls.at[2], "amqp://app:wrong@127.0.0.1:%s",
        getenv("BASCULE_TEST_RABBITMQ_PORT"));
    fixture_text(&rabbit.link_options.urls.at[3], "%s/test", rabbit.link_options.url);
    free(rabbit.link_options.url);
    rabbit.link_options.url = NULL;
    rabbit_link();
    rabbit_sink(0, "t.hostses", 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_REFUSED, CAUSE_UNROUTABLE); /* the queue is in another vhost */
    k->sink_status(rabbit.sinks[0], &s);
    CHECK_TEXT(s.error, "");
    rabbit_free();
}

/* Threads that dial are not waited for; what the client library's own clean-up takes away at exit
 * may not be what they use. */
TEST(rabbitmq_a_process_may_end_while_it_dials)
{
    char path[512];

    rabbit_need_broker();
    (void)snprintf(path, sizeof path, "%s/ca.pem", getenv("BASCULE_TEST_RABBITMQ_CERTIFICATES"));
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        int status = 0;

        CHECK(child >= 0);
        if (child == 0) {
            tls_link("127.0.0.1", path, NULL);
            rabbit_sink(0, "t.ends", 30000);
            (void)k->link_step(rabbit.link, rabbit_now_ms(), 0);
            (void)poll(NULL, 0, i);
            k->sink_free(rabbit.sinks[0]);
            k->link_free(rabbit.link);
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            harness_fail(__FILE__, __LINE__, "after %d ms: wait status %d", i, status);
    }
    option_done(k->link_options, &rabbit.link_options);
}

TEST(rabbitmq_a_url_that_ends_in_a_slash_means_the_default_vhost)
{
    rabbit_need_broker();
    char *url = NULL;

    CHECK(asprintf(&url, "%s/", rabbit.link_options.url) > 0);
    free(rabbit.link_options.url);
    rabbit.link_options.url = url;
    rabbit_link();
    rabbit_sink(0, "t.slash", 30000);
    WAIT(rabbit_sink_state(0) == LINK_UP);
    rabbit_free();
}

TEST(rabbitmq_heartbeats_go_on_while_idle)
{
    struct event e = rabbit_event("x");
    struct link_status s;
    int64_t end;

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.beat '{}' t.beats");
    rabbit.link_options.heartbeat_ms = 1000;
    rabbit_link();
    rabbit_sink(0, "t.beats", 30000);
    rabbit_publish(0, 1, "k", &e);
    rabbit_check_fate(1, FATE_DELIVERED, CAUSE_NONE);
    end = rabbit_now_ms() + 4000; /* the broker hangs up after two silent seconds */
    while (rabbit_now_ms() < end)
        rabbit_turn();
    rabbit_publish(0, 2, "k", &e);
    rabbit_check_fate(2, FATE_DELIVERED, CAUSE_NONE);
    k->link_status(rabbit.link, &s);
    CHECK_INT(s.reconnects, 0);
    rabbit_free();
}

TEST(rabbitmq_heartbeats_go_on_while_paused_with_a_full_window)
{
    struct link_status s;
    struct batch *b;
    int64_t end;

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.press");
    fixture_shell(CLIENT "feed t.press 0 500");
    rabbit.link_options.heartbeat_ms = 1000;
    rabbit_link();
    rabbit_source("t.press", 2, true);
    b = rabbit_receive(2);
    CHECK(k->source_receive(rabbit.source, 2) == NULL);
    k->source_pause(rabbit.source, true);
    end = rabbit_now_ms() + 4000; /* the broker hangs up after two silent seconds */
    while (rabbit_now_ms() < end)
        rabbit_turn();
    k->source_pause(rabbit.source, false);
    k->source_settle(rabbit.source, b, true);
    for (size_t n = 2; n < 500; n += b->count, k->source_settle(rabbit.source, b, true)) {
        b = rabbit_receive(2);
        CHECK(!(b->events[0].flags & EVENT_REDELIVERED));
    }
    k->link_status(rabbit.link, &s);
    CHECK_INT(s.reconnects, 0);
    WAIT(k->source_drain(rabbit.source));
    rabbit_free();
    CHECK_INT(rabbit_queue_count("t.press"), 0);
}

/* Other tests may have started it again since. */
static pid_t broker_pid(void)
{
    char line[64] = "";
    FILE *f = popen(BROKER "eval 'os:getpid().' | tr -dc 0-9", "r");
    long pid;

    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    pid = strtol(line, NULL, 10);
    CHECK(pid > 1);
    return (pid_t)pid;
}

TEST(rabbitmq_a_broker_that_stops_reading_is_left_and_the_loop_stays_free)
{
    static char big[1 << 16];
    struct event e = rabbit_event("x");
    int64_t longest = 0;
    uint64_t ref = 0;
    pid_t broker;

    rabbit_need_broker();
    broker = broker_pid();
    memset(big, 'x', sizeof big - 1);
    fixture_shell(CLIENT "declare t.deaf '{}' t.deafs");
    rabbit.link_options.heartbeat_ms = 1000;
    rabbit_link();
    rabbit_sink(0, "t.deafs", 30000);
    rabbit_publish(0, ref++, "k", &e);
    rabbit_check_fate(0, FATE_DELIVERED, CAUSE_NONE);
    e.body = bytes_of(big, sizeof big - 1);
    CHECK_INT(kill(broker, SIGSTOP), 0);
    while (rabbit_sink_state(0) == LINK_UP) {
        struct message m = { .ref = ref, .event = &e, .fields = { bytes_text("k") } };
        int64_t start = rabbit_now_ms();

        if (ref < 900)
            ref += k->sink_publish(rabbit.sinks[0], &m, 1);
        if (rabbit_now_ms() - start > longest)
            longest = rabbit_now_ms() - start;
        rabbit_turn();
    }
    CHECK_INT(kill(broker, SIGCONT), 0);
    CHECK(longest < 1000); /* a loop that waits for the socket waits two heartbeats */
    WAIT(rabbit.count == ref);
    for (uint64_t i = 1; i < ref; i++)
        CHECK(rabbit_report_of(i) && rabbit_report_of(i)->cause == CAUSE_LOST);
    e = rabbit_event("x");
    rabbit_publish(0, ref, "k", &e);
    rabbit_check_fate(ref, FATE_DELIVERED, CAUSE_NONE);
    rabbit_free();
}

TEST(rabbitmq_probe_names_what_is_missing)
{
    struct link_spec spec = { .name = "rabbit", .options = &rabbit.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &rabbit.source_options };
    struct sink_spec sink = { .route = "r", .name = "s", .options = &rabbit.sink_options[0] };
    struct finding found[8];

    rabbit_need_broker();
    rabbit_source_options("t.nowhere", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
    rabbit_sink_options("t.nothing", &rabbit.sink_options[0]);
    rabbit.sink_options[0].declare = OPTIONS_PASSIVE;
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 2);
    CHECK(found[0].is_error && found[1].is_error);
    CHECK_CONTAINS(found[0].text, "t.nowhere");
    CHECK_CONTAINS(found[1].text, "t.nothing");
    rabbit_free();
}

TEST(rabbitmq_probe_tells_what_is_forbidden_and_leaves_no_trace)
{
    struct link_spec spec = { .name = "rabbit", .options = &rabbit.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &rabbit.source_options };
    struct sink_spec sink = { .route = "r", .name = "s", .options = &rabbit.sink_options[0] };
    struct finding found[8];

    rabbit_need_broker();
    fixture_shell(CLIENT "declare t.secret '{}' t.secrets");
    fixture_shell(CLIENT "publish_typed t.secret");
    rabbit_source_options("t.secret", &rabbit.source_options);
    rabbit.source_options.declare = OPTIONS_PASSIVE;
    rabbit_sink_options("t.secrets", &rabbit.sink_options[0]);
    rabbit.sink_options[0].declare = OPTIONS_PASSIVE;
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 0);
    rabbit.link_options.username = strdup("limited");
    rabbit.link_options.password = strdup("secret");
    CHECK_INT(k->link_probe(&spec, &source, &sink, 10000, found, 8), 2);
    CHECK(found[0].is_error && found[1].is_error);
    CHECK_CONTAINS(found[0].text, "reading from queue 't.secret'");
    CHECK_CONTAINS(found[0].text, "403");
    CHECK_CONTAINS(found[1].text, "publishing to exchange 't.secrets'");
    CHECK_CONTAINS(found[1].text, "403");
    CHECK_INT(rabbit_queue_count("t.secret"), 1);
    rabbit_free();
}

TEST(rabbitmq_probe_warns_of_a_delivery_limit_without_a_dead_letter_exchange)
{
    struct link_spec spec = { .name = "rabbit", .options = &rabbit.link_options, .seed = 1 };
    struct source_spec source = { .route = "r", .options = &rabbit.source_options };
    struct option_map *m = &rabbit.source_options.arguments;
    struct finding found[8];

    rabbit_need_broker();
    fixture_shell(CLIENT "delete t.limit");
    rabbit_source_options("t.limit", &rabbit.source_options);
    rabbit.source_options.type = OPTIONS_QUORUM;
    *m = (struct option_map){ calloc(1, sizeof *m->at), 1 };
    m->at[0] = (struct option_pair){ strdup("x-delivery-limit"), strdup("5"), OPTION_VALUE_INT };
    CHECK_INT(k->link_probe(&spec, &source, NULL, 10000, found, 8), 1);
    CHECK(!found[0].is_error);
    CHECK_CONTAINS(found[0].text, "t.limit");
    rabbit_free();
}
