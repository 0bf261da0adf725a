"""What grows: a backlog, a log, the number of routes, bodies; and a sink that is slower than its neighbour."""
import json
import random
import shutil
import subprocess
import time
from contextlib import contextmanager

import pika
import redis
from broker import wait_until
from daemon import Daemon
from machine import BUILD, fill, resident, usage
from relay import delivered, pending, settings

PATIENCE = 1200  # far above what any takes: a hang must end
DISK = BUILD / "tests" / "bench" / "bench_disk"
BODIES = ((1024, 100000), (16384, 20000), (262144, 1500), (1048576, 400))
ROUTES = (1, 20, 200)
ROUTE_EVENTS = 400000  # in all
IDLE_SECONDS = 20


@contextmanager
def running(root, connections, routes):
    d = Daemon(root / "daemon", connections, routes)
    try:
        yield d.start()
    finally:
        d.stop()
        shutil.rmtree(root / "daemon")


def measure_backlog(brokers, root, events):
    """Memory with events behind a paused sink, then how fast they drain."""
    place, out = brokers.place("kafka"), brokers.place("kafka")
    fill(brokers, "kafka", place, events)
    with running(root, *settings(brokers, "kafka", place, "kafka", out)) as d:
        d.verb("pause", "bench/out")
        wait_until(lambda: pending(d) + delivered(d) >= events, "the log", PATIENCE, d.process)
        time.sleep(3)  # what a burst needed is given back after a quiet second
        ret = {"events": events, "pending": pending(d), "resident_mib": resident(d.process.pid) / 1024,
               "peak_mib": usage(d.process.pid)[1] / 1024}
        left, began = pending(d), time.monotonic()
        d.verb("resume", "bench/out")
        wait_until(lambda: delivered(d) >= events, "the drain", PATIENCE, d.process)
        ret["drain_per_s"] = left / (time.monotonic() - began)
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)
    return ret


def measure_log_size(brokers, root, events):
    """With so many events in the log: from a start after kill -9 to the first delivery, and trace by id."""
    place, out = brokers.place("kafka"), brokers.place("kafka")
    fill(brokers, "kafka", place, events)
    with running(root, *settings(brokers, "kafka", place, "kafka", out)) as d:
        wait_until(lambda: delivered(d) >= events - 1000, "the log", PATIENCE, d.process)
        d.kill()
        fill(brokers, "kafka", place, 10000)
        began = time.monotonic()
        d.start()
        started = time.monotonic() - began
        before = delivered(d)
        wait_until(lambda: delivered(d) > before, "a delivery", PATIENCE, d.process)
        ret = {"events": events, "start_s": started, "to_delivery_s": time.monotonic() - began, "trace_s": []}
        for offset in (0, events // 3, events // 2, events - 1):
            began = time.monotonic()
            d.verb("trace", f"{place}-0-{offset}")
            ret["trace_s"].append(time.monotonic() - began)
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)
    return ret


def measure_idle(brokers, root, routes):
    """So many routes that have nothing to do, half RabbitMQ's, half Redis': memory and share of a core."""
    rabbit, cache = brokers.port("rabbitmq"), brokers.port("redis")
    channel = pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", int(rabbit), credentials=pika.PlainCredentials("app", "secret"))).channel()
    texts = []
    for i in range(routes // 2):
        channel.queue_declare(f"idle{i}", durable=True)
        texts.append(f"- {{ name: q{i}, from: {{ connection: rabbitmq, queue: idle{i} }}, "
                     f"to: {{ name: out, connection: redis, stream: idle }} }}")
        texts.append(f"- {{ name: s{i}, from: {{ connection: redis, stream: idle{i}, group: g }}, "
                     f"to: {{ name: out, connection: redis, stream: idle }} }}")
    connections = (f'rabbitmq: {{ type: rabbitmq, url: "amqp://app:secret@127.0.0.1:{rabbit}/" }}\n'
                   f'redis: {{ type: redis, url: "redis://127.0.0.1:{cache}/0" }}')
    with running(root, connections, "\n".join(texts)) as d:
        wait_until(lambda: all(r["link"]["state"] == "up" for r in json.loads(
            d.http("GET", "/v1/status").read())["routes"]), "all routes", PATIENCE, d.process)
        before, began = usage(d.process.pid)[0], time.monotonic()
        time.sleep(IDLE_SECONDS)
        ret = {"routes": routes, "resident_mib": resident(d.process.pid) / 1024,
               "core_share": (usage(d.process.pid)[0] - before) / (time.monotonic() - began)}
    for i in range(routes // 2):
        channel.queue_delete(f"idle{i}")
    channel.connection.close()
    return ret


def fill_stream(client, stream, count, body_of):
    pipe = client.pipeline(transaction=False)
    for i in range(count):
        pipe.xadd(stream, {"body": body_of(i)})
        if (i + 1) % 500 == 0:
            pipe.execute()
    pipe.execute()


def relayed(root, port, routes, events_each, bytes_each):
    """Redis streams to Redis streams, all there before the start: CPU an event and rate."""
    texts = "\n".join(f"- {{ name: r{i}, from: {{ connection: redis, stream: in{i}, group: g }}, "
                      f"to: {{ name: out, connection: redis, stream: out{i} }} }}" for i in range(routes))
    total = routes * events_each

    def done(d):
        got = json.loads(d.http("GET", "/v1/status").read())["routes"]
        return sum(r["sinks"][0]["counts"]["delivered"] for r in got) >= total
    with running(root, f'redis: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}', texts) as d:
        began = time.monotonic()
        wait_until(lambda: done(d), "all events", PATIENCE, d.process)
        seconds, (cpu, peak) = time.monotonic() - began, usage(d.process.pid)
    return {"events": total, "rate": total / seconds, "cpu_us": cpu * 1e6 / total, "peak_mib": peak / 1024,
            "mib_per_s": total * bytes_each / seconds / 1048576}


def measure_routes(brokers, root):
    """The same number of events over more and more routes."""
    client, ret = redis.Redis(port=int(brokers.port("redis"))), []
    for routes in ROUTES:
        for i in range(routes):
            fill_stream(client, f"in{i}", ROUTE_EVENTS // routes, lambda n: b"%0256d" % n)
        ret.append({"routes": routes, **relayed(root, brokers.port("redis"), routes, ROUTE_EVENTS // routes, 256)})
        client.flushall()
    return ret


def measure_bodies(brokers, root):
    """Larger and larger bodies that do not compress."""
    client, ret, noise = redis.Redis(port=int(brokers.port("redis"))), [], random.Random(1)
    for size, count in BODIES:
        body = noise.randbytes(size)
        fill_stream(client, "in0", count, lambda n, b=body: b[n % 97:] + b[:n % 97])
        ret.append({"body_bytes": size, **relayed(root, brokers.port("redis"), 1, count, size)})
        client.flushall()
    return ret


def measure_neighbours(brokers, root, events=400000):
    """One sink alone, then beside one that takes a hundred events a second."""
    client, port = redis.Redis(port=int(brokers.port("redis"))), brokers.port("redis")
    slow = ", { name: slow, connection: redis, stream: slow, rate_limit: 100/s }"
    ret = {}
    for name, more in (("alone", ""), ("beside_slow", slow)):
        fill_stream(client, "in", events, lambda n: b"%0256d" % n)
        route = (f"- {{ name: r, from: {{ connection: redis, stream: in, group: g }}, "
                 f"to: [ {{ name: fast, connection: redis, stream: fast }}{more} ] }}")
        with running(root, f'redis: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}', route) as d:
            began = time.monotonic()
            wait_until(lambda d=d: d.books("r", "fast").delivered >= events, "the fast sink", PATIENCE, d.process)
            ret[name] = events / (time.monotonic() - began)
            d.kill()
        client.flushall()
    ret["ratio"] = ret["beside_slow"] / ret["alone"]
    return ret


def measure_disk(root):
    """Bytes of the store an event: at full speed, and at ten a second after merging, with both kinds of bodies."""
    ret = {}
    for name, arguments in (("full_speed", (100000, 20, 1000)), ("full_speed_orders", (100000, 20, 1000, "order")),
                            ("ten_a_second", (10, 7200, 1)), ("ten_a_second_orders", (10, 7200, 1, "order"))):
        d = root / "disk"
        d.mkdir()
        r = subprocess.run([DISK, d / "s.db", *map(str, arguments)], check=True, capture_output=True, text=True)
        ret[name] = json.loads(r.stdout)
        shutil.rmtree(d)
    return ret
