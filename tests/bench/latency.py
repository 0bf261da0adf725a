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
from machine import BARE, PATIENCE_SECONDS
from relay import settings

RATES = (1000, 10000)
SECONDS = 10
SYNCS = 100


@contextmanager
def bare_relay(brokers, _root, place, out, events):
    p = subprocess.Popen([BARE, "kafka", brokers.port("kafka"), place, "kafka", brokers.port("kafka"), out,
                          str(events)], stdout=subprocess.DEVNULL)
    try:
        yield
        p.wait(PATIENCE_SECONDS)
    finally:
        p.kill()
        p.wait()


@contextmanager
def bascule_relay(brokers, root, place, out, _events):
    d = Daemon(root / "daemon", *settings(brokers, "kafka", place, "kafka", out))
    try:
        d.start()
        yield
    finally:
        d.stop()
        shutil.rmtree(root / "daemon")


def aged(brokers, root, relay, rate, events):
    """p50, p99 and p999 of the way from a producer of that rate through the relay to a client of its end."""
    place, out = brokers.place("kafka"), brokers.place("kafka")
    port, ends = brokers.port("kafka"), []
    with relay(brokers, root, place, out, events):
        try:
            ends.append(subprocess.Popen([BARE, "kafka", port, out, "clock", "-", "-", str(events)],
                                         stdout=subprocess.PIPE, text=True))
            ends.append(subprocess.Popen([BARE, "make", str(rate), "-", "kafka", port, place, str(events)],
                                         stdout=subprocess.DEVNULL))
            got = json.loads(ends[0].communicate(timeout=PATIENCE_SECONDS)[0])
            ends[1].wait(PATIENCE_SECONDS)
        finally:
            for p in ends:
                p.kill()
                p.wait()
    brokers.drop("kafka", place)
    brokers.drop("kafka", out)
    return got


def measure_latency(brokers, rate, seconds, runs, root, keep):
    """keep(summary) after each round: medians over the rounds, what Bascule adds to the bare relay's of the same
    round, and what a sync of this disk took at that time."""
    rounds = []
    for _ in range(runs):
        got = {"fdatasync_ms": sync_times(root)}
        for name, relay in (("bare", bare_relay), ("bascule", bascule_relay)):
            g = got[name] = aged(brokers, root, relay, rate, rate * seconds)
            print(f"  {rate}/s {name}: p50 {g['p50_ms']}, p99 {g['p99_ms']}, p999 {g['p999_ms']} ms, "
                  f"{g['events']} events", file=sys.stderr, flush=True)
        rounds.append(got)
        keep(summary(rate, rounds))


def summary(rate, rounds):
    row = {"rate": rate, "rounds": len(rounds), "runs": rounds,
           "fdatasync_ms": {at: statistics.median(g["fdatasync_ms"][at] for g in rounds) for at in ("median", "p99")}}
    for at in ("p50_ms", "p99_ms", "p999_ms"):
        added = [g["bascule"][at] - g["bare"][at] for g in rounds]
        row[at] = {**{which: statistics.median(g[which][at] for g in rounds) for which in ("bare", "bascule")},
                   "added": statistics.median(added), "low": min(added), "high": max(added)}
    return row


def sync_times(root):
    """Median and p99 of fdatasync after appending 8 KiB, in the directory where the stores lie."""
    times = []
    with open(root / "sync", "wb", buffering=0) as f:
        for _ in range(SYNCS):
            f.write(os.urandom(8192))
            began = time.monotonic()
            os.fdatasync(f.fileno())
            times.append((time.monotonic() - began) * 1000)
    times.sort()
    return {"median": times[SYNCS // 2], "p99": times[SYNCS - 1 - SYNCS // 100]}
