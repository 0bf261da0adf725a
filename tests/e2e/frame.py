"""How end-to-end tests are found, run and reported: each in its own directory, brokers shared by all."""
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

TESTS = []
LOG_TAIL_LINES = 40
HALVES = ["--even", "--odd"]  # every other test, for two that run side by side


class Skip(Exception):
    """The test cannot run here; the text says why."""


def test(function):
    """Registers a test; its name is what stands after `def`, a sentence about behaviour."""
    TESTS.append((function.__name__, function))
    return function


def tests_over(cases, name):
    """Registers one test for each case; name(case) names it."""
    def register(function):
        for case in cases:
            TESTS.append((name(case), lambda t, case=case: function(t, case)))
        return function
    return register


class Failed(AssertionError):
    """What a check found, for people."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def check_equal(got, want, what):
    check(got == want, f"{what} is {got!r}, not {want!r}")


class Test:
    """What a test is given: its name (fit for queues and topics), a directory, the brokers, and a list
    of things to end when it is over."""

    def __init__(self, name, directory, world):
        self.name, self.directory, self.world = name, directory, world
        self.endings, self.logs, self.daemons = [], [], []

    def runs(self, daemon):
        """It is ended after the test, its log is shown when the test failed, and whatever the test was about,
        the daemon's sums must agree at its end."""
        self.logs.append(daemon.log)
        self.daemons.append(daemon)
        self.ends(daemon.kill)
        return daemon

    def check_daemons(self):
        for d in self.daemons:
            check_equal(d.problems(), [], "the daemon's books at the end")

    def ends(self, call):
        """call() runs when the test is over, last one first."""
        self.endings.append(call)

    def close(self):
        for call in reversed(self.endings):
            try:
                call()
            except Exception:  # one ending must not keep the others from running
                traceback.print_exc(file=sys.stdout)
        self.endings = []

    def print_logs(self):
        for log in self.logs:
            if log.exists():
                lines = log.read_text(errors="replace").splitlines()
                print(f"  -- {log.name}, last {LOG_TAIL_LINES} lines:")
                for line in lines[-LOG_TAIL_LINES:]:
                    print("  | " + line)


def run_one(name, function, number, root, world):
    # Short: a Unix socket's path holds 107 bytes.
    directory = root / f"t{number}"
    directory.mkdir()
    t = Test(name, directory, world)
    try:
        function(t)
        t.check_daemons()
        return "passed"
    except Skip as why:
        print(f"SKIP {name}: {why}")
        return "skipped"
    except Exception as why:
        print(f"FAIL {name}: {str(why)[:600]}")
        traceback.print_exc(file=sys.stdout)
        t.close()
        t.print_logs()
        return "failed"
    finally:
        t.close()
        shutil.rmtree(directory, ignore_errors=True)


def run_all(parts, world_of):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    root = Path(tempfile.mkdtemp(prefix="bascule-e2e-"))
    root.chmod(0o755)  # brokers run as other users
    world = world_of(root)
    verbose = "-v" in parts
    halves = [HALVES.index(p) for p in parts if p in HALVES]
    parts = [p for p in parts if p != "-v" and p not in HALVES]
    try:
        for number, (name, function) in enumerate(TESTS):
            if (parts and not any(p in name for p in parts)) or (halves and number % len(HALVES) not in halves):
                continue
            start = time.monotonic()
            result = run_one(name, function, number, root, world)
            counts[result] += 1
            if verbose:
                print(f"{result:8} {time.monotonic() - start:6.1f} s  {name}")
            sys.stdout.flush()
        for note in world.notes():
            print(f"note: {note}")
    finally:
        world.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not sum(counts.values()) else 0
