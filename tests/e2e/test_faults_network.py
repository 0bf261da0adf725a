"""What a network can do to a relay, through a proxy before each broker. The table is tests/faults.md."""
from broker import wait_until
from daemon import Daemon
from ends import StreamSink, StreamSource, connection
from faults import BROKERS, END, SOON, Beside, Flow, burnt_nothing, lasts, proxy_before
from frame import check, check_equal, test, tests_over
from oracle import Oracle
from proxy import TO_CLIENT
from test_pairs import Relay

EVENTS = 300
WINDOW = 20


class Line:
    """A relay whose both ends are one broker behind a proxy, and a route beside."""

    def __init__(self, t, broker, options=""):
        self.t, self.broker = t, broker
        self.proxy, self.beside = proxy_before(t, broker), Beside(t)
        self.relay = Relay(t, END[broker], END[broker], small=True, more=self.beside.yaml(), links="\n".join(
            [connection(broker, self.proxy.port, more=SOON[broker]), self.beside.link]))
        self.daemon = self.relay.daemon.start()
        self.relay.source.ready()
        wait_until(self.is_up, f"{broker} up", process=self.daemon.process)

    def is_up(self):
        r = self.daemon.route(self.t.name)
        return r["link"]["state"] == "up" and r["sinks"][0]["link"]["state"] == "up"

    def settled(self, times=0):
        """The lines broke so many times: each may repeat what both windows held."""
        burnt_nothing(self.t, self.daemon, self.t.name)
        check_equal(self.relay.settled(redelivered=times > 0, duplicates_max=times * 4 * WINDOW), [], "problems")


@tests_over(BROKERS, lambda b: f"network_of_one_byte_packets_carries_all_{b}")
def slices(t, broker):
    line = Line(t, broker)
    line.proxy.slice, line.proxy.latency = 1, 0.02
    line.relay.feed(line.relay.make(EVENTS // 3))
    line.settled()
    check(line.proxy.carried[TO_CLIENT] > 10000, "nothing went through the proxy")


@tests_over(BROKERS, lambda b: f"network_resets_in_mid_flow_lose_nothing_{b}")
def resets(t, broker):
    line = Line(t, broker)
    flow = Flow(line.relay, EVENTS)
    for part in range(1, 5):
        line.relay.listener.wait_count(part * EVENTS // 6)
        line.proxy.reset()
    flow.done()
    line.beside.flows()
    line.settled(times=4)


@tests_over(BROKERS, lambda b: f"network_black_hole_is_noticed_and_left_{b}")
def black_hole(t, broker):
    """Connections stay open and nothing comes: only a heartbeat of our own can tell."""
    line = Line(t, broker)
    flow = Flow(line.relay, EVENTS)
    line.relay.listener.wait_count(EVENTS // 6)
    line.proxy.swallow()
    wait_until(lambda: not line.is_up(), f"status telling that {broker} is silent", process=line.daemon.process)
    lasts(line.daemon, line.beside.flows)
    line.beside.flows()
    line.proxy.heal()
    flow.done()
    line.settled(times=2)


@tests_over(BROKERS, lambda b: f"network_that_loses_confirmations_repeats_a_window_{b}")
def half_open(t, broker):
    """What we send arrives, what the broker answers does not."""
    line = Line(t, broker)
    flow = Flow(line.relay, EVENTS)
    line.relay.listener.wait_count(EVENTS // 6)
    line.proxy.swallow(TO_CLIENT)
    wait_until(lambda: not line.is_up(), f"status telling that {broker} is silent", process=line.daemon.process)
    line.proxy.heal()
    flow.done()
    line.settled(times=2)


@tests_over(BROKERS, lambda b: f"network_down_burns_no_attempt_{b}")
def refused(t, broker):
    line = Line(t, broker)
    line.relay.feed(line.relay.make(EVENTS // 6))
    line.proxy.close()
    wait_until(lambda: not line.is_up(), f"status telling that {broker} is away", process=line.daemon.process)
    line.beside.flows()
    line.relay.feed(line.relay.make(EVENTS // 6))
    lasts(line.daemon, line.beside.flows)
    line.proxy.reopen()
    line.settled(times=1)


NARROW_BYTES = 20000


@test
def network_that_is_narrow_slows_its_own_sink_only(t):
    """Two sinks, one of them behind a line that needs many times what the other one does."""
    proxy, source, wide = proxy_before(t, "redis"), StreamSource(t), StreamSink(t, ".wide")
    narrow = StreamSink(t, ".narrow")
    d = t.runs(Daemon(t.directory, "\n".join([connection("redis", t.world.port("redis")),
                                              connection("redis", proxy.port, "line")]), f"""
- name: r
  from: {source.yaml()}
  to:
    - {wide.yaml("wide")}
    - {narrow.yaml("narrow").replace("connection: redis", "connection: line")}"""))
    heard = {"wide": wide.listen(), "narrow": narrow.listen()}
    d.start()
    oracle = Oracle(2)
    proxy.bandwidth = NARROW_BYTES
    oracle.confirmed(source.feed(oracle.make(EVENTS)))
    heard["wide"].wait(oracle.arrived_all, "all events at the wide one")
    check(not oracle.arrived_all(heard["narrow"].bodies()), "the narrow line was not narrow")
    proxy.bandwidth = None
    heard["narrow"].wait(oracle.arrived_all, "all events at the narrow one")
    wait_until(lambda: d.at_rest("r"), "an empty backlog", process=d.process)
    for name, listener in heard.items():
        check_equal(oracle.problems(listener.bodies(), books=d.books("r", name), ordered=False), [], f"{name}: problems")
