/* What a reload rests on: comparing configurations, memory that runs out, secrets that are wiped.
 */
#include "routes/compare.h"
#include "routes/memory.h"
#include "routes/problem.h"
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- secrets ---- */

static size_t wiped; /* texts of this program that held "s3cret" */

/* In the place of libc's: also tells that it was called. */
void explicit_bzero(void *at, size_t n)
{
    static const char secret[] = "s3cret";
    volatile char *to = at;
    size_t same = 0;

    harness_mark_defined(at, n); /* a buffer may be wiped before all of it was used */
    for (size_t i = 0; i < n; i++) {
        same = to[i] == secret[same] ? same + 1 : to[i] == secret[0];
        wiped += same == sizeof secret - 1;
        same %= sizeof secret - 1;
        to[i] = 0;
    }
}

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static struct config *load(const char *text)
{
    const char *path = "bascule.yaml";
    struct config_problems problems;
    struct config *c = NULL;

    file_write(path, text);
    if (config_load(&path, 1, &c, &problems) != 0)
        harness_fail(__FILE__, __LINE__, "%s", problems.at[0].text);
    config_problems_done(&problems);
    return c;
}

#define TWO                                                                                        \
    "connections:\n"                                                                               \
    "  cache: { type: redis, url: \"redis://localhost\", password: \"${file:secret}\","            \
    " tls: { ca_file: ca.pem } }\n"                                                                \
    "  kafka: { type: kafka, brokers: [\"k:9092\"], properties: { \"linger.ms\": \"5\" } }\n"
#define ROUTES                                                                                     \
    "routes:\n"                                                                                    \
    "  - name: a\n"                                                                                \
    "    from: { connection: cache, stream: in, group: g }\n"                                      \
    "    retry: { max_attempts: 4 }\n"                                                             \
    "    to:\n"                                                                                    \
    "      - { name: one, connection: kafka, topic: t, key: \"${key}\" }\n"                        \
    "      - { name: two, connection: cache, stream: out, headers: { x: \"${id}\" } }\n"

static void files(void)
{
    file_write("secret", "s3cret\n");
    CHECK_INT(chmod("secret", 0600), 0);
    file_write("ca.pem", "a certificate");
}

TEST(a_freed_configuration_leaves_no_secret_behind)
{
    struct config *c;
    size_t before;

    files();
    c = load(TWO ROUTES);
    before = wiped;
    CHECK(before > 0); /* what was read of the file is wiped at once */
    config_free(c);
    CHECK_INT(wiped, before + 1);
}

/* ---- comparing ---- */

static void put(void *arg, const char *key)
{
    struct buf *to = arg;

    buf_put_format(to, "%s ", key);
}

/* Which keys differ between two texts, and how much. */
static enum compare differ(const char *was, const char *is, struct buf *keys)
{
    struct config *a = load(was), *b = load(is);
    enum compare how = compare_route(a, &a->routes[0], b, &b->routes[0], put, keys);

    (void)buf_text(keys);
    config_free(a);
    config_free(b);
    return how;
}

static void check_route(const char *is, enum compare how, const char *keys)
{
    struct buf got;

    buf_init(&got, 1 << 16);
    CHECK_INT(differ(TWO ROUTES, is, &got), how);
    CHECK_TEXT(got.n ? buf_text(&got) : "", keys);
    buf_done(&got);
}

#define CHANGED(was, is) changed(TWO ROUTES, was, is)

static const char *changed(const char *text, const char *was, const char *is)
{
    static char ret[4096];
    const char *at = strstr(text, was);

    CHECK(at);
    (void)snprintf(ret, sizeof ret, "%.*s%s%s", (int)(at - text), text, is, at + strlen(was));
    return ret;
}

TEST(a_changed_route_is_told_by_the_keys_that_differ)
{
    files();
    check_route(TWO ROUTES, COMPARE_SAME, "");
    check_route(CHANGED("stream: in,", "stream: in2,"), COMPARE_PARTS, "from.stream ");
    check_route(CHANGED("topic: t,", "topic: u,"), COMPARE_PARTS, "to.one.topic ");
    check_route(CHANGED("\"${key}\"", "\"${id}\""), COMPARE_PARTS, "to.one.key ");
    check_route(CHANGED("\"${id}\"", "\"${key}\""), COMPARE_PARTS, "to.two.headers ");
    check_route(CHANGED("max_attempts: 4", "max_attempts: 5"), COMPARE_PARTS,
        "to.one.retry.max_attempts to.two.retry.max_attempts ");
    check_route(
        CHANGED("retry: {", "max_backlog: 1MiB\n    retry: {"), COMPARE_SETTINGS, "max_backlog ");
    check_route(CHANGED("name: two", "name: three"), COMPARE_PARTS, "to ");
    check_route(CHANGED("name: a", "was: a\n    name: b"), COMPARE_PARTS, "name ");
    check_route(
        CHANGED("name: one,", "name: one, enabled: false,"), COMPARE_PARTS, "to.one.enabled ");
}

static void check_connection(struct config *a, size_t i, const char *keys)
{
    struct config *b = load(TWO ROUTES);
    struct buf got;

    buf_init(&got, 1 << 16);
    (void)compare_connection(&a->connections[i], &b->connections[i], put, &got);
    CHECK_TEXT(got.n ? buf_text(&got) : "", keys);
    buf_done(&got);
    config_free(b);
}

TEST(a_connection_differs_by_what_was_loaded_for_it)
{
    struct config *a;

    files();
    a = load(TWO ROUTES);
    check_connection(a, 0, "");
    check_connection(a, 1, "");
    file_write("secret", "an0ther\n");
    check_connection(a, 0, "password ");
    file_write("secret", "s3cret\n");
    file_write("ca.pem", "a renewed certificate");
    check_connection(a, 0, "(what a file holds that it names) ");
    config_free(a);
}

/* ---- memory ---- */

TEST(a_configuration_for_which_there_is_no_memory_is_an_error_and_nothing_more)
{
    const char *path = "bascule.yaml";
    struct config_problems problems;
    struct config *c = NULL;
    int failed = 0;

    files();
    file_write(path, TWO ROUTES);
    for (int64_t n = 1; n < 3000; n++) {
        int result;

        memory_fail_in(n);
        result = config_load(&path, 1, &c, &problems);
        if (result == 0) {
            memory_fail_in(0);
            config_problems_done(&problems);
            break;
        }
        CHECK_INT(problems.error_count, 1);
        CHECK_INT(problems.at[0].code, PROBLEM_MEMORY);
        config_problems_done(&problems);
        failed++;
    }
    CHECK(failed > 100); /* every allocation of the reading failed once */
    CHECK(c != NULL);
    config_free(c);
}
