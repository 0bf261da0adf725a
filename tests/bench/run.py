#!/usr/bin/python3
"""Measures Bascule against bare client loops without a store, and against bridges of another make, on private
brokers, in turn, in one run, and reads back what each brought. Without --pairs, --scale and --latency: everything,
about half an hour. Prints tables, and which aims are met.

    tests/bench/run.py [--pairs kafka-kafka,log,…] [--scale NAME,…|all] [--latency] [--runs N] [--events N]
                       [--json FILE] [--resume] [--plots DIRECTORY] [--markdown FILE]
    tests/bench/run.py --from FILE [--plots DIRECTORY] [--markdown FILE]

What was measured is in the JSON file after each round; a measurement that fails is said, and the others go on.
Rates count from the first event that the sink confirmed to the last. CPU is of the relay's process alone.
Everything runs on one machine with the brokers, so what a broker takes the relay lacks."""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.dont_write_bytecode = True
import machine  # noqa: E402  (finds the brokers' and the daemon's modules)
import latency  # noqa: E402
import pairs  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402

SCALES = {"backlog": (scale.measure_backlog, 1000000), "log_size": (scale.measure_log_size, 10000000),
          "idle": (scale.measure_idle, scale.IDLE_ROUTES), "routes": (scale.measure_routes, scale.ROUTE_EVENTS),
          "bodies": (scale.measure_bodies, 1000000), "neighbours": (scale.measure_neighbours, scale.NEIGHBOUR_EVENTS),
          "disk": (scale.measure_disk, 2000000)}
ROUNDS = 5  # in turn with what it is compared with
PUBLISHED = {"json": "tests/bench/results.json", "plots": "tests/bench/plots",
             "markdown": "tests/bench/README.md,README.md"}


def words(text):
    return [x for x in text.split(",") if x and x != "none"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", help="of " + ", ".join(pairs.SIZES) + "; or none")
    p.add_argument("--scale", help="all, or of " + ", ".join(SCALES))
    p.add_argument("--latency", action="store_true", help="delay at fixed rates")
    p.add_argument("--events", type=int, help="per run, instead of each measurement's own number")
    p.add_argument("--runs", type=int, default=ROUNDS, help="rounds of each measurement that has rounds (5)")
    p.add_argument("--json", help="the file of all numbers (bench.json where the program was built)")
    p.add_argument("--resume", action="store_true", help="leave out what that file already has")
    p.add_argument("--plots", help="write SVG files into this directory")
    p.add_argument("--markdown", help="write the tables into these files: between their markers, else alone")
    p.add_argument("--publish", action="store_true", help="into the files of this tree: "
                   + ", ".join(PUBLISHED.values()))
    p.add_argument("--from", dest="earlier", metavar="FILE", help="measure nothing: the numbers of --json")
    options = p.parse_args()
    if options.pairs is None and (options.scale, options.latency) in ((None, False), ("all", True)):
        options.pairs, options.scale, options.latency = ",".join(pairs.SIZES), "all", True
    for name, place in PUBLISHED.items() if options.publish else ():
        setattr(options, name, ",".join(str(machine.TOP / x) for x in place.split(",")))
    unknown = [x for x in words(options.pairs or "") if x not in pairs.SIZES] + [
        x for x in words(options.scale or "") if x not in ("all", *SCALES)]
    if unknown:
        p.error(f"unknown: {', '.join(unknown)}")
    options.json = Path(options.json or machine.BUILD / "bench.json")
    return options


def steps(options, brokers):
    """Name, what is to be called with a directory and keep(), and whether it is as long as its aims want it."""
    runs = options.runs
    for pair in words(options.pairs or ""):
        events = options.events or pairs.SIZES[pair]
        call = (partial(pairs.measure_log, events, runs) if pair == "log" else
                partial(pairs.measure_pair, pair, brokers, events, runs))
        yield pair, runs >= ROUNDS and events >= pairs.SIZES[pair], call
    for rate in latency.RATES if options.latency else ():
        seconds = max(1, min(latency.SECONDS, (options.events or 10 ** 9) // rate))
        call = partial(latency.measure_latency, brokers, rate, seconds, runs)
        yield f"latency_{rate}", runs >= ROUNDS and seconds >= latency.SECONDS, call
    for name in SCALES if options.scale == "all" else words(options.scale or ""):
        call, full = SCALES[name]
        events = full if name == "idle" else options.events or full
        yield name, events >= full, partial(call, brokers, events, runs)


class Found:
    """All numbers, and the file that always has them."""

    def __init__(self, path, earlier=None):
        self.path = path
        self.numbers = earlier or {"measured": {}, "steps": {}}

    def keep(self, name, numbers):
        self.numbers["measured"][name] = numbers
        self.save()

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.numbers, indent=1) + "\n")
        beside.replace(self.path)

    def has(self, name):
        step = self.numbers["steps"].get(name)
        return step is not None and "failed" not in step


def measure(found, name, full, call, brokers, root):
    print(f"{name}:", file=sys.stderr, flush=True)
    directory, began = root / "work", time.monotonic()
    directory.mkdir()
    step = {"full": full}
    try:
        call(directory, partial(found.keep, name))
    except Exception as e:  # whatever it is, the others must be measured
        step["full"] = False
        step["failed"] = f"{type(e).__name__}: {e}"
        print(f"{name} FAILED: {step['failed']}", file=sys.stderr, flush=True)
        brokers.stop()  # what it left there is nobody's; the next starts them again
    shutil.rmtree(directory, ignore_errors=True)
    step["seconds"] = round(time.monotonic() - began, 1)
    found.numbers["steps"][name] = step
    found.save()
    print(f"{name}: {step['seconds']} s", file=sys.stderr, flush=True)


def measure_all(options):
    """On the disk, also where /tmp is memory: a sync must be one."""
    found = Found(options.json, json.loads(options.json.read_text()) if options.resume and options.json.exists()
                  else None)
    with tempfile.TemporaryDirectory(prefix="bascule-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as d:
        root = Path(d)
        root.chmod(0o755)  # brokers run as other users
        brokers = machine.Brokers(root)
        found.numbers.setdefault("machine", machine.describe(root))
        if found.numbers["machine"]["disk"]["filesystem"] in ("tmpfs", "ramfs"):
            print(f"note: {d} is memory, where a sync costs nothing: set TMPDIR", file=sys.stderr)
        print(f"measuring {', '.join(name for name, _, _ in steps(options, brokers))}", file=sys.stderr, flush=True)
        try:
            for name, full, call in steps(options, brokers):
                if not found.has(name):
                    measure(found, name, full, call, brokers, root)
        finally:
            brokers.stop()
    return found.numbers


def end(_number, _frame):
    raise KeyboardInterrupt  # so that brokers are stopped on the way out


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, end)
    found = json.loads(Path(options.earlier).read_text()) if options.earlier else measure_all(options)
    print(report.text(found))
    if options.plots:
        import plots
        plots.draw(found, options.plots)
    for path in words(options.markdown or ""):
        report.write(Path(path), found)
    failed = [name for name, s in found["steps"].items() if "failed" in s]
    for name in failed:
        print(f"FAILED {name}: {found['steps'][name]['failed']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
