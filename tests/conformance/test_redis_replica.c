/* A primary and its replica, both the test's own: waiting for replicas, and what a failover is. */
#include "tests/conformance/redis_rig.h"

#include <signal.h>

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

static void pair(struct redis_rig_server *primary, struct redis_rig_server *replica)
{
    char config[256];
    int64_t end = redis_rig_clock(CLOCK_MONOTONIC) + REDIS_RIG_PATIENCE_MS;

    redis_rig_server_start(primary, "primary", "repl-ping-replica-period 1\n");
    (void)snprintf(config, sizeof config, "replicaof 127.0.0.1 %s\n", primary->port);
    redis_rig_server_start(replica, "replica", config);
    redis_rig_use(replica);
    while (!strstr(redis_rig_ask("INFO replication | grep master_link_status"), ":up"))
        CHECK(redis_rig_clock(CLOCK_MONOTONIC) < end);
    redis_rig_use(primary);
}

/* Both addresses, the primary's first. */
static void both_urls(const struct redis_rig_server *first, const struct redis_rig_server *second)
{
    static char text[2][80], *urls[2] = { text[0], text[1] };

    (void)snprintf(text[0], sizeof text[0], "redis://127.0.0.1:%s", first->port);
    (void)snprintf(text[1], sizeof text[1], "redis://127.0.0.1:%s", second->port);
    g->link.urls = (struct option_list){ urls, 2 };
}

TEST(redis_an_entry_is_delivered_when_the_replica_has_it)
{
    struct redis_rig_server primary, replica;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    pair(&primary, &replica);
    redis_rig_to_stream(true);
    g->to.wait = (struct redis_wait_options){ true, 1, 20000 };
    redis_rig_open();
    redis_rig_sink();
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_use(&replica);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "1");
    redis_rig_close();
}

TEST(redis_an_entry_is_unsure_while_the_replica_stands_still)
{
    struct redis_rig_server primary, replica;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    pair(&primary, &replica);
    redis_rig_to_stream(true);
    g->to.wait = (struct redis_wait_options){ true, 1, 200 };
    redis_rig_open();
    redis_rig_sink();
    /* A busy machine may take longer than that. */
    UNTIL(redis_rig_publish(&m).fate == FATE_DELIVERED);
    CHECK_INT(kill(replica.pid, SIGSTOP), 0);
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSURE);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "replicas");
    CHECK_INT(kill(replica.pid, SIGCONT), 0);
    UNTIL(redis_rig_publish(&m).fate == FATE_DELIVERED);
    redis_rig_close();
}

TEST(redis_a_replica_whose_primary_is_gone_is_waited_for)
{
    struct redis_rig_server primary, replica;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    pair(&primary, &replica);
    redis_rig_use(&replica);
    redis_rig_cli("CONFIG SET replica-serve-stale-data no");
    redis_rig_server_kill(&primary);
    (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", replica.port);
    g->link.url = g->url;
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    UNTIL(strstr(redis_rig_sink_status().error, "MASTERDOWN"));
    UNTIL(strstr(redis_rig_source_status().error, "MASTERDOWN"));
    CHECK_INT(c->sink_publish(g->sink, &m, 1), 0);
    redis_rig_cli("REPLICAOF NO ONE");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_cli("XADD in '*' body 1");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

/* The old primary answers on, as a replica: only READONLY tells. */
TEST(redis_a_demoted_primary_is_left_for_the_next_address)
{
    struct redis_rig_server primary, replica;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    pair(&primary, &replica);
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    both_urls(&primary, &replica);
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_cli("XADD in '*' body 1");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_use(&replica);
    UNTIL(strcmp(redis_rig_ask("XLEN out"), "1") == 0);
    redis_rig_cli("REPLICAOF NO ONE");
    redis_rig_use(&primary);
    redis_rig_cli("REPLICAOF 127.0.0.1 %s", replica.port);
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "READONLY");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_use(&replica);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "2");
    redis_rig_cli("XADD in '*' body 2");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

TEST(redis_a_killed_primary_is_left_for_the_next_address)
{
    struct redis_rig_server primary, replica;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    pair(&primary, &replica);
    redis_rig_to_stream(true);
    both_urls(&primary, &replica);
    redis_rig_open();
    redis_rig_sink();
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_server_kill(&primary);
    redis_rig_use(&replica);
    redis_rig_cli("REPLICAOF NO ONE");
    UNTIL(redis_rig_publish(&m).fate == FATE_DELIVERED);
    redis_rig_close();
}
