#!/usr/bin/python3
"""A bare AMQP 0-9-1 client that writes and reads header tables byte for byte, with the types that no Python
library writes. publish QUEUE COUNT: messages with one table each, the first with every type. check QUEUE COUNT:
they are there with the same tables, and our hop count behind."""
import os
import random
import socket
import struct
import sys

HOPS = b"\x0cbascule-hopsl" + struct.pack(">q", 1)
CONNECTION, CHANNEL, BASIC = 10, 20, 60
HEADERS_ONLY = 1 << 13  # the property flag


class Wire:
    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), 30)
        self.s.sendall(b"AMQP\0\0\x09\x01")
        self.expect(CONNECTION, 10)
        self.method(0, CONNECTION, 11, struct.pack(">I", 0) + short(b"PLAIN") + long(b"\0app\0secret") + short(b"C"))
        channels, frame, _ = struct.unpack(">HIH", self.expect(CONNECTION, 30)[:8])
        self.method(0, CONNECTION, 31, struct.pack(">HIH", channels, frame, 0))
        self.method(0, CONNECTION, 40, short(b"/") + short(b"") + b"\0")
        self.expect(CONNECTION, 41)
        self.method(1, CHANNEL, 10, short(b""))
        self.expect(CHANNEL, 11)

    def frame(self, kind, channel, payload):
        self.s.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    def method(self, channel, kind, number, payload=b""):
        self.frame(1, channel, struct.pack(">HH", kind, number) + payload)

    def read(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            if not more:
                raise RuntimeError("the broker closed the connection")
            got += more
        return got

    def next(self):
        kind, _, n = struct.unpack(">BHI", self.read(7))
        payload = self.read(n)
        assert self.read(1) == b"\xce"
        return kind, payload

    def expect(self, *wanted):
        kind, payload = self.next()
        assert kind == 1 and struct.unpack(">HH", payload[:4]) == wanted, (wanted, kind, payload[:200])
        return payload[4:]

    def publish(self, queue, headers, body):
        self.method(1, BASIC, 40, b"\0\0" + short(b"") + short(queue) + b"\0")
        self.frame(2, 1, struct.pack(">HHQH", BASIC, 0, len(body), HEADERS_ONLY) + long(headers))
        self.frame(3, 1, body)

    def get(self, queue):
        """The oldest message's header table, and its body."""
        self.method(1, BASIC, 70, b"\0\0" + short(queue) + b"\x01")
        self.expect(BASIC, 71)
        _, head = self.next()
        flags, size = struct.unpack(">H", head[12:14])[0], struct.unpack(">Q", head[4:12])[0]
        at = 14
        for bit in (15, 14):  # content type and encoding stand before the headers
            if flags & 1 << bit:
                at += 1 + head[at]
        assert flags & HEADERS_ONLY, "no headers"
        n = struct.unpack(">I", head[at:at + 4])[0]
        body = b""
        while len(body) < size:
            body += self.next()[1]
        return head[at + 4:at + 4 + n], body

    def close(self):
        self.method(0, CONNECTION, 50, struct.pack(">H", 200) + short(b"") + struct.pack(">HH", 0, 0))
        self.expect(CONNECTION, 51)


def short(b):
    return bytes([len(b)]) + b


def long(b):
    return struct.pack(">I", len(b)) + b


def entry(name, value):
    return short(name) + value


def deep(levels, kind):
    """Tables or arrays within each other."""
    value = b"b\xff"
    for _ in range(levels):
        value = kind + long(entry(b"d", value) if kind == b"F" else value)
    return value


SCALARS = (
    b"V", b"t\0", b"t\x01", b"b\x80", b"b\x7f", b"B\0", b"B\xff", b"s\x80\0", b"s\x7f\xff", b"u\xff\xff",
    b"I\x80\0\0\0", b"I\x7f\xff\xff\xff", b"i\xff\xff\xff\xff", b"l\x80" + b"\0" * 7, b"l\x7f" + b"\xff" * 7,
    b"f" + struct.pack(">f", 1.1),  # the broker has no NaN and no infinity
    b"f\0\0\0\x01", b"d" + struct.pack(">d", 0.1), b"d\x80" + b"\0" * 7,
    b"D\0" + struct.pack(">i", 7), b"D\xff" + struct.pack(">i", -2 ** 31), b"D\x02" + struct.pack(">i", -150),
    b"T" + b"\0" * 8, b"T\0\0\0\0\x7f\xff\xff\xff", b"S" + long(b""), b"S" + long("ü\0".encode()),
    b"S" + long(b"\xff\xfe"), b"x" + long(b""), b"x" + long(bytes(range(256))), b"F" + long(b""),
    b"A" + long(b""),
)


def every_type():
    table = b"".join(entry(b"n%d" % i, v) for i, v in enumerate(SCALARS))
    table += entry(b"array", b"A" + long(b"".join(SCALARS)))
    table += entry(b"tables", deep(32, b"F")) + entry(b"arrays", deep(32, b"A"))
    table += entry(b"twice", b"t\0") + entry(b"twice", b"V")
    return table + entry(b"", b"S" + long(b"no name")) + entry(b"n" * 255, b"V")


def some_value(r, depth):
    if depth < 6 and r.random() < 0.3:
        inner = [some_value(r, depth + 1) for _ in range(r.randrange(4))]
        if r.random() < 0.5:
            return b"A" + long(b"".join(inner))
        return b"F" + long(b"".join(entry(b"k%d" % i, v) for i, v in enumerate(inner)))
    return r.choice(SCALARS)


def table_of(n):
    if n == 0:
        return every_type()
    r = random.Random(n)
    return b"".join(entry(b"h%d" % i, some_value(r, 0)) for i in range(1 + r.randrange(12)))


def main(verb, queue, count):
    wire = Wire(int(os.environ["BASCULE_TEST_RABBITMQ_PORT"]))
    for n in range(int(count)):
        if verb == "publish":
            wire.publish(queue.encode(), table_of(n), b"%d" % n)
            continue
        got, body = wire.get(queue.encode())
        assert body == b"%d" % n, (n, body)
        want = table_of(n) + HOPS
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        assert got == want, f"message {n} differs at {at}: {got[at - 20:at + 40]} for {want[at - 20:at + 40]}"
    wire.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
