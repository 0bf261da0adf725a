"""The oracle finds each kind of breach, and none in a run that was right."""
from frame import check, check_equal, test
from oracle import Books, Journal, Oracle, journal_problems


def told(count=50):
    o = Oracle(1)
    events = o.make(count)
    o.confirmed(name for name, _, _ in events)
    return o, [body for _, _, body in events]


RIGHT = Books(accepted=50, delivered=50, held=0, dead=0, dropped=0, diverted=0, reordered=0, pending=0, in_flight=0,
              balanced=True, ended={})


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


@test
def oracle_allows_no_more_reorders_than_the_program_counted(_t):
    o, bodies = told()
    key = o.sent["e-000000"].key
    check(sum(s.key == key for s in o.sent.values()) > 1, "the key has one event only")
    bodies.append(bodies.pop(0))
    one(o.problems(bodies, books=RIGHT), "1 reorders, 0 are counted")
    check_equal(o.problems(bodies, books=RIGHT._replace(reordered=1)), [], "problems")


@test
def oracle_wants_what_was_not_delivered_to_be_shown(_t):
    o, bodies = told()
    del bodies[17]
    dropped = RIGHT._replace(delivered=49, dropped=1)
    one(o.problems(bodies, books=dropped), "lost: ['e-000017']")
    check_equal(o.problems(bodies, books=dropped._replace(ended={"e-000017": "filtered"})), [], "problems")


@test
def oracle_does_the_programs_sum_again(_t):
    o, bodies = told()
    for books, part in ((RIGHT._replace(balanced=False), "says itself"), (RIGHT._replace(dead=1), "the sum"),
                        (RIGHT._replace(delivered=49, pending=1), "backlog"),
                        (RIGHT._replace(accepted=51, delivered=51), "51 are counted as delivered"),
                        (RIGHT._replace(accepted=49, delivered=49), "49 are in the log"),
                        (RIGHT._replace(ended={"e-000001": "dead"}), "the log shows 1")):
        one(o.problems(bodies, books=books), part)


@test
def oracle_judges_by_the_journals_alone(t):
    o, bodies = told()
    confirmed, arrived = Journal(t.directory / "confirmed"), Journal(t.directory / "arrived")
    for name, sent in o.sent.items():
        confirmed.add(name, sent.body)
    for i, body in enumerate(bodies[:-1]):
        arrived.add(f"e-{i:06d}", body + (b"x" if i == 3 else b""))
    confirmed.close()
    arrived.close()
    got = journal_problems(t.directory / "confirmed", t.directory / "arrived")
    check(len(got) == 2 and "lost: ['e-000049']" in got[0] and "altered: ['e-000003']" in got[1], f"{got}")
    one(journal_problems(t.directory / "confirmed", t.directory / "arrived", ["e-000049"]), "altered")
