"""Test clients of each broker, independent of the libraries that the program uses: pika, redis-py, kcat, and
NATS by hand.

A listener collects messages in a thread of its own: `messages` are Message, in order of arrival."""
import subprocess
import threading
from collections import namedtuple

import pika
import redis

from broker import wait_until
from nats_client import Nats, NatsError
from oracle import name_of

Message = namedtuple("Message", "body address key headers id", defaults=(None, None, None, None))
PATIENCE_SECONDS = 120


class Listener:
    """Subclasses run listen() in a thread until `over`; they put() what comes."""

    def __init__(self):
        self.messages, self.over, self.error = [], threading.Event(), None
        self.journal = None  # oracle.Journal of what came, once a test has set it
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.ready.is_set() or self.error, "listener", PATIENCE_SECONDS)
        self._raise()

    def _raise(self):
        if self.error:
            raise RuntimeError(f"{type(self).__name__}: {self.error!r}")

    def _run(self):
        try:
            self.listen()
        except Exception as e:  # told to the test's own thread by wait()
            self.error = e

    def put(self, body, **rest):
        if self.journal:
            self.journal.add(name_of(body), body)
        self.messages.append(Message(bytes(body), **rest))

    def bodies(self):
        return [m.body for m in list(self.messages)]

    def wait(self, condition, what, seconds=PATIENCE_SECONDS):
        """Until condition(bodies) holds. Looks again only when something came."""
        seen = [-1]

        def holds():
            self._raise()
            n = len(self.messages)
            if n == seen[0]:
                return False
            seen[0] = n
            return condition(self.bodies())
        try:
            wait_until(holds, what, seconds)
        except RuntimeError as e:
            raise RuntimeError(f"{e}; {len(self.messages)} messages came") from None

    def wait_count(self, count, seconds=PATIENCE_SECONDS):
        self.wait(lambda bodies: len(bodies) >= count, f"{count} messages", seconds)

    def stop(self):
        self.over.set()
        self.thread.join(30)


# ---- RabbitMQ ----

class Rabbit:
    """One channel in confirm mode."""

    def __init__(self, port, user="app", password="secret"):
        self.parameters = pika.ConnectionParameters(
            "127.0.0.1", port, credentials=pika.PlainCredentials(user, password), heartbeat=600,
            blocked_connection_timeout=PATIENCE_SECONDS)
        self.connection = pika.BlockingConnection(self.parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def queue(self, name, arguments=None, quorum=False):
        args = {"x-queue-type": "quorum"} if quorum else {}
        self.channel.queue_declare(name, durable=True, arguments={**args, **(arguments or {})})
        return name

    def exchange(self, name, kind="topic"):
        self.channel.exchange_declare(name, kind, durable=True)
        return name

    def bind(self, queue, exchange, key="#"):
        self.channel.queue_bind(queue, exchange, key)

    def publish(self, exchange, key, body, mandatory=True, **properties):
        """Returns when confirmed; raises UnroutableError, NackError."""
        self.channel.basic_publish(exchange, key, body, mandatory=mandatory,
                                   properties=pika.BasicProperties(delivery_mode=2, **properties))

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def close(self):
        try:
            self.connection.close()
        except pika.exceptions.AMQPError:
            pass


class RabbitListener(Listener):
    def __init__(self, port, queue):
        self.port, self.queue = port, queue
        super().__init__()

    def listen(self):
        r = Rabbit(self.port)
        r.channel.basic_qos(prefetch_count=1000)
        r.channel.basic_consume(self.queue, self._take, auto_ack=False)
        self.ready.set()
        while not self.over.is_set():
            r.connection.process_data_events(time_limit=0.1)
        r.close()

    def _take(self, channel, method, properties, body):
        self.put(body, address=method.routing_key, headers=dict(properties.headers or {}),
                 id=properties.message_id)
        channel.basic_ack(method.delivery_tag)


# ---- Kafka ----

def kafka_produce(port, topic, events, headers=None):
    """events: (key, body) pairs without tab or newline in the key and newline in the body. Returns when all
    are acknowledged by all replicas."""
    lines = b"".join(key.encode() + b"\t" + body + b"\n" for key, body in events)
    command = ["kcat", "-P", "-b", f"127.0.0.1:{port}", "-t", topic, "-K", "\t", "-X", "acks=all",
               "-X", "enable.idempotence=true", "-X", "partitioner=murmur2_random"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}={value}"]
    subprocess.run(command, input=lines, check=True, capture_output=True, timeout=PATIENCE_SECONDS)


class KafkaListener(Listener):
    """From the beginning of the topic."""

    def __init__(self, port, topic):
        self.port, self.topic = port, topic
        self.process = subprocess.Popen(
            ["kcat", "-C", "-u", "-q", "-b", f"127.0.0.1:{port}", "-t", topic, "-o", "beginning",
             "-X", "topic.metadata.refresh.interval.ms=500", "-X", "isolation.level=read_committed",
             "-f", "%K %S %h\n%k%s"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        super().__init__()

    def listen(self):
        self.ready.set()
        out = self.process.stdout
        while True:
            head = out.readline()
            if not head:
                return
            key_bytes, body_bytes, headers = head.rstrip(b"\n").split(b" ", 2)
            key = out.read(int(key_bytes)) if int(key_bytes) >= 0 else None
            body = out.read(int(body_bytes)) if int(body_bytes) > 0 else b""
            pairs = dict(h.split("=", 1) for h in headers.decode(errors="replace").split(",") if "=" in h)
            self.put(body, address=self.topic, key=key, headers=pairs, id=pairs.get("message-id"))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        super().stop()


# ---- Redis ----

def redis_client(port):
    return redis.Redis("127.0.0.1", port, socket_timeout=PATIENCE_SECONDS)


class ChannelListener(Listener):
    def __init__(self, port, pattern):
        self.port, self.pattern = port, pattern
        super().__init__()

    def listen(self):
        p = redis_client(self.port).pubsub(ignore_subscribe_messages=False)
        p.psubscribe(self.pattern)
        while not self.over.is_set():
            m = p.get_message(timeout=0.1)
            if m and m["type"] == "psubscribe":
                self.ready.set()
            elif m and m["type"] == "pmessage":
                self.put(m["data"], address=m["channel"].decode())
        p.close()


class StreamListener(Listener):
    """From the beginning of the stream."""

    def __init__(self, port, stream, body_field=b"body"):
        self.port, self.stream, self.body_field = port, stream, body_field
        super().__init__()

    def listen(self):
        r = redis_client(self.port)
        last = b"0"
        self.ready.set()
        while not self.over.is_set():
            for _, entries in r.xread({self.stream: last}, count=1000, block=100) or ():
                for last, fields in entries:
                    self.put(fields.get(self.body_field, b""), address=self.stream,
                             headers={k.decode(): v for k, v in fields.items()},
                             id=fields.get(b"message-id", b"").decode())


def answers_redis(port):
    try:
        return redis_client(port).ping()
    except redis.ConnectionError:
        return False


# ---- NATS ----

def nats_client(port):
    return Nats(port)


class SubjectListener(Listener):
    """What is published under a subject from now on."""

    def __init__(self, port, subject):
        self.port, self.subject = port, subject
        super().__init__()

    def listen(self):
        c = nats_client(self.port)
        sub = c.subscribe(self.subject)
        self.ready.set()
        while not self.over.is_set():
            m = sub.next(0.1)
            if m:
                self.put(m.body, address=m.subject, headers=m.headers, id=dict(m.headers).get("message-id"))
        c.close()


class JetStreamListener(Listener):
    """From the beginning of the stream, message by message and without a consumer, so that it outlives a
    restart of the server."""

    def __init__(self, port, stream):
        self.port, self.stream, self.client = port, stream, None
        super().__init__()

    def listen(self):
        self.ready.set()
        sequence = 1
        while not self.over.is_set():
            m = self._at(sequence)
            if m is None:
                self.over.wait(0.02)  # between looks
                continue
            sequence += 1
            self.put(m.body, address=m.subject, headers=m.headers, id=m.header("message-id"))
        if self.client:
            self.client.close()

    def _at(self, sequence):
        try:
            self.client = self.client or nats_client(self.port)
            return self.client.stored(self.stream, sequence)
        except NatsError as e:
            if e.code in (NOT_FOUND, NO_STREAM):
                return None
            self.client = None
        except OSError:
            self.client = None  # the server is away
        return None


NOT_FOUND, NO_STREAM = 10037, 10059  # JetStream's err_code
