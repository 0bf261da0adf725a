"""The oracle finds each kind of breach, and none in a run that was right."""
from frame import check, check_equal, test
from oracle import Oracle


def told(count=50):
    o = Oracle(1)
    events = o.make(count)
    o.confirmed(name for name, _, _ in events)
    return o, [body for _, _, body in events]


def one(problems, part):
    check(len(problems) == 1 and part in problems[0], f"{problems} should be one about '{part}'")


@test
def oracle_is_content_with_a_right_run(_t):
    o, bodies = told()
    check_equal(o.problems(bodies), [], "problems")


@test
def oracle_sees_a_lost_event_unless_it_is_dead_lettered(_t):
    o, bodies = told()
    del bodies[17]
    one(o.problems(bodies), "lost: ['e-000017']")
    check_equal(o.problems(bodies, dead=["e-000017"]), [], "problems")


@test
def oracle_does_not_miss_what_was_never_confirmed(_t):
    o, bodies = told()
    o.make(3)
    check_equal(o.problems(bodies), [], "problems")


@test
def oracle_sees_an_altered_body(_t):
    o, bodies = told()
    bodies[3] += b"x"
    one(o.problems(bodies), "altered")


@test
def oracle_sees_an_event_that_nobody_sent(_t):
    o, bodies = told()
    one(o.problems([*bodies, b"e-999999 "]), "nobody sent")
    one(o.problems([*bodies, b"\xff\x00"]), "nobody sent")


@test
def oracle_counts_repeats(_t):
    o, bodies = told()
    one(o.problems([*bodies, bodies[4], bodies[5]], duplicates_max=1), "2 repeats")
    check_equal(o.problems([*bodies, bodies[4], bodies[5]], duplicates_max=2), [], "problems")


@test
def oracle_sees_two_events_of_a_key_change_places(_t):
    o, bodies = told()
    key = o.sent["e-000000"].key
    other = next(i for i, s in enumerate(o.sent.values()) if i > 0 and s.key == key)
    bodies[0], bodies[other] = bodies[other], bodies[0]
    one(o.problems(bodies), "order of")
    check_equal(o.problems(bodies, ordered=False), [], "problems")
