"""What goes out to another broker from NATS and comes back is what went in."""
import clients
from daemon import Daemon
from ends import JetStreamSink, JetStreamSource, connections
from frame import check_equal, tests_over

# Names that repeat and differ only in case, order, blanks, nothing, signs that other brokers use for
# themselves, and text beyond ASCII.
HEADERS = (("Zeta", "1"), ("alpha", "one"), ("Alpha", "two"), ("alpha", "three"), ("Empty", ""),
           ("Blank", "  two  blanks "), ("Colons", "a:b:c"), ("dash-and_under", "x"), ("Umlaut", "grün ☃"),
           ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("n", "007"),
           ("Content-Type", "application/json"))
BODIES = [b"", b"\x00\xff\r\n", b'{"a": 1}']


def between(t, broker):
    """The two ends at the broker in the middle: what is written, what is read."""
    place = t.name + ".mid"
    if broker == "kafka":
        t.world.topic(place)
        return f"topic: {place}", f"topics: [{place}], group: {place}, start: earliest"
    if broker == "rabbitmq":
        r = clients.Rabbit(t.world.port("rabbitmq"))
        t.ends(r.close)
        r.exchange(place, "fanout")
        r.queue(place)
        r.bind(place, place)
        return f'exchange: {place}, routing_key: "${{address}}"', f"queue: {place}"
    return f"stream: {place}", f"stream: {place}, group: g"


def users(headers):
    """What the publisher has set: without the server's and the program's own, and the exchange it went by."""
    return tuple((n, v) for n, v in headers
                 if not n.startswith(("Nats-", "bascule-")) and n not in ("message-id", "exchange"))


@tests_over(["kafka", "rabbitmq", "redis"], lambda broker: f"nats_to_{broker}_to_nats_gives_back_what_went_in")
def there_and_back(t, broker):
    source, sink = JetStreamSource(t), JetStreamSink(t, ".out")
    to, from_ = between(t, broker)
    d = Daemon(t.directory, connections(t.world, "nats", broker), f"""
- name: there
  from: {source.yaml()}
  to: [ {{ name: mid, connection: {broker}, {to} }} ]
  ordering: source
- name: back
  from: {{ connection: {broker}, {from_} }}
  to: [ {sink.yaml()} ]
  ordering: source""")
    t.logs.append(d.log)
    t.ends(d.kill)
    heard = sink.listen()
    d.start()
    for n, body in enumerate(BODIES):
        source.nats.js_publish(f"{source.place}.in.k", body, HEADERS, message_id=f"id-{n}")
    heard.wait_count(len(BODIES))
    check_equal(heard.bodies(), BODIES, "bodies")
    check_equal([m.id for m in heard.messages], [f"id-{n}" for n in range(len(BODIES))], "ids")
    for m in heard.messages:
        check_equal(users(m.headers), HEADERS, "headers")
