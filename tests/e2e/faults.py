"""What tests of faults share: a bad line to a broker, a route beside that must not feel it, a flow in the background."""
import os
import subprocess
import threading
import time
from pathlib import Path

import clients
from broker import wait_until
from ends import StreamSink, StreamSource, connection
from frame import Skip, check, check_equal
from oracle import Oracle
from proxy import Proxy

# Where tests say how a broker is told to notice a dead peer soon.
SOON = {"rabbitmq": "heartbeat: 1s",
        "kafka": 'properties: { "socket.timeout.ms": 2000, "session.timeout.ms": 6000, '
                 '"heartbeat.interval.ms": 500, "reconnect.backoff.max.ms": 500 }',
        "redis": "ping_interval: 300ms"}
END = {"rabbitmq": "rabbitmq", "kafka": "kafka", "redis": "stream"}
BROKERS = tuple(END)
# How long an outage lasts at least; make soak-faults has them last ten minutes, and one of three sinks an hour.
FAULT_SECONDS = int(os.environ.get("BASCULE_FAULT_SECONDS", "0"))


def lasts(daemon, flows=None, seconds=FAULT_SECONDS):
    """Called in the middle of a fault; once a second flows() shows that what is well goes on."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if flows:
            flows()
        wait_until(lambda t=min(end, now + 1): time.monotonic() >= t, "the end of the fault", 60, daemon.process)


def proxy_before(t, broker, tls=None):
    """A proxy that leads to the shared broker, known to its clients."""
    port = t.world.port(broker)
    if broker != "kafka":
        p = Proxy(port, tls=tls)
    elif t.world.kafka_is_mock():
        raise Skip("the mock Kafka has no listener that could be advertised elsewhere")
    else:
        # One test at a time has the advertised port.
        p = Proxy(t.world.kafka.proxied_port, t.world.kafka.advertised_port, tls)
    t.ends(p.end)
    return p


class Beside:
    """A route of its own in the same daemon, between streams of the shared Redis."""

    def __init__(self, t):
        self.t = t
        self.source, self.sink = StreamSource(t, ".beside"), StreamSink(t, ".beside.out")
        self.heard, self.fed = self.sink.listen(), 0
        self.link = connection("redis", t.world.port("redis"), "beside")

    def yaml(self):
        from_, to = (e.yaml().replace("connection: redis", "connection: beside") for e in (self.source, self.sink))
        return f"\n- name: beside\n  from: {from_}\n  to: [ {to} ]\n"

    def flows(self, count=50):
        """So many more go in and come out."""
        list(self.source.feed([(f"b{n}", "k", b"beside %d" % n) for n in range(self.fed, self.fed + count)]))
        self.fed += count
        self.heard.wait_count(self.fed)
        check_equal(self.heard.bodies()[-count:], [b"beside %d" % n for n in range(self.fed - count, self.fed)],
                    "the route beside")


class Flow:
    """Feeds a relay in the background; done() waits for its end."""

    def __init__(self, relay, count):
        self.relay, self.error = relay, None
        self.thread = threading.Thread(target=self._run, args=(relay.make(count),), daemon=True)
        self.thread.start()

    def _run(self, events):
        try:
            self.relay.feed(events)
        except Exception as e:  # told by done()
            self.error = e

    def done(self):
        wait_until(lambda: not self.thread.is_alive(), "the feeder", clients.PATIENCE_SECONDS)
        check(not self.error, f"the feeder failed: {self.error!r}")


class Judged:
    """A source whose events an oracle knows, which judges of what came at the sinks."""

    def __init__(self, source, seed=1, **options):
        self.source, self.oracle = source, Oracle(seed, **options)

    def feed(self, count):
        self.oracle.confirmed(self.source.feed(self.oracle.make(count)))

    def add(self, *events):
        """Of (key, body): bodies that are to be so. Returns their names, and thereby their ids."""
        made = [self.oracle.add(key, body) for key, body in events]
        self.oracle.confirmed(self.source.feed(made))
        return [name for name, _, _ in made]

    def wait(self, listener, what="all events"):
        listener.wait(self.oracle.arrived_all, what)

    def rest(self, daemon, route, heard, **allowed):
        return rest(self.oracle, daemon, route, heard, **allowed)


def rest(oracle, daemon, route, heard, **allowed):
    """Problems of a route with named sinks, each heard by a listener; what must arrive has."""
    wait_until(lambda: daemon.at_rest(route), "an empty backlog", clients.PATIENCE_SECONDS, daemon.process)
    return [f"{name}: {p}" for name, listener in heard.items()
            for p in oracle.problems(listener.bodies(), books=daemon.books(route, name), **allowed)]


def link_of(daemon, name):
    """The connection's part of `status`."""
    return next(c for c in daemon.json("status")["connections"] if c["name"] == name)


def burnt_nothing(t, daemon, route):
    check_equal(daemon.dead(), [], "dead letters")
    check_equal([s["counts"]["retries"] for s in daemon.route(route)["sinks"]],
                [0] * len(daemon.route(route)["sinks"]), "attempts used up")


class Traced:
    """strace on the running daemon, all threads: to see its system calls, or to meddle with them."""

    def __init__(self, t, daemon, *options):
        self.log = t.directory / "strace.log"
        self.process = subprocess.Popen(["strace", "-f", "-qq", "-o", self.log, *options, "-p", str(daemon.process.pid)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        t.ends(self.end)
        tasks = Path(f"/proc/{daemon.process.pid}/task")
        # The daemon may die of what was injected before we look.
        wait_until(lambda: self.process.poll() is not None or all(is_traced(task) for task in tasks.iterdir()), "strace")
        if self.process.poll() and daemon.running():
            raise Skip(f"strace cannot trace here: {self.process.stderr.read().decode().strip()}")

    def end(self):
        """Lets go of the daemon, which goes on."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def is_traced(task):
    try:
        return "TracerPid:\t0\n" not in (task / "status").read_text()
    except FileNotFoundError:
        return True  # the thread has ended


def mounted(t, name, *options, source="tmpfs"):
    """A file system of the test's own; skips where that may not be done."""
    place = t.directory / name
    place.mkdir()
    got = subprocess.run(["mount", *options, source, place], check=False, capture_output=True, text=True)
    if got.returncode != 0:
        raise Skip(f"cannot mount here: {got.stderr.strip()}")
    t.ends(lambda: subprocess.run(["umount", "-l", place], check=True))
    return place


def on_disk(relay, place):
    """The relay's store lies there."""
    text = relay.daemon.config.read_text()
    store = place / "bascule.db"
    relay.daemon.config.write_text(text.replace(str(relay.daemon.store), str(store)))
    relay.daemon.store = store
