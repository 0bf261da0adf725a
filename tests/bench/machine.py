"""What measurements run on: private brokers, the bare relay, what processes use."""
import json
import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = TOP / os.environ.get("BUILD", "build")
sys.path[:0] = [str(TOP / "tests" / "brokers"), str(TOP / "tests" / "e2e")]
from broker import Broker, answers, free_port, wait_until  # noqa: E402

BARE = BUILD / "tests" / "bench" / "bare"
TICK = os.sysconf("SC_CLK_TCK")


class RedisServer(Broker):
    name = "redis"

    def __init__(self, directory, tls=False):
        super().__init__(directory, tls)
        self.port = free_port()

    def start(self):
        self.spawn(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", self.directory])
        wait_until(lambda: answers(self.port), "redis", process=self.process)


class Brokers:
    """Each started when it is first wanted."""

    def __init__(self, directory):
        self.directory, self.running, self.places = directory, {}, 0

    def get(self, kind):
        kind = "rabbitmq" if kind == "quorum" else kind
        if kind not in self.running:
            if kind == "kafka":
                from kafka_broker import Kafka as make
            elif kind == "rabbitmq":
                from rabbitmq_broker import RabbitBroker as make
            elif kind == "nats":
                from nats_broker import Nats as make
            else:
                make = RedisServer
            broker = make(self.directory / kind, tls=False)
            if kind == "rabbitmq":
                broker.plugins = ("rabbitmq_shovel",)
            self.running[kind] = broker
            broker.start()
        return self.running[kind]

    def port(self, kind):
        return str(self.get(kind).port)

    def place(self, kind):
        """A new topic, stream or queue."""
        self.places += 1
        name = f"bench{self.places}"
        broker = self.get(kind)
        if kind == "kafka":
            broker.topic(name, 1)
        elif kind in ("rabbitmq", "quorum"):
            import pika
            c = pika.BlockingConnection(pika.ConnectionParameters(
                "127.0.0.1", broker.port, credentials=pika.PlainCredentials("app", "secret")))
            arguments = {"x-queue-type": "quorum"} if kind == "quorum" else {}
            c.channel().queue_declare(name, durable=True, arguments=arguments)
            c.channel().queue_bind(name, "amq.direct", name)
            c.close()
        elif kind == "nats":
            self.nats_stream("CREATE", name, {"name": name, "subjects": [name]})
        return name

    def nats_stream(self, verb, name, arguments):
        from nats_client import Nats
        c = Nats(self.get("nats").port)
        c.js(f"STREAM.{verb}.{name}", **arguments)
        c.close()

    def drop(self, kind, place):
        """What was measured gives its room back."""
        if kind == "redis":
            subprocess.run(["redis-cli", "-p", self.port(kind), "unlink", place], check=True,
                           stdout=subprocess.DEVNULL)
        elif kind in ("rabbitmq", "quorum"):
            import pika
            c = pika.BlockingConnection(pika.ConnectionParameters(
                "127.0.0.1", self.get(kind).port, credentials=pika.PlainCredentials("app", "secret")))
            c.channel().queue_delete(place)
            c.close()
        elif kind == "nats":
            self.nats_stream("DELETE", place, {})
        elif kind == "kafka":
            k = self.get(kind)
            subprocess.run(k.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                                  f"127.0.0.1:{k.port}", "--delete", "--topic", place), check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        for b in self.running.values():
            b.stop()


def client(kind):
    return "rabbitmq" if kind == "quorum" else kind


def bare(brokers, source, place, sink, out, events):
    r = subprocess.run([BARE, client(source), brokers.port(source), place, client(sink),
                        brokers.port(sink), out, str(events)], check=True, capture_output=True, text=True)
    return json.loads(r.stdout)


def fill(brokers, kind, place, events):
    subprocess.run([BARE, "make", "0", "-", client(kind), brokers.port(kind), place, str(events)], check=True,
                   capture_output=True)


def usage(pid):
    """CPU seconds and peak KiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / TICK, int(status["VmHWM"].split()[0])


def broker_cpu(brokers, *kinds):
    """CPU seconds of the brokers: of all processes of the sessions that they lead."""
    leaders = {brokers.get(k).process.pid for k in {client(k) for k in kinds}}
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[3]) in leaders:
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def resident(pid):
    """KiB now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0])
