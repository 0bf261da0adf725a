#!/usr/bin/python3
"""A private RabbitMQ: own node, own epmd, loopback only, no management plugin."""
import base64
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker import Broker, answers, free_port, wait_until  # noqa: E402

SBIN = Path("/usr/lib/rabbitmq/bin")
PASSWORD = "secret"


def password_hash(password):
    """As definitions want it: salt and SHA-256, in base64."""
    salt = b"\x01\x02\x03\x04"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class RabbitBroker(Broker):
    """Users: app (everything), limited (may read and write only names starting with open), and
    bascule, who comes with the client certificate's name. vhosts: / and test."""
    name = "rabbitmq"
    user = "rabbitmq"
    plugins = ()  # more than TLS needs

    def __init__(self, directory, tls=True):
        super().__init__(directory, tls)
        self.port, self.epmd_port, self.dist_port = free_port(), free_port(), free_port()
        self.tls_port = free_port() if tls else 0
        self.node = f"bascule{self.port}@localhost"
        self.home = self.directory / "home"
        self.epmd = None
        self.cookie = hashlib.sha256(str(self.directory).encode()).hexdigest()[:20].upper()

    def environment(self):
        d = self.directory
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                "RABBITMQ_NODENAME": self.node, "RABBITMQ_BASE": str(d),
                "RABBITMQ_HOME_DIR": str(self.home), "RABBITMQ_MNESIA_BASE": str(d / "mnesia"),
                "RABBITMQ_LOG_BASE": str(d / "log"), "RABBITMQ_LOGS": "-",
                "RABBITMQ_CONFIG_FILE": str(d / "rabbitmq.conf"),
                "RABBITMQ_CONF_ENV_FILE": str(d / "none"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(d / "enabled_plugins"),
                "RABBITMQ_DIST_PORT": str(self.dist_port),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                    "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
                "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
                "ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def configure(self):
        d = self.directory
        self.home.mkdir(exist_ok=True)
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self.cookie)
            cookie.chmod(0o400)
        plugins = [*(["rabbitmq_auth_mechanism_ssl"] if self.tls else []), *self.plugins]
        (d / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "loopback_users = none",
                 f"load_definitions = {d}/definitions.json", "disk_free_limit.absolute = 1MB",
                 "vm_memory_high_watermark.absolute = 2GB", "log.console.level = warning",
                 "auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = AMQPLAIN"]
        if self.tls:
            c = self.certificates
            lines += [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", "auth_mechanisms.3 = EXTERNAL",
                      f"ssl_options.cacertfile = {c}/ca.pem", f"ssl_options.certfile = {c}/server.pem",
                      f"ssl_options.keyfile = {c}/server.key", "ssl_options.verify = verify_peer",
                      "ssl_options.fail_if_no_peer_cert = false", "ssl_cert_login_from = common_name"]
        (d / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (d / "definitions.json").write_text(json.dumps(self.definitions()))

    @staticmethod
    def definitions():
        def may(user, vhost, pattern):
            return {"user": user, "vhost": vhost, "configure": pattern, "write": pattern,
                    "read": pattern}
        names = ("app", "limited", "bascule")
        return {"users": [{"name": n, "password_hash": password_hash(PASSWORD),
                           "hashing_algorithm": "rabbit_password_hashing_sha256",
                           "tags": "administrator" if n == "app" else ""} for n in names],
                "vhosts": [{"name": "/"}, {"name": "test"}],
                "permissions": [may("app", "/", ".*"), may("app", "test", ".*"),
                                may("bascule", "/", ".*"), may("limited", "/", "^open.*")],
                "queues": [], "exchanges": [], "bindings": []}

    def start(self):
        self.configure()
        env = self.environment()
        if self.epmd is None or self.epmd.poll() is not None:
            epmd = shutil.which("epmd") or sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))[-1]
            self.epmd = subprocess.Popen([str(epmd), "-port", str(self.epmd_port), "-address",
                                          "127.0.0.1"], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True)
            wait_until(lambda: answers(self.epmd_port), "epmd", process=self.epmd)
        process = self.spawn([SBIN / "rabbitmq-server"], env=env)
        port = self.tls_port or self.port  # the last listener to open
        wait_until(lambda: answers(port) and answers(self.port), "rabbitmq", 300, process)

    def ctl(self, *args, check=True):
        account = {}
        if os.geteuid() == 0:
            a = pwd.getpwnam(self.user)
            account = {"user": a.pw_uid, "group": a.pw_gid, "extra_groups": []}
        return subprocess.run([str(SBIN / "rabbitmqctl"), "--silent", *args], env=self.environment(),
                              check=check, cwd=self.directory, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, **account).stdout

    def _end(self, number):
        self.signal(number)
        self._reap()
        restarted = self.directory / "restarted.pid"
        if restarted.exists():  # by a test, through main() below: nobody's child any more
            try:
                os.killpg(int(restarted.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                pass
            restarted.unlink()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def env(self):
        ret = {"BASCULE_TEST_RABBITMQ_PORT": str(self.port),
               "BASCULE_TEST_RABBITMQ_EPMD_PORT": str(self.epmd_port),
               "BASCULE_TEST_RABBITMQ_DIST_PORT": str(self.dist_port),
               "BASCULE_TEST_RABBITMQ_DIR": str(self.directory),
               "BASCULE_TEST_RABBITMQ_PID": str(self.process.pid)}
        if self.tls:
            ret["BASCULE_TEST_RABBITMQ_TLS_PORT"] = str(self.tls_port)
            ret["BASCULE_TEST_RABBITMQ_CERTIFICATES"] = str(self.certificates)
        return ret


def attached():
    """The broker that the environment describes, as another process started it."""
    directory = os.environ["BASCULE_TEST_RABBITMQ_DIR"]
    b = RabbitBroker(directory, tls="BASCULE_TEST_RABBITMQ_TLS_PORT" in os.environ)
    b.port = int(os.environ["BASCULE_TEST_RABBITMQ_PORT"])
    b.epmd_port = int(os.environ["BASCULE_TEST_RABBITMQ_EPMD_PORT"])
    b.dist_port = int(os.environ["BASCULE_TEST_RABBITMQ_DIST_PORT"])
    b.tls_port = int(os.environ.get("BASCULE_TEST_RABBITMQ_TLS_PORT", "0"))
    b.node = f"bascule{b.port}@localhost"
    return b


def main(argv):
    """run DIRECTORY COMMAND…: the command with the broker's environment. stop, start: the broker of
    the environment. Anything else: rabbitmqctl on it."""
    if argv and argv[0] == "run":
        with RabbitBroker(argv[1]) as b:
            return subprocess.run(argv[2:], env={**os.environ, **b.env()}, check=False).returncode
    b = attached()
    pid_file = b.directory / "restarted.pid"
    if argv == ["stop"]:
        pid = int(pid_file.read_text() if pid_file.exists() else os.environ["BASCULE_TEST_RABBITMQ_PID"])
        os.killpg(pid, signal.SIGKILL)
        wait_until(lambda: not answers(b.port), "rabbitmq's end")
    elif argv == ["start"]:
        b.configure()
        b.spawn([SBIN / "rabbitmq-server"], env=b.environment())
        wait_until(lambda: answers(b.tls_port or b.port), "rabbitmq", 120, b.process)
        pid_file.write_text(str(b.process.pid))
    else:
        print(b.ctl(*argv), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
