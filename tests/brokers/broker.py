"""What every private test broker has: a directory, free ports, a process, certificates, an end."""
import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path


def free_port():
    """A loopback port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, what, seconds=60, process=None):
    """Polls until condition() is true. Fails when the process ends or after a generous bound."""
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: process ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def answers(port, host="127.0.0.1"):
    """Does something accept connections there?"""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def make_certificates(directory):
    """ca.pem, server.pem/.key (CN and SAN localhost, 127.0.0.1), for the same key expired.pem, elsewhere.pem (another
    name) and renewed.pem; client.pem/.key, and other-ca.pem that signed none of them. Made once per directory."""
    d = Path(directory)
    d.mkdir(parents=True, exist_ok=True)
    if (d / "client.pem").exists():
        return d

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=d, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "3650", "-subj", f"/CN=bascule test {ca}", "-keyout", f"{ca}.key",
                "-out", f"{ca}.pem")
    (d / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name, cn in (("server", "localhost"), ("client", "bascule")):
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={cn}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "3650", "-extfile", "ext", "-out", f"{name}.pem")
    (d / "ext-elsewhere").write_text("subjectAltName=DNS:elsewhere.example\n")
    for name, ext in (("elsewhere", "ext-elsewhere"), ("renewed", "ext")):
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "3650", "-extfile", ext, "-out", f"{name}.pem")
    # Only "openssl ca" sets dates that are past, and wants books to be kept.
    (d / "index").touch()
    (d / "ca.conf").write_text("[ca]\ndefault_ca=it\n[it]\ndatabase=index\nserial=ca.srl\nnew_certs_dir=.\n"
                               "default_md=sha256\npolicy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n")
    openssl("ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "server.csr",
            "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extfile", "ext", "-notext",
            "-out", "expired.pem")
    for f in d.iterdir():
        f.chmod(0o644)  # test keys: brokers run as other users
    return d


class Broker:
    """Start with start(), end with stop() (asks) or kill() (does not). start() again keeps ports and
    data. env() is what test programs get: BASCULE_TEST_<NAME>_PORT and so on."""
    name = "broker"
    user = None  # run as this user when we are root and it exists

    def __init__(self, directory, tls=False):
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tls = tls
        self.process = None
        self.log = self.directory / f"{self.name}.log"
        if tls:
            self.certificates = make_certificates(self.directory / "certificates")

    def spawn(self, command, env=None, cwd=None):
        """Starts the foreground server; its output goes to self.log."""
        kwargs = {}
        if self.user and os.geteuid() == 0:
            try:
                account = pwd.getpwnam(self.user)
                subprocess.run(["chown", "-R", self.user, str(self.directory)], check=True)
                kwargs = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            except KeyError:
                pass
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=cwd or self.directory,
                                            env=env, start_new_session=True, **kwargs)
        return self.process

    def signal(self, number):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def stop(self):
        self.signal(signal.SIGTERM)
        self._reap()

    def kill(self):
        self.signal(signal.SIGKILL)
        self._reap()

    def _reap(self):
        if self.process:
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait(30)
            self.process = None

    def start(self):
        raise NotImplementedError

    def env(self):
        raise NotImplementedError

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
