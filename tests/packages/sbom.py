#!/usr/bin/python3
"""Fails where a bill of materials is no SPDX 2.3 or not that of the package: sbom.py FILE PACKAGE…

PACKAGE… must all be in it, and each of its packages must be reached from the program by its relations. What SPDX asks
for is from its specification, chapters 6 (document), 7 (packages) and 11 (relations)."""
import json
import re
import sys

DOCUMENT = {"spdxVersion": r"SPDX-2\.3", "dataLicense": r"CC0-1\.0", "SPDXID": r"SPDXRef-DOCUMENT", "name": r".+",
            "documentNamespace": r"https?://[^#]+"}
PACKAGE = {"SPDXID": r"SPDXRef-[A-Za-z0-9.-]+", "name": r".+", "versionInfo": r"\S+", "downloadLocation": r"NOASSERTION|https?://.+",
           "supplier": r"NOASSERTION|(Organization|Person): .+", "licenseConcluded": r".+", "licenseDeclared": r".+",
           "copyrightText": r".+"}
RELATIONS = {"DESCRIBES", "DYNAMIC_LINK", "CONTAINS"}


def fields(what, of, wanted):
    return [f"{what}: {name} is {of.get(name)!r}" for name, pattern in wanted.items()
            if not isinstance(of.get(name), str) or not re.fullmatch(pattern, of[name])]


def wrong_with(sbom, expected):
    wrong = fields("document", sbom, DOCUMENT)
    made = sbom.get("creationInfo", {})
    wrong += fields("creationInfo", made, {"created": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"})
    if not any(re.match(r"(Tool|Organization|Person): .+", c) for c in made.get("creators", [])):
        wrong.append("creationInfo: no creator")
    ids = {"SPDXRef-DOCUMENT"}
    names = set()
    for p in sbom.get("packages", []):
        wrong += fields(f"package {p.get('name')}", p, PACKAGE)
        if p.get("SPDXID") in ids:
            wrong.append(f"{p['SPDXID']} is there twice")
        ids.add(p.get("SPDXID"))
        names.add(p.get("name"))
        for ref in p.get("externalRefs", []):
            wrong += fields(f"reference of {p.get('name')}", ref, {
                "referenceCategory": r"PACKAGE-MANAGER", "referenceType": r"purl",
                "referenceLocator": r"pkg:(deb|rpm)/[a-z]+/[^/@]+@[^@+:]+\?\S+"})
    reached, grew = {"SPDXRef-DOCUMENT"}, True
    while grew:
        more = {r["relatedSpdxElement"] for r in sbom.get("relationships", []) if r["spdxElementId"] in reached}
        grew = not more <= reached
        reached |= more
    for r in sbom.get("relationships", []):
        if r["relationshipType"] not in RELATIONS or not {r["spdxElementId"], r["relatedSpdxElement"]} <= ids:
            wrong.append(f"relation: {r}")
    wrong += [f"nothing leads to {i}" for i in sorted(ids - reached)]
    wrong += [f"{name} is missing" for name in expected if name not in names]
    return wrong


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        wrong = wrong_with(json.load(f), ["bascule", *sys.argv[2:]])
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
