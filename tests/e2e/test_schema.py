"""The JSON Schema of the YAML files, which editors read: `bascule schema`, asked of a validator."""
import copy
import json
import re
import subprocess

import jsonschema
import yaml

from daemon import PROGRAM, TOP
from frame import check, check_equal, test

MODELINE = "# yaml-language-server: $schema=/usr/share/bascule/bascule.schema.json\n"
EXAMPLES = sorted((TOP / "routes/examples").glob("*.yaml"))

SOUND = {
    "version": 1,
    "connections": {"cache": {"type": "redis", "url": "redis://localhost/0"},
                    "kafka": {"type": "kafka", "brokers": ["localhost:9092"]}},
    "store": {"path": "/tmp/b.db", "max_size": "1GiB"},
    "routes": [{"name": "r", "from": {"connection": "cache", "stream": "in", "group": "g"},
                "to": [{"name": "out", "connection": "kafka", "topic": "t"}],
                "retry": {"max_attempts": 3, "base_delay": "1s"}}],
}

# What is done to it, and the name of it.
BREAKS = {
    "a key that is not known": lambda d: d.update(rotues=[]),
    "a key of a route that is not known": lambda d: d["routes"][0].update(form={}),
    "a key of a connection that is not known": lambda d: d["connections"]["cache"].update(pasword="x"),
    "a type of connection that there is not": lambda d: d["connections"]["cache"].update(type="redsi"),
    "a route without a name": lambda d: d["routes"][0].pop("name"),
    "a route without sinks": lambda d: d["routes"][0].pop("to"),
    "a sink without a connection": lambda d: d["routes"][0]["to"][0].pop("connection"),
    "a Kafka without brokers": lambda d: d["connections"]["kafka"].pop("brokers"),
    "a number out of its range": lambda d: d["routes"][0]["retry"].update(max_attempts=-1),
    "a text for a number": lambda d: d["routes"][0]["retry"].update(max_attempts="some"),
    "a duration without sense": lambda d: d["routes"][0]["retry"].update(base_delay="soon"),
    "a size without sense": lambda d: d["store"].update(max_size="large"),
    "an ordering that there is not": lambda d: d["routes"][0].update(ordering="alphabetical"),
    "a list for a mapping": lambda d: d.update(store=[]),
    "a version of tomorrow": lambda d: d.update(version=2),
}


def schema():
    text = subprocess.run([PROGRAM, "schema"], check=True, capture_output=True, text=True).stdout
    ret = json.loads(text)
    validator = jsonschema.validators.validator_for(ret)
    validator.check_schema(ret)
    return validator(ret)


def problems(validator, document):
    return [f"{list(e.absolute_path)}: {e.message[:200]}" for e in validator.iter_errors(document)]


def accepts(t, document):
    path = t.directory / "c.yaml"
    path.write_text(yaml.safe_dump(document))
    return subprocess.run([PROGRAM, "check", path], capture_output=True, check=False).returncode == 0


@test
def schema_accepts_every_file_that_we_show(_t):
    validator = schema()
    for path in [*EXAMPLES, TOP / "packaging/etc/bascule.yaml"]:
        check_equal(problems(validator, yaml.safe_load(path.read_text())), [], path.name)
    shown = 0
    for page in [TOP / "README.md", *(TOP / "packaging/doc").glob("*.md")]:
        for text in re.findall(r"^```yaml.*?\n(.*?)^```", page.read_text(), re.M | re.S):
            check_equal(problems(validator, yaml.safe_load(text)), [], f"{page.name}:\n{text}")
            shown += 1
    check(len(EXAMPLES) > 5 and shown > 15, "the files were not found")


@test
def schema_refuses_what_check_refuses(t):
    validator = schema()
    check_equal(problems(validator, SOUND), [], "the sound one")
    check(accepts(t, SOUND), "check refuses the sound one")
    for name, breaks in BREAKS.items():
        document = copy.deepcopy(SOUND)
        breaks(document)
        check(not accepts(t, document), f"check accepts {name}")
        check(problems(validator, document), f"the schema accepts {name}")


@test
def schema_is_named_at_the_head_of_every_example(_t):
    for path in EXAMPLES:
        check(path.read_text().startswith(MODELINE), f"{path.name} does not begin with {MODELINE}")
