/* Who may log in to a Kafka with TLS, and what is said to who may not. */
#include "tests/conformance/fixture.h"
#include "tests/harness.h"

#include "bridge/links/kafka/options.h"

#include <poll.h>
#include <time.h>

#define WAIT_MS 60000

extern const struct connector connector_kafka;
static const struct connector *const k = &connector_kafka;

static struct rig {
    struct kafka_link_options link;
    struct kafka_source_options from;
    struct kafka_sink_options to;
    char address[40], ca[512], *brokers[1], *topics[1];
    struct link *l;
    struct source *source;
    struct sink *sink;
    int64_t end_ms;
} rigs[8];

/* The one that is looked at: those that wait long are tried side by side. */
static struct rig *g = rigs;

static void options_set(int mechanism)
{
    const char *port = getenv("BASCULE_TEST_KAFKA_TLS_PORT");

    if (!port)
        harness_skip("no Kafka: BASCULE_TEST_KAFKA_TLS_PORT is not set");
    (void)snprintf(g->address, sizeof g->address, "localhost:%s", port);
    (void)snprintf(g->ca, sizeof g->ca, "%s/ca.pem", getenv("BASCULE_TEST_KAFKA_CERTIFICATES"));
    g->brokers[0] = g->address;
    g->topics[0] = (char *)(uintptr_t) "bascule-test";
    g->link.brokers = (struct option_list){ g->brokers, 1 };
    g->link.tls = (struct kafka_tls){ .set = true, .verify = true, .ca_file = g->ca };
    g->link.sasl = (struct kafka_sasl){ .set = true,
        .mechanism = mechanism,
        .username = (char *)(uintptr_t) "app",
        .password = (char *)(uintptr_t) "secret" };
    g->from = (struct kafka_source_options){ .topics = { g->topics, 1 }, .start = NULL };
    g->from.group = (char *)(uintptr_t) "login";
    g->to = (struct kafka_sink_options){ .topic = { (char *)(uintptr_t) "bascule-test", true } };
}

static void client_set(const char *client)
{
    options_set(KAFKA_OAUTHBEARER);
    g->link.sasl = (struct kafka_sasl){ .set = true,
        .mechanism = KAFKA_OAUTHBEARER,
        .token_url = getenv("BASCULE_TEST_KAFKA_TOKEN_URL"),
        .token_ca_file = g->ca,
        .client_id = (char *)(uintptr_t)client,
        .client_secret = getenv("BASCULE_TEST_KAFKA_TOKEN_SECRET"),
        .scope = (char *)(uintptr_t) "kafka write" };
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void ends_open(void)
{
    struct link_spec spec = { "kafka", &g->link, "store", 1, NULL };
    struct sink_spec sink = { .route = "r",
        .name = "s",
        .options = &g->to,
        .window_events = 10,
        .window_bytes = 1 << 20,
        .confirm_timeout_ms = 30000 };
    struct source_spec source = { .route = "r",
        .route_id = 3,
        .options = &g->from,
        .window_events = 100,
        .window_bytes = 1 << 20,
        .max_event_bytes = 1 << 20,
        .clean_start = true };
    struct fault why = { 0 };
    const char *key = NULL;

    if (k->link_check(&g->link, &key, &why) != 0)
        harness_fail(__FILE__, __LINE__, "%s", why.text);
    CHECK_INT(k->link_open(&spec, &g->l, &why), 0);
    CHECK_INT(k->sink_open(g->l, &sink, &g->sink, &why), 0);
    CHECK_INT(k->source_open(g->l, &source, &g->source, &why), 0);
    g->end_ms = now_ms() + WAIT_MS;
}

static void ends_close(void)
{
    k->sink_free(g->sink);
    k->source_free(g->source);
    k->link_free(g->l);
}

static void turn(void)
{
    struct pollfd p = { k->link_pollfd(g->l), POLLIN, 0 };
    struct link_status sink, source;

    (void)poll(&p, 1, 5);
    (void)k->link_step(g->l, now_ms(), 1000);
    if (now_ms() < g->end_ms)
        return;
    k->sink_status(g->sink, &sink);
    k->source_status(g->source, &source);
    harness_fail(__FILE__, __LINE__, "too long; sink in %d (%s), source in %d (%s)",
        (int)sink.state, sink.error, (int)source.state, source.error);
}

static void check_both_work(void)
{
    struct event e = { .body = bytes_text("logged in"), .id = bytes_text("login") };
    struct message m = { .ref = 7, .event = &e };
    struct report r;
    struct batch *b;

    ends_open();
    while (k->sink_publish(g->sink, &m, 1) == 0)
        turn();
    while (k->sink_collect(g->sink, &r, 1) == 0)
        turn();
    CHECK_INT(r.fate, FATE_DELIVERED);
    while (!(b = k->source_receive(g->source, 10)))
        turn();
    k->source_settle(g->source, b, true);
}

/* Do both ends say why they are not up, in words that hold the part? */
static bool refused(const char *part)
{
    struct link_status sink = { 0 }, source = { 0 };

    k->sink_status(g->sink, &sink);
    k->source_status(g->source, &source);
    CHECK(sink.state != LINK_UP && source.state != LINK_UP);
    return strstr(sink.error, part) && strstr(source.error, part);
}

/* The tests' certificates are good for ten years from when they were made. */
static void check_peer_certificate(const struct link_status *s)
{
    CHECK(s->peer_expires_ms / 1000 > time(NULL) + 3600LL * 24 * 3600);
    CHECK(s->peer_expires_ms / 1000 < time(NULL) + 3651LL * 24 * 3600);
}

TEST(kafka_tells_until_when_its_brokers_certificate_is_good)
{
    struct link_status sink, source;

    options_set(KAFKA_PLAIN);
    check_both_work();
    k->sink_status(g->sink, &sink);
    k->source_status(g->source, &source);
    check_peer_certificate(&sink);
    check_peer_certificate(&source);
    ends_close();
}

TEST(kafka_login_by_every_mechanism)
{
    for (int mechanism = KAFKA_PLAIN; mechanism <= KAFKA_SCRAM_512; mechanism++) {
        options_set(mechanism);
        check_both_work();
        ends_close();
    }
    client_set("app");
    check_both_work();
    ends_close();
}

static void wrong_password(void)
{
    g->link.sasl.password = (char *)(uintptr_t) "wrong";
}

static void wrong_secret(void)
{
    g->link.sasl.client_secret = (char *)(uintptr_t) "wrong";
}

static void other_ca(void)
{
    (void)snprintf(
        g->ca, sizeof g->ca, "%s/other-ca.pem", getenv("BASCULE_TEST_KAFKA_CERTIFICATES"));
}

static void system_ca(void)
{
    g->link.sasl.token_ca_file = NULL;
}

TEST(kafka_who_may_not_log_in_is_told_why_at_both_ends)
{
    static const struct {
        int mechanism;
        const char *client;
        void (*spoil)(void);
        const char *part;
    } wrong[] = { { KAFKA_PLAIN, NULL, wrong_password, "Authentication failed" },
        { KAFKA_SCRAM_256, NULL, wrong_password, "Authentication failed" },
        { KAFKA_PLAIN, NULL, other_ca, "certificate verify failed" },
        { KAFKA_OAUTHBEARER, "app", wrong_secret, "HTTP status 401" },
        { KAFKA_OAUTHBEARER, "app", system_ca, "certificate" },
        { KAFKA_OAUTHBEARER, "empty", NULL, "no access_token" },
        { KAFKA_OAUTHBEARER, "endless", NULL, "token_url" } };
    const size_t n = sizeof wrong / sizeof wrong[0];

    for (size_t i = 0; i < n; i++) {
        g = &rigs[i];
        if (wrong[i].client)
            client_set(wrong[i].client);
        else
            options_set(wrong[i].mechanism);
        if (wrong[i].spoil)
            wrong[i].spoil();
        ends_open();
    }
    for (size_t said = 0; said < n;) {
        said = 0;
        for (size_t i = 0; i < n; i++) {
            g = &rigs[i];
            turn();
            said += refused(wrong[i].part);
        }
    }
    for (size_t i = 0; i < n; i++) {
        g = &rigs[i];
        ends_close();
    }
}

static long tokens_given(void)
{
    char command[1024], line[100] = "";
    FILE *f;

    (void)snprintf(command, sizeof command, "curl -s --cacert %s %s | tr -dc 0-9", g->ca,
        g->link.sasl.token_url);
    f = popen(command, "r");
    CHECK(f && fgets(line, sizeof line, f));
    (void)pclose(f);
    return strtol(line, NULL, 10);
}

TEST(kafka_a_token_is_fetched_anew_before_it_ends)
{
    long given;

    client_set("brief");
    check_both_work();
    given = tokens_given();
    while (tokens_given() < given + 2) /* one for each end */
        turn();
    ends_close();
}
