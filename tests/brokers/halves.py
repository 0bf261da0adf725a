"""Parts of a suite that run side by side, since most of a test is waiting."""
import re
import subprocess
import tempfile
from pathlib import Path

SUMMARY = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


def side_by_side(commands):
    """Prints what each said, one after the other, without their last lines. Returns the sum of these as
    [passed, failed, skipped]; a part that ended badly without a word of it has failed once."""
    with tempfile.TemporaryDirectory(prefix="bascule-halves-") as logs:
        children, counts = [], [0, 0, 0]
        try:
            for number, command in enumerate(commands):
                log = open(Path(logs) / str(number), "w+", encoding="utf-8", errors="replace")
                children.append((log, subprocess.Popen(command, stdout=log, stderr=log)))
            for log, child in children:
                code = child.wait()
                log.seek(0)
                *lines, last = log.read().splitlines() or [""]
                summary = SUMMARY.fullmatch(last)
                print("\n".join(lines if summary else [*lines, last]))
                got = [int(n) for n in summary.groups()] if summary else [0, 1, 0]
                if code and not got[1]:
                    got[1] = 1
                counts = [a + b for a, b in zip(counts, got)]
        finally:
            for log, child in children:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
                log.close()
    return counts
