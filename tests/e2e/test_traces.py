"""Spans of events at a collector (OTLP over HTTP), and what a collector that fails costs: spans, nothing else."""
import http.server
import json
import threading
import time

import clients
from broker import free_port, wait_until
from ends import RabbitSource, StreamSink, StreamSource
from frame import check, check_equal, test
from test_failures import QUICK, daemon_of
from test_metrics import metrics_of

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans; how: "take", "fail" (500), "hang"."""

    def __init__(self, t, port=0):
        end = self
        self.how, self.spans, self.requests, self.resources = "take", [], [], []
        self.over = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                end.requests.append((self.path, dict(self.headers)))
                if end.how == "hang":
                    end.over.wait()
                elif end.how == "take":
                    end.take(json.loads(body))
                self.send_response(500 if end.how == "fail" else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                try:
                    self.wfile.write(b"{}")
                except OSError:
                    pass  # it had enough

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        t.ends(self.close)

    def take(self, request):
        for resource in request["resourceSpans"]:
            self.resources.append(attributes(resource["resource"]))
            for scope in resource["scopeSpans"]:
                self.spans.extend(scope["spans"])

    def named(self, prefix):
        return [s for s in self.spans if s["name"].startswith(prefix)]

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def attributes(of):
    return {a["key"]: a["value"]["stringValue"] for a in of["attributes"]}


def traced(t, source, sink, trace, more=""):
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()}{more} ]
  {QUICK}""", *{source.broker, sink.broker})
    d.config.write_text(d.config.read_text() + f"trace: {{ {trace} }}\n")
    return d


def spans_metrics(d):
    got = metrics_of(d.http("GET", "/metrics").read().decode())
    return [got[f"bascule_trace_spans_{x}"] for x in ("sent_total", 'dropped_total{reason="queue_full"}',
                                                      'dropped_total{reason="collector"}')]


def feed_fast(source, n, prefix="id"):
    pipe = source.redis.pipeline(transaction=False)
    for i in range(n):
        pipe.xadd(source.place, {"body": b"body", "message-id": f"{prefix}-{i}"})
    pipe.execute()


def relays(d, source, sink, n):
    """The route goes on as if there were no traces."""
    heard = sink.listen()
    feed_fast(source, n)
    heard.wait_count(n)
    wait_until(lambda: d.at_rest("r"), "rest")


@test
def spans_of_one_event_are_one_family_below_its_sender(t):
    c, source, sink = Collector(t), RabbitSource(t), StreamSink(t, ".out")
    d = traced(t, source, sink, f'endpoint: "{c.url}", ratio: 0, service: shop, headers: {{ authorization: "${{env:KEY}}" }}',
               f', {{ name: odd, connection: redis, stream: "{t.name}.${{header.kind}}" }}')
    d.start(env={"KEY": "Bearer hush-hush"})
    heard = sink.listen()
    before = time.time_ns()
    source.rabbit.publish(source.place, "key-1", b"b", message_id="id-1", headers={
        "traceparent": f"00-{TRACE_ID}-{PARENT}-01", "tracestate": "vendor=1", "kind": "x"})
    source.rabbit.publish(source.place, "key-1", b"b", message_id="id-2", headers={
        "traceparent": f"00-{TRACE_ID}-{PARENT}-00", "kind": "x"})
    source.rabbit.publish(source.place, "key-1", b"b", message_id="id-3", headers={"kind": "x"})
    heard.wait_count(3)
    wait_until(lambda: len(c.spans) >= 4, "the spans of one event")
    d.stop()
    after = time.time_ns()
    check_equal(sorted(s["name"] for s in c.spans),
                ["commit r", "deliver r/odd", "deliver r/out", "receive r"], "names")
    by_name = {s["name"]: s for s in c.spans}
    receive, commit, deliver = by_name["receive r"], by_name["commit r"], by_name["deliver r/out"]
    for s in c.spans:
        check_equal((s["traceId"], s["traceState"]), (TRACE_ID, "vendor=1"), "trace of " + s["name"])
        check(before <= int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"]) <= after, "times of " + s["name"])
        check("status" not in s, "no error in " + s["name"])
        check_equal(attributes(s)["bascule.event"], "r@1", "event of " + s["name"])
    check_equal(len({s["spanId"] for s in c.spans} | {PARENT}), 5, "different ids")
    check_equal(receive["parentSpanId"], PARENT, "parent of receive")
    for s in (commit, deliver, by_name["deliver r/odd"]):
        check_equal(s["parentSpanId"], receive["spanId"], "parent of " + s["name"])
    check(int(receive["startTimeUnixNano"]) <= int(commit["startTimeUnixNano"])
          <= int(commit["endTimeUnixNano"]) <= int(deliver["startTimeUnixNano"]), "order")
    check_equal([s["kind"] for s in (receive, commit, deliver)], [5, 1, 4], "kinds")
    got = attributes(receive)
    check_equal((got["messaging.system"], got["messaging.destination.name"], got["messaging.message.id"]),
                ("rabbitmq", "key-1", "id-1"), "where from")
    got = attributes(deliver)
    check_equal((got["messaging.system"], got["messaging.destination.name"], got["bascule.sink"], got["bascule.fate"]),
                ("redis", sink.place, "out", "delivered"), "where to")
    check_equal(c.resources[0]["service.name"], "shop", "service")
    path, headers = c.requests[0]
    check_equal((path, headers["Authorization" if "Authorization" in headers else "authorization"]),
                ("/v1/traces", "Bearer hush-hush"), "request")
    check("hush-hush" not in d.text(), "the log holds no secret")
    sent = [fields for _, fields in source_headers(sink)]
    check_equal([f.get(b"traceparent") for f in sent],
                [f"00-{TRACE_ID}-{PARENT}-01".encode(), f"00-{TRACE_ID}-{PARENT}-00".encode(), None],
                "traceparent goes through untouched")


def source_headers(sink):
    r = clients.redis_client(sink.port)
    try:
        return r.xrange(sink.place)
    finally:
        r.close()


@test
def the_ratio_of_events_without_a_sender_is_traced(t):
    c, source, sink = Collector(t), StreamSource(t), StreamSink(t, ".out")
    d = traced(t, source, sink, f'endpoint: "{c.url}", ratio: 0.1')
    d.start()
    relays(d, source, sink, 2000)
    d.stop()
    receive, deliver = c.named("receive"), c.named("deliver")
    check(120 < len(receive) < 280, f"{len(receive)} of 2000 are traced")
    check_equal(len({s["traceId"] for s in receive}), len(receive), "each is a trace of its own")
    check_equal({s["parentSpanId"] for s in deliver}, {s["spanId"] for s in receive}, "whose deliveries")
    check(all("parentSpanId" not in s for s in receive), "they have no parent")


@test
def a_refused_delivery_is_a_span_with_an_error(t):
    c, source, sink = Collector(t), StreamSource(t), StreamSink(t, ".out")
    d = traced(t, source, sink, f'endpoint: "{c.url}/v1/traces", ratio: 1')
    source.redis.set(sink.place, "no stream")  # WRONGTYPE
    d.start()
    list(source.feed([("id-1", "k", b"body")]))
    d.wait_dead(1)
    d.stop()
    failed = c.named("deliver")
    check(len(failed) >= 1, "a span")
    for s in failed:
        check_equal((s["status"]["code"], attributes(s)["bascule.fate"]), (2, "refused"), "status")
        check("WRONGTYPE" in s["status"]["message"], s["status"]["message"])


@test
def a_collector_that_fails_hangs_or_is_away_costs_spans_alone(t):
    port = free_port()
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = traced(t, source, sink, f'endpoint: "http://127.0.0.1:{port}", ratio: 1, timeout: 60s')
    d.start()
    relays(d, source, sink, 50)
    wait_until(lambda: spans_metrics(d)[2] >= 150, "spans that nobody takes are dropped")
    check("traces: http://127.0.0.1:" in d.text(), "the log tells it")
    c = Collector(t, port)
    c.how = "fail"
    list(source.feed([("id-f", "k", b"body")]))
    wait_until(lambda: spans_metrics(d)[2] >= 153, "spans that a 500 refuses")
    c.how = "take"
    list(source.feed([("id-t", "k", b"body")]))
    wait_until(lambda: spans_metrics(d)[0] >= 3, "spans that are taken again")
    check("takes spans again" in d.text(), "the log tells that too")
    c.how = "hang"
    for i in range(4):
        feed_fast(source, 500, f"h{i}")
        wait_until(lambda: d.at_rest("r"), "rest")
    wait_until(lambda: spans_metrics(d)[1] > 0, "a full queue drops spans")
    began = time.monotonic()
    check_equal(d.stop(), 0, "exit code of an orderly end")
    check(time.monotonic() - began < 20, "the end does not wait for the collector's minute")


@test
def a_reload_turns_tracing_on_and_off(t):
    c, source, sink = Collector(t), StreamSource(t), StreamSink(t, ".out")
    d = traced(t, source, sink, "ratio: 1")
    d.start()
    off = d.config.read_text()
    relays(d, source, sink, 3)
    d.config.write_text(off.replace("ratio: 1", f'ratio: 1, endpoint: "{c.url}"'))
    check("trace" in d.verb("plan").out, "the plan names it")
    d.verb("reload")
    list(source.feed([("id-on", "k", b"body")]))
    wait_until(lambda: len(c.spans) >= 3, "spans")
    d.config.write_text(off)
    d.verb("reload")
    list(source.feed([("id-off", "k", b"body")]))
    wait_until(lambda: d.route("r")["accepted"] == 5 and d.at_rest("r"), "rest")
    d.stop()
    check_equal({attributes(s)["bascule.event"] for s in c.spans}, {"r@4"}, "events traced")


@test
def a_trace_that_cannot_be_is_refused_with_its_place(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    for trace, words in (('endpoint: "ftp://x/"', "not an http or https URL"),
                         ('endpoint: "http://u:p@x/"', "'endpoint' holds a login"),
                         ('endpoint: "http://x", ratio: 2', "out of its range"),
                         ('endpoint: "http://x", headers: { "a b": c }', "is no header")):
        d = traced(t, source, sink, trace)
        got = d.verb("check", check=False)
        check_equal(got.code, 78, trace)
        check(words in got.err, got.err)
