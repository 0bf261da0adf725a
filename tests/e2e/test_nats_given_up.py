"""What a JetStream consumer gives up, from the server's word to a person's retry."""
from broker import wait_until
from frame import check, check_equal, test
from oracle import name_of
from test_nats_faults import Own, delivered, sink_of


@test
def message_that_jetstream_gave_up_is_a_dead_letter_until_a_person_retries_it(t):
    own = Own(t)
    c = own.client
    c.stream("IN", "in.>")
    c.consumer("IN", "bascule", max_deliver=1, ack_wait=int(0.5e9))
    own.put(3)
    given_up = c.fetch("IN", "bascule", 1)[0].body  # by one that never answers
    heard = own.out_of(options=", declare: passive")
    own.d.start()
    heard.wait_count(2)
    row = own.d.wait_dead(1)[0]
    check_equal((row["reason"], row["id"], row["attempts"]), ("source", name_of(given_up), 0), "dead letter")
    check("max_deliver (1)" in row["text"], f"it says: {row['text']}")
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems before")
    check(sink_of(own.d)["balanced"], f"the sum does not hold: {sink_of(own.d)}")
    own.d.kill()
    own.server.kill()  # which forgets that it was acknowledged, and tells of it again
    own.server.start()
    own.d.start()
    own.put(1)
    heard.wait_count(3)
    check_equal(len(own.d.dead()), 1, "dead letters after a restart of both")
    own.d.verb("dlq", "retry", row["number"], "--yes")
    heard.wait_count(4)
    check_equal(heard.bodies()[3], given_up, "the last one")
    wait_until(lambda: delivered(own.d) == 4, "4 deliveries")
    check_equal(own.rest(heard.bodies(), ordered=False), [], "problems")
    check_equal([h for h in heard.messages[3].headers if "refusal" in str(h)], [], "headers of the log in the sink")
    check_equal(own.d.dead(), [], "dead letters at the end")
    check_equal(own.d.rows("gaps", "ls"), [], "gaps")
