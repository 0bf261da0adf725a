#!/usr/bin/python3
"""What the tests do to RabbitMQ beside Bascule, by python3-pika: one verb a run, JSON where it answers."""
import datetime
import decimal
import json
import os
import sys
import time

import pika


def connect(vhost="/", user="app"):
    port = int(os.environ["BASCULE_TEST_RABBITMQ_PORT"])
    return pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", port, vhost, pika.PlainCredentials(user, "secret"), heartbeat=0))


def body(n):
    return b"message %07d" % n


def feed(ch, place, first, count):
    """Messages FIRST to FIRST+COUNT-1 to the queue."""
    ch.queue_declare(place, durable=True, arguments={"x-queue-type": "classic"})
    ch.confirm_delivery()
    for n in range(int(first), int(first) + int(count)):
        ch.basic_publish("", place, body(n), pika.BasicProperties(
            headers={"n": n, "key": f"k{n % 5}"}, message_id=f"m{n}", delivery_mode=2))


def feed_sizes(ch, queue, *sizes):
    """Messages with bodies of so many bytes."""
    ch.confirm_delivery()
    for n in sizes:
        ch.basic_publish("", queue, b"x" * int(n))


def listen(ch, place):
    """Says "ready" once subscribed to the exchange, reads "WANT FILE", answers with what came."""
    ch.exchange_declare(place, "topic", durable=True)
    queue = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(queue, place, "#")
    print("ready", flush=True)
    want, path = sys.stdin.readline().split()
    got, end = [], time.monotonic() + 60
    for method, _, content in ch.consume(queue, inactivity_timeout=0.2, auto_ack=True):
        if method:
            got.append(content)
        if len(got) >= int(want) and not method or time.monotonic() > end:
            break
    with open(path, "wb") as f:
        f.write(b"".join(g + b"\n" for g in got))
    print(len(got), flush=True)


def declare(ch, queue, arguments="{}", exchange="", key="#"):
    """A new queue, bound to a topic exchange where one is named."""
    ch.queue_delete(queue)
    ch.queue_declare(queue, durable=True, arguments=json.loads(arguments))
    if exchange:
        ch.exchange_declare(exchange, "topic", durable=True)
        ch.queue_bind(queue, exchange, key)


def delete(ch, queue):
    ch.queue_delete(queue)


def delete_exchange(ch, exchange):
    ch.exchange_delete(exchange)


def count(ch, queue):
    print(ch.queue_declare(queue, passive=True).method.message_count)


TYPED = {"bool": True, "int": 7, "long": -2 ** 40, "text": "ü", "bytes": b"\x00\xff", "null": None,
         "decimal": decimal.Decimal("-1.50"), "time": datetime.datetime(2001, 2, 3, 4, 5, 6),
         "list": [1, "a", {"x": [None, 2]}], "table": {"a": {"b": {"c": 1}}},
         "x-custom": "kept", "CC": ["typed-copy"]}


def deep(levels):
    return {"d": deep(levels - 1)} if levels else {"end": 1}


def publish_typed(ch, queue):
    """One message with every property, and headers of every type that pika can write."""
    p = pika.BasicProperties(
        headers={**TYPED, "deep": deep(32)}, content_type="application/json", content_encoding="gzip",
        delivery_mode=2, priority=3, correlation_id="corr", reply_to="back", expiration="600000",
        message_id="the-id", timestamp=1234567890, type="kind", user_id="app", app_id="application")
    ch.basic_publish("", queue, b"\x00typed\xff", p)


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    return str(value)


def get(ch, queue):
    """The oldest message, as JSON; null when there is none."""
    end = time.monotonic() + 30
    method = None
    while method is None and time.monotonic() < end:
        method, properties, content = ch.basic_get(queue, auto_ack=True)
    print(json.dumps({"key": method.routing_key, "body": content.hex(), "length": len(content),
                      "redelivered": method.redelivered, "properties": properties.__dict__},
                     default=plain, sort_keys=True))


def check_typed(ch, queue):
    """The message of publish_typed came over whole."""
    method, p, content = ch.basic_get(queue, auto_ack=True)
    want = {**TYPED, "deep": deep(32)}
    del want["CC"]
    got = dict(p.headers)
    assert got.pop("bascule-hops") == 1
    # pika writes a signed 64-bit integer and reads the same type as unsigned.
    got["long"] -= 2 ** 64
    assert got == want, (got, want)
    assert content == b"\x00typed\xff", content
    have = (p.content_type, p.content_encoding, p.delivery_mode, p.priority, p.correlation_id,
            p.reply_to, p.expiration, p.message_id, p.timestamp, p.type, p.user_id, p.app_id)
    assert have == ("application/json", "gzip", 2, 3, "corr", "back", "600000", "the-id", 1234567890,
                    "kind", "app", "application"), have
    print(method.routing_key)


def main(argv):
    connection = connect()
    globals()[argv[0]](connection.channel(), *argv[1:])
    if connection.is_open:
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
