"""How the conformance suite feeds and hears each real broker: by pika, python3-redis, python3-kafka and
NATS by hand, none of which shares code with what the links use. One End for each kind of place; a fixture names it."""
import threading

import kafka
import kafka.admin
import kafka.errors
import pika
import redis

from broker import wait_until
from nats_client import Nats, NatsError
from proxy import Proxy

PATIENCE_SECONDS = 60


def body(n):
    return b"message %07d" % n


def key(n):
    return b"k%d" % (n % 5)


class Listener:
    """Collects bodies in a thread of its own, from before the constructor returns until close(). take() waits
    a moment for messages and returns their bodies; closes() lets go."""

    def __init__(self):
        self.bodies, self.error, self.over = [], None, threading.Event()
        self.subscribe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.over.is_set():
                self.bodies += self.take()
            self.closes()
        except Exception as e:  # told by lacks(), in the thread of who asks
            self.error = e

    def lacks(self, wanted):
        """Waits until every body of `wanted` has come; returns how many have not."""
        def missing():
            return set(wanted) - set(list(self.bodies))
        try:
            wait_until(lambda: self.error or not missing(), "messages", PATIENCE_SECONDS)
        except RuntimeError:
            pass
        if self.error:
            raise self.error
        return len(missing())

    def close(self):
        self.over.set()
        self.thread.join(PATIENCE_SECONDS)


class RabbitEnd:
    """A queue for sources, bound to a topic exchange for sinks, both named as the place."""
    broker = "rabbitmq"

    def __init__(self, broker):
        self.server = broker

    def channel(self):
        return pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", self.server.port, credentials=pika.PlainCredentials("app", "secret"),
            heartbeat=0)).channel()

    def place(self, name):
        ch = self.channel()
        self.declare(ch, name)
        ch.connection.close()

    @staticmethod
    def declare(ch, name):
        ch.queue_declare(name, durable=True, arguments={"x-queue-type": "classic"})
        ch.exchange_declare(name, "topic", durable=True)
        ch.queue_bind(name, name, "#")

    def feed(self, place, first, count):
        ch = self.channel()
        for n in range(first, first + count):
            ch.basic_publish("", place, body(n), pika.BasicProperties(
                headers={"n": n, "key": key(n).decode()}, message_id=f"m{n}", delivery_mode=2))
        ch.queue_declare(place, passive=True)  # answered after all of them
        ch.connection.close()

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.channel = end.channel()

            def take(self):
                got = []
                for method, _, content in self.channel.consume(place, auto_ack=True,
                                                               inactivity_timeout=0.05):
                    if not method:
                        break
                    got.append(content)
                return got

            def closes(self):
                self.channel.connection.close()
        return It()

    def cut(self):
        self.server.ctl("close_all_connections", "cut")


class RedisEnd:
    broker = "redis"

    def __init__(self, broker):
        self.server = broker

    def client(self, name=None):
        return redis.Redis("127.0.0.1", self.server.port, socket_timeout=PATIENCE_SECONDS,
                           client_name=name)

    def cut(self):
        # Our own command connection asks, and listeners of this file would be cut too: they are left alone.
        r = self.client()
        ours = {c["id"] for c in r.client_list() if c["name"] == "listener"} | {str(r.client_id())}
        for c in r.client_list():
            if c["id"] not in ours:
                try:
                    r.client_kill_filter(_id=c["id"])
                except redis.ResponseError:
                    pass  # gone by itself
        r.close()


class StreamEnd(RedisEnd):
    def feed(self, place, first, count):
        with self.client() as r:
            p = r.pipeline(transaction=False)
            for n in range(first, first + count):
                p.xadd(place, {"body": body(n), "key": key(n), "n": str(n)})
            p.execute()

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.r = end.client("listener")
                self.last = b"0"

            def take(self):
                got = []
                for _, entries in self.r.xread({place: self.last}, count=1000, block=50) or ():
                    for self.last, fields in entries:
                        got.append(fields.get(b"body", b""))
                return got

            def closes(self):
                self.r.close()
        return It()


class ChannelEnd(RedisEnd):
    def feed(self, place, first, count):
        with self.client() as r:
            p = r.pipeline(transaction=False)
            for n in range(first, first + count):
                p.publish(place, body(n))
            p.execute()

    def subscribers(self, place):
        with self.client() as r:
            return r.pubsub_numsub(place)[0][1]

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.p = end.client("listener").pubsub()
                self.p.subscribe(place)
                while not (self.p.get_message(timeout=PATIENCE_SECONDS) or {}).get("type") == "subscribe":
                    pass

            def take(self):
                m = self.p.get_message(timeout=0.05)
                return [m["data"]] if m and m["type"] == "message" else []

            def closes(self):
                self.p.close()
        return It()


class KafkaEnd:
    """A topic of two partitions."""
    broker = "kafka"

    def __init__(self, broker):
        self.server = broker

    def place(self, name):
        admin = kafka.admin.KafkaAdminClient(bootstrap_servers=self.address())
        try:
            admin.create_topics([kafka.admin.NewTopic(name, 2, 1)])
        except kafka.errors.TopicAlreadyExistsError:
            pass
        admin.close()

    def address(self):
        return f"127.0.0.1:{self.server.port}"

    def feed(self, place, first, count):
        p = kafka.KafkaProducer(bootstrap_servers=self.address(), acks="all", linger_ms=5)
        sent = [p.send(place, body(n), key=key(n), headers=[("n", b"%d" % n)])
                for n in range(first, first + count)]
        for s in sent:
            s.get(PATIENCE_SECONDS)
        p.close()

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.c = kafka.KafkaConsumer(bootstrap_servers=end.address())
                self.c.assign([kafka.TopicPartition(place, n) for n in (0, 1)])
                self.c.seek_to_beginning()

            def take(self):
                return [r.value for records in self.c.poll(50).values() for r in records]

            def closes(self):
                self.c.close()
        return It()

    def cut(self):
        raise RuntimeError("Kafka cannot cut its clients")


class NatsEnd:
    """Links come to a server without TLS through a line that can be cut. A server that cuts a user off by itself makes
    its subjects anew meanwhile, and what others publish then on a plain one reaches nobody."""
    broker = "nats"

    def __init__(self, broker):
        self.server = broker
        if broker.plain and not broker.line:
            broker.line = Proxy(broker.port)

    def client(self):
        return Nats(self.server.port)

    def listener(self):
        """Another user than those that are cut."""
        return Nats(self.server.port, seed_file=self.server.keys.seed_file)

    def cut(self):
        if self.server.line:
            self.server.line.reset()
            return
        self.server.revoke("app")
        self.server.revoke()


class JetStreamEnd(NatsEnd):
    """A stream of the place's subject, named as it but for its dots."""

    def place(self, name):
        c = self.client()
        c.stream(name.replace(".", "_"), name)
        c.close()

    def feed(self, place, first, count):
        c = self.client()
        for _ in c.publish_all((place, body(n), {"n": str(n), "key": key(n).decode()})
                               for n in range(first, first + count)):
            pass
        c.close()

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.c, self.sequence = end.listener(), 1

            def take(self):
                try:
                    m = self.c.stored(place.replace(".", "_"), self.sequence)
                except NatsError:
                    self.over.wait(0.02)  # between looks
                    return []
                self.sequence += 1
                return [m.body]

            def closes(self):
                self.c.close()
        return It()


class JetStreamTlsEnd(JetStreamEnd):
    broker = "nats_tls"

    def client(self):
        return Nats(self.server.port, seed_file=self.server.keys.seed_file,
                    tls=self.server.certificates / "ca.pem")

    listener = client


class SubjectEnd(NatsEnd):
    def subscribers(self, place):
        return sum(place in c.get("subscriptions_list", ())
                   for c in self.server.monitor("connz?subs=1")["connections"])

    def feed(self, place, first, count):
        c = self.client()
        for n in range(first, first + count):
            c.publish(place, body(n), {"n": str(n), "key": key(n).decode()})
        c.flush()
        c.close()

    def listen(self, place):
        end = self

        class It(Listener):
            def subscribe(self):
                self.c = end.listener()
                self.sub = self.c.subscribe(place)

            def take(self):
                m = self.sub.next(0.05)
                return [m.body] if m else []

            def closes(self):
                self.c.close()
        return It()


ENDS = {"rabbitmq": RabbitEnd, "redis_stream": StreamEnd, "redis_channel": ChannelEnd, "kafka": KafkaEnd,
        "nats_stream": JetStreamEnd, "nats_stream_tls": JetStreamTlsEnd, "nats_subject": SubjectEnd}
