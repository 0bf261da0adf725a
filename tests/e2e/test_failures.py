"""What must happen when something is wrong: one test for each row of the table of failures."""
import os
import subprocess
from datetime import datetime
from decimal import Decimal

import clients
from broker import free_port, wait_until
from daemon import Daemon
from ends import RabbitSink, RabbitSource, StreamSink, StreamSource, connections
from faults import Judged, burnt_nothing, lasts, rest
from frame import Skip, check, check_equal, test
from test_pairs import Relay
from world import port_of

QUICK = "retry: { max_attempts: 2, base_delay: 10ms, max_delay: 20ms }"


def daemon_of(t, routes, *brokers, more="", store=""):
    return t.runs(Daemon(t.directory, connections(t.world, *brokers) + "\n" + more, routes, store))


def only(rows):
    check_equal(len(rows), 1, "number of dead letters")
    return rows[0]


@test
def broker_absent_at_start_then_coming(t):
    """Its own route waits and burns nothing; a neighbour flows; when it comes everything arrives."""
    source, good = RabbitSource(t), StreamSink(t, ".good")
    late = free_port()
    d = daemon_of(t, f"""
- name: late
  from: {source.yaml()}
  to: [ {good.yaml("good")}, {{ name: late, connection: late, stream: {t.name} }} ]
  {QUICK}""", "rabbitmq", "redis", more=f'late: {{ type: redis, url: "redis://127.0.0.1:{late}/0" }}')
    d.start()
    heard, fed = good.listen(), Judged(source)
    fed.feed(20)
    fed.wait(heard)
    check_equal(d.dead(), [], "dead letters while the broker is absent")
    log = open(t.directory / "redis.log", "ab")
    t.ends(log.close)
    process = subprocess.Popen(["redis-server", "--port", str(late), "--bind", "127.0.0.1", "--save", "",
                                "--dir", str(t.directory)], stdout=log, stderr=log)
    t.ends(process.wait)
    t.ends(process.terminate)
    wait_until(lambda: clients.answers_redis(late), "the late redis", process=process)
    arrived = clients.StreamListener(late, t.name)
    t.ends(arrived.stop)
    fed.wait(arrived, "all events once it is there")
    burnt_nothing(t, d, "late")
    check_equal(fed.rest(d, "late", {"good": heard, "late": arrived}), [], "problems")


@test
def broker_that_dies_and_comes_back(t):
    """A killed Redis: the source is read on into the log, nothing is dead-lettered, all arrives after."""
    own = t.world.fresh("redis", t.directory / "redis")
    t.ends(own.stop)
    port = port_of(own, "redis")
    source = RabbitSource(t)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: s, connection: own, stream: {t.name} }} ]
  {QUICK}""", "rabbitmq", more=f'own: {{ type: redis, url: "redis://127.0.0.1:{port}/0" }}')
    d.start()
    fed = Judged(source)
    fed.feed(10)
    wait_until(lambda: clients.redis_client(port).xlen(t.name) == 10, "the first ten")
    own.kill()
    fed.feed(10)
    wait_until(lambda: source.rabbit.depth(source.place) == 0, "an empty queue")
    lasts(d)
    own.start()
    arrived = clients.StreamListener(port, t.name)
    t.ends(arrived.stop)
    fed.wait(arrived)
    burnt_nothing(t, d, "r")
    # What it had on disk and could no longer say is found there by its token.
    check_equal(fed.rest(d, "r", {"s": arrived}), [], "problems")


@test
def unroutable_is_a_dead_letter_and_neighbours_go_on(t):
    source = StreamSource(t)
    rabbit = clients.Rabbit(t.world.port("rabbitmq"))
    t.ends(rabbit.close)
    rabbit.exchange(t.name, "direct")
    rabbit.queue(t.name)
    rabbit.bind(t.name, t.name, "good")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: bus, connection: rabbitmq, exchange: {t.name}, routing_key: "${{key}}" }} ]
  {QUICK}""", "rabbitmq", "redis")
    d.start()
    fed = Judged(source)
    names = fed.add(("good", b"one"), ("nowhere", b"two"), ("good", b"three"))
    heard = clients.RabbitListener(t.world.port("rabbitmq"), t.name)
    t.ends(heard.stop)
    heard.wait_count(2)
    row = only(d.wait_dead(1))
    check_equal((row["reason"], row["id"], row["attempts"]), ("unroutable", names[1], 2), "dead letter")
    check_equal(fed.rest(d, "r", {"bus": heard}), [], "problems with a dead letter")
    rabbit.bind(t.name, t.name, "nowhere")
    d.verb("dlq", "retry", row["number"], "--yes")
    heard.wait_count(3)
    wait_until(lambda: d.dead() == [], "resolved")
    check_equal(fed.rest(d, "r", {"bus": heard}), [], "problems")


@test
def nacked_is_a_dead_letter(t):
    """A full queue that refuses: nacks are tried max_attempts times, then kept."""
    source = StreamSource(t)
    rabbit = clients.Rabbit(t.world.port("rabbitmq"))
    t.ends(rabbit.close)
    rabbit.exchange(t.name, "fanout")
    rabbit.queue(t.name, {"x-max-length": 1, "x-overflow": "reject-publish"})
    rabbit.bind(t.name, t.name)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: bus, connection: rabbitmq, exchange: {t.name}, routing_key: x }} ]
  {QUICK}
  ordering: none""", "rabbitmq", "redis")
    d.start()
    fed = Judged(source)
    fed.feed(2)
    row = only(d.wait_dead(1))
    check_equal(row["reason"], "nacked", "reason")
    check_equal(rabbit.depth(t.name), 1, "messages in the full queue")
    heard = clients.RabbitListener(t.world.port("rabbitmq"), t.name)
    t.ends(heard.stop)
    heard.wait_count(1)
    check_equal(fed.rest(d, "r", {"bus": heard}), [], "problems")


@test
def wrong_type_is_a_dead_letter_at_once(t):
    """The stream's name is taken by a string: refused for good, not tried again."""
    source = RabbitSource(t)
    r = clients.redis_client(t.world.port("redis"))
    t.ends(r.close)
    r.set(t.name + ".out", "not a stream")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: s, connection: redis, stream: {t.name}.out }} ]""", "rabbitmq", "redis")
    d.start()
    list(source.feed([("1", "k", b"one")]))
    row = only(d.wait_dead(1))
    check_equal(row["reason"], "refused", "reason")
    check("WRONGTYPE" in row["text"], f"the broker's words are missing in {row['text']!r}")


@test
def oversize_for_kafka_is_a_dead_letter_and_the_next_arrives(t):
    source = RabbitSource(t)
    t.world.topic(t.name + ".out")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: k, connection: kafka, topic: {t.name}.out }} ]
  {QUICK}""", "rabbitmq", "kafka")
    d.start()
    heard = clients.KafkaListener(t.world.port("kafka"), t.name + ".out")
    t.ends(heard.stop)
    fed = Judged(source)
    names = fed.add(("k", os.urandom(9 << 20)), ("k", b"small"))
    heard.wait_count(1)
    row = only(d.wait_dead(1))
    check(row["reason"] in ("refused", "oversize"), f"reason {row['reason']}")
    check_equal(row["id"], names[0], "dead letter")
    check_equal(fed.rest(d, "r", {"k": heard}), [], "problems")


@test
def bodies_of_any_bytes_are_kept_exactly(t):
    """0 B, NULs, invalid UTF-8, 16 MiB, through RabbitMQ to a queue and to a stream."""
    bodies = [b"", b"\x00", b"a\x00b\x00", b"\xff\xfe\xc0\x80", bytes(range(256)) * 3, os.urandom(16 << 20)]
    source, bus, stream = RabbitSource(t), RabbitSink(t, ".bus"), StreamSink(t, ".s")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {bus.yaml("bus")}, {stream.yaml("s")} ]
  ordering: source""", "rabbitmq", "redis")
    heard, read = bus.listen(), stream.listen()
    d.start()
    list(source.feed([(f"n{i}", "k", b) for i, b in enumerate(bodies)]))
    heard.wait_count(len(bodies))
    read.wait_count(len(bodies))
    check(heard.bodies() == bodies, f"queue: sizes {[len(b) for b in heard.bodies()]}")
    check(read.bodies() == bodies, f"stream: sizes {[len(b) for b in read.bodies()]}")


@test
def queue_deleted_is_said_and_the_other_route_goes_on(t):
    gone, good, out = RabbitSource(t, ".gone"), RabbitSource(t, ".good"), StreamSink(t, ".out")
    d = daemon_of(t, f"""
- name: gone
  from: {{ connection: rabbitmq, queue: {gone.place}, declare: passive }}
  to: [ {out.yaml()} ]
- name: good
  from: {good.yaml()}
  to: [ {out.yaml()} ]""", "rabbitmq", "redis")
    d.start()
    heard = out.listen()
    deleted, beside = Judged(gone, prefix="gone"), Judged(good, prefix="good")
    deleted.feed(1)
    heard.wait_count(1)
    gone.rabbit.channel.queue_delete(gone.place)
    wait_until(lambda: gone.place in d.verb("status", "--json").out and
               d.route("gone")["link"]["state"] != "up", "status telling of the deleted queue")
    beside.feed(1)
    heard.wait_count(2)
    gone.rabbit.queue(gone.place)
    gone.rabbit.bind(gone.place, gone.place)
    deleted.feed(1)
    heard.wait_count(3)
    for fed, route in (deleted, "gone"), (beside, "good"):
        wait_until(lambda r=route: d.at_rest(r), "rest", process=d.process)
        check_equal(fed.oracle.problems([b for b in heard.bodies() if b.startswith(route.encode())],
                                        books=d.books(route)), [], f"problems of {route}")


@test
def exchange_deleted_is_an_outage_not_a_dead_letter(t):
    source, sink = StreamSource(t), RabbitSink(t, ".out")
    rabbit = clients.Rabbit(sink.port)
    t.ends(rabbit.close)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()} ]
  {QUICK}""", "rabbitmq", "redis")
    heard = sink.listen()
    d.start()
    fed = Judged(source)
    fed.feed(1)
    heard.wait_count(1)
    rabbit.channel.exchange_delete(sink.place)
    fed.feed(1)
    wait_until(lambda: "404" in d.verb("status", "--json").out or
               "no exchange" in d.verb("status", "--json").out, "status telling of the exchange")
    check_equal(d.dead(), [], "dead letters")
    rabbit.exchange(sink.place, "fanout")
    rabbit.bind(sink.place + ".copy", sink.place)
    fed.wait(heard)
    check_equal(fed.rest(d, "r", {"out": heard}), [], "problems")


@test
def full_disk_pauses_the_source_and_resumes(t):
    """The store lies on a small tmpfs. Full: sources pause, the daemon stays; space: it goes on. Emptied, the
    disk has room for all events, a whole WAL (16 MiB) and the store's reserve (20 MiB) at once."""
    disk = t.directory / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", disk], check=False,
                             capture_output=True)
    if mounted.returncode != 0:
        raise Skip("cannot mount a tmpfs here: " + mounted.stderr.decode().strip())
    t.ends(lambda: subprocess.run(["umount", "-l", disk], check=True))
    r = Relay(t, "rabbitmq", "stream")
    r.daemon.store = disk / "bascule.db"
    r.daemon.write(connections(t.world, "rabbitmq", "redis"), f"""
- name: {t.name}
  from: {r.source.yaml()}
  to: [ {r.sink.yaml()} ]""", "max_size: 1GiB")
    r.daemon.start()
    r.feed(r.make(50))
    r.wait()
    free = os.statvfs(disk)
    with open(disk / "filler", "wb") as f:
        left = free.f_bavail * free.f_frsize
        try:
            while left > 0:
                left -= f.write(b"x" * min(left, 1 << 20))
        except OSError:
            pass  # full is what it shall be
    events = r.oracle.make(400)
    events = [(n, k, b + os.urandom(40000)) for n, k, b in events]
    for n, _, b in events:
        r.oracle.sent[n] = r.oracle.sent[n]._replace(body=b)
    r.feed(events)
    wait_until(lambda: "full" in r.daemon.verb("status", "--json").out, "status telling of the full disk",
               process=r.daemon.process)
    (disk / "filler").unlink()
    r.wait()
    check(r.daemon.running(), "the daemon ended")
    check_equal(r.settled(ordered=False), [], "problems")


@test
def configuration_of_any_rubbish_is_refused_with_its_place(t):
    d = Daemon(t.directory, "a: { type: redis }", "- nonsense")
    bomb = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n"
                                       for i in range(20))
    for name, text in {"deep": "x: " + "[" * 10000, "bomb": bomb, "large": "# " + "x" * (2 << 20),
                       "bytes": "routes: \x00\x01", "text": "]][[ : : -", "list": "- 1\n- 2\n",
                       "unknown": "version: 1\nroots: []\n"}.items():
        d.config.write_text(text)
        for verb in (["check", str(d.config)], ["run", "--config", str(d.config)]):
            got = d.verb(*verb, check=False)
            check_equal(got.code, 78, f"exit code of {verb[0]} on {name}")
            check("bascule.yaml" in got.out + got.err and "BSC-" in got.out + got.err,
                  f"{verb[0]} on {name} says neither place nor number: {got.out}{got.err}")


@test
def second_daemon_on_one_store_is_refused_with_the_pid(t):
    sink, source = StreamSink(t, ".o"), StreamSource(t)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()} ]""", "redis")
    d.start()
    pid = d.process.pid
    second = d.verb("run", check=False)
    check(second.code != 0, "the second daemon ran")
    check(str(pid) in second.out + second.err, f"no pid in: {second.out}{second.err}")


@test
def unknown_topic_from_a_template_is_a_dead_letter(t):
    t.world.port("kafka")
    if t.world.kafka_is_mock():
        raise Skip("the mock Kafka makes any topic that is asked for")
    source = StreamSource(t)
    t.world.topic(t.name + ".known")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: k, connection: kafka, topic: "{t.name}.${{key}}" }} ]
  {QUICK}""", "redis", "kafka")
    d.start()
    heard = clients.KafkaListener(t.world.port("kafka"), t.name + ".known")
    t.ends(heard.stop)
    list(source.feed([("1", "unknown", b"one"), ("2", "known", b"two")]))
    heard.wait_count(1)
    row = only(d.wait_dead(1))
    check_equal((row["reason"], row["id"]), ("address", "1"), "dead letter")


def nested(depth):
    """A header table with every type that pika can write, in every level."""
    inner = {"end": True}
    for level in range(depth - 1):
        inner = {"t": inner, "l": [level, None, "x", [b"\x00\xff"]], "n": -level, "big": 1 << 40,
                 "d": Decimal("-1.25"), "s": "text", "when": datetime(2026, 1, 2, 3, 4, 5), "no": None}
    return inner


@test
def headers_of_every_type_nested_32_deep_arrive_alike(t):
    source, bus = RabbitSource(t), RabbitSink(t, ".bus")
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {bus.yaml()} ]""", "rabbitmq")
    heard = bus.listen()
    d.start()
    source.rabbit.publish(source.place, "k", b"body", message_id="1", headers=nested(31))
    heard.wait_count(1)
    got = {k: v for k, v in heard.messages[0].headers.items() if not k.startswith("bascule-")}
    check_equal(got, nested(31), "headers")


@test
def read_only_store_is_refused_with_the_reason(t):
    disk = t.directory / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", disk], check=False,
                      capture_output=True).returncode != 0:
        raise Skip("cannot mount a tmpfs here")
    t.ends(lambda: subprocess.run(["umount", "-l", disk], check=True))
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = daemon_of(t, "[]", "redis")
    d.store = disk / "bascule.db"
    d.write(connections(t.world, "redis"), f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()} ]""")
    got = d.verb("run", check=False)
    check_equal(got.code, 74, "exit code")
    check("bascule.db" in got.err + got.out and "ead-only" in got.err + got.out, f"it says: {got.out}{got.err}")


@test
def damaged_store_is_said_and_what_is_salvaged_relays_on(t):
    r = Relay(t, "stream", "stream")
    r.daemon.start()
    r.feed(r.make(300))
    r.wait()
    check_equal(r.daemon.stop(), 0, "exit code after SIGTERM")
    with open(r.daemon.store, "r+b") as f:
        size = os.fstat(f.fileno()).st_size
        f.seek(size // 2 // 4096 * 4096)
        f.write(b"\xa5" * (size // 4))
    got = r.daemon.verb("run", check=False)
    check_equal(got.code, 74, "exit code of a daemon on a damaged store")
    check("damaged" in got.err + got.out or "malformed" in got.err + got.out, f"it says: {got.out}{got.err}")
    saved = t.directory / "saved.db"
    r.daemon.verb("store", "check", "--salvage", saved, check=False)
    check(saved.exists(), "nothing was salvaged")
    os.replace(r.daemon.store, t.directory / "damaged.db")
    os.replace(saved, r.daemon.store)
    # The WAL of the damaged one: it is not taken for the new one's, and the message says what to do.
    got = r.daemon.verb("run", check=False)
    check_equal(got.code, 74, "exit code beside a WAL of another store")
    check("delete that WAL" in got.err + got.out, f"it says: {got.out}{got.err}")
    os.unlink(f"{r.daemon.store}-wal")
    r.daemon.start()
    r.feed(r.make(100))
    r.wait()
    # What was lost from its log had arrived: the sum is of what it still knows.
    check_equal(rest(r.oracle, r.daemon, t.name, {"out": r.listener}, duplicates_max=300), [], "problems")


@test
def publish_that_closes_the_channel_is_a_dead_letter_and_neighbours_arrive(t):
    """A body over the broker's limit names nobody: the channel is closed under all that are in flight."""
    own = t.world.fresh("rabbitmq", t.directory / "rabbitmq")
    t.ends(own.stop)
    own.ctl("eval", "application:set_env(rabbit, max_message_size, 100000).")
    port = port_of(own, "rabbitmq")
    rabbit = clients.Rabbit(port)
    t.ends(rabbit.close)
    rabbit.exchange("bus", "fanout")
    rabbit.queue("bus")
    rabbit.bind("bus", "bus")
    source = StreamSource(t)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: bus, connection: own, exchange: bus, routing_key: x }} ]
  {QUICK}""", "redis", more=f'own: {{ type: rabbitmq, url: "amqp://app:secret@127.0.0.1:{port}/" }}')
    fed = Judged(source)
    names = fed.add(*((f"k{n}", bytes(200000) if n == 10 else b"small") for n in range(20)))
    heard = clients.RabbitListener(port, "bus")
    t.ends(heard.stop)
    d.start()
    row = only(d.wait_dead(1))
    check_equal((row["reason"], row["id"], row["code"]), ("protocol", names[10], 406), "dead letter")
    heard.wait(lambda bodies: fed.oracle.arrived_all(bodies, dead=[names[10]]), "the neighbours")
    # A closed channel leaves it open which of its neighbours had arrived.
    check_equal(fed.rest(d, "r", {"bus": heard}, duplicates_max=40), [], "problems")
