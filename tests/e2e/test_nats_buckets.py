"""Key-value buckets as ends of a route."""
import clients
from broker import wait_until
from daemon import Daemon
from ends import StreamSource, connections
from frame import check_equal, test


def rig(t, route, *brokers):
    c = clients.nats_client(t.world.port("nats"))
    t.ends(c.close)
    d = Daemon(t.directory, connections(t.world, "nats", *brokers), route)
    t.logs.append(d.log)
    t.ends(d.kill)
    return c, d


@test
def bucket_is_mirrored_with_its_deletions(t):
    c, d = rig(t, """
- name: mirror
  from: { connection: nats, bucket: from_here, durable: bascule }
  to: [ { name: out, connection: nats, bucket: to_there, bucket_key: "${key}" } ]""")
    c.bucket("from_here", history=5)
    c.bucket("to_there")
    c.kv_put("from_here", "a", b"old")
    c.kv_put("from_here", "a", b"\x00new")
    c.kv_put("from_here", "gone", b"x")
    d.start()
    wait_until(lambda: c.kv_get("to_there", "gone") == b"x", "the value", 60, d.process)
    c.kv_delete("from_here", "gone")
    c.kv_put("from_here", "empty", b"")
    wait_until(lambda: c.kv_get("to_there", "empty") == b"", "the last change", 60, d.process)
    check_equal((c.kv_get("to_there", "a"), c.kv_get("to_there", "gone")), (b"\x00new", None), "values")


@test
def stream_entries_are_put_into_a_bucket_by_key(t):
    source = StreamSource(t)
    c, d = rig(t, f"""
- name: put
  from: {source.yaml()}
  to: [ {{ name: out, connection: nats, bucket: latest, bucket_key: "${{key}}" }} ]""", "redis")
    c.bucket("latest")
    d.start()
    list(source.feed([("1", "k1", b"one"), ("2", "k2", b"two"), ("3", "k1", b"three")]))
    wait_until(lambda: c.kv_get("latest", "k1") == b"three", "the newest value", 60, d.process)
    check_equal(c.kv_get("latest", "k2"), b"two", "the other key's")
