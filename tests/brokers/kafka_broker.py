#!/usr/bin/python3
"""A private Kafka: one KRaft node from Maven Central's jars, kept in a cache outside the tree."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from broker import Broker, answers, free_port, wait_until  # noqa: E402

VERSION = "3.9.1"
DEPENDENCIES = (("org.apache.kafka", "kafka_2.13", VERSION), ("org.apache.kafka", "kafka-tools", VERSION),
                ("org.slf4j", "slf4j-reload4j", "1.7.36"))


def libs():
    """The jars' directory; fetched once."""
    base = os.environ.get("BASCULE_CACHE")
    cache = Path(base or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bascule")
    target = cache / f"kafka-{VERSION}" / "libs"
    done = target.parent / "complete"
    if done.exists():
        return target
    listed = "".join(f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version>"
                     "</dependency>" for g, a, v in DEPENDENCIES)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as d:
        Path(d, "pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>bascule</groupId><artifactId>kafka-test</artifactId><version>1</version>"
            f"<dependencies>{listed}</dependencies></project>")
        subprocess.run(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={target}",
                        "-DincludeScope=runtime"], cwd=d, check=True)
    done.touch()
    return target


class Kafka(Broker):
    name = "kafka"

    def __init__(self, directory, tls=False):
        super().__init__(directory, tls)
        self.port, self.controller = free_port(), free_port()
        self.classpath = f"{libs()}/*"

    def java(self, *args):
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, *args]

    def configure(self):
        properties = self.directory / "server.properties"
        properties.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self.directory}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
""")
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk",
                                 "-c", properties), check=True, stdout=subprocess.DEVNULL)

    def start(self):
        if not (self.directory / "data").exists():
            self.configure()
        self.spawn(self.java("kafka.Kafka", self.directory / "server.properties"))
        try:
            wait_until(lambda: answers(self.port), "kafka", process=self.process)
        except RuntimeError:
            self.kill()  # nobody else would: with-statements only stop what has started
            raise

    def topic(self, name, partitions=1):
        subprocess.run(self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                                 f"127.0.0.1:{self.port}", "--create", "--topic", name, "--partitions",
                                 str(partitions)), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def env(self):
        return {"BASCULE_TEST_KAFKA_PORT": str(self.port)}


if __name__ == "__main__":  # kafka_broker.py COMMAND…: runs it beside a broker
    with tempfile.TemporaryDirectory() as d, Kafka(d) as kafka:
        kafka.topic("bascule-test", 2)
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **kafka.env()}).returncode)
