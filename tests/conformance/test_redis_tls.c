/* Redis behind TLS. */
#include "tests/conformance/redis_rig.h"

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
