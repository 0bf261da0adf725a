"""What measurements run on: private brokers, the bare relay, what processes use."""
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = TOP / os.environ.get("BUILD", "build")
sys.path[:0] = [str(TOP / "tests" / "brokers"), str(TOP / "tests" / "e2e")]
from broker import Broker, answers, free_port, wait_until  # noqa: E402

os.environ.setdefault("BASCULE_REQUIRE_KAFKA", "1")  # a mock's rates say nothing
BARE = BUILD / "tests" / "bench" / "bare"
TICK = os.sysconf("SC_CLK_TCK")
MEMORY = Path("/dev/shm")  # for what is measured in bytes: no time is lost over a sync
PATIENCE_SECONDS = 600  # far above what any tool takes: a hang must end


class RedisServer(Broker):
    name = "redis"

    def __init__(self, directory, tls=False):
        super().__init__(directory, tls)
        self.port = free_port()

    def start(self):
        self.spawn(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", self.directory])
        wait_until(lambda: answers(self.port), "redis", process=self.process)


class Brokers:
    """Each started when it is first wanted."""

    def __init__(self, directory):
        self.directory, self.running, self.places = directory, {}, 0

    def get(self, kind):
        kind = "rabbitmq" if kind == "quorum" else kind
        if kind not in self.running:
            if kind == "kafka":
                from kafka_broker import Kafka as make
            elif kind == "rabbitmq":
                from rabbitmq_broker import RabbitBroker as make
            elif kind == "nats":
                from nats_broker import Nats as make
            else:
                make = RedisServer
            broker = make(self.directory / kind, tls=False)
            if kind == "rabbitmq":
                broker.plugins = ("rabbitmq_shovel",)
            self.running[kind] = broker
            broker.start()
        return self.running[kind]

    def port(self, kind):
        return str(self.get(kind).port)

    def place(self, kind):
        """A new topic, stream or queue."""
        self.places += 1
        name = f"bench{self.places}"
        broker = self.get(kind)
        if kind == "kafka":
            broker.topic(name, 1)
        elif kind in ("rabbitmq", "quorum"):
            import pika
            c = pika.BlockingConnection(pika.ConnectionParameters(
                "127.0.0.1", broker.port, credentials=pika.PlainCredentials("app", "secret")))
            arguments = {"x-queue-type": "quorum"} if kind == "quorum" else {}
            c.channel().queue_declare(name, durable=True, arguments=arguments)
            c.channel().queue_bind(name, "amq.direct", name)
            c.close()
        elif kind == "nats":
            self.nats_stream("CREATE", name, {"name": name, "subjects": [name]})
        return name

    def nats_stream(self, verb, name, arguments):
        from nats_client import Nats
        c = Nats(self.get("nats").port)
        c.js(f"STREAM.{verb}.{name}", **arguments)
        c.close()

    def drop(self, kind, place):
        """What was measured gives its room back."""
        if kind == "redis":
            subprocess.run(["redis-cli", "-p", self.port(kind), "unlink", place], check=True,
                           stdout=subprocess.DEVNULL)
        elif kind in ("rabbitmq", "quorum"):
            import pika
            c = pika.BlockingConnection(pika.ConnectionParameters(
                "127.0.0.1", self.get(kind).port, credentials=pika.PlainCredentials("app", "secret")))
            c.channel().queue_delete(place)
            c.close()
        elif kind == "nats":
            self.nats_stream("DELETE", place, {})
        elif kind == "kafka":
            from kafka.admin import KafkaAdminClient
            admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self.port(kind)}")
            try:
                admin.delete_topics([place])
            finally:
                admin.close()

    def stop(self):
        """All of them; one that is wanted again starts afresh."""
        for kind, b in self.running.items():
            try:
                b.stop()
            except (OSError, subprocess.SubprocessError) as e:
                print(f"{kind} was not stopped: {e}", file=sys.stderr)
            shutil.rmtree(b.directory, ignore_errors=True)
        self.running = {}


def said(*command):
    """The first line that a program says of itself; "?" where it is not there."""
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return "?"
    return ((r.stdout or r.stderr).splitlines() or ["?"])[0].strip()


def file_of(path, otherwise="?"):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return otherwise


def disk_of(directory):
    """Device, file system and model of where the stores lie."""
    device, kind = (said("findmnt", "-no", "SOURCE,FSTYPE", "-T", str(directory)).split() + ["?", "?"])[:2]
    name = Path(device).name
    block = next((b for b in (Path("/sys/block", name), *Path("/sys/block").glob("*")) if (b / name).exists()
                  or b.name == name), Path("/sys/block", name))
    return {"device": name, "filesystem": kind, "model": file_of(block / "device" / "model"),
            "gib": int(file_of(block / "size", "0")) // 2097152,
            "rotational": file_of(block / "queue" / "rotational") == "1"}


def describe(directory):
    """The machine, and what takes part, by what each says of itself."""
    from kafka_broker import VERSION
    cpu = next((line.split(":", 1)[1].strip() for line in file_of("/proc/cpuinfo", "").splitlines()
                if line.startswith("model name")), "?")
    libraries = ("rdkafka", "librabbitmq", "hiredis", "libnats", "sqlite3", "libzstd")
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gib": round(int(
                file_of("/proc/meminfo").split()[1]) / 1048576), "kernel": platform.release(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"), "disk": disk_of(directory),
            "load_before": os.getloadavg()[0],
            "bascule": said(str(BUILD / "bascule"), "version").removeprefix("bascule "),
            "commit": said("git", "-C", str(TOP), "describe", "--always", "--dirty"),
            "brokers": {"Kafka": VERSION, "MirrorMaker": VERSION,
                        "Redis": said("redis-server", "--version").partition("v=")[2].partition(" ")[0],
                        "RabbitMQ": said("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"),
                        "NATS": said("nats-server", "--version").rpartition("v")[2],
                        "Java": said("java", "-version").partition('"')[2].partition('"')[0]},
            "libraries": {name: said("pkg-config", "--modversion", name) for name in libraries}}


def client(kind):
    return "rabbitmq" if kind == "quorum" else kind


def run(*command):
    """What a tool prints as JSON, or nothing."""
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    if r.returncode != 0:
        words = " ".join([Path(command[0]).name, *map(str, command[1:])])
        raise RuntimeError(f"{words}: exit {r.returncode}: {r.stderr}")
    return json.loads(r.stdout) if r.stdout else None


def bare(brokers, source, place, sink, out, events):
    return run(BARE, client(source), brokers.port(source), place, client(sink), brokers.port(sink), out, events)


def fill(brokers, kind, place, events):
    run(BARE, "make", 0, "-", client(kind), brokers.port(kind), place, events)


def check(brokers, kind, place, events, keyed=True):
    """Reads all that arrived there: every event that fill() made, once, unchanged, those of a key in their order."""
    got = run(BARE, client(kind), brokers.port(kind), place, "check", "-", "-", events)
    wrong = {k: got[k] for k in ("missing", "repeated", "altered", "reordered") if got[k]}
    if keyed and got["keyed"] != events:
        wrong["without their key"] = events - got["keyed"]
    if wrong:
        raise RuntimeError(f"of {events} events at {kind}: " + ", ".join(f"{n} {what}" for what, n in wrong.items()))


def usage(pid):
    """CPU seconds and peak KiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / TICK, int(status["VmHWM"].split()[0])


def broker_cpu(brokers, *kinds):
    """CPU seconds of the brokers: of all processes of the sessions that they lead."""
    leaders = {brokers.get(k).process.pid for k in {client(k) for k in kinds}}
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[3]) in leaders:
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def resident(pid):
    """KiB now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0])
