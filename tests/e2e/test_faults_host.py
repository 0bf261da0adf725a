"""What the machine under a daemon can do to it: stop it, refuse it descriptors and memory, move its clock, be slow or
dead as a disk. The table is tests/faults.md."""
import os
import resource
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import clients
import kafka.admin
from broker import wait_until
from ends import connection
from faults import BROKERS, END, SOON, Beside, Flow, Traced, burnt_nothing, lasts, mounted, on_disk, proxy_before
from frame import Skip, check, check_equal, test, tests_over
from test_pairs import REPEATS_PER_CRASH, Relay

WINDOW = 20
DAY_SECONDS = 86400
SLOW_SYNC_SECONDS = 2
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


# ---- stopped ----

class Forgotten:
    """How a broker shows that it has given its client up."""

    def __init__(self, t, broker, place):
        self.t, self.port, self.place = t, t.world.port(broker), place
        self.look = getattr(self, broker)

    def rabbitmq(self):
        r = clients.Rabbit(self.port)
        count = r.channel.queue_declare(self.place, passive=True).method.consumer_count
        r.close()
        return count == 0

    def kafka(self):
        a = kafka.admin.KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self.port}")
        group = a.describe_consumer_groups([self.place])[0]
        a.close()
        return not group.members

    def redis(self):
        """It gives up idle clients only when told to."""
        r = clients.redis_client(self.port)
        r.config_set("timeout", 1)
        try:
            return not any(c["cmd"] == "xreadgroup" for c in r.client_list())
        finally:
            r.close()


@tests_over(BROKERS, lambda b: f"stopped_until_the_broker_gave_up_it_goes_on_{b}")
def stopped(t, broker):
    r = Relay(t, END[broker], END[broker], small=True, links=connection(broker, t.world.port(broker), more=SOON[broker]))
    if broker == "redis":
        t.ends(lambda: clients.redis_client(r.source.port).config_set("timeout", 0))
    r.daemon.start()
    r.source.ready()
    flow = Flow(r, 300)
    r.listener.wait_count(50)
    r.daemon.process.send_signal(signal.SIGSTOP)
    t.ends(lambda: r.daemon.running() and r.daemon.process.send_signal(signal.SIGCONT))
    wait_until(Forgotten(t, broker, r.source.place).look, f"{broker} giving up its client")
    lasts(r.daemon)
    r.daemon.process.send_signal(signal.SIGCONT)
    flow.done()
    r.wait()
    burnt_nothing(t, r.daemon, t.name)
    check_equal(r.settled(redelivered=True, duplicates_max=4 * WINDOW), [], "problems")


# ---- refused by the system ----

def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test
def without_descriptors_what_is_open_flows_on(t):
    """EMFILE: a connection that was lost cannot be made again, the admin socket takes nobody; all else goes on, and
    when there are descriptors again everything does."""
    proxy, beside = proxy_before(t, "redis"), Beside(t)
    r = Relay(t, "stream", "stream", small=True, more=beside.yaml(),
              links="\n".join([connection("redis", proxy.port, more=SOON["redis"]), beside.link]))
    r.daemon.start()
    r.feed(r.make(20))
    r.wait()
    pid = r.daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    proxy.reset()
    wait_until(lambda: proxy.connections == 0, "the end of all connections")
    r.feed(r.make(20))
    start, used = time.monotonic(), cpu_seconds(r.daemon.process)
    got = subprocess.Popen(r.daemon.verb_command("status"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=r.daemon.environment())
    t.ends(got.kill)
    beside.flows()
    wait_until(lambda: "Too many open files" in r.daemon.text(), "the log telling why", process=r.daemon.process)
    wait_until(lambda: time.monotonic() - start > 1, "a second", process=r.daemon.process)
    share = (cpu_seconds(r.daemon.process) - used) / (time.monotonic() - start)
    check(share < 0.5, f"it takes {share:.0%} of a core while it waits for descriptors")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    check_equal(got.wait(60), 0, "exit code of the status that was asked meanwhile")
    r.wait()
    burnt_nothing(t, r.daemon, t.name)
    check_equal(r.settled(duplicates_max=2 * WINDOW), [], "problems")


def size_bytes(process):
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[0]) * resource.getpagesize()


@test
def without_memory_for_large_events_nothing_is_lost(t):
    """ENOMEM: what it may have is what it has. Whether it waits or ends, all is there once there is memory."""
    r = Relay(t, "stream", "stream", small=True)
    r.daemon.start()
    r.feed(r.make(20))
    r.wait()
    pid = r.daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size_bytes(r.daemon.process) + (1 << 20), limits[1]))
    r.feed([r.oracle.add("k", os.urandom(4 << 20)) for _ in range(3)])
    wait_until(lambda: not r.daemon.running() or "memory" in r.daemon.text(), "the log telling of memory",
               clients.PATIENCE_SECONDS)
    if r.daemon.running():
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
    else:
        check(r.daemon.process.returncode > 0, f"it was killed by signal {-r.daemon.process.returncode}")
        r.daemon.start()
    check_equal(r.settled(duplicates_max=REPEATS_PER_CRASH), [], "problems")


# ---- the clock ----

class Clock:
    """The daemon's wall clock, moved by whole seconds; its monotonic one is left alone."""

    def __init__(self, t):
        if not Path(FAKETIME).exists():
            raise Skip("libfaketime is not installed")
        self.file = t.directory / "faketime"
        self.step(0)
        self.env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def step(self, seconds):
        # Read while it is written: renaming is whole.
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)


@test
def clock_stepped_a_day_both_ways_expires_and_repeats_nothing(t):
    clock = Clock(t)
    r = Relay(t, "stream", "stream", small=True, more="  expire_after: 1h\n  retain: { age: 2h }")
    r.daemon.start(clock.env)
    for step in (0, DAY_SECONDS, -DAY_SECONDS, 0):
        clock.step(step)
        r.daemon.verb("pause", f"{t.name}/out")
        r.feed(r.make(50))
        wait_until(lambda: r.daemon.route(t.name)["accepted"] == len(r.oracle.sent), "all events in the log")
        r.daemon.verb("resume", f"{t.name}/out")
        r.wait()
    times = [row["received_ms"] for row in r.daemon.rows("events", "ls", "--route", t.name, "--limit", 1000)]
    check_equal(len(times), len(r.oracle.sent), "events still in the log")
    check(times[-1] - times[0] >= DAY_SECONDS * 1000, f"the clock was not stepped: {times[0]} to {times[-1]}")
    check(times == sorted(times), "times of receipt went backwards")
    burnt_nothing(t, r.daemon, t.name)
    check_equal(r.settled(), [], "problems")


# ---- the disk ----

@test
def slow_disk_of_two_seconds_a_sync_keeps_heartbeats(t):
    """Syncs are the writer thread's: the loop goes on, so no broker gives us up, and nothing is lost."""
    beside = Beside(t)
    r = Relay(t, "rabbitmq", "stream", links="\n".join(
        [connection("rabbitmq", t.world.port("rabbitmq"), more=SOON["rabbitmq"]),
         connection("redis", t.world.port("redis"), more=SOON["redis"]), beside.link]), more=beside.yaml())
    r.daemon.start()
    r.feed(r.make(20))
    r.wait()
    before = r.daemon.route(t.name)["link"]["reconnects"]
    delay = int(SLOW_SYNC_SECONDS * 1e6)
    trace = Traced(t, r.daemon, "-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:delay_enter={delay}")
    r.feed(r.make(100))
    beside.flows()
    r.wait()
    trace.end()
    s = r.daemon.json("status")
    check(s["store"]["commit_us_max"] >= delay, f"no commit was slow: {s['store']}")
    check_equal(r.daemon.route(t.name)["link"]["reconnects"], before, "reconnects")
    check_equal(r.settled(), [], "problems")


def refuses_to_go_on(r, words):
    """The daemon ends by itself, says why, and what it had acknowledged is there after."""
    wait_until(lambda: not r.daemon.running(), "the daemon's end", clients.PATIENCE_SECONDS)
    check_equal(r.daemon.process.returncode, 74, "exit code")
    text = r.daemon.text().lower()
    check(any(w in text for w in words), f"none of {words} in the log: {text[-500:]}")


@test
def sync_that_fails_ends_the_daemon_and_loses_nothing(t):
    r = Relay(t, "rabbitmq", "stream", small=True)
    r.daemon.start()
    flow = Flow(r, 300)
    r.listener.wait_count(50)
    trace = Traced(t, r.daemon, "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO")
    refuses_to_go_on(r, ["i/o error", "input/output"])
    trace.end()
    r.daemon.start()
    flow.done()
    check_equal(r.settled(redelivered=True, duplicates_max=REPEATS_PER_CRASH), [], "problems")


@test
def disk_that_turns_read_only_ends_the_daemon_and_loses_nothing(t):
    """As ext4 does after an error of the disk. It does so at rest: an fdatasync that meets 'remount,abort' in flight
    may return success although ext4 (Linux 6.18) then loses what it covers; six of forty runs of a bare loop of
    pwrite and fdatasync on a preallocated file did."""
    image = t.directory / "image"
    with open(image, "wb") as f:
        f.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    disk = mounted(t, "disk", "-o", "loop", source=image)
    r = Relay(t, "rabbitmq", "stream", small=True)
    on_disk(r, disk)
    r.daemon.start()
    r.feed(r.make(150))
    r.wait()
    wait_until(lambda: r.daemon.at_rest(t.name), "rest", process=r.daemon.process)
    subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
    flow = Flow(r, 150)
    refuses_to_go_on(r, ["read-only", "readonly", "i/o error"])
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    r.daemon.start()
    flow.done()
    check_equal(r.settled(redelivered=True, duplicates_max=REPEATS_PER_CRASH), [], "problems")


@test
def reader_that_never_ends_holds_up_nothing(t):
    """Somebody looks into the file with sqlite3 for hours: the WAL cannot start anew, the relay goes on; after it
    the WAL is within its cap again."""
    r = Relay(t, "stream", "stream")
    r.daemon.start()
    r.feed(r.make(20))
    r.wait()
    reader = sqlite3.connect(f"file:{r.daemon.store}?mode=ro", uri=True, isolation_level=None)
    t.ends(reader.close)
    reader.execute("BEGIN")
    seen = reader.execute("SELECT count(*) FROM chunk").fetchone()

    def flows():
        r.feed(r.make(100))
        r.wait()
    for _ in range(10):
        flows()
    lasts(r.daemon, flows)
    check_equal(reader.execute("SELECT count(*) FROM chunk").fetchone(), seen, "chunks in the reader's view")
    check_equal(r.daemon.json("status")["store"]["full"], False, "full")
    reader.execute("COMMIT")
    r.feed(r.make(100))
    check_equal(r.settled(), [], "problems")
