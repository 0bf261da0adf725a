"""Changing the configuration of a running daemon."""
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import clients
from broker import free_port, make_certificates, wait_until
from daemon import Daemon
from ends import KafkaSink, QuorumSource, StreamSink, StreamSource, connections
from faults import proxy_before
from frame import check, check_equal, test, tests_over
from test_pairs import Relay, with_options
from world import port_of

EVENTS = 1500
RELOADS = 6


def routes_of(relay, window):
    key = f'key: "{relay.source.order_key}"' if relay.source.order_key else "ordering: key"
    to = with_options(relay.sink.yaml(), f"window_events: {window}")
    return f"""
- name: {relay.t.name}
  from: {relay.source.yaml()}
  to: [ {to} ]
  {key}"""


# Every end twice.
PAIRS = [("rabbitmq", "kafka"), ("rabbitmq", "stream"), ("kafka", "rabbitmq"), ("kafka", "jetstream"),
         ("stream", "kafka"), ("stream", "rabbitmq"), ("jetstream", "stream"), ("jetstream", "jetstream")]


@tests_over(PAIRS, lambda p: f"reload_under_load_{p[0]}_to_{p[1]}")
def reload_under_load(t, p):
    """A route that changes again and again in mid-flow loses nothing and repeats nothing."""
    r = Relay(t, *p, seed=21)
    told = connections(t.world, r.source.broker, r.sink.broker)
    r.daemon.start()
    r.source.ready()
    events = r.make(EVENTS)
    feeder = threading.Thread(target=r.feed, args=(events,), daemon=True)
    feeder.start()
    for part in range(RELOADS):
        r.listener.wait_count(1 + part * EVENTS // (2 * RELOADS))
        r.daemon.write(told, routes_of(r, 100 + part))
        answer = r.daemon.json("reload")
        check_equal([(c["change"], c["name"], c["keys"]) for c in answer["changes"]],
                    [("changed", t.name, ["to.out.window_events"])], "changes")
    wait_until(lambda: not feeder.is_alive(), "the feeder", clients.PATIENCE_SECONDS)
    status = r.daemon.json("status")
    check_equal(status["config_hash"], answer["hash"], "hash of what runs")
    check_equal(status["last_reload"]["result"], "done", "the last reload")
    # What an old consumer had been given and not taken yet may come after newer ones.
    check_equal(r.settled(redelivered=True, duplicates_max=let_go(r.daemon)), [], "problems")


def let_go(daemon):
    """Events that reloads did not wait for: a broker that takes seconds to confirm may have had them."""
    return sum(int(n) for n in re.findall(r"reload: (\d+) events without an answer go again", daemon.text()))


def daemon_of(t, told, routes):
    d = Daemon(t.directory, told, routes)
    t.logs.append(d.log)
    t.ends(d.kill)
    return d


def start_redis(t, port):
    log = open(t.directory / "redis.log", "ab")
    t.ends(log.close)
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                "--dir", str(t.directory)], stdout=log, stderr=log)
    t.ends(process.wait)
    t.ends(process.terminate)
    wait_until(lambda: clients.answers_redis(port), "redis", process=process)


def fill(source, first, count):
    list(source.feed([(f"n{i}", "k", b"body %d" % i) for i in range(first, first + count)]))


@test
def reload_adds_and_removes_routes_and_a_neighbour_never_notices(t):
    own, other = StreamSource(t, ".a"), QuorumSource(t, ".b")
    a, b = StreamSink(t, ".aout"), StreamSink(t, ".bout")
    told = connections(t.world, "redis", "rabbitmq")
    stays = f"- name: stays\n  from: {own.yaml()}\n  to: [ {a.yaml()} ]"
    comes = f"- name: comes\n  from: {other.yaml()}\n  to: [ {b.yaml()} ]"
    d = daemon_of(t, told, stays)
    d.start()
    heard_a, heard_b = a.listen(), b.listen()
    fill(own, 0, 50)
    heard_a.wait_count(50)
    # A client's number is its connection's for life.
    before = {c["id"] for c in own.redis.client_list() if c["name"] or c["cmd"] in ("xreadgroup", "xadd")}
    peers = d.route("stays")["link"]["reconnects"]
    d.write(told, stays + "\n" + comes)
    check_equal([(c["change"], c["name"], c["declares"]) for c in d.json("plan")["changes"]],
                [("added", "comes", [f"queue {other.place} (quorum)",
                                     f"binding of queue {other.place} to exchange {other.place}, key '#'"])], "plan")
    check_equal(len(d.json("status")["routes"]), 1, "routes after a plan")
    d.verb("reload")
    other.ready()
    fill(other, 0, 50)
    fill(own, 50, 50)
    heard_b.wait_count(50)
    heard_a.wait_count(100)
    d.write(told, stays)
    d.verb("reload")
    check_equal([r["name"] for r in d.json("status")["routes"]], ["stays"], "routes")
    fill(own, 100, 50)
    heard_a.wait_count(150)
    now = {c["id"] for c in own.redis.client_list()}
    check(before <= now, f"connections of the route that stays were {before}, now there are {now}")
    check_equal(d.route("stays")["link"]["reconnects"], peers, "reconnects")
    check_equal(other.rabbit.depth(other.place), 0, "left in the queue")
    check_equal(d.stop(), 0, "exit code")


@test
def reload_refuses_wrong_files_with_all_errors_and_the_old_configuration_goes_on(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    told = connections(t.world, "redis")
    good = f"- name: r\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]"
    d = daemon_of(t, told, good)
    d.start()
    runs = d.json("status")["config_hash"]
    d.write(told, good.replace("stream:", "streem:") + "\n  orderin: key")
    for verb in "plan", "reload":
        said = d.verb(verb, check=False)
        check_equal(said.code, 78, f"exit code of {verb}")
        for part in "'streem'", "'orderin'", "BSC-0110", "did you mean 'stream'?", "bascule.yaml:":
            check(part in said.err, f"{verb} does not say {part}: {said.err}")
    refused = d.json("status")["last_reload"]["time_ms"]
    os.kill(d.process.pid, signal.SIGHUP)
    wait_until(lambda: d.json("status")["last_reload"]["time_ms"] != refused, "the refusal of SIGHUP")
    status = d.json("status")
    check_equal(status["config_hash"], runs, "hash of what runs")
    check_equal(status["last_reload"]["result"], "refused", "the last reload")
    heard = sink.listen()
    fill(source, 0, 20)
    heard.wait_count(20)
    d.write(told, good.replace("ordering: key", "") + "\n  max_backlog: 5MiB")
    os.kill(d.process.pid, signal.SIGHUP)
    wait_until(lambda: d.json("status")["last_reload"]["result"] == "done", "the reload by SIGHUP")
    check_equal(d.route("r")["max_backlog_bytes"], 5 << 20, "max_backlog")
    audit = d.http("GET", "/v1/audit").read().decode()
    for part in '"reload"', "refused", "done":
        check(part in audit, f"audit does not hold {part}: {audit}")


@test
def reload_refuses_to_lose_a_backlog_until_told_what_to_do(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    late, more = free_port(), StreamSource(t, ".more")
    told = connections(t.world, "redis")
    lates = told + f'\nlate: {{ type: redis, url: "redis://127.0.0.1:{late}/0" }}'
    stays = f"- name: stays\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]"
    both = (stays.replace("]", f", {{ name: late, connection: late, stream: {t.name} }} ]") + f"""
- name: goes
  from: {more.yaml()}
  to: [ {{ name: late, connection: late, stream: {t.name}.goes }} ]""")
    d = daemon_of(t, lates, both)
    d.start()
    heard = sink.listen()
    fill(source, 0, 30)
    fill(more, 0, 20)
    heard.wait_count(30)
    wait_until(lambda: d.route("goes")["accepted"] == 20, "the backlog")
    d.write(told, stays)  # the connection is gone too
    for verb in "plan", "reload":
        said = d.verb(verb, check=False)
        check_equal(said.code, 78, f"exit code of {verb}")
        check("BSC-0151" in said.err and "--drain stays/late" in said.err, f"{verb}: {said.err}")
    check_equal(d.verb("reload", "--drain", "stays/late", check=False).code, 78, "exit code with one of two")
    answer = d.json("reload", "--drain", "stays/late", "--drain", "goes")
    check_equal([(c["what"], c["name"], c["pending"], c["backlog"]) for c in answer["changes"]
                 if c["backlog"] != "keep"],
                [("sink", "stays/late", 30, "drain"), ("route", "goes", 20, "drain")], "what drains")
    fill(source, 30, 30)
    fill(more, 20, 10)
    heard.wait_count(60)
    d.verb("reload")  # they go on through another one
    sinks = {s["name"]: s for s in d.route("stays")["sinks"]}
    check_equal((sinks["late"]["going"], sinks["late"]["pending"]), (True, 30), "the sink that goes")
    check_equal((d.route("goes")["going"], d.route("goes")["accepted"]), (True, 20), "the route that goes")
    start_redis(t, late)
    wait_until(lambda: [[s["name"] for s in r["sinks"]] for r in d.json("status")["routes"]] == [["out"]],
               "that they leave")
    at_late = clients.redis_client(late)
    t.ends(at_late.close)
    check_equal((at_late.xlen(t.name), at_late.xlen(f"{t.name}.goes")), (30, 20), "events where they went")
    check_equal([o for o in d.json("status")["orphans"] if o["pending"] or o["held"] or o["dead"]], [], "orphans")
    check_equal(d.json("reload")["changes"], [], "changes once all have left")
    check_equal([c["name"] for c in d.json("status")["connections"]], ["redis"], "connections")
    check_equal(d.verb("reload", "--discard", "nobody", check=False).code, 78, "exit code for a wrong name")
    check_equal(d.stop(), 0, "exit code")


@test
def reload_drains_over_the_daemons_end(t):
    """What is gone from the files finishes after a restart too, but for a connection that would show a secret."""
    source, sink, more = StreamSource(t), StreamSink(t, ".out"), StreamSource(t, ".more")
    late = free_port()
    told = connections(t.world, "redis")
    lates = (told + f'\nlate: {{ type: redis, url: "redis://127.0.0.1:{late}/0" }}'
             + f'\nsecret: {{ type: redis, url: "redis://:word@127.0.0.1:{late}/0" }}')
    stays = f"- name: stays\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]"
    both = (stays.replace("]", f""", {{ name: late, connection: late, stream: "{t.name}", fallback: fb }},
           {{ name: fb, only: fallback, connection: redis, stream: fb }}, {{ name: lost, connection: secret, stream: x }} ]""") + f"""
- name: goes
  retry: {{ max_attempts: 7 }}
  from: {more.yaml()}
  to: [ {{ name: late, connection: late, stream: "{t.name}.goes" }} ]""")
    d = daemon_of(t, lates, both)
    d.start()
    heard = sink.listen()
    fill(source, 0, 30)
    fill(more, 0, 20)
    heard.wait_count(30)
    wait_until(lambda: d.route("goes")["accepted"] == 20, "the backlog")
    d.write(told, stays)
    d.verb("reload", "--drain", "stays/late", "--drain", "stays/lost", "--drain", "goes")
    fill(source, 30, 10)
    heard.wait_count(40)
    d.kill()
    d.start()
    d.verb("reload")
    sinks = {s["name"]: s for s in d.route("stays")["sinks"]}
    check_equal((sinks["late"]["going"], sinks["late"]["pending"]), (True, 30), "the sink that goes")
    check_equal((d.route("goes")["going"], d.route("goes")["accepted"]), (True, 20), "the route that goes")
    check("lost" not in sinks, "the sink whose connection must not be kept")
    check("word" not in d.store.read_bytes().decode("latin-1"), "the store shows a secret")
    fill(source, 40, 10)
    heard.wait_count(50)
    check_equal(d.stop(), 0, "exit code")
    d.start()
    start_redis(t, late)
    wait_until(lambda: [[s["name"] for s in r["sinks"]] for r in d.json("status")["routes"]] == [["out"]],
               "that they leave")
    at_late = clients.redis_client(late)
    t.ends(at_late.close)
    check_equal((at_late.xlen(t.name), at_late.xlen(f"{t.name}.goes")), (30, 20), "events where they went")
    check_equal([(o["route"], o["sink"]) for o in d.json("status")["orphans"] if o["pending"] or o["held"] or o["dead"]],
                [("stays", "lost")], "orphans")
    d.verb("reload", "--discard", "stays/lost")
    check_equal(d.stop(), 0, "exit code")
    d.start()
    check_equal([len(r["sinks"]) for r in d.json("status")["routes"]], [1], "sinks of what is left")


@test
def reload_discards_what_it_is_told_to(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    told = connections(t.world, "redis") + f'\nlate: {{ type: redis, url: "redis://127.0.0.1:{free_port()}/0" }}'
    stays = f"- name: stays\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]"
    more = StreamSource(t, ".more")
    goes = f"- name: goes\n  from: {more.yaml()}\n  to: [ {{ name: late, connection: late, stream: {t.name} }} ]"
    d = daemon_of(t, told, stays + "\n" + goes)
    d.start()
    fill(more, 0, 30)
    wait_until(lambda: d.route("goes")["accepted"] == 30, "the backlog")
    d.write(told, stays)
    check_equal(d.verb("reload", check=False).code, 78, "exit code")
    answer = d.json("reload", "--discard", "goes")
    check_equal([(c["name"], c["pending"], c["backlog"]) for c in answer["changes"]],
                [("goes", 30, "discard")], "changes")
    check_equal([r["name"] for r in d.json("status")["routes"]], ["stays"], "routes")
    heard = sink.listen()
    fill(source, 0, 10)
    heard.wait_count(10)
    check_equal(d.stop(), 0, "exit code")
    d.start()
    check_equal(d.json("status")["orphans"], [], "orphans")


@test
def reload_takes_up_a_secret_that_was_changed_on_disk(t):
    own = t.world.fresh("redis", t.directory / "redis")
    t.ends(own.stop)
    port = port_of(own, "redis")
    admin = clients.redis_client(port)
    t.ends(admin.close)
    secret = t.directory / "secret"
    secret.write_text("first-one\n")
    secret.chmod(0o600)
    admin.config_set("requirepass", "first-one")
    told = (f'own: {{ type: redis, url: "redis://127.0.0.1:{port}/0", password: "${{file:{secret}}}" }}\n'
            + connections(t.world, "redis"))
    source = StreamSource(t)
    d = daemon_of(t, told, f"- name: r\n  from: {source.yaml()}\n"
                           f"  to: [ {{ name: out, connection: own, stream: {t.name} }} ]")
    d.start()
    fill(source, 0, 10)
    wait_until(lambda: admin.xlen(t.name) == 10, "the first ten")
    check_equal(d.json("reload")["changes"], [], "changes before anything changed")
    d.config.write_text(d.config.read_text().replace("level: info", "level: debug"))
    check_equal([(c["what"], c["change"], c["keys"]) for c in d.json("reload")["changes"]],
                [("daemon", "settings", ["log.level"])], "changes of the log's level")
    old = {c["id"] for c in admin.client_list() if not c["cmd"].startswith("client")}
    admin.config_set("requirepass", "an0ther-one")
    secret.write_text("an0ther-one\n")
    answer = d.json("reload")
    check_equal([(c["change"], c["what"], c["name"], c["keys"]) for c in answer["changes"]],
                [("changed", "connection", "own", ["password"]),
                 ("changed", "route", "r", ["(connection own)"])], "changes")
    fill(source, 10, 10)
    wait_until(lambda: admin.xlen(t.name) == 20, "the second ten, with the new password")
    left = [c for c in admin.client_list() if c["id"] in old]
    check_equal(left, [], "connections that were made with the old password")
    for part in "first-one", "an0ther-one":
        check(part not in d.text() and part not in str(answer) and part not in str(d.json("status")),
              "a secret was shown")


@test
def reload_takes_up_a_kafka_authority_that_was_renewed_in_its_file(t):
    """librdkafka reads its files once: what is connected goes on, what comes back is refused until the reload."""
    first, second = make_certificates(t.directory / "first"), make_certificates(t.directory / "second")
    ca = t.directory / "ca.pem"
    ca.write_bytes((first / "ca.pem").read_bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(first / "server.pem", first / "server.key")
    proxy = proxy_before(t, "kafka", tls)
    source, sink = StreamSource(t), KafkaSink(t)
    heard = sink.listen()
    d = daemon_of(t, connections(t.world, "redis") + f"""
kafka: {{ type: kafka, brokers: "127.0.0.1:{proxy.port}", tls: {{ ca_file: {ca} }} }}""",
                  f"- name: r\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]")
    d.start()
    fill(source, 0, 10)
    heard.wait_count(10)
    check_equal(d.json("reload")["changes"], [], "changes before anything changed")
    tls.load_cert_chain(second / "server.pem", second / "server.key")
    fill(source, 10, 10)
    heard.wait_count(20)
    proxy.reset()
    fill(source, 20, 10)
    wait_until(lambda: "certificate" in str(d.route("r")["sinks"][0]),
               "that the new certificate is refused")
    ca.write_bytes((second / "ca.pem").read_bytes())
    check_equal([(c["change"], c["what"], c["name"]) for c in d.json("reload")["changes"]],
                [("changed", "connection", "kafka"), ("changed", "route", "r")], "changes")
    heard.wait_count(30)


@test
def reload_never_waits_for_a_broker_that_does_not_answer(t):
    """The sick sink's route changes in time, and its neighbour flows all the while."""
    own = t.world.fresh("redis", t.directory / "redis")
    t.ends(own.stop)
    port = port_of(own, "redis")
    sick, well = StreamSource(t, ".sick"), StreamSource(t, ".well")
    out = StreamSink(t, ".out")
    told = connections(t.world, "redis") + f'\nown: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}'
    routes = (f"- name: sick\n  from: {sick.yaml()}\n"
              f"  to: [ {{ name: out, connection: own, stream: {t.name}, maxlen: 100000 }} ]\n"
              f"- name: well\n  from: {well.yaml()}\n  to: [ {out.yaml()} ]")
    d = daemon_of(t, told, routes)
    d.start()
    heard = out.listen()
    fill(sick, 0, 10)
    at_sick = clients.redis_client(port)
    t.ends(at_sick.close)
    wait_until(lambda: at_sick.xlen(t.name) == 10, "the first ten")
    os.kill(own.process.pid, signal.SIGSTOP)
    t.ends(lambda: os.kill(own.process.pid, signal.SIGCONT))
    fill(sick, 10, 100)
    wait_until(lambda: d.route("sick")["sinks"][0]["in_flight"] > 0, "events without an answer")
    d.write(told, routes.replace("100000", "200000"))
    began = time.monotonic()
    d.verb("reload")
    check(time.monotonic() - began < 15, f"the reload took {time.monotonic() - began:.0f} s")
    check("without an answer go again" in d.text(), "nothing was let go of")
    fill(well, 0, 20)
    heard.wait_count(20)
    check_equal(d.dead(), [], "dead letters")
    os.kill(own.process.pid, signal.SIGCONT)
    wait_until(lambda: d.route("sick")["sinks"][0]["pending"] == 0, "the sick sink's events")
    bodies = [e[b"body"] for _, e in at_sick.xrange(t.name)]
    check_equal(set(bodies), {b"body %d" % i for i in range(110)}, "bodies")
    check_equal(len(bodies), 110, "events, each looked for before it was sent again")


@test
def reload_tells_the_service_manager(t):
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, connections(t.world, "redis"),
                  f"- name: r\n  from: {source.yaml()}\n  to: [ {sink.yaml()} ]")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(t.directory / "notify"))
        manager.settimeout(60)
        d.start({"NOTIFY_SOCKET": str(t.directory / "notify"), "CREDENTIALS_DIRECTORY": str(t.directory)})

        def told(what):
            while what not in (text := manager.recv(4096).decode()).splitlines():
                pass
            return text

        told("READY=1")
        check("LoadCredential=" in d.verb("plan").err, "nothing is said of credentials")
        os.kill(d.process.pid, signal.SIGHUP)
        check("MONOTONIC_USEC=" in told("RELOADING=1"), "no time with it")
        told("READY=1")
        check_equal(d.stop(), 0, "exit code")
