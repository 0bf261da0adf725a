"""What grows: a backlog, a log, the number of routes, bodies; and a sink that is slower than its neighbour."""
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pika
import redis
from broker import wait_until
from daemon import Daemon
from machine import BUILD, MEMORY, check, fill, resident, run, usage
from relay import PATIENCE_SECONDS as PATIENCE, check_books, delivered, delivered_by_all, pending, settings, watch

DISK = BUILD / "tests" / "bench" / "bench_disk"
BODIES = ((1024, 60000), (16384, 10000), (262144, 800), (1048576, 200))
ROUTES = (1, 20, 200)
ROUTE_EVENTS = 400000  # in all
NEIGHBOUR_EVENTS = 400000
IDLE_ROUTES = 1000
IDLE_SECONDS = 20
RESTARTS = 5
RESTART_EVENTS = 10000  # come while it is dead
ROUNDS_MAX = 3  # of what grows over two sizes or more: its steps are far larger than its spread


@contextmanager
def running(root, connections, routes):
    d = Daemon(root / "daemon", connections, routes)
    try:
        yield d.start()
    finally:
        d.stop()
        shutil.rmtree(root / "daemon")


def measure_backlog(brokers, events, _runs, root, keep):
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
        check_books(d)
    check(brokers, "kafka", out, events)
    keep(ret)
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)
    return ret


def measure_log_size(brokers, events, _runs, root, keep):
    """With so many events in the log: from a start after kill -9 to the first delivery, and trace by id."""
    place, out, pick = brokers.place("kafka"), brokers.place("kafka"), random.Random(1)
    fill(brokers, "kafka", place, events)
    ret = {"events": events, "start_s": [], "to_delivery_s": [], "trace_s": []}
    with running(root, *settings(brokers, "kafka", place, "kafka", out)) as d:
        wait_until(lambda: delivered(d) >= events, "the log", PATIENCE, d.process)
        for _ in range(RESTARTS):
            d.kill()
            fill(brokers, "kafka", place, RESTART_EVENTS)
            began = time.monotonic()
            d.start()
            ret["start_s"].append(time.monotonic() - began)
            before = delivered(d)
            wait_until(lambda b=before: delivered(d) > b, "a delivery", PATIENCE, d.process)
            ret["to_delivery_s"].append(time.monotonic() - began)
            events += RESTART_EVENTS
            wait_until(lambda n=events: delivered(d) >= n, "the rest", PATIENCE, d.process)
        for offset in (0, events // 2, events - 1, *(pick.randrange(events) for _ in range(7))):
            began = time.monotonic()
            said = d.verb("trace", f"{place}-0-{offset}").out
            ret["trace_s"].append(time.monotonic() - began)
            if f"{place}-0-{offset}" not in said:
                raise RuntimeError(f"trace of {place}-0-{offset}: {said}")
        check_books(d)
    keep(ret)
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)


def measure_idle(brokers, routes, _runs, root, keep):
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
        keep({"routes": routes, "resident_mib": resident(d.process.pid) / 1024,
              "core_share": (usage(d.process.pid)[0] - before) / (time.monotonic() - began)})
    for i in range(routes // 2):
        channel.queue_delete(f"idle{i}")
    channel.connection.close()


def relayed(root, port, routes, total, bytes_each):
    """Redis streams to Redis streams, all there before the start: CPU an event and rate."""
    texts = "\n".join(f"- {{ name: r{i}, from: {{ connection: redis, stream: in{i}, group: g }}, "
                      f"to: {{ name: out, connection: redis, stream: out{i} }} }}" for i in range(routes))
    with running(root, f'redis: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}', texts) as d:
        seconds, n = watch(d, total, delivered_by_all)
        cpu, peak = usage(d.process.pid)
        check_books(d)
    rate = n / seconds
    return {"events": total, "rate": rate, "cpu_us": cpu * 1e6 / total, "peak_mib": peak / 1024,
            "mib_per_s": rate * bytes_each / 1048576}


def grown(sizes, name, rounds, keep, measure):
    """measure(size) of each size in turn, and again; keep() gets the medians, a row for each size."""
    found = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            found[size].append(measure(size))
            print(f"  {name} {size}: {json.dumps(found[size][-1])}", file=sys.stderr, flush=True)
        keep([{name: size, "rounds": len(got), **{f: statistics.median(g[f] for g in got) for f in got[0]},
               "runs": got} for size, got in found.items()])


def measure_routes(brokers, events, runs, root, keep):
    """The same number of events over more and more routes."""
    client = redis.Redis(port=int(brokers.port("redis")))

    def measure(routes):
        each = max(events // routes, 1)
        for i in range(routes):
            fill(brokers, "redis", f"in{i}", each)
        ret = relayed(root, brokers.port("redis"), routes, routes * each, 256)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda i: check(brokers, "redis", f"out{i}", each), range(routes)))
        client.flushall()
        return ret
    grown(ROUTES, "routes", min(runs, ROUNDS_MAX), keep, measure)


def body_of(noise, n):
    """A different one for each n that has as many bytes and compresses as badly."""
    return b"%08d" % n + noise[8 + n % 97:] + noise[8:8 + n % 97]


def fill_stream(client, noise, count):
    pipe = client.pipeline(transaction=False)
    for i in range(count):
        pipe.xadd("in0", {"body": body_of(noise, i)})
        if len(pipe) * len(noise) > 4 << 20:
            pipe.execute()
    pipe.execute()


def check_stream(client, noise, count):
    n, last, step = 0, "-", max(1, (4 << 20) // len(noise))
    while entries := client.xrange("out0", last, count=step):
        for entry, fields in entries:
            if fields[b"body"] != body_of(noise, n):
                raise RuntimeError(f"event {n} of {count} of {len(noise)} bytes did not arrive as it was sent")
            n, last = n + 1, b"(" + entry
    if n != count:
        raise RuntimeError(f"{n} of {count} events of {len(noise)} bytes arrived")


def measure_bodies(brokers, events, runs, root, keep):
    """Larger and larger bodies that do not compress. events: at most so many of each size."""
    client, counts = redis.Redis(port=int(brokers.port("redis"))), dict(BODIES)

    def measure(size):
        noise, count = random.Random(size).randbytes(size), min(counts[size], events)
        fill_stream(client, noise, count)
        ret = relayed(root, brokers.port("redis"), 1, count, size)
        check_stream(client, noise, count)
        client.flushall()
        return ret
    grown([size for size, _ in BODIES], "body_bytes", min(runs, ROUNDS_MAX), keep, measure)


def measure_neighbours(brokers, events, runs, root, keep):
    """One sink alone, then beside one that takes a hundred events a second."""
    client, port = redis.Redis(port=int(brokers.port("redis"))), brokers.port("redis")
    slow = ", { name: slow, connection: redis, stream: slow, rate_limit: 100/s }"
    rates = {"alone": [], "beside_slow": []}
    for _ in range(runs):
        for name, more in (("alone", ""), ("beside_slow", slow)):
            fill(brokers, "redis", "in", events)
            route = (f"- {{ name: r, from: {{ connection: redis, stream: in, group: g }}, "
                     f"to: [ {{ name: fast, connection: redis, stream: fast }}{more} ] }}")
            with running(root, f'redis: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}', route) as d:
                seconds, n = watch(d, events)
                check_books(d)
                d.kill()  # what the slow one still has would take an hour
            check(brokers, "redis", "fast", events)
            client.flushall()
            rates[name].append(n / seconds)
        print(f"  neighbours: {rates['alone'][-1]:,.0f}/s alone, {rates['beside_slow'][-1]:,.0f}/s beside a slow one",
              file=sys.stderr, flush=True)
        ratios = [b / a for a, b in zip(rates["alone"], rates["beside_slow"])]
        keep({**{name: statistics.median(r) for name, r in rates.items()}, "rounds": len(ratios), "runs": rates,
              "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)})


def measure_disk(_brokers, events, _runs, root, keep):
    """Bytes of the store an event: at full speed, and at ten a second after merging, with both kinds of bodies."""
    ret = {}
    for name, rate, seconds, chunk in (("full_speed", 100000, 20, 1000), ("ten_a_second", 10, 7200, 1)):
        for kind in ((), ("order",)):
            with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else root) as d:
                ret["_".join((name, *kind))] = run(DISK, f"{d}/s.db", rate, min(seconds, max(1, events // rate)), chunk,
                                                   *kind)
    keep(ret)
