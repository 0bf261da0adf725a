"""No secret leaves the daemon but to its broker: every way in which one is given, every place where it could show."""
import base64
import os
import re
import secrets
import subprocess
import urllib.parse
from pathlib import Path

import clients
from broker import free_port, wait_until
from daemon import TOP, Daemon
from ends import StreamSink, StreamSource, connections
from frame import Skip, check, check_equal, test

ENDPOINT = re.compile(r'X\("GET", "([^"]+)"')
PARTS = {"route": "good", "sink": "good", "seq": "1", "id...": "n1", "number": "1"}


class Marks:
    """Secrets that nothing else looks like. A mark is what a search finds: characters that no encoding changes."""

    def __init__(self):
        self.all, self.leaks = {}, []

    def make(self, name):
        self.all[name] = "S3CR" + secrets.token_hex(8)
        return self.all[name]

    def found(self, data):
        return sorted(name for name, mark in self.all.items() if any(f in data for f in forms(mark.encode())))

    def look(self, data, where):
        """All that is found is told at the end."""
        found = self.found(data if isinstance(data, bytes) else data.encode())
        if found:
            self.leaks.append(f"{where}: {', '.join(found)}")


def forms(mark):
    """As it is, in hexadecimal, and in base64 wherever it may begin in what is encoded."""
    yield mark
    yield mark.hex().encode()
    for before in range(3):
        # The first and the last digits share their bits with neighbours.
        text = base64.b64encode(b"x" * before + mark)
        yield text[4 if before else 0:len(text) // 4 * 4 - 4]


def guarded_connections(t, marks):
    """YAML of connections that all fail to log in, and what they need in the environment."""
    credentials = t.directory / "credentials"
    credentials.mkdir()
    files = {"redis": t.directory / "redis.password", "nats": credentials / "nats"}
    for name, path in files.items():
        path.write_text(marks.make(f"{name}, of a file") + "\n")
        path.chmod(0o600)
    nobody = free_port()
    quoted = urllib.parse.quote(marks.make("rabbitmq, in a URL") + "/:@#", safe="")
    key = t.directory / "client.key"
    subprocess.run(["openssl", "genrsa", "-aes128", "-passout", f"pass:{marks.make('key password, inline')}",
                    "-out", key, "1024"], check=True, capture_output=True)
    return f"""
inline_rabbit: {{ type: rabbitmq, url: "amqp://app:{quoted}@127.0.0.1:{t.world.port("rabbitmq")}/" }}
env_rabbit: {{ type: rabbitmq, url: "${{env:SECRET_URL}}" }}
file_redis: {{ type: redis, url: "redis://127.0.0.1:{t.world.port("redis")}/0", username: nobody, password: "${{file:{files["redis"]}}}" }}
inline_redis: {{ type: redis, url: "redis://x:{marks.make("redis, in a URL")}@127.0.0.1:{t.world.port("redis")}/0" }}
credential_nats: {{ type: nats, url: "nats://127.0.0.1:{t.world.port("nats")}", username: app, password: "${{credential:nats}}" }}
token_nats: {{ type: nats, url: "nats://127.0.0.1:{t.world.port("nats")}", token: "{marks.make("nats token, inline")}" }}
env_kafka: {{ type: kafka, brokers: ["127.0.0.1:{t.world.port("redis")}"], sasl: {{ mechanism: PLAIN, username: app, password: "${{env:SECRET_KAFKA}}" }}, properties: {{ debug: "all" }} }}
oauth_kafka: {{ type: kafka, brokers: ["127.0.0.1:{nobody}"], sasl: {{ mechanism: OAUTHBEARER, token_url: "http://127.0.0.1:{nobody}/token", client_id: me, client_secret: "{marks.make("kafka client secret, inline")}" }} }}
key_kafka: {{ type: kafka, brokers: ["127.0.0.1:{nobody}"], tls: {{ key_password: "{marks.make("kafka key password, inline")}" }}, properties: {{ "sasl.password": "{marks.make("kafka property, inline")}" }} }}
""", {"SECRET_URL": f"amqp://app:{marks.make('rabbitmq, of the environment')}@127.0.0.1:{t.world.port('rabbitmq')}/",
      "SECRET_KAFKA": marks.make("kafka, of the environment"), "CREDENTIALS_DIRECTORY": str(credentials)}


def sinks(text):
    """A sink at each of those connections."""
    kinds = {"rabbitmq": "exchange: x", "redis": "stream: s", "nats": "subject: s", "kafka": "topic: s"}
    for name, kind in re.findall(r"^(\w+): \{ type: (\w+)", text, re.M):
        yield f"{{ name: {name}, connection: {name}, {kinds[kind]} }}"


WRONG = """
{ type: redis, url: "redis://h", pasword: "MARK" }
{ type: redis, url: "redis://h", password: "MARK", password: "MARK" }
{ type: redis, url: "redis://h", x: 1, x: "MARK" }
{ type: redis, url: "redis://h", password: ["MARK"] }
{ type: redis, url: "redis://h", password: { a: "MARK" } }
{ type: redis, url: "redis://x:MARK@h:99999999/0" }
{ type: redis, url: "rediss//x:MARK@h/0" }
{ type: redis, url: "redis://x:MARK/y@h:1/0", port: 7 }
{ type: redis, url: redis://x:MARK,y@h:1/0, port: 7 }
{ type: redis, url: ["redis://x:MARK@h"] }
{ type: redis, url: "redis://h", password: "${nope:MARK}" }
{ type: redis, url: "redis://h", password: "${file:/nowhere}MARK" }
{ type: redis, url: "redis://h", tls: { key_password: "MARK", x: 1 } }
{ type: rabbitmq, url: "amqp://u:MARK@h:x/", heartbeat: never }
{ type: rabbitmq, urls: ["amqp://u:MARK@h", 7, {}], prefetch: 5 }
{ type: nats, url: "nats://MARK@h:y", token: "MARK", nonsense: 1 }
{ type: kafka, brokers: [], sasl: { password: "MARK", mechanism: NO } }
{ type: kafka, brokers: ["h"], properties: { "sasl.pasword": "MARK" } }
{ type: kafka, brokers: ["h"], properties: { "sasl.password": "MARK", "no.such": 1 } }
{ type: redsi, url: "redis://h", key: "MARK" }
{ typ: redis, url: "redis://h", key: "MARK" }
"redis://x:MARK@h"
[ "MARK" ]
"""
UNREADABLE = """
c: { type: redis, url: "redis://h", password: "MARK
c: { type: redis, url: nats://MARK@h:y, token: 'MARK', x: ] }
c: { password: |
"""
BLOCKS = """
type: redis
url: redis://h
password: |
  MARK
  MARK
x: 1
---
type: redis
password:
  - MARK
x: 1
---
type: redis
url: redis://h
password:
  MARK
  bad: : MARK
"""


def broken(text, marks):
    """Configurations with an error on, or beside, a line that holds a secret; what can stand together does."""
    mark = marks.make("on a line with an error")
    wrong = "".join(f"  c{i}: {line}\n" for i, line in enumerate(WRONG.strip().splitlines()))
    yield "wrong values", text.replace("connections:\n", "connections:\n" + wrong.replace("MARK", mark), 1)
    for line in UNREADABLE.strip().splitlines():
        yield line, text.replace("connections:\n", f"connections:\n  {line}\n".replace("MARK", mark), 1)
    for block in BLOCKS.strip().split("---\n"):
        lines = "".join(f"    {line}\n" for line in block.splitlines())
        yield block, text.replace("connections:\n", f"connections:\n  c:\n{lines}".replace("MARK", mark), 1)
    yield "another name", text.replace("connections:\n", f"conections: {{ c: {{ key: {mark} }} }}\nconnections:\n", 1)
    yield "no configuration", mark


def endpoints():
    for path in sorted(set(ENDPOINT.findall((TOP / "bridge/admin/endpoints.h").read_text()))):
        if path.endswith("/tap"):  # it shows events alone, and never ends
            continue
        yield re.sub(r"\{([^}]+)\}", lambda m: PARTS.get(m[1], "1"), path)


def search_answers(d, marks):
    for path in endpoints():
        for query in ("", "?all=true"):
            marks.look(d.http("GET", path + query).read(), f"GET {path}{query}")
    for verb in (["status"], ["status", "--json"], ["check"], ["check", "--json"], ["plan"], ["plan", "--json"],
                 ["reload"], ["version"], ["audit", "ls", "--json"], ["store", "check"], ["schema"]):
        got = d.verb(*verb, check=False)
        marks.look(got.out + got.err, " ".join(verb))


def search_processes(d, marks):
    pid = d.process.pid
    marks.look(Path(f"/proc/{pid}/cmdline").read_bytes(), "its command line")
    for task in Path(f"/proc/{pid}/task").iterdir():
        marks.look((task / "comm").read_bytes(), "the name of a thread")


def search_files(t, d, marks):
    backup, saved = t.directory / "backup.db", t.directory / "saved.db"
    d.verb("store", "backup", backup)
    d.verb("store", "check", "--salvage", saved)
    for path in (*t.directory.glob("bascule.db*"), backup, saved, d.log):
        marks.look(path.read_bytes(), path.name)


@test
def secrets_show_nowhere_whatever_fails(t):
    marks = Marks()
    more, env = guarded_connections(t, marks)
    source, good = StreamSource(t), StreamSink(t, ".good")
    text = f"""
- name: good
  from: {source.yaml()}
  to:
    - {good.yaml("good")}
""" + "".join(f"    - {s}\n" for s in sinks(more)) + """
- name: from_rabbit
  from: { connection: env_rabbit, queue: q }
  to: [ { name: x, connection: file_redis, stream: s } ]
- name: from_nats
  from: { connection: token_nats, subjects: [a] }
  to: [ { name: x, connection: inline_redis, channel: s } ]
- name: from_kafka
  from: { connection: env_kafka, topics: [t], group: g }
  to: [ { name: x, connection: oauth_kafka, topic: t } ]
"""
    d = t.runs(Daemon(t.directory, connections(t.world, "redis") + more, text, log_level="debug"))
    d.config.write_text(d.config.read_text().replace("admin: {", f"admin: {{ http: \"127.0.0.1:{free_port()}\","))
    d.environment = lambda: {**Daemon.environment(d), **env}
    got = d.verb("check", check=False)
    marks.look(got.out + got.err, "check")
    d.start(env)
    heard = good.listen()
    list(source.feed([(f"n{i}", "k", b"body") for i in range(5)]))
    heard.wait_count(5)
    # All that can fail has failed: each has told its error.
    wait_until(lambda: all(s["link"]["error"] for s in d.route("good")["sinks"][1:]), "an error at each sink",
               clients.PATIENCE_SECONDS, d.process)
    for name, wrong in broken(d.config.read_text(), marks):
        d.config.with_suffix(".kept").write_text(d.config.read_text())
        d.config.write_text(wrong)
        for verb in (["check"], ["plan", "--json"], ["reload"]):
            got = d.verb(*verb, check=False)
            check(got.code != 0, f"{verb} took {name}")
            marks.look(got.out + got.err, f"{' '.join(verb)} of {name}")
        d.config.write_text(d.config.with_suffix(".kept").read_text())
    search_answers(d, marks)
    search_processes(d, marks)
    search_files(t, d, marks)
    check_equal(d.stop(), 0, "exit code")
    search_files_at_rest(t, d, marks)
    check(not marks.leaks, "secrets showed:\n  " + "\n  ".join(marks.leaks))


def search_files_at_rest(t, d, marks):
    for path in (*t.directory.glob("bascule.db*"), d.log):
        marks.look(path.read_bytes(), f"{path.name} after the end")
    restored = t.directory / "restored.db"
    d.verb("store", "restore", t.directory / "backup.db", "--to", restored)
    marks.look(restored.read_bytes(), restored.name)


@test
def secrets_that_are_searched_for_would_be_found(t):
    """The search itself: in any place of what is encoded."""
    marks = Marks()
    mark = marks.make("one").encode()
    for before in range(4):
        data = b"x" * before + mark + b"yz"
        for form in (data, data.hex().encode(), base64.b64encode(data)):
            check_equal(marks.found(b"text " + form), ["one"], f"found in {form}")
    check_equal(marks.found(b"S3CR" + secrets.token_hex(8).encode()), [], "found elsewhere")


def memory_of(process):
    """Every byte that can be read."""
    with open(f"/proc/{process.pid}/maps", encoding="ascii") as maps, open(f"/proc/{process.pid}/mem", "rb", 0) as memory:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1].startswith("r") and "[v" not in line:
                memory.seek(first)
                yield memory.read(last - first)


@test
def secrets_of_a_connection_are_wiped_when_it_is_gone(t):
    """Where the protocol is our own. Client libraries free their copies as they are: therefore no core."""
    if os.geteuid() != 0:
        raise Skip("reading the daemon's memory needs root")
    marks = Marks()
    path = t.directory / "password"
    path.write_text(marks.make("of a file"))
    path.chmod(0o600)
    at = f"127.0.0.1:{t.world.port('redis')}/0"
    more = f"""
file: {{ type: redis, url: "redis://{at}", username: nobody, password: "${{file:{path}}}" }}
inline: {{ type: redis, url: "redis://x:{marks.make('in a URL')}@{at}" }}
"""
    source, good = StreamSource(t), StreamSink(t, ".good")
    route = f"- name: good\n  from: {source.yaml()}\n  to:\n    - {good.yaml('good')}\n"
    d = t.runs(Daemon(t.directory, connections(t.world, "redis") + more,
                      route + "".join(f"    - {s}\n" for s in sinks(more))))
    d.start()
    wait_until(lambda: all(s["link"]["error"] for s in d.route("good")["sinks"][1:]), "an error at each sink",
               process=d.process)
    check_equal(marks.found(b"".join(memory_of(d.process))), ["in a URL", "of a file"], "secrets in use")
    d.write(connections(t.world, "redis"), route)
    d.verb("reload")
    check_equal(marks.found(b"".join(memory_of(d.process))), [], "secrets in memory that nothing uses")
