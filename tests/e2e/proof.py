"""Reads a trace of system calls and says whether an acknowledgement left before the sync that covers it. Pure.

A call counts where it makes its claim weakest for us: a sync from when its success was reported, an acknowledgement
from when its send began. strace sees every entry and exit in one order, of all threads."""
import re
from collections import defaultdict

OPTIONS = ("-y", "-xx", "-s", "200000", "-e", "trace=fdatasync,fsync,pwrite64,sendto,sendmsg,write,writev")

WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FRAME_HEADER_BYTES = 24
FLUSHES = ("fdatasync", "fsync")


def quoted(text):
    """All bytes in quotes, one after the other."""
    return b"".join(bytes.fromhex(t.replace("\\x", "")) for t in TEXT.findall(text))


def path_of(arguments):
    """The file behind the first descriptor; with -xx its name is in hex too."""
    found = re.match(r"\d+<([^>]*)>", arguments)
    name = found.group(1) if found else ""
    return bytes.fromhex(name.replace("\\x", "")).decode(errors="replace") if name.startswith("\\x") else name


def calls(lines):
    """(moment, call, path, bytes, succeeded) with moment "begin" or "end", in order."""
    open_calls = {}
    for line in lines:
        if m := WHOLE.match(line):
            thread, call, rest = m.groups()
            path, data = path_of(rest), quoted(rest)
            yield "begin", call, path, data, None
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = call, path, data
            else:
                yield "end", call, path, data, succeeded(rest)
        elif m := RESUMED.match(line):
            thread, call, rest = m.groups()
            if thread in open_calls:
                name, path, data = open_calls.pop(thread)
                yield "end", name, path, data, succeeded(rest)


def succeeded(rest):
    return re.search(r"\) += \d", rest) is not None


# ---- acknowledgements in what is sent ----

def rabbitmq_acks(data):
    """Delivery tags of basic.ack frames: (tag, multiple)."""
    at = 0
    while at + 8 <= len(data) and data[at] in (1, 2, 3, 8):
        size = int.from_bytes(data[at + 3:at + 7], "big")
        payload = data[at + 7:at + 7 + size]
        if data[at] == 1 and payload[:4] == b"\x00\x3c\x00\x50":
            yield int.from_bytes(payload[4:12], "big"), payload[12] & 1 == 1
        at += size + 8


def redis_acks(data, stream):
    """Entries that an XACK of this stream names."""
    for command in data.split(b"XACK\r\n")[1:]:
        parts = command.split(b"\r\n")
        if len(parts) > 1 and parts[1] == stream.encode():
            yield from (p for p in parts[3:] if re.fullmatch(rb"\d+-\d+", p))


class Reader:
    """Kafka's big-endian fields, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, size):
        self.at += size
        return int.from_bytes(self.data[self.at - size:self.at], "big", signed=True)

    def text(self):
        size = max(0, self.number(2))  # -1: null
        self.at += size
        return self.data[self.at - size:self.at]


def kafka_commits(data, topic):
    """(partition, offset) of OffsetCommit requests on this topic (API key 8; kafka.apache.org/protocol.html)."""
    r = Reader(data)
    while r.at + 8 <= len(data):
        size = r.number(4)
        end, key, version = r.at + size, r.number(2), r.number(2)
        if key == 8 and 5 <= version <= 7:  # what librdkafka 2.0 sends
            yield from committed(r, version, topic.encode())
        if size <= 0:
            return
        r.at = end


def committed(r, version, topic):
    r.number(4)  # correlation
    r.text()     # client
    r.text()     # group
    r.number(4)  # generation
    r.text()     # member
    if version >= 7:
        r.text()  # instance
    for _ in range(r.number(4)):
        name = r.text()
        for _ in range(r.number(4)):
            partition, offset = r.number(4), r.number(8)
            if version >= 6:
                r.number(4)  # leader epoch
            r.text()         # metadata
            if name == topic:
                yield partition, offset


# ---- the judgement ----

class Proof:
    """marks: {event: pieces of its body}, any of which shows that a write holds it. acked(bytes): the events that a
    send acknowledges. After run(): problems, and acknowledged, the set of events whose acknowledgement was seen."""

    def __init__(self, marks, acked):
        self.pieces = defaultdict(list)
        for event, pieces in marks.items():
            for piece in pieces:
                self.pieces[piece[:4]].append((piece, event))
        self.acked = acked
        self.written, self.committed, self.durable, self.acknowledged = set(), set(), set(), set()
        self.syncing, self.commit_page, self.problems = None, False, []

    def run(self, lines):
        for moment, call, path, data, good in calls(lines):
            if path.endswith("-wal"):
                self._log(moment, call, data, good)
            elif moment == "begin" and call in ("sendto", "sendmsg", "write", "writev"):
                self._sent(data)
        return self

    def _log(self, moment, call, data, good):
        if call == "pwrite64" and moment == "end" and good:
            self._wrote(data)
        elif call in FLUSHES and moment == "begin":
            self.syncing = set(self.committed)
        elif call in FLUSHES and good and self.syncing is not None:
            self.durable |= self.syncing

    def _wrote(self, data):
        """A frame is a header, then its page; the header of a transaction's last frame has the size of the database
        (sqlite.org/fileformat2.html#the_write_ahead_log)."""
        if len(data) == FRAME_HEADER_BYTES:
            self.commit_page = data[4:8] != b"\0\0\0\0"
            return
        self.written |= self._events_in(data)
        if self.commit_page:
            self.committed |= self.written
            self.commit_page = False

    def _events_in(self, data):
        ret = set()
        for head, pieces in self.pieces.items():
            at = data.find(head)
            while at >= 0:
                ret |= {event for piece, event in pieces if data.startswith(piece, at)}
                at = data.find(head, at + 1)
        return ret

    def _sent(self, data):
        for event in self.acked(data):
            if event not in self.durable:
                self.problems.append(f"{event} was acknowledged before the sync that covers it")
            self.acknowledged.add(event)
