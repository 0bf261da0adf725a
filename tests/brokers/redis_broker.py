"""A private Redis server on a free port, without persistence between starts unless it is asked to."""
import subprocess

from broker import Broker, answers, free_port, wait_until


class Redis(Broker):
    name = "redis"
    user = "redis"

    def __init__(self, directory, tls=False):
        super().__init__(directory, tls)
        self.port = free_port()
        self.tls_port = free_port() if tls else None

    def command(self):
        line = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", self.directory,
                "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"]
        if self.tls:
            c = self.certificates
            line += ["--tls-port", self.tls_port, "--tls-cert-file", c / "server.pem", "--tls-key-file",
                     c / "server.key", "--tls-ca-cert-file", c / "ca.pem", "--tls-auth-clients", "optional"]
        return line

    def start(self):
        self.spawn(self.command())
        wait_until(lambda: answers(self.port) and self.ping(), "redis-server", process=self.process)

    def ping(self):
        reply = subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True,
                               check=False)
        return reply.stdout.strip() == "PONG"

    def env(self):
        env = {"BASCULE_TEST_REDIS_PORT": str(self.port)}
        if self.tls:
            env["BASCULE_TEST_REDIS_TLS_PORT"] = str(self.tls_port)
            env["BASCULE_TEST_CERTIFICATES"] = str(self.certificates)
        return env
