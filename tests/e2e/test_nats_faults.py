"""What must happen when something is wrong at a nats-server: one test for each row of the table of failures."""
import os
import signal
import subprocess

import clients
from broker import wait_until
from daemon import Daemon
from ends import StreamSink, StreamSource, connections
from faults import lasts
from frame import Skip, check, check_equal, test, tests_over
from nats_broker import PASSWORD, Nats
from nats_client import NatsError
from oracle import Oracle, name_of

QUICK = """retry: { max_attempts: 2, base_delay: 10ms, max_delay: 20ms }
  breaker: { failure_threshold: 5, open_for: 200ms }"""
EVENTS = 100


class Own:
    """A nats-server for one test that hurts it, reached as connection `own`; Redis, which the tests share, is at
    the other side."""

    def __init__(self, t, directory=None, **options):
        self.t, self.oracle, self.source = t, Oracle(5, prefix="n"), None
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
        return t.runs(d)

    def into(self, subject="out", stream="OUT", options="", route="", connection_options="", login=""):
        """A route from a Redis stream to this server, for feed()."""
        self.source = StreamSource(self.t)
        to = f"{{ name: out, connection: own, subject: {subject}{f', stream: {stream}' if stream else ''}{options} }}"
        self.d = self.daemon(f"- name: r\n  from: {self.source.yaml()}\n  to: [ {to} ]\n  {route or QUICK}", login,
                             connection_options)

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

    def feed(self, count=EVENTS):
        self.oracle.confirmed(self.source.feed(self.oracle.make(count)))

    def add(self, *events):
        """Of (key, body); returns their names."""
        made = [self.oracle.add(key, body) for key, body in events]
        self.oracle.confirmed(self.source.feed(made))
        return [name for name, _, _ in made]

    def put(self, count=EVENTS, confirmed=True):
        """Publishes to the stream that a route reads. Not confirmed: the server shall lose them."""
        events = self.oracle.make(count)
        acks = self.client.publish_all((f"in.{key}", body, {"Nats-Msg-Id": name}) for name, key, body in events)
        for (name, _, _), _ in zip(events, acks):
            self.oracle.confirmed([name] if confirmed else [])

    def rest(self, arrived, **allowed):
        """Problems with what arrived, once nothing is pending."""
        wait_until(lambda: self.d.at_rest("r"), "an empty backlog", 120, self.d.process)
        return self.oracle.problems(arrived, books=self.d.books("r"), **allowed)

    def stored(self, stream="OUT", last=None):
        """The bodies in a stream, in its order. Not every number has a message."""
        c = self.client
        state = c.stream_state(stream)
        ret = []
        for n in range(state["first_seq"], (last or state["last_seq"]) + 1):
            try:
                ret.append(c.stored(stream, n).body)
            except NatsError as e:
                check("no message found" in str(e), str(e))
        return ret


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
    own.into()
    own.d.start()
    own.feed()
    wait_delivered(own.d, 10)
    (own.server.kill if how == "killed" else own.server.stop)()
    own.feed()
    wait_down(own.d)
    lasts(own.d)
    own.server.start()
    wait_delivered(own.d, 2 * EVENTS)
    # The token keeps out what the server had stored and could no longer say.
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@tests_over(["stopped", "killed"], lambda how: f"jetstream_source_survives_a_{how}_server")
def source_server_away(t, how):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of(options=", ack_wait: 2s")
    own.d.start()
    own.put()
    heard.wait_count(10)
    (own.server.kill if how == "killed" else own.server.stop)()
    wait_down(own.d, "source")
    lasts(own.d)
    own.server.start()
    own.put()
    heard.wait(own.oracle.arrived_all, "all of them")
    # In no order: the route names no key.
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")
    wait_until(lambda: own.client.consumer_info("IN", "bascule")["ack_floor"]["stream_seq"] == 2 * EVENTS,
               "all acknowledged")
    check_calm(own.d)


@test
def half_open_server_is_noticed_and_nothing_is_lost_or_doubled(t):
    """It takes bytes and answers nothing."""
    own = Own(t)
    own.client.stream("OUT", "out")
    own.into(connection_options=", ping_interval: 1s")
    own.d.start()
    own.feed()
    wait_delivered(own.d, EVENTS)
    own.server.freeze()
    own.feed()
    wait_down(own.d)
    lasts(own.d)
    own.server.thaw()
    wait_delivered(own.d, 2 * EVENTS)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def lame_duck_server_is_left_and_its_successor_found(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    own.feed()
    wait_delivered(own.d, EVENTS)
    own.server.lame_duck()
    own.feed()
    wait_down(own.d)
    own.server.kill()
    own.server.start()
    wait_delivered(own.d, 2 * EVENTS)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def revoked_user_waits_without_dead_letters_until_let_in_again(t):
    own = Own(t)
    own.client.stream("OUT", "open.out")
    own.into("open.out", login=f"limited:{PASSWORD}@", stream="")
    own.d.start()
    told = own.client.subscribe("open.out")
    own.feed(10)
    wait_delivered(own.d, 10)
    own.server.revoke("limited")
    wait_down(own.d)
    own.feed(10)
    wait_until(lambda: "uthorization" in own.d.verb("status", "--json").out, "status telling why")
    own.server.revoke()
    wait_delivered(own.d, 20)
    check_equal(own.rest([told.next().body for _ in range(20)]), [], "problems")
    check_calm(own.d)


# ---- streams that do not take it ----

@test
def stream_missing_is_an_outage_until_it_is_there(t):
    own = Own(t)
    own.into()
    own.d.start()
    own.feed(10)
    wait_until(lambda: sink_of(own.d)["link"]["error"] or sink_of(own.d)["error"], "an error told")
    own.client.stream("OUT", "out")
    wait_delivered(own.d, 10)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def subject_of_no_stream_from_a_template_is_a_dead_letter(t):
    own = Own(t)
    own.client.stream("OUT", "out.>")
    own.into('"${key}"')
    own.d.start()
    names = own.add(("nowhere", b"one"), ("out.x", b"two"))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"], row["id"]), ("address", names[0]), "dead letter")
    wait_delivered(own.d, 1)
    check_equal(own.rest(own.stored()), [], "problems")


@test
def full_stream_is_waited_for_and_nothing_is_dead(t):
    own = Own(t)
    own.client.stream("OUT", "out", max_msgs=10, discard="new")
    own.into()
    own.d.start()
    own.feed(20)
    wait_delivered(own.d, 10)
    wait_until(lambda: "maximum messages" in own.d.verb("status", "--json").out, "status telling that it is full")
    before = own.stored()
    check_equal(len(before), 10, "events in the full stream")
    own.client.js("STREAM.PURGE.OUT")
    wait_delivered(own.d, 20)
    check_equal(own.rest(before + own.stored()), [], "problems")
    check_calm(own.d)


@test
def account_limit_is_waited_for_and_nothing_is_dead(t):
    own = Own(t, limits={"max_file": "1MB"})
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    own.add(*(("k", bytes(100000)) for _ in range(20)))
    wait_until(lambda: "resource limits" in own.d.verb("status", "--json").out, "status telling of the limit")
    stored = []
    while delivered(own.d) < 20:
        stored += purged(own)
        before = delivered(own.d)
        wait_until(lambda b=before: delivered(own.d) > b or delivered(own.d) == 20, "more", 120, own.d.process)
    check_equal(own.rest(stored + own.stored()), [], "problems")
    check_calm(own.d)


def purged(own):
    """Takes out of the full stream what is in it now, and returns the bodies."""
    last = own.client.stream_state("OUT")["last_seq"]
    ret = own.stored(last=last)
    own.client.js("STREAM.PURGE.OUT", seq=last + 1)
    return ret


@test
def sealed_stream_burns_no_event_until_a_person_mends_it(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    own.client.stream_update("OUT", sealed=True)
    own.into()
    own.d.start()
    own.feed(5)
    wait_until(lambda: "sealed" in own.d.verb("status", "--json").out, "status telling that it is sealed")
    own.client.js("STREAM.DELETE.OUT")
    own.client.stream("OUT", "out")
    wait_delivered(own.d, 5)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


@test
def body_over_max_payload_is_a_dead_letter_and_neighbours_arrive(t):
    own = Own(t, max_payload=2000)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    names = own.add(("k", b"one"), ("l", bytes(3000)), ("m", b"three"))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"] in ("refused", "oversize"), row["id"]), (True, names[1]), f"dead letter {row}")
    wait_delivered(own.d, 2)
    check_equal(own.rest(own.stored()), [], "problems")


@test
def subject_that_makes_the_server_hang_up_is_a_dead_letter_once_it_is_alone(t):
    """Longer than the server's control line: it names nobody and closes the connection."""
    own = Own(t, max_control_line=512)
    own.client.stream("OUT", "out.>")
    own.into('"out.${key}"')
    own.d.start()
    names = own.add(*((f"a{n}", b"before") for n in range(10)), ("x" * 600, b"too long"),
                    *((f"b{n}", b"after") for n in range(10)))
    row = own.d.wait_dead(1)[0]
    check_equal((row["id"], row["reason"], row["text"]), (names[10], "protocol", "maximum control line exceeded"),
                "dead letter")
    wait_delivered(own.d, 20)
    check_equal(own.rest(own.stored()), [], "problems")
    check_equal(len(own.d.dead()), 1, "dead letters")


@test
def message_over_the_streams_own_limit_is_a_dead_letter(t):
    own = Own(t)
    own.client.stream("OUT", "out", max_msg_size=2000)
    own.into()
    own.d.start()
    names = own.add(("k", b"one"), ("l", bytes(3000)), ("m", b"three"))
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"], row["id"], row["code"]), ("refused", names[1], 10054), "dead letter")
    wait_delivered(own.d, 2)
    check_equal(own.rest(own.stored()), [], "problems")


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
    own.into()
    own.d.start()
    own.feed(5)
    wait_delivered(own.d, 5)
    with open(disk / "filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass  # full is what it shall be
    own.add(*(("k", os.urandom(100000)) for _ in range(20)))
    wait_until(lambda: sink_of(own.d)["link"]["error"] or sink_of(own.d)["error"], "an error told", 120)
    (disk / "filler").unlink()
    own.server.kill()
    own.server.start()
    wait_delivered(own.d, 25)
    check_equal(own.rest(own.stored()), [], "problems")
    check_calm(own.d)


# ---- what identifies a message ----

@test
def two_bodies_of_one_publishers_id_both_arrive(t):
    """The server would swallow the second one, if it were told that id."""
    own = Own(t)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    list(own.source.feed([("same", "k", b"one"), ("same", "k", b"two")]))
    wait_delivered(own.d, 2)
    check_equal(own.stored(), [b"one", b"two"], "stored")


@test
def replayed_event_is_not_swallowed_as_a_duplicate(t):
    own = Own(t)
    own.client.stream("OUT", "out")
    own.into()
    own.d.start()
    own.feed(3)
    wait_delivered(own.d, 3)
    own.d.verb("replay", "run", "--route", "r", "--seq", "2", "--yes")
    wait_until(lambda: len(own.stored()) == 4, "the replayed one")
    stored = own.stored()
    check_equal(stored[3], stored[1], "the replayed one")
    check_equal(own.rest(stored[:3]), [], "problems")


@test
def request_without_responders_is_a_dead_letter_and_with_one_delivered(t):
    own = Own(t)
    own.into("ask", "", ", require_reply: true")
    own.d.start()
    own.feed(1)
    row = own.d.wait_dead(1)[0]
    check_equal(row["id"], "n-000000", "dead letter's id")
    c = own.client
    asked = c.subscribe("ask")
    own.d.verb("dlq", "retry", row["number"], "--yes")
    m = asked.next()
    c.publish(m.reply, b"yes")
    c.flush()
    wait_delivered(own.d, 1)
    check_equal(own.rest([m.body]), [], "problems")


# ---- sources ----

def sent_number(own, body):
    return own.oracle.sent[name_of(body)].number


@test
def redelivered_older_ones_after_newer_ones_are_not_lost(t):
    """Another member of the durable dies with 1-5; 6-10 come first."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    c.consumer("IN", "bascule", ack_wait=int(2e9), max_ack_pending=1000)
    own.put(5)
    check_equal(len(c.fetch("IN", "bascule", 5)), 5, "taken by the other one")
    heard = own.out_of()
    own.d.start()
    own.put(5)
    heard.wait_count(10)
    check(all(sent_number(own, b) >= 5 for b in heard.bodies()[:5]), "the older ones came first")
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")
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
    own.put(10)
    heard.wait_count(10)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    own.put(10, confirmed=False)
    own.put(10)
    c.js("STREAM.PURGE.IN", seq=21)
    own.d.start()
    heard.wait_count(20)
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")
    wait_until(lambda: own.d.rows("gaps", "ls"), "a gap")
    check_equal([g["count"] for g in own.d.rows("gaps", "ls")], [10], "events missing")


@test
def stream_trimmed_while_we_read_is_a_gap(t):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    own.put(10)
    heard.wait_count(10)
    own.d.verb("pause", "r")
    own.put(19, confirmed=False)
    own.put(1)
    c.js("STREAM.PURGE.IN", keep=1)
    own.d.verb("resume", "r")
    heard.wait(own.oracle.arrived_all, "the last one")
    wait_until(lambda: own.d.rows("gaps", "ls") or len(heard.messages) == 30, "a gap")
    missing = sum(g["count"] for g in own.d.rows("gaps", "ls"))
    check_equal(missing + len(heard.messages), 30, "arrived and missing")
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")


@test
def deleted_consumer_is_made_again_where_it_stood(t):
    """As far as was known when it was deleted: while we read, and while we were away."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    own.put(10)
    heard.wait_count(10)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    own.d.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the source")
    c.js("CONSUMER.DELETE.IN.bascule")
    own.put(10)
    heard.wait_count(20)
    check_equal(own.d.stop(), 0, "exit code after SIGTERM")
    c.js("CONSUMER.DELETE.IN.bascule")
    own.put(10)
    own.d.start()
    heard.wait(own.oracle.arrived_all, "all of them")
    check_equal([n for n in (sent_number(own, b) for b in heard.bodies()) if n < 10], [*range(10)], "what was read first")
    # What had not been acknowledged when it was deleted may come again.
    check_equal(own.rest(heard.bodies(), ordered=False, duplicates_max=20), [], "problems")
    check_equal(own.d.rows("gaps", "ls"), [], "gaps")


@test
def recreated_stream_is_read_from_its_beginning(t):
    """Its numbers start again: what is known of the old one must not acknowledge anything of it."""
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    heard = own.out_of()
    own.d.start()
    own.put(10)
    heard.wait_count(10)
    c.js("STREAM.DELETE.IN")
    c.stream("IN", "in.>")
    own.put(10)
    heard.wait_count(20)
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")


@test
def core_source_records_the_servers_absence_as_a_gap(t):
    own = Own(t)
    heard = own.out_of(stream=None)
    own.d.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription")
    c = own.client
    c.publish("in.k", own.oracle.add("k", b"one")[2])
    heard.wait_count(1)
    own.server.kill()
    wait_down(own.d, "source")
    own.server.start()
    wait_until(lambda: own.d.route("r")["link"]["state"] == "up", "the subscription again")
    own.client.publish("in.k", own.oracle.add("k", b"two")[2])
    heard.wait_count(2)
    own.oracle.confirmed(own.oracle.sent)
    wait_until(lambda: any(g["end_ms"] for g in own.d.rows("gaps", "ls")), "a gap with its end")
    check_equal(own.rest(heard.bodies()), [], "problems")


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
