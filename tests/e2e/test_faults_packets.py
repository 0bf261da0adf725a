"""Where loopback is not enough: the daemon in a network namespace of its own, on a line whose packets vanish. A proxy's
black hole still answers who connects; here nobody does, and no error comes from the system either."""
import os
import subprocess
from pathlib import Path

from broker import wait_until
from ends import connection
from faults import END, SOON, Beside, Flow, burnt_nothing, lasts
from frame import Skip, check_equal, tests_over
from proxy import Proxy
from test_pairs import Relay

EVENTS = 300
WINDOW = 20
ENDS = {"rabbitmq": END["rabbitmq"], "redis": END["redis"], "nats": "jetstream"}
NOTICES = {**{b: f"{SOON[b]}, connect_timeout: 2s" for b in ("rabbitmq", "redis")}, "nats": "ping_interval: 1s"}
SYN_SENT = "02"  # proc_pid_net(5), include/net/tcp_states.h
NOBODY = "02:00:00:00:00:01"


def ip(*args):
    got = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if got.returncode != 0:
        raise Skip(f"ip {' '.join(args)}: {got.stderr.strip()}")


class Elsewhere:
    """A namespace that is reached by lines of its own, named by a letter each."""

    def __init__(self, t, *lines):
        self.name = f"bascule{os.getpid()}"
        ip("netns", "add", self.name)
        t.ends(lambda: subprocess.run(["ip", "netns", "del", self.name], check=True))  # the lines go with it
        ip("-n", self.name, "link", "set", "lo", "up")
        self.wrapper = ["ip", "netns", "exec", self.name]
        for number, line in enumerate(lines):
            here, there = self.device(line), f"{line}{os.getpid()}b"
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
            ip("addr", "add", f"{self.host(number, 1)}/30", "dev", here)
            ip("link", "set", here, "up")
            ip("-n", self.name, "addr", "add", f"{self.host(number, 2)}/30", "dev", there)
            ip("-n", self.name, "link", "set", there, "up")
        self.lines = lines

    @staticmethod
    def device(line):
        return f"{line}{os.getpid()}a"

    @staticmethod
    def host(number, end):
        """Addresses that no other run of the tests has."""
        pid = os.getpid()
        return f"10.{200 + pid % 50}.{pid // 50 % 250}.{4 * number + end}"

    def proxy(self, t, line, port):
        """(proxy, its address as the namespace knows it)"""
        host = self.host(self.lines.index(line), 1)
        p = Proxy(port, host=host)
        t.ends(p.end)
        return p, host

    def lose(self, line):
        """All packets, both ways: each end sends to a station that is not there."""
        for place, end in self._ends(line):
            ip(*place, "neigh", "replace", end[0], "lladdr", NOBODY, "nud", "permanent", "dev", end[1])

    def mend(self, line):
        for place, end in self._ends(line):
            ip(*place, "neigh", "del", end[0], "dev", end[1])

    def _ends(self, line):
        number = self.lines.index(line)
        return [((), (self.host(number, 2), self.device(line))),
                (("-n", self.name), (self.host(number, 1), f"{line}{os.getpid()}b"))]


def is_knocking(process, port):
    """Does it wait for the first answer of somebody at that port?"""
    rows = [r.split() for r in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(r[2].endswith(f":{port:04X}") and r[3] == SYN_SENT for r in rows)


@tests_over(ENDS, lambda b: f"network_whose_packets_vanish_is_left_and_knocked_at_{b}")
def packets_vanish(t, broker):
    space = Elsewhere(t, "s", "w")
    proxy, host = space.proxy(t, "s", t.world.port(broker))
    well, well_host = space.proxy(t, "w", t.world.port("redis"))
    beside = Beside(t)
    r = Relay(t, ENDS[broker], ENDS[broker], small=True, more=beside.yaml(), links="\n".join(
        [connection(broker, proxy.port, more=NOTICES[broker]).replace("127.0.0.1", host),
         connection("redis", well.port, "beside").replace("127.0.0.1", well_host)]))
    r.daemon.start(wrapper=space.wrapper)
    r.source.ready()
    flow = Flow(r, EVENTS)
    r.listener.wait_count(EVENTS // 6)
    space.lose("s")
    wait_until(lambda: is_knocking(r.daemon.process, proxy.port), "a new connection being tried", 120, r.daemon.process)
    lasts(r.daemon, beside.flows)
    beside.flows()
    space.mend("s")
    flow.done()
    r.wait()
    burnt_nothing(t, r.daemon, t.name)
    check_equal(r.settled(redelivered=True, duplicates_max=2 * 4 * WINDOW), [], "problems")
