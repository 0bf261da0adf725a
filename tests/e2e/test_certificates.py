"""Certificates near their end are told of, and renewed ones are taken up."""
import re
import subprocess

import clients
from broker import make_certificates, wait_until
from daemon import Daemon
from ends import StreamSource, connections
from frame import check, check_equal, test
from redis_broker import Redis
from test_metrics import metrics_of

DAY = 86400


def openssl(directory, *args):
    return subprocess.run(["openssl", *map(str, args)], cwd=directory, check=True, capture_output=True, text=True).stdout


def sign(directory, name, days):
    """NAME.pem again, for the same key, good for so many days."""
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", days, "-extfile", "ext", "-out", f"{name}.pem")
    (directory / f"{name}.pem").chmod(0o644)


def end_of(path):
    """Seconds of the epoch, as openssl tells them."""
    text = openssl(path.parent, "x509", "-in", path.name, "-noout", "-enddate").strip().split("=", 1)[1]
    return int(subprocess.run(["date", "-d", text, "+%s"], check=True, capture_output=True, text=True).stdout)


def tls_redis(t, server_days):
    own = Redis(t.directory / "own", tls=True)
    t.ends(own.stop)
    sign(own.certificates, "server", server_days)
    own.start()
    return own


def rig(t, own, more=""):
    """A route from the shared Redis to one behind TLS."""
    c = own.certificates
    source = StreamSource(t)
    d = Daemon(t.directory, connections(t.world, "redis") + f"""
own: {{ type: redis, url: "rediss://localhost:{own.tls_port}/0", tls: {{ ca_file: {c}/ca.pem, cert_file: {c}/client.pem, key_file: {c}/client.key }}{more} }}""", f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: own, stream: {t.name} }} ]""")
    return source, t.runs(d)


def gauges(d):
    """{"which": seconds} of the connection `own`."""
    text = d.http("GET", "/metrics").read().decode()
    found = {re.match(r'bascule_certificate_expiry_timestamp_seconds\{connection="own",which="(\w+)"\}', k): v
             for k, v in metrics_of(text).items() if k.startswith("bascule_certificate")}
    return {m[1]: v for m, v in found.items() if m}


@test
def certificate_ends_are_measured_and_warned_of_thirty_days_ahead(t):
    make_certificates(t.directory / "own/certificates")
    own = tls_redis(t, 20)
    c = own.certificates
    sign(c, "client", 200)
    _, d = rig(t, own)
    d.start()
    wait_until(lambda: len(gauges(d)) == 3, "the peer's certificate", 60, d.process)
    check_equal(gauges(d), {"ca_file": end_of(c / "ca.pem"), "cert_file": end_of(c / "client.pem"),
                            "peer": end_of(c / "server.pem")}, "ends")
    told = {x["which"]: (x["days"], x["near"]) for x in d.json("status")["certificates"]}
    check_equal(told, {"ca_file": (3649, False), "cert_file": (199, False), "peer": (19, True)}, "status")
    said = "the broker's own certificate expires in 19 days"
    wait_until(lambda: said in d.text(), "a warning", 60, d.process)
    check("cert_file" not in d.text(), "a warning of a certificate that is good for long")
    check_equal(d.text().count(said), 1, "warnings on one day")


@test
def certificate_that_is_renewed_on_disk_is_taken_up_by_reload(t):
    make_certificates(t.directory / "own/certificates")
    own = tls_redis(t, 400)
    c = own.certificates
    sign(c, "client", 5)
    source, d = rig(t, own)
    d.start()
    list(source.feed([("one", "k", b"1")]))
    admin = clients.redis_client(own.port)
    t.ends(admin.close)
    wait_until(lambda: admin.xlen(t.name) == 1, "the first event", 60, d.process)
    before, old = gauges(d)["cert_file"], {x["id"] for x in admin.client_list() if x["cmd"] == "xadd"}
    check_equal(before, end_of(c / "client.pem"), "end before")
    check("cert_file" in d.text() and "expires in 4 days" in d.text(), "a warning")
    sign(c, "client", 300)
    check_equal(gauges(d)["cert_file"], before, "end of what runs, until the reload")
    changes = d.json("reload")["changes"]
    check(("own", ["(what a file holds that it names)"]) in [(x["name"], x["keys"]) for x in changes], str(changes))
    check_equal(gauges(d)["cert_file"], end_of(c / "client.pem"), "end after")
    list(source.feed([("two", "k", b"2")]))
    wait_until(lambda: admin.xlen(t.name) == 2, "the second event", 60, d.process)
    check(not old & {x["id"] for x in admin.client_list()}, "a connection that shows the old certificate")
