"""NATS and JetStream by hand over a socket, so that tests share no code with the library under test. Debian has
no Python client. One thread at a time uses a client: whatever waits here also answers the server's pings."""
import base64
import json
import socket
import ssl
import time
from collections import namedtuple
from pathlib import Path

import nats_keys

PATIENCE_SECONDS = 60
WINDOW = 500  # publishes without an ack at a time, in publish_all()
VERSION = "NATS/1.0"


class NatsError(Exception):
    """What the server refused; `code` is its number where it has one: 503 no responders, JetStream's err_code."""

    def __init__(self, text, code=0):
        super().__init__(f"{text} ({code})" if code else text)
        self.code = code


class Message(namedtuple("Message", "subject reply headers body status client")):
    """headers: (name, value) pairs of text in their order; status: the number in the header line, 0 if none."""

    def ack(self, what=b"+ACK"):
        """For a message of a consumer. Also b"-NAK", b"+TERM", b"+WPI" (work in progress)."""
        self.client.publish(self.reply, what)

    def header(self, name):
        return next((v for n, v in self.headers if n == name), None)

    def place(self):
        """Stream sequence, delivery count: from the ack subject $JS.ACK.stream.consumer.delivered.sseq.cseq…"""
        t = self.reply.split(".")
        t = t[-7:] if len(t) == 9 else t[-8:-1]  # newer servers name domain, account and a token too
        return int(t[-4]), int(t[-5])


class Nats:
    """A connection. Log in by user and password, token, seed file or creds file; tls: a CA file, or
    (CA, certificate, key)."""

    def __init__(self, port, user=None, password=None, token=None, seed_file=None, creds_file=None, tls=None,
                 name="test"):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.buffer, self.subs, self.errors, self.sid, self.pongs, self.names = b"", {}, [], 0, 0, 0
        self.info = json.loads(self._line()[5:])
        if tls:
            files = (tls,) if isinstance(tls, (str, Path)) else tls
            context = ssl.create_default_context(cafile=str(files[0]))
            if len(files) > 1:
                context.load_cert_chain(*map(str, files[1:]))
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        login = {"user": user, "pass": password, "auth_token": token, **self._signed(seed_file, creds_file)}
        options = {"verbose": False, "pedantic": False, "lang": "test", "version": "1", "protocol": 1,
                   "headers": True, "no_responders": True, "name": name,
                   **{k: v for k, v in login.items() if v}}
        self._send(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.inbox = f"_INBOX.{id(self):x}.{time.monotonic_ns():x}"
        try:
            self.flush()
            self.replies = self.subscribe(self.inbox + ".r.*")
        except (NatsError, OSError):
            self.close()
            raise

    def _signed(self, seed_file, creds_file):
        if creds_file:
            lines = [x for x in Path(creds_file).read_text().splitlines() if x and not x.startswith("-")]
            key, more = nats_keys.from_seed(lines[1]), {"jwt": lines[0]}
        elif seed_file:
            key = nats_keys.from_seed(Path(seed_file).read_text().strip())
            more = {"nkey": key.public}
        else:
            return {}
        return {"sig": nats_keys.base64url(key.sign(self.info["nonce"].encode())), **more}

    def close(self):
        self.socket.close()

    def _name(self, kind=""):
        """A subject that nobody else uses."""
        self.names += 1
        return f"{self.inbox}{kind}.{self.names}"

    # ---- the protocol ----

    def _send(self, data):
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.sendall(data)

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise NatsError("connection closed: " + "; ".join(self.errors or ["no reason given"]))
        self.buffer += data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode()

    def _bytes(self, count):
        while len(self.buffer) < count + 2:
            self._fill()
        data, self.buffer = self.buffer[:count], self.buffer[count + 2:]
        return data

    def _step(self, seconds):
        """Takes one operation of the server; False when none came in time."""
        if b"\r\n" not in self.buffer:
            self.socket.settimeout(max(seconds, 0.0001))
            try:
                self._fill()
            except (socket.timeout, ssl.SSLWantReadError):
                return False
        self.socket.settimeout(PATIENCE_SECONDS)
        if b"\r\n" not in self.buffer:
            return True
        operation, _, rest = self._line().partition(" ")
        {"MSG": self._message, "HMSG": self._with_headers, "PING": self._ping, "PONG": self._pong, "+OK": str,
         "INFO": self._inform, "-ERR": self._error}[operation](rest)
        return True

    def _ping(self, _):
        self._send(b"PONG\r\n")

    def _pong(self, _):
        self.pongs += 1

    def _inform(self, text):
        self.info = json.loads(text)

    def _error(self, text):
        self.errors.append(text.strip("'"))

    def _message(self, line):
        """MSG subject sid [reply] bytes"""
        words = line.split(" ")
        self._arrived(words, words[2:-1], 0, (), self._bytes(int(words[-1])))

    def _with_headers(self, line):
        """HMSG subject sid [reply] header-bytes all-bytes"""
        words = line.split(" ")
        both, size = self._bytes(int(words[-1])), int(words[-2])
        self._arrived(words, words[2:-2], *parse_headers(both[:size]), both[size:])

    def _arrived(self, words, reply, status, headers, body):
        sub = self.subs.get(words[1])
        if sub is not None:
            sub.waiting.append(Message(words[0], reply[0] if reply else None, headers, body, status, self))

    # ---- core NATS ----

    def publish(self, subject, body=b"", headers=(), reply=None):
        """Sent, nothing more is known: flush() says whether the server has read it. headers: pairs or a dict."""
        block = make_headers(headers)
        words = [("HPUB" if block else "PUB"), subject, *([reply] if reply else []),
                 *([str(len(block))] if block else []), str(len(block) + len(body))]
        self._send(" ".join(words).encode() + b"\r\n" + block + body + b"\r\n")

    def flush(self):
        """Returns when the server has read all that was sent; raises what it said against it."""
        want = self.pongs + 1
        self._send(b"PING\r\n")
        end = time.monotonic() + PATIENCE_SECONDS
        while self.pongs < want:
            if not self._step(end - time.monotonic()) and time.monotonic() > end:
                raise NatsError("no PONG")
            if self.errors:
                raise NatsError(self.errors.pop(0))

    def subscribe(self, subject, queue=None):
        """In force when this returns."""
        self.sid += 1
        sub = self.subs[str(self.sid)] = Subscription(self, self.sid)
        self._send(f"SUB {subject} {queue + ' ' if queue else ''}{self.sid}\r\n".encode())
        self.flush()
        return sub

    def request(self, subject, body=b"", headers=(), seconds=PATIENCE_SECONDS):
        """The first answer."""
        reply = self._name(".r")
        self.publish(subject, body, headers, reply)
        while True:
            m = self.replies.next(seconds)
            if m is None:
                raise NatsError(f"no answer from {subject}")
            if m.subject == reply:
                if m.status == 503:
                    raise NatsError(f"no responders at {subject}", 503)
                return m

    # ---- JetStream ----

    def js(self, api, **arguments):
        """A call of its API; raises what it refused."""
        got = json.loads(self.request("$JS.API." + api, json.dumps(arguments).encode() if arguments else b"").body)
        if "error" in got:
            raise NatsError(got["error"].get("description", ""), got["error"].get("err_code", 0))
        return got

    def stream(self, name, *subjects, **config):
        """Makes it (file storage, everything kept)."""
        return self.js(f"STREAM.CREATE.{name}", name=name, **{
            "subjects": list(subjects), "retention": "limits", "storage": "file", "max_consumers": -1,
            "max_msgs": -1, "max_bytes": -1, "max_age": 0, "discard": "old", "num_replicas": 1, **config})

    def stream_update(self, name, **changes):
        """Changes these keys of its configuration; sealed=True closes it for ever."""
        config = self.js(f"STREAM.INFO.{name}")["config"]
        return self.js(f"STREAM.UPDATE.{name}", **{**config, **changes})

    def stream_state(self, name):
        return self.js(f"STREAM.INFO.{name}")["state"]

    def js_publish(self, subject, body=b"", headers=(), message_id=None):
        """The server's ack: stream, seq, and duplicate where it knew the id."""
        pairs = [*pairs_of(headers), *([("Nats-Msg-Id", message_id)] if message_id else [])]
        return self._acked(self.request(subject, body, pairs))

    @staticmethod
    def _acked(message):
        got = json.loads(message.body)
        if "error" in got:
            raise NatsError(got["error"].get("description", ""), got["error"].get("err_code", 0))
        return got

    def publish_all(self, messages):
        """messages: (subject, body, headers). Yields the ack of each, in order, with a window of them under way."""
        messages, sent, taken = list(messages), 0, 0
        prefix = self._name() + "."
        acks, box = {}, self.subscribe(prefix + "*")
        while taken < len(messages):
            while sent < len(messages) and sent - taken < WINDOW:
                subject, body, headers = messages[sent]
                self.publish(subject, body, headers, f"{prefix}{sent}")
                sent += 1
            while taken not in acks:
                m = box.next()
                if m is None:
                    raise NatsError("no ack")
                if m.status == 503:
                    raise NatsError("no stream takes it", 503)
                acks[int(m.subject[len(prefix):])] = self._acked(m)
            yield acks.pop(taken)
            taken += 1
        box.end()

    def consumer(self, stream, durable, **config):
        return self.js(f"CONSUMER.DURABLE.CREATE.{stream}.{durable}", stream_name=stream, config={
            "durable_name": durable, "deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant",
            **config})

    def consumer_info(self, stream, durable):
        return self.js(f"CONSUMER.INFO.{stream}.{durable}")

    def fetch(self, stream, durable, count, seconds=5.0):
        """Up to count messages of a pull consumer, each to be acked."""
        reply = self._name()
        box = self.subscribe(reply)
        self.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", json.dumps(
            {"batch": count, "expires": int(seconds * 1e9)}).encode(), reply=reply)
        got, end = [], time.monotonic() + seconds + 1
        while len(got) < count and time.monotonic() < end:
            m = box.next(end - time.monotonic())
            if m is None or m.status in (404, 408, 409):
                break
            if m.status == 503:
                raise NatsError("no such consumer", 503)
            got.append(m)
        box.end()
        return got

    def stored(self, stream, sequence):
        """The message at this place of the stream."""
        got = self.js(f"STREAM.MSG.GET.{stream}", seq=sequence)["message"]
        headers = parse_headers(base64.b64decode(got["hdrs"]))[1] if "hdrs" in got else ()
        return Message(got["subject"], None, headers, base64.b64decode(got.get("data", "")), 0, self)

    # ---- key-value buckets: streams by convention ----

    def bucket(self, name, history=1):
        return self.stream(f"KV_{name}", f"$KV.{name}.>", max_msgs_per_subject=history, discard="new",
                           allow_rollup_hdrs=True, deny_delete=True, allow_direct=True)

    def kv_put(self, bucket, key, value):
        return self.js_publish(f"$KV.{bucket}.{key}", value)["seq"]

    def kv_delete(self, bucket, key):
        return self.js_publish(f"$KV.{bucket}.{key}", b"", {"KV-Operation": "DEL"})["seq"]

    def kv_get(self, bucket, key):
        """Its newest value; None when it has none or was deleted."""
        try:
            got = self.js(f"STREAM.MSG.GET.KV_{bucket}", last_by_subj=f"$KV.{bucket}.{key}")["message"]
        except NatsError as e:
            if e.code == 10037:
                return None
            raise
        headers = parse_headers(base64.b64decode(got["hdrs"]))[1] if "hdrs" in got else ()
        deleted = dict(headers).get("KV-Operation") in ("DEL", "PURGE")
        return None if deleted else base64.b64decode(got.get("data", ""))


class Subscription:
    def __init__(self, client, sid):
        self.client, self.sid, self.waiting = client, sid, []

    def next(self, seconds=PATIENCE_SECONDS):
        """The next message, None when none came in time."""
        end = time.monotonic() + seconds
        while not self.waiting:
            left = end - time.monotonic()
            if left < 0:
                return None
            self.client._step(left)
        return self.waiting.pop(0)

    def end(self):
        self.client._send(f"UNSUB {self.sid}\r\n".encode())
        self.client.subs.pop(str(self.sid), None)


def pairs_of(headers):
    return list(headers.items() if isinstance(headers, dict) else headers)


def make_headers(headers):
    pairs = pairs_of(headers)
    return (VERSION + "\r\n" + "".join(f"{n}: {v}\r\n" for n, v in pairs) + "\r\n").encode() if pairs else b""


def parse_headers(block):
    """Status and pairs. One blank after the colon is the separator; others belong to the value."""
    first, *lines = block.decode(errors="surrogateescape").split("\r\n")
    words = first[len(VERSION):].split()
    pairs = (line.partition(":") for line in lines if line)
    return (int(words[0]) if words else 0), tuple((n, v.removeprefix(" ")) for n, _, v in pairs)
