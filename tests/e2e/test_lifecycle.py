"""Routes that read the bridge itself: what they hear, in which form, with real brokers behind them."""
import json
import os
import signal

import jsonschema

import clients
from broker import wait_until
from daemon import TOP
from ends import StreamSource
from frame import check, check_equal, test
from test_failures import QUICK, daemon_of

SCHEMA = json.loads((TOP / "schemas/lifecycle.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
KINDS = [k["title"] for k in SCHEMA["$defs"].values() if "title" in k]


def told(listener):
    """What was heard, each found to be of the schema's form."""
    ret = []
    for body in listener.bodies():
        ret.append(json.loads(body))
        VALIDATOR.validate(ret[-1])
    return ret


def of(listener, kind, **members):
    return [b for b in told(listener) if b["type"] == "integration." + kind
            and all(b.get(k, b["details"].get(k)) == v for k, v in members.items())]


def wait_told(listener, kind, **members):
    listener.wait(lambda _: of(listener, kind, **members), f"{kind} {members}")
    return of(listener, kind, **members)[0]


def routes_of(t, source, to, more=""):
    return f"""
- name: lifecycle
  from: {{ internal: "*" }}
  to: [ {to} ]
- name: work
  from: {source.yaml()}
  to: [ {{ name: out, connection: redis, stream: "{t.name}.${{header.kind}}", {more} }} ]
  {QUICK}"""


@test
def lifecycle_events_reach_kafka_with_key_and_headers(t):
    """Dead letters, a pause, reloads: all of the schema's form, in order of their key, once."""
    topic = f"{t.name}.told"
    t.world.topic(topic)
    source = StreamSource(t)
    to = f'{{ name: told, connection: kafka, topic: {topic} }}'
    d = daemon_of(t, routes_of(t, source, to), "redis", "kafka")
    heard = clients.KafkaListener(t.world.port("kafka"), topic)
    t.ends(heard.stop)
    d.start()
    list(source.feed([(f"bad-{i}", "k", b"poison") for i in range(30)]))
    d.wait_dead(30)
    heard.wait(lambda _: sum(b["count"] for b in of(heard, "dead_letter_added")) == 30, "thirty dead letters")
    first = wait_told(heard, "dead_letter_added")
    check_equal((first["route"], first["sink"], first["details"]["event"], first["details"]["reason"]),
                ("work", "out", "work@1", "template"), "the first")
    check(len(of(heard, "dead_letter_added")) < 30, "a storm is folded")
    d.verb("pause", "work/out")
    check("uid" in wait_told(heard, "paused", sink="out")["details"]["by"], "who paused it")
    d.verb("resume", "work/out")
    wait_told(heard, "resumed", sink="out")
    text = d.config.read_text()
    d.config.write_text(text + "nonsense: 1\n")
    check_equal(d.verb("reload", check=False).code, 78, "exit code of a refused reload")
    check("BSC-" in wait_told(heard, "reload_refused")["details"]["summary"], "the first error")
    d.config.write_text(text.replace("max_attempts: 2", "max_attempts: 3"))
    os.kill(d.process.pid, signal.SIGHUP)
    wait_told(heard, "reloaded")
    wait_told(heard, "registered", reason="changed", route="work")
    for m in list(heard.messages):
        body = json.loads(m.body)
        check_equal(m.key, body["route"].encode() if body["route"] else None, "record key")
        check_equal(m.headers["content-type"], "application/json", "content type")
        check_equal(m.id, body["id"], "id")
    check_equal(len({b["id"] for b in told(heard)}), len(told(heard)), "ids")
    check_equal(d.stop(), 0, "exit code")


@test
def lifecycle_events_reach_rabbitmq_by_their_type(t):
    """A cut subscription is a gap, a broker that takes nothing a breaker: told by routing key."""
    own = t.world.fresh("redis", t.directory / "own")
    t.ends(own.stop)
    rabbit = clients.Rabbit(t.world.port("rabbitmq"))
    t.ends(rabbit.close)
    rabbit.exchange(t.name)
    queue = rabbit.queue(f"{t.name}.told")
    rabbit.bind(queue, t.name, "integration.#")
    d = daemon_of(t, f"""
- name: lifecycle
  from: {{ internal: "*", routes: "w*" }}
  to: [ {{ name: told, connection: rabbitmq, exchange: {t.name}, routing_key: "${{address}}" }} ]
- name: work
  from: {{ connection: own, channels: ["in"] }}
  to: [ {{ name: out, connection: own, stream: out }} ]
  breaker: {{ failure_threshold: 1, open_for: 500ms }}
""", "rabbitmq", more=f'own: {{ type: redis, url: "redis://127.0.0.1:{own.port}/0" }}')
    heard = clients.RabbitListener(t.world.port("rabbitmq"), queue)
    t.ends(heard.stop)
    d.start()
    redis = clients.redis_client(own.port)
    t.ends(redis.close)
    wait_until(lambda: redis.pubsub_numsub("in")[0][1] == 1, "the subscription", process=d.process)
    redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    gap = wait_told(heard, "gap_recorded", route="work", connection="own")
    check_equal(gap["details"]["what"], "in", "what may have missed something")
    wait_until(lambda: redis.pubsub_numsub("in")[0][1] == 1, "the subscription again", process=d.process)
    redis.config_set("maxmemory", 1)
    for i in range(10):
        redis.publish("in", f"event {i}")
    opened = wait_told(heard, "circuit_breaker_opened", sink="out", by="failures")
    check("OOM" in opened["details"]["reason"], "the broker's words")
    redis.config_set("maxmemory", 0)
    wait_told(heard, "circuit_breaker_closed", sink="out")
    wait_until(lambda: redis.xlen("out") == 10, "ten events", process=d.process)
    check_equal({b["route"] for b in told(heard)}, {"work"}, "routes")
    check_equal({m.address for m in heard.messages}, {b["type"] for b in told(heard)}, "routing keys")
    check_equal(d.stop(), 0, "exit code")


@test
def lifecycle_schema_knows_what_the_program_tells(t):
    """By name: a kind that only one of them knows is found."""
    for kind in KINDS + ["integration.none"]:
        d = daemon_of(t, f"""
- name: lifecycle
  from: {{ internal: {kind} }}
  to: [ {{ name: told, connection: redis, channel: x }} ]
""", "redis")
        check_equal(d.verb("check", d.config, check=False).code, 78 if kind.endswith(".none") else 0, kind)
