"""Knows every event that was sent, and judges what arrived and what the program says of it. Pure: no broker, no
clock; only the journals are files.

A producer writes (producer, sequence, hash) into its journal after the broker has confirmed the event, a listener
writes the same of what it got; journal_problems() judges by these files alone."""
import hashlib
import os
import random
from collections import Counter, namedtuple

Sent = namedtuple("Sent", "number key body")

# A body begins with the event's name and a blank, so that it can be known at any sink; what follows is
# anything. The name is PRODUCER-SEQUENCE.
SEPARATOR = b" "

# What the program says of one sink: the counts of `status`, and `ended` = {name: fate} of events that its log shows
# as neither delivered nor pending (dead, filtered, loop, diverted).
Books = namedtuple("Books", "accepted delivered held dead dropped diverted reordered pending in_flight balanced ended")


def name_of(body):
    """The event's name in a body that arrived; None when there is none."""
    name, found, _ = bytes(body).partition(SEPARATOR)
    try:
        return name.decode("ascii") if found else None
    except UnicodeDecodeError:
        return None


def hash_of(body):
    return hashlib.sha256(body).hexdigest()[:32]


class Journal:
    """Lines that survive who wrote them: each is written at once, and synced when `sync_lines` have gathered and
    at the end. A line less than happened makes the oracle milder, never wrong."""

    def __init__(self, path, sync_lines=100):
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.sync_lines, self.unsynced = sync_lines, 0

    def add(self, name, body):
        os.write(self.fd, f"{name or '?'} {hash_of(body)}\n".encode())
        self.unsynced += 1
        if self.unsynced >= self.sync_lines:
            self.sync()

    def sync(self):
        os.fdatasync(self.fd)
        self.unsynced = 0

    def close(self):
        self.sync()
        os.close(self.fd)

    @staticmethod
    def read(path):
        """(name, hash) of each whole line."""
        with open(path, encoding="ascii") as f:
            return [tuple(line.split()) for line in f if line.endswith("\n")]


class Oracle:
    """make() events, tell it which were confirmed(), then ask problems() about the deliveries."""

    def __init__(self, seed, prefix="e", keys=7, size_max=600, journal=None):
        self.random = random.Random(seed)
        self.prefix, self.keys, self.size_max = prefix, keys, size_max
        self.sent, self.confirmed_names = {}, set()
        self.journal = Journal(journal) if journal else None

    def make(self, count):
        """The next `count` events, as (name, key, body)."""
        ret = []
        for _ in range(count):
            number = len(self.sent)
            name = f"{self.prefix}-{number:06d}"
            key = f"k{self.random.randrange(self.keys)}"
            body = name.encode() + SEPARATOR + self.random.randbytes(self.random.randrange(self.size_max))
            self.sent[name] = Sent(number, key, body)
            ret.append((name, key, body))
        return ret

    def add(self, key, body):
        """An event whose body the test wants to be so; returned with its name in front, as make() does."""
        number = len(self.sent)
        name = f"{self.prefix}-{number:06d}"
        self.sent[name] = Sent(number, key, name.encode() + SEPARATOR + body)
        return name, key, self.sent[name].body

    def confirmed(self, names):
        for name in names:
            if self.journal:
                self.journal.add(name, self.sent[name].body)
            self.confirmed_names.add(name)

    def close(self):
        if self.journal:
            self.journal.close()
            self.journal = None

    def arrived_all(self, bodies, dead=()):
        """Is every confirmed event there?"""
        return self.confirmed_names <= {name_of(b) for b in bodies} | set(dead)

    def problems(self, bodies, dead=(), duplicates_max=0, ordered=True, lossless=True, books=None):
        """What is wrong with the bodies that arrived, in their order, as a list of sentences. With the program's
        books: what they say must be so, and its excuses (dead, dropped, diverted, reordered) count."""
        names = [name_of(b) for b in bodies]
        first = list(dict.fromkeys(names))
        ended = set(dead) | set(books.ended if books else ())
        reorders_max = books.reordered if books else 0
        return [*(self._missing(first, ended) if lossless else []), *self._altered(bodies, names),
                *self._repeated(names, duplicates_max),
                *(self._disordered(first, reorders_max) if ordered else []),
                *(self._books(books, len(bodies)) if books else [])]

    def _missing(self, first, ended):
        missing = sorted(self.confirmed_names - set(first) - ended)
        if missing:
            yield f"{len(missing)} of {len(self.confirmed_names)} confirmed events are lost: {missing[:5]}"

    def _altered(self, bodies, names):
        strange = [b for b, n in zip(bodies, names) if n not in self.sent]
        if strange:
            yield f"{len(strange)} events arrived that nobody sent: {bytes(strange[0])[:60]!r}"
        altered = [n for b, n in zip(bodies, names) if n in self.sent and bytes(b) != self.sent[n].body]
        if altered:
            yield f"{len(altered)} events arrived altered: {altered[:5]}"

    def _repeated(self, names, duplicates_max):
        repeats = Counter(names)
        extra = sum(repeats.values()) - len(repeats)
        if extra > duplicates_max:
            yield (f"{extra} repeats, at most {duplicates_max} expected: "
                   f"{[n for n, c in repeats.most_common(5) if c > 1]}")

    def _disordered(self, first, reorders_max):
        """A reorder is an event whose first delivery came after that of a later one of its key."""
        highest, late = {}, []
        for name in first:
            event = self.sent.get(name)
            if event is None:
                continue
            before = highest.get(event.key)
            if before is not None and before.number > event.number:
                late.append(f"order of {event.key}: {name} first came after number {before.number}")
            else:
                highest[event.key] = event
        if len(late) > reorders_max:
            yield f"{len(late)} reorders, {reorders_max} are counted; {late[0]}"

    def _books(self, b, arrived):
        """The conservation sum, done again by hand, at rest."""
        if not b.balanced:
            yield "the program says itself that its sum does not agree"
        parts = b.delivered + b.pending + b.dead + b.dropped + b.diverted
        if b.accepted != parts:
            yield (f"the sum: {b.accepted} accepted are not {b.delivered} delivered + {b.pending} pending + {b.dead} "
                   f"dead + {b.dropped} dropped + {b.diverted} diverted")
        if b.pending or b.held or b.in_flight:
            yield f"the backlog is not empty: {b.pending} pending, {b.held} held, {b.in_flight} in flight"
        if b.delivered > arrived:
            yield f"{b.delivered} are counted as delivered, {arrived} came"
        if b.accepted < len(self.confirmed_names):
            yield f"{b.accepted} are in the log, {len(self.confirmed_names)} were confirmed to the producer"
        if len(b.ended) > b.dead + b.dropped + b.diverted:
            yield f"the log shows {len(b.ended)} that ended otherwise, the counts {b.dead + b.dropped + b.diverted}"


def journal_problems(confirmed, arrived, ended=()):
    """The same from the files alone: what was lost and what is not as it was sent."""
    sent, got = dict(Journal.read(confirmed)), Journal.read(arrived)
    names = {name for name, _ in got}
    missing = sorted(set(sent) - names - set(ended))
    altered = sorted({name for name, h in got if name in sent and sent[name] != h})
    return [*([f"{len(missing)} of {len(sent)} confirmed events are lost: {missing[:5]}"] if missing else []),
            *([f"{len(altered)} events arrived altered: {altered[:5]}"] if altered else [])]
