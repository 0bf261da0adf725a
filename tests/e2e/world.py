"""The brokers that all tests share, each started when a test first wants it."""
import importlib
import os

from broker import Broker


def broker_class(module_name):
    """The class of tests/brokers/MODULE_NAME.py that is a Broker and made there."""
    module = importlib.import_module(module_name)
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Broker)
             and c is not Broker and c.__module__ == module_name]
    if not found:
        raise RuntimeError(f"no broker in {module_name}")
    return found[0]


class World:
    """rabbitmq, kafka, redis and nats are running brokers; port(NAME) is where they listen without TLS."""

    def __init__(self, root):
        self.root = root
        self.running = {}

    def broker(self, name):
        if name not in self.running:
            b = broker_class(f"{name}_broker")(self.root / name, tls=False)
            # Known before it runs: a start that fails half way is stopped too.
            self.running[name] = b
            b.start()
            if name == "kafka" and self.kafka_is_mock() and os.environ.get("BASCULE_REQUIRE_KAFKA") == "1":
                raise RuntimeError("BASCULE_REQUIRE_KAFKA=1, but only the mock Kafka could be started")
        return self.running[name]

    def fresh(self, name, directory):
        """A broker of its own for a test that stops it. The caller ends it."""
        b = broker_class(f"{name}_broker")(directory, tls=False)
        b.start()
        return b

    @property
    def rabbitmq(self):
        return self.broker("rabbitmq")

    @property
    def kafka(self):
        return self.broker("kafka")

    @property
    def redis(self):
        return self.broker("redis")

    @property
    def nats(self):
        return self.broker("nats")

    def port(self, name):
        return port_of(self.broker(name), name)

    def topic(self, name, partitions=3):
        """Makes it: the tests' Kafka makes no topic by itself."""
        self.kafka.topic(name, partitions)

    def kafka_is_mock(self):
        return bool(getattr(self.running.get("kafka"), "mock", False))

    def notes(self):
        if self.kafka_is_mock():
            yield "Kafka tests ran on librdkafka's mock cluster: Maven Central could not be reached"

    def stop(self):
        for b in self.running.values():
            try:
                b.stop()
            except Exception as e:  # the others must be stopped too
                print(f"note: {b.name} was not stopped: {e}")
        self.running = {}


def port_of(broker, name):
    return int(broker.env()[f"BASCULE_TEST_{name.upper()}_PORT"])
