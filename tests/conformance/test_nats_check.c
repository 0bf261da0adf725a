/* What `check --connect` finds at a nats-server. */
#include "tests/conformance/nats_rig.h"

static struct finding found[8];

static size_t probe(const char *user, bool source, bool sink)
{
    struct link_spec spec = { "nats", &nats_rig.link, "store-1", 1, NULL };

    (void)snprintf(
        nats_rig.url, sizeof nats_rig.url, "nats://%s:secret@127.0.0.1:%s", user, nats_rig_port());
    nats_rig.link.url = nats_rig.url;
    nats_rig.link.connect_timeout_ms = 5000;
    nats_rig.link.ping_interval_ms = 10000;
    nats_rig.source_spec =
        (struct source_spec){ .route = "r", .options = &nats_rig.from, .window_events = 100 };
    nats_rig.sink_spec = (struct sink_spec){ .route = "r", .name = "s", .options = &nats_rig.to };
    return connector_nats.link_probe(&spec, source ? &nats_rig.source_spec : NULL,
        sink ? &nats_rig.sink_spec : NULL, 20000, found, 8);
}

static void check_found(size_t i, bool is_error, const char *text)
{
    CHECK_INT(found[i].is_error, is_error);
    CHECK_CONTAINS(found[i].text, text);
}

TEST(nats_probe_names_a_stream_that_does_not_take_it)
{
    nats_rig.to.stream = nats_rig_text("PROBED");
    nats_rig.to.subject.text = nats_rig_text("probed.a");
    nats_rig.to.subject.fixed = true;
    CHECK_INT(probe("app", false, true), 1);
    check_found(0, true, "stream 'PROBED' does not exist");
    nats_rig_client("c.stream('PROBED', 'other.*')");
    CHECK_INT(probe("app", false, true), 1);
    check_found(0, true, "does not take subject 'probed.a'");
    nats_rig_client("c.stream_update('PROBED', subjects=['probed.*'])");
    CHECK_INT(probe("app", false, true), 0);
    nats_rig_client("c.stream_update('PROBED', sealed=True)");
    CHECK_INT(probe("app", false, true), 1);
    check_found(0, true, "sealed");
}

TEST(nats_probe_names_a_consumer_that_cannot_be_read)
{
    nats_rig_from_stream("PROBE_FROM");
    nats_rig.from.declare = NATS_DECLARE_PASSIVE;
    nats_rig_client("c.stream('PROBE_FROM', 'probe.from')");
    CHECK_INT(probe("app", true, false), 1);
    check_found(0, true, "has no consumer 'd'");
    nats_rig.from.declare = NATS_DECLARE_CREATE;
    CHECK_INT(probe("app", true, false), 1);
    check_found(0, false, "the first start makes it");
    nats_rig_client("c.consumer('PROBE_FROM', 'd', deliver_subject='x')");
    CHECK_INT(probe("app", true, false), 1);
    check_found(0, true, "pushes");
}

TEST(nats_probe_tells_that_what_a_consumer_gives_up_will_not_be_heard_of)
{
    nats_rig_from_stream("PROBE_DEAF");
    nats_rig_client(
        "c.stream('PROBE_DEAF', 'probe.deaf'); c.consumer('PROBE_DEAF', 'd', max_deliver=5)");
    CHECK_INT(probe("app", true, false), 1);
    check_found(0, false, "after 5 deliveries");
    CHECK_INT(probe("deaf", true, false), 2);
    check_found(1, false, "will not be heard of");
    CHECK_CONTAINS(found[1].text, "Permissions Violation");
}

TEST(nats_probe_names_a_subject_that_may_not_be_read)
{
    nats_rig.subjects[0] = nats_rig_text("closed.a");
    nats_rig.from.subjects = (struct option_list){ nats_rig.subjects, 1 };
    CHECK_INT(probe("app", true, false), 0);
    CHECK_INT(probe("limited", true, false), 1);
    check_found(0, true, "Permissions Violation");
}
