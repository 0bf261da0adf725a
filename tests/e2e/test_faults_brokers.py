"""Brokers that go and come back, and parts of a relay that are sick while others are well. The table is
tests/faults.md. "At full speed" is compared by counts: the well one gets all before the sick one is mended."""
import socket
import subprocess

import clients
from broker import free_port, wait_until
from ends import RabbitSink, StreamSink, StreamSource, connection
from faults import FAULT_SECONDS, Beside, Flow, burnt_nothing, lasts, link_of, rest
from frame import Skip, check, check_equal, test, tests_over
from oracle import Oracle
from test_failures import QUICK, daemon_of
from test_pairs import Relay
from world import port_of

EVENTS = 300


def own_broker(t, kind):
    own = t.world.fresh(kind, t.directory / kind)
    t.ends(own.stop)
    return own, port_of(own, kind)


@test
def one_of_three_sinks_down_leaves_the_others_their_speed(t):
    """A hundred times what its window holds goes to the other two before the third one is there."""
    port, source = free_port(), StreamSource(t)
    sinks = {"bus": RabbitSink(t, ".bus"), "stream": StreamSink(t, ".stream")}
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to:
    - {sinks["bus"].yaml("bus")}
    - {sinks["stream"].yaml("stream")}
    - {{ name: down, connection: late, stream: {t.name}, window_events: 20 }}
  {QUICK}""", "rabbitmq", "redis", more=connection("redis", port, "late"))
    heard = {name: s.listen() for name, s in sinks.items()}
    d.start()
    oracle = Oracle(3)
    oracle.confirmed(source.feed(oracle.make(2000)))
    for listener in heard.values():
        listener.wait(oracle.arrived_all, "all events, with a sink down")
    down = next(s for s in d.route("r")["sinks"] if s["name"] == "down")
    check_equal((down["counts"]["delivered"], down["pending"], down["link"]["state"] == "up"), (0, 2000, False),
                "delivered, pending and up of the sink that is down")

    def flows():
        oracle.confirmed(source.feed(oracle.make(50)))
        for name in sinks:
            heard[name].wait_count(len(oracle.sent))
    lasts(d, flows)
    burnt_nothing(t, d, "r")
    own = redis_at(t, port)
    heard["down"] = clients.StreamListener(own, t.name)
    t.ends(heard["down"].stop)
    heard["down"].wait(oracle.arrived_all, "all events after all", clients.PATIENCE_SECONDS + FAULT_SECONDS)
    check_equal(rest(oracle, d, "r", heard), [], "problems")


def redis_at(t, port):
    with open(t.directory / "redis.log", "ab") as log:
        process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                                    str(t.directory)], stdout=log, stderr=log)
    t.ends(process.wait)
    t.ends(process.terminate)
    wait_until(lambda: clients.answers_redis(port), "redis", process=process)
    return port


@test
def flow_controlled_exchange_leaves_its_neighbour_on_the_connection(t):
    """The process of one queue sleeps: its publisher is flow-controlled, and with it the whole TCP connection. The
    other route, on the same connection entry, gets all of its events meanwhile."""
    broker, port = t.world.rabbitmq, t.world.port("rabbitmq")
    rabbit = clients.Rabbit(port)
    t.ends(rabbit.close)
    places = {n: f"{t.name}.{n}" for n in ("slow", "fast")}
    for place in places.values():
        rabbit.exchange(place, "fanout")
        rabbit.queue(place)
        rabbit.bind(place, place)
    sources = {n: StreamSource(t, f".{n}") for n in places}
    d = daemon_of(t, "".join(f"""
- name: {n}
  from: {sources[n].yaml()}
  to: [ {{ name: out, connection: rabbit, exchange: {places[n]}, routing_key: x, confirm_timeout: 1h }} ]
  {QUICK}""" for n in places), "redis", more=connection("rabbitmq", port, "rabbit"))
    d.start()
    oracles = {n: Oracle(n, prefix=n, size_max=5000) for n in places}
    t.ends(lambda: queue_sleeps(broker, places["slow"], False))
    queue_sleeps(broker, places["slow"], True)
    oracles["slow"].confirmed(sources["slow"].feed(oracles["slow"].make(2000)))
    wait_until(lambda: d.route("slow")["sinks"][0]["in_flight"] > 0, "publishes without confirm", process=d.process)
    oracles["fast"].confirmed(sources["fast"].feed(oracles["fast"].make(2000)))
    fast = clients.RabbitListener(port, places["fast"])
    t.ends(fast.stop)
    fast.wait(oracles["fast"].arrived_all, "all events of the neighbour")
    check(d.route("slow")["sinks"][0]["pending"] > 0, "the slow exchange was not held up")
    queue_sleeps(broker, places["slow"], False)
    slow = clients.RabbitListener(port, places["slow"])
    t.ends(slow.stop)
    slow.wait(oracles["slow"].arrived_all, "all events of the slow one")
    # A connection whose sending is stuck ends, and each goes on with one of its own: what was unconfirmed may
    # come again.
    check_equal(rest(oracles["fast"], d, "fast", {"out": fast}, duplicates_max=2000), [],
                "problems of the neighbour")
    check_equal(rest(oracles["slow"], d, "slow", {"out": slow}, duplicates_max=2000, ordered=False), [],
                "problems of the slow one")


def queue_sleeps(broker, queue, sleeps):
    broker.ctl("eval", 'case rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)) of {ok, Q} -> '
               "sys:%s(amqqueue:get_pid(Q)) end." % (queue, "suspend" if sleeps else "resume"))


@test
def key_parked_for_ever_fills_its_backlog_and_pauses_its_route_alone(t):
    """max_attempts: 0 and a key that can go nowhere: others flow until its held events reach max_backlog, then its
    route waits, and the route beside does not."""
    beside, source = Beside(t), StreamSource(t)
    rabbit = clients.Rabbit(t.world.port("rabbitmq"))
    t.ends(rabbit.close)
    rabbit.exchange(t.name, "direct")
    rabbit.queue(t.name)
    rabbit.bind(t.name, t.name, "good")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: rabbitmq, exchange: {t.name}, routing_key: "${{key}}" }} ]
  max_backlog: 1MiB
  retry: {{ max_attempts: 0, base_delay: 50ms, max_delay: 100ms }}
{beside.yaml()}""", "rabbitmq", "redis", more=beside.link)
    heard = clients.RabbitListener(t.world.port("rabbitmq"), t.name)
    t.ends(heard.stop)
    d.start()
    oracle = Oracle(5)

    def feed(key, count, size):
        oracle.confirmed(source.feed([oracle.add(key, b"x" * size) for _ in range(count)]))
    feed("stuck", 10, 1000)
    feed("good", 200, 100)
    heard.wait_count(200)  # of other keys
    feed("stuck", 60, 30000)
    wait_until(lambda: d.route("r")["held_back"], "the route held back", clients.PATIENCE_SECONDS, d.process)
    r = d.route("r")
    check(r["sinks"][0]["counts"]["held"] > 0, f"nothing is held: {r}")
    feed("good", 100, 100)
    lasts(d, beside.flows)
    beside.flows(500)
    check_equal(d.dead(), [], "dead letters")
    rabbit.bind(t.name, t.name, "stuck")
    heard.wait(oracle.arrived_all, "all events once the key has somewhere to go")
    check_equal(rest(oracle, d, "r", {"out": heard}), [], "problems")
    check_equal(d.route("r")["held_back"], "", "held back at the end")


@test
def rabbitmq_restarted_in_mid_flow_loses_nothing(t):
    own, port = own_broker(t, "rabbitmq")
    rabbit = clients.Rabbit(port)
    for name, kind in (("in", "topic"), ("out", "fanout")):
        rabbit.exchange(name, kind)
        rabbit.queue(name)
        rabbit.bind(name, name)
    beside = Beside(t)
    d = daemon_of(t, f"""
- name: r
  from: {{ connection: rabbit, queue: in, prefetch: 20 }}
  to: [ {{ name: out, connection: rabbit, exchange: out, routing_key: "${{address}}", window_events: 20 }} ]
  {QUICK}
{beside.yaml()}""", more="\n".join([connection("rabbitmq", port, "rabbit"), beside.link]))
    d.start()
    oracle = Oracle(6)

    def feed(count):
        for name, key, body in oracle.make(count):
            rabbit.publish("in", key, body, message_id=name)
            oracle.confirmed([name])
    feed(EVENTS)
    own.stop()
    wait_until(lambda: d.route("r")["link"]["state"] != "up", "status telling of the broker", process=d.process)
    lasts(d, beside.flows)
    beside.flows()
    own.start()
    rabbit = clients.Rabbit(port)
    t.ends(rabbit.close)
    feed(EVENTS)
    heard = clients.RabbitListener(port, "out")
    t.ends(heard.stop)
    heard.wait(oracle.arrived_all, "all events")
    burnt_nothing(t, d, "r")
    check_equal(rest(oracle, d, "r", {"out": heard}, duplicates_max=40, ordered=False), [], "problems")


CRASHES = 25
DELIVERY_LIMIT = 20


@test
def quorum_queue_with_a_delivery_limit_loses_nothing_in_25_crashes(t):
    """Each crash counts against every delivery that was out, and past its limit the queue throws a message away.
    After a crash the source begins with one delivery at a time, so none is out in every crash."""
    r = Relay(t, "rabbitmq", "stream")
    rabbit = r.source.rabbit
    rabbit.channel.queue_delete(r.source.place)
    rabbit.queue(r.source.place, {"x-delivery-limit": DELIVERY_LIMIT}, quorum=True)
    rabbit.bind(r.source.place, r.source.place)
    flow = Flow(r, 1500)
    for _ in range(CRASHES):
        before = len(r.listener.messages)
        r.daemon.start()
        wait_until(lambda n=before: len(r.listener.messages) > n or r.oracle.arrived_all(r.listener.bodies()),
                   "an arrival", clients.PATIENCE_SECONDS, r.daemon.process)
        r.daemon.kill()
    flow.done()
    r.daemon.start()
    check_equal(r.settled(redelivered=True, duplicates_max=CRASHES * 300), [], "problems")


ALARMS = {"memory": (["set_vm_memory_high_watermark", "absolute", "1MB"],
                     ["set_vm_memory_high_watermark", "absolute", "2GB"]),
          "disk": (["set_disk_free_limit", "1000000GB"], ["set_disk_free_limit", "1MB"])}


@tests_over(ALARMS, lambda a: f"rabbitmq_{a}_alarm_blocks_its_sink_and_nothing_else")
def alarm(t, kind):
    """A blocked broker takes no publish. Its sink waits, its queues are read on, its neighbours flow."""
    broker, port = t.world.rabbitmq, t.world.port("rabbitmq")
    rabbit = clients.Rabbit(port)
    t.ends(rabbit.close)
    rabbit.exchange(t.name, "fanout")
    rabbit.queue(t.name)
    rabbit.bind(t.name, t.name)
    source, beside = StreamSource(t), Beside(t)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: rabbit, exchange: {t.name}, routing_key: x }} ]
  {QUICK}
{beside.yaml()}""", "redis", more="\n".join([connection("rabbitmq", port, "rabbit"), beside.link]))
    d.start()
    oracle = Oracle(7)
    oracle.confirmed(source.feed(oracle.make(20)))
    heard = clients.RabbitListener(port, t.name)
    t.ends(heard.stop)
    heard.wait(oracle.arrived_all, "the first events")
    t.ends(lambda: broker.ctl(*ALARMS[kind][1]))  # the other tests' broker too
    broker.ctl(*ALARMS[kind][0])
    oracle.confirmed(source.feed(oracle.make(EVENTS)))
    wait_until(lambda: d.route("r")["sinks"][0]["link"]["state"] == "blocked", "status telling that it is blocked",
               process=d.process)
    lasts(d, beside.flows)
    beside.flows()
    check_equal(d.route("r")["accepted"], len(oracle.sent), "accepted while the sink is blocked")
    broker.ctl(*ALARMS[kind][1])
    heard.wait(oracle.arrived_all, "all events")
    burnt_nothing(t, d, "r")
    check_equal(rest(oracle, d, "r", {"out": heard}, ordered=False), [], "problems")


@test
def kafka_killed_and_back_loses_nothing_and_repeats_a_window(t):
    t.world.port("kafka")
    if t.world.kafka_is_mock():
        raise Skip("the mock Kafka keeps nothing over a restart")
    own, port = own_broker(t, "kafka")
    own.topic("in", 2)
    own.topic("out", 2)
    beside = Beside(t)
    d = daemon_of(t, f"""
- name: r
  from: {{ connection: own, topics: [in], group: g, start: earliest }}
  to: [ {{ name: out, connection: own, topic: out, window_events: 50 }} ]
  {QUICK}
{beside.yaml()}""", more="\n".join([connection("kafka", port, "own"), beside.link]))
    d.start()
    oracle = Oracle(8)

    def feed(count):
        events = [oracle.add(f"k{n % 5}", b"%d" % n) for n in range(count)]
        clients.kafka_produce(port, "in", [(key, body) for _, key, body in events])
        oracle.confirmed(name for name, _, _ in events)
    feed(EVENTS)
    wait_until(lambda: d.route("r")["accepted"] > 0, "a first event", clients.PATIENCE_SECONDS, d.process)
    own.kill()
    wait_until(lambda: d.route("r")["link"]["state"] != "up", "status telling of the broker",
               clients.PATIENCE_SECONDS, d.process)
    lasts(d, beside.flows)
    beside.flows()
    own.start()
    feed(EVENTS)
    heard = clients.KafkaListener(port, "out")
    t.ends(heard.stop)
    heard.wait(oracle.arrived_all, "all events")
    burnt_nothing(t, d, "r")
    check_equal(rest(oracle, d, "r", {"out": heard}, duplicates_max=100), [], "problems")


# ---- names ----

def with_names(t, daemon, hosts, resolver):
    """Starts the daemon with an /etc/hosts and a resolv.conf of the test's own, in a mount namespace."""
    (t.directory / "resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:1 attempts:2\n")
    (t.directory / "nsswitch.conf").write_text("hosts: files dns\n")
    script = (f"mount --bind {hosts} /etc/hosts && mount --bind {t.directory}/resolv.conf /etc/resolv.conf && "
              f"mount --bind {t.directory}/nsswitch.conf /etc/nsswitch.conf && exec \"$@\"")
    if subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", "true"], check=False,
                      capture_output=True).returncode != 0:
        raise Skip("no mount namespace here")
    daemon.start(wrapper=["unshare", "-m", "sh", "-c", script, "sh"])


@test
def names_that_nobody_resolves_hold_up_no_other_route(t):
    """A name server that never answers: the lookup takes its time-outs, not the loop's. Once the name is known the
    route flows."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.53", 53))
    t.ends(silent.close)
    hosts = t.directory / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    beside, source, sink = Beside(t), StreamSource(t), StreamSink(t, ".out")
    named = connection("redis", t.world.port("redis"), "named").replace("127.0.0.1", "redis.test.invalid")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml().replace("connection: redis", "connection: named")} ]
  {QUICK}
{beside.yaml()}""", "redis", more="\n".join([named, beside.link]))
    with_names(t, d, hosts, "127.0.0.53")
    heard = sink.listen()
    oracle = Oracle(9)
    oracle.confirmed(source.feed(oracle.make(50)))
    wait_until(lambda: "redis.test.invalid" in str(link_of(d, "named")) or "redis.test.invalid" in d.text(),
               "status telling of the name", clients.PATIENCE_SECONDS, d.process)
    lasts(d, beside.flows)
    beside.flows()
    check_equal(heard.bodies(), [], "arrived without a name")
    hosts.write_text("127.0.0.1 localhost redis.test.invalid\n")
    heard.wait(oracle.arrived_all, "all events")
    burnt_nothing(t, d, "r")
    check_equal(rest(oracle, d, "r", {"out": heard}, ordered=False), [], "problems")
