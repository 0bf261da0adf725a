#!/usr/bin/python3
"""A private Redis: everything it said "ok" to is on disk, so that a killed one comes back with it."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker import Broker, answers, free_port, wait_until  # noqa: E402

PASSWORD = "secret"


class Redis(Broker):
    """ACL users: default (everything, no password), app (everything, with PASSWORD) and limited (only keys
    and channels that start with open). The TLS port asks for no client certificate, but checks one."""
    name = "redis"

    def __init__(self, directory, tls=False):
        super().__init__(directory, tls)
        self.port = free_port()
        self.tls_port = free_port() if tls else 0

    def configure(self):
        d = self.directory
        lines = ["bind 127.0.0.1", f"port {self.port}", f"dir {d}", "daemonize no", "save \"\"",
                 "appendonly yes", "appendfsync always", "databases 16",
                 f"user app on >{PASSWORD} ~* &* +@all",
                 f"user limited on >{PASSWORD} ~open* &open* +@all -@admin"]
        if self.tls:
            c = self.certificates
            lines += [f"tls-port {self.tls_port}", f"tls-cert-file {c}/server.pem",
                      f"tls-key-file {c}/server.key", f"tls-ca-cert-file {c}/ca.pem",
                      "tls-auth-clients optional"]
        (d / "redis.conf").write_text("\n".join(lines) + "\n")

    def start(self):
        # Only once: a test may have the running one rewrite it.
        if not (self.directory / "redis.conf").exists():
            self.configure()
        self.spawn(["redis-server", self.directory / "redis.conf"])
        try:
            wait_until(self.is_ready, "redis", process=self.process)
        except RuntimeError:
            self.kill()  # nobody else would: with-statements only stop what has started
            raise

    def is_ready(self):
        """Connections are accepted before the data is loaded."""
        return answers(self.port) and subprocess.run(
            ["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True,
            check=False).stdout == "PONG\n"

    def env(self):
        ret = {"BASCULE_TEST_REDIS_PORT": str(self.port)}
        if self.tls:
            ret["BASCULE_TEST_REDIS_TLS_PORT"] = str(self.tls_port)
            ret["BASCULE_TEST_REDIS_CERTIFICATES"] = str(self.certificates)
        return ret


if __name__ == "__main__":  # redis_broker.py COMMAND…: runs it beside a broker
    with tempfile.TemporaryDirectory() as directory, Redis(directory, tls=True) as redis:
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **redis.env()}, check=False).returncode)
