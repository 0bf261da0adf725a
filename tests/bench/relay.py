"""One run of Bascule over a route, and what its admin socket tells meanwhile."""
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from machine import client, usage
from daemon import Daemon

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 1200  # far above what any run takes: a hang must end


def settings(brokers, source, place, sink, out):
    ports = {client(k): brokers.port(k) for k in (source, sink)}
    texts = {"rabbitmq": 'rabbitmq: {{ type: rabbitmq, url: "amqp://app:secret@127.0.0.1:{}/" }}',
             "kafka": 'kafka: {{ type: kafka, brokers: ["127.0.0.1:{}"] }}',
             "redis": 'redis: {{ type: redis, url: "redis://127.0.0.1:{}/0" }}',
             "nats": 'nats: {{ type: nats, urls: ["nats://127.0.0.1:{}"] }}'}
    sources = {"rabbitmq": "queue: {}, prefetch: 2000", "kafka": "topics: [{0}], group: {0}-{1}, start: earliest",
               "redis": "stream: {0}, group: {0}-{1}", "nats": "stream: {0}, durable: {0}-{1}"}
    sinks = {"rabbitmq": "exchange: amq.direct, routing_key: {}", "kafka": "topic: {}", "redis": "stream: {}",
             "nats": "subject: {0}, stream: {0}"}
    a, b = client(source), client(sink)
    connections = "\n".join(texts[k].format(p) for k, p in sorted(ports.items()))
    routes = (f"- name: bench\n  from: {{ connection: {a}, {sources[a].format(place, out)} }}\n"
              f"  to: [ {{ name: out, connection: {b}, {sinks[b].format(out)} }} ]")
    return connections, routes


def sink_status(daemon):
    return json.loads(daemon.http("GET", "/v1/status").read())["routes"][0]["sinks"][0]


def delivered(daemon):
    return sink_status(daemon)["counts"]["delivered"]


def pending(daemon):
    return sink_status(daemon)["pending"]


def delivered_by_all(daemon):
    """Of the first sink of each route."""
    got = json.loads(daemon.http("GET", "/v1/status").read())["routes"]
    return sum(r["sinks"][0]["counts"]["delivered"] for r in got)


def timed(events, seconds, n):
    if not n:
        raise RuntimeError(f"all {events} events were there at the first look: too few to time")
    return seconds, n


def watch(daemon, events, count=delivered):
    """Until all are delivered: seconds and events from the first delivery that was seen."""
    first, end = None, time.monotonic() + PATIENCE_SECONDS
    while True:
        at, n = time.monotonic(), count(daemon)
        if n and first is None:
            first = (at, n)
        if n >= events:
            return timed(events, at - first[0], n - first[1])
        if at > end or not daemon.running():
            raise RuntimeError(f"{n} of {events} events delivered, then:\n{daemon.text()[-4000:]}")
        time.sleep(POLL_SECONDS)


def check_books(daemon):
    """Its own sum must agree, whatever arrived."""
    problems = daemon.problems()
    if problems:
        raise RuntimeError("; ".join(problems))


def bascule(brokers, directory, source, place, sink, out, events):
    d = Daemon(directory, *settings(brokers, source, place, sink, out))
    profile = os.environ.get("BENCH_PERF")
    recorder = None
    try:
        d.start()
        if profile:
            recorder = subprocess.Popen(["perf", "record", "-q", "-g", "-F", "499", "-o", profile, "-p",
                                         str(d.process.pid)])
        seconds, n = watch(d, events)
        cpu, peak = usage(d.process.pid)
        check_books(d)
        return {"events": events, "seconds": seconds, "rate": n / seconds,
                "cpu_us": cpu * 1e6 / events, "peak_kib": peak,
                "store_bytes": sum(f.stat().st_size for f in Path(directory).glob("bascule.db*"))}
    finally:
        if recorder:
            recorder.terminate()
            recorder.wait()
        d.stop()
        shutil.rmtree(directory)
