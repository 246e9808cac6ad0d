"""The dependency rule: processes meet only through proto/, and each library has one includer."""

import os
import re

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)

# A folder, and the folders of this tree that it may include besides itself and proto/.
MAY_INCLUDE = {
    "proto": [],
    "supervisor": [],
    "store": [],
    "workers/core": [],
    "workers/http": ["workers/core"],
    "workers/grpc": ["workers/core"],
    "tests": ["supervisor", "store", "workers"],
}
# A library's headers, and the only folders that may include them.
ONLY_IN = {
    "nng/": ["proto/link"],
    "lmdb.h": ["store/disk", "tests/bench"],
    "hiredis/": ["store/redis"],
    "microhttpd.h": ["workers/http"],
    "grpc/": ["workers/grpc", "tests/bench"],
    "ini.h": ["proto/conf"],
    "cmocka.h": ["tests"],
}


def sources():
    for top in ("proto", "supervisor", "store", "workers", "tests"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def includes(path):
    with open(os.path.join(ROOT, path)) as file:
        return INCLUDE.findall(file.read())


def within(path, folders):
    return any(path.startswith(folder + "/") for folder in folders)


def test_there_is_something_to_check():
    assert len(list(sources())) > 20


def test_nobody_includes_another_process():
    wrong = []
    for path in sources():
        mine = [folder for folder in MAY_INCLUDE if path.startswith(folder + "/")]
        assert mine or within(path, ["workers"]), f"{path}: give its folder a row in MAY_INCLUDE"
        allowed = ["proto"] + mine + [other for folder in mine for other in MAY_INCLUDE[folder]]
        for name in includes(path):
            if within(name, ["proto", "supervisor", "store", "workers", "tests"]) and \
                    not within(name, allowed):
                wrong.append(f"{path} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_services_stand_on_tx_alone():
    wrong = []
    for path in sources():
        if within(path, ["store/services"]):
            for name in includes(path):
                if "/" in name and name != "store/tx.h" and \
                        not within(name, ["store/services", "proto/base", "proto/api"]):
                    wrong.append(f"{path} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_includes_are_from_the_root():
    wrong = []
    for path in sources():
        for name in includes(path):
            sibling = os.path.join(ROOT, os.path.dirname(path), name)
            if "/" not in name and os.path.exists(sibling) or name.startswith("."):
                wrong.append(f"{path} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_includer():
    wrong = []
    for path in sources():
        for name in includes(path):
            for prefix, folders in ONLY_IN.items():
                if name.startswith(prefix) and not within(path, folders):
                    wrong.append(f"{path} includes {name}")
    assert not wrong, "\n".join(wrong)


# Files that may name a single operation or service. Each carries operations out, or takes part in
# one protocol's or store's own way of doing so.
NAMES_OPERATIONS = {
    "store/redis/answer.c",
    "store/redis/command.c", "store/redis/redis.c", "store/arena/survey.c",
    "store/arena/writer.c", "store/disk/env.c", "workers/core/local.c",
}


def symbols():
    """The symbols of all rows, as the enums have them."""
    with open(os.path.join(ROOT, "proto", "api", "operations.def")) as file:
        rows = file.read()
    services = re.findall(r"^SERVICE\(\d+, (\w+)", rows, re.MULTILINE)
    operations = re.findall(r"^OPERATION\(\d+, \w+, (\w+)", rows, re.MULTILINE)
    assert len(services) >= 5 and len(operations) >= 12
    return [f"SERVICE_{name}" for name in services] + [f"OP_{name}" for name in operations]


def test_generic_code_knows_no_operation():
    named = re.compile(r"\b(" + "|".join(symbols()) + r")\b")
    naming = set()
    for path in sources():
        if path.startswith("tests/"):
            continue
        with open(os.path.join(ROOT, path)) as file:
            if named.search(file.read()):
                naming.add(path)
    assert naming == NAMES_OPERATIONS, naming ^ NAMES_OPERATIONS


def test_every_row_is_reached_over_every_protocol():
    with open(os.path.join(ROOT, "proto", "api", "operations.def")) as file:
        rows = file.read()
    operations = set(re.findall(r"^OPERATION\(\d+, \w+, (\w+)", rows, re.MULTILINE))
    for macro in ("ROUTE", "METHOD", "HELP"):
        assert set(re.findall(rf"^{macro}\((\w+)", rows, re.MULTILINE)) == operations, macro
