"""Throughput: Bascule, the bare loop, and where there is one a bridge of another make, in turn. What each of them
brought is read back and compared with what was made: a run that lost, repeated or changed an event is a failure."""
import shutil
import statistics
import sys

from machine import BUILD, bare, broker_cpu, check, fill, run
from references import reference_of
from relay import bascule

LOG = BUILD / "tests" / "bench" / "bench_log"
# Events per run where --events does not say: several seconds each.
SIZES = {"kafka-kafka": 1000000, "kafka-redis": 1000000, "redis-kafka": 1000000,
         "rabbitmq-rabbitmq": 60000, "quorum-quorum": 60000, "rabbitmq-kafka": 60000, "nats-kafka": 400000,
         "kafka-nats": 400000, "log": 3000000}
# Of the bare loop's rate, and of the other bridge's rate, CPU and memory.
AIMS = {"kafka-kafka": 0.75, "kafka-redis": 0.7, "redis-kafka": 0.7, "rabbitmq-rabbitmq": 0.9,
        "quorum-quorum": 0.9, "rabbitmq-kafka": 0.9, "nats-kafka": 0.7, "kafka-nats": 0.7, "log": 0.8}
REFERENCE_AIMS = {"mirrormaker": {"rate": 1.7, "cpu": 0.3, "memory": 0.15}, "shovel": {"rate": 1.1}}
# Where a key stands in the source and in the sink, so that it must arrive: bare relays no key out of JetStream, none
# stands where check() looks in it, and RabbitMQ's message id is no key of Kafka's.
KEYED = ("kafka-kafka", "kafka-redis", "redis-kafka", "rabbitmq-rabbitmq", "quorum-quorum")


def measure_pair(pair, brokers, events, runs, root, keep):
    """keep(summary) after each round."""
    source, sink = pair.split("-")
    consumed = source in ("rabbitmq", "quorum")
    place = brokers.place(source)
    relays = {"bare": lambda out: (bare(brokers, source, place, sink, out, events), out),
              "bascule": lambda out: (bascule(brokers, root / "daemon", source, place, sink, out, events), out)}
    reference = reference_of(pair)
    if reference:
        relays[reference.name] = lambda out: reference.measure(brokers, root, place, out, events)
    results = {name: [] for name in relays}
    if not consumed:
        fill(brokers, source, place, events)
    for _ in range(runs):
        this = {}
        for name, relay in relays.items():
            if consumed:
                fill(brokers, source, place, events)
            out = brokers.place(sink)
            before = broker_cpu(brokers, source, sink)
            this[name], went = relay(out)
            this[name]["broker_cpu_us"] = (broker_cpu(brokers, source, sink) - before) * 1e6 / events
            check(brokers, sink, went, events, pair in KEYED)
            say(pair, name, this[name])
            for p in {out, went}:
                brokers.drop(sink, p)
        keep_round(results, this, pair, keep)
    brokers.drop(source, place)


def measure_log(events, runs, root, keep):
    results = {"bare": [], "bascule": []}
    for _ in range(runs):
        this = {}
        for which, mode in (("bare", "bare"), ("bascule", "store")):
            d = root / "log"
            d.mkdir()
            got = run(LOG, mode, d, events, 1000, 8)
            this[which] = {**got, "store_bytes": sum(f.stat().st_size for f in d.glob("*.db*")), "broker_cpu_us": 0}
            missing = run(LOG, f"check-{mode}", d, events)["missing"]
            if missing:
                raise RuntimeError(f"of {events} events {missing} are not in the log as they were given to it ({mode})")
            shutil.rmtree(d)
            say("log", which, this[which])
        keep_round(results, this, "log", keep)


def keep_round(results, this, pair, keep):
    for name, got in this.items():
        results[name].append(got)
    keep(summary(pair, results))


def say(pair, which, got):
    print(f"  {pair} {which}: {got['rate']:,.0f}/s, {got['cpu_us']:.2f} us/event, "
          f"{got['broker_cpu_us']:.2f} us/event at the brokers, {got['peak_kib'] // 1024} MiB",
          file=sys.stderr, flush=True)


def spread(ratios):
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def ratios_to(results, other, field="rate"):
    """Each run of Bascule against the other's run of the same round."""
    return [b[field] / a[field] for a, b in zip(results[other], results["bascule"])]


def summary(pair, results):
    def median(which, field):
        return statistics.median(r[field] for r in results[which])
    ret = {"pair": pair, "aim": AIMS[pair], **spread(ratios_to(results, "bare")), "rounds": len(results["bare"]),
           "events": results["bare"][0]["events"],
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
                ret["reference"]["cpu_ratio"] = statistics.median(ratios_to(results, name, "cpu_us"))
                ret["reference"]["memory_ratio"] = statistics.median(ratios_to(results, name, "peak_kib"))
    return ret
