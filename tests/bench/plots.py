"""Pictures of what was measured (SVG), the same bytes for the same numbers. Plain fonts, few strokes, a white ground
of their own, so that they can be read on any page."""
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.hashsalt": "bascule", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.edgecolor": "#888888", "axes.spines.top": False,
    "axes.spines.right": False, "xtick.major.size": 2, "ytick.major.size": 2, "xtick.minor.size": 0,
    "ytick.minor.size": 0, "legend.frameon": False, "path.simplify": True})
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402
from report import NAMES, REFERENCES, added_aim, latencies, rows_of  # noqa: E402

BARE, BASCULE, OTHER = "#a3acb9", "#0969da", "#d4761f"
COLOURS = {"bare": BARE, "bascule": BASCULE}
LABELS = {"bare": "bare loop, nothing stored", "bascule": "Bascule", **REFERENCES}


def save(figure, directory, name):
    figure.savefig(Path(directory, f"{name}.svg"), metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def whole(value, _position=None):
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def rates(found, directory):
    """A row for each pair, a dot for each relay: median, and from the slowest round to the fastest. Dots, because
    bars of a logarithm would have to begin somewhere."""
    rows = [r for r in rows_of(found) if r["pair"] != "log"]
    bars = [(k, i, name, r) for k, r in enumerate(rows) for i, name in enumerate(r["runs"])]
    if not bars:
        return
    figure, axes = pyplot.subplots(figsize=(8, 0.52 * len(rows) + 1.1), layout="constrained")
    for k, i, name, r in bars:
        got = sorted(x["rate"] for x in r["runs"][name])
        middle = median(got)
        axes.errorbar(middle, k + (i - 1) * 0.22, xerr=[[middle - got[0]], [got[-1] - middle]], marker="o",
                      markersize=5, elinewidth=1.6, color=COLOURS.get(name, OTHER))
    axes.set_yticks(range(len(rows)), [NAMES[r["pair"]] for r in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(whole))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("events of 256 B a second; lines: slowest to fastest round")
    others = [n for n in dict.fromkeys(name for _, _, name, _ in bars) if n not in COLOURS]
    legend(figure, [(LABELS[name], colour) for name, colour in COLOURS.items()]
           + [(" or ".join(LABELS[n] for n in others), OTHER)] * bool(others))
    save(figure, directory, "rates")


def legend(figure, entries):
    """Above all panels, which leave it room."""
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.27 / figure.get_figheight()))
    figure.legend([pyplot.Rectangle((0, 0), 1, 1, color=colour) for _, colour in entries], [t for t, _ in entries],
                  loc="upper center", ncol=len(entries))


def delay(found, directory):
    """A panel for each rate: percentiles of the bare relay and of Bascule, and how much more would be in the aim."""
    rows = latencies(found)
    if not rows:
        return
    figure, panels = pyplot.subplots(1, len(rows), figsize=(8, 2.6), layout="constrained", squeeze=False, sharey=True)
    for axes, m in zip(panels[0], rows):
        for k, at in enumerate(("p50_ms", "p99_ms", "p999_ms")):
            for i, which in enumerate(("bare", "bascule")):
                got = sorted(r[which][at] for r in m["runs"])
                middle = m[at][which]
                axes.bar(k + (i - 0.5) * 0.38, middle, 0.36, color=COLOURS[which], yerr=[
                    [middle - got[0]], [got[-1] - middle]], error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
        if m["rate"] == 1000:
            top = m["p99_ms"]["bare"] + added_aim(m)
            axes.plot([0.62, 1.38], [top, top], color="#cf222e", linewidth=1)
            axes.annotate("aim", (1.4, top), color="#cf222e", va="center", fontsize=8)
        axes.set_xticks(range(3), ["p50", "p99", "p99.9"])
        axes.set_title(f"{m['rate']:,} events a second", fontsize=9)
    panels[0][0].set_ylabel("ms, Kafka to Kafka")
    legend(figure, [(LABELS["bare"], BARE), (LABELS["bascule"], BASCULE)])
    save(figure, directory, "delay")


def growth(found, directory):
    """CPU an event over the number of routes, and MiB a second over the size of bodies."""
    m = found["measured"]
    panels = [(m["routes"], "routes", lambda r: r["routes"], "cpu_us", "CPU an event, us")] if "routes" in m else []
    if "bodies" in m:
        panels += [(m["bodies"], "KiB a body", lambda r: r["body_bytes"] / 1024, "mib_per_s", "MiB a second")]
    if not panels:
        return
    figure, all_axes = pyplot.subplots(1, len(panels), figsize=(8, 2.4), layout="constrained", squeeze=False)
    for axes, (rows, label, size, field, unit) in zip(all_axes[0], panels):
        sizes, middles = [size(r) for r in rows], [r[field] for r in rows]
        low, high = ([pick(x[field] for x in r["runs"]) for r in rows] for pick in (min, max))
        axes.errorbar(sizes, middles, [[v - x for v, x in zip(middles, low)], [x - v for v, x in zip(middles, high)]],
                      color=BASCULE, marker="o", markersize=4, linewidth=1.4, elinewidth=0.8, ecolor="#333333")
        axes.set_xscale("log")
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(FuncFormatter(whole))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, max(high) * 1.15)
        axes.set_xlabel(label)
        axes.set_ylabel(unit)
    save(figure, directory, "growth")


def draw(found, directory):
    Path(directory).mkdir(parents=True, exist_ok=True)
    for picture in (rates, delay, growth):
        picture(found, directory)
