#!/usr/bin/python3
"""Measures Bascule against bare client loops without a store, and against bridges of another make, on private
brokers, in turn, in one run. Prints a table.

    tests/bench/run.py [--pairs kafka-kafka,log,…] [--events N] [--runs N] [--scale NAME,…|all] [--latency]
                       [--json FILE] [--plots DIRECTORY] [--from FILE]

Rates count from the first event that the sink confirmed to the last. CPU is of the relay's process alone.
Everything runs on one machine with the brokers, so what a broker takes the relay lacks."""
import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
import machine  # noqa: E402  (finds the brokers' and the daemon's modules)
import latency  # noqa: E402
import pairs  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402

SCALES = {"backlog": lambda b, root, n: scale.measure_backlog(b, root, n or 1000000),
          "log_size": lambda b, root, n: scale.measure_log_size(b, root, n or 10000000),
          "idle": lambda b, root, _: scale.measure_idle(b, root, 1000),
          "routes": lambda b, root, _: scale.measure_routes(b, root),
          "bodies": lambda b, root, _: scale.measure_bodies(b, root),
          "neighbours": lambda b, root, _: scale.measure_neighbours(b, root),
          "disk": lambda b, root, _: scale.measure_disk(root)}


def words(text):
    return [x for x in text.split(",") if x and x != "none"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", default=",".join(pairs.SIZES), help="of " + ", ".join(pairs.SIZES) + "; or none")
    p.add_argument("--events", type=int, help="per run, instead of each measurement's own number")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--scale", default="none", help="all, or of " + ", ".join(SCALES))
    p.add_argument("--latency", action="store_true", help="delay at fixed rates")
    p.add_argument("--json", help="write all numbers here")
    p.add_argument("--plots", help="write SVG files into this directory")
    p.add_argument("--from", dest="earlier", metavar="FILE", help="measure nothing: the numbers of --json")
    return p.parse_args()


def measure(options, brokers, root):
    found = {"machine": report.machine(), "pairs": []}
    for pair in words(options.pairs):
        events = options.events or pairs.SIZES[pair]
        results = (pairs.measure_log(root, events, options.runs) if pair == "log"
                   else pairs.measure_pair(brokers, root, pair, events, options.runs))
        found["pairs"].append(pairs.summary(pair, results))
    if options.latency:
        found["latency"] = latency.measure_latency(brokers, root, options.runs)
    for name in SCALES if options.scale == "all" else words(options.scale):
        found[name] = SCALES[name](brokers, root, options.events)
        print(f"  {name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def main():
    options = arguments()
    if options.earlier:
        found = json.loads(Path(options.earlier).read_text())
    else:
        with tempfile.TemporaryDirectory(prefix="bascule-bench-") as d:
            root = Path(d)
            root.chmod(0o755)  # brokers run as other users
            brokers = machine.Brokers(root)
            try:
                found = measure(options, brokers, root)
            finally:
                brokers.stop()
    if found["pairs"]:
        report.table(found["pairs"])
    for name in ("latency", *SCALES):
        if name in found:
            shown = found[name]
            if name == "latency":
                shown = [{k: v for k, v in r.items() if k != "rounds"} for r in shown["rates"]]
            print(name, json.dumps(shown))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    if options.plots:
        report.plots(found, options.plots)


if __name__ == "__main__":
    main()
