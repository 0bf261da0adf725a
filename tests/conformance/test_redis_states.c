/* What a Redis server says when it cannot serve, each met on a server of the test's own: it is
 * said in status, nothing is lost or taken for delivered, and it goes on by itself. */
#include "tests/conformance/redis_rig.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

static void server(struct redis_rig_server *s, const char *name, const char *config)
{
    redis_rig_server_start(s, name, config);
    redis_rig_use(s);
}

/* Waits for an answer of redis-cli. */
static void until_answer(const char *command, const char *want)
{
    int64_t end = redis_rig_clock(CLOCK_MONOTONIC) + REDIS_RIG_PATIENCE_MS;
    const char *got = NULL;

    while (got = redis_rig_ask(command), !strstr(got, want))
        if (redis_rig_clock(CLOCK_MONOTONIC) > end)
            harness_fail(__FILE__, __LINE__, "%s: '%s', not '%s'", command, got, want);
}

/* ---- cluster ---- */

/* Most slots are another node's, which is never there: the server answers MOVED for them. "in" is
 * in slot 15578, "out" in 16101, "news" in 5161 (CLUSTER KEYSLOT). */
static void cluster(struct redis_rig_server *s)
{
    FILE *f = NULL;
    char bus[8], config[200];

    redis_rig_free_port(bus);
    (void)snprintf(config, sizeof config,
        "cluster-enabled yes\ncluster-port %s\ncluster-node-timeout 600000\n"
        "cluster-require-full-coverage no\n",
        bus);
    redis_rig_server_start(s, "node", config);
    redis_rig_server_kill(s);
    CHECK((f = fopen("node/nodes.conf", "w")));
    CHECK(fprintf(f,
              "%040d 127.0.0.1:%s@%s myself,master - 0 0 1 connected 0-5000\n"
              "%040d 127.0.0.1:1@2 master - 0 0 2 connected 5001-16383\n"
              "vars currentEpoch 2 lastVoteEpoch 0\n",
              1, s->port, bus, 2) > 0);
    CHECK_INT(fclose(f), 0);
    redis_rig_server_again(s);
    redis_rig_use(s);
    until_answer("CLUSTER INFO", "cluster_state:ok");
    (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", s->port);
    g->link.url = g->url;
}

TEST(redis_a_cluster_is_named_when_it_redirects_a_sink)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    cluster(&s);
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_LOST);
    UNTIL(redis_rig_sink_status().state == LINK_STOPPED);
    CHECK_CONTAINS(redis_rig_sink_status().error, "cluster");
    CHECK_INT(c->sink_publish(g->sink, &m, 1), 0);
    redis_rig_close();
}

TEST(redis_a_cluster_is_named_when_it_redirects_a_stream_source)
{
    struct redis_rig_server s;

    cluster(&s);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_source(NULL, 0);
    UNTIL(redis_rig_source_status().state == LINK_STOPPED);
    CHECK_CONTAINS(redis_rig_source_status().error, "cluster");
    redis_rig_close();
}

TEST(redis_a_cluster_is_named_when_it_redirects_a_sharded_channel)
{
    static char name[] = "news";
    struct redis_rig_server s;

    cluster(&s);
    g->channels[0] = name;
    g->from.sharded_channels = (struct option_list){ g->channels, 1 };
    redis_rig_open();
    redis_rig_source(NULL, 0);
    UNTIL(redis_rig_source_status().state == LINK_STOPPED);
    CHECK_CONTAINS(redis_rig_source_status().error, "cluster");
    redis_rig_close();
}

TEST(redis_a_cluster_is_named_by_the_check)
{
    struct link_spec spec = { "redis", &g->link, "store-1", 1, NULL };
    struct redis_rig_server s;
    struct finding f[8];

    cluster(&s);
    redis_rig_to_stream(true);
    redis_rig_open();
    struct sink_spec sink = { .options = &g->to };
    CHECK(c->link_probe(&spec, NULL, &sink, 10000, f, 8) >= 1);
    CHECK(f[0].is_error);
    CHECK_CONTAINS(f[0].text, "part of a cluster");
    redis_rig_close();
}

/* ---- loading ---- */

/* 100 keys, each of which takes 0.2 s to load until it is told otherwise; between them the server
 * answers. */
static void loading(struct redis_rig_server *s)
{
    redis_rig_server_start(s, "loads",
        "appendonly yes\nkey-load-delay 200000\n"
        "loading-process-events-interval-bytes 1024\n");
    redis_rig_use(s);
    redis_rig_cli("EVAL \"for i=1,100 do "
                  "redis.call('SET','k'..i,string.rep('x',4000)..math.random()) end\" 0");
    redis_rig_cli("BGREWRITEAOF");
    until_answer("INFO persistence | grep aof_rewrite_in_progress", ":0");
    until_answer("INFO persistence | grep aof_last_bgrewrite_status", ":ok");
    redis_rig_server_kill(s);
    redis_rig_server_again(s);
    (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", s->port);
    g->link.url = g->url;
}

TEST(redis_a_server_that_loads_its_data_is_waited_for)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    loading(&s);
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    UNTIL(redis_rig_sink_status().state == LINK_DOWN);
    CHECK_CONTAINS(redis_rig_sink_status().error, "LOADING");
    CHECK_INT(c->sink_publish(g->sink, &m, 1), 0);
    UNTIL(redis_rig_source_status().state == LINK_DOWN);
    CHECK_CONTAINS(redis_rig_source_status().error, "LOADING");
    redis_rig_cli("CONFIG SET key-load-delay 0");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    UNTIL(redis_rig_source_status().state == LINK_UP);
    redis_rig_close();
}

/* ---- disk, memory ---- */

TEST(redis_a_server_that_cannot_save_takes_nothing_until_it_can)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    server(&s, "misconf", "");
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    UNTIL(redis_rig_source_status().state == LINK_UP);
    redis_rig_cli("XADD in '*' body 1");
    CHECK_INT(redis_rig_take(1), 0);
    /* A directory where the file should go. */
    CHECK_INT(mkdir("misconf/dump.rdb", 0700), 0);
    redis_rig_cli("CONFIG SET save '3600 1'");
    redis_rig_cli("BGSAVE");
    until_answer("INFO persistence | grep rdb_last_bgsave_status", ":err");
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "MISCONF");
    UNTIL(strstr(redis_rig_source_status().error, "MISCONF"));
    CHECK_INT(rmdir("misconf/dump.rdb"), 0);
    redis_rig_cli("BGSAVE");
    until_answer("INFO persistence | grep rdb_last_bgsave_status", ":ok");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "2");
    redis_rig_cli("XADD in '*' body 2");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

TEST(redis_a_full_server_takes_nothing_and_is_still_read)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    server(&s, "full", "maxmemory-policy noeviction\n");
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_cli("EVAL \"for i=1,300 do redis.call('XADD','in','*','body',i) end\" 0");
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_take(64), 0);
    redis_rig_cli("CONFIG SET maxmemory 1");
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "OOM");
    CHECK_INT(redis_rig_sink_status().state, LINK_UP);
    CHECK_INT(redis_rig_take(236), 0);
    UNTIL(strcmp(redis_rig_ask("XPENDING in g"), "0") == 0);
    redis_rig_cli("CONFIG SET maxmemory 0");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_close();
}

/* ---- login ---- */

TEST(redis_a_login_that_is_asked_for_is_said_and_waited_for)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    server(&s, "login", "requirepass pw\n");
    (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", s.port);
    g->link.url = g->url;
    redis_rig_to_stream(true);
    redis_rig_open();
    redis_rig_sink();
    UNTIL(redis_rig_sink_status().state == LINK_DOWN);
    CHECK_CONTAINS(redis_rig_sink_status().error, "NOAUTH");
    CHECK_INT(c->sink_publish(g->sink, &m, 1), 0);
    redis_rig_cli("-a pw CONFIG SET requirepass ''");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_close();
}

/* A user that is changed is thrown out by the server, in the middle of its work. */
TEST(redis_a_login_that_is_taken_away_is_said_and_comes_back)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");

    server(&s, "acl", "user app on >pw ~* &* +@all\n");
    (void)snprintf(g->url, sizeof g->url, "redis://app:pw@127.0.0.1:%s", s.port);
    g->link.url = g->url;
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_cli("ACL DELUSER app");
    UNTIL(strstr(redis_rig_sink_status().error, "WRONGPASS"));
    UNTIL(strstr(redis_rig_source_status().error, "WRONGPASS"));
    redis_rig_cli("ACL SETUSER app on '>pw' '~*' '&*' '+@all'");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    redis_rig_cli("XADD in '*' body 1");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

TEST(redis_a_source_that_may_not_read_says_so_and_reads_once_it_may)
{
    struct redis_rig_server s;

    server(&s, "noperm", "user app on >pw ~* &* +@all -xreadgroup\n");
    (void)snprintf(g->url, sizeof g->url, "redis://app:pw@127.0.0.1:%s", s.port);
    g->link.url = g->url;
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_source(NULL, 0);
    redis_rig_cli("XADD in '*' body 1");
    UNTIL(strstr(redis_rig_source_status().error, "NOPERM"));
    CHECK(redis_rig_source_status().state != LINK_UP);
    redis_rig_cli("ACL SETUSER app +xreadgroup");
    CHECK_INT(redis_rig_take(1), 0);
    redis_rig_close();
}

/* A server goes through this with its connections standing when it becomes a replica, too. */
TEST(redis_a_server_that_loads_while_connected_is_waited_for)
{
    struct redis_rig_server s;
    struct event e = { 0 };
    struct message m = redis_rig_message(&e, "out");
    struct report r;

    redis_rig_server_start(
        &s, "reloads", "enable-debug-command yes\nloading-process-events-interval-bytes 1024\n");
    redis_rig_use(&s);
    redis_rig_cli("EVAL \"for i=1,100 do "
                  "redis.call('SET','k'..i,string.rep('x',4000)..math.random()) end\" 0");
    (void)snprintf(g->url, sizeof g->url, "redis://127.0.0.1:%s", s.port);
    g->link.url = g->url;
    redis_rig_to_stream(true);
    redis_rig_from_stream();
    redis_rig_open();
    redis_rig_sink();
    redis_rig_source(NULL, 0);
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    UNTIL(redis_rig_source_status().state == LINK_UP);
    redis_rig_cli("CONFIG SET key-load-delay 200000");
    redis_rig_cli("DEBUG RELOAD &"); /* 20 s, unless it is told otherwise */
    until_answer("PING", "LOADING");
    r = redis_rig_publish(&m);
    CHECK_INT(r.fate, FATE_UNSENT);
    CHECK_INT(r.cause, CAUSE_BROKER);
    CHECK_CONTAINS(r.text, "LOADING");
    redis_rig_cli("CONFIG SET key-load-delay 0");
    until_answer("PING", "PONG");
    CHECK_INT(redis_rig_publish(&m).fate, FATE_DELIVERED);
    /* A read that was blocked when loading began is answered after it; one that was not, LOADING.
     */
    redis_rig_cli("XADD in '*' body x");
    CHECK_INT(redis_rig_take(1), 0);
    UNTIL(redis_rig_source_status().state == LINK_UP);
    CHECK_TEXT(redis_rig_ask("XLEN out"), "2");
    redis_rig_close();
}
