"""The ends of a route as tests see them: made at a broker, told in YAML, fed and listened to.

A source end has make(), yaml() and feed(events), where an event is (name, key, body) and feed returns the
names that the broker has confirmed. A sink end has make(), yaml() and listen()."""
import base64

import clients
import pika
from broker import wait_until


def connection(broker, port, name=None, more=""):
    """YAML of a connection; more: further options of it."""
    texts = {"rabbitmq": f'type: rabbitmq, url: "amqp://app:secret@127.0.0.1:{port}/"',
             "kafka": f'type: kafka, brokers: ["127.0.0.1:{port}"]',
             "redis": f'type: redis, url: "redis://127.0.0.1:{port}/0"',
             "nats": f'type: nats, urls: ["nats://127.0.0.1:{port}"]'}
    return f"{name or broker}: {{ {texts[broker]}{', ' + more if more else ''} }}"


def connections(world, *names):
    """YAML of the connections that these brokers have."""
    return "\n".join(connection(n, world.port(n)) for n in sorted(set(names)))


class End:
    """`place` is the name of the queue, topic, channel or stream, of this test alone."""
    broker = None
    confirms = True     # a source: what feed() returned is kept by the broker until it is acknowledged
    exact = True        # feed() can send any bytes
    has_key = True      # carries the event's key so that order can be asked for
    late = False        # after a crash it may give new messages before those that the dead consumer held

    def __init__(self, t, suffix=""):
        self.t, self.place = t, f"{t.name}{suffix}"
        self.port = t.world.port(self.broker)
        self.make()

    def make(self):
        pass

    def ready(self):
        """Waits until the running route would get what is fed now."""


# ---- sources ----

class RabbitSource(End):
    broker = "rabbitmq"
    order_key = "${address}"
    late = True
    quorum = False

    def make(self):
        self.rabbit = clients.Rabbit(self.port)
        self.t.ends(self.rabbit.close)
        self.rabbit.exchange(self.place)
        self.rabbit.queue(self.place, quorum=self.quorum)
        self.rabbit.bind(self.place, self.place)

    def yaml(self):
        return f"{{ connection: rabbitmq, queue: {self.place} }}"

    def feed(self, events):
        for name, key, body in events:
            self.rabbit.publish(self.place, key, body, message_id=name, headers={"key": key})
            yield name


class QuorumSource(RabbitSource):
    """Here the program declares queue and bindings itself."""
    quorum = True

    def make(self):
        self.rabbit = clients.Rabbit(self.port)
        self.t.ends(self.rabbit.close)
        self.rabbit.exchange(self.place)

    def yaml(self):
        return (f'{{ connection: rabbitmq, queue: {self.place}, exchange: {self.place}, '
                f'binding_keys: ["#"] }}')

    def ready(self):
        def bound():
            # Passive, on a channel of its own: a missing queue closes it.
            probe = self.rabbit.connection.channel()
            try:
                probe.queue_declare(self.place, passive=True)
                return True
            except pika.exceptions.ChannelClosedByBroker:
                return False
            finally:
                if probe.is_open:
                    probe.close()
        wait_until(bound, f"queue {self.place}", clients.PATIENCE_SECONDS)

    def feed(self, events):
        for name, key, body in events:
            wait_until(lambda n=name, k=key, b=body: self._routed(n, k, b), "binding",
                       clients.PATIENCE_SECONDS)
            yield name

    def _routed(self, name, key, body):
        try:
            self.rabbit.publish(self.place, key, body, message_id=name, headers={"key": key})
            return True
        except pika.exceptions.UnroutableError:
            return False  # the queue is there, its binding not yet


class KafkaSource(End):
    broker = "kafka"
    order_key = None  # the record's own
    exact = False     # kcat ends a record at a newline
    BATCH = 200

    def make(self):
        self.t.world.topic(self.place)

    def yaml(self):
        return (f"{{ connection: kafka, topics: [{self.place}], group: {self.place}, start: earliest }}")

    def feed(self, events):
        for i in range(0, len(events), self.BATCH):
            part = events[i:i + self.BATCH]
            clients.kafka_produce(self.port, self.place, [(key, body) for _, key, body in part])
            yield from (name for name, _, _ in part)


class ChannelSource(End):
    broker = "redis"
    order_key = "${address}"
    confirms = False

    def make(self):
        self.redis = clients.redis_client(self.port)
        self.t.ends(self.redis.close)

    def yaml(self):
        return f'{{ connection: redis, channels: ["{self.place}.in.*"] }}'

    def feed(self, events):
        for number, (name, key, body) in enumerate(events):
            if number == 0:  # until the program has subscribed, it would go to nobody
                wait_until(lambda k=key, b=body: self.publish(k, b), "subscription",
                           clients.PATIENCE_SECONDS)
                yield name
            elif self.publish(key, body):
                yield name

    def publish(self, key, body):
        return self.redis.publish(f"{self.place}.in.{key}", body) > 0


class StreamSource(End):
    broker = "redis"
    order_key = None  # the field `key` is the record's own

    def make(self):
        self.redis = clients.redis_client(self.port)
        self.t.ends(self.redis.close)

    def yaml(self):
        return f"{{ connection: redis, stream: {self.place}, group: {self.place} }}"

    def feed(self, events):
        for name, key, body in events:
            self.redis.xadd(self.place, {"body": body, "message-id": name, "key": key})
            yield name


class NatsSource(End):
    """Core NATS: plain subjects."""
    broker = "nats"
    order_key = "${address}"
    confirms = False

    def make(self):
        self.nats = clients.nats_client(self.port)
        self.t.ends(self.nats.close)

    def yaml(self):
        return f'{{ connection: nats, subjects: ["{self.place}.in.*"] }}'

    def feed(self, events):
        for number, (name, key, body) in enumerate(events):
            if number == 0:  # until the program has subscribed, it would go to nobody
                wait_until(lambda n=name, k=key, b=body: self.publish_heard(n, k, b), "subscription",
                           clients.PATIENCE_SECONDS)
            else:
                self.nats.publish(f"{self.place}.in.{key}", body, {"message-id": name})
            yield name
        self.nats.flush()

    def publish(self, key, body):
        self.nats.publish(f"{self.place}.in.{key}", body)
        self.nats.flush()

    def publish_heard(self, name, key, body):
        """The server says at once when nobody is there who could answer."""
        probe = self.nats.subscribe(f"{self.place}.probe")
        self.nats.publish(f"{self.place}.in.{key}", body, {"message-id": name}, f"{self.place}.probe")
        self.nats.flush()
        heard = not probe.waiting
        probe.end()
        return heard


class JetStreamSource(End):
    broker = "nats"
    order_key = "${address}"
    late = True

    def make(self):
        self.nats = clients.nats_client(self.port)
        self.t.ends(self.nats.close)
        self.stream = stream_name(self.place)
        self.nats.stream(self.stream, f"{self.place}.in.>")

    def yaml(self):
        return f"{{ connection: nats, stream: {self.stream}, durable: bascule, ack_wait: 2s }}"

    def feed(self, events):
        acks = self.nats.publish_all(
            (f"{self.place}.in.{key}", body, {"Nats-Msg-Id": name}) for name, key, body in events)
        for (name, _, _), _ in zip(events, acks):
            yield name


class BucketSource(JetStreamSource):
    """A key-value bucket that keeps every change."""
    order_key = None  # the bucket's own

    def make(self):
        self.nats = clients.nats_client(self.port)
        self.t.ends(self.nats.close)
        self.bucket = stream_name(self.place)
        make_bucket(self.nats, self.bucket)

    def yaml(self):
        return f"{{ connection: nats, bucket: {self.bucket}, durable: bascule, ack_wait: 2s }}"

    def feed(self, events):
        acks = self.nats.publish_all((f"$KV.{self.bucket}.{key}", body, {}) for _, key, body in events)
        for (name, _, _), _ in zip(events, acks):
            yield name


def stream_name(place):
    return place.replace(".", "_")


def make_bucket(client, name):
    """As a bucket, but for the number of changes of a key that it keeps, which is at most 64 there."""
    client.stream(f"KV_{name}", f"$KV.{name}.>", allow_rollup_hdrs=True, deny_delete=True, allow_direct=True)


# ---- sinks ----

class RabbitSink(End):
    broker = "rabbitmq"

    def make(self):
        r = clients.Rabbit(self.port)
        r.exchange(self.place, "fanout")
        r.queue(self.place + ".copy")
        r.bind(self.place + ".copy", self.place)
        r.close()

    def yaml(self, name="out"):
        return f'{{ name: {name}, connection: rabbitmq, exchange: {self.place}, routing_key: "${{address}}" }}'

    def listen(self):
        return self._ending(clients.RabbitListener(self.port, self.place + ".copy"))

    def _ending(self, listener):
        self.t.ends(listener.stop)
        return listener


class KafkaSink(RabbitSink):
    broker = "kafka"

    def make(self):
        self.t.world.topic(self.place)

    def yaml(self, name="out"):
        return f"{{ name: {name}, connection: kafka, topic: {self.place} }}"

    def listen(self):
        return self._ending(clients.KafkaListener(self.port, self.place))


class ChannelSink(RabbitSink):
    broker = "redis"

    def make(self):
        pass

    def yaml(self, name="out"):
        return f"{{ name: {name}, connection: redis, channel: {self.place} }}"

    def listen(self):
        return self._ending(clients.ChannelListener(self.port, self.place))


class StreamSink(ChannelSink):
    def yaml(self, name="out"):
        return f"{{ name: {name}, connection: redis, stream: {self.place} }}"

    def listen(self):
        return self._ending(clients.StreamListener(self.port, self.place))


class NatsSink(RabbitSink):
    """Core NATS: plain subjects."""
    broker = "nats"

    def make(self):
        pass

    def yaml(self, name="out"):
        return f"{{ name: {name}, connection: nats, subject: {self.place} }}"

    def listen(self):
        return self._ending(clients.SubjectListener(self.port, self.place))


class JetStreamSink(NatsSink):
    def make(self):
        self.stream = stream_name(self.place)
        c = clients.nats_client(self.port)
        c.stream(self.stream, self.place)
        c.close()

    def yaml(self, name="out"):
        return f"{{ name: {name}, connection: nats, subject: {self.place}, stream: {self.stream} }}"

    def listen(self):
        return self._ending(clients.JetStreamListener(self.port, self.stream))


class BucketSink(NatsSink):
    def make(self):
        self.bucket = stream_name(self.place)
        c = clients.nats_client(self.port)
        make_bucket(c, self.bucket)
        c.close()

    def yaml(self, name="out"):
        return f'{{ name: {name}, connection: nats, bucket: {self.bucket}, bucket_key: "${{address}}" }}'

    def listen(self):
        return self._ending(clients.JetStreamListener(self.port, f"KV_{self.bucket}"))


SOURCES = {"rabbitmq": RabbitSource, "quorum": QuorumSource, "kafka": KafkaSource,
           "channel": ChannelSource, "stream": StreamSource, "nats": NatsSource, "jetstream": JetStreamSource,
           "bucket": BucketSource}
SINKS = {"rabbitmq": RabbitSink, "kafka": KafkaSink, "channel": ChannelSink, "stream": StreamSink,
         "nats": NatsSink, "jetstream": JetStreamSink, "bucket": BucketSink}


def printable(events, oracle):
    """The same events with bodies that a line-based client can send; the oracle is told."""
    ret = []
    for name, key, body in events:
        text = base64.b64encode(body[len(name) + 1:])
        body = name.encode() + b" " + text
        oracle.sent[name] = oracle.sent[name]._replace(body=body)
        ret.append((name, key, body))
    return ret
