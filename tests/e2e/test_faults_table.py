"""tests/faults.md and tests/claims.md have no empty cell, and each test that they name is there."""
import itertools
import re

import frame
from daemon import TOP
from frame import check, check_equal, test

CELLS = {"fault": 4, "claim": 3}


LINK = re.compile(r"\]\(([\w/.]+)#([\w-]+)\)")


def expanded(name):
    """{a,b} stands for one name each."""
    parts = [p[1:-1].split(",") if p.startswith("{") else [p] for p in re.split(r"(\{[^}]*\})", name)]
    return ["".join(p) for p in itertools.product(*parts)]


def rows(text, of="fault"):
    """Of the tables whose first column has this name."""
    inside = False
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if cells[0] == of or not line.startswith("|"):
            inside = cells[0] == of
        elif inside and set(line) - set("|-"):
            yield cells


def known():
    sources = itertools.chain(*((TOP / "tests" / d).glob("*.c") for d in ("unit", "sim", "conformance")))
    return {name for name, _ in frame.TESTS} | {
        name for s in sources for name in re.findall(r"^TEST\((\w+)\)", s.read_text(), re.M)}


def complaints(text, tests, of="fault"):
    for cells in rows(text, of):
        if len(cells) != CELLS[of] or not all(cells):
            yield f"a row without all of its {CELLS[of]} cells: {cells}"
            continue
        names = [n for found in re.findall(r"`([^`]*)`", cells[-1]) if " " not in found for n in expanded(found)]
        if not names and not LINK.search(cells[-1]):
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


def anchors(page):
    """As GitHub makes them of headings."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.M):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@test
def every_claim_of_the_readme_names_what_shows_it(_t):
    path = TOP / "tests/claims.md"
    text, readme = path.read_text(), (TOP / "README.md").read_text()
    check_equal(list(complaints(text, known(), "claim")), [], "complaints")
    claims = {cells[0] for cells in rows(text, "claim")}
    promised = readme.partition("## What is promised")[2].partition("\n## ")[0]
    bold = [re.sub(r"\s+", " ", b).rstrip(".") for b in re.findall(r"^- \*\*(.*?)\*\*", promised, re.M | re.S)]
    check(len(bold) > 4, "README's promises were not read")
    check_equal([b for b in bold if b not in claims], [], "promises without a row")
    for page, anchor in LINK.findall(text):
        check(anchor in anchors(path.parent / page), f"{page} has no heading {anchor}")
