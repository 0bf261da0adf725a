"""Bridges of another make, as tuned as their documents say, on the same brokers: RabbitMQ's Shovel and Kafka's
MirrorMaker 2. Both are fetched or enabled only when they are measured. measure() returns the numbers, and where the
events went."""
import json
import os
import subprocess
import time

import pika
from broker import wait_until
from kafka import KafkaConsumer, TopicPartition
from kafka_broker import VERSION, libs
from machine import client, usage
from relay import timed

POLL_SECONDS = 0.05
START_SECONDS = 120
MIRROR = (("org.apache.kafka", "connect-mirror", VERSION), ("org.apache.kafka", "connect-runtime", VERSION),
          ("org.slf4j", "slf4j-reload4j", "1.7.36"))


def watched(count, events, process=None):
    """Seconds and events from the first that count() shows to the last."""
    first, end = None, time.monotonic() + 600
    while True:
        at, n = time.monotonic(), count()
        if n and first is None:
            first = (at, n)
        if n >= events:
            return timed(events, at - first[0], n - first[1])
        if time.monotonic() > end or (process and process.poll() is not None):
            raise RuntimeError(f"the reference stopped at {n} of {events}")
        time.sleep(POLL_SECONDS)


def told(events, seconds, n, cpu=0.0, peak=0):
    return {"events": events, "seconds": seconds, "rate": n / seconds,
            "cpu_us": cpu * 1e6 / events, "peak_kib": peak}


class Shovel:
    """Acknowledges on confirm, as Bascule does; it runs inside the broker, so its CPU and memory are the
    broker's and are not told apart."""
    name = "shovel"

    @staticmethod
    def measure(brokers, _root, place, out, events):
        broker = brokers.get("rabbitmq")
        uri = f"amqp://app:secret@127.0.0.1:{broker.port}"
        channel = pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", broker.port, credentials=pika.PlainCredentials("app", "secret"))).channel()
        broker.ctl("set_parameter", "shovel", out, json.dumps(
            {"src-protocol": "amqp091", "src-uri": uri, "src-queue": place, "src-prefetch-count": 2000,
             "dest-protocol": "amqp091", "dest-uri": uri, "dest-queue": out, "ack-mode": "on-confirm"}))
        try:
            return told(events, *watched(
                lambda: channel.queue_declare(out, passive=True).method.message_count, events)), out
        finally:
            broker.ctl("clear_parameter", "shovel", out)
            channel.connection.close()


class MirrorMaker:
    """One task (there is one partition), large fetches and batches, none of its side jobs."""
    name = "mirrormaker"

    @staticmethod
    def measure(brokers, root, place, _out, events):
        port, target = brokers.port("kafka"), f"a.{place}"
        directory = root / f"mirror-{time.monotonic_ns()}"
        directory.mkdir()
        properties = directory / "mm2.properties"
        properties.write_text(f"""clusters=a,b
a.bootstrap.servers=127.0.0.1:{port}
b.bootstrap.servers=127.0.0.1:{port}
a->b.enabled=true
b->a.enabled=false
a->b.topics={place}
name={directory.name}
tasks.max=1
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
emit.heartbeats.enabled=false
emit.checkpoints.enabled=false
refresh.topics.enabled=false
refresh.groups.enabled=false
sync.topic.configs.enabled=false
sync.topic.acls.enabled=false
a.consumer.max.poll.records=10000
a.consumer.max.partition.fetch.bytes=8388608
a.consumer.fetch.min.bytes=65536
b.producer.linger.ms=5
b.producer.batch.size=1000000
b.producer.buffer.memory=67108864
""")
        jars = libs(MIRROR, f"mirror-{VERSION}")
        reader = KafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}")
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(["java", "-Xms512m", "-Xmx512m", "-cp", f"{jars}/*",
                                        "org.apache.kafka.connect.mirror.MirrorMaker", properties], stdout=log,
                                       stderr=log, cwd=directory, start_new_session=True)
        try:
            partition = TopicPartition(target, 0)
            wait_until(lambda: target in reader.topics(), "MirrorMaker's topic", START_SECONDS, process)
            before = usage(process.pid)[0]  # the start of a JVM is not the relay's cost
            seconds, n = watched(lambda: reader.end_offsets([partition])[partition], events, process)
            cpu, peak = usage(process.pid)
            return told(events, seconds, n, cpu - before, peak), target
        finally:
            process.terminate()
            process.wait()
            reader.close()
            for topic in ("mm2-configs.a.internal", "mm2-offsets.a.internal", "mm2-status.a.internal",
                          "mm2-offset-syncs.b.internal"):
                brokers.drop("kafka", topic)


def reference_of(pair):
    """What such a pair is compared with beside the bare loop; None: nothing."""
    source, sink = (client(x) for x in pair.split("-"))
    if os.environ.get("BENCH_REFERENCES") == "0":
        return None
    return {("rabbitmq", "rabbitmq"): Shovel, ("kafka", "kafka"): MirrorMaker}.get((source, sink))
