"""Every way in to a nats-server, from the YAML that a person writes."""
import clients
from broker import wait_until
from daemon import Daemon
from ends import StreamSource, connections
from frame import check, check_equal, test, tests_over
from nats_broker import PASSWORD, TOKEN, Nats
from nats_client import Nats as Client


def login_yaml(server):
    """Each way: what the server is started with, the connection's YAML, how a test client logs in."""
    c = server.directory / "certificates"
    own = {"ca_file": c / "ca.pem", "cert_file": c / "client.pem", "key_file": c / "client.key"}
    tls = ", ".join(f"{k}: {v}" for k, v in own.items())
    return {
        "nobody": ("", {}),
        "user_in_url": ("", {}),
        "user": (f", username: app, password: {PASSWORD}", {}),
        "token": (f", token: {TOKEN}", {"token": TOKEN}),
        "nkey": (f", nkey_seed: {server.keys.seed_file}", {}),
        "creds": (f", creds: {server.keys.creds_file}", {"creds_file": server.keys.creds_file}),
        "tls": (f", tls: {{ ca_file: {own['ca_file']} }}", {"tls": own["ca_file"]}),
        "client_certificate": (f", tls: {{ {tls} }}", {"tls": tuple(own.values())}),
    }


WAYS = {"nobody": {}, "user_in_url": {}, "user": {}, "token": {"auth": "token"}, "nkey": {}, "creds": {"auth": "creds"},
        "tls": {"tls": True, "plain": False},
        "client_certificate": {"tls": True, "plain": False, "verify": True}}


def rig(t, options, more, scheme="nats", login=""):
    """A server and a route from a Redis stream to the stream OUT of it."""
    source = StreamSource(t)
    d = Daemon(t.directory, connections(t.world, "redis") + f"""
own: {{ type: nats, urls: ["{scheme}://{login}localhost:{options.port}"]{more} }}""", f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: own, subject: out, stream: OUT }} ]""")
    t.logs.append(d.log)
    t.ends(d.kill)
    return source, d


@tests_over(sorted(WAYS), lambda way: f"nats_is_entered_by_{way}")
def entered(t, way):
    server = Nats(t.directory / "nats", **WAYS[way])
    t.ends(server.stop)
    server.start()
    yaml, login = login_yaml(server)[way]
    c = Client(server.port, **login)
    t.ends(c.close)
    c.stream("OUT", "out")
    secure = "tls" in WAYS[way]
    source, d = rig(t, server, yaml, "tls" if secure else "nats",
                    f"app:{PASSWORD}@" if way == "user_in_url" else "")
    d.start()
    list(source.feed([("1", "k", b"one")]))
    wait_until(lambda: c.stream_state("OUT")["messages"] == 1, "the message", clients.PATIENCE_SECONDS, d.process)
    peers = [x for x in server.monitor("connz?auth=1")["connections"] if x.get("lang") == "C"]
    check(peers, "the server knows no C client")
    if secure:
        check(peers[0].get("tls_version"), f"not over TLS: {peers[0]}")
    check_equal(d.verb("check", "--connect", check=False).code, 0, "exit code of check --connect")


@test
def nats_that_another_authority_signed_is_not_trusted(t):
    server = Nats(t.directory / "nats", tls=True, plain=False)
    t.ends(server.stop)
    server.start()
    source, d = rig(t, server, f", tls: {{ ca_file: {server.certificates}/other-ca.pem }}", "tls")
    d.start()
    list(source.feed([("1", "k", b"one")]))
    wait_until(lambda: d.route("r")["sinks"][0]["link"]["error"], "an error told", 60, d.process)
    check("certificate" in d.route("r")["sinks"][0]["link"]["error"].lower(),
          f"it says: {d.route('r')['sinks'][0]['link']['error']}")
    check(d.verb("check", "--connect", check=False).code != 0, "check --connect finds nothing")


@test
def wrong_nats_password_is_said_and_not_shown(t):
    server = Nats(t.directory / "nats")
    t.ends(server.stop)
    server.start()
    source, d = rig(t, server, ", username: app, password: wrong-one")
    d.start()
    list(source.feed([("1", "k", b"one")]))
    wait_until(lambda: "uthorization" in d.route("r")["sinks"][0]["link"]["error"], "an error told", 60, d.process)
    check("wrong-one" not in d.text() + d.verb("status", "--json").out, "the password is shown")
    check_equal(d.dead(), [], "dead letters")
