#!/usr/bin/python3
"""The private nats-server and the client by hand: what one client writes, another one or the server's own
monitoring sees. Usage: test_nats.py [unittest options]."""
import signal
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker import wait_until  # noqa: E402
from nats_broker import PASSWORD, TOKEN, Nats  # noqa: E402
from nats_client import Nats as Client, NatsError  # noqa: E402


class Case(unittest.TestCase):
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        Path(cls.directory.name).chmod(0o755)  # the broker runs as another user
        cls.server = Nats(cls.directory.name, **cls.options)
        cls.addClassCleanup(cls.directory.cleanup)
        cls.addClassCleanup(cls.server.stop)
        cls.server.start()

    def client(self, **login):
        c = Client(self.server.port, **login)
        self.addCleanup(c.close)
        return c

    def refused(self, code=0, **login):
        with self.assertRaises(NatsError) as caught:
            self.client(**login)
        return str(caught.exception)


class Core(Case):
    def test_message_with_headers_arrives_as_it_was(self):
        one, two = self.client(), self.client()
        sub = two.subscribe("a.*")
        headers = (("X-One", "1"), ("x-one", " two "), ("X-One", "3"), ("Empty", ""))
        one.publish("a.b", b"x\r\ny\x00", headers, reply="back")
        m = sub.next()
        self.assertEqual((m.subject, m.reply, m.headers, m.body), ("a.b", "back", headers, b"x\r\ny\x00"))

    def test_queue_group_shares_and_plain_ones_get_all(self):
        one, two, three = self.client(), self.client(), self.client()
        shared = [one.subscribe("q", "g"), two.subscribe("q", "g")]
        plain = three.subscribe("q")
        for n in range(50):
            three.publish("q", b"%d" % n)
        three.flush()
        self.assertEqual([plain.next().body for _ in range(50)], [b"%d" % n for n in range(50)])
        one.flush(), two.flush()
        self.assertEqual(sorted(int(m.body) for s in shared for m in s.waiting), list(range(50)))

    def test_request_to_nobody_is_said_to_have_no_responders(self):
        with self.assertRaises(NatsError) as caught:
            self.client().request("nobody", b"")
        self.assertEqual(caught.exception.code, 503)

    def test_body_over_max_payload_closes_the_connection(self):
        c = self.client()
        with self.assertRaises((NatsError, OSError)):  # its -ERR may be lost with the connection
            c.publish("a", bytes(c.info["max_payload"] + 1))
            c.flush()
        self.assertIn("maximum payload exceeded", self.server.log.read_text())

    def test_monitoring_sees_the_subscription(self):
        c = self.client(name="watched")
        c.subscribe("seen.by.monitoring")
        rows = self.server.monitor("connz?subs=1")["connections"]
        self.assertIn("seen.by.monitoring", next(r for r in rows if r.get("name") == "watched")["subscriptions_list"])


class Accounts(Case):
    def test_limited_user_may_not_publish_elsewhere(self):
        c = self.client(user="limited", password=PASSWORD)
        c.publish("open.a")
        c.flush()
        c.publish("closed.a")
        with self.assertRaises(NatsError) as caught:
            c.flush()
        self.assertIn("Permissions Violation", str(caught.exception))

    def test_wrong_password_is_refused(self):
        self.assertIn("Authorization", self.refused(user="app", password="wrong"))

    def test_nkey_logs_in_and_a_wrong_signature_does_not(self):
        self.client(seed_file=self.server.keys.seed_file).flush()
        wrong = Path(self.directory.name) / "wrong.seed"
        wrong.write_text(self.server.keys.account.seed)
        self.assertIn("Authorization", self.refused(seed_file=wrong))

    def test_revoked_user_is_cut_off_and_let_in_again(self):
        c = self.client(user="limited", password=PASSWORD)
        self.server.revoke("limited")
        with self.assertRaises((NatsError, OSError)):
            while True:
                c.flush()
        self.assertIn("Authorization", self.refused(user="limited", password=PASSWORD))
        self.server.revoke()
        self.client(user="limited", password=PASSWORD).flush()


class JetStream(Case):
    options = {"limits": {"max_streams": 20, "max_file": "20MB"}}

    def test_consumer_gets_what_was_acked_and_again_what_it_does_not_ack(self):
        c = self.client()
        c.stream("S", "s.>")
        acks = list(c.publish_all((f"s.{n % 3}", b"%d" % n, {"n": n}) for n in range(1200)))
        self.assertEqual([a["seq"] for a in acks], list(range(1, 1201)))
        c.consumer("S", "d", ack_wait=int(1e9))
        got = c.fetch("S", "d", 10)
        self.assertEqual([m.place() for m in got], [(n, 1) for n in range(1, 11)])
        for m in got[:5]:
            m.ack()
        got[5].ack(b"-NAK")
        places = []
        while (6, 2) not in places:  # whether it comes before what is new is the server's choice
            places.append(c.fetch("S", "d", 1)[0].place())
        self.assertEqual(c.consumer_info("S", "d")["ack_floor"]["stream_seq"], 5)
        self.assertEqual(c.stored("S", 7).headers, (("n", "6"),))

    def test_same_message_id_is_a_duplicate_even_with_another_body(self):
        c = self.client()
        c.stream("D", "d")
        self.assertNotIn("duplicate", c.js_publish("d", b"one", message_id="1"))
        self.assertTrue(c.js_publish("d", b"two", message_id="1")["duplicate"])
        self.assertEqual((c.stored("D", 1).body, c.stream_state("D")["messages"]), (b"one", 1))

    def test_full_and_sealed_and_missing_streams_refuse(self):
        c = self.client()
        c.stream("F", "f", max_msgs=1, discard="new")
        c.js_publish("f", b"one")
        with self.assertRaisesRegex(NatsError, "maximum messages exceeded"):
            c.js_publish("f", b"two")
        c.stream_update("F", sealed=True)
        with self.assertRaises(NatsError):
            c.js_publish("f", b"three")
        with self.assertRaisesRegex(NatsError, "no responders"):
            c.js_publish("nobody.listens", b"")

    def test_account_limit_refuses_a_stream(self):
        with self.assertRaises(NatsError):
            self.client().stream("BIG", "big", max_bytes=1 << 30)

    def test_delivery_limit_is_told_by_an_advisory(self):
        c, watch = self.client(), self.client()
        told = watch.subscribe("$JS.EVENT.ADVISORY.>")
        c.stream("M", "m")
        c.consumer("M", "d", max_deliver=2)
        c.js_publish("m", b"poison")
        for _ in range(2):
            c.fetch("M", "d", 1)[0].ack(b"-NAK")
        self.assertEqual(c.fetch("M", "d", 1, 0.2), [])
        while (m := told.next()) is not None and "MAX_DELIVERIES" not in m.subject:
            pass
        self.assertEqual(m.subject, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.M.d")

    def test_bucket_keeps_the_newest_value_and_forgets_a_deleted_one(self):
        c = self.client()
        c.bucket("B", history=3)
        c.kv_put("B", "k", b"one")
        c.kv_put("B", "k", b"two")
        self.assertEqual(c.kv_get("B", "k"), b"two")
        c.kv_delete("B", "k")
        self.assertIsNone(c.kv_get("B", "k"))
        self.assertIsNone(c.kv_get("B", "other"))


class Faults(Case):
    def test_killed_server_comes_back_with_what_it_acked(self):
        c = self.client()
        c.stream("K", "k")
        list(c.publish_all(("k", b"%d" % n, ()) for n in range(100)))
        self.server.kill()
        self.server.start()
        self.assertEqual(self.client().stream_state("K")["messages"], 100)

    def test_frozen_server_answers_again_when_thawed(self):
        c = self.client()
        self.server.freeze()
        c.socket.settimeout(None)
        c.publish("a", b"x")
        self.server.thaw()
        c.flush()

    def test_lame_duck_is_said_to_clients(self):
        c = self.client()
        self.server.lame_duck()
        def told():
            try:
                c._step(0.05)
            except (NatsError, OSError):
                pass
            return c.info.get("ldm")
        wait_until(told, "lame duck notice")
        self.server.kill()
        self.server.start()


class Tls(Case):
    options = {"tls": True, "verify": True}

    def test_tls_wants_the_certificate_of_our_ca_and_plain_goes_on(self):
        d = self.server.certificates
        self.client(tls=(d / "ca.pem", d / "client.pem", d / "client.key")).flush()
        with self.assertRaises(OSError):
            self.client(tls=d / "other-ca.pem")
        with self.assertRaises((OSError, NatsError)):
            self.client(tls=d / "ca.pem")  # without a certificate of its own
        self.client().flush()


class Token(Case):
    options = {"auth": "token"}

    def test_token_is_asked_for(self):
        self.client(token=TOKEN).flush()
        self.refused(token="wrong")
        self.refused()


class Creds(Case):
    options = {"auth": "creds"}

    def test_creds_file_logs_in_and_has_jetstream(self):
        c = self.client(creds_file=self.server.keys.creds_file)
        c.stream("C", "c")
        self.assertEqual(c.js_publish("c", b"x")["seq"], 1)
        self.refused()


class Payload(Case):
    options = {"max_payload": 1000}

    def test_small_max_payload_is_announced(self):
        self.assertEqual(self.client().info["max_payload"], 1000)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    unittest.main()
