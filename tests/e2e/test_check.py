"""`bascule check` on files alone: what it sees without any broker."""
from daemon import Daemon
from frame import check, check_equal, test

CONNECTIONS = """
r1: { type: rabbitmq, url: "amqp://a:b@Localhost/" }
r2: { type: rabbitmq, urls: ["amqp://c:d@other:5672/%2f", "amqp://127.0.0.1:5672/%2F"] }
rv: { type: rabbitmq, url: "amqp://localhost:5672/another" }
k1: { type: kafka, brokers: ["one:9092", "two:9092"] }
k2: { type: kafka, brokers: "three:9092,TWO" }
k3: { type: kafka, brokers: ["one:9093"] }
d0: { type: redis, url: "redis://localhost" }
d1: { type: redis, url: "redis://:p,w@127.0.0.1:6379/1" }
n1: { type: nats, url: "nats://localhost" }
n2: { type: nats, urls: ["nats://x:4222", "nats://u:p@[::1]:4222"] }
"""


def warnings(t, *routes):
    """What check says of loops; each route is (name, source, sink) in YAML's words."""
    d = Daemon(t.directory, CONNECTIONS, "".join(
        f"- {{ name: {name}, from: {{ {source} }}, to: {{ name: s, {sink} }} }}\n" for name, source, sink in routes))
    got = d.verb("check", check=False)
    check_equal(got.code, 0, f"exit code of check: {got.out}{got.err}")
    return [line.split("BSC-0143: ")[1] for line in (got.out + got.err).splitlines() if "BSC-0143" in line]


def alone(t, source, sink):
    return warnings(t, ("r", source, sink))


FEEDS_ITSELF = (
    ("connection: r1, queue: q, exchange: e, binding_keys: ['order.#']", "connection: r2, exchange: e, routing_key: order"),
    ("connection: r1, queue: q, exchange: e, binding_keys: ['order.*']", "connection: r1, exchange: e"),
    ("connection: r1, queue: q", "connection: r2, routing_key: q"),
    ("connection: r1, queue: q, exchange: e, binding_keys: [x]",
     "connection: r1, exchange: e, declare: create, exchange_type: fanout, routing_key: y"),
    ("connection: r1, queue: q, bindings: [ { exchange: f }, { exchange: e, keys: ['#'] } ]",
     "connection: r1, exchange: e, routing_key: 'done.${id}'"),
    ("connection: k1, topics: [a, b], group: g", "connection: k2, topic: b"),
    ("connection: k1, topics: ['^ord.*s$'], group: g", "connection: k1, topic: orders"),
    ("connection: k1, topics: [a.copy], group: g", "connection: k1, topic: '${address}.copy'"),
    ("connection: d0, stream: s, group: g", "connection: d0, stream: 's'"),
    ("connection: d0, channels: ['news.*']", "connection: d1, channel: 'news.${id}'"),
    ("connection: d0, channels: ['a?c', b], oversize: skip", "connection: d0, channel: abc, envelope: json"),
    ("connection: n1, subjects: ['a.*.c', 'b.>']", "connection: n2, subject: 'b.x.y'"),
    ("connection: n1, stream: S, subjects: ['a.>'], durable: d", "connection: n1, subject: 'a.${id}', stream: S"),
    ("connection: n1, stream: S, durable: d", "connection: n1, subject: 'x', stream: S"),
    ("connection: n1, bucket: b, durable: d", "connection: n1, bucket: b, bucket_key: '${key}'"),
)

DOES_NOT = (
    ("connection: r1, queue: q, exchange: e, binding_keys: ['order.#']", "connection: r2, exchange: e, routing_key: orders"),
    ("connection: r1, queue: q, exchange: e, binding_keys: ['order.*']", "connection: r1, exchange: e, routing_key: 'done.${key}'"),
    ("connection: r1, queue: q, exchange: e, binding_keys: ['#']", "connection: rv, exchange: e"),
    ("connection: r1, queue: q, exchange: e, binding_keys: ['#']", "connection: r1, exchange: f"),
    ("connection: k1, topics: [a, b], group: g", "connection: k3, topic: b"),
    ("connection: k1, topics: ['^ord.*s$'], group: g", "connection: k1, topic: 'copy.${address}'"),
    ("connection: k1, topics: [a], group: g", "connection: k1, topic: 'copy.${address}'"),
    ("connection: d0, stream: s, group: g", "connection: d1, stream: s"),
    ("connection: n1, subjects: ['a.*']", "connection: n1, subject: a.b.c"),
    ("connection: n1, stream: S, subjects: ['a.>'], durable: d", "connection: n1, subject: 'a.b', stream: T"),
)


@test
def check_sees_a_route_that_writes_what_it_reads_over_whatever_connection(t):
    for source, sink in FEEDS_ITSELF:
        got = alone(t, source, sink)
        check(len(got) == 1 and "which it reads itself" in got[0], f"{source} -> {sink}: {got}")
    for source, sink in DOES_NOT:
        check_equal(alone(t, source, sink), [], f"{source} -> {sink}")


@test
def check_sees_routes_that_feed_each_other(t):
    a = ("a", "connection: r1, queue: in, exchange: e, binding_keys: ['x.#']", "connection: k1, topic: 'out.${key}'")
    b = ("b", "connection: k2, topics: [out.1], group: g", "connection: d0, stream: s")
    c = ("c", "connection: d0, stream: s, group: g", "connection: r2, exchange: e, routing_key: x.y")
    check_equal(warnings(t, a, b), [], "a line of routes")
    check_equal(warnings(t, a, b, c),
                ["routes feed each other: a \u2192 b \u2192 c \u2192 a: the hop count ends it"], "a round of three")
    lossy = ("b", "connection: k2, topics: [out.1], group: g", "connection: d0, channel: s")
    heard = ("c", "connection: d1, channels: ['[st]']", "connection: r2, exchange: e, routing_key: x.y")
    check_equal(warnings(t, a, lossy, heard),
                ["routes feed each other: a \u2192 b \u2192 c \u2192 a: no hop count travels there, so nothing ends it"],
                "a round through a channel")


@test
def check_sees_a_round_over_another_routes_binding(t):
    """Route b binds the queue; a, which only reads it, gets what comes through that binding too."""
    a = ("a", "connection: r1, queue: q", "connection: r1, exchange: e, routing_key: k")
    b = ("b", "connection: r2, queue: q, exchange: e, binding_keys: [k]", "connection: k1, topic: t")
    got = warnings(t, a, b)
    check(len(got) == 1 and got[0].startswith("route 'a' writes exchange e"), f"{got}")


@test
def check_names_a_long_round_by_its_beginning(t):
    routes = [(f"route-number-{i}", f"connection: k1, topics: [t{i}], group: g",
               f"connection: k2, topic: t{(i + 1) % 60}") for i in range(60)]
    got = warnings(t, *routes)
    check_equal(len(got), 1, "warnings")
    check("\u2026 \u2192 route-number-0: the hop count ends it" in got[0], f"{got}")


REFUSED = (  # what librdkafka refuses: alone, with another property, with ours, with a sink's timeout
    ("properties: { linger.ms: never }", "", "linger.ms"),
    ("properties: { no.such.property: 1 }", "", "no.such.property"),
    ("properties: { fetch.max.bytes: 1000, message.max.bytes: 2000 }", "", "fetch.max.bytes"),
    ("properties: { max.in.flight: 6 }", "", "max.in.flight"),
    ("properties: { session.timeout.ms: 3600000, heartbeat.interval.ms: 3600000, "
     "queued.min.messages: 10, reconnect.backoff.ms: 20000 }", "", "reconnect.backoff.max.ms"),
    ("properties: { linger.ms: 3000 }", ", confirm_timeout: 2s", "confirm_timeout does not go with connection 'k'"),
)


@test
def check_tells_a_property_that_librdkafka_refuses(t):
    def said(connection, sink):
        d = Daemon(t.directory, f"k: {{ type: kafka, brokers: one, {connection} }}", f"""
- name: r
  from: {{ connection: k, topics: a, group: g }}
  to: {{ name: s, connection: k, topic: b {sink} }}""")
        got = d.verb("check", check=False)
        return got.code, got.out + got.err

    for connection, sink, words in REFUSED:
        code, text = said(connection, sink)
        check(code == 78 and words in text, f"{connection}{sink}: exit {code}: {text}")
    check_equal(said("properties: { linger.ms: 3000 }", "")[0], 0, "exit code where all is well")
