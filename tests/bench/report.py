"""What was measured, for people: tables in Markdown, the aims first, and the parts of README and tests/bench/README.md
that stand between markers. Every figure there comes from the JSON file."""
import re
import textwrap

NAMES = {"kafka-kafka": "Kafka to Kafka", "kafka-redis": "Kafka to a Redis stream",
         "redis-kafka": "Redis stream to Kafka", "rabbitmq-rabbitmq": "RabbitMQ classic queue to classic",
         "quorum-quorum": "RabbitMQ quorum queue to quorum", "rabbitmq-kafka": "RabbitMQ to Kafka",
         "nats-kafka": "JetStream to Kafka", "kafka-nats": "Kafka to JetStream", "log": "the log alone"}
REFERENCES = {"mirrormaker": "MirrorMaker 2", "shovel": "RabbitMQ's Shovel"}
BEHIND_MIB, START_SECONDS, TRACE_SECONDS, IDLE_MIB, IDLE_PERCENT = 48, 1, 1, 64, 1
# body.h: body_put(), body_put_order()
DISK_BODIES = {"": "a 256 B body with 100 random letters", "_order": "an order of 251 B"}
DISK_AT_SPEED, DISK_AT_TEN = 0.25, 1.2
LOAD_MAX = 0.5  # of one core, before it began
WIDTH = 118


def table(head, rows):
    rows = [[str(c) for c in r] for r in rows]
    if not rows:
        return ""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, *rows)).replace(
        "\n", "\n|" + "---|" * len(head) + "\n", 1) + "\n"


def between(got, digits=2):
    return f"{got['ratio']:.{digits}f} ({got['low']:.{digits}f}-{got['high']:.{digits}f})"


def rows_of(found):
    """The pairs that were measured, in the order of the names."""
    return [found["measured"][p] for p in NAMES if p in found["measured"]]


# ---- aims ----

def pair_aims(r):
    name = NAMES[r["pair"]]
    yield f"{name}: rate, of the bare loop's", between(r), f"≥ {r['aim']}", r["ratio"] >= r["aim"]
    f = r.get("reference")
    if f:
        other = REFERENCES[f["name"]]
        yield f"{name}: rate, of {other}'s", between(f), f"≥ {f['aims']['rate']}", f["ratio"] >= f["aims"]["rate"]
        for what in ("cpu", "memory"):
            if what in f["aims"]:
                got = f[f"{what}_ratio"]
                yield (f"{name}: {'CPU' if what == 'cpu' else what}, of {other}'s", f"{got:.2f}",
                       f"≤ {f['aims'][what]}", got <= f["aims"][what])


def added_aim(row):
    """Two syncs and a millisecond, by the syncs of the same rounds."""
    return 2 * row["fdatasync_ms"]["median"] + 1


def at_most(what, got, aim, unit, digits=2):
    return what, f"{got:.{digits}f} {unit}".strip(), f"≤ {aim} {unit}".strip(), got <= aim


def aims(found):
    """(what, measured, aim, met) of each that was measured; met is None where it was not measured as the aim says."""
    for step in found["measured"]:
        for *row, met in step_aims({"measured": {step: found["measured"][step]}}):
            yield (*row, None if short(found, step) else met)


def step_aims(found):
    m = found["measured"]
    for r in rows_of(found):
        yield from pair_aims(r)
    if "latency_1000" in m:
        row, aim = m["latency_1000"], added_aim(m["latency_1000"])
        added = row["p99_ms"]
        yield ("p99 added to the bare relay's at 1,000 a second",
               f"{added['added']:.1f} ms ({added['low']:.1f} to {added['high']:.1f})",
               f"≤ {aim:.1f} ms: 2 syncs of {row['fdatasync_ms']['median']:.1f} ms, and 1 ms", added["added"] <= aim)
    if "backlog" in m:
        yield at_most(f"memory with {m['backlog']['pending']:,} events behind", m["backlog"]["resident_mib"],
                      BEHIND_MIB, "MiB", 0)
    if "log_size" in m:
        n = f"{m['log_size']['events']:,}"
        yield at_most(f"kill -9 with {n} in the log: start to first delivery, longest",
                      max(m["log_size"]["to_delivery_s"]), START_SECONDS, "s")
        yield at_most(f"trace by id among {n}, longest", max(m["log_size"]["trace_s"]), TRACE_SECONDS, "s")
    if "idle" in m:
        n = f"{m['idle']['routes']:,} idle routes"
        yield at_most(f"{n}: memory", m["idle"]["resident_mib"], IDLE_MIB, "MiB", 0)
        yield at_most(f"{n}: of a core", m["idle"]["core_share"] * 100, IDLE_PERCENT, "%")
    if "disk" in m:
        for suffix, what in DISK_BODIES.items():
            if f"full_speed{suffix}" in m["disk"]:
                yield at_most(f"disk at full speed, of {what}", m["disk"][f"full_speed{suffix}"]["disk_of_body"],
                              DISK_AT_SPEED, "")
                yield at_most(f"disk at ten a second after merging, of {what}",
                              m["disk"][f"ten_a_second{suffix}"]["disk_of_body"], DISK_AT_TEN, "")


def aims_table(found):
    verdicts = {True: "met", False: "**missed**", None: "not judged: a short run"}
    return caveat(found) + table(("", "measured", "aim", ""), [(*row, verdicts[met]) for *row, met in aims(found)])


def short(found, step):
    return not found["steps"].get(step, {}).get("full")


def caveat(found):
    """What a reader must know before the first figure. Empty: all was measured as it should be."""
    ret, load = [], found["machine"]["load_before"]
    if load > LOAD_MAX:
        ret.append(f"the machine was not quiet (load {load:.1f} before it began)")
    if any(short(found, name) for name in found["measured"]):
        ret.append("some of it was measured with fewer rounds or events than its aims want")
    failed = [name for name, s in found["steps"].items() if "failed" in s]
    if failed:
        ret.append(f"failed: {', '.join(failed)}")
    return textwrap.fill(f"**Not for comparison: {'; '.join(ret)}.**", WIDTH) + "\n\n" if ret else ""


# ---- all else ----

def machine_text(found):
    m = found["machine"]
    disk = m["disk"]
    model = "" if disk["model"] == "?" else f" ({disk['model']})"
    versions = ", ".join(f"{n} {v}" for n, v in m["brokers"].items())
    libraries = ", ".join(f"{n} {v}" for n, v in m["libraries"].items())
    minutes = sum(s["seconds"] for s in found["steps"].values()) / 60
    return textwrap.fill(
        f"{m['cpu']}, {m['cores']} cores shared by all processes, {m['memory_gib']} GiB; disk {disk['device']}{model}, "
        f"{disk['gib']} GiB, {disk['filesystem']}; {m['system']}, Linux {m['kernel']}. {versions}. {libraries}. "
        f"Bascule {m['bascule']} ({m['commit']}). Load before: {m['load_before']:.1f}. All of it took "
        f"{minutes:.0f} minutes.", WIDTH) + "\n"


def pairs_table(found):
    head = ("", "rounds", "bare/s", "Bascule/s", "ratio (spread)", "CPU bare, us", "CPU, us",
            "broker's CPU with bare, us", "broker's CPU, us", "peak MiB", "disk B")
    return table(head, [(NAMES[r["pair"]], f"{r['rounds']} of {r['events']:,}", f"{r['bare_rate']:,.0f}",
                         f"{r['rate']:,.0f}", between(r), f"{r['bare_cpu_us']:.2f}", f"{r['cpu_us']:.2f}",
                         f"{r['bare_broker_us']:.2f}", f"{r['broker_us']:.2f}", f"{r['peak_mib']:.0f}",
                         f"{r['bytes_an_event']:.0f}") for r in rows_of(found)])


def references_table(found):
    rows = []
    for r in rows_of(found):
        f = r.get("reference")
        if f:
            more = (f"{f['cpu_ratio']:.2f}", f"{f['memory_ratio']:.2f}") if "cpu_ratio" in f else (
                "inside the broker", "inside the broker")
            rows.append((f"{REFERENCES[f['name']]}, {NAMES[r['pair']]}", f"{f['rate']:,.0f}", between(f), *more))
    return table(("", "its rate/s", "Bascule's of it (spread)", "Bascule's CPU of its", "memory"), rows)


def latencies(found):
    return [m for name, m in found["measured"].items() if name.startswith("latency_")]


def latency_table(found):
    rows = []
    for m in latencies(found):
        for which in ("bare", "bascule"):
            rows.append((f"{m['rate']:,}", "bare relay" if which == "bare" else "Bascule", *(
                f"{m[at][which]:.1f}" for at in ("p50_ms", "p99_ms", "p999_ms"))))
        rows.append((f"{m['rate']:,}", f"added (spread of {m['rounds']})", *(
            f"{g['added']:.1f} ({g['low']:.1f} to {g['high']:.1f})" for g in (m["p50_ms"], m["p99_ms"], m["p999_ms"]))))
        rows.append((f"{m['rate']:,}", "fdatasync of 8 KiB, in the same rounds", f"{m['fdatasync_ms']['median']:.1f}",
                     f"{m['fdatasync_ms']['p99']:.1f}", ""))
    return table(("events a second", "", "p50 ms", "p99 ms", "p999 ms"), rows)


def backlog_table(found):
    m, rows = found["measured"], []
    if "backlog" in m:
        b = m["backlog"]
        rows += [(f"memory with {b['pending']:,} behind a paused sink",
                  f"{b['resident_mib']:.0f} MiB, {b['peak_mib']:.0f} at the peak"),
                 ("that backlog drains at", f"{b['drain_per_s']:,.0f} a second")]
    if "log_size" in m:
        s = m["log_size"]

        def span(times):
            return f"{min(times):.2f}-{max(times):.2f} s, {len(times)} times"
        rows += [(f"kill -9 with {s['events']:,} in the log: start to the admin socket's answer", span(s["start_s"])),
                 ("start to the first delivery", span(s["to_delivery_s"])), ("`trace` by id", span(s["trace_s"]))]
    return table(("", ""), rows)


def idle_table(found):
    if "idle" not in found["measured"]:
        return ""
    i = found["measured"]["idle"]
    return table(("routes", "resident MiB", "of a core"), [
        (f"{i['routes']:,}", f"{i['resident_mib']:.0f}", f"{i['core_share'] * 100:.1f} %")])


def growth_tables(found):
    m = found["measured"]
    ret = [table(("routes", "events/s in all", "CPU an event, us", "peak MiB"), [
        (r["routes"], f"{r['rate']:,.0f}", f"{r['cpu_us']:.2f}", f"{r['peak_mib']:.0f}") for r in m.get("routes", ())]),
        table(("body", "events/s", "MiB/s", "CPU an event, us", "CPU a MiB, ms", "peak MiB"), [
            (f"{r['body_bytes'] // 1024:,} KiB", f"{r['rate']:,.0f}", f"{r['mib_per_s']:.0f}", f"{r['cpu_us']:,.0f}",
             f"{r['cpu_us'] * 1048.576 / r['body_bytes']:.1f}", f"{r['peak_mib']:.0f}") for r in m.get("bodies", ())])]
    n = m.get("neighbours")
    if n:
        ret.append(table(("a sink", "events/s"), [("alone", f"{n['alone']:,.0f}"), (
            "beside one that takes 100 a second", f"{n['beside_slow']:,.0f}, {between(n)} of that")]))
    return "\n".join(t for t in ret if t)


def disk_table(found):
    d = found["measured"].get("disk", {})
    speeds = {"full_speed": "100,000 a second, 1,000 a chunk", "ten_a_second": "ten a second, after merging"}
    names = {speed + suffix: f"{text}; {what}" for speed, text in speeds.items() for suffix, what in DISK_BODIES.items()}
    return table(("", "events", "chunks then", "B an event", "of a 256 B body"), [
        (names[name], f"{r['events']:,}", f"{r['chunks']:,}", f"{r['disk_bytes']:.1f}", f"{r['disk_of_body']:.2f}")
        for name, r in d.items()])


def time_table(found):
    return table(("step", "took"), [(name, f"{s['seconds']:.0f} s" + (": failed" if "failed" in s else ""))
                                    for name, s in found["steps"].items()])


SECTIONS = (("Aims", aims_table), ("Machine", machine_text), ("Throughput", pairs_table),
            ("Beside other bridges", references_table), ("Delay at fixed rates", latency_table),
            ("Backlog and start", backlog_table), ("Routes that have nothing to do", idle_table),
            ("What more routes, larger bodies and a slow neighbour cost", growth_tables),
            ("Disk at two speeds", disk_table))
PLOTS = {"Throughput": "rates", "Delay at fixed rates": "delay",
         "What more routes, larger bodies and a slow neighbour cost": "growth"}


def tables(found, plots=False):
    ret = []
    for heading, part in SECTIONS:
        text = part(found)
        if text:
            ret.append(f"### {heading}\n\n{text}" + (
                f"\n![{heading}](plots/{PLOTS[heading]}.svg)\n" if plots and heading in PLOTS else ""))
    return "\n".join(ret)


def text(found):
    """For a terminal: columns are padded."""
    lines = (tables(found) + "\n### Time\n\n" + time_table(found)).split("\n")
    ret, block = [], []
    for line in lines:
        if line.startswith("|"):
            block.append([c.strip() for c in line.strip("|").split("|")])
            continue
        ret += padded(block)
        block = []
        ret.append(line)
    return "\n".join(ret)


def padded(block):
    rows = [r for r in block if set("".join(r)) != {"-"}]
    widths = [max(len(c) for c in column) for column in zip(*rows)]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows]


def sentences(found):
    m = found["measured"]
    if "latency_1000" in m:
        p99 = m["latency_1000"]["p99_ms"]
        yield (f"At 1,000 events a second the p99 delay from producer to consumer is {p99['bascule']:.0f} ms; with the "
               f"bare loop it is {p99['bare']:.0f} ms.")
    for r in rows_of(found):
        f = r.get("reference")
        if f:
            more = f", with {f['cpu_ratio']:.2f} of its CPU and {f['memory_ratio']:.2f} of its memory" if (
                "cpu_ratio" in f) else ""
            yield f"{NAMES[r['pair']]}, Bascule carries {f['ratio']:.1f} times what {REFERENCES[f['name']]} does{more}."
    if "backlog" in m:
        yield f"With {m['backlog']['pending']:,} events behind, it takes {m['backlog']['resident_mib']:.0f} MiB."
    if "log_size" in m:
        yield (f"With {m['log_size']['events']:,} in the log, the first delivery comes "
               f"{max(m['log_size']['to_delivery_s']):.2f} s after a start at the latest.")
    if "idle" in m:
        yield (f"{m['idle']['routes']:,} idle routes take {m['idle']['resident_mib']:.0f} MiB and "
               f"{m['idle']['core_share'] * 100:.1f} % of a core.")


def summary(found):
    rows = [(NAMES[r["pair"]], f"{r['rate']:,.0f}", between(r), f"{r['cpu_us']:.1f}", f"{r['peak_mib']:.0f}")
            for r in rows_of(found) if r["pair"] != "log"]
    head = ("", "events a second", "of the bare loop (spread)", "CPU an event, us", "peak MiB")
    return (caveat(found) + table(head, rows)
            + "\n![Events a second of each pair](tests/bench/plots/rates.svg)\n"
            + "\n" + textwrap.fill(" ".join(sentences(found)), WIDTH) + "\n"
            + "\n![Delay at fixed rates](tests/bench/plots/delay.svg)\n")


PARTS = {"summary": summary, "tables": lambda found: tables(found, plots=True)}
MARKED = re.compile(r"(<!-- bench: (\w+)[^>]*-->\n)(.*?)(<!-- bench: end -->)", re.S)


def filled(page, found):
    """The page with what stands between its markers made anew."""
    return MARKED.sub(lambda m: m[1] + "\n" + PARTS[m[2]](found) + "\n" + m[4], page)


def write(path, found):
    page = path.read_text() if path.exists() else ""
    path.write_text(filled(page, found) if MARKED.search(page) else tables(found))
