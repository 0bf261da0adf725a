#include "routes/check.h"
#include "routes/problem.h"
#include "tests/harness.h"

#include <sys/stat.h>

#define CONNECTIONS                                                                                \
    "connections:\n"                                                                               \
    "  rabbit: { type: rabbitmq, url: \"amqp://localhost\" }\n"                                    \
    "  kafka: { type: kafka, brokers: \"localhost:9092\" }\n"                                      \
    "  cache: { type: redis, url: \"redis://localhost\" }\n"
#define ROUTE "  - { name: r, from: { connection: rabbit, queue: q }, to: "

struct loaded {
    struct config *config;
    struct config_problems problems;
    struct buf text;
};

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static struct loaded load(const char *text)
{
    const char *path = "bascule.yaml";
    struct loaded l = { 0 };

    file_write(path, text);
    (void)config_load(&path, 1, &l.config, &l.problems);
    buf_init(&l.text, 1 << 20);
    for (size_t i = 0; i < l.problems.n; i++)
        config_problem_print(&l.problems.at[i], &l.text);
    (void)buf_text(&l.text);
    return l;
}

static void done(struct loaded *l)
{
    config_free(l->config);
    config_problems_done(&l->problems);
    buf_done(&l->text);
}

#define CHECK_PROBLEM(yaml, part)                                                                  \
    do {                                                                                           \
        struct loaded l_ = load(yaml);                                                             \
        CHECK_CONTAINS(buf_text(&l_.text), part);                                                  \
        done(&l_);                                                                                 \
    } while (0)

TEST(config_defaults_are_right_for_people_who_configure_nothing)
{
    struct loaded l =
        load(CONNECTIONS "routes:\n" ROUTE "{ name: s, connection: kafka, topic: t } }\n");
    const struct config_sink *s;

    CHECK(l.config != NULL);
    s = &l.config->routes[0].sinks[0];
    CHECK_INT(s->max_attempts, 8);
    CHECK_INT(s->retry.base_ms, 1000);
    CHECK_INT(s->retry.max_ms, 60000);
    CHECK(s->retry.factor == 2 && s->retry.jitter && s->enabled);
    CHECK_INT(s->failure_threshold, 5);
    CHECK_INT(s->open_for_ms, 60000);
    CHECK_INT(s->window_events, 10000);
    CHECK_INT(s->window_bytes, 16 << 20);
    CHECK_INT(s->confirm_timeout_ms, 30000);
    CHECK_INT(s->max_dead_letters, 100000);
    CHECK_INT(s->ordering, CONFIG_ORDER_KEY);
    CHECK_INT(s->begin, CONFIG_BEGIN_NOW);
    CHECK(s->fallback == SIZE_MAX && !s->key);
    CHECK_INT(l.config->routes[0].window_events, 20000);
    CHECK_INT(l.config->routes[0].retain_age_ms, -1);
    CHECK_INT(l.config->retain_age_ms, 7 * 86400000LL);
    CHECK_INT(l.config->store_max_size, 20LL << 30);
    CHECK_INT(l.config->log_level, 3);
    CHECK_TEXT(l.config->store_path, "/var/lib/bascule/bascule.db");
    CHECK_TEXT(l.config->admin_socket, "/run/bascule/admin.sock");
    CHECK_TEXT(l.config->admin_group, "bascule");
    CHECK_INT(strlen(l.config->hash), 64);
    done(&l);
}

TEST(config_route_defaults_are_overridden_by_a_sink_key_by_key)
{
    struct loaded l = load(CONNECTIONS
        "routes:\n  - name: r\n    retry: { max_attempts: 3, base_delay: 2s }\n    key: \"${id}\"\n"
        "    rate_limit: 500/s\n    from: { connection: rabbit, queue: q }\n    to:\n"
        "      - { name: a, connection: kafka, topic: t, retry: { max_attempts: 9 } }\n"
        "      - { name: b, connection: kafka, topic: t, key: \"${key}\", begin: "
        "2026-01-31T08:00:00+01:00 }\n");
    const struct config_sink *s;

    CHECK(l.config != NULL);
    s = l.config->routes[0].sinks;
    CHECK_INT(s[0].max_attempts, 9);
    CHECK_INT(s[0].retry.base_ms, 2000);
    CHECK_INT(s[0].rate_limit, 500000);
    CHECK(s[0].key && !s[0].own_key && s[1].own_key);
    CHECK_INT(s[1].max_attempts, 3);
    CHECK_INT(s[1].begin_ms, 1769842800000LL);
    done(&l);
}

TEST(config_problems_of_all_files_are_told_in_one_run_with_line_caret_and_nearest_key)
{
    struct loaded l;

    CHECK_INT(mkdir("routes.d", 0700), 0);
    file_write("routes.d/a.yaml", "routes:\n  - { name: x, fromm: 1 }\n");
    file_write("routes.d/b.yaml", "routes: [\n");
    l = load(CONNECTIONS "stroe: { path: x }\n");
    CHECK(!l.config);
    CHECK_CONTAINS(buf_text(&l.text),
        "bascule.yaml:5:1: error BSC-0110: 'stroe' is not a key of the configuration\n"
        "    stroe: { path: x }\n    ^\n    did you mean 'store'?\n");
    CHECK_CONTAINS(buf_text(&l.text), "routes.d/a.yaml:2:16: error BSC-0110: 'fromm'");
    CHECK_CONTAINS(buf_text(&l.text), "routes.d/b.yaml:2:1: error BSC-0103");
    done(&l);
}

TEST(config_tells_what_is_wrong_with_a_route)
{
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE "{ name: s, connection: kafak, topic: t } }\n",
        "did you mean 'kafka'?");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE
                              "{ name: s, connection: kafka, topic: t, queue: q } }\n",
        "it is a key of rabbitmq sources");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE "{ name: s, connection: kafka } }\n",
        "a kafka sink needs 'topic'");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE
                              "{ name: s, connection: kafka, topic: \"${adress}\" } }\n",
        "did you mean 'address'?");
    CHECK_PROBLEM(
        CONNECTIONS "routes:\n" ROUTE "{ name: S!, connection: kafka, topic: t } }\n", "BSC-0132");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE
                              "{ name: s, connection: kafka, topic: t, fallback: z } }\n",
        "has no sink 'z'");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE
                              "{ name: s, connection: kafka, topic: t, confirm_timeout: 10 } }\n",
        "'10' is not a duration");
    CHECK_PROBLEM(CONNECTIONS "routes:\n" ROUTE "{ name: s, connection: kafka, topic: t } }\n" ROUTE
                              "{ name: s, connection: kafka, topic: t } }\n",
        "route 'r' stands in bascule.yaml:6:5 too");
    CHECK_PROBLEM(CONNECTIONS
        "routes:\n  - { name: r, from: { connection: cache, stream: s, channels: c }, "
        "to: { name: s, connection: kafka, topic: t } }\n",
        "give channels or stream, not both");
    CHECK_PROBLEM("connections: { a: { type: kafkaa } }\n", "did you mean 'kafka'?");
}

TEST(config_takes_an_http_address_in_numbers_only)
{
    struct loaded l = load("admin: { http: \"[::1]:9095\" }\n");

    CHECK(l.config != NULL);
    CHECK_TEXT(l.config->admin_http, "[::1]:9095");
    done(&l);
    l = load("admin: { http: \"localhost:9095\" }\n");
    CHECK(l.config == NULL);
    CHECK(strstr(l.problems.at[0].text, "'localhost:9095' is not an address and a port"));
    CHECK_INT(l.problems.at[0].place.column, 16);
    done(&l);
}

TEST(config_traces_nothing_unless_an_endpoint_is_given)
{
    struct loaded l = load("version: 1\n");

    CHECK(l.config != NULL && l.config->trace.endpoint == NULL);
    CHECK_TEXT(l.config->trace.service, "bascule");
    CHECK(l.config->trace.ratio > 0.009 && l.config->trace.ratio < 0.011);
    done(&l);
    (void)setenv("BSC_LOGIN", "Bearer hush", 1);
    l = load("trace: { endpoint: \"https://[::1]:4318/otlp\", ratio: 0.5, timeout: 3s,\n"
             "  headers: { authorization: \"${env:BSC_LOGIN}\", x-tenant: shop } }\n");
    CHECK(l.config != NULL);
    CHECK_INT(l.config->trace.timeout_ms, 3000);
    CHECK_TEXT(l.config->trace.headers.at[0].value, "Bearer hush");
    CHECK_CONTAINS(buf_text(&l.text), "warning BSC-0122"); /* x-tenant stands there literally */
    CHECK(!strstr(buf_text(&l.text), "shop"));
    done(&l);
}

TEST(config_tells_what_cannot_be_traced)
{
    static const struct {
        const char *trace, *what;
    } wrong[] = {
        { "endpoint: collector", "not an http or https URL" },
        { "endpoint: \"http://\"", "not an http or https URL" },
        { "endpoint: \"http://a b/\"", "not an http or https URL" },
        { "endpoint: \"http://u:p@x/\"", "holds a login" },
        { "endpoint: \"http://x\", headers: { \"a b\": \"1\" }", "is no header" },
        { "endpoint: \"http://x\", headers: { a: \"1\\r\\nb: 2\" }", "is no header" },
        { "endpoint: \"http://x\", ratio: 1.5", "out of its range" },
        { "endpoint: \"http://x\", ca_file: /nowhere", "cannot be read" },
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[200];

        (void)snprintf(text, sizeof text, "trace: { %s }\n", wrong[i].trace);
        CHECK_PROBLEM(text, wrong[i].what);
    }
}

TEST(config_secrets_are_loaded_and_never_shown)
{
    struct loaded l;

    file_write("open.txt", "geheim\n");
    CHECK_INT(chmod("open.txt", 0644), 0);
    l = load("connections: { a: { type: kafka, password: hunter2, nonsense: 1 } }\n");
    CHECK_CONTAINS(buf_text(&l.text), "warning BSC-0122");
    CHECK_CONTAINS(buf_text(&l.text), "error BSC-0110: 'nonsense'");
    CHECK(!strstr(buf_text(&l.text), "hunter2"));
    done(&l);
    CHECK_PROBLEM("connections: { a: { type: kafka, password: \"${env:BSC_NONE}\" } }\n",
        "environment variable 'BSC_NONE' is not set");
    CHECK_PROBLEM("connections: { a: { type: kafka, password: \"${file:open.txt}\" } }\n",
        "warning BSC-0121");
    CHECK_PROBLEM("connections: { a: { type: kafka, password: \"${credential:x}\" } }\n",
        "CREDENTIALS_DIRECTORY is not set");
    CHECK_PROBLEM(
        "connections: { a: { type: kafka, url: \"${address}\" } }\n", "is a value of the event");
    CHECK_PROBLEM(
        "connections: { a: { type: kafka, url: \"${evn:X}\" } }\n", "did you mean 'env'?");
}

TEST(config_tells_the_guarantee_of_a_route_and_why)
{
    struct loaded l =
        load(CONNECTIONS "routes:\n  - { name: r, from: { connection: cache, channels: [a] }, to: ["
                         "{ name: s, connection: cache, stream: x }, { name: p, connection: cache, "
                         "channel: a } ] }\n");
    struct buf text;

    buf_init(&text, 4096);
    CHECK(l.config != NULL);
    CHECK_INT(check_guarantee(l.config, 0, &text), 0);
    CHECK_CONTAINS(buf_text(&text),
        "at least once from the moment it is received: Redis pub/sub does not keep messages");
    CHECK_CONTAINS(buf_text(&text), "s: at least once; repeats after a crash are refused by token");
    CHECK_CONTAINS(buf_text(&text), "p: at most once beyond the send");
    CHECK_CONTAINS(buf_text(&l.text), "warning BSC-0143");
    buf_done(&text);
    done(&l);
}

TEST(config_tells_a_bad_key_of_a_route_once)
{
    struct loaded l = load(CONNECTIONS "routes:\n  - name: r\n    key: \"${nope}\"\n"
                                       "    from: { connection: rabbit, queue: q }\n"
                                       "    to: { name: s, connection: kafka, topic: t }\n");

    CHECK_INT(l.problems.error_count, 1);
    done(&l);
}

TEST(config_of_what_goes_is_kept_as_text_and_read_again)
{
    static const char yaml[] = "connections:\n  kept: { type: redis, url: \"redis://localhost\" }\n"
                               "  open: { type: redis, url: \"redis://:word@localhost\" }\n"
                               "routes:\n  - name: r\n    retry: { max_attempts: 3 }\n"
                               "    from: { connection: kept, stream: 'a, \"b\" {c}' }\n"
                               "    to:\n      - { name: s, connection: kept, channel: "
                               "\"${header.x}: #1\\n\", headers: { a: "
                               "~x, b: \"null\" } }\n"
                               "      - { name: t, connection: open, channel: c }\n";
    struct loaded l = load(yaml), gone = load("connections: {}\n"),
                  route = load(CONNECTIONS "routes:\n  - { name: r, from: { connection: cache, "
                                           "stream: z }, to: { name: n, connection: "
                                           "cache, channel: z } }\n");
    const struct config_sink *s;
    struct fault why;
    char *text;

    CHECK(l.config && gone.config && route.config);
    text = config_going_text(l.config, 0);
    CHECK(text && !strstr(text, "word") && !strchr(text, '\n'));
    CHECK_INT(config_add_going(gone.config, text, NULL, NULL, 0, &why), -1);
    CHECK_CONTAINS(why.text, "no connection 'open'");
    CHECK_INT(gone.config->connection_count, 0);
    CHECK_INT(gone.config->route_count, 0);
    CHECK_INT(config_add_going(route.config, text, "t", "r", 9, &why), -1);
    CHECK_INT(config_add_going(route.config, text, "nobody", "r", 9, &why), -1);
    CHECK_INT(config_add_going(route.config, text, "s", "r", 9, &why), 0);
    CHECK_INT(route.config->connection_count, 4);
    CHECK_INT(route.config->routes[0].sink_count, 2);
    s = &route.config->routes[0].sinks[1];
    CHECK(s->going && route.config->connections[3].going);
    CHECK_INT(s->going_end, 9);
    CHECK_INT(s->max_attempts, 3);
    CHECK_INT(s->header_count, 2);
    CHECK_TEXT(s->headers[1].name, "b");
    free(text);
    text = config_going_text(route.config, 0);
    CHECK_INT(config_add_going(gone.config, text, NULL, NULL, 0, &why), 0);
    CHECK(gone.config->routes[0].going && gone.config->routes[0].sinks[0].going);
    CHECK_INT(gone.config->connection_count, 1);
    CHECK_INT(config_add_going(gone.config, "[{", NULL, NULL, 0, &why), -1);
    CHECK_INT(
        config_add_going(gone.config, "{routes: 1, connections: 2}", NULL, NULL, 0, &why), -1);
    CHECK_INT(config_add_going(gone.config, "", "s", "r", 0, &why), -1);
    free(text);
    done(&l);
    done(&gone);
    done(&route);
}

TEST(config_roles_are_users_and_groups_by_name_or_number)
{
    struct loaded l = load("admin:\n  roles:\n    view: { users: [root, 1001], groups: 50 }\n"
                           "    admin: { groups: [root, nowhere-known] }\n");

    CHECK(l.config != NULL);
    CHECK(l.config->roles_set);
    CHECK_INT(l.config->roles[CONFIG_ROLE_VIEW].uid_count, 2);
    CHECK_INT(l.config->roles[CONFIG_ROLE_VIEW].uids[0], 0);
    CHECK_INT(l.config->roles[CONFIG_ROLE_VIEW].uids[1], 1001);
    CHECK_INT(l.config->roles[CONFIG_ROLE_VIEW].gids[0], 50);
    CHECK_INT(l.config->roles[CONFIG_ROLE_OPERATE].uid_count, 0);
    CHECK_INT(l.config->roles[CONFIG_ROLE_ADMIN].gid_count, 1);
    CHECK_INT(l.config->roles[CONFIG_ROLE_ADMIN].gids[0], 0);
    CHECK_CONTAINS(buf_text(&l.text),
        "bascule.yaml:4:14: warning BSC-0146: there is no group 'nowhere-known'");
    done(&l);
    /* What is no name and no number names nobody: not even the number that it begins with. */
    CHECK_PROBLEM("admin: { roles: { view: { users: [0x0] } } }\n", "there is no user '0x0'");
    CHECK_PROBLEM("admin: { roles: { view: { users: [4294967295] } } }\n", "there is no user");
    CHECK_PROBLEM("admin: { roles: { views: {} } }\n", "did you mean 'view'?");
    l = load("admin: { group: users }\n");
    CHECK(!l.config->roles_set);
    done(&l);
    l = load("admin: { roles: {} }\n");
    CHECK(l.config->roles_set); /* nobody but root and the daemon's own user */
    done(&l);
}

#define INTERNAL(from)                                                                             \
    CONNECTIONS "routes:\n  - { name: r, from: " from                                              \
                ", to: { name: s, connection: cache, channel: \"${address}\" } }\n"

TEST(config_reads_the_bridge_itself_without_a_connection)
{
    struct loaded l = load(INTERNAL("{ internal: [\"integration.re*\"], routes: r }"));

    CHECK_INT(l.problems.error_count, 0);
    CHECK(l.config->connections[l.config->routes[0].connection].built_in);
    CHECK_INT(l.config->routes[0].window_events, 20000);
    done(&l);
    l = load(INTERNAL("{ internal: \"*\" }"));
    CHECK_INT(l.problems.error_count, 0);
    done(&l);
}

TEST(config_of_a_going_route_that_reads_the_bridge_is_read_again)
{
    struct loaded l = load(INTERNAL("{ internal: \"*\" }")), gone = load("connections: {}\n");
    struct fault why;
    char *text;

    CHECK(l.config && gone.config);
    text = config_going_text(l.config, 0);
    CHECK_INT(config_add_going(gone.config, text, NULL, NULL, 0, &why), 0);
    CHECK_INT(gone.config->connection_count, 2);
    CHECK(gone.config->connections[gone.config->routes[0].connection].built_in);
    CHECK(gone.config->connections[gone.config->routes[0].connection].going);
    free(text);
    done(&l);
    done(&gone);
}

TEST(config_knows_what_the_bridge_can_tell)
{
    CHECK_PROBLEM(INTERNAL("{ internal: [\"*\", integration.nothing] }"),
        "nothing that happens is called 'integration.nothing'");
    CHECK_PROBLEM(INTERNAL("{ internal: [] }"), "name what is read");
    CHECK_PROBLEM(INTERNAL("{ internal: \"*\", chanels: x }"),
        "'chanels' is not a key of an internal source");
    CHECK_PROBLEM(INTERNAL("{ connection: cache, internal: \"*\" }"),
        "it is a key of a source without `connection`");
    CHECK_PROBLEM(
        INTERNAL("{ connection: (internal), queue: x }"), "there is no connection '(internal)'");
    CHECK_PROBLEM(CONNECTIONS "routes:\n  - { name: r, from: { internal: \"*\" }, to: "
                              "{ name: s, connection: (internal) } }\n",
        "there is no connection '(internal)'");
}
