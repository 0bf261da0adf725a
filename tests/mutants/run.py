#!/usr/bin/python3
"""Builds each deliberate defect of defects.py in a copy of its file and runs the tests until one fails.
Usage: run.py [--check] [--no-broker] [NAME…]. Prints which test saw each defect; one that no test sees is a
failure: the missing test is to be written. --check only looks whether every edit still fits the source.
Environment, from the Makefile: BUILD, CC, FLAGS, LIBS, JOBS. Last line: "N passed, N failed, N skipped"."""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from defects import DEFECTS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", "build"))
# What a suite takes without a defect is a tenth of it; a defect that makes it hang was seen as well.
SUITE_SECONDS = 300
SEEDS = os.environ.get("BASCULE_SIM_SEEDS", "200")
NO_BROKER = re.compile(r"^FAIL \S+ did not start.*", re.M)
FAILED = re.compile(r"^FAIL (\S+)", re.M)
SUMMARY = re.compile(r"^(\d+) passed, \d+ failed, (\d+) skipped$", re.M)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BROKERS = threading.Lock()  # one set of them at a time


class Unfit(Exception):
    """An edit that does not fit its source, or a defect that does not build."""


def edited(defect):
    """Path to text of every file that the defect changes."""
    texts = {}
    for path, old, new in defect.edits:
        text = texts.get(path) or (ROOT / path).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise Unfit(f"{path} has this {text.count(old)} times: {old.strip()!r}")
        texts[path] = text.replace(old, new)
    return texts


def compiled(defect, place):
    """The changed files as objects. Warnings are off: a defect may leave a function without a caller."""
    objects = []
    for path, text in edited(defect).items():
        source = place / path.replace("/", "_")
        source.write_text(text, encoding="utf-8")
        # Beside the original for #include "x.h" and .incbin, which are looked for from the root.
        command = [*shlex.split(os.environ["CC"]), *shlex.split(os.environ["FLAGS"]), "-w", "-c", str(source),
                   "-o", str(source.with_suffix(".o"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unfit(f"it does not build: {done.stderr.strip()[-400:]}")
        objects.append(str(source.with_suffix(".o")))
    return objects


def linked(suite, objects, place):
    """The suite's program. What the defect's objects define is not taken from the archive."""
    program = place / "tests" / f"{suite}.bin"
    program.parent.mkdir(exist_ok=True)
    own = sorted(str(p) for p in (BUILD / "tests" / suite).glob("*.o") if p.with_suffix(".d").exists())
    command = [*shlex.split(os.environ["CC"]), *objects, *own, str(BUILD / "tests/harness.o"),
               str(BUILD / "libbascule.a"), *shlex.split(os.environ["LIBS"]), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unfit(f"it does not link: {done.stderr.strip()[-400:]}")
    return program


def end(suite):
    """With the test that hangs, which is a child of it, and with the brokers that it started."""
    os.killpg(suite.pid, signal.SIGTERM)
    try:
        suite.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(suite.pid, signal.SIGKILL)


def first_failure(command, environment=None):
    """The name of the first test that fails, None when all pass; and how many passed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env={**os.environ, **(environment or {})}, start_new_session=True) as suite:
        try:
            said, _ = suite.communicate(timeout=SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            end(suite)
            return f"(no end after {SUITE_SECONDS} s)", 0
    if found := NO_BROKER.search(said):
        raise Unfit(found.group(0))
    found = FAILED.search(said)
    if found:
        return found.group(1), 0
    summary = SUMMARY.search(said)
    if suite.returncode or not summary:
        raise Unfit(f"{command[0]}: exit {suite.returncode}: {said[-400:]}")
    return None, int(summary.group(1))


def seen_by_broker(defect, objects, place):
    linked("conformance", objects, place)
    with BROKERS:
        name, passed = first_failure(["tests/conformance/run.py", "-x", "-b", defect.broker, *defect.tests],
                                     {"BUILD": str(place)})
    if not name and not passed:
        raise Unfit(f"no conformance test was run by {defect.tests}")
    return name and f"conformance: {name}"


def seen_by(defect, objects, place):
    """The known ones first; then all."""
    programs = {suite: linked(suite, objects, place) for suite in ("sim", "unit")}
    # In memory: what syncs do is not asked here, and they are most of the time.
    with tempfile.TemporaryDirectory(prefix="bascule-mutant-", dir=MEMORY) as scratch:
        environment = {"BASCULE_SIM_SEEDS": SEEDS, "TMPDIR": scratch}
        for parts in (defect.tests, ()):
            for suite, program in programs.items():
                name, _ = first_failure([str(program), "-x", *parts], environment)
                if name:
                    return f"{suite}: {name}"
    return None


def try_one(defect):
    """(defect, the test that saw it or None, trouble or None)."""
    place = BUILD / "mutants" / defect.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        objects = compiled(defect, place)
        seen = seen_by_broker if defect.broker else seen_by
        return defect, seen(defect, objects, place), None
    except Unfit as e:
        return defect, None, str(e)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def check_edits(defects):
    bad = 0
    for defect in defects:
        try:
            edited(defect)
        except Unfit as e:
            print(f"{defect.name}: {e}")
            bad += 1
    return bad


def main(arguments):
    os.chdir(ROOT)
    options = {a for a in arguments if a.startswith("-")}
    names = [a for a in arguments if not a.startswith("-")]
    defects = [d for d in DEFECTS if not names or d.name in names]
    if not defects or len({d.name for d in DEFECTS}) != len(DEFECTS):
        print("no such defect, or two of one name", file=sys.stderr)
        return 64
    if "--check" in options:
        return 1 if check_edits(defects) else 0
    skipped = [d for d in defects if d.broker and "--no-broker" in options]
    defects = [d for d in defects if d not in skipped]
    caught = survived = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for defect, test, trouble in pool.map(try_one, defects):
            caught += test is not None
            survived += test is None
            print(f"{defect.name:40} {test or trouble or 'SURVIVED: no test sees it'}", flush=True)
    print(f"{caught} passed, {survived} failed, {len(skipped)} skipped")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
