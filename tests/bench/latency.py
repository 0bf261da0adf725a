"""Delay at fixed rates: the way through Bascule beside the way through the bare relay, both Kafka to Kafka."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

from daemon import Daemon
from machine import BARE
from relay import settings

RATES = (1000, 10000)
SECONDS = 10


@contextmanager
def bare_relay(brokers, _root, place, out, events):
    p = subprocess.Popen([BARE, "kafka", brokers.port("kafka"), place, "kafka", brokers.port("kafka"), out,
                          str(events)], stdout=subprocess.DEVNULL)
    try:
        yield
        p.wait()
    finally:
        p.kill()
        p.wait()


@contextmanager
def bascule_relay(brokers, root, place, out, _events):
    d = Daemon(root / "daemon", *settings(brokers, "kafka", place, "kafka", out)).start()
    try:
        yield
    finally:
        d.stop()
        shutil.rmtree(root / "daemon")


def aged(brokers, root, relay, rate, events):
    """p50, p99 and p999 of the way from a producer of that rate through the relay to a client of its end."""
    place, out = brokers.place("kafka"), brokers.place("kafka")
    with relay(brokers, root, place, out, events):
        clock = subprocess.Popen([BARE, "kafka", brokers.port("kafka"), out, "clock", "-", "-", str(events)],
                                 stdout=subprocess.PIPE, text=True)
        make = subprocess.Popen([BARE, "make", str(rate), "-", "kafka", brokers.port("kafka"), place, str(events)],
                                stdout=subprocess.DEVNULL)
        got = json.loads(clock.communicate()[0])
        make.wait()
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)
    return got


def measure_latency(brokers, root, runs, rates=RATES):
    """Per rate the medians over the runs, and what Bascule adds to the bare relay's of the same round."""
    ret = []
    for rate in rates:
        rounds = []
        for _ in range(runs):
            got = {name: aged(brokers, root, relay, rate, rate * SECONDS)
                   for name, relay in (("bare", bare_relay), ("bascule", bascule_relay))}
            rounds.append(got)
            for name, g in got.items():
                print(f"  {rate}/s {name}: p50 {g['p50_ms']}, p99 {g['p99_ms']}, p999 {g['p999_ms']} ms",
                      file=sys.stderr, flush=True)
        row = {"rate": rate, "rounds": rounds}
        for at in ("p50_ms", "p99_ms", "p999_ms"):
            added = [g["bascule"][at] - g["bare"][at] for g in rounds]
            row[at] = {"bare": statistics.median(g["bare"][at] for g in rounds),
                       "bascule": statistics.median(g["bascule"][at] for g in rounds),
                       "added": statistics.median(added), "low": min(added), "high": max(added)}
        ret.append(row)
    return {"rates": ret, "fdatasync_ms": sync_times(root)}


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
