#include "bridge/cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct doctor_check doctor_table[] = {
    { DOCTOR_CONFIG, "configuration", DAEMON_CONFIG,
        "The configuration files are read as the daemon would read them.",
        "Mend what `bascule check` lists." },
    { DOCTOR_DAEMON, "daemon", DAEMON_UNREACHABLE,
        "Somebody answers on the admin socket; else nothing is relayed, and what the daemon alone "
        "knows was not looked at.",
        "Start it (`systemctl start bascule`); its log says why it ended (`journalctl -u "
        "bascule`)." },
    { DOCTOR_RELOAD, "pending reload", DAEMON_CONFIG,
        "The daemon runs what the files said when it read them last. What was changed since, a "
        "password or a certificate in a file too, counts from the next reload.",
        "Look with `bascule plan`, then `bascule reload`." },
    { DOCTOR_WORK, "routes at work", DAEMON_LATER,
        "Every enabled route makes progress or has nothing to do, and its sums agree.",
        "`bascule status ROUTE` says what hinders it; what the other checks found at its broker is "
        "the likely cause." },
    { DOCTOR_CREDENTIAL, "credentials", DAEMON_CONFIG,
        "systemd 252 loads credentials (LoadCredential=, ${credential:NAME}) when the unit starts; "
        "a reload sees them as they were then.",
        "Restart the unit (`systemctl restart bascule`): nothing is lost, sources wait for it." },
    { DOCTOR_CLOCK, "clock synchronised", DAEMON_LATER,
        "The kernel says whether something keeps the clock right. Times of events, `expire_after` "
        "and `retain.age` rest on it.",
        "Run chrony or systemd-timesyncd." },
    { DOCTOR_CLOCK_STEP, "clock steps", DAEMON_LATER,
        "Since the daemon's start the wall clock went as fast as the kernel's own. After a step of "
        "over an hour nothing is removed by age.",
        "Find what set the clock; a restart of the daemon takes the new time as right." },
    { DOCTOR_CLOCK_BROKER, "broker's clock", DAEMON_LATER,
        "Where a broker tells its time, it agrees with ours. The look for an earlier try of an "
        "XADD goes by the server's clock, and so do stream entries' names.",
        "Synchronise the one that is wrong." },
    { DOCTOR_SYNC, "disk sync", DAEMON_IO,
        "How long the store's disk takes to make 4 KiB safe: every event waits for one such sync "
        "(many share one). Measured beside the store, in a file without a name.",
        "A slow one wants a disk with a protected write cache (not a network disk), or fewer "
        "neighbours on it." },
    { DOCTOR_SPACE, "disk space", DAEMON_IO,
        "The disk has room until the store has reached max_size. A full disk pauses sources; what "
        "is stored is still delivered.",
        "Make room, or set store.max_size to what the disk can hold." },
    { DOCTOR_FILE_SYSTEM, "file system", DAEMON_IO,
        "The store needs a local file system that keeps what was synced: SQLite's WAL works on one "
        "host only (https://www.sqlite.org/wal.html), and locks of network file systems fail.",
        "Move the store (store.path) to a local disk: stop, copy both files, start." },
    { DOCTOR_STORE, "store version", DAEMON_IO,
        "The store's file is one that this program can open.",
        "An older one is upgraded by the next start, after a copy. A newer one needs the newer "
        "program, or the copy that its upgrade left (PATH.version-N)." },
    { DOCTOR_DESCRIPTORS, "open files limit", DAEMON_LATER,
        "Sockets and files that the daemon may have open, against what this configuration may "
        "need.",
        "Raise LimitNOFILE= of the unit." },
    { DOCTOR_MEMORY, "memory", DAEMON_LATER,
        "What the daemon uses, against the limit of its unit and what the machine has left.",
        "Raise MemoryMax= of the unit, or lower windows and prefetch." },
    { DOCTOR_CORE, "core dumps", DAEMON_PERMISSION,
        "A core file would hold passwords and bodies of events.", "Set LimitCORE=0 in the unit." },
    { DOCTOR_MODE, "file modes", DAEMON_PERMISSION,
        "Nobody else may change the configuration, the store or what they name, nor read secrets.",
        "chmod, chown: the configuration belongs to root, secrets and keys have mode 0640 or "
        "less." },
    { DOCTOR_CERTIFICATE, "certificates", DAEMON_LATER,
        "Until when the certificates in files, and those that brokers show, are good. After that "
        "the connection cannot be made again.",
        "Renew it. New files are taken up by `bascule reload`; the broker's own is renewed at the "
        "broker." },
    { DOCTOR_BROKER, "broker", DAEMON_UNREACHABLE,
        "The connection's broker answers and lets us in; its version, where it tells.",
        "Address, network, login: the text says which of them." },
    { DOCTOR_ROUTE, "route's needs", DAEMON_UNREACHABLE,
        "What a route needs at its brokers is there and allowed: queues, exchanges, topics, "
        "streams, permissions; and nothing there drops events that were given out too often.",
        "Make what is missing, grant what is refused; a queue with a delivery limit wants a "
        "dead-letter exchange." },
    { DOCTOR_LIBRARY, "library", DAEMON_LATER,
        "Versions of the libraries at hand, against known faults that touch what this program "
        "does.",
        "Upgrade the library where the text says so; it is loaded at the next start." },
    { 0 },
};

static const struct doctor_check *check_of(enum doctor_code code)
{
    const struct doctor_check *c = doctor_table;

    while (c->code && c->code != (int)code)
        c++;
    return c;
}

void doctor_say(struct doctor *d, enum doctor_code code, enum verdict verdict, const char *subject,
    const char *format, ...)
{
    struct doctor_finding *at = reallocarray(d->at, d->n + 1, sizeof *at), *f;
    va_list ap;

    if (!at) {
        d->failed = true;
        return;
    }
    d->at = at;
    f = &at[d->n++];
    *f = (struct doctor_finding){ .check = check_of(code), .verdict = verdict };
    (void)snprintf(f->subject, sizeof f->subject, "%s", subject);
    va_start(ap, format);
    (void)vsnprintf(f->text, sizeof f->text, format, ap);
    va_end(ap);
}

const char *doctor_verdict_text(enum verdict v)
{
    static const char *const texts[] = { "none", "ok", "warn", "fail", "skip" };

    return texts[v];
}

int doctor_exit(const struct doctor *d)
{
    int ret = d->failed ? DAEMON_LATER : DAEMON_OK;

    for (size_t i = 0; i < d->n; i++)
        if (d->at[i].verdict == VERDICT_FAIL && (ret == DAEMON_OK || ret == DAEMON_LATER))
            ret = d->at[i].check->exit;
    return ret;
}

void doctor_done(struct doctor *d)
{
    json_decref(d->status);
    free(d->at);
    *d = (struct doctor){ 0 };
}

int64_t doctor_pid(const struct doctor *d)
{
    return json_integer_value(json_object_get(d->status, "pid"));
}
