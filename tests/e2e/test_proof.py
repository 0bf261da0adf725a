"""From the outside, by the system calls of the whole process: no acknowledgement left before its sync."""
import threading

import clients
import kafka
from broker import wait_until
from ends import KafkaSource, RabbitSource, StreamSink, StreamSource
from faults import Traced
from frame import check, check_equal, test
from oracle import Oracle
from proof import OPTIONS, Proof, kafka_commits, rabbitmq_acks, redis_acks
from test_failures import daemon_of

EVENTS = 60
PIECE_BYTES, PIECE_EVERY = 16, 60


def marks_of(oracle):
    """Pieces of random bodies stand in the log as they are, for nothing compresses them; one may be cut by a page."""
    return {name: [s.body[i:i + PIECE_BYTES] for i in range(len(name) + 20, len(s.body) - PIECE_BYTES, PIECE_EVERY)]
            for name, s in oracle.sent.items()}


def random_events(oracle, count):
    return [oracle.add(f"k{n % 5}", oracle.random.randbytes(600)) for n in range(count)]


class Sides:
    """What each source acknowledges, as events: by delivery tag, by entry, by partition and offset."""

    def __init__(self, t):
        self.rabbit, self.stream, self.topic = RabbitSource(t, ".q"), StreamSource(t, ".s"), KafkaSource(t, ".k")
        self.oracles = {n: Oracle(n, prefix=n) for n in ("q", "s", "k")}
        self.tags, self.entries, self.offsets = [], {}, {}
        self.producer = kafka.KafkaProducer(bootstrap_servers=f"127.0.0.1:{self.topic.port}", acks="all")
        t.ends(self.producer.close)

    def feed(self, count):
        for name, key, body in random_events(self.oracles["q"], count):
            self.rabbit.rabbit.publish(self.rabbit.place, key, body, message_id=name)
            self.tags.append(name)  # one publisher, one consumer, one session: tags count from 1
        for name, key, body in random_events(self.oracles["s"], count):
            self.entries[self.stream.redis.xadd(self.stream.place, {"body": body, "key": key})] = name
        for name, key, body in random_events(self.oracles["k"], count):
            m = self.producer.send(self.topic.place, body, key=key.encode()).get(clients.PATIENCE_SECONDS)
            self.offsets[name] = m.partition, m.offset

    def acked(self, data):
        for tag, multiple in rabbitmq_acks(data):
            yield from self.tags[:tag] if multiple else self.tags[tag - 1:tag]
        yield from (self.entries[e] for e in redis_acks(data, self.stream.place))
        for partition, next_offset in kafka_commits(data, self.topic.place):
            yield from (n for n, (p, o) in self.offsets.items() if p == partition and o < next_offset)

    def names(self):
        return {n for o in self.oracles.values() for n in o.sent}


@test
def no_acknowledgement_leaves_before_the_sync_that_covers_it(t):
    sides, out = Sides(t), StreamSink(t, ".out")
    d = daemon_of(t, "".join(f"""
- name: {name}
  from: {source.yaml()}
  to: [ {out.yaml()} ]""" for name, source in (("q", sides.rabbit), ("s", sides.stream), ("k", sides.topic))),
                  "rabbitmq", "kafka", "redis")
    d.start()
    wait_until(lambda: all(r["link"]["state"] == "up" for r in d.json("status")["routes"]), "sources up",
               clients.PATIENCE_SECONDS, d.process)
    trace = Traced(t, d, *OPTIONS)
    feeder = threading.Thread(target=sides.feed, args=(EVENTS,), daemon=True)
    feeder.start()
    heard = out.listen()
    heard.wait_count(3 * EVENTS)
    feeder.join(clients.PATIENCE_SECONDS)
    check_equal(d.stop(), 0, "exit code after SIGTERM")  # the last commits go out
    trace.process.wait(60)
    marks = {name: pieces for o in sides.oracles.values() for name, pieces in marks_of(o).items()}
    with open(trace.log, encoding="ascii", errors="replace") as lines:
        proof = Proof(marks, sides.acked).run(lines)
    check_equal(proof.problems[:5], [], "acknowledgements before their sync")
    check_equal(sorted(sides.names() - proof.acknowledged)[:5], [], "events whose acknowledgement was not seen")


# ---- the reader of traces ----

EVENT = bytes(range(100, 132))
ACK = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50" + (1).to_bytes(8, "big") + b"\x01\xce"


def hexed(data):
    return '"' + "".join(f"\\x{b:02x}" for b in data) + '"'


HEADER = f"7 pwrite64(8</x/b.db-wal>, {hexed(bytes(4) + b'1234' + bytes(16))}, 24, 32) = 24"
PAGE = f"7 pwrite64(8</x/b.db-wal>, {hexed(bytes(50) + EVENT + bytes(50))}, 4096, 56) = 4096"
SYNC = ["7 fdatasync(8</x/b.db-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0"]
SEND = f"9 sendto(23<socket:[1]>, {hexed(ACK)}, 21, MSG_NOSIGNAL, NULL, 0) = 21"


def judged(*lines):
    p = Proof({"e": [EVENT[:16], EVENT[16:]]}, lambda data: ["e" for _ in rabbitmq_acks(data)]).run(lines)
    return len(p.problems), sorted(p.acknowledged)


@test
def proof_by_trace_sees_an_acknowledgement_that_is_too_early(_t):
    check_equal(judged(HEADER, PAGE, *SYNC, SEND), (0, ["e"]), "in order")
    check_equal(judged(HEADER, PAGE, SYNC[0], SEND, SYNC[1]), (1, ["e"]), "sent while the sync runs")
    check_equal(judged(HEADER, PAGE, SEND, *SYNC), (1, ["e"]), "sent before the sync")
    check_equal(judged(SYNC[0], HEADER, PAGE, SYNC[1], SEND), (1, ["e"]), "written while the sync runs")
    check_equal(judged(HEADER, PAGE, SYNC[0], "7 <... fdatasync resumed>) = -1 EIO (x)", SEND), (1, ["e"]),
                "a sync that failed")
    check_equal(judged(PAGE, *SYNC, SEND), (1, ["e"]), "a transaction without its last frame")
    check(list(redis_acks(b"*4\r\n$4\r\nXACK\r\n$1\r\ns\r\n$1\r\ng\r\n$3\r\n1-0\r\n", "s")) == [b"1-0"], "XACK")
