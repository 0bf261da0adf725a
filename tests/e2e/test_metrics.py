"""What supervisors and Prometheus see of a running relay."""
import http.client
import json
import re
import socket
import subprocess

import yaml

from broker import free_port, wait_until
from daemon import TOP
from ends import StreamSink, StreamSource
from frame import check, check_equal, test
from test_failures import QUICK, daemon_of

MONITORING = TOP / "packaging/monitoring"
NAME = re.compile(r"\b(?:bascule|integration|process)_[a-z_]+")
LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


def promtool(*args, **kwargs):
    r = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, check=False, **kwargs)
    check(r.returncode == 0, f"promtool {args[:2]}: {r.stdout}{r.stderr}")
    return r


def metrics_of(text):
    """{"name{labels}": value}"""
    found = (LINE.match(line) for line in text.splitlines() if not line.startswith("#"))
    return {m[1] + (f"{{{m[2]}}}" if m[2] else ""): float(m[3]) for m in found}


def over_tcp(port, method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, body)
    answer = c.getresponse()
    got = answer.status, answer.read().decode()
    c.close()
    return got


def relay(t, events=0, more=""):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()}, {{ name: odd, connection: redis, stream: "{t.name}.${{header.kind}}" }} ]
  {QUICK}
{more}""", "redis")
    port = free_port()
    d.config.write_text(d.config.read_text().replace("admin: {", f'admin: {{ http: "127.0.0.1:{port}",'))
    d.start()
    list(source.feed([(f"id-{i}", "k", b"body") for i in range(events)]))
    return d, port


@test
def metrics_add_up_with_status_and_please_promtool(t):
    d, port = relay(t, 10)
    wait_until(lambda: d.route("r")["accepted"] == 10 and d.at_rest("r"), "ten events at rest")
    status, text = over_tcp(port, "GET", "/metrics")
    check_equal(status, 200, "status")
    linted = promtool("check", "metrics", input=text)
    check_equal(linted.stdout + linted.stderr, "", "what promtool says")
    got, route = metrics_of(text), d.route("r")
    check_equal(got['bascule_committed_events_total{route="r"}'], 10, "committed")
    check_equal(got['bascule_received_events_total{route="r"}'], 10, "received")
    for s in route["sinks"]:
        at = f'{{route="r",sink="{s["name"]}"}}'
        for metric, number in (("accepted_events_total", s["counts"]["accepted"]),
                               ("delivered_events_total", s["counts"]["delivered"]),
                               ("dead_letters", s["counts"]["dead"]), ("pending_events", s["pending"]),
                               ("retries_total", s["counts"]["retries"]), ("sink_balanced", 1), ("breaker_state", 0)):
            check_equal(got[f"bascule_{metric}{at}"], number, metric + at)
    check_equal(got['bascule_dead_letters{route="r",sink="odd"}'], 10, "dead letters of a template without value")
    check_equal(got['integration_total{type="redis",operation="publish",success="true"}'], 10, "published")
    check_equal(got['bascule_confirm_duration_seconds_count{route="r",sink="out"}'], 10, "confirmations")
    check(got["bascule_commit_duration_seconds_count"] >= 1, "commits")
    check(got["bascule_store_used_bytes"] > 0, "store")
    check_equal(d.http("GET", "/metrics").status, 200, "status on the socket")


@test
def nothing_can_be_changed_or_read_over_tcp(t):
    d, port = relay(t)
    for method, path in (("GET", "/v1/status"), ("GET", "/v1/events"), ("POST", "/v1/reload"),
                         ("POST", "/v1/routes/r/pause")):
        check_equal(over_tcp(port, method, path)[0], 404, f"status of {method} {path}")
    check_equal(over_tcp(port, "POST", "/metrics")[0], 405, "status of a POST to /metrics")
    check_equal(over_tcp(port, "POST", "/live", "{}")[0], 413, "status of a body")
    check(not d.route("r")["paused"], "the route is paused")


@test
def health_tells_a_paused_route_from_one_with_nothing_to_do(t):
    d, port = relay(t)
    wait_until(lambda: over_tcp(port, "GET", "/ready")[0] == 200, "ready with nothing to do")
    health = json.loads(over_tcp(port, "GET", "/health")[1])
    check_equal((health["service"], health["status"], health["port"]), ("bascule", "healthy", port), "health")
    check_equal(health["dependencies"], {"redis": "healthy"}, "dependencies")
    check(health["metrics"]["memory_usage_mb"] > 1 and health["metrics"]["active_connections"] >= 2, str(health))
    d.verb("pause", "r")
    status, text = over_tcp(port, "GET", "/health/ready")
    check_equal(status, 503, "status while paused")
    check("paused by uid" in json.loads(text)["routes"]["r"], text)
    check_equal(over_tcp(port, "GET", "/health/live")[0], 200, "alive all the same")
    d.verb("resume", "r")
    check_equal(over_tcp(port, "GET", "/ready")[0], 200, "status after resume")


@test
def health_names_the_dependency_that_is_down(t):
    source, down = StreamSource(t), free_port()
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: away, connection: away, stream: {t.name} }} ]""", "redis",
                  more=f'away: {{ type: redis, url: "redis://127.0.0.1:{down}/0" }}')
    d.start()
    list(source.feed([("one", "k", b"body")]))
    wait_until(lambda: d.route("r")["sinks"][0]["pending"] == 1, "one pending")
    health = json.loads(d.http("GET", "/health").read())
    check_equal(health["dependencies"], {"redis": "healthy", "away": "unhealthy"}, "dependencies")
    check_equal(health["status"], "degraded", "status")
    got = metrics_of(d.http("GET", "/metrics").read().decode())
    check_equal(got['bascule_sink_up{route="r",sink="away"}'], 0, "sink_up")
    check_equal(got['bascule_pending_events{route="r",sink="away"}'], 1, "pending")


@test
def silent_scrapers_hold_up_neither_events_nor_the_admin_socket(t):
    d, port = relay(t)
    crowd = []
    t.ends(lambda: [s.close() for s in crowd])
    for _ in range(40):  # more than are served at a time; none of them reads an answer
        crowd.append(socket.create_connection(("127.0.0.1", port)))
        crowd[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    list(StreamSource(t).feed([("one", "k", b"body")]))
    wait_until(lambda: d.route("r")["sinks"][0]["counts"]["delivered"] == 1, "the event beside the crowd")
    check_equal(d.http("GET", "/metrics").status, 200, "status on the socket")


@test
def alert_rules_fire_when_they_should_and_not_else(_t):
    promtool("check", "rules", MONITORING / "bascule.rules.yml")
    promtool("test", "rules", TOP / "tests/e2e/alerts.test.yml")
    rules = yaml.safe_load((MONITORING / "bascule.rules.yml").read_text())["groups"][0]["rules"]
    cases = yaml.safe_load((TOP / "tests/e2e/alerts.test.yml").read_text())["tests"]
    for rule in rules:
        for what in "fires", "stays silent":
            check(f"{rule['alert']} {what}" in [c["name"] for c in cases], f"no case '{rule['alert']} {what}'")


def dashboard_expressions(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            for at in panel, target:
                check_equal(at["datasource"]["uid"], "${datasource}", f"data source of {panel['title']}")
            yield target["expr"].replace("$__rate_interval", "5m")


@test
def rules_and_dashboard_name_only_metrics_that_there_are(t):
    d, _ = relay(t, 1)
    wait_until(lambda: d.route("r")["accepted"] == 1, "an event")
    # A family may have no line at the moment: it is announced all the same.
    exported = set(re.findall(r"^(?:# HELP )?([a-z_]+)(?:\{| )", d.http("GET", "/metrics").read().decode(), re.M))
    dashboard = json.loads((MONITORING / "bascule-dashboard.json").read_text())
    check_equal(dashboard["templating"]["list"][0]["type"], "datasource", "first variable")
    expressions = list(dashboard_expressions(dashboard))
    parsed = t.directory / "expressions.yml"  # promtool parses them as rules
    parsed.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [
        {"record": f"e{i}", "expr": e} for i, e in enumerate(expressions)]}]}))
    promtool("check", "rules", parsed)
    rules = yaml.safe_load((MONITORING / "bascule.rules.yml").read_text())["groups"][0]["rules"]
    for text in expressions + [r["expr"] for r in rules]:
        unknown = set(NAME.findall(text)) - exported
        check(not unknown, f"{unknown} in {text}")
