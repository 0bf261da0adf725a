"""bascule explain: every number has its text."""
import subprocess
from pathlib import Path

from daemon import Daemon
from frame import check, check_equal, test


@test
def every_number_in_the_source_is_explained(t):
    """The enums give the numbers out; whatever else names one must name one of these."""
    top = Path(__file__).resolve().parent.parent.parent
    listed = subprocess.run(["grep", "-rhoE", r"^    (PROBLEM|DOCTOR)_[A-Z_]+ = [0-9]+", top / "routes", top / "bridge"],
                            check=True, capture_output=True, text=True).stdout
    numbers = [int(line.split("= ")[1]) for line in listed.splitlines()]
    numbers = [n for n in numbers if n]
    check_equal(len(set(numbers)), len(numbers), "different numbers")
    check(len(numbers) > 50, f"only {len(numbers)} numbers were found")
    named = subprocess.run(["grep", "-rhoE", "BSC-[0-9]{4}", top / "routes", top / "bridge", top / "store", top / "packaging",
                            top / "README.md"], check=True, capture_output=True, text=True).stdout
    d = Daemon(t.directory, "a: { type: redis }", "[]")
    told = {e["code"]: e for e in d.rows("explain")}
    check_equal(sorted(told), sorted(f"BSC-{n:04d}" for n in numbers), "numbers that `explain` lists")
    for name in set(named.split()):
        check(name in told, f"{name} is named and not explained")
    for code, e in told.items():
        check(len(e["text"]) > 20 and len(e["todo"]) > 10, f"{code}: {e}")
        check(e["text"] in d.verb("explain", code).out, f"explain {code}")
