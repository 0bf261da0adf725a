"""kill -9 at random moments under load, again and again, on real brokers; the oracle judges between.

Every kind of end is a source and a sink. What is done in which order is drawn from a seed; where in the program a
kill falls is not. tests/e2e/torture runs it by hand, test_torture.py ten kills of it."""
import random
import threading
import time
from collections import Counter

import clients
import kafka
from broker import wait_until
from daemon import Daemon, body_of
from ends import SINKS, SOURCES, KafkaSource, connections
from frame import check, check_equal
from oracle import Journal, Oracle, journal_problems, name_of

JUDGED_EVERY = 25       # kills
EVENTS_PER_SECOND = 60  # into each route
# What a crash may repeat is what was open: both windows, and what was finished but not yet on disk as such
# (50 ms and a sync, here 200 ms, at the rate that the sink is held to after a second's burst).
WINDOW, PREFETCH, RATE = 20, 20, 200
REPEATS_PER_KILL = WINDOW + PREFETCH + RATE + RATE // 5
YOUNG_SECONDS = 0.4     # a kill while it starts
LATE_SECONDS = 0.05     # a kill after so many arrivals comes at most this later
ARRIVALS_MAX = 60
EVERYTHING = 1 << 40
ROUTES = (("rabbitmq", ("kafka", "stream")), ("quorum", ("rabbitmq",)), ("kafka", ("rabbitmq", "stream")),
          ("stream", ("kafka", "jetstream")), ("channel", ("stream",)), ("jetstream", ("stream", "bucket")),
          ("nats", ("jetstream",)))


class SteadyKafkaSource(KafkaSource):
    """One producer for a whole run, of any bytes."""
    exact = True

    def make(self):
        super().make()
        self.producer = kafka.KafkaProducer(bootstrap_servers=f"127.0.0.1:{self.port}", acks="all", retries=0,
                                            max_in_flight_requests_per_connection=1)
        self.t.ends(self.producer.close)

    def feed(self, events):
        sent = [(name, self.producer.send(self.place, body, key=key.encode())) for name, key, body in events]
        for name, s in sent:
            s.get(clients.PATIENCE_SECONDS)
            yield name


class Outlet:
    """One sink of a route, and who listens there."""

    def __init__(self, t, route, kind):
        self.kind, self.end = kind, SINKS[kind](t, f".{route}.{kind}")
        self.listener = self.end.listen()
        self.journal = t.directory / f"{route}.{kind}.arrived"
        self.listener.journal = Journal(self.journal)
        t.ends(self.listener.journal.close)

    def yaml(self):
        return self.end.yaml(self.kind).rstrip(" }") + f", window_events: {WINDOW}, rate_limit: {RATE}/s }}"

    def repeats(self):
        names = [name_of(b) for b in self.listener.bodies()]
        return len(names) - len(set(names))


class Way:
    """One route: fed in a thread of its own, listened to at each sink."""

    def __init__(self, t, kind, sinks, seed):
        self.kind, self.name = kind, f"from-{kind}"
        self.source = (SteadyKafkaSource if kind == "kafka" else SOURCES[kind])(t, f".{self.name}")
        self.journal = t.directory / f"{self.name}.confirmed"
        self.oracle = Oracle(f"{seed} {self.name}", prefix=self.name, journal=self.journal)
        self.outlets = [Outlet(t, self.name, s) for s in sinks]
        self.logged, self.places = 0, {}
        self.flows, self.idle, self.over = threading.Event(), threading.Event(), threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(random.Random(f"{seed} {kind}"),), daemon=True)
        t.ends(self.oracle.close)
        t.ends(self.end)

    def yaml(self):
        key = f'key: "{self.source.order_key}"' if self.source.order_key else "ordering: key"
        prefetch = f", prefetch: {PREFETCH}" if self.source.broker == "rabbitmq" else ""
        return (f"- name: {self.name}\n  from: {self.source.yaml().rstrip(' }')}{prefetch} }}\n"
                f"  to: [ {', '.join(o.yaml() for o in self.outlets)} ]\n  {key}\n")

    # ---- the producer ----

    def _run(self, rng):
        try:
            while not self.over.is_set():
                if not self.flows.wait(0.1):
                    self.idle.set()
                    continue
                self.idle.clear()
                end, count = time.monotonic(), rng.randrange(1, 20)
                self._feed(self.oracle.make(count))
                # The pace of a producer, not a wait for anything.
                self.over.wait(max(0, end + count / EVENTS_PER_SECOND - time.monotonic()))
        except Exception as e:  # told in the main thread by rests()
            self.error = e
        self.idle.set()

    def _feed(self, events):
        if not self.source.confirms:  # counts from the commit, see look_into_log()
            for _, key, body in events:
                self.source.publish(key, body)
            return
        for name in self.source.feed(events):
            self.oracle.confirmed([name])

    def rests(self):
        self.flows.clear()
        wait_until(self.idle.is_set, f"{self.name}: an end of feeding", clients.PATIENCE_SECONDS)
        check(not self.error, f"{self.name}: the producer failed: {self.error!r}")

    def end(self):
        self.over.set()
        self.thread.join(clients.PATIENCE_SECONDS)

    # ---- judging, at rest ----

    def look_into_log(self, daemon):
        """What the log took since the last look. RabbitMQ redelivers in an order of its own (after a crash it may
        hand out new messages before those that the dead consumer held), and of a channel or plain subject only what
        was logged counts."""
        for row in daemon.rows("events", "ls", "--route", self.name, "--seq", f"{self.logged + 1}-{EVERYTHING}",
                               "--bodies", "--limit", 10_000_000):
            self.logged = max(self.logged, row["seq"])
            name = name_of(body_of(row))
            if name in self.oracle.sent and self.places.setdefault(name, row["seq"]) == row["seq"]:
                self.oracle.sent[name] = self.oracle.sent[name]._replace(number=row["seq"])
                if not self.source.confirms:
                    self.oracle.confirmed([name])

    def problems(self, daemon, kills):
        if self.source.late or not self.source.confirms:
            self.look_into_log(daemon)
        patience = clients.PATIENCE_SECONDS
        for o in self.outlets:
            try:
                o.listener.wait(self.oracle.arrived_all, f"{self.name}/{o.kind}: all confirmed events", patience)
            except RuntimeError as e:
                patience = 1  # what is lost will not come
                yield str(e)
        wait_until(lambda: daemon.at_rest(self.name), f"{self.name}: an empty backlog", clients.PATIENCE_SECONDS,
                   daemon.process)
        self.oracle.journal.sync()
        for o in self.outlets:
            books = daemon.books(self.name, o.kind)
            found = self.oracle.problems(o.listener.bodies(), duplicates_max=kills * REPEATS_PER_KILL, books=books)
            for problem in [*found, *journal_problems(self.journal, o.journal, books.ended)]:
                yield f"{self.name}/{o.kind}: {problem}"


class Torture:
    """run(kills) ends with an assertion when anything is wrong; figures() after it."""

    def __init__(self, t, seed, routes=ROUTES, tell=lambda text: None):
        self.t, self.tell, self.rng = t, tell, random.Random(seed)
        self.ways = [Way(t, source, sinks, seed) for source, sinks in routes]
        brokers = {e.broker for w in self.ways for e in [w.source, *(o.end for o in w.outlets)]}
        self.daemon = t.runs(Daemon(t.directory, connections(t.world, *brokers),
                                    "\n".join(w.yaml() for w in self.ways)))
        self.done, self.kinds = 0, Counter()

    def run(self, kills):
        for w in self.ways:
            w.thread.start()
        self.daemon.start()
        for w in self.ways:
            w.source.ready()
        while self.done < kills:
            for w in self.ways:
                w.flows.set()
            for _ in range(min(JUDGED_EVERY, kills - self.done)):
                self._kill_once()
            self._judge()
        check_equal(self.daemon.stop(), 0, "exit code after SIGTERM")

    def _kill_once(self):
        kind = self.rng.choice(("young", "flowing", "flowing", "up"))
        if kind == "young":
            self._wait_seconds(self.rng.uniform(0, YOUNG_SECONDS))
        elif kind == "flowing":
            self._wait_arrivals(self.rng.randrange(1, ARRIVALS_MAX))
            self._wait_seconds(self.rng.uniform(0, LATE_SECONDS))
        else:
            wait_until(self.daemon.listens, "bascule's admin socket", clients.PATIENCE_SECONDS, self.daemon.process)
            self._wait_seconds(self.rng.uniform(0, YOUNG_SECONDS))
        check(self.daemon.running(), f"the daemon ended by itself after {self.done} kills")
        self.daemon.kill()
        self.kinds[kind] += 1
        self.done += 1
        self.daemon.spawn()

    def _wait_seconds(self, seconds):
        time.sleep(seconds)  # the random moment itself

    def _wait_arrivals(self, count):
        listener = self.rng.choice([o.listener for w in self.ways for o in w.outlets])
        goal = len(listener.messages) + count
        wait_until(lambda: len(listener.messages) >= goal, f"{count} arrivals", clients.PATIENCE_SECONDS,
                   self.daemon.process)

    def _judge(self):
        for w in self.ways:
            w.rests()
        wait_until(self.daemon.listens, "bascule's admin socket", clients.PATIENCE_SECONDS, self.daemon.process)
        problems = [p for w in self.ways for p in w.problems(self.daemon, self.done)]
        check_equal(problems, [], f"problems after {self.done} kills")
        check("FATAL" not in self.daemon.text(), "a fatal line in the log")
        self.tell(f"{self.done} kills, {sum(len(w.oracle.confirmed_names) for w in self.ways)} events confirmed, "
                  f"{sum(o.repeats() for w in self.ways for o in w.outlets)} repeats, no problem")

    def figures(self):
        """A row for each sink: (route, sink, confirmed, arrived, repeats)."""
        return [(w.name, o.kind, len(w.oracle.confirmed_names), len(o.listener.messages), o.repeats())
                for w in self.ways for o in w.outlets]
