/* Versions against known faults, of libraries and of brokers. Only what touches what this program
 * does is listed, each with its source. */
#include "bridge/cli/doctor.h"
#include "store/store.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define V(a, b, c) ((a)*1000000LL + (b)*1000LL + (c))

struct known {
    const char *name;
    int64_t from, before; /* versions that have it; before 0: all later ones */
    enum verdict verdict; /* OK: it is there and harms nothing here */
    const char *text;
};

static const struct known known_libraries[] = {
    /* https://github.com/confluentinc/librdkafka/blob/master/CHANGELOG.md, at each version */
    { "librdkafka", 0, V(1, 9, 0), VERDICT_FAIL,
        "before 1.9.0 messages may be lost that were reported as delivered, when a broker restarts "
        "(its change log, 1.9.0)" },
    { "librdkafka", V(1, 0, 0), V(2, 3, 0), VERDICT_OK,
        "before 2.3.0 a lost connection may end a producer with a fatal error (#4438): it is "
        "replaced, and what was in flight goes again. A consumer that is closed before its first "
        "assignment may crash (#4381): the daemon's restart is an unclean one then" },
    { "librdkafka", V(2, 3, 0), V(2, 4, 0), VERDICT_OK,
        "before 2.4.0 closing a consumer may hang (#4528): the end waits 3 s for it at most" },
    { "librdkafka", V(2, 5, 0), V(2, 5, 3), VERDICT_WARN,
        "2.5.0 aborts when a broker asks for client metrics that it does not have (its change log, "
        "2.5.3): upgrade, or set the property enable.metrics.push to false" },
    /* https://nvd.nist.gov/vuln/detail/CVE-2019-18609 */
    { "librabbitmq", 0, V(0, 10, 0), VERDICT_FAIL,
        "before 0.10.0 a broker can write over our memory (CVE-2019-18609)" },
    /* Change log of Debian's librabbitmq 0.11.0-1+deb12u2 */
    { "librabbitmq", V(0, 10, 0), V(0, 11, 1), VERDICT_OK,
        "0.11.0 can be crashed by a broker that means harm (CVE-2026-44235, CVE-2026-44236), "
        "unless "
        "its package has the fixes (Debian 12: 0.11.0-1+deb12u2)" },
    /* Change log of Debian's hiredis 0.14.1-1 */
    { "hiredis", 0, V(0, 14, 1), VERDICT_WARN,
        "before 0.14.1 it crashes without memory (CVE-2020-7105)" },
    /* https://github.com/redis/hiredis/security/advisories/GHSA-hfm9-39pp-55p2, and the change log
     * of Debian's 0.14.1-2 */
    { "hiredis", V(0, 14, 1), V(1, 0, 2), VERDICT_OK,
        "before 1.0.2 a server can write over our memory (CVE-2021-32765), unless its package has "
        "the fix (Debian: 0.14.1-2)" },
    /* https://www.sqlite.org/wal.html#walresetbug: 3.7.0 to 3.51.2, but 3.44.6 and 3.50.7 */
    { "SQLite", V(3, 7, 0), V(3, 44, 6), VERDICT_OK,
        "its WAL-reset fault needs two connections that write or checkpoint: here one does both" },
    { "SQLite", V(3, 45, 0), V(3, 50, 7), VERDICT_OK,
        "its WAL-reset fault needs two connections that write or checkpoint: here one does both" },
    { "SQLite", V(3, 51, 0), V(3, 51, 3), VERDICT_OK,
        "its WAL-reset fault needs two connections that write or checkpoint: here one does both" },
    { 0 },
};

static const struct known known_brokers[] = {
    /* https://redis.io/docs/latest/commands/xgroup/ and xautoclaim/ */
    { "Redis", 0, V(5, 0, 0), VERDICT_FAIL, "before 5.0 it has no streams" },
    { "Redis", V(5, 0, 0), V(6, 2, 0), VERDICT_WARN,
        "before 6.2 it has no XAUTOCLAIM: entries of a consumer that is gone stay with it" },
    /* https://www.rabbitmq.com/docs/quorum-queues */
    { "RabbitMQ", 0, V(3, 8, 0), VERDICT_WARN, "before 3.8 it has no quorum queues" },
    { "RabbitMQ", V(4, 0, 0), 0, VERDICT_OK,
        "from 4.0 on quorum queues drop what was given out 20 times, unless told otherwise: see "
        "that they have a dead-letter exchange" },
    /* https://kafka.apache.org/documentation/#upgrade_11_exactly_once_semantics */
    { "Kafka", 0, V(0, 11, 0), VERDICT_FAIL,
        "before 0.11 it has no headers, no idempotent producer" },
    /* https://docs.nats.io/release-notes/whats_new/whats_new_22 */
    { "NATS", 0, V(2, 2, 0), VERDICT_WARN, "before 2.2 it has no streams" },
    { 0 },
};

int64_t doctor_version(const char *text)
{
    int part[3] = { 0 };

    return sscanf(text, "%3d.%3d.%3d", &part[0], &part[1], &part[2]) >= 1
               ? V(part[0], part[1], part[2])
               : 0;
}

/* The worst that is known of a "name version"; NULL: nothing. */
static const struct known *worst_of(const struct known *table, const char *name)
{
    const char *blank = strrchr(name, ' ');
    int64_t version = blank ? doctor_version(blank + 1) : 0;
    size_t n = blank ? (size_t)(blank - name) : 0;
    const struct known *ret = NULL;

    for (const struct known *k = table; version && k->name; k++)
        if (strlen(k->name) == n && memcmp(k->name, name, n) == 0 && version >= k->from &&
            (!k->before || version < k->before) && (!ret || k->verdict > ret->verdict))
            ret = k;
    return ret;
}

static void say(struct doctor *d, enum doctor_code code, const struct known *table,
    const char *subject, const char *name, const char *nothing)
{
    const struct known *k = worst_of(table, name);

    doctor_say(d, code, k ? k->verdict : VERDICT_OK, subject, "%s%s%s", name,
        k || *nothing ? ": " : "", k ? k->text : nothing);
}

void doctor_library(struct doctor *d, const char *name)
{
    char subject[32];

    (void)snprintf(subject, sizeof subject, "%.*s", (int)strcspn(name, " "), name);
    say(d, DOCTOR_LIBRARY, known_libraries, subject, name, "no fault is known that matters here");
}

void doctor_broker_version(struct doctor *d, const char *connection, const char *name)
{
    say(d, DOCTOR_BROKER, known_brokers, connection, name, "");
}

void doctor_libraries(struct doctor *d)
{
    doctor_library(d, store_library());
    for (size_t i = 0; connector_all[i]; i++)
        if (connector_all[i]->library)
            doctor_library(d, connector_all[i]->library());
}
