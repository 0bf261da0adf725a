"""Every source with every sink: all that was confirmed arrives, unaltered, once, in order of its key."""
import itertools
import random
import threading

import clients
from broker import wait_until
from daemon import Daemon
from ends import SINKS, SOURCES, connections, printable
from frame import check, check_equal, tests_over
from oracle import Journal, Oracle, journal_problems

EVENTS = 600
CRASHES = 3
# What a crash may repeat is what was open: both windows, and what was finished but not yet on disk as such
# (50 ms and a sync, here 200 ms, at the rate that the sink is held to after a second's burst).
WINDOW, PREFETCH, RATE = 20, 20, 200
REPEATS_PER_CRASH = WINDOW + PREFETCH + RATE + RATE // 5


class Relay:
    """A route from one end to another, with an oracle that knows what goes in."""

    def __init__(self, t, source, sink, seed=1, small=False, links=None, more=""):
        """links: YAML of connections in place of the usual ones; more: of the route."""
        self.t = t
        self.source, self.sink = SOURCES[source](t), SINKS[sink](t, ".out")
        self.oracle = Oracle(seed, journal=t.directory / "confirmed")
        t.ends(self.oracle.close)
        self.listener = self.sink.listen()
        self.listener.journal = Journal(t.directory / "arrived")
        key = f'key: "{self.source.order_key}"' if self.source.order_key else "ordering: key"
        from_, to = self.source.yaml(), self.sink.yaml()
        if small:
            from_ = with_options(from_, f"prefetch: {PREFETCH}" if self.source.broker == "rabbitmq" else "")
            to = with_options(to, f"window_events: {WINDOW}, rate_limit: {RATE}/s")
        self.daemon = Daemon(t.directory, links or connections(t.world, self.source.broker, self.sink.broker),
                             f"""
- name: {t.name}
  from: {from_}
  to: [ {to} ]
  {key}
{more}""")
        t.runs(self.daemon)

    def make(self, count):
        events = self.oracle.make(count)
        return events if self.source.exact else printable(events, self.oracle)

    def feed(self, events):
        for name in self.source.feed(events):
            self.oracle.confirmed([name])

    def wait(self):
        try:
            self.listener.wait(self.oracle.arrived_all, "all confirmed events")
        except RuntimeError as e:
            raise AssertionError(f"{e}; {self.problems()}") from None

    def problems(self, books=None, **allowed):
        return self.oracle.problems(self.listener.bodies(), books=books, **allowed)

    def settled(self, redelivered=False, **allowed):
        """At the end of a run, with the daemon up: all is there, the backlog is empty, the books agree, and the
        journals alone say the same. Returns the problems, and stops the daemon. Redelivered: a broker had
        reason to, in an order of its own."""
        self.wait()
        wait_until(lambda: self.daemon.at_rest(self.t.name), "an empty backlog", clients.PATIENCE_SECONDS,
                   self.daemon.process)
        books = self.daemon.books(self.t.name)
        if redelivered and self.source.late:
            self.log_order()
        check_equal(self.daemon.stop(), 0, "exit code after SIGTERM")
        return [*self.problems(books, **allowed),
                *journal_problems(self.t.directory / "confirmed", self.t.directory / "arrived", books.ended)]

    def log_order(self):
        """The order in which the log has them, where the broker redelivers in an order of its own: after a
        crash it may hand out new messages before those that the dead consumer held."""
        first = {}
        for row in self.daemon.rows("events", "ls", "--route", self.t.name, "--limit", 10 * EVENTS):
            first.setdefault(row["id"], row["seq"])
        for name, sent in self.oracle.sent.items():
            self.oracle.sent[name] = sent._replace(number=first.get(name, -1))


def with_options(flow, options):
    """The YAML flow mapping with more in it."""
    return flow.rstrip(" }") + f", {options} }}" if options else flow


# A bucket is a stream to the program, so it stands beside one kind of each broker.
BUCKETS = [("bucket", s) for s in ("rabbitmq", "kafka", "stream", "nats", "bucket")] + \
          [(s, "bucket") for s in ("rabbitmq", "kafka", "stream", "nats")]


def pairs(sources=SOURCES, sinks=SINKS):
    return [p for p in itertools.product(sources, sinks) if "bucket" not in p]


@tests_over(pairs() + BUCKETS, lambda p: f"pair_{p[0]}_to_{p[1]}")
def pair(t, p):
    r = Relay(t, *p)
    r.daemon.start()
    r.source.ready()
    r.feed(r.make(EVENTS))
    check_equal(r.settled(), [], "problems")


@tests_over([p for p in pairs() if SOURCES[p[0]].confirms and p[1] not in ("channel", "nats")] +
            [("bucket", "stream"), ("stream", "bucket")],
            lambda p: f"kill_9_{p[0]}_to_{p[1]}")
def killed(t, p):
    """Killed at random points of a running flow: nothing is lost, and repeats stay few."""
    r = Relay(t, *p, seed=7, small=True)
    rng = random.Random(f"{p}")
    r.daemon.start()
    r.source.ready()
    events = r.make(EVENTS * 2)
    feeder = threading.Thread(target=r.feed, args=(events,), daemon=True)
    feeder.start()
    for part in range(1, CRASHES + 1):
        goal = rng.randrange(1, EVENTS // 2) + (part - 1) * EVENTS // 2
        r.listener.wait_count(goal)
        r.daemon.kill()
        r.daemon.start()
    wait_until(lambda: not feeder.is_alive(), "the feeder", clients.PATIENCE_SECONDS)
    check_equal(len(r.oracle.confirmed_names), len(events), "confirmed events")
    check_equal(r.settled(redelivered=True, duplicates_max=CRASHES * REPEATS_PER_CRASH), [], "problems")
    check("FATAL" not in r.daemon.text(), "a fatal line in the log")


@tests_over(pairs(["rabbitmq", "kafka", "stream", "jetstream"], ["kafka", "stream"]) + [("stream", "jetstream")],
            lambda p: f"sigterm_under_load_{p[0]}_to_{p[1]}")
def asked_to_stop(t, p):
    """SIGTERM in mid-flow: it drains, exits 0, and the next run repeats nothing."""
    r = Relay(t, *p, seed=9)
    r.daemon.start()
    r.source.ready()
    events = r.make(EVENTS)
    feeder = threading.Thread(target=r.feed, args=(events,), daemon=True)
    feeder.start()
    r.listener.wait_count(EVENTS // 10)
    check_equal(r.daemon.stop(), 0, "exit code after SIGTERM")
    wait_until(lambda: not feeder.is_alive(), "the feeder", clients.PATIENCE_SECONDS)
    r.daemon.start()
    # What JetStream had sent and we had not taken comes again when it likes, behind newer ones.
    check_equal(r.settled(redelivered=r.source.broker == "nats"), [], "problems")
