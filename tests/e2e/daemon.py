"""The program under test: a configuration file, the daemon, its command line."""
import base64
import grp
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "brokers"))
from broker import wait_until  # noqa: E402
from oracle import Books, name_of  # noqa: E402

TOP = Path(__file__).resolve().parent.parent.parent
PROGRAM = (TOP / os.environ.get("BUILD", "build") / "bascule").resolve()
START_SECONDS = 60
# How events end that are not delivered.
ENDED = ("dead", "dropped", "filtered", "loop", "diverted")
STOP_SECONDS = 60


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Verb:
    """What a command said."""

    def __init__(self, result):
        self.code, self.out, self.err = result.returncode, result.stdout, result.stderr

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            # Long lists are JSON lines.
            return [json.loads(line) for line in self.out.splitlines()]


class Daemon:
    """One store, one configuration. start(), then stop() (asks) or kill() (does not); start() again
    goes on with the same store."""

    def __init__(self, directory, connections, routes, store="", log_level="info"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config = self.directory / "bascule.yaml"
        self.socket = self.directory / "s"
        self.store = self.directory / "bascule.db"
        self.log = self.directory / "bascule.log"
        self.process = None
        self.sound = True  # a test that damages the store says no
        self.write(connections, routes, store, log_level)

    def write(self, connections, routes, store="", log_level="info"):
        """connections and routes are YAML texts, without their heading; store: more of its keys."""
        group = grp.getgrgid(os.getgid()).gr_name
        self.config.write_text(
            "version: 1\nconnections:\n" + indent(connections)
            + f"store: {{ path: {self.store}{', ' + store if store else ''} }}\n"
            + f"admin: {{ socket: {self.socket}, group: {group} }}\n"
            + f"log: {{ level: {log_level} }}\nroutes:\n" + indent(routes))
        self.config.chmod(0o600)

    def spawn(self, env=None, wrapper=()):
        """wrapper: a command that becomes the daemon (exec)."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*wrapper, PROGRAM, "run", "--config", self.config], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(env or {})}, cwd=self.directory,
                                            start_new_session=True)  # Ctrl-C is for the caller
        return self

    def start(self, env=None, wrapper=()):
        self.spawn(env, wrapper)
        wait_until(self.listens, "bascule's admin socket", START_SECONDS, self.process)
        return self

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.socket))
                return True
            except OSError:
                return False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """SIGTERM. Returns its exit code; kills it after a bound that no drain may reach."""
        if not self.process:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"bascule did not end within {STOP_SECONDS} s of SIGTERM") from None
        self.process = None
        return code

    def verb_command(self, *args):
        return [PROGRAM, *map(str, args)]

    def environment(self):
        return {**os.environ, "BASCULE_SOCKET": str(self.socket), "BASCULE_CONFIG": str(self.config), "NO_COLOR": "1"}

    def verb(self, *args, check=True, env=None, text=True, stdin=subprocess.DEVNULL, **kwargs):
        """bascule ARGS…, told the socket and the configuration by the environment."""
        r = subprocess.run(self.verb_command(*args), capture_output=True, text=text, check=False, stdin=stdin,
                           timeout=120, cwd=self.directory, env={**self.environment(), **(env or {})}, **kwargs)
        if check and r.returncode != 0:
            raise RuntimeError(f"bascule {' '.join(map(str, args))}: exit {r.returncode}\n{r.stdout}{r.stderr}")
        return Verb(r)

    def run_as(self, uid, *command):
        """Another program, as a user of that number without groups; returns what it said as bytes."""
        return subprocess.run([str(c) for c in command], capture_output=True, check=False, user=uid, group=uid,
                              extra_groups=[], timeout=60)

    def json(self, *args):
        return self.verb(*args, "--json").json()

    def rows(self, *args):
        """A list's rows, whether it comes as one object or as JSON lines."""
        got = self.json(*args)
        return got["rows"] if isinstance(got, dict) and "rows" in got else as_list(got)

    def dead(self):
        return self.rows("dlq", "ls")

    def route(self, name):
        """The route's part of `status`."""
        got = self.json("status")
        return next(r for r in got["routes"] if r["name"] == name)

    def books(self, route, sink=None):
        """What the program says of a route's sink (its only one), as the oracle wants it."""
        sinks = self.route(route)["sinks"]
        s = next(s for s in sinks if sink in (None, s["name"]))
        c = s["counts"]
        dropped = sum(v for k, v in c.items() if k.startswith("dropped_"))
        ended = {}
        if c["dead"] or dropped or c["diverted"]:
            for fate in ENDED:
                for row in self.rows("events", "ls", "--route", route, "--sink", s["name"], "--fate", fate, "--bodies",
                                     "--limit", 10_000_000):
                    ended[name_of(body_of(row))] = fate
        return Books(c["accepted"], c["delivered"], c["held"], c["dead"], dropped, c["diverted"], c["reordered"],
                     s["pending"], s["in_flight"], s["balanced"], ended)

    def at_rest(self, route):
        """Nothing pending at any sink of the route."""
        return all(not s["pending"] and not s["in_flight"] for s in self.route(route)["sinks"])

    def problems(self):
        """What no test may leave behind: a sum that does not agree, at any sink; a store that is not sound."""
        if not self.sound:
            return []
        if not self.running():
            if not self.store.exists():
                return []
            got = self.verb("store", "check", "--store", self.store, check=False)
            return [] if got.code == 0 else [f"store check: exit {got.code}: {got.out}{got.err}"]
        sinks = [(r["name"], s) for r in self.json("status")["routes"] for s in r["sinks"]]
        return [f"{route}/{s['name']}: the sum does not agree: {s['counts']}, {s['pending']} pending"
                for route, s in sinks if not s["balanced"] or not balanced(s)]

    def wait_dead(self, count, seconds=120):
        wait_until(lambda: len(self.dead()) >= count, f"{count} dead letters", seconds, self.process)
        return self.dead()

    def http(self, method, path, body=None):
        """The admin socket's answer, without the command line."""
        c = UnixConnection(str(self.socket))
        c.request(method, path, body)
        return c.getresponse()

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def body_of(row):
    """Bytes that are no text come as base64."""
    body = row["body"] or ""
    return base64.b64decode(body["base64"]) if isinstance(body, dict) else body.encode()


def balanced(sink):
    """The conservation sum, done again by hand."""
    c = sink["counts"]
    return c["accepted"] == c["delivered"] + sink["pending"] + c["dead"] + c["diverted"] + sum(
        v for k, v in c.items() if k.startswith("dropped_"))


def as_list(got):
    return got if isinstance(got, list) else [got]


def indent(text):
    return "".join(f"  {line}\n" if line.strip() else "\n" for line in text.strip("\n").splitlines())
