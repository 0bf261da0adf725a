"""Every command of the guide (packaging/doc) is typed, in order, on what the package would have left.

A page's fenced blocks are:
  ```yaml FILE    written to /etc/bascule/FILE
  ```sh           typed once; `sh exit=N` when it must end so
  ```sh again     typed until it ends well and prints what follows
  ```sh host      needs systemd: typed by tests/packages on a booted host
  ```sh service   only `systemctl stop|start bascule`: done to the daemon that plays the service
  ```text         what the block before it must have printed; … stands for anything
/etc/bascule and its like are this test's own directories, and brokers' usual ports on localhost the tests' own."""
import grp
import os
import re
import subprocess
from typing import NamedTuple

from broker import free_port, wait_until
from daemon import PROGRAM, TOP, Daemon
from frame import Failed, Skip, check, check_equal, test, tests_over
from world import port_of

GUIDE = TOP / "packaging" / "doc"
PORTS = {5672: "rabbitmq", 9092: "kafka", 6379: "redis", 4222: "nats"}
PATIENCE_SECONDS = 60
LOADED = {"RABBIT_PASSWORD": "secret"}
KINDS = re.compile(r"yaml [\w./-]+|sh( again| host| service| exit=\d+)?|text")


class Block(NamedTuple):
    kind: str
    text: str
    line: int


def blocks(page):
    """Of the page; what stands outside of them is for people."""
    found, kind, lines, at = [], None, [], 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            if kind is not None:
                lines.append(line)
        elif kind is None:
            kind, lines, at = line[3:].strip(), [], number
        else:
            found.append(Block(kind, "\n".join(lines) + "\n", at))
            kind = None
    check(kind is None, f"{page.name}: a block without an end")
    return found


def pages():
    return sorted(p.name for p in GUIDE.glob("*.md"))


def matches(pattern, text):
    parts = [re.escape(p.strip()) for p in pattern.strip().split("…")]
    return re.search(".*".join(parts), text, re.DOTALL) is not None


class Host:
    """What the page calls the host."""

    def __init__(self, t, page):
        self.t, self.world = t, t.world
        self.etc = t.directory / "etc"
        self.daemon = Daemon(t.directory, "{}", "[]")
        self.places = {"/etc/bascule": str(self.etc), "/var/lib/bascule": str(t.directory), "/var/backups/bascule": str(t.directory / "backups"),
                       "/run/bascule/admin.sock": str(self.daemon.socket)}
        self.places["127.0.0.1:9095"] = f"127.0.0.1:{free_port()}"
        text = page.read_text()
        for port, name in PORTS.items():
            if f"localhost:{port}" in text or f"-p {port}" in text:
                here = self.port(name)
                self.places.update({f"localhost:{port}": f"127.0.0.1:{here}", f"-p {port}": f"-p {here}"})
        self.etc.mkdir()
        (t.directory / "backups").mkdir()
        (self.etc / "routes.d").mkdir()
        self.put("bascule.yaml", (TOP / "packaging/etc/bascule.yaml").read_text())
        self.daemon.config = self.etc / "bascule.yaml"
        self.tools = t.directory / "bin"
        self.tools.mkdir()
        (self.tools / "bascule").symlink_to(PROGRAM)
        self.kafka_tools()

    def port(self, name):
        """Of a broker of its own where one starts at once, so that pages may use the same names."""
        if name not in ("redis", "nats"):
            return self.world.port(name)
        broker = self.world.fresh(name, self.t.directory / name)
        self.t.ends(broker.stop)
        return port_of(broker, name)

    def kafka_tools(self):
        """The scripts that Kafka's own packages bring; its programs are in the tests' copy of it."""
        if "kafka" not in self.world.running:
            return
        if self.world.kafka_is_mock():
            raise Skip("a mock Kafka has no console tools")
        script = self.tools / "kafka-topics.sh"
        java = self.world.kafka.java("org.apache.kafka.tools.TopicCommand")
        script.write_text(f"#!/bin/sh\nexec {' '.join(map(repr, map(str, java)))} \"$@\"\n")
        script.chmod(0o755)

    def moved(self, text):
        for told, here in self.places.items():
            text = text.replace(told, here)
        return text

    def put(self, name, text):
        path = self.etc / name
        group = grp.getgrgid(os.getgid()).gr_name
        path.write_text(self.moved(text).replace("group: bascule }", f"group: {group} }}"))
        path.chmod(0o600)

    def type(self, text):
        env = {**self.daemon.environment(), "PATH": f"{self.tools}:{os.environ['PATH']}", **LOADED}
        return subprocess.run(["bash", "-euo", "pipefail", "-c", self.moved(text)], capture_output=True, text=True,
                              env=env, cwd=self.etc, timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL, check=False)


def served(host, block, where):
    for line in block.text.splitlines():
        if line == "systemctl stop bascule":
            check_equal(host.daemon.stop(), 0, f"{where}: exit code after SIGTERM")
        else:
            check_equal(line, "systemctl start bascule", f"{where}: what is done to the service")
            host.daemon.start(env=LOADED)


def typed(host, block, pattern, where):
    code = int(block.kind.partition("exit=")[2] or 0)
    last = []

    def right():
        r = host.type(block.text)
        last[:] = [r]
        return r.returncode == code and (pattern is None or matches(host.moved(pattern), r.stdout + r.stderr))

    try:
        if block.kind == "sh again":
            wait_until(right, where, PATIENCE_SECONDS, host.daemon.process)
            return
    except Exception as e:
        raise Failed(f"{where}: {e}; exit {last[0].returncode}\n{last[0].stdout}{last[0].stderr}") from None
    if not right():
        raise Failed(f"{where}: exit {last[0].returncode}, not {code}, or not what the page says:\n"
                     f"{last[0].stdout}{last[0].stderr}")


@tests_over(pages(), lambda name: f"guide_{name.removesuffix('.md').lower().replace('-', '_')}")
def guide(t, name):
    page = GUIDE / name
    all_blocks = blocks(page)
    if not all_blocks:
        return
    host = Host(t, page)
    t.logs.append(host.daemon.log)
    t.ends(host.daemon.kill)
    host.daemon.start(env=LOADED)
    for block, after in zip(all_blocks, [*all_blocks[1:], None]):
        where = f"{name}:{block.line}"
        check(KINDS.fullmatch(block.kind), f"{where}: a block of kind '{block.kind}'")
        if block.kind.startswith("yaml "):
            host.put(block.kind[5:], block.text)
        elif block.kind == "sh service":
            served(host, block, where)
        elif block.kind.startswith("sh") and block.kind != "sh host":
            typed(host, block, after.text if after and after.kind == "text" else None, where)
    check_equal(host.daemon.stop(), 0, "exit code after SIGTERM")


@test
def guide_links_lead_somewhere(t):
    for page in GUIDE.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            check((page.parent / target).exists(), f"{page.name}: {target} is not there")
