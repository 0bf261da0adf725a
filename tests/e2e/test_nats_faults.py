"""What must happen when something is wrong at a nats-server: one test for each row of the table of failures."""
import os
import signal
import subprocess

import clients
from broker import wait_until
from daemon import Daemon
from ends import StreamSink, StreamSource, connections
from frame import Skip, check, check_equal, test, tests_over
from nats_broker import PASSWORD, Nats

QUICK = """retry: { max_attempts: 2, base_delay: 10ms, max_delay: 20ms }
  breaker: { failure_threshold: 5, open_for: 200ms }"""
EVENTS = 100


class Own:
    """A nats-server for one test that hurts it, reached as connection `own`; Redis, which the tests share, is at
    the other side."""

    def __init__(self, t, directory=None, **options):
        self.t = t
        self.server = Nats(directory or t.directory / "nats", **options)
        t.ends(self.server.stop)
        self.server.start()

    @property
    def client(self):
        """Anew after the server was away."""
        c = clients.nats_client(self.server.port)
        self.t.ends(c.close)
        return c

    def daemon(self, routes, login="", options=""):
        t = self.t
        d = Daemon(t.directory, connections(t.world, "redis") + f"""
own: {{ type: nats, urls: ["nats://{login}127.0.0.1:{self.server.port}"]{options} }}""", routes)
        t.logs.append(d.log)
        t.ends(d.kill)
        return d

    def into(self, subject="out", stream="OUT", options="", route="", connection_options="", login=""):
        """A running route from a Redis stream to this server; the source, to feed it."""
        self.source = StreamSource(self.t)
        to = f"{{ name: out, connection: own, subject: {subject}{f', stream: {stream}' if stream else ''}{options} }}"
        self.d = self.daemon(f"- name: r\n  from: {self.source.yaml()}\n  to: [ {to} ]\n  {route or QUICK}", login,
                             connection_options)
        return self.source

    def out_of(self, stream="IN", options="", route="", connection_options=""):
        """A running route from a stream (or subjects) of this server to a Redis stream; its listener."""
        sink = StreamSink(self.t, ".out")
        place = f"stream: {stream}, durable: bascule" if stream else 'subjects: ["in.>"]'
        self.d = self.daemon(f"""
- name: r
  from: {{ connection: own, {place}{options} }}
  to: [ {sink.yaml()} ]
  {route or QUICK}""", options=connection_options)
        return sink.listen()

    def stored(self, stream="OUT"):
        """The bodies in a stream, in its order."""
        c = self.client
        state = c.stream_state(stream)
        return [c.stored(stream, n).body for n in range(state["first_seq"], state["last_seq"] + 1)]


def events(first, count=EVENTS):
    return [(f"n{n}", f"k{n % 5}", b"body %d" % n) for n in range(first, first + count)]


def bodies(first, count=EVENTS):
    return [body for _, _, body in events(first, count)]


def put(client, first, count=EVENTS, subject="in"):
    return list(client.publish_all((f"{subject}.{key}", body, {"Nats-Msg-Id": name})
                                   for name, key, body in events(first, count)))


def sink_of(d):
    return d.route("r")["sinks"][0]


def delivered(d):
    return sink_of(d)["counts"]["delivered"]


def wait_delivered(d, count):
    wait_until(lambda: delivered(d) >= count, f"{count} deliveries", 120, d.process)


def wait_down(d, what="sink"):
    def is_down():
        r = d.route("r")
        return (r["sinks"][0] if what == "sink" else r)["link"]["state"] != "up"
    wait_until(is_down, f"the {what} seen down", 120, d.process)


def check_calm(d):
    check_equal(d.dead(), [], "dead letters")
    check(sink_of(d)["balanced"], f"the sum does not hold: {sink_of(d)}")


# ---- the server goes and comes ----

@tests_over(["stopped", "killed"], lambda how: f"jetstream_sink_survives_a_{how}_server")
def sink_server_away(t, how):
    own = Own(t)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed(events(0)))
    wait_delivered(own.d, 10)
    (own.server.kill if how == "killed" else own.server.stop)()
    list(source.feed(events(EVENTS)))
    wait_down(own.d)
    own.server.start()
    wait_delivered(own.d, 2 * EVENTS)
    # The token keeps out what the server had stored and could no longer say.
    check_equal(sorted(own.stored()), sorted(bodies(0, 2 * EVENTS)), "stored")
    check_calm(own.d)


@tests_over(["stopped", "killed"], lambda how: f"jetstream_source_survives_a_{how}_server")
def source_server_away(t, how):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of(options=", ack_wait: 2s")
    own.d.start()
    put(c, 0)
    heard.wait_count(10)
    (own.server.kill if how == "killed" else own.server.stop)()
    wait_down(own.d, "source")
    own.server.start()
    put(own.client, EVENTS)
    heard.wait(lambda got: set(bodies(0, 2 * EVENTS)) <= set(got), "all of them")
    check_equal(sorted(heard.bodies()), sorted(bodies(0, 2 * EVENTS)), "bodies")
    wait_until(lambda: own.client.consumer_info("IN", "bascule")["ack_floor"]["stream_seq"] == 2 * EVENTS,
               "all acknowledged")
    check_calm(own.d)


@test
def half_open_server_is_noticed_and_nothing_is_lost_or_doubled(t):
    """It takes bytes and answers nothing."""
    own = Own(t)
    own.client.stream("OUT", "out")
    source = own.into(connection_options=", ping_interval: 1s")
    own.d.start()
    list(source.feed(events(0)))
    wait_delivered(own.d, EVENTS)
    own.server.freeze()
    list(source.feed(events(EVENTS)))
    wait_down(own.d)
    own.server.thaw()
    wait_delivered(own.d, 2 * EVENTS)
    check_equal(sorted(own.stored()), sorted(bodies(0, 2 * EVENTS)), "stored")
    check_calm(own.d)


@test
def lame_duck_server_is_left_and_its_successor_found(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed(events(0)))
    wait_delivered(own.d, EVENTS)
    own.server.lame_duck()
    list(source.feed(events(EVENTS)))
    wait_down(own.d)
    own.server.kill()
    own.server.start()
    wait_delivered(own.d, 2 * EVENTS)
    check_equal(sorted(own.stored()), sorted(bodies(0, 2 * EVENTS)), "stored")
    check_calm(own.d)


@test
def revoked_user_waits_without_dead_letters_until_let_in_again(t):
    own = Own(t)
    own.client.stream("OUT", "open.out")
    source = own.into("open.out", login=f"limited:{PASSWORD}@", stream="")
    own.d.start()
    told = own.client.subscribe("open.out")
    list(source.feed(events(0, 10)))
    wait_delivered(own.d, 10)
    own.server.revoke("limited")
    wait_down(own.d)
    list(source.feed(events(10, 10)))
    wait_until(lambda: "uthorization" in own.d.verb("status", "--json").out, "status telling why")
    own.server.revoke()
    wait_delivered(own.d, 20)
    check_equal(sorted(told.next().body for _ in range(20)), sorted(bodies(0, 20)), "heard")
    check_calm(own.d)


# ---- streams that do not take it ----

@test
def stream_missing_is_an_outage_until_it_is_there(t):
    own = Own(t)
    source = own.into()
    own.d.start()
    list(source.feed(events(0, 10)))
    wait_until(lambda: sink_of(own.d)["link"]["error"] or sink_of(own.d)["error"], "an error told")
    own.client.stream("OUT", "out")
    wait_delivered(own.d, 10)
    # In no order: the route names no key.
    check_equal(sorted(own.stored()), sorted(bodies(0, 10)), "stored")
    check_calm(own.d)


@test
def subject_of_no_stream_from_a_template_is_a_dead_letter(t):
    own = Own(t)
    own.client.stream("OUT", "out.>")
    source = own.into('"${key}"')
    own.d.start()
    list(source.feed([("1", "nowhere", b"one"), ("2", "out.x", b"two")]))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"], row["id"]), ("address", "1"), "dead letter")
    wait_delivered(own.d, 1)
    check_equal(own.stored(), [b"two"], "stored")


@test
def full_stream_is_waited_for_and_nothing_is_dead(t):
    own = Own(t)
    own.client.stream("OUT", "out", max_msgs=10, discard="new")
    source = own.into()
    own.d.start()
    list(source.feed(events(0, 20)))
    wait_delivered(own.d, 10)
    wait_until(lambda: "maximum messages" in own.d.verb("status", "--json").out, "status telling that it is full")
    check_equal(own.stored(), bodies(0, 10), "stored before")
    own.client.js("STREAM.PURGE.OUT")
    wait_delivered(own.d, 20)
    check_equal(sorted(own.stored()), sorted(bodies(10, 10)), "stored after")
    check_calm(own.d)


@test
def account_limit_is_waited_for_and_nothing_is_dead(t):
    own = Own(t, limits={"max_file": "1MB"})
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    large = [(f"n{n}", "k", b"%d " % n + bytes(100000)) for n in range(20)]
    list(source.feed(large))
    wait_until(lambda: "resource limits" in own.d.verb("status", "--json").out, "status telling of the limit")
    while delivered(own.d) < 20:
        own.client.js("STREAM.PURGE.OUT")
        before = delivered(own.d)
        wait_until(lambda b=before: delivered(own.d) > b or delivered(own.d) == 20, "more", 60, own.d.process)
    check_calm(own.d)


@test
def sealed_stream_burns_no_event_until_a_person_mends_it(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    own.client.stream_update("OUT", sealed=True)
    source = own.into()
    own.d.start()
    list(source.feed(events(0, 5)))
    wait_until(lambda: "sealed" in own.d.verb("status", "--json").out, "status telling that it is sealed")
    own.client.js("STREAM.DELETE.OUT")
    own.client.stream("OUT", "out")
    wait_delivered(own.d, 5)
    check_equal(sorted(own.stored()), sorted(bodies(0, 5)), "stored")
    check_calm(own.d)


@test
def body_over_max_payload_is_a_dead_letter_and_neighbours_arrive(t):
    own = Own(t, max_payload=2000)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed([("1", "k", b"one"), ("2", "l", bytes(3000)), ("3", "m", b"three")]))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"] in ("refused", "oversize"), row["id"]), (True, "2"), f"dead letter {row}")
    wait_delivered(own.d, 2)
    check_equal(own.stored(), [b"one", b"three"], "stored")


@test
def subject_that_makes_the_server_hang_up_is_a_dead_letter_once_it_is_alone(t):
    """Longer than the server's control line: it names nobody and closes the connection."""
    own = Own(t, max_control_line=512)
    own.client.stream("OUT", "out.>")
    source = own.into('"out.${key}"')
    own.d.start()
    list(source.feed([(f"a{n}", f"a{n}", b"before %d" % n) for n in range(10)]
                     + [("long", "x" * 600, b"too long")]
                     + [(f"b{n}", f"b{n}", b"after %d" % n) for n in range(10)]))
    row = own.d.wait_dead(1)[0]
    check_equal((row["id"], row["reason"], row["text"]), ("long", "protocol", "maximum control line exceeded"),
                "dead letter")
    wait_delivered(own.d, 20)
    around = [b"before %d" % n for n in range(10)] + [b"after %d" % n for n in range(10)]
    check_equal(sorted(own.stored()), sorted(around), "stored")
    check_equal(len(own.d.dead()), 1, "dead letters")


@test
def message_over_the_streams_own_limit_is_a_dead_letter(t):
    own = Own(t)
    own.client.stream("OUT", "out", max_msg_size=2000)
    source = own.into()
    own.d.start()
    list(source.feed([("1", "k", b"one"), ("2", "l", bytes(3000)), ("3", "m", b"three")]))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"], row["id"], row["code"]), ("refused", "2", 10054), "dead letter")
    wait_delivered(own.d, 2)
    check_equal(own.stored(), [b"one", b"three"], "stored")


@test
def full_disk_below_the_server_is_waited_for(t):
    """2.9 turns JetStream off when a write fails, until it is started again."""
    disk = t.directory / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False,
                      capture_output=True).returncode != 0:
        raise Skip("cannot mount a tmpfs here")
    t.ends(lambda: subprocess.run(["umount", "-l", disk], check=True))
    own = Own(t, disk)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed(events(0, 5)))
    wait_delivered(own.d, 5)
    with open(disk / "filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass  # full is what it shall be
    large = [(f"m{n}", "k", b"%d " % n + os.urandom(100000)) for n in range(20)]
    list(source.feed(large))
    wait_until(lambda: sink_of(own.d)["link"]["error"] or sink_of(own.d)["error"], "an error told", 60)
    (disk / "filler").unlink()
    own.server.kill()
    own.server.start()
    wait_delivered(own.d, 25)
    check(set(b for _, _, b in large) <= set(own.stored()), "a large one is missing")
    check_calm(own.d)


# ---- what identifies a message ----

@test
def two_bodies_of_one_publishers_id_both_arrive(t):
    """The server would swallow the second one, if it were told that id."""
    own = Own(t)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed([("same", "k", b"one"), ("same", "k", b"two")]))
    wait_delivered(own.d, 2)
    check_equal(own.stored(), [b"one", b"two"], "stored")


@test
def replayed_event_is_not_swallowed_as_a_duplicate(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    source = own.into()
    own.d.start()
    list(source.feed(events(0, 3)))
    wait_delivered(own.d, 3)
    own.d.verb("replay", "run", "--route", "r", "--seq", "2", "--yes")
    wait_until(lambda: len(own.stored()) == 4, "the replayed one")
    check_equal(own.stored(), [*bodies(0, 3), b"body 1"], "stored")


@test
def request_without_responders_is_a_dead_letter_and_with_one_delivered(t):
    own = Own(t)
    source = own.into("ask", "", ", require_reply: true")
    own.d.start()
    list(source.feed(events(0, 1)))
    row = own.d.wait_dead(1)[0]
    check_equal(row["id"], "n0", "dead letter's id")
    c = own.client
    asked = c.subscribe("ask")
    own.d.verb("dlq", "retry", row["number"], "--yes")
    m = asked.next()
    c.publish(m.reply, b"yes")
    c.flush()
    wait_delivered(own.d, 1)
    check_equal(m.body, b"body 0", "body")


# ---- sources ----

@test
def redelivered_older_ones_after_newer_ones_are_not_lost(t):
    """Another member of the durable dies with 1-5; 6-10 come first."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    c.consumer("IN", "bascule", ack_wait=int(2e9), max_ack_pending=1000)
    put(c, 0, 5)
    check_equal(len(c.fetch("IN", "bascule", 5)), 5, "taken by the other one")
    heard = own.out_of()
    own.d.start()
    put(c, 5, 5)
    heard.wait_count(10)
    check_equal((heard.bodies()[:5], sorted(heard.bodies())), (bodies(5, 5), bodies(0, 10)), "bodies")
    wait_until(lambda: own.client.consumer_info("IN", "bascule")["ack_floor"]["stream_seq"] == 10,
               "all acknowledged")
    check_calm(own.d)


@test
def stream_trimmed_past_us_is_a_gap(t):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    put(c, 0, 10)
    heard.wait_count(10)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    put(c, 10, 20)
    c.js("STREAM.PURGE.IN", seq=21)
    own.d.start()
    heard.wait_count(20)
    check_equal(heard.bodies(), bodies(0, 10) + bodies(20, 10), "bodies")
    wait_until(lambda: own.d.rows("gaps", "ls"), "a gap", 20)
    check_equal([g["count"] for g in own.d.rows("gaps", "ls")], [10], "events missing")


@test
def stream_trimmed_while_we_read_is_a_gap(t):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    put(c, 0, 10)
    heard.wait_count(10)
    own.d.verb("pause", "r")
    put(c, 10, 20)
    c.js("STREAM.PURGE.IN", keep=1)
    own.d.verb("resume", "r")
    heard.wait(lambda got: b"body 29" in got, "the last one")
    wait_until(lambda: own.d.rows("gaps", "ls") or len(heard.messages) == 30, "a gap")
    missing = sum(g["count"] for g in own.d.rows("gaps", "ls"))
    check_equal(missing + len(heard.messages), 30, "arrived and missing")


@test
def deleted_consumer_is_made_again_where_it_stood(t):
    """As far as was known when it was deleted: while we read, and while we were away."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    put(c, 0, 10)
    heard.wait_count(10)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    own.d.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the source")
    c.js("CONSUMER.DELETE.IN.bascule")
    put(c, 10, 10)
    heard.wait_count(20)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    c.js("CONSUMER.DELETE.IN.bascule")
    put(c, 20, 10)
    own.d.start()
    heard.wait(lambda got: set(bodies(0, 30)) <= set(got), "all of them")
    check_equal([b for b in heard.bodies() if b in bodies(0, 10)], bodies(0, 10), "what was read first")
    check_equal(own.d.rows("gaps", "ls"), [], "gaps")


@test
def recreated_stream_is_read_from_its_beginning(t):
    """Its numbers start again: what is known of the old one must not acknowledge anything of it."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    put(c, 0, 10)
    heard.wait_count(10)
    c.js("STREAM.DELETE.IN")
    c.stream("IN", "in.>")
    put(c, 10, 10)
    heard.wait_count(20)
    check_equal(heard.bodies(), bodies(0, 20), "bodies")


@test
def core_source_records_the_servers_absence_as_a_gap(t):
    own = Own(t)
    heard = own.out_of(stream=None)
    own.d.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription")
    c = own.client
    c.publish("in.k", b"one")
    heard.wait_count(1)
    own.server.kill()
    wait_down(own.d, "source")
    own.server.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription again")
    own.client.publish("in.k", b"two")
    heard.wait_count(2)
    wait_until(lambda: any(g["end_ms"] for g in own.d.rows("gaps", "ls")), "a gap with its end")
    check_equal(heard.bodies(), [b"one", b"two"], "bodies")


@test
def core_source_cut_off_as_a_slow_consumer_has_a_gap(t):
    own = Own(t)
    own.server.more = "max_pending: 1MB\n"
    own.server.stop()
    own.server.start()
    heard = own.out_of(stream=None)
    own.d.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription")
    before = len(own.d.rows("gaps", "ls"))
    c = own.client
    own.d.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: c.publish("in.k", bytes(100000)) or c.flush() or
                   own.server.monitor("varz")["slow_consumers"] > 0, "a cut", 60)
    finally:
        own.d.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(own.d.rows("gaps", "ls")) > before, "a gap")
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription again")
    c.publish("in.k", b"after")
    heard.wait(lambda got: b"after" in got, "what came after")
