#!/usr/bin/python3
"""A private nats-server with JetStream in a directory of its own. Debian's 2.9 syncs its files every two
minutes and cannot be told otherwise (`sync_interval` came with 2.10): what it acknowledged outlives its own
kill, not the machine's."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker import Broker, answers, free_port, wait_until  # noqa: E402
import nats_keys  # noqa: E402

PASSWORD = TOKEN = "secret"


class Nats(Broker):
    """Who may log in depends on `auth`:
    users: app (everything), anyone (the same, who gives no name is this one), limited (only subjects that start
           with open), deaf (all but what the server itself tells of consumers), nkey (by the seed in nkey.seed),
           all in one account with JetStream; other, in account OTHER;
    token: whoever has TOKEN; creds: who shows user.creds, which the operator's account signed.
    With `tls`, one port takes clients with and without it, with `plain` false only those with it (the C client
    takes no TLS that it need not take); `verify` asks those with it for a certificate."""
    name = "nats"
    user = "nats"

    def __init__(self, directory, tls=False, auth="users", verify=False, max_payload=1 << 20,
                 max_control_line=4096, limits=None, plain=True, jetstream=True):
        super().__init__(directory, tls)
        self.port, self.monitor_port = free_port(), free_port()
        self.auth, self.verify, self.max_payload, self.plain = auth, verify, max_payload, plain
        self.max_control_line = max_control_line
        self.jetstream = jetstream
        self.limits = limits or {}  # of the account: max_file, max_mem, max_streams, max_consumers
        self.revoked = ()           # users that the next configure() leaves out
        self.line = None            # a Proxy in front of it, of who wants one
        self.more = ""              # more lines of configuration
        self.keys = nats_keys.Keys(self.directory)

    def configure(self):
        d = self.directory
        limits = ", ".join(f"{k}: {v}" for k, v in self.limits.items())
        lines = [f"listen: 127.0.0.1:{self.port}", f"http: 127.0.0.1:{self.monitor_port}",
                 f"server_name: bascule{self.port}", f"max_payload: {self.max_payload}", f"max_control_line: {self.max_control_line}",
                 f"jetstream {{ store_dir: {d}, max_mem: 256MB, max_file: 4GB }}" if self.jetstream else "",
                 'lame_duck_duration: "30s"', 'lame_duck_grace_period: "10ms"', "write_deadline: 2s"]
        if self.auth == "users":
            users = {"app": f"{{ user: app, password: {PASSWORD} }}",
                     "anyone": f"{{ user: anyone, password: {PASSWORD} }}",
                     "limited": f"{{ user: limited, password: {PASSWORD}, permissions: {{ "
                                'publish: ["open.>"], subscribe: ["open.>", "_INBOX.>"] } }',
                     "deaf": f"{{ user: deaf, password: {PASSWORD}, permissions: {{ "
                             'subscribe: { deny: ["$JS.EVENT.>"] } } }',
                     "nkey": f"{{ nkey: {self.keys.nkey} }}"}
            kept = "\n    ".join(text for name, text in users.items() if name not in self.revoked)
            lines += ["accounts {", "  MAIN {", f"   jetstream: {{ {limits} }}" if limits else
                      "   jetstream: enabled", f"   users: [\n    {kept}\n   ]", "  }",
                      f"  OTHER {{ jetstream: enabled, users: [ {{ user: other, password: {PASSWORD} }} ] }}",
                      "}", "no_auth_user: anyone"]  # which cannot be reloaded
        elif self.auth == "token":
            lines += [f"authorization {{ token: {TOKEN} }}"]
        elif self.auth == "creds":
            lines += [f"operator: {self.keys.operator_jwt}", f"system_account: {self.keys.system_account}",
                      "resolver: MEMORY", "resolver_preload: {",
                      *(f"  {k}: {v}" for k, v in self.keys.accounts().items()), "}"]
        if self.tls:
            c = self.certificates
            lines += [f"allow_non_tls: {'true' if self.plain else 'false'}", f"tls {{ cert_file: {c}/server.pem, key_file: {c}/server.key, "
                      f"ca_file: {c}/ca.pem, verify: {'true' if self.verify else 'false'} }}"]
        (d / "nats.conf").write_text("\n".join(lines) + "\n" + self.more)

    def start(self):
        self.configure()
        self.spawn(["nats-server", "-c", self.directory / "nats.conf"])
        try:
            wait_until(self.is_ready, "nats", process=self.process)
        except RuntimeError:
            self.kill()  # nobody else would: with-statements only stop what has started
            raise

    def is_ready(self):
        """Connections are accepted before the streams are recovered."""
        return answers(self.port) and self.healthy()

    def healthy(self):
        try:
            return self.monitor("healthz").get("status") == "ok"
        except OSError:
            return False

    def monitor(self, path):
        """What the server says of itself: varz, connz?subs=1, jsz?streams=1&consumers=1 and so on."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/{path}", timeout=10) as answer:
            return json.load(answer)

    def reload(self):
        """Makes the running server read what has been changed in this object."""
        before = self.monitor("varz")["config_load_time"]
        self.configure()
        self.signal(signal.SIGHUP)
        wait_until(lambda: self.monitor("varz")["config_load_time"] != before, "the reload",
                   process=self.process)

    def revoke(self, *users):
        """They (not: anyone) are cut off and refused; without names all are let in again."""
        self.revoked = users
        self.reload()

    def lame_duck(self):
        """It tells its clients to go, and cuts them off over the next 30 s."""
        self.signal(signal.SIGUSR2)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def stop(self):
        self.thaw()
        super().stop()

    def env(self):
        if not self.plain:
            return {"BASCULE_TEST_NATS_TLS_PORT": str(self.port),
                    "BASCULE_TEST_NATS_TLS_SEED": str(self.keys.seed_file),
                    "BASCULE_TEST_NATS_CERTIFICATES": str(self.certificates)}
        ret = {"BASCULE_TEST_NATS_PORT": str(self.port),
               "BASCULE_TEST_NATS_CLIENT": str(Path(__file__).resolve().parent),
               "BASCULE_TEST_NATS_MONITOR_PORT": str(self.monitor_port),
               "BASCULE_TEST_NATS_SEED": str(self.keys.seed_file),
               "BASCULE_TEST_NATS_CREDS": str(self.keys.creds_file)}
        return ret


if __name__ == "__main__":  # nats_broker.py COMMAND…: runs it beside a broker
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        with Nats(directory, tls=True) as nats:
            sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **nats.env()}, check=False).returncode)
