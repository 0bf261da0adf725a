"""tests/faults.md has no empty cell, and each test that it names is there."""
import itertools
import re

import frame
from daemon import TOP
from frame import check, check_equal, test

CELLS = 4


def expanded(name):
    """{a,b} stands for one name each."""
    parts = [p[1:-1].split(",") if p.startswith("{") else [p] for p in re.split(r"(\{[^}]*\})", name)]
    return ["".join(p) for p in itertools.product(*parts)]


def rows(text):
    """Of the tables that begin with a column "fault"."""
    of_faults = False
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if cells[0] == "fault" or not line.startswith("|"):
            of_faults = cells[0] == "fault"
        elif of_faults and set(line) - set("|-"):
            yield cells


def known():
    sources = itertools.chain(*((TOP / "tests" / d).glob("*.c") for d in ("unit", "sim", "conformance")))
    return {name for name, _ in frame.TESTS} | {
        name for s in sources for name in re.findall(r"^TEST\((\w+)\)", s.read_text(), re.M)}


def complaints(text, tests):
    for cells in rows(text):
        if len(cells) != CELLS or not all(cells):
            yield f"a row without all of its {CELLS} cells: {cells}"
            continue
        names = [n for found in re.findall(r"`([^`]*)`", cells[-1]) if " " not in found for n in expanded(found)]
        if not names:
            yield f"no test for '{cells[0]}'"
        yield from (f"'{cells[0]}' names {n}, which is no test" for n in names if n not in tests)


@test
def every_row_of_the_fault_table_names_tests_that_exist(_t):
    text, tests = (TOP / "tests/faults.md").read_text(), known()
    check_equal(list(complaints(text, tests)), [], "complaints")
    check(len(list(rows(text))) > 40, "the table was not read")
    head = "| fault | done | must | test |\n|---|---|---|---|\n"
    for row, part in (("| a | b | | `x` |", "without all"), ("| a | b | c | none |", "no test for"),
                      ("| a | b | c | `x_{1,2}` |", "names x_2")):
        got = list(complaints(head + row, {"x", "x_1"}))
        check(len(got) == 1 and part in got[0], f"{row}: {got}")
