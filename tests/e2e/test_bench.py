"""What the benchmarks make of their numbers: tables, the judgement of the aims, pages, pictures. No broker."""
import copy
import json
import sys
import xml.etree.ElementTree

from daemon import TOP
from frame import check, check_equal, test

sys.path.append(str(TOP / "tests" / "bench"))
import report  # noqa: E402

PUBLISHED = TOP / "tests" / "bench"


def small():
    """One round of a made-up run."""
    run = {"events": 100, "seconds": 1, "rate": 100, "cpu_us": 2, "peak_kib": 2048, "broker_cpu_us": 1}
    ms = {"p50_ms": 1, "p99_ms": 3, "p999_ms": 4}
    added = {at: {"bare": v, "bascule": v + 1, "added": 1, "low": 0.5, "high": 2} for at, v in ms.items()}
    return {
        "machine": {"cores": 2, "cpu": "a processor", "memory_gib": 4, "kernel": "6.1", "system": "Debian",
                    "disk": {"device": "sda", "filesystem": "ext4", "model": "?", "gib": 9, "rotational": False},
                    "load_before": 0.1, "bascule": "0.1.0", "commit": "abc", "brokers": {"Kafka": "3"},
                    "libraries": {"hiredis": "1"}},
        "steps": {name: {"seconds": 60, "full": True} for name in ("kafka-kafka", "latency_1000", "idle", "routes")},
        "measured": {
            "kafka-kafka": {"pair": "kafka-kafka", "aim": 0.75, "ratio": 0.8, "low": 0.7, "high": 0.9, "rounds": 1,
                            "events": 100, "bare_rate": 125, "rate": 100, "bare_cpu_us": 1, "cpu_us": 2,
                            "bare_broker_us": 1, "broker_us": 1, "peak_mib": 2, "bytes_an_event": 90,
                            "runs": {"bare": [run], "bascule": [run], "mirrormaker": [run]},
                            "reference": {"name": "mirrormaker", "rate": 50, "ratio": 2, "low": 1.9, "high": 2.1,
                                          "cpu_ratio": 0.35, "memory_ratio": 0.1,
                                          "aims": {"rate": 1.7, "cpu": 0.3, "memory": 0.15}}},
            "latency_1000": {"rate": 1000, "rounds": 1, "fdatasync_ms": {"median": 0.5, "p99": 2}, **added,
                             "runs": [{"bare": ms, "bascule": {at: v + 1 for at, v in ms.items()}}]},
            "idle": {"routes": 1000, "resident_mib": 60, "core_share": 0.02},
            "routes": [{"routes": n, "rounds": 1, "rate": 9, "cpu_us": n, "peak_mib": 1, "runs": [{"cpu_us": n}]}
                       for n in (1, 20)]}}


def judged(found):
    return {what: (got, aim, met) for what, got, aim, met in report.aims(found)}


@test
def benchmark_report_says_which_aims_are_met(_t):
    found = small()
    got = judged(found)
    check_equal(got["Kafka to Kafka: rate, of the bare loop's"], ("0.80 (0.70-0.90)", "≥ 0.75", True), "a ratio")
    check_equal(got["Kafka to Kafka: CPU, of MirrorMaker 2's"], ("0.35", "≤ 0.3", False), "a missed one")
    check_equal(got["1,000 idle routes: of a core"][2], False, "2 % of a core")
    p99 = "p99 added to the bare relay's at 1,000 a second"
    check_equal(got[p99][2], True, "1 ms beside two syncs of 0.5 ms and 1 ms")
    found["measured"]["latency_1000"]["p99_ms"]["added"] = 2.1
    check_equal(judged(found)[p99][2], False, "2.1 ms")
    found["steps"]["idle"]["full"] = False
    check_equal(judged(found)["1,000 idle routes: of a core"][2], None, "a short run")
    check("trace" not in " ".join(got), "nothing is said of what was not measured")
    check_equal(report.caveat(small()), "", "a whole run on a quiet machine")
    text = report.text(found)
    check("Not for comparison: some of it was" in text, "a short run is not said")
    found["machine"]["load_before"] = 3
    check("not quiet (load 3.0" in report.caveat(found), "a busy machine is not said")
    check("**missed**" in text and "a processor, 2 cores" in text, text)


@test
def benchmark_pages_are_made_of_the_numbers_and_nothing_else_is_touched(_t):
    page = "before\n<!-- bench: tables (x) -->\nold\n<!-- bench: end -->\nafter\n"
    once = report.filled(page, small())
    check(once.startswith("before\n<!-- bench: tables (x) -->\n"), once)
    check(once.endswith("<!-- bench: end -->\nafter\n"), once)
    check("old" not in once and "| Kafka to Kafka | 1 of 100 | 125 | 100 |" in once, once)
    check_equal(report.filled(once, small()), once, "the page made twice")
    other = copy.deepcopy(small())
    other["measured"]["kafka-kafka"]["rate"] = 99
    check(report.filled(once, other) != once, "another rate changes nothing")


@test
def figures_of_the_readme_are_those_of_the_run(_t):
    found = json.loads((PUBLISHED / "results.json").read_text())
    for page in (TOP / "README.md", PUBLISHED / "README.md"):
        text = page.read_text()
        check(report.MARKED.search(text), f"{page.name} has no markers")
        check(report.filled(text, found) == text, f"{page} is not what tests/bench/results.json says: make bench "
              'ARGS="--from tests/bench/results.json --publish"')


@test
def benchmark_pictures_are_small_and_the_same_for_the_same_numbers(t):
    for name in ("rates", "delay", "growth"):
        text = (PUBLISHED / "plots" / f"{name}.svg").read_text()
        xml.etree.ElementTree.fromstring(text)
        check(len(text) < 40000, f"{name}.svg has {len(text)} bytes")
    import plots  # its library takes a second, which no other test shall wait
    first, second = t.directory / "1", t.directory / "2"
    plots.draw(small(), first)
    second.mkdir()
    plots.delay(small(), second)
    check_equal(sorted(p.name for p in first.iterdir()), ["delay.svg", "growth.svg", "rates.svg"], "pictures")
    check_equal((first / "delay.svg").read_text(), (second / "delay.svg").read_text(), "a picture drawn twice")
    check("Kafka to Kafka" in (first / "rates.svg").read_text(), "the pairs are not named")
