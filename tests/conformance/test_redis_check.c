/* `check --connect` against a real Redis. */
#include "tests/conformance/redis_rig.h"

static const struct connector *const c = &connector_redis;
static struct redis_rig *const g = &redis_rig;

TEST(redis_probe_names_what_is_missing_or_forbidden)
{
    static char news[] = "news";
    struct finding f[8];
    size_t n = 0;
    struct link_spec spec = { "redis", &g->link, "store-1", 1, NULL };

    redis_rig_from_stream();
    redis_rig_to_stream(true);
    redis_rig_open();
    struct source_spec source = { .options = &g->from };
    struct sink_spec sink = { .options = &g->to };
    CHECK_INT(c->link_probe(&spec, &source, NULL, 10000, f, 8), 1);
    CHECK(!f[0].is_error);
    CHECK_CONTAINS(f[0].text, "does not exist yet");
    redis_rig_cli("XADD in '*' a b");
    CHECK_INT(c->link_probe(&spec, &source, &sink, 10000, f, 8), 1);
    CHECK_CONTAINS(f[0].text, "no group 'g' yet");
    redis_rig_cli("XGROUP CREATE in g 0");
    CHECK_INT(c->link_probe(&spec, &source, &sink, 10000, f, 8), 0);
    redis_rig_cli("ACL SETUSER app reset on '>pw' '+@all' '~other' '&other'");
    (void)snprintf(g->url, sizeof g->url, "redis://app:pw@127.0.0.1:%s", redis_rig_port());
    n = c->link_probe(&spec, &source, &sink, 10000, f, 8);
    CHECK(n >= 3);
    CHECK(f[0].is_error);
    CHECK_CONTAINS(f[0].text, "NOPERM");
    g->to = (struct redis_sink_options){ .channel = { news, true } };
    n = c->link_probe(&spec, NULL, &sink, 10000, f, 8);
    CHECK_INT(n, 1);
    CHECK_CONTAINS(f[0].text, "news");
    redis_rig_cli("ACL SETUSER app on '>other' '<pw'");
    CHECK_INT(c->link_probe(&spec, NULL, NULL, 10000, f, 8), 1);
    CHECK_CONTAINS(f[0].text, "WRONGPASS");
    CHECK_TEXT(redis_rig_ask("XLEN in"), "1");
    CHECK_TEXT(redis_rig_ask("EXISTS out"), "0");
    redis_rig_close();
}
