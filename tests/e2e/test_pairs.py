"""Every source with every sink: all that was confirmed arrives, unaltered, once, in order of its key."""
import itertools
import random
import threading

import clients
from broker import wait_until
from daemon import Daemon
from ends import SINKS, SOURCES, connections, printable
from frame import check, check_equal, tests_over
from oracle import Oracle

EVENTS = 600
CRASHES = 3
PREFETCH = 100


class Relay:
    """A route from one end to another, with an oracle that knows what goes in."""

    def __init__(self, t, source, sink, seed=1, more=""):
        self.t = t
        self.source, self.sink = SOURCES[source](t), SINKS[sink](t, ".out")
        self.oracle = Oracle(seed)
        self.listener = self.sink.listen()
        key = f'key: "{self.source.order_key}"' if self.source.order_key else "ordering: key"
        self.daemon = Daemon(t.directory, connections(t.world, self.source.broker, self.sink.broker), f"""
- name: {t.name}
  from: {self.source.yaml()}
  to: [ {self.sink.yaml()} ]
  {key}
  {more}""")
        t.logs.append(self.daemon.log)
        t.ends(self.daemon.kill)

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

    def problems(self, **allowed):
        return self.oracle.problems(self.listener.bodies(), **allowed)


def pairs(sources=SOURCES, sinks=SINKS):
    return list(itertools.product(sources, sinks))


@tests_over(pairs(), lambda p: f"pair_{p[0]}_to_{p[1]}")
def pair(t, p):
    r = Relay(t, *p)
    r.daemon.start()
    r.source.ready()
    r.feed(r.make(EVENTS))
    r.wait()
    check_equal(r.daemon.stop(), 0, "exit code after SIGTERM")
    check_equal(r.problems(), [], "problems")


@tests_over([p for p in pairs() if SOURCES[p[0]].confirms and p[1] != "channel"],
            lambda p: f"kill_9_{p[0]}_to_{p[1]}")
def killed(t, p):
    """Killed at random points of a running flow: nothing is lost, and repeats stay few."""
    r = Relay(t, *p, seed=7)
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
    r.wait()
    check_equal(r.daemon.stop(), 0, "exit code after SIGTERM")
    # Each crash may repeat what was unconfirmed or not yet on disk as finished, and no more than is open.
    check_equal(r.problems(duplicates_max=EVENTS * 2, ordered=True), [], "problems")
    check("FATAL" not in r.daemon.text(), "a fatal line in the log")


@tests_over(pairs(["rabbitmq", "kafka", "stream"], ["kafka", "stream"]),
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
    r.wait()
    check_equal(r.problems(duplicates_max=0), [], "problems")
