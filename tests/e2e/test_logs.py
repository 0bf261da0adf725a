"""What the log says, to whom, and what it never says."""
import json
import os

from broker import wait_until
from ends import StreamSink, StreamSource
from frame import check, check_equal, test
from test_failures import QUICK, daemon_of

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def torn(t, more=""):
    """A route whose second sink refuses what has no header `kind`: each such event is a dead letter there."""
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()}, {{ name: odd, connection: redis, stream: "{t.name}.${{header.kind}}" }} ]
  {QUICK}""", "redis", more=more)
    return d, source, sink


def lines_of(d):
    return [json.loads(line) for line in d.text().splitlines() if line.startswith("{")]


@test
def a_line_about_an_event_carries_its_ids(t):
    d, source, _ = torn(t)
    d.start(env={"BASCULE_LOG_FORMAT": "json"})
    source.redis.xadd(source.place, {"body": "b", "message-id": "id-1", "correlation-id": "order 7",
                                     "traceparent": TRACEPARENT})
    d.wait_dead(1)
    line = next(x for x in lines_of(d) if "dead letter" in x["msg"])
    check_equal({k: line.get(k) for k in ("level", "route", "sink", "event", "event_id", "correlation_id", "traceparent")},
                {"level": "warn", "route": "r", "sink": "odd", "event": "r@1", "event_id": "id-1",
                 "correlation_id": "order 7", "traceparent": TRACEPARENT}, "the line")


@test
def neither_bodies_nor_secrets_are_logged_at_any_level(t):
    secret, body, header = "pass-4711-word", "body-0815-text", "header-4242-value"
    d, source, sink = torn(t, 'closed: { type: redis, url: "redis://127.0.0.1:1/0", password: "${env:HUSH}" }\n'
                              f'wrong: {{ type: redis, url: "redis://127.0.0.1:{t.world.port("redis")}/0", '
                              'username: nobody, password: "${env:HUSH}" }')
    d.config.write_text(d.config.read_text() + f"""
  - name: closed
    from: {{ connection: closed, stream: s, group: g }}
    to: [ {sink.yaml("closed")} ]
  - name: wrong
    from: {source.yaml().replace("connection: redis", "connection: wrong")}
    to: [ {{ name: out, connection: wrong, stream: nowhere }} ]
""")
    d.start(env={"BASCULE_LOG_LEVEL": "debug", "HUSH": secret})
    d_env = {"HUSH": secret}
    for i in range(20):
        source.redis.xadd(source.place, {"body": body, "message-id": f"id-{i}", "key": "k", "x-auth": header})
    d.wait_dead(20)
    wait_until(lambda: d.text().count("level=warn route=closed") and d.text().count("route=wrong"), "both troubles")
    d.verb("reload", env=d_env, check=False)
    d.verb("dlq", "retry", "--route", "r", "--yes", check=False)
    d.stop()
    for word in (secret, body, header):
        check(word not in d.text(), f"'{word}' stands in the log")
    check("r@20 is a dead letter" in d.text(), "the last dead letter is logged")


@test
def the_level_changes_while_it_runs(t):
    d, source, _ = torn(t)
    d.start()
    check_equal(d.verb("log-level").out.strip(), "info", "configured level")
    check_equal(d.json("log-level", "debug", "--for", "1h")["overridden"], True, "overridden")
    got = d.json("log-level")
    check_equal((got["level"], got["configured"]), ("debug", "info"), "levels")
    check(3590000 < got["until_ms"] - d.json("status")["now_ms"] <= 3600000, "its time")
    d.verb("reload")
    check_equal(d.json("log-level")["level"], "debug", "level after a reload")
    d.verb("log-level", "error")
    list(source.feed([("id-1", "k", b"body")]))
    d.wait_dead(1)
    check("is a dead letter" not in d.text(), "nothing below the level is said")
    d.verb("log-level", "configured")
    list(source.feed([("id-2", "k", b"body")]))
    d.wait_dead(2)
    wait_until(lambda: "r@2 is a dead letter" in d.text(), "the line at the configured level")
    audit = [(r["what"], r["result"]) for r in json.loads(d.http("GET", "/v1/audit").read())["rows"]]
    for level in ("debug", "error", "configured"):
        check(("log_level", level) in audit, f"{level} stands in the audit")
    for body in ({"level": "loud"}, {}, {"level": "debug", "for_ms": -1}, {"level": "debug", "for_ms": 10 ** 12}):
        check_equal(d.http("POST", "/v1/log", json.dumps(body)).status, 400, f"status for {body}")
    check_equal(d.verb("log-level", "loud", check=False).code, 65, "exit code for no level")
    check_equal(d.verb("log-level", "--for", "1h", check=False).code, 64, "exit code for no level but a time")


@test
def a_level_of_the_environment_that_is_none_ends_the_start(t):
    d, _, _ = torn(t)
    d.spawn(env={"BASCULE_LOG_LEVEL": "loud"})
    check_equal(d.process.wait(60), 78, "exit code")
    check("BASCULE_LOG_LEVEL: 'loud' is not one of" in d.text(), d.text())


@test
def a_log_that_nobody_reads_stops_no_route(t):
    d, source, sink = torn(t)
    fifo = d.directory / "stderr"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    t.ends(lambda: os.close(reader))
    d.start(wrapper=("sh", "-c", f'exec "$@" 2>{fifo}', "sh"))
    heard = sink.listen()
    pipe = source.redis.pipeline(transaction=False)
    for i in range(3000):
        pipe.xadd(source.place, {"body": "b", "message-id": f"id-{i}"})
    pipe.execute()
    heard.wait_count(3000)
    d.wait_dead(3000)
    lost = d.json("log-level")["lost_lines"]
    check(lost > 1000, f"{lost} lines lost")
    metrics = d.http("GET", "/metrics").read().decode()
    check("bascule_log_lost_lines_total" in metrics, "the metric of lost lines")

    def said():
        try:
            said.text += os.read(reader, 1 << 20).decode(errors="replace")
        except BlockingIOError:
            pass
        return "lines of this log were lost" in said.text
    said.text = ""
    wait_until(said, "the log telling what it lost")
    check("r@1 is a dead letter" in said.text, "the first lines are there")
