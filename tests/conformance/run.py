#!/usr/bin/python3
"""Starts the brokers, runs the conformance suite on every link, and stops them.
Usage: run.py [-v] [-b BROKER] [PART…]: only tests whose names contain a PART; only brokers named by -b. Without any of
them two halves run side by side, since most of a test is waiting.
Last line: "N passed, N failed, N skipped".

The test program asks for what only a client or the operator of a broker can do by lines on a Unix socket
(BASCULE_TEST_CONTROL), one a connection: "place END NAME", "feed END NAME FIRST COUNT", "listen END NAME",
"subscribers END NAME", "heard FILE" (waits until the listeners have every line of FILE; answers how many they
lack), "cut END", "stop END", "start END". The answer is "ok VALUE" or "error TEXT"."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "brokers")]

from ends import ENDS  # noqa: E402
from halves import side_by_side  # noqa: E402
from kafka_broker import Kafka  # noqa: E402
from nats_broker import Nats  # noqa: E402
from rabbitmq_broker import RabbitBroker  # noqa: E402
from redis_broker import Redis  # noqa: E402

BROKERS = {"rabbitmq": RabbitBroker, "redis": Redis, "kafka": Kafka, "nats": Nats,
           "nats_tls": lambda directory, tls: Nats(directory, tls=tls, plain=False)}


class Control:
    """Answers the test program, one request at a time: it has one test running."""

    def __init__(self, path, brokers):
        self.ends = {name: end(brokers[end.broker]) for name, end in ENDS.items()
                     if end.broker in brokers}
        self.listeners = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.socket.accept()
            with peer:
                # A test that was ended in the middle must not end the others.
                try:
                    line = peer.makefile().readline()
                    try:
                        answer = f"ok {self.answer(*line.split())}"
                    except Exception as e:
                        answer = f"error {type(e).__name__}: {e}".replace("\n", " ")
                    peer.sendall(answer.encode()[:400] + b"\n")
                except OSError:
                    pass

    def answer(self, verb, *rest):
        if verb == "heard":
            return self.heard(*rest)
        end = self.ends[rest[0]]
        if verb == "place":
            self.forget()  # a test that failed may have left some
            return end.place(rest[1]) if hasattr(end, "place") else 0
        if verb == "feed":
            return end.feed(rest[1], int(rest[2]), int(rest[3]))
        if verb == "subscribers":
            return end.subscribers(rest[1]) if hasattr(end, "subscribers") else 1
        if verb == "listen":
            self.listeners.append(end.listen(rest[1]))
            return 0
        return {"cut": end.cut, "stop": end.server.kill, "start": end.server.start}[verb]()

    def heard(self, path):
        wanted = Path(path).read_bytes().splitlines()
        lacks = sum(x.lacks(wanted) for x in self.listeners)
        self.forget()
        return lacks

    def forget(self):
        for x in self.listeners:
            x.close()
        self.listeners = []


def started(root, names):
    """The brokers, started side by side; those that could not be are said and left out."""
    brokers, troubles = {}, {}

    def start(name):
        try:
            b = BROKERS[name](root / name, tls=True)
            brokers[name] = b  # before it runs: one that fails half way is stopped too
            b.start()
        except Exception as e:
            troubles[name] = e
    threads = [threading.Thread(target=start, args=(n,)) for n in names]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return brokers, troubles


def run(arguments):
    names, parts = [], []
    arguments = iter(arguments)
    for a in arguments:
        if a == "-b":
            names.append(next(arguments))
        else:
            parts.append(a)
    root = Path(tempfile.mkdtemp(prefix="bascule-conformance-"))
    root.chmod(0o755)  # brokers run as other users
    brokers, child = {}, None
    try:
        brokers, troubles = started(root, names or list(BROKERS))
        for name, trouble in troubles.items():
            print(f"FAIL {name} did not start: {trouble}")
        if troubles:
            print(f"0 passed, {len(troubles)} failed, 0 skipped")
            return 1
        if getattr(brokers.get("kafka"), "mock", False):
            # It keeps nothing and knows no restart: most behaviours cannot be asked of it.
            print("note: Kafka's link was not tried: Maven Central could not be reached")
            brokers.pop("kafka").kill()
        control = Control(root / "control", brokers)
        if "kafka" in brokers:
            control.ends["kafka"].place("bascule-test")  # of test_kafka.c
        env = {**os.environ, "BASCULE_TEST_CONTROL": str(root / "control")}
        for b in brokers.values():
            env.update(b.env())
        if "nats" in brokers:
            env["BASCULE_TEST_NATS_LINE"] = str(brokers["nats"].line.port)
        sys.stdout.flush()
        child = subprocess.Popen([program(), *parts], env=env)
        return child.wait()
    finally:
        if child and child.poll() is None:
            child.kill()
        for b in brokers.values():
            try:
                b.kill()
            except Exception as e:  # the others must be stopped too
                print(f"note: {b.name} was not stopped: {e}", file=sys.stderr)
        shutil.rmtree(root, ignore_errors=True)


# A test's name begins with its broker's.
HALVES = ((("kafka",), ("kafka",)), (("rabbitmq", "redis", "nats", "nats_tls"), ("rabbitmq", "redis", "nats")))


def run_halves():
    counts = side_by_side([[sys.executable, __file__, *(a for b in brokers for a in ("-b", b)), *parts]
                           for brokers, parts in HALVES])
    for name in in_no_half():
        print(f"FAIL {name} was run by none of the halves, or by two")
        counts[1] += 1
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if counts[1] else 0


def in_no_half():
    names = subprocess.run([program(), "-l"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [n for n in names if sum(any(p in n for p in parts) for _, parts in HALVES) != 1]


def program():
    return f"{os.environ.get('BUILD', 'build')}/tests/conformance.bin"


def end(_number, _frame):
    raise KeyboardInterrupt  # so that brokers are stopped on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(run(sys.argv[1:]) if sys.argv[1:] else run_halves())
