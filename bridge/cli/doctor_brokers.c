/* What stands at the other ends: asked over connections of our own, which change nothing there. */
#include "bridge/certificates.h"
#include "bridge/cli/doctor.h"
#include "bridge/cli/probe.h"

#include <stdio.h>
#include <time.h>

void doctor_certificate(
    struct doctor *d, const char *connection, const char *which, int64_t expires_ms)
{
    time_t end = (time_t)(expires_ms / 1000);
    char date[40] = "", subject[200];
    struct tm tm;

    (void)snprintf(subject, sizeof subject, "%s %s", connection, which);
    if (gmtime_r(&end, &tm))
        (void)strftime(date, sizeof date, "%Y-%m-%d", &tm);
    doctor_say(d, DOCTOR_CERTIFICATE,
        expires_ms < d->unix_ms                     ? VERDICT_FAIL
        : certificates_near(expires_ms, d->unix_ms) ? VERDICT_WARN
                                                    : VERDICT_OK,
        subject, expires_ms < d->unix_ms ? "ended on %s" : "good until %s (%lld days)", date,
        (long long)certificates_days(expires_ms, d->unix_ms));
}

static void look_at_broker(struct doctor *d, const struct probe_broker *b)
{
    const char *name = b->connection->name;

    if (!b->asked) {
        doctor_say(d, DOCTOR_BROKER, VERDICT_SKIPPED, name, "this kind cannot be asked");
        return;
    }
    if (b->result != 0) {
        doctor_say(d, DOCTOR_BROKER, VERDICT_FAIL, name, "%.400s", b->why.text);
        return;
    }
    if (b->facts.version[0])
        doctor_broker_version(d, name, b->facts.version);
    else
        doctor_say(
            d, DOCTOR_BROKER, VERDICT_OK, name, "%s answers, and tells no version", b->facts.peer);
    if (b->facts.has_clock)
        doctor_clock_broker(d, name, b->facts.clock_ahead_ms, b->facts.clock_unsure_ms);
    if (b->facts.peer_expires_ms)
        doctor_certificate(d, name, "peer", b->facts.peer_expires_ms);
}

static void look_at_end(struct doctor *d, const struct probe_end *e)
{
    char subject[160];

    (void)snprintf(
        subject, sizeof subject, "%s/%s", e->route->name, e->sink ? e->sink->name : "source");
    for (size_t i = 0; i < e->count && i < PROBE_FINDINGS_MAX; i++)
        doctor_say(d, DOCTOR_ROUTE, e->findings[i].is_error ? VERDICT_FAIL : VERDICT_WARN, subject,
            "%s", e->findings[i].text);
    if (!e->count)
        doctor_say(d, DOCTOR_ROUTE, VERDICT_OK, subject, "all that it needs is there and allowed");
}

void doctor_brokers(struct doctor *d)
{
    struct probes all;

    if (!d->config)
        return;
    if (probes_run(d->config, true, &all) != 0) {
        d->failed = true;
        return;
    }
    for (size_t i = 0; i < all.broker_count; i++)
        look_at_broker(d, &all.brokers[i]);
    for (size_t i = 0; i < all.end_count; i++)
        look_at_end(d, &all.ends[i]);
    probes_done(&all);
}
