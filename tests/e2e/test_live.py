"""Looking on: `bascule tap` as people use it."""
import json
import signal
import subprocess

from broker import wait_until
from ends import StreamSink, StreamSource
from frame import check, check_equal, test
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
