#!/usr/bin/python3
"""Fails on an include that goes upward, and on a client library's header outside its place.
Usage: layers.py [ROOT]. The rules are the table below; README.md tells them in words."""
import re
import sys
from pathlib import Path

# Files whose path starts with … may include our headers whose path starts with ….
# The first row that fits a file counts.
LAYERS = (
    ("bridge/base/", ("bridge/base/",)),
    ("bridge/connector", ("bridge/base/", "bridge/connector")),
    ("bridge/loop", ("bridge/base/", "bridge/connector", "bridge/loop")),
    ("bridge/links/link_table", ("bridge/base/", "bridge/connector", "bridge/links/")),
    ("bridge/links/", ("bridge/base/", "bridge/connector", "bridge/loop", "bridge/links/=")),
    ("store/", ("bridge/base/", "store/")),
    ("schemas/", ("bridge/base/", "schemas/")),
    ("routes/", ("bridge/base/", "bridge/connector", "store/", "schemas/", "routes/")),
    ("bridge/", ("bridge/", "routes/", "store/", "schemas/")),
    ("tests/", ("bridge/", "routes/", "store/", "schemas/", "tests/")),
)
# A library's header, and the only paths that may include it.
LIBRARIES = (
    # Our frames are held against the library's own.
    (r"^(rabbitmq-c/)?amqp", ("bridge/links/rabbitmq", "tests/bench/", "tests/unit/test_rabbitmq_frames")),
    (r"^librdkafka/", ("bridge/links/kafka", "tests/bench/", "tests/brokers/", "tests/conformance/")),
    (r"^hiredis/", ("bridge/links/redis", "bridge/links/resp", "tests/bench/")),
    (r"^nats/", ("bridge/links/nats", "tests/bench/")),
    (r"^sqlite3", ("store/db", "tests/oom/", "tests/unit/fail_vfs", "tests/unit/power_vfs", "tests/bench/")),
    # Stores that older versions wrote are kept packed; who calls chunk_frame() brings the context.
    (r"^(zstd|zdict)",
     ("store/", "tests/bench/", "tests/oom/", "tests/unit/old_stores", "tests/unit/test_codec_identity")),
    (r"^yaml\.h", ("routes/yaml",)),
    (r"^microhttpd", ("bridge/admin/",)),
    (r"^jansson", ("bridge/admin/", "bridge/cli/", "bridge/links/kafka/token", "bridge/trace_export", "schemas/", "tests/")),
    (r"^ncurses\.h", ("bridge/cli/screen",)),
    # The link of Kafka beside its client library: it fetches login tokens. Spans go to their collector by HTTP.
    (r"^curl/", ("bridge/links/kafka/token", "bridge/trace_export")),
    # The configuration is named by its SHA-256; the audit's rows are chained by it.
    (r"^openssl/", ("bridge/links/", "bridge/digest", "routes/config_load", "tests/conformance/")),
)
# Links whose files lie loose in bridge/links/ and are shared by several.
SHARED_LINKS = ("bridge/links/tls", "bridge/links/resp", "bridge/links/reply", "bridge/links/resolve",
                "bridge/links/batches", "bridge/links/committed", "bridge/links/ring", "bridge/links/overlap",
                "bridge/links/servers", "bridge/links/listened",
                "bridge/links/findings")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def link_of(path):
    """bridge/links/kafka/sink.c and bridge/links/kafka.c belong to bridge/links/kafka."""
    return "bridge/links/" + re.split(r"[/._]", path[len("bridge/links/"):], maxsplit=1)[0]


def allowed(path, header):
    for prefix, may in LAYERS:
        if not path.startswith(prefix):
            continue
        for m in may:
            if m.endswith("="):
                if header.startswith((link_of(path) + "/", link_of(path) + ".", link_of(path) + "_")):
                    return True
                if header.startswith(SHARED_LINKS):
                    return True
            elif header.startswith(m):
                return True
        return False
    return False


def problems_of(root, path):
    ours = ("bridge/", "routes/", "store/", "schemas/", "tests/")
    text = (root / path).read_text(errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, header = found.groups()
        place = f"{path}:{number}"
        if quote == '"':
            if not header.startswith(ours):
                yield f'{place}: "{header}": name our headers from the top ("bridge/base/buf.h")'
            elif not allowed(path, header):
                yield f"{place}: {header} is not below this file"
            continue
        for pattern, places in LIBRARIES:
            if re.match(pattern, header) and not path.startswith(places):
                yield f"{place}: <{header}> belongs into {' or '.join(places)} only"


def main(argv):
    root = Path(argv[0] if argv else ".")
    files = [p.relative_to(root).as_posix() for top in ("bridge", "routes", "store", "schemas", "tests")
             for p in sorted((root / top).rglob("*.[ch]"))]
    problems = [p for f in files for p in problems_of(root, f)]
    for p in problems:
        print(p)
    if not files:
        print(f"no C files below {root}")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
