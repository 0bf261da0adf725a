"""Every file of routes/examples/ is run as it stands: what goes in at its source comes out at its sinks."""
import json
import re

import clients
import yaml
from broker import wait_until
from daemon import TOP, Daemon
from frame import check, check_equal, tests_over

EVENTS = 20
HEADERS = {"customer_id": "c1", "sensor": "s1", "country": "nl"}


def bodies():
    return [b"event %d" % n for n in range(EVENTS)]


class Example:
    """One example with the shared brokers for its servers."""

    def __init__(self, t, path):
        self.t, text = t, path.read_text()
        doc = yaml.safe_load(text)
        self.routes, self.kinds = doc["routes"], {n: c["type"] for n, c in doc["connections"].items()}
        port = t.world.port
        self.env = {}
        for kind in set(self.kinds.values()):
            self.env.update({"rabbitmq": lambda: {
                "BASCULE_RABBIT_URL": f"amqp://app:secret@127.0.0.1:{port('rabbitmq')}/"},
                "kafka": lambda: {"BASCULE_KAFKA": f"127.0.0.1:{port('kafka')}"},
                "redis": lambda: {"BASCULE_REDIS_URL": f"redis://127.0.0.1:{port('redis')}/0"},
                "nats": lambda: {"BASCULE_NATS_URL": f"nats://127.0.0.1:{port('nats')}"}}[kind]())
        self.daemon = Daemon(t.directory, "", "")
        own = "".join(line + "\n" for line in self.daemon.config.read_text().splitlines()
                      if line.startswith(("store:", "admin:", "log:")))
        self.daemon.config.write_text(text + own)
        t.runs(self.daemon)

    def rabbit(self):
        r = clients.Rabbit(self.t.world.port("rabbitmq"))
        self.t.ends(r.close)
        return r

    def redis(self):
        r = clients.redis_client(self.t.world.port("redis"))
        self.t.ends(r.close)
        return r

    def nats(self):
        c = clients.nats_client(self.t.world.port("nats"))
        self.t.ends(c.close)
        return c

    def listen(self, sink, address):
        """A listener at the sink, which is made where the route does not make it."""
        kind, name = self.kinds[sink["connection"]], sink["name"]
        port = self.t.world.port(kind)

        def place(key):
            return re.sub(r"\$\{address\}", address, sink[key])
        if kind == "rabbitmq":
            r = self.rabbit()
            queue = r.queue(f"{self.t.name}.{name}")
            r.exchange(sink["exchange"])
            r.bind(queue, sink["exchange"])
            return clients.RabbitListener(port, queue)
        if kind == "kafka":
            self.t.world.topic(sink["topic"])
            return clients.KafkaListener(port, sink["topic"])
        if kind == "nats":
            return self.listen_to_nats(port, sink, place("subject"))
        if "channel" in sink:
            return clients.ChannelListener(port, place("channel"))
        return clients.StreamListener(port, place("stream"))

    def listen_to_nats(self, port, sink, subject):
        if "stream" not in sink:
            return clients.SubjectListener(port, subject)
        self.nats().stream(sink["stream"], subject)
        return clients.JetStreamListener(port, sink["stream"])

    def address_of(self, source):
        """Where an event is sent so that the source gets it."""
        if "subjects" in source:
            return source["subjects"][0].replace("*", "made").replace(">", "made")
        if "exchange" in source:
            return source["binding_keys"][0].replace("*", "made").replace("#", "made")
        if "topics" in source:
            return source["topics"][0]
        if "channels" in source:
            return source["channels"][0].replace("*", "made")
        return source.get("stream") or source["queue"]

    def prepare(self, source):
        if "exchange" in source:
            self.rabbit().exchange(source["exchange"])
        elif "durable" in source:
            self.nats().stream(source["stream"], *source["subjects"])
        elif "queue" in source:
            self.rabbit().queue(source["queue"])
        elif "topics" in source:
            self.t.world.topic(source["topics"][0])

    def hear_internal(self, route):
        """By type, a listener where the route sends what it is told."""
        return {kind: self.listen(route["to"][0], kind) for kind in route["from"]["internal"]}

    def check_internal(self, heard):
        """A breaker that a person opens is the last that they are told."""
        other = next(r for r in self.routes if "internal" not in r["from"])
        path = f"/v1/routes/{other['name']}/sinks/{other['to'][0]['name']}/breaker"
        check_equal(self.daemon.http("POST", path, json.dumps({"open": True})).status, 200, "opening the breaker")
        for kind, listener in heard.items():
            listener.wait_count(1)
            told = json.loads(listener.bodies()[0])
            check_equal(told["type"], kind, "type of what was told")
            check(told["route"] in (None, other["name"]), f"{kind} is about {told['route']}")

    def feed(self, source):
        address = self.address_of(source)
        if self.kinds[source["connection"]] == "rabbitmq":
            r = self.rabbit()
            for body in bodies():
                r.publish(source.get("exchange", ""), address, body, headers=HEADERS)
        elif "topics" in source:
            clients.kafka_produce(self.t.world.port("kafka"), address, [("k", b) for b in bodies()], HEADERS)
        elif self.kinds[source["connection"]] == "nats":
            c = self.nats()
            for body in bodies():
                c.publish(address, body, HEADERS)
            c.flush()
        elif "channels" in source:
            r = self.redis()
            for body in bodies():
                r.publish(address, body)
        else:
            r = self.redis()
            for body in bodies():
                r.xadd(address, {"body": body, **HEADERS})


@tests_over(sorted((TOP / "routes/examples").glob("*.yaml")), lambda path: f"example_{path.stem}")
def example(t, path):
    e = Example(t, path)
    heard, told = [], {}
    for route in e.routes:
        if "internal" in route["from"]:
            told = e.hear_internal(route)
            for listener in told.values():
                t.ends(listener.stop)
            continue
        e.prepare(route["from"])
        sinks = route["to"] if isinstance(route["to"], list) else [route["to"]]
        for sink in sinks:
            if sink.get("only") != "fallback":
                heard.append((f"{route['name']}/{sink['name']}",
                              e.listen(sink, e.address_of(route["from"]))))
                t.ends(heard[-1][1].stop)
    e.daemon.start(e.env)
    check_equal(e.daemon.verb("check", env=e.env).code, 0, "exit code of check")
    wait_until(lambda: all(r["link"]["state"] == "up" for r in e.daemon.json("status")["routes"]),
               "sources up", 60, e.daemon.process)
    for route in e.routes:
        if "internal" not in route["from"]:
            e.feed(route["from"])
    for name, listener in heard:
        listener.wait_count(EVENTS)
        check_equal(sorted(listener.bodies()), sorted(bodies()), name)
    if told:
        e.check_internal(told)
    check_equal(e.daemon.stop(), 0, "exit code after SIGTERM")
