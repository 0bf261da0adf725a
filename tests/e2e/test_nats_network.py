"""NATS over a network that fails, and servers that tell of each other."""
from broker import free_port, wait_until
from daemon import Daemon
from ends import StreamSource, connections
from faults import Judged
from frame import check, check_equal, test
from nats_broker import TOKEN, Nats
from nats_client import Nats as Client
from proxy import TO_CLIENT, Proxy
from test_nats_faults import EVENTS, Own, check_calm, sink_of, wait_delivered, wait_down


class Behind(Own):
    """Its own server behind a proxy, which is what the daemon knows."""

    def __init__(self, t):
        super().__init__(t)
        self.proxy = Proxy(self.server.port)
        t.ends(self.proxy.end)

    def daemon(self, routes, login="", options=""):
        d = Daemon(self.t.directory, connections(self.t.world, "redis") + f"""
own: {{ type: nats, urls: ["nats://{login}127.0.0.1:{self.proxy.port}"], ping_interval: 1s{options} }}""", routes)
        return self.t.runs(d)


@test
def jetstream_sink_notices_a_half_open_connection_and_doubles_nothing(t):
    """What the server stored, and whose answer the network lost, is sent again and swallowed there."""
    own = Behind(t)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    own.feed()
    wait_delivered(own.d, EVENTS)
    own.proxy.swallow(TO_CLIENT)
    own.feed()
    wait_until(lambda: own.client.stream_state("OUT")["messages"] > EVENTS, "some that nobody heard of", 120)
    wait_down(own.d)
    own.proxy.heal()
    wait_delivered(own.d, 2 * EVENTS)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def jetstream_source_notices_a_half_open_connection_and_loses_nothing(t):
    own = Behind(t)
    own.client.stream("IN", "in.>")
    heard = own.out_of(options=", ack_wait: 2s")
    own.d.start()
    own.put()
    heard.wait_count(EVENTS)
    own.proxy.swallow()
    own.put()
    wait_down(own.d, "source")
    own.proxy.heal()
    heard.wait(own.oracle.arrived_all, "all of them")
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")
    check_calm(own.d)


@test
def server_that_refuses_again_and_again_is_tried_for_ever(t):
    """The library would stop after 60 tries of its own; here each is ours, and the waits between them grow."""
    own = Behind(t)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    own.feed(10)
    wait_delivered(own.d, 10)
    own.server.kill()
    own.proxy.reset()
    own.feed(10)
    wait_until(lambda: own.proxy.accepted >= 6, "some tries", 120, own.d.process)
    check(sink_of(own.d)["link"]["state"] != "up", "it says that it is connected")
    own.server.start()
    wait_delivered(own.d, 20)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def server_that_the_first_one_told_of_is_used_when_that_is_gone(t):
    """A cluster of two; the daemon is given one address."""
    ports = free_port(), free_port()
    servers = []
    for i in (0, 1):
        s = Nats(t.directory / f"nats{i}", auth="token", jetstream=False)
        s.more = f"cluster {{ name: two, listen: 127.0.0.1:{ports[i]}, routes: [nats://127.0.0.1:{ports[1 - i]}] }}\n"
        t.ends(s.stop)
        s.start()
        servers.append(s)
    one, two = servers
    wait_until(lambda: one.monitor("routez")["num_routes"] and two.monitor("routez")["num_routes"], "the cluster")
    source = StreamSource(t)
    d = Daemon(t.directory, connections(t.world, "redis") + f"""
own: {{ type: nats, urls: ["nats://127.0.0.1:{one.port}"], token: {TOKEN} }}""", f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: own, subject: out }} ]""")
    t.runs(d)
    fed = Judged(source)
    told = Client(two.port, token=TOKEN)
    t.ends(told.close)
    box = told.subscribe("out")
    d.start()
    fed.feed(10)
    heard = [box.next().body for _ in range(10)]
    one.kill()
    fed.feed(10)
    wait_delivered(d, 20)
    while not fed.oracle.arrived_all(heard):
        heard.append(box.next().body)
    # One may come twice: who had it when the first one died, nobody knows.
    check_equal(fed.oracle.problems(heard, duplicates_max=10, books=d.books("r")), [],
                "problems")
    check(str(two.port) in sink_of(d)["link"]["peer"], f"its peer is {sink_of(d)['link']['peer']}")
    check_calm(d)
