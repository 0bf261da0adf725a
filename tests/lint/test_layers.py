#!/usr/bin/python3
"""The include-layer check finds each kind of breach, and nothing in a tree that keeps the rules."""
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK = Path(__file__).resolve().parent / "layers.py"
GOOD = {
    "bridge/base/buf.c": '#include "bridge/base/buf.h"\n#include <stdio.h>\n',
    "bridge/connector.h": '#include "bridge/base/buf.h"\n',
    "bridge/links/kafka/sink.c": '#include "bridge/connector.h"\n#include "bridge/links/kafka/sink.h"\n'
                                 "#include <librdkafka/rdkafka.h>\n",
    "store/db.c": "#include <sqlite3.h>\n",
    "store/log.c": '#include "store/db.h"\n#include "bridge/base/buf.h"\n',
    "routes/outflow.c": '#include "store/log.h"\n#include "bridge/connector.h"\n',
    "bridge/daemon.c": '#include "routes/config.h"\n#include "store/log.h"\n',
}
BAD = {
    "bridge/base/up.c": '#include "bridge/connector.h"\n',
    "bridge/connector.h": '#include "routes/config.h"\n',
    "bridge/links/redis/sink.c": '#include "store/log.h"\n',
    "bridge/links/redis/source.c": '#include "bridge/links/kafka/codec.h"\n',
    "bridge/links/redis/link.c": "#include <librdkafka/rdkafka.h>\n",
    "store/log.c": "  # include <sqlite3.h>\n",
    "store/chunk.c": '#include "routes/config.h"\n',
    "routes/check.c": '#include "bridge/links/kafka/sink.h"\n',
    "routes/intake.c": '#include "bridge/daemon.h"\n',
    "routes/local.c": '#include "config.h"\n',
    "bridge/schema.h": "#include <jansson.h>\n",
    "tests/unit/test_store.c": "#include <zstd.h>\n",
}


def run(files):
    with tempfile.TemporaryDirectory() as d:
        for name, text in files.items():
            f = Path(d) / name
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_text(text)
        r = subprocess.run([CHECK, d], capture_output=True, text=True, check=False)
        return r.returncode, r.stdout


def main():
    failures = []
    code, output = run(GOOD)
    if code != 0:
        failures.append(f"a tree in order was blamed:\n{output}")
    for name, text in BAD.items():
        code, output = run({**GOOD, name: text})
        if code != 1 or name not in output:
            failures.append(f"not found: {name} with {text.strip()}")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
