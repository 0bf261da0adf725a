#!/usr/bin/python3
"""Measures Bascule against bare client loops without a store, on private brokers, in turn, in one run.

    tests/bench/run.py [--pairs kafka-kafka,log,…] [--events N] [--runs N] [--json FILE]
                       [--latency N] [--backlog N] [--restart N]

Rates count from the first event that the sink confirmed to the last. CPU is of the relay's process alone.
Everything runs on one machine with the brokers, so what a broker takes the relay lacks."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = TOP / os.environ.get("BUILD", "build")
sys.path[:0] = [str(TOP / "tests" / "brokers"), str(TOP / "tests" / "e2e")]
from broker import Broker, answers, free_port, wait_until  # noqa: E402
from daemon import Daemon  # noqa: E402

BARE = BUILD / "tests" / "bench" / "bare"
LOG = BUILD / "tests" / "bench" / "bench_log"
TICK = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.05
# Events per run where --events does not say: several seconds each.
SIZES = {"kafka-kafka": 2000000, "kafka-redis": 1000000, "redis-kafka": 1000000,
         "rabbitmq-rabbitmq": 100000, "quorum-quorum": 100000, "rabbitmq-kafka": 200000, "nats-kafka": 500000,
         "kafka-nats": 500000, "log": 3000000}
AIMS = {"kafka-kafka": 0.75, "kafka-redis": 0.7, "redis-kafka": 0.7, "rabbitmq-rabbitmq": 0.9,
        "quorum-quorum": 0.9, "rabbitmq-kafka": 0.9, "nats-kafka": 0.7, "kafka-nats": 0.7, "log": 0.8}


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


def usage(pid):
    """CPU seconds and peak KiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / TICK, int(status["VmHWM"].split()[0])


def broker_cpu(brokers, *kinds):
    """CPU seconds of the brokers' processes and all their threads."""
    return sum(usage(brokers.get(k).process.pid)[0] for k in {client(k) for k in kinds})


def resident(pid):
    """KiB now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0])


def sink_status(daemon):
    return json.loads(daemon.http("GET", "/v1/status").read())["routes"][0]["sinks"][0]


def delivered(daemon):
    return sink_status(daemon)["counts"]["delivered"]


def pending(daemon):
    return sink_status(daemon)["pending"]


def watch(daemon, events):
    """Until all are delivered: seconds and events from the first delivery that was seen."""
    first = None
    while True:
        at, n = time.monotonic(), delivered(daemon)
        if n and first is None:
            first = (at, n)
        if n >= events:
            return at - first[0], n - first[1]
        if not daemon.running():
            raise RuntimeError(daemon.text())
        time.sleep(POLL_SECONDS)


def bascule(brokers, directory, source, place, sink, out, events):
    d = Daemon(directory, *settings(brokers, source, place, sink, out))
    profile = os.environ.get("BENCH_PERF")
    d.start()
    recorder = subprocess.Popen(["perf", "record", "-q", "-g", "-F", "499", "-o", profile, "-p",
                                 str(d.process.pid)]) if profile else None
    try:
        seconds, n = watch(d, events)
        cpu, peak = usage(d.process.pid)
        return {"events": events, "seconds": seconds, "rate": n / seconds if seconds else 0,
                "cpu_us": cpu * 1e6 / events, "peak_kib": peak,
                "store_bytes": sum(f.stat().st_size for f in Path(directory).glob("bascule.db*"))}
    except (OSError, RuntimeError):
        print(d.text()[-4000:], file=sys.stderr)
        raise
    finally:
        if recorder:
            recorder.terminate()
            recorder.wait()
        d.stop()
        shutil.rmtree(directory)


def measure_pair(brokers, root, pair, events, runs):
    source, sink = pair.split("-")
    consumed = source in ("rabbitmq", "quorum")
    place = brokers.place(source)
    results = {"bare": [], "bascule": []}
    if not consumed:
        fill(brokers, source, place, events)
    for _ in range(runs):
        for which in ("bare", "bascule"):
            if consumed:
                fill(brokers, source, place, events)
            out = brokers.place(sink)
            before = broker_cpu(brokers, source, sink)
            if which == "bare":
                got = bare(brokers, source, place, sink, out, events)
            else:
                got = bascule(brokers, root / "daemon", source, place, sink, out, events)
            got["broker_cpu_us"] = (broker_cpu(brokers, source, sink) - before) * 1e6 / events
            results[which].append(got)
            brokers.drop(sink, out)
            say(pair, which, got)
    brokers.drop(source, place)
    return results


def measure_log(root, events, runs):
    results = {"bare": [], "bascule": []}
    for _ in range(runs):
        for which, mode in (("bare", "bare"), ("bascule", "store")):
            d = root / "log"
            d.mkdir()
            r = subprocess.run([LOG, mode, d, str(events), "1000", "8"], check=True, capture_output=True, text=True)
            got = json.loads(r.stdout)
            got["store_bytes"] = sum(f.stat().st_size for f in d.glob("*.db*"))
            got["broker_cpu_us"] = 0
            results[which].append(got)
            shutil.rmtree(d)
            say("log", which, got)
    return results


LATENCY_RATE = 1000


def aged(brokers, source, place, relay, events):
    """p50 and p99 of the way from `place` through relay(out) to a client of its end, at LATENCY_RATE."""
    out = brokers.place("kafka")
    with relay(out):
        clock = subprocess.Popen([BARE, "kafka", brokers.port("kafka"), out, "clock", "-", "-", str(events)],
                                 stdout=subprocess.PIPE, text=True)
        make = subprocess.Popen([BARE, "make", str(LATENCY_RATE), "-", client(source), brokers.port(source),
                                 place, str(events)], stdout=subprocess.DEVNULL)
        got = json.loads(clock.communicate()[0])
        make.wait()
    return got


class Running:
    """A relay for the time of a measurement."""

    def __init__(self, start, stop):
        self.start, self.stop = start, stop

    def __enter__(self):
        self.held = self.start()

    def __exit__(self, *_):
        self.stop(self.held)


def measure_latency(brokers, root, events):
    """Added delay: the way through Bascule less the way through the bare relay, both kafka to kafka."""
    results = {}
    for which in ("bare", "bascule"):
        place = brokers.place("kafka")

        def start_bare(out, place=place):
            return subprocess.Popen([BARE, "kafka", brokers.port("kafka"), place, "kafka",
                                     brokers.port("kafka"), out, str(events)], stdout=subprocess.DEVNULL)

        def start(out, place=place):
            d = Daemon(root / "daemon", *settings(brokers, "kafka", place, "kafka", out))
            return d.start()

        def stop(d):
            d.stop()
            shutil.rmtree(root / "daemon")
        relay = ((lambda out: Running(lambda: start_bare(out), lambda p: p.wait())) if which == "bare"
                 else (lambda out: Running(lambda: start(out), stop)))
        results[which] = aged(brokers, "kafka", place, relay, events)
        print(f"  latency {which}: p50 {results[which]['p50_ms']} ms, p99 {results[which]['p99_ms']} ms",
              file=sys.stderr)
    results["added_p99_ms"] = results["bascule"]["p99_ms"] - results["bare"]["p99_ms"]
    results["fdatasync_ms"] = sync_times(root)
    return results


def sync_times(root):
    """Median and p99 of fdatasync after appending 8 KiB, in the directory where the stores lie."""
    times = []
    with open(root / "sync", "wb", buffering=0) as f:
        for _ in range(200):
            f.write(os.urandom(8192))
            began = time.monotonic()
            os.fdatasync(f.fileno())
            times.append((time.monotonic() - began) * 1000)
    times.sort()
    return {"median": times[100], "p99": times[198]}


def measure_backlog(brokers, root, events, then_restart):
    """Memory with events behind a sink that is paused; then, with more of them, the time from a start to
    the first delivery."""
    place, out = brokers.place("kafka"), brokers.place("kafka")
    fill(brokers, "kafka", place, events)
    d = Daemon(root / "daemon", *settings(brokers, "kafka", place, "kafka", out))
    d.start()
    try:
        d.verb("pause", "bench/out")
        wait_until(lambda: pending(d) + delivered(d) >= events, "the log", 600, d.process)
        time.sleep(3)  # what a burst needed is given back after a quiet second
        peak = usage(d.process.pid)[1]
        ret = {"events": events, "pending": pending(d), "resident_mib": resident(d.process.pid) / 1024,
               "peak_mib": peak / 1024}
        if then_restart:
            d.verb("resume", "bench/out")
            d.kill()
            before = time.monotonic()
            d.start()
            at_start = delivered(d)
            wait_until(lambda: delivered(d) > at_start, "a delivery", 60, d.process)
            ret["restart_to_delivery_s"] = time.monotonic() - before
        return ret
    finally:
        d.stop()
        shutil.rmtree(root / "daemon")


def say(pair, which, got):
    print(f"  {pair} {which}: {got['rate']:,.0f}/s, {got['cpu_us']:.2f} us/event, "
          f"{got['broker_cpu_us']:.2f} us/event at the brokers, {got['peak_kib'] // 1024} MiB",
          file=sys.stderr, flush=True)


def summary(pair, results):
    """Each run of Bascule against the bare run just before it."""
    ratios = [b["rate"] / a["rate"] for a, b in zip(results["bare"], results["bascule"])]

    def median(which, field):
        return statistics.median(r[field] for r in results[which])
    return {"pair": pair, "aim": AIMS[pair], "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
            "bare_rate": median("bare", "rate"), "rate": median("bascule", "rate"),
            "bare_cpu_us": median("bare", "cpu_us"), "cpu_us": median("bascule", "cpu_us"),
            "bare_broker_us": median("bare", "broker_cpu_us"), "broker_us": median("bascule", "broker_cpu_us"),
            "peak_mib": max(r["peak_kib"] for r in results["bascule"]) / 1024,
            "bytes_an_event": median("bascule", "store_bytes") / results["bascule"][0]["events"], "runs": results}


def table(rows):
    print(f"{'pair':18} {'bare/s':>10} {'bascule/s':>10} {'ratio':>6} {'spread':>11} {'aim':>5} "
          f"{'us bare':>8} {'us':>6} {'broker, bare':>13} {'broker':>7} {'peak MiB':>9} {'B/event':>8}")
    for r in rows:
        print(f"{r['pair']:18} {r['bare_rate']:>10,.0f} {r['rate']:>10,.0f} {r['ratio']:>6.2f} "
              f"{r['low']:>5.2f}-{r['high']:<5.2f} {r['aim']:>5.2f} {r['bare_cpu_us']:>8.2f} {r['cpu_us']:>6.2f} "
              f"{r['bare_broker_us']:>13.2f} {r['broker_us']:>7.2f} "
              f"{r['peak_mib']:>9.1f} {r['bytes_an_event']:>8.1f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", default=",".join(SIZES), help="of " + ", ".join(SIZES) + "; none: only the rest")
    p.add_argument("--events", type=int, help="per run, instead of each pair's own number")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--latency", type=int, metavar="N", help="delay added to N events at 1,000 a second")
    p.add_argument("--backlog", type=int, metavar="N", help="memory with N events behind a paused sink")
    p.add_argument("--restart", type=int, metavar="N", help="seconds from a start with N events to a delivery")
    p.add_argument("--json", help="write all numbers here")
    options = p.parse_args()
    found = {"machine": {"cores": os.cpu_count(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, "pairs": []}
    with tempfile.TemporaryDirectory(prefix="bascule-bench-") as d:
        root = Path(d)
        root.chmod(0o755)  # brokers run as other users
        brokers = Brokers(root)
        try:
            for pair in [x for x in options.pairs.split(",") if x and x != "none"]:
                events = options.events or SIZES[pair]
                results = (measure_log(root, events, options.runs) if pair == "log"
                           else measure_pair(brokers, root, pair, events, options.runs))
                found["pairs"].append(summary(pair, results))
            if options.latency:
                found["latency"] = measure_latency(brokers, root, options.latency)
            if options.backlog:
                found["backlog"] = measure_backlog(brokers, root, options.backlog, False)
            if options.restart:
                found["restart"] = measure_backlog(brokers, root, options.restart, True)
        finally:
            brokers.stop()
    for more in ("latency", "backlog", "restart"):
        if more in found:
            print(more, json.dumps(found[more]))
    if found["pairs"]:
        table(found["pairs"])
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
