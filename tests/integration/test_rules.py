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
    "store/redis/command.c",
    "store/arena/writer.c", "workers/core/local.c",
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


# Files that may call each other in a circle, and say why.
CIRCLES = [
    {"workers/http/connection.c", "workers/http/exchange.c"},
    {"store/disk/env.c", "store/disk/flush.c", "store/disk/formats.c", "store/disk/tables.c"},
    {"store/arena/room.c", "store/arena/scan.c", "store/arena/survey.c", "store/arena/verify.c",
     "store/arena/writer.c"},
]

NO_CODE = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
DEFINED = re.compile(r"^(?!static\b)[a-z][\w *]*?\b(\w+)\([^;{}]*\)\n\{", re.MULTILINE)
CALLED = re.compile(r"(?<![\w.>])(\w+)\(")


def calls():
    """For each .c file, the other .c files whose functions it calls. Only functions that a header of
    ours declares count: what stands in for one of libc does not."""
    code = {}
    declared = set()
    for path in sources():
        if not path.startswith("tests/"):
            with open(os.path.join(ROOT, path)) as file:
                code[path] = NO_CODE.sub(" ", file.read())
    for path, text in code.items():
        if path.endswith(".h"):
            declared |= set(re.findall(r"\b(\w+)\(", text))
    files = {path: text for path, text in code.items() if path.endswith(".c")}
    home = {name: path for path, text in files.items() for name in DEFINED.findall(text)
            if name in declared}
    return {path: {home[name] for name in set(CALLED.findall(text)) & set(home)} - {path}
            for path, text in files.items()}


def reached(graph, start):
    """All that can be come to from here."""
    found, left = set(), [start]
    while left:
        for path in graph[left.pop()] - found:
            found.add(path)
            left.append(path)
    return found


def circles(graph):
    """The largest sets of files that come back to each other."""
    beyond = {path: reached(graph, path) for path in graph}
    found = {frozenset(other for other in beyond[path] if path in beyond[other])
             for path in graph if path in beyond[path]}
    return [set(circle) for circle in found]


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == [{"b", "c"}]


def test_files_call_each_other_one_way():
    graph = calls()
    assert sum(map(len, graph.values())) > 300, "the calls are not recognized any more"
    wrong = [circle for circle in circles(graph) if circle not in CIRCLES]
    assert not wrong, "\n".join(
        f"{path} -> {', '.join(sorted(graph[path] & circle))}"
        for circle in wrong for path in sorted(circle))
    left = [circle for circle in CIRCLES if circle not in circles(graph)]
    assert not left, f"no circle any more: {left}"
