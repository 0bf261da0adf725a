"""What a person does with a running relay: dead letters, replay, trace, the store."""
import json
import sqlite3

import clients
from broker import wait_until
from daemon import Daemon
from ends import StreamSink, StreamSource
from frame import check, check_equal, test
from test_failures import QUICK, daemon_of

NAMES = [f"id-{i}" for i in range(10)]


def flowing(t, more=""):
    """A stream to a stream, ten events through it; returns (daemon, source, listener)."""
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()} ]
{more}""", "redis")
    d.start()
    heard = sink.listen()
    list(source.feed([(n, "k1", b"body of " + n.encode()) for n in NAMES]))
    heard.wait_count(len(NAMES))
    return d, source, heard


def poisoned(t):
    """A template that needs a header which the event has not: one dead letter."""
    source, sink = StreamSource(t), t.name + ".out"
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: redis, stream: "{sink}.${{header.kind}}" }} ]
  {QUICK}""", "redis")
    d.start()
    list(source.feed([("bad", "k", b"poison")]))
    return d, d.wait_dead(1)[0], sink


@test
def cli_version_and_usage(t):
    d = Daemon(t.directory, "a: { type: redis }", "[]")
    check("bascule" in d.verb("version").out or "0.1" in d.verb("version").out, "version")
    check_equal(d.verb("nonsense", check=False).code, 64, "exit code of an unknown verb")
    check_equal(d.verb("status", check=False).code, 69, "exit code without a daemon")


@test
def cli_status_tells_what_flowed(t):
    d, _, _ = flowing(t)
    wait_until(lambda: d.route("r")["accepted"] == 10, "accepted in status")
    check("r" in d.verb("status").out, "the table names the route")
    check("r" in d.verb("status", "r").out, "one route's status")


@test
def cli_dead_letter_is_shown_edited_and_retried(t):
    d, row, sink = poisoned(t)
    number = row["number"]
    check_equal(row["reason"], "template", "reason")
    shown = d.json("dlq", "show", number)
    check("poison" in json.dumps(shown), f"no body in {shown}")
    check_equal(len(d.rows("dlq", "groups")), 1, "groups")
    body = t.directory / "body"
    body.write_bytes(b"mended")
    d.verb("dlq", "edit", number, "--header", "kind=good", "--body", body)
    d.verb("dlq", "retry", number, "--yes")
    heard = clients.StreamListener(t.world.port("redis"), sink + ".good")
    t.ends(heard.stop)
    heard.wait_count(1)
    check_equal(heard.bodies(), [b"mended"], "body")
    wait_until(lambda: d.dead() == [], "resolved")


@test
def cli_dead_letter_is_dropped_with_a_reason(t):
    d, row, _ = poisoned(t)
    d.verb("dlq", "drop", row["number"], "--because", "a test", "--yes")
    wait_until(lambda: d.dead() == [], "dropped")


@test
def cli_trace_tells_an_events_way(t):
    d, _, _ = flowing(t)
    for what in ("id-4", "r@5"):
        wait_until(lambda w=what: "delivered" in d.verb("trace", w, "--json").out, f"fate of {what}")
    check_equal([e["id"] for e in d.rows("events", "ls", "--route", "r")], NAMES, "events")
    check_equal(d.rows("gaps", "ls"), [], "gaps")


@test
def cli_replay_sends_a_chosen_set_again(t):
    d, _, heard = flowing(t)
    wait_until(lambda: "delivered" in d.verb("trace", "r@10", "--json").out, "the last one finished")
    plan = d.json("replay", "plan", "--route", "r", "--seq", "3-5")
    check_equal(plan["selected"], 3, "selected")
    d.verb("replay", "run", plan["number"], "--yes")
    heard.wait_count(13)
    check_equal(heard.bodies()[10:], [b"body of id-%d" % i for i in (2, 3, 4)], "replayed bodies")
    check_equal(heard.messages[10].id, "id-2", "a replayed event's id")


@test
def cli_pause_holds_and_survives_a_restart(t):
    d, source, heard = flowing(t)
    d.verb("pause", "r")
    list(source.feed([("later", "k1", b"later")]))
    check_equal(d.stop(), 0, "exit code")
    d.start()
    check(d.route("r")["paused"], "not paused after a restart")
    check_equal(len(heard.messages), 10, "messages while paused")
    d.verb("resume", "r")
    heard.wait_count(11)


@test
def cli_store_is_checked_measured_and_copied(t):
    d, _, _ = flowing(t)
    copy = t.directory / "copy.db"
    d.verb("store", "check")
    check("r" in d.verb("store", "stats").out, "stats without the route")
    check("store" in d.json("store", "stats"), "a store that is in use was read beside its daemon")
    d.verb("store", "backup", copy)
    with sqlite3.connect(copy) as c:
        check_equal(c.execute("pragma integrity_check").fetchall(), [("ok",)], "integrity of the copy")
    d.stop()
    d.verb("store", "check")
    d.sound = False
    with open(d.store, "r+b") as f:
        f.seek(4096 + 100)
        f.write(b"\xa5" * 4096 * 3)
    check(d.verb("store", "check", check=False).code != 0, "a damaged store passed its check")


@test
def cli_every_change_is_on_record(t):
    d, _, _ = flowing(t)
    d.verb("pause", "r")
    d.verb("resume", "r")
    with d.http("GET", "/v1/audit") as answer:
        text = answer.read().decode()
    check("pause" in text and "resume" in text, f"audit: {text}")
