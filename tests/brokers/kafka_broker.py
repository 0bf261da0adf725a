#!/usr/bin/python3
"""A private Kafka: one KRaft node from Maven Central's jars, kept in a cache outside the tree."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import kafka
    import kafka.admin
except ImportError:
    kafka = None  # the demo does without

sys.path.insert(0, str(Path(__file__).parent))
from broker import Broker, answers, free_port, wait_until  # noqa: E402
from token_endpoint import SECRET, Endpoint  # noqa: E402

VERSION = "3.9.1"
PASSWORD = "secret"
DEPENDENCIES = (("org.apache.kafka", "kafka_2.13", VERSION), ("org.apache.kafka", "kafka-tools", VERSION),
                ("org.slf4j", "slf4j-reload4j", "1.7.36"))


def libs(dependencies=DEPENDENCIES, name=f"kafka-{VERSION}"):
    """The directory of these jars and what they need; fetched once."""
    base = os.environ.get("BASCULE_CACHE")
    cache = Path(base or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bascule")
    target = cache / name / "libs"
    done = target.parent / "complete"
    if done.exists():
        return target
    listed = "".join(f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version>"
                     "</dependency>" for g, a, v in dependencies)
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
        self.tls_port = free_port() if tls else 0
        self.endpoint = Endpoint(self.certificates) if tls else None
        # A listener that clients are told to find at another port: where a proxy of the test may stand.
        self.proxied_port, self.advertised_port = free_port(), free_port()
        try:
            self.classpath = f"{libs()}/*"
            self.mock = False
        except (OSError, subprocess.CalledProcessError):
            if os.environ.get("BASCULE_REQUIRE_KAFKA") == "1":
                raise
            self.mock = True  # librdkafka's mock cluster: one run, no TLS, nothing kept

    def java(self, *args):
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, *args]

    def secured(self):
        """A listener with TLS where users log in with PLAIN, SCRAM or OAUTHBEARER. Tokens are not signed."""
        pem = self.directory / "server-both.pem"  # Kafka wants key and certificate in one file
        pem.write_text((self.certificates / "server.key").read_text()
                       + (self.certificates / "server.pem").read_text())
        module = "org.apache.kafka.common.security"
        scram = f"{module}.scram.ScramLoginModule required;"
        return f"""sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_app="{PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
  unsecuredLoginStringClaim_sub="broker";
ssl.keystore.type=PEM
ssl.keystore.location={pem}
ssl.truststore.type=PEM
ssl.truststore.location={self.certificates}/ca.pem
ssl.client.auth=requested
"""

    def configure(self):
        # The short session: a killed node waits for the end of its old one when it is back.
        properties = self.directory / "server.properties"
        tls = f",SASL_SSL://127.0.0.1:{self.tls_port}" if self.tls else ""
        properties.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
listeners=PLAINTEXT://127.0.0.1:{self.port}{tls},PROXIED://127.0.0.1:{self.proxied_port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}{tls},PROXIED://127.0.0.1:{self.advertised_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs={self.directory}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
{self.secured() if self.tls else ""}""")
        users = [a for m in ("256", "512") if self.tls
                 for a in ("--add-scram", f"SCRAM-SHA-{m}=[name=app,password={PASSWORD}]")]
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk",
                                 "-c", properties, *users), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def start_mock(self):
        program = Path(os.environ.get("BUILD", Path(__file__).parents[2] / "build")) / "tests/brokers/mock_kafka"
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True)
        self.port = int(self.process.stdout.readline().split(",")[0].rsplit(":", 1)[1])

    def start(self):
        if self.mock:
            self.start_mock()
            return
        if not (self.directory / "data").exists():
            self.configure()
        self.spawn(self.java("kafka.Kafka", self.directory / "server.properties"))
        try:
            wait_until(lambda: answers(self.port), "kafka", process=self.process)
        except RuntimeError:
            self.kill()  # nobody else would: with-statements only stop what has started
            raise

    def topic(self, name, partitions=1):
        if self.mock:
            return  # it makes topics when they are asked for
        if kafka:
            admin = kafka.admin.KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self.port}")
            try:
                admin.create_topics([kafka.admin.NewTopic(name, partitions, 1)])
            finally:
                admin.close()
            return
        # A virtual machine of its own for each topic takes seconds.
        subprocess.run(self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                                 f"127.0.0.1:{self.port}", "--create", "--topic", name, "--partitions",
                                 str(partitions)), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def env(self):
        ret = {"BASCULE_TEST_KAFKA_PORT": str(self.port)}
        if self.tls:
            ret["BASCULE_TEST_KAFKA_TLS_PORT"] = str(self.tls_port)
            ret["BASCULE_TEST_KAFKA_CERTIFICATES"] = str(self.certificates)
            ret["BASCULE_TEST_KAFKA_TOKEN_URL"] = self.endpoint.url
            ret["BASCULE_TEST_KAFKA_TOKEN_SECRET"] = SECRET
        return ret


if __name__ == "__main__":  # kafka_broker.py COMMAND…: runs it beside a broker
    with tempfile.TemporaryDirectory() as d, Kafka(d) as k:
        k.topic("bascule-test", 2)
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **k.env()}).returncode)
