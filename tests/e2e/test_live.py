"""Looking on: `bascule tap` and `bascule top` as people use them."""
import json
import signal
import subprocess

from broker import wait_until
from daemon import PROGRAM, TOP
from ends import StreamSink, StreamSource
from frame import check, check_equal, test
from terminal import Terminal
from test_failures import QUICK, daemon_of


class Tap:
    """A tap that runs, and what it has printed."""

    def __init__(self, t, d, *args):
        self.out = t.directory / f"tap{len(t.endings)}.out"
        self.err = self.out.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(d.verb_command("tap", *args), stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL, env=d.environment(), cwd=d.directory)
        t.ends(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def lines(self):
        return self.out.read_text().splitlines()

    def said(self, what):
        """Lines of --json of that kind; the last one may still be on its way."""
        whole = self.out.read_text().rpartition("\n")[0]
        return [one for one in map(json.loads, whole.splitlines()) if one["what"] == what]

    def wait_said(self, what, count=1):
        wait_until(lambda: len(self.said(what)) >= count, f"{count} lines '{what}' of a tap")
        return self.said(what)

    def code(self):
        return self.process.wait(60)


def relaying(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml("out")} ]
  {QUICK}""", "redis")
    d.start()
    return d, source


def feed(source, *names):
    list(source.feed([(n, "k1" if n < "m" else "k2", b"body of " + n.encode()) for n in names]))


@test
def tap_shows_what_is_received_and_what_became_of_it(t):
    d, source = relaying(t)
    taps = [Tap(t, d, "r", "--json", "--body", "--count", 2), Tap(t, d, "r/out", "--json", "--sent", "--key", "k2")]
    for tap in taps:
        tap.wait_said("begin")
    feed(source, "a", "z")
    check_equal(taps[0].code(), 0, "exit code after --count")
    got = taps[0].said("received")
    check_equal([e["id"] for e in got], ["a", "z"], "ids")
    check_equal([e["body"] for e in got], ["body of a", "body of z"], "bodies")
    check_equal(got[1]["seq"], 2, "place in the log")
    got = taps[1].wait_said("delivered")
    check_equal([(e["id"], e["seq"]) for e in got], [("z", 2)], "what was delivered with that key")
    check_equal(len(taps[1].said("sent")), 1, "sent")
    check("body" not in got[0], f"a body that nobody asked for: {got}")


@test
def tap_ends_on_interrupt_with_success(t):
    d, source = relaying(t)
    tap = Tap(t, d, "r", "--json")
    tap.wait_said("begin")
    tap.process.send_signal(signal.SIGINT)
    check_equal(tap.code(), 0, "exit code")
    feed(source, "a")
    wait_until(lambda: d.at_rest("r") and d.route("r")["accepted"] == 1, "the route goes on")


@test
def tap_prints_a_row_for_each_event_and_its_body_below(t):
    d, source = relaying(t)
    tap = Tap(t, d, "r/out", "--body", "--count", 1)

    def ended():
        feed(source, "a")
        return tap.process.poll() is not None
    wait_until(ended, "the end of a tap with --count 1")
    check_equal(tap.code(), 0, "exit code")
    row, body = tap.lines()
    check_equal(row.split("\t")[1:3], [f"r@{row.split(chr(9))[1][2:]}", "delivered"], "event and what became of it")
    check_equal(body, "  body of a", "body")


@test
def tap_tells_how_much_it_does_not_show(t):
    d, source = relaying(t)
    tap = Tap(t, d, "r", "--json", "--rate", "5/s")
    tap.wait_said("begin")
    feed(source, *[f"a{i:03}" for i in range(200)])
    wait_until(lambda: len(tap.said("received")) + sum(e["count"] for e in tap.said("not_shown")) == 200,
               "each event shown or counted")
    check(len(tap.said("received")) < 150, "the rate holds nothing back")


@test
def tap_ends_with_the_daemon_and_with_its_route(t):
    d, _ = relaying(t)
    check_equal(d.verb("tap", "nobody", check=False).code, 65, "exit code without such a route")
    check_equal(d.verb("tap", "r", "--sample", "100", check=False).code, 64, "exit code of a bad sample")
    tap, table = Tap(t, d, "r", "--json"), Tap(t, d, "r")
    tap.wait_said("begin")
    d.config.write_text(d.config.read_text().replace("name: r\n", "name: other\n"))
    d.verb("reload", "--discard", "r")
    check_equal(tap.wait_said("end")[0]["because"], "gone", "why the tap ended")
    check_equal(tap.code(), 65, "exit code when its route is gone")
    check_equal(table.code(), 65, "the same of a table")
    taps = [Tap(t, d, "other", "--json") for _ in range(2)]
    for one in taps:
        one.wait_said("begin")
    check_equal(d.stop(), 0, "exit code of the daemon, with taps open")
    for one in taps:
        check_equal(one.code(), 69, "exit code when the daemon ends")
        check_equal(one.wait_said("end")[0]["because"], "stopping", "why the tap ended")
    d.start()
    tap = Tap(t, d, "other", "--json")
    tap.wait_said("begin")
    d.kill()
    check_equal(tap.code(), 69, "exit code when the daemon was killed")


LEFT, RIGHT, UP, DOWN = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B"


def two_routes(t):
    """`busy` has a backlog at its paused sink, `torn` a dead letter."""
    sources = [StreamSource(t, ".a"), StreamSource(t, ".b")]
    sink = StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: torn
  from: {sources[0].yaml()}
  to: [ {{ name: out, connection: redis, stream: "{t.name}.${{header.kind}}" }} ]
  {QUICK}
- name: busy
  from: {sources[1].yaml()}
  to: [ {sink.yaml("out")}, {{ name: second, connection: redis, stream: {t.name}.second }} ]
  {QUICK}""", "redis")
    d.start()
    d.verb("pause", "busy/second")
    list(sources[0].feed([("bad", "k", b"poison")]))
    list(sources[1].feed([(f"n{i}", "k", b"body") for i in range(7)]))
    d.wait_dead(1)
    wait_until(lambda: d.route("busy")["accepted"] == 7, "accepted")
    return d


def top(t, d, *args, env=None, **kwargs):
    return Terminal(t, d.verb_command("top", "--interval", "0.2", *args), {**d.environment(), **(env or {})}, **kwargs)


def names(screen):
    """The first column of the table, from above."""
    words = [line.split()[0] if line else "" for line in screen.lines()[4:-2]]
    return [w for w in words if w]


def row(screen, name):
    line = screen.wait_text(name + " ")
    return dict(zip(screen.wait_text("ROUTE/SINK").replace("*", "").replace("^", "").split(), line.split()))


@test
def top_shows_every_route_and_sink_with_its_figures(t):
    d = two_routes(t)
    screen = top(t, d)
    screen.wait_text("busy/second")
    check_equal(names(screen), ["torn", "torn/out", "busy", "busy/out", "busy/second"], "rows")
    check_equal(row(screen, "busy/second")["STATE"], "paused", "state of a paused sink")
    check_equal(row(screen, "busy/second")["PENDING"], "7", "pending of it")
    check_equal(row(screen, "busy")["PENDING"], "7", "pending of the route")
    check_equal(row(screen, "torn/out")["DEAD"], "1", "dead letters")
    check("dead letters wait" in screen.lines()[1], f"no verdict in {screen.lines()[1]!r}")
    screen.press("q")
    check_equal(screen.wait_end(), 0, "exit code")
    check(screen.restored(), "the terminal is not as it was")


@test
def top_sorts_by_any_column_and_keeps_sinks_below_their_routes(t):
    d = two_routes(t)
    screen = top(t, d, "--sort", "pending")
    screen.wait_text("PENDING*")
    check_equal(names(screen), ["busy", "busy/second", "busy/out", "torn", "torn/out"], "by pending")
    screen.press("r")
    screen.wait_text("PENDING^")
    check_equal(names(screen), ["torn", "torn/out", "busy", "busy/out", "busy/second"], "the other way")
    for title in ("BACKLOG", "OLDEST", "PARKED", "DEAD"):
        screen.press(RIGHT)
        screen.wait_text(title + "*")
    check_equal(names(screen)[0], "torn", "first by dead letters")
    screen.press(LEFT)
    screen.wait_text("PARKED*")
    check_equal(d.verb("top", "--once", "--sort", "nothing", check=False).code, 64, "exit code without such a column")


@test
def top_pauses_after_a_yes_alone(t):
    d = two_routes(t)
    screen = top(t, d)
    screen.wait_text("busy/out")
    screen.press(DOWN * 3 + "p")
    screen.wait_text("pause busy/out? y/n")
    screen.press("n")
    wait_until(lambda: not screen.line_of("y/n"), "the question is gone")
    check(not any(s["paused"] for s in d.route("busy")["sinks"] if s["name"] == "out"), "paused by a no")
    screen.press("py")
    wait_until(lambda: row(screen, "busy/out")["STATE"] == "paused", "paused on the screen")
    check(d.route("busy")["sinks"][0]["paused"], "not paused")
    screen.press("p")
    screen.wait_text("resume busy/out? y/n")
    screen.press("y")
    wait_until(lambda: not d.route("busy")["sinks"][0]["paused"], "resumed")


@test
def top_looks_into_a_route(t):
    d = two_routes(t)
    screen = top(t, d, lines=40)
    screen.wait_text("torn/out")
    screen.press("\r")
    screen.wait_text("newest dead letters")
    check("torn@1 at out" in screen.wait_text("template"), "the dead letter")
    screen.wait_text("1 accepted = 0 delivered + 0 pending + 1 dead")
    screen.press("\x1b")
    screen.wait_text("ROUTE/SINK")


@test
def top_follows_the_size_of_its_terminal(t):
    d = two_routes(t)
    screen = top(t, d)
    screen.wait_text("busy/second")
    screen.resize(60, 9)
    wait_until(lambda: names(screen) == ["torn", "torn/out", "busy"], "three rows on a small screen")
    check("up/down" in screen.lines()[8], "help on the last line")
    screen.press(DOWN * 4)
    wait_until(lambda: names(screen) == ["busy", "busy/out", "busy/second"], "the selected row scrolls in")
    screen.resize(150, 30)
    wait_until(lambda: len(names(screen)) == 5, "all rows on a large screen")
    check("up/down" in screen.lines()[29], "help on the last line of a large screen")


@test
def top_waits_for_a_daemon_that_is_away(t):
    d = two_routes(t)
    screen = top(t, d)
    screen.wait_text("busy/second")
    d.stop()
    check("cannot reach" in screen.wait_text("NO ANSWER"), "why")
    check(screen.line_of("busy/second"), "the last table is gone")
    d.start()
    wait_until(lambda: not screen.line_of("NO ANSWER"), "the table lives again")
    d.process.send_signal(signal.SIGSTOP)
    screen.wait_text("does not answer")
    d.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not screen.line_of("NO ANSWER"), "the table lives again after a standstill")


@test
def top_gives_the_terminal_back_whatever_ends_it(t):
    d = two_routes(t)
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGQUIT, -3)):
        screen = top(t, d)
        screen.wait_text("busy/second")
        check(not screen.restored(), "a full screen with an echo")
        screen.signal(number)
        check_equal(screen.wait_end(), code, f"exit code after {number.name}")
        check(screen.restored(), f"the terminal is not as it was after {number.name}")


@test
def top_shows_no_color_when_asked(t):
    d = two_routes(t)
    for env, colors in (({"NO_COLOR": ""}, {"brown"}), ({"NO_COLOR": "1"}, {"default"})):
        screen = top(t, d, env=env)
        screen.wait_text("busy/second")
        line = next(i for i, text in enumerate(screen.lines()) if text.startswith("torn/out"))
        check_equal({screen.style(line).fg}, colors, f"color of a sink with dead letters, {env}")


@test
def top_prints_plain_tables_where_there_is_no_screen(t):
    d = two_routes(t)
    got = [line.split("\t") for line in d.verb("top", "--once", "--sort", "dead").out.splitlines()]
    check_equal([line[0] for line in got], ["torn", "torn/out", "busy", "busy/out", "busy/second"], "rows")
    check_equal(got[4][4], "7", "pending")
    check_equal(len(d.json("top", "--once")["routes"]), 2, "routes in JSON")
    plain = top(t, d, kind="dumb")
    plain.wait_text("busy/second")
    plain.signal(signal.SIGINT)
    check_equal(plain.wait_end(), 0, "exit code of plain tables")
    check(b"\x1b[" not in plain.bytes, "a terminal that cannot got control sequences")
    d.stop()
    check_equal(d.verb("top", "--once", check=False).code, 69, "exit code without a daemon")


@test
def trace_says_from_where_an_event_came(t):
    d = two_routes(t)
    screen = Terminal(t, d.verb_command("trace", "busy@3"), d.environment(), columns=200)
    heading = screen.wait_text("busy@3, id n2: received ")
    for word in (" of redis, ", t.name + ".b", "; committed"):
        check(word in heading, f"no {word!r} in {heading!r}")
    check("delivered" in screen.wait_text("out ") and screen.wait_text("pending"), "a fate at each sink")
    check_equal(screen.wait_end(), 0, "exit code")


def completed(d, *words):
    """What bash offers for the last of the words."""
    manual = d.directory / "manual"
    subprocess.run([TOP / "packaging/manual/write", PROGRAM, manual], check=True)
    script = f"""PATH={PROGRAM.parent}:$PATH; . {manual}/bascule.bash
        COMP_WORDS=({" ".join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}; _bascule
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    got = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, env=d.environment())
    return got.stdout.split()


@test
def completions_know_verbs_options_and_live_names(t):
    d = two_routes(t)
    check_equal(completed(d, "bascule", "t"), ["tap", "top", "trace"], "verbs")
    check_equal(completed(d, "bascule", "tap", "busy"), ["busy", "busy/out", "busy/second"], "names")
    check_equal(completed(d, "bascule", "top", "--s"), ["--sort", "--socket"], "options")
