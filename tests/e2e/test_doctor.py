"""bascule doctor: what it finds on a sound installation and on broken ones, and that it changes nothing."""
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import clients
from broker import free_port, make_certificates, wait_until
from daemon import Daemon
from ends import SINKS, StreamSource, connections
from frame import check, check_equal, test
from test_certificates import rig as tls_rig
from test_certificates import sign, tls_redis
from test_faults_host import Clock

RANKS = ["ok", "skip", "warn", "fail"]


def doctor(d, **kwargs):
    """(exit code, findings by check's name)"""
    said = d.verb("doctor", "--json", check=False, **kwargs)
    by = {}
    for f in json.loads(said.out)["findings"]:
        by.setdefault(f["check"], []).append(f)
    return said.code, by


def verdicts(by, name, part=""):
    """Of the check's findings whose subject or text holds the part."""
    found = [f["verdict"] for f in by.get(name, []) if part in f["subject"] + " " + f["text"]]
    check(found, f"no '{name}' of '{part}' in {json.dumps(by.get(name), indent=1)}")
    return found


def check_worst(by, name, want, part=""):
    check_equal(max(verdicts(by, name, part), key=RANKS.index), want, f"'{name}' of '{part}'")


def failed(by):
    return [f for all_of in by.values() for f in all_of if f["verdict"] == "fail"]


def redis_yaml(t, name="redis", login=""):
    return f'{name}: {{ type: redis, url: "redis://{login}127.0.0.1:{t.world.port("redis")}/0" }}\n'


def rig(t, yaml=None, routes=None, store=""):
    """A stream to a stream; not started."""
    source = StreamSource(t)
    d = Daemon(t.directory, yaml or redis_yaml(t), routes or f"""
- name: r
  from: {source.yaml()}
  to: [ {{ name: out, connection: redis, stream: {t.name}.out }} ]""", store)
    return source, t.runs(d)


# ---- sound ones ----

@test
def doctor_finds_nothing_wrong_with_a_sound_relay_and_changes_nothing(t):
    t.world.topic(t.name)
    rabbit, source = SINKS["rabbitmq"](t), StreamSource(t)
    d = t.runs(Daemon(t.directory, connections(t.world, "rabbitmq", "kafka", "redis", "nats"), f"""
- name: r
  from: {source.yaml()}
  to:
    - {{ name: k, connection: kafka, topic: {t.name} }}
    - {{ name: q, connection: rabbitmq, exchange: {rabbit.place}, routing_key: a }}
    - {{ name: n, connection: nats, subject: {t.name} }}"""))
    heard = rabbit.listen()
    d.start()
    list(source.feed([("one", "k", b"x")]))
    heard.wait_count(1)
    wait_until(lambda: d.at_rest("r"), "the event at every sink", 60, d.process)
    before, files = d.json("status")["routes"], sorted(os.listdir(t.directory))
    code, by = doctor(d)
    check_equal((code, failed(by)), (0, []), "exit code and failures")
    for broker in "Kafka 3.9", "NATS 2.", "RabbitMQ 3.", "Redis 7.":
        check_worst(by, "broker", "ok", broker)
    for library in "SQLite 3.", "librdkafka ", "librabbitmq ", "hiredis ", "cnats ":
        check_worst(by, "library", "ok", library)
    for name in ("daemon", "pending reload", "routes at work", "disk sync", "disk space", "store version", "file modes",
                 "open files limit", "memory", "clock steps", "broker's clock", "route's needs"):
        check_worst(by, name, "ok")
    check_equal(sorted(os.listdir(t.directory)), files, "files beside the store")
    check_equal([r["accepted"] for r in d.json("status")["routes"]], [r["accepted"] for r in before], "events")
    check_equal(heard.bodies(), [b"x"], "what the sink heard")
    check("\t" in d.verb("doctor").out, "lines for programs")


@test
def doctor_works_without_a_daemon_and_says_so(t):
    _, d = rig(t)
    code, by = doctor(d)
    check_equal(code, 69, "exit code")
    check_equal([f["check"] for f in failed(by)], ["daemon"], "what failed")
    check("not there yet" in by["store version"][0]["text"], str(by["store version"]))
    check_worst(by, "broker", "ok", "Redis 7")
    check_worst(by, "disk sync", "ok")
    check("pending reload" not in by and "memory" not in by, "told of a daemon that is not there")


# ---- files ----

@test
def doctor_tells_what_is_wrong_with_the_configuration(t):
    _, d = rig(t)
    d.start()
    d.config.write_text(d.config.read_text().replace("stream:", "streem:"))
    code, by = doctor(d)
    check_equal(code, 78, "exit code")
    check_worst(by, "configuration", "fail", "'streem'")
    check_worst(by, "pending reload", "fail", "would be refused")


@test
def doctor_tells_what_a_reload_would_take_up(t):
    secret = t.directory / "secret"
    secret.write_text("one\n")
    secret.chmod(0o600)
    _, d = rig(t, redis_yaml(t) + f'own: {{ type: redis, url: "redis://127.0.0.1:{t.world.port("redis")}/0", '
                                  f'password: "${{file:{secret}}}" }}\n')
    d.start()
    check_worst(doctor(d)[1], "pending reload", "ok")
    secret.write_text("two\n")
    check_worst(doctor(d)[1], "pending reload", "warn", "own")
    d.verb("reload")
    check_worst(doctor(d)[1], "pending reload", "ok")


@test
def doctor_finds_files_that_others_may_change_or_read(t):
    secret, key = t.directory / "secret", t.directory / "key.pem"
    for path in secret, key:
        path.write_text("x\n")
        path.chmod(0o644)
    _, d = rig(t, redis_yaml(t) + f'own: {{ type: redis, url: "rediss://127.0.0.1:1/0", password: "${{file:{secret}}}", '
                                  f'tls: {{ cert_file: {key}, key_file: {key} }} }}\n')
    d.config.chmod(0o666)
    _, by = doctor(d)
    check_worst(by, "file modes", "fail", "everybody may change it (mode 0666)")
    check_worst(by, "file modes", "fail", "key.pem everybody may read it")
    check_worst(by, "file modes", "fail", f"'{secret}' can be read by every user")
    for path in secret, key, d.config:
        path.chmod(0o600)
    check_equal([f for f in failed(doctor(d)[1]) if f["check"] == "file modes"], [], "failures of mended files")


@test
def store_is_for_its_owner_alone_whatever_the_umask(t):
    _, d = rig(t)
    d.start(wrapper=["/bin/sh", "-c", 'umask 000; exec "$@"', "sh"])
    for name in "bascule.db", "bascule.db-wal":
        check_equal(f"{(t.directory / name).stat().st_mode & 0o777:04o}", "0600", f"mode of {name}")
    check_worst(doctor(d)[1], "file modes", "ok", "bascule.db")


@test
def doctor_tells_of_certificates_near_and_past_their_end(t):
    make_certificates(t.directory / "own/certificates")
    own = tls_redis(t, 20)
    c = own.certificates
    shutil.copy(c / "expired.pem", c / "client.pem")
    shutil.copy(c / "client.key", c / "kept.key")
    shutil.copy(c / "server.key", c / "client.key")
    _, d = tls_rig(t, own)
    code, by = doctor(d)
    check_worst(by, "certificates", "fail", "own cert_file ended on 2020-01-02")
    check_worst(by, "certificates", "ok", "own ca_file")
    check_equal(code, 69, "exit code: the daemon comes first")
    shutil.copy(c / "kept.key", c / "client.key")
    sign(c, "client", 300)
    check_worst(doctor(d)[1], "certificates", "warn", "own peer good until")


@test
def doctor_compares_credentials_with_what_the_unit_loaded(t):
    loaded, source, path = t.directory / "unit.service", t.directory / "pw", t.directory / "bin"
    loaded.mkdir()
    path.mkdir()
    for file in loaded / "pw", source:
        file.write_text("secret\n")
        file.chmod(0o600)
    systemctl = path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$5" = unit.service ] && echo "pw:{source}"\n')
    systemctl.chmod(0o755)
    _, d = rig(t, redis_yaml(t) + f'own: {{ type: redis, url: "redis://127.0.0.1:{t.world.port("redis")}/0", '
                                  'password: "${credential:pw}" }\n')
    d.start({"CREDENTIALS_DIRECTORY": str(loaded)})
    env = {"PATH": f"{path}:{os.environ['PATH']}"}
    check_worst(doctor(d, env=env)[1], "credentials", "ok", "is what was loaded")
    source.write_text("another\n")
    said = d.verb("doctor", "--json", check=False, env=env).out
    check("was changed since the unit's start" in said, said)
    check("another" not in said and "secret\\n" not in said, "a secret was shown")


# ---- store and disk ----

@test
def doctor_refuses_a_store_in_memory_and_one_of_a_newer_version(t):
    place = Path("/dev/shm") / t.directory.name
    place.mkdir()
    t.ends(lambda: shutil.rmtree(place))
    _, d = rig(t)
    d.store = place / "bascule.db"
    d.config.write_text(d.config.read_text().replace(str(t.directory / "bascule.db"), str(d.store)))
    d.start()
    code, by = doctor(d)
    check_equal(code, 74, "exit code")
    check_worst(by, "file system", "fail", "tmpfs")
    check_equal(d.stop(), 0, "exit code of the daemon")
    check_worst(doctor(d)[1], "store version", "ok")
    with sqlite3.connect(d.store) as c:
        c.execute("pragma user_version = 99")
    c.close()
    check_worst(doctor(d)[1], "store version", "fail", "schema version 99")
    d.store.write_bytes(b"not a database, but long enough to look like one" * 10)
    check_worst(doctor(d)[1], "store version", "fail", "no store of Bascule's")
    d.sound = False


@test
def doctor_warns_when_the_disk_cannot_hold_max_size(t):
    _, d = rig(t, store="max_size: 500TiB")
    check_worst(doctor(d)[1], "disk space", "warn")


# ---- limits and clocks ----

@test
def doctor_tells_of_limits_that_are_too_small(t):
    _, d = rig(t)
    d.start(wrapper=["prlimit", "--nofile=60:60", "--"])
    code, by = doctor(d)
    check_worst(by, "open files limit", "fail", "60 allowed")
    check_equal(code, 75, "exit code")


@test
def doctor_sees_a_clock_that_was_set_and_a_broker_that_disagrees(t):
    clock = Clock(t)
    _, d = rig(t)
    d.start()
    clock.step(7200)
    _, by = doctor(d, env=clock.env)
    check_worst(by, "clock steps", "fail")
    by_s = float(re.search(r"was set by (\S+) s", by["clock steps"][0]["text"])[1])
    check(abs(by_s - 7200) < 60, f"two hours, not {by_s} s")
    check_worst(by, "broker's clock", "fail", "behind ours")
    clock.step(-30)
    _, by = doctor(d, env=clock.env)
    check_worst(by, "clock steps", "ok")
    check_worst(by, "broker's clock", "warn", "ahead of ours")


# ---- brokers ----

@test
def doctor_tells_which_broker_does_not_answer_or_lets_nobody_in(t):
    _, d = rig(t, redis_yaml(t) + f"""away: {{ type: redis, url: "redis://127.0.0.1:{free_port()}/0" }}
rabbit: {{ type: rabbitmq, url: "amqp://guest:wrong@127.0.0.1:{t.world.port('rabbitmq')}/" }}
nats: {{ type: nats, url: "nats://127.0.0.1:{free_port()}" }}
""")
    d.start()
    code, by = doctor(d)
    check_equal(code, 69, "exit code")
    check_worst(by, "broker", "fail", "away ")
    check_worst(by, "broker", "fail", "ACCESS_REFUSED")
    check_worst(by, "broker", "fail", "nats ")
    check_worst(by, "broker", "ok", "redis Redis 7")


@test
def doctor_tells_what_a_route_lacks_at_its_brokers(t):
    source = StreamSource(t)
    d = t.runs(Daemon(t.directory, connections(t.world, "redis", "rabbitmq", "kafka")
                      + "\n" + redis_yaml(t, "limited", "limited:secret@"), f"""
- name: r
  from: {source.yaml()}
  to:
    - {{ name: forbidden, connection: limited, stream: {t.name} }}
    - {{ name: missing, connection: rabbitmq, exchange: {t.name}.none, routing_key: a }}
    - {{ name: unknown, connection: kafka, topic: {t.name}.none }}
- name: limits
  from: {{ connection: rabbitmq, queue: {t.name}, exchange: amq.topic, binding_keys: [a], arguments: {{ x-delivery-limit: 3 }} }}
  to: [ {{ name: out, connection: redis, stream: {t.name}.out }} ]"""))
    code, by = doctor(d)
    check_equal(code, 69, "exit code")
    check_worst(by, "route's needs", "warn", "the first start makes it")
    check_worst(by, "route's needs", "fail", "r/forbidden")
    check_worst(by, "route's needs", "fail", "r/missing")
    check_worst(by, "route's needs", "fail", "r/unknown")
    check_worst(by, "route's needs", "warn", "delivery limit and no dead-letter exchange")


@test
def doctor_warns_of_a_redis_that_may_evict_streams(t):
    own = t.world.fresh("redis", t.directory / "redis")
    t.ends(own.stop)
    admin = clients.redis_client(own.port)
    t.ends(admin.close)
    _, d = rig(t, redis_yaml(t) + f'own: {{ type: redis, url: "redis://127.0.0.1:{own.port}/0" }}\n', f"""
- name: r
  from: {StreamSource(t).yaml()}
  to: [ {{ name: out, connection: own, stream: {t.name} }} ]""")
    check_worst(doctor(d)[1], "route's needs", "ok", "r/out")
    admin.config_set("maxmemory", "1gb")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    check_worst(doctor(d)[1], "route's needs", "warn", "allkeys-lru")


@test
def doctor_tells_what_waits_for_a_person(t):
    source, d = rig(t, routes=f"""
- name: r
  from: {StreamSource(t).yaml()}
  to: [ {{ name: out, connection: redis, stream: "{t.name}.${{header.kind}}" }} ]""")
    d.start()
    list(source.feed([("bad", "k", b"poison")]))
    d.wait_dead(1)
    check_worst(doctor(d)[1], "routes at work", "warn", "1 dead letters")
    d.verb("pause", "r")
    check_worst(doctor(d)[1], "routes at work", "warn", "r paused by")
