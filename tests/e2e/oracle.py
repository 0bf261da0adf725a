"""Knows every event that was sent, and judges what arrived. Pure: no broker, no clock."""
import random
from collections import Counter, namedtuple

Sent = namedtuple("Sent", "number key body")

# A body begins with the event's name and a blank, so that it can be known at any sink; what follows is
# anything.
SEPARATOR = b" "


def name_of(body):
    """The event's name in a body that arrived; None when there is none."""
    name, found, _ = bytes(body).partition(SEPARATOR)
    try:
        return name.decode("ascii") if found else None
    except UnicodeDecodeError:
        return None


class Oracle:
    """make() events, tell it which were confirmed(), then ask problems() about the deliveries."""

    def __init__(self, seed, prefix="e", keys=7, size_max=600):
        self.random = random.Random(seed)
        self.prefix, self.keys, self.size_max = prefix, keys, size_max
        self.sent, self.confirmed_names = {}, set()

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

    def confirmed(self, names):
        self.confirmed_names.update(names)

    def arrived_all(self, bodies, dead=()):
        """Is every confirmed event there?"""
        return self.confirmed_names <= {name_of(b) for b in bodies} | set(dead)

    def problems(self, bodies, dead=(), duplicates_max=0, ordered=True, lossless=True):
        """What is wrong with the bodies that arrived, in their order, as a list of sentences."""
        names = [name_of(b) for b in bodies]
        first = list(dict.fromkeys(names))
        return [*(self._missing(first, dead) if lossless else []), *self._altered(bodies, names),
                *self._repeated(names, duplicates_max), *(self._disordered(first) if ordered else [])]

    def _missing(self, first, dead):
        missing = sorted(self.confirmed_names - set(first) - set(dead))
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

    def _disordered(self, first):
        last = {}
        for name in first:
            event = self.sent.get(name)
            if event is None:
                continue
            before = last.get(event.key)
            if before is not None and before.number > event.number:
                yield f"order of {event.key}: {name} first came after number {before.number}"
                return
            last[event.key] = event
