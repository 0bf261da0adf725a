"""Certificates of a broker that are not right, one after the other on each link, then the right one, then its successor."""
import shutil
import ssl

from broker import make_certificates, wait_until
from ends import KafkaSink, RabbitSink, StreamSink, StreamSource
from faults import Beside, Judged, burnt_nothing, proxy_before
from frame import check_equal, tests_over
from nats_broker import PASSWORD, Nats
from nats_client import Nats as Client
from test_failures import QUICK, daemon_of

EVENTS = 50
SINKS = {"rabbitmq": RabbitSink, "kafka": KafkaSink, "redis": StreamSink}
# Of another authority, of the right one but past its end, and for another name.
WRONG = ("strange", "expired", "elsewhere")


class Proxied:
    """A shared broker behind a proxy that speaks TLS."""
    ADDRESSES = {"rabbitmq": 'url: "amqps://app:secret@127.0.0.1:{port}/"', "kafka": 'brokers: "127.0.0.1:{port}"',
                 "redis": 'url: "rediss://127.0.0.1:{port}/0"'}

    def __init__(self, t, broker, certificates):
        self.certificates, self.tls, self.greeted = certificates, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), 0
        self.tls.sni_callback = self.greet
        self.show("strange")
        self.proxy = proxy_before(t, broker, self.tls)
        self.sink = SINKS[broker](t, ".out")
        self.to, self.address = self.sink.yaml(), self.ADDRESSES[broker].format(port=self.proxy.port)
        self.heard = self.sink.listen()

    def greet(self, *_):
        """Somebody begins a handshake."""
        self.greeted += 1

    def show(self, name):
        key = "strange" if name == "strange" else "server"
        self.tls.load_cert_chain(self.certificates / f"{name}.pem", self.certificates / f"{key}.key")

    def renew(self, name):
        self.show(name)
        self.proxy.reset()

    def has_asked(self):
        """True once who connects has seen this certificate and begun again."""
        before = self.greeted
        return lambda: self.greeted >= before + 2

    def problems(self, fed, d):
        fed.wait(self.heard)
        # What was in flight when a line was cut may come again.
        return fed.rest(d, "r", {"out": self.heard}, duplicates_max=EVENTS)


class OwnNats:
    """Its protocol begins in plain, so the server itself shows them."""

    def __init__(self, t, certificates):
        self.t, self.certificates = t, certificates
        self.server = Nats(t.directory / "nats", tls=True, plain=False)
        t.ends(self.server.stop)
        self.renew("server")
        self.client().stream("OUT", "out")
        self.to = "{ name: out, connection: line, subject: out, stream: OUT }"
        self.address = f'urls: ["tls://app:{PASSWORD}@127.0.0.1:{self.server.port}"]'
        self.renew("strange")

    def client(self):
        c = Client(self.server.port, tls=self.certificates / "ca.pem")
        self.t.ends(c.close)
        return c

    def renew(self, name):
        self.server.stop()
        key = "strange" if name == "strange" else "server"
        shutil.copy(self.certificates / f"{name}.pem", self.server.certificates / "server.pem")
        shutil.copy(self.certificates / f"{key}.key", self.server.certificates / "server.key")
        self.server.start()

    def has_asked(self):
        """The server counts its clients, however far they came, from its start."""
        return lambda: self.server.monitor("varz")["total_connections"] >= 2

    def problems(self, fed, d):
        wait_until(lambda: d.at_rest("r"), "an empty backlog", 120, d.process)
        c = self.client()
        stored = [c.stored("OUT", n).body for n in range(1, c.stream_state("OUT")["last_seq"] + 1)]
        return fed.oracle.problems(stored, books=d.books("r"))


def strange_certificates(t):
    """The usual ones, and strange.pem, which is that of another authority."""
    ours = make_certificates(t.directory / "certificates")
    theirs = make_certificates(t.directory / "theirs")
    for end in ("pem", "key"):
        shutil.copy(theirs / f"server.{end}", ours / f"strange.{end}")
    return ours


def says(text, name):
    """Each library has its own words; librdkafka's are the same for all."""
    return "certificate" in text or (name == "elsewhere" and "mismatch" in text)


def error(d):
    return d.route("r")["sinks"][0]["link"]["error"] or ""


@tests_over([*SINKS, "nats"], lambda b: f"certificate_that_is_not_right_is_refused_until_it_is_{b}")
def not_right(t, broker):
    certificates = strange_certificates(t)
    line = OwnNats(t, certificates) if broker == "nats" else Proxied(t, broker, certificates)
    beside, source = Beside(t), StreamSource(t)
    d = daemon_of(t, f"""
- name: r
  from: {source.yaml()}
  to: [ {line.to.replace(f"connection: {broker}", "connection: line")} ]
  {QUICK}
{beside.yaml()}""", "redis", more=f"line: {{ type: {broker}, {line.address}, "
                                    f"tls: {{ ca_file: {certificates}/ca.pem }} }}\n{beside.link}")
    d.start()
    fed = Judged(source)
    fed.feed(EVENTS)
    for name in WRONG:
        line.renew(name)
        asked = line.has_asked()
        wait_until(lambda a=asked, n=name: a() and says(error(d), n), f"that {name} is refused", 120, d.process)
    check_equal(d.route("r")["sinks"][0]["counts"]["delivered"], 0, "delivered to a broker that cannot be trusted")
    beside.flows()
    line.renew("server")
    check_equal(line.problems(fed, d), [], "problems with the right one")
    line.renew("renewed")
    fed.feed(EVENTS)
    check_equal(line.problems(fed, d), [], "problems with its successor")
    burnt_nothing(t, d, "r")
