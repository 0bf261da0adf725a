"""What was measured, for people (a table), for programs (JSON), and for the README (SVG)."""
import os
import platform
import time
from pathlib import Path


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1048576
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gib": memory, "kernel": platform.release(),
            "load_before": os.getloadavg()[0], "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def table(rows):
    print(f"{'pair':18} {'bare/s':>10} {'bascule/s':>10} {'ratio':>6} {'spread':>11} {'aim':>5} "
          f"{'us bare':>8} {'us':>6} {'broker, bare':>13} {'broker':>7} {'peak MiB':>9} {'B/event':>8}")
    for r in rows:
        print(f"{r['pair']:18} {r['bare_rate']:>10,.0f} {r['rate']:>10,.0f} {r['ratio']:>6.2f} "
              f"{r['low']:>5.2f}-{r['high']:<5.2f} {r['aim']:>5.2f} {r['bare_cpu_us']:>8.2f} {r['cpu_us']:>6.2f} "
              f"{r['bare_broker_us']:>13.2f} {r['broker_us']:>7.2f} {r['peak_mib']:>9.1f} {r['bytes_an_event']:>8.1f}")
    for r in rows:
        if "reference" in r:
            f = r["reference"]
            more = f", CPU {f['cpu_ratio']:.2f}, memory {f['memory_ratio']:.2f}" if "cpu_ratio" in f else ""
            print(f"{r['pair']}: {f['ratio']:.2f} ({f['low']:.2f}-{f['high']:.2f}) of {f['name']}'s "
                  f"{f['rate']:,.0f}/s{more}; aims {f['aims']}")


def plots(found, directory):
    """Rates beside each other, and delays; with the spread of the runs."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bascule"
    from matplotlib import pyplot
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rows = [r for r in found["pairs"] if r["pair"] != "log"]
    if rows:
        figure, axes = pyplot.subplots(figsize=(9, 0.6 * len(rows) + 1.2), layout="constrained")
        for k, r in enumerate(rows):
            names = [n for n in ("bare", "bascule", *r["runs"]) if n in r["runs"]]
            for i, name in enumerate(dict.fromkeys(names)):
                rates = sorted(x["rate"] for x in r["runs"][name])
                middle = rates[len(rates) // 2]
                axes.barh(k + (i - 1) * 0.27, middle, 0.25, color=f"C{min(i, 2)}",
                          label=name if name not in axes.get_legend_handles_labels()[1] else None,
                          xerr=[[middle - rates[0]], [rates[-1] - middle]])
        axes.set_yticks(range(len(rows)), [r["pair"] for r in rows])
        axes.set_xscale("log")
        axes.set_xlabel("events a second, 256 B, each fsynced before its acknowledgement (bare: never stored)")
        axes.legend()
        figure.savefig(directory / "rates.svg", metadata={"Date": None})
    if "latency" in found:
        figure, axes = pyplot.subplots(figsize=(9, 2.6), layout="constrained")
        labels = []
        for r in found["latency"]["rates"]:
            for at in ("p50_ms", "p99_ms", "p999_ms"):
                for i, which in enumerate(("bare", "bascule")):
                    axes.bar(len(labels) + (i - 0.5) * 0.4, r[at][which], 0.38, color=f"C{i}",
                             label=which if not labels else None)
                labels.append(f"{at[:-3]}\n{r['rate']}/s")
        axes.set_xticks(range(len(labels)), labels)
        axes.set_ylabel("ms, Kafka to Kafka")
        axes.legend()
        figure.savefig(directory / "delay.svg", metadata={"Date": None})
