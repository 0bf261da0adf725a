"""The test clients themselves, each from its producer to its listener without the program between."""
import subprocess
from pathlib import Path

import clients
from ends import SINKS, JetStreamSink, JetStreamSource, NatsSink, NatsSource
from frame import check, check_equal, test


@test
def client_rabbitmq_hears_what_it_says(t):
    sink = SINKS["rabbitmq"](t)
    heard = sink.listen()
    r = clients.Rabbit(sink.port)
    t.ends(r.close)
    r.publish(sink.place, "a.b", b"x\x00y", message_id="1", headers={"n": 5})
    heard.wait_count(1)
    check_equal(heard.messages[0], clients.Message(b"x\x00y", "a.b", None, {"n": 5}, "1"), "message")


@test
def client_kafka_hears_what_it_says(t):
    sink = SINKS["kafka"](t)
    heard = sink.listen()
    clients.kafka_produce(sink.port, sink.place, [("k1", b"one"), ("k2", b"two")], {"h": "v"})
    heard.wait_count(2)
    check_equal(sorted(heard.bodies()), [b"one", b"two"], "bodies")
    check_equal(heard.messages[0].headers, {"h": "v"}, "headers")


@test
def client_redis_hears_what_it_says(t):
    channel, stream = SINKS["channel"](t), SINKS["stream"](t, ".s")
    heard, read = channel.listen(), stream.listen()
    r = clients.redis_client(channel.port)
    t.ends(r.close)
    r.publish(channel.place, b"one")
    r.xadd(stream.place, {"body": b"two", "message-id": "7"})
    heard.wait_count(1)
    read.wait_count(1)
    check_equal((heard.bodies(), read.bodies(), read.messages[0].id), ([b"one"], [b"two"], "7"), "heard")


@test
def client_nats_hears_what_it_says(t):
    """Until somebody has subscribed, nothing is taken for heard."""
    subject, stream = NatsSink(t, ".in.k"), JetStreamSink(t, ".s")
    source = NatsSource(t)
    check(not source.publish_heard("0", "k", b"nobody"), "a message to nobody was heard")
    heard, read = subject.listen(), stream.listen()
    list(source.feed([("1", "k", b"one"), ("2", "k", b"two")]))
    source.nats.js_publish(stream.place, b"three\x00", {"message-id": "3", "X": "y"})
    heard.wait_count(2)
    read.wait_count(1)
    check_equal((heard.bodies(), heard.messages[0].id), ([b"one", b"two"], "1"), "heard")
    check_equal(read.messages[0], clients.Message(
        b"three\x00", stream.place, None, (("message-id", "3"), ("X", "y")), "3"), "read")


@test
def client_jetstream_feeds_in_order(t):
    source = JetStreamSource(t)
    check_equal(list(source.feed([(f"n{n}", "k", b"%d" % n) for n in range(700)])),
                [f"n{n}" for n in range(700)], "confirmed names")
    list(source.feed([("n0", "k", b"again")]))
    check_equal(source.nats.stream_state(source.stream)["messages"], 700, "messages in the stream")


@test
def nats_by_hand_agrees_with_the_server(t):
    """The client is our own: what it says is judged by a second one and by the server's monitoring."""
    own = Path(__file__).resolve().parent.parent / "brokers/test_nats.py"
    got = subprocess.run([own], capture_output=True, text=True, check=False, timeout=clients.PATIENCE_SECONDS)
    check(got.returncode == 0, got.stderr)
