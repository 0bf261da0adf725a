"""Who may do what, and what a daemon keeps to itself."""
import os
import signal
import sqlite3

from broker import wait_until
from daemon import Daemon
from ends import StreamSink, StreamSource, connections
from frame import Skip, check, check_equal, test

VIEWER, OPERATOR, OTHERS = 4001, 4002, 4003  # no accounts: numbers are enough
OPS = 4100


def guarded(t, roles):
    """A daemon with one route and roles, its directory passable for other users."""
    if os.geteuid() != 0:
        raise Skip("asking as another user needs root")
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = t.runs(Daemon(t.directory, connections(t.world, "redis"), f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml()} ]"""))
    d.config.write_text(d.config.read_text().replace("admin: {", f"admin: {{ roles: {roles},"))
    t.directory.chmod(0o755)
    return d.start()


def flowing_stream(t, count):
    """`count` events from a stream to a stream, and the daemon that carried them."""
    source, sink = StreamSource(t), StreamSink(t, ".out")
    d = t.runs(Daemon(t.directory, connections(t.world, "redis"), f"""
- name: r
  from: {source.yaml()}
  to: [ {sink.yaml("out")} ]"""))
    d.start()
    heard = sink.listen()
    list(source.feed([(f"n{i}", "k", b"body") for i in range(count)]))
    heard.wait_count(count)
    wait_until(lambda: d.at_rest("r"), "all finished")
    return d


def as_user(d, uid, *args, groups=()):
    return d.verb(*args, check=False, user=uid, group=uid, extra_groups=list(groups))


@test
def roles_let_each_user_do_what_is_theirs(t):
    d = guarded(t, f"{{ view: {{ users: [{VIEWER}] }}, operate: {{ groups: [{OPS}] }} }}")
    check_equal(as_user(d, VIEWER, "status").code, 0, "a viewer's status")
    refused = as_user(d, VIEWER, "pause", "r")
    check_equal(refused.code, 77, "exit code of a viewer's pause")
    check("needs the role 'operate'" in refused.err and f"uid {VIEWER}" in refused.err, refused.err)
    check_equal(as_user(d, OPERATOR, "status").code, 77, "exit code without a role")
    check_equal(as_user(d, OPERATOR, "pause", "r", groups=[OPS]).code, 0, "by a supplementary group")
    check(d.route("r")["paused"], "not paused")
    check_equal(as_user(d, OPERATOR, "reload", groups=[OPS]).code, 77, "an operator's reload")
    refused = [r for r in d.rows("audit", "ls") if r["what"] == "refused"]
    check_equal([(r["uid"], r["object"]) for r in refused],
                [(VIEWER, "POST /v1/routes/r/pause"), (OPERATOR, "POST /v1/reload")], "refusals on record")
    # Lists change while it runs; that there are any does not.
    d.config.write_text(d.config.read_text().replace(f"users: [{VIEWER}]", f"users: [{OTHERS}]"))
    check("admin.roles" in d.verb("plan").out, "the plan does not tell of the roles")
    d.verb("reload")
    check_equal(as_user(d, VIEWER, "status").code, 77, "a viewer no more")
    check_equal(as_user(d, OTHERS, "status").code, 0, "a new viewer")
    text = d.config.read_text()
    d.config.write_text(text[:text.index("roles: { view")] + text[text.index("socket:"):])
    refused = d.verb("reload", check=False)
    check(refused.code != 0 and "admin.roles" in refused.err, f"roles went by a reload: {refused.err}")


@test
def daemon_leaves_no_core_and_shows_no_neighbour_its_memory(t):
    """As an unprivileged user: one of the same user is refused its environment and memory."""
    if os.geteuid() != 0:
        raise Skip("becoming another user needs root")
    d = guarded(t, "{}")
    d.stop()
    for path in t.directory.iterdir():
        os.chown(path, OTHERS, OTHERS)
    os.chown(t.directory, OTHERS, OTHERS)
    d.start(wrapper=["setpriv", f"--reuid={OTHERS}", f"--regid={OTHERS}", "--clear-groups"])
    pid = d.process.pid
    check_equal(as_user(d, OTHERS, "status").code, 0, "its own user")
    for name in ("environ", "mem", "maps"):
        r = d.run_as(OTHERS, "cat", f"/proc/{pid}/{name}")
        check(r.returncode != 0 and b"ermission denied" in r.stderr, f"{name} can be read: {r}")
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        check(any(line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in f), "a core may be written")
    d.process.send_signal(signal.SIGABRT)
    code = d.process.wait()
    check_equal(code, -signal.SIGABRT, "end")
    check_equal([p.name for p in t.directory.iterdir() if "core" in p.name], [], "cores")


@test
def backup_is_restored_beside_and_goes_on_where_it_was_made(t):
    """What came after the backup was read from the source again where that still has it; the audit tells of it."""
    d = flowing_stream(t, 20)
    head = d.json("audit", "verify")["head"]
    backup = t.directory / "backup.db"
    d.verb("pause", "r/out")
    d.verb("store", "backup", backup)
    check_equal(d.verb("store", "restore", backup, check=False).code, 65, "a restore over the daemon's store")
    check_equal(d.stop(), 0, "exit code")
    d.store.rename(t.directory / "lost.db")
    restored = d.json("store", "restore", backup)
    check(restored["id"] != restored["was"], f"the same id: {restored}")
    for path in (backup, d.store):
        check_equal(path.stat().st_mode & 0o777, 0o600, f"mode of {path.name}")
    check_equal(d.verb("audit", "verify", "--expect", head).code, 0, "the chain of before, on the file")
    d.start()
    check_equal(d.json("status")["store"]["id"], restored["id"], "the id that runs")
    check(d.route("r")["sinks"][0]["paused"], "the pause was not restored")
    d.verb("resume", "r/out")
    verdict = d.json("audit", "verify", "--expect", head)
    check_equal(verdict["findings"], [], "the chain of before, live")
    check("store_restore" in [r["what"] for r in d.rows("audit", "ls")], "no row of the restore")


@test
def audit_that_was_changed_by_hand_is_found_live_and_in_the_file(t):
    d = flowing_stream(t, 1)
    for _ in range(3):
        d.verb("pause", "r")
        d.verb("resume", "r")
    head = d.json("audit", "verify")["head"]
    check_equal(d.verb("audit", "verify", "--expect", head).code, 0, "as it was written")
    check_equal(d.verb("audit", "verify", "--expect", "0" * 63 + "1", check=False).code, 65, "another head")
    check_equal(d.verb("audit", "verify", "--expect", "abc", check=False).code, 64, "no head")
    check_equal(d.stop(), 0, "exit code")
    with sqlite3.connect(d.store) as c:
        c.execute("UPDATE audit SET uid = 4242 WHERE id = 2")
    c.close()
    for run in ("file", "live"):
        if run == "live":
            d.start()
        got = d.verb("audit", "verify", check=False)
        check_equal(got.code, 65, f"exit code ({run})")
        check("row 2 (resume r by uid 4242) was changed" in got.out, got.out)
