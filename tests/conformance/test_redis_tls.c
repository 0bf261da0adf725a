/* Redis behind TLS. */
#include "tests/conformance/fixture.h"
#include "tests/conformance/redis_rig.h"

#include <time.h>

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

static void tls_open(const char *server_name, bool trusted)
{
    const char *tls_port = getenv("BASCULE_TEST_REDIS_TLS_PORT");
    static char ca[512];
    const char *certificates = getenv("BASCULE_TEST_REDIS_CERTIFICATES");

    if (!tls_port || !certificates)
        harness_skip(
            "no Redis with TLS: BASCULE_TEST_REDIS_TLS_PORT, BASCULE_TEST_REDIS_CERTIFICATES");
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", certificates);
    (void)snprintf(g->url, sizeof g->url, "rediss://127.0.0.1:%s", tls_port);
    g->link.url = g->url;
    g->link.tls = (struct redis_tls_options){ .set = true,
        .ca_file = trusted ? ca : NULL,
        .server_name = (char *)(uintptr_t)server_name,
        .verify = true };
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
}

TEST(redis_tls_carries_large_bodies)
{
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct link_status status;
    char *body = calloc(1, 4 << 20);

    tls_open(NULL, true);
    memset(body, 'z', 4 << 20);
    e.body = bytes_of(body, 4 << 20);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    c->link_status(g->l, &status);
    CHECK_CONTAINS(status.peer, "TLS");
    /* The tests' certificates are good for ten years from when they were made. */
    CHECK(status.peer_expires_ms / 1000 > time(NULL) + 3600LL * 24 * 3600);
    CHECK(status.peer_expires_ms / 1000 < time(NULL) + 3651LL * 24 * 3600);
    redis_rig_close();
    free(body);
}

TEST(redis_tls_refuses_an_unknown_authority)
{
    struct link_status status = { 0 };

    tls_open(NULL, false);
    UNTIL((c->link_status(g->l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "certificate was refused");
    redis_rig_close();
}

TEST(redis_tls_refuses_another_server_name)
{
    static char other[] = "other.example";
    struct link_status status = { 0 };

    tls_open(other, true);
    UNTIL((c->link_status(g->l, &status), status.state == LINK_DOWN));
    CHECK_CONTAINS(status.error, "certificate was refused");
    redis_rig_close();
}

/* ---- certificates of the test's own ---- */

/* NAME.pem and NAME.key, signed by an authority NAME-ca.pem; `days` below 0: expired. */
static void certificate(const char *name, int days)
{
    fixture_shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                  "-days 30 -subj '/CN=%s authority' -keyout %s-ca.key -out %s-ca.pem",
        name, name, name);
    fixture_shell("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                  "-subj /CN=localhost -keyout %s.key -out %s.csr",
        name, name);
    fixture_shell("echo subjectAltName=IP:127.0.0.1 >ext && openssl x509 -req -in %s.csr "
                  "-CA %s-ca.pem -CAkey %s-ca.key -CAcreateserial -days %d -extfile ext -out "
                  "%s.pem",
        name, name, name, days, name);
}

/* A server with the certificate NAME, and a sink to it that trusts what is in ca.pem. */
static void own_server(struct redis_rig_server *s, const char *name)
{
    static char port[8], ca[] = "ca.pem";
    char config[256];

    redis_rig_free_port(port);
    (void)snprintf(config, sizeof config,
        "tls-port %s\ntls-auth-clients no\ntls-cert-file ../%s.pem\ntls-key-file ../%s.key\n"
        "tls-ca-cert-file ../%s-ca.pem\n",
        port, name, name, name);
    redis_rig_server_start(s, "tls", config);
    redis_rig_use(s);
    (void)snprintf(g->url, sizeof g->url, "rediss://127.0.0.1:%s", port);
    g->link.url = g->url;
    g->link.tls = (struct redis_tls_options){ .set = true, .ca_file = ca, .verify = true };
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
}

TEST(redis_tls_refuses_an_expired_certificate)
{
    struct redis_rig_server s;

    certificate("old", -1);
    fixture_shell("cp old-ca.pem ca.pem");
    own_server(&s, "old");
    UNTIL(redis_rig_sink_status().state == LINK_DOWN);
    CHECK_CONTAINS(redis_rig_sink_status().error, "expired");
    redis_rig_close();
}

TEST(redis_tls_takes_rotated_certificates_without_a_restart)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    certificate("first", 30);
    certificate("second", 30);
    fixture_shell("cp first-ca.pem ca.pem");
    own_server(&s, "first");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    /* The server's new one comes first: what is connected stays so, what comes back is refused. */
    redis_rig_cli("CONFIG SET tls-cert-file ../second.pem tls-key-file ../second.key");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_cli("CLIENT KILL TYPE normal SKIPME yes");
    UNTIL(strstr(redis_rig_sink_status().error, "certificate was refused"));
    /* Then ours, in the same file. */
    fixture_shell("cp second-ca.pem ca.pem");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_close();
}
