"""Throughput: Bascule, the bare loop, and where there is one a bridge of another make, in turn."""
import json
import shutil
import statistics
import subprocess
import sys

from machine import BUILD, bare, broker_cpu, fill
from references import reference_of
from relay import bascule

LOG = BUILD / "tests" / "bench" / "bench_log"
# Events per run where --events does not say: several seconds each.
SIZES = {"kafka-kafka": 2000000, "kafka-redis": 1000000, "redis-kafka": 1000000,
         "rabbitmq-rabbitmq": 100000, "quorum-quorum": 100000, "rabbitmq-kafka": 200000, "nats-kafka": 500000,
         "kafka-nats": 500000, "log": 3000000}
# Of the bare loop's rate, and of the other bridge's rate, CPU and memory.
AIMS = {"kafka-kafka": 0.75, "kafka-redis": 0.7, "redis-kafka": 0.7, "rabbitmq-rabbitmq": 0.9,
        "quorum-quorum": 0.9, "rabbitmq-kafka": 0.9, "nats-kafka": 0.7, "kafka-nats": 0.7, "log": 0.8}
REFERENCE_AIMS = {"mirrormaker": {"rate": 1.7, "cpu": 0.3, "memory": 0.15}, "shovel": {"rate": 1.1}}


def measure_pair(brokers, root, pair, events, runs):
    source, sink = pair.split("-")
    consumed = source in ("rabbitmq", "quorum")
    place = brokers.place(source)
    reference = reference_of(pair)
    relays = {"bare": lambda out: bare(brokers, source, place, sink, out, events),
              "bascule": lambda out: bascule(brokers, root / "daemon", source, place, sink, out, events)}
    if reference:
        relays[reference.name] = lambda out: reference.measure(brokers, root, place, out, events)
    results = {name: [] for name in relays}
    if not consumed:
        fill(brokers, source, place, events)
    for _ in range(runs):
        for name, relay in relays.items():
            if consumed:
                fill(brokers, source, place, events)
            out = brokers.place(sink)
            before = broker_cpu(brokers, source, sink)
            got = relay(out)
            got["broker_cpu_us"] = (broker_cpu(brokers, source, sink) - before) * 1e6 / events
            results[name].append(got)
            brokers.drop(sink, out)
            say(pair, name, got)
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


def say(pair, which, got):
    print(f"  {pair} {which}: {got['rate']:,.0f}/s, {got['cpu_us']:.2f} us/event, "
          f"{got['broker_cpu_us']:.2f} us/event at the brokers, {got['peak_kib'] // 1024} MiB",
          file=sys.stderr, flush=True)


def spread(ratios):
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def ratios_to(results, other, field="rate"):
    """Each run of Bascule against the other's run of the same round."""
    return [b[field] / a[field] for a, b in zip(results[other], results["bascule"]) if a[field]]


def summary(pair, results):
    def median(which, field):
        return statistics.median(r[field] for r in results[which])
    ret = {"pair": pair, "aim": AIMS[pair], **spread(ratios_to(results, "bare")),
           "bare_rate": median("bare", "rate"), "rate": median("bascule", "rate"),
           "bare_cpu_us": median("bare", "cpu_us"), "cpu_us": median("bascule", "cpu_us"),
           "bare_broker_us": median("bare", "broker_cpu_us"), "broker_us": median("bascule", "broker_cpu_us"),
           "peak_mib": max(r["peak_kib"] for r in results["bascule"]) / 1024,
           "bytes_an_event": median("bascule", "store_bytes") / results["bascule"][0]["events"], "runs": results}
    for name in results:
        if name in REFERENCE_AIMS:
            ret["reference"] = {"name": name, "rate": median(name, "rate"), "aims": REFERENCE_AIMS[name],
                                **spread(ratios_to(results, name))}
            if median(name, "cpu_us"):
                ret["reference"]["cpu_ratio"] = median("bascule", "cpu_us") / median(name, "cpu_us")
                ret["reference"]["memory_ratio"] = median("bascule", "peak_kib") / median(name, "peak_kib")
    return ret
