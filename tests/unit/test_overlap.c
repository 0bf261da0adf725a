#include "bridge/links/overlap.h"
#include "bridge/links/servers.h"
#include "tests/harness.h"

#define T OVERLAP_TEMPLATE

TEST(overlap_knows_each_brokers_patterns)
{
    CHECK(overlap(T, "a.b", OVERLAP_AMQP, "a.*"));
    CHECK(overlap(T, "a", OVERLAP_AMQP, "a.#"));
    CHECK(overlap(T, "a.b.c", OVERLAP_AMQP, "#.c"));
    CHECK(overlap(T, "c", OVERLAP_AMQP, "#.c"));
    CHECK(overlap(T, "a.c", OVERLAP_AMQP, "a.#.c"));
    CHECK(!overlap(T, "ax.c", OVERLAP_AMQP, "a.#.c"));
    CHECK(!overlap(T, "a.b.c", OVERLAP_AMQP, "a.*"));
    CHECK(overlap(T, "a#", OVERLAP_AMQP, "a#"));
    CHECK(overlap(T, "a.b", OVERLAP_NATS, "a.>"));
    CHECK(!overlap(T, "a", OVERLAP_NATS, "a.>"));
    CHECK(!overlap(T, "a.b.c", OVERLAP_NATS, "a.*"));
    CHECK(overlap(T, "a*c", OVERLAP_GLOB, "a\\*c"));
    CHECK(!overlap(T, "abc", OVERLAP_GLOB, "a\\*c"));
    CHECK(overlap(T, "abc", OVERLAP_GLOB, "a[bc]?"));
    CHECK(overlap(T, "a[c", OVERLAP_GLOB, "a[c"));
    CHECK(overlap(T, "", OVERLAP_NAME, ""));
}

TEST(overlap_takes_a_templates_value_for_any_text)
{
    CHECK(overlap(T, "${key}", OVERLAP_AMQP, "a.*.b"));
    CHECK(overlap(T, "x.${a}.y${b}", OVERLAP_NATS, "x.*.yz.w"));
    CHECK(!overlap(T, "x.${a}", OVERLAP_GLOB, "y*"));
    CHECK(!overlap(T, "${a}.x", OVERLAP_NAME, "a.y"));
    CHECK(overlap(T, "${", OVERLAP_NAME, "${"));
}

TEST(overlap_of_long_patterns_ends_soon)
{
    char a[1001] = "", b[1001] = "";

    for (size_t i = 0; i < 500; i++) {
        memcpy(a + 2 * i, "*a", 3);
        memcpy(b + 2 * i, "*b", 3);
    }
    CHECK(!overlap(OVERLAP_GLOB, a, OVERLAP_GLOB, b));
}

static bool meet(const char *a, const char *b)
{
    return servers_meet((struct servers){ a, NULL }, (struct servers){ b, NULL }, 10, 11);
}

TEST(servers_are_one_by_host_and_port_however_they_are_written)
{
    CHECK(meet("amqp://U:p@Host/v", "host:10"));
    CHECK(meet("amqps://host", "amqp://host:11/0"));
    CHECK(meet("a:1,b:2", "c:1,b:2"));
    CHECK(meet("amqp://[::1]:5", "LOCALHOST:5"));
    CHECK(meet("amqp://x:p@ss,word@h:5", "h:5"));
    CHECK(!meet("host", "host:11"));
    CHECK(!meet("[fe80::1]:5", "[fe80::2]:5"));
    CHECK(!meet("host", "hos"));
    CHECK(!meet("", ""));
}
